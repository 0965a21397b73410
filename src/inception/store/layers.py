"""Unpacked layers: `ROOT/layers/<number>`, each a folder that overlayfs takes as a lower one and that never changes.

    stage      a tar stream (in the confined process) or a finished upper folder becomes a folder in a scratch place
    settle     folders without an entry of their own take mode and owner from the layers beneath
    register   one syncfs(2), then in one transaction: rename to the final number, row
    remove     the row for good, then the folder

Until `register` nothing points to the folder and its scratch place is swept when its owner is gone; after it the layer is
whole on the disk. Two processes that unpack the same layer at once are both right: the second finds the row and drops its copy.
"""

from __future__ import annotations

import os
import stat

from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.linux.path import RootDir
from inception.oci.digest import Digest, chain_id
from inception.record import Record
from inception.store.content import sync_folder
from inception.store.folders import COPIED, EMPTY
from inception.store.scratch import Scratch, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from inception.store.content import Content
    from inception.store.database import Database
    from inception.store.extract import Extracted
    from inception.store.limits import Limits


class Layer(Record):
    """A row of the layers table. `size_bytes` is the length of its files, `tar_bytes` that of its uncompressed stream."""

    id: int
    diff_id: str
    size_bytes: int
    tar_bytes: int
    packed: bool = False


class Staged(Record):
    """A layer that has no name yet: a folder, and what is known of it."""

    path: str
    diff_id: str
    size_bytes: int
    tar_bytes: int
    packed: bool = False
    root_mode: int | None = None
    root_uid: int = 0
    root_gid: int = 0
    implicit: list[str] = []


class Layers:
    """The layers of one store."""

    def __init__(self, root: str, tmp: str, db: Database, whiteouts: str = "overlay") -> None:
        self._root = root
        self._tmp = tmp
        self._db = db
        self._whiteouts = whiteouts

    def path(self, layer_id: int | str) -> str:
        return f"{self._root}/{layer_id}"

    def find(self, diff_ids: Sequence[str]) -> list[int | None]:
        """For each layer of a stack, bottom first, the number of its folder, or None when it has to be unpacked."""
        found: list[int | None] = []
        for position, diff_id in enumerate(diff_ids):
            rows = self._db.rows("SELECT id, chain_id FROM layers WHERE diff_id = ?", (Digest(diff_id),))
            chain = str(chain_id(list(diff_ids[: position + 1]))) if any(row[1] for row in rows) else ""
            found.append(next((number for number, needs in rows if needs in ("", chain)), None))
        return found

    def get(self, layer_id: int) -> Layer:
        """Raises NotFound."""
        row = self._db.row("SELECT id, diff_id, size_bytes, tar_bytes, packed FROM layers WHERE id = ?", (layer_id,))
        if row is None:
            raise NotFound(f"layer {layer_id}: not found")
        return Layer(id=row[0], diff_id=row[1], size_bytes=row[2], tar_bytes=row[3], packed=bool(row[4]))

    def stage(
        self,
        source: BinaryIO | Iterable[bytes],
        scratch: Scratch,
        diff_id: str = "",
        limits: Limits | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> Staged:
        """Unpacks a layer stream of any compression; *tell* hears now and then how far a file has been read.

        Raises InvalidArgument when it is bad or hasn't the *diff_id*.
        """
        from inception.store.extract import ExtractOptions  # only what unpacks pays for these
        from inception.store.settings import load_settings
        from inception.store.worker import unpack

        path = f"{scratch.path}/{os.urandom(6).hex()}"
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            settings = load_settings()
            if settings.snapshotter not in ("auto", "copy" if self._whiteouts == "kept" else "overlay"):
                raise InvalidArgument(
                    f"store {os.path.dirname(self._root)}: it was not made for snapshotter {settings.snapshotter!r}",
                    'use another --root, or say "auto"',
                )
            options = ExtractOptions(whiteouts=self._whiteouts)
            if os.geteuid() != 0:  # the kernel lets us give nothing away
                options = ExtractOptions(whiteouts=self._whiteouts, uid=os.geteuid(), gid=os.getegid())
            extracted = unpack(source, fd, options, limits or settings.limits, tell)
        finally:
            os.close(fd)
        if diff_id and extracted.diff_id != diff_id:
            raise InvalidArgument(f"layer {diff_id}: the unpacked bytes have digest {extracted.diff_id}")
        return _staged(path, extracted)

    def stage_folder(self, path: str, clamp_mtime_ns: int | None = None) -> Staged:
        """A folder on this file system as a layer, without a copy; its tar is only hashed."""
        if clamp_mtime_ns is not None:
            _clamp_times(path, clamp_mtime_ns)
        import hashlib

        hasher, length, size = hashlib.sha256(), 0, 0
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for chunk in _pack(fd):
                hasher.update(chunk)
                length += len(chunk)
            found = os.fstat(fd)
        finally:
            os.close(fd)
        size = tree_size(path)
        return Staged(
            path=path,
            diff_id=f"sha256:{hasher.hexdigest()}",
            size_bytes=size,
            tar_bytes=length,
            packed=True,
            root_mode=stat.S_IMODE(found.st_mode),
            root_uid=found.st_uid,
            root_gid=found.st_gid,
        )

    def pack_digest(self, path: str) -> str:
        """The digest of a folder's own tar. Reads all of it."""
        import hashlib

        hasher = hashlib.sha256()
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for chunk in _pack(fd):
                hasher.update(chunk)
        finally:
            os.close(fd)
        return f"sha256:{hasher.hexdigest()}"

    def stage_again(self, layer_id: int, scratch: Scratch) -> Staged:
        """The layer unpacked afresh from one of its blobs, dressed as it was when it was registered. Raises NotFound when
        none of its blobs is here, InvalidArgument when they unpack to something else."""
        digest = self.blob(layer_id)
        if not digest:
            raise NotFound(f"layer {layer_id}: none of its blobs is here")
        with self._content().open(digest) as blob:
            staged = self.stage(blob, scratch, self.get(layer_id).diff_id)
        if staged.implicit:
            self._settle(staged, [self.path(each) for each in self._beneath(layer_id)])
        return staged

    def blob(self, layer_id: int) -> str:
        """The digest of a blob that unpacks to it, compressed or not, and is here; else an empty text."""
        rows = self._db.rows("SELECT digest FROM layer_blobs WHERE layer_id = ? ORDER BY made, digest", (layer_id,))
        content = self._content()
        return next((each for each in [*(row[0] for row in rows), self.get(layer_id).diff_id] if content.exists(each)), "")

    def _content(self) -> Content:
        from inception.store.content import Content

        return Content(f"{os.path.dirname(self._root)}/blobs", self._tmp)

    def _beneath(self, layer_id: int) -> list[int]:
        """The layers below it in an image that has it, top first."""
        row = self._db.row("SELECT image_id, position FROM image_layers WHERE layer_id = ?", (layer_id,))
        rows = self._db.rows(
            "SELECT layer_id FROM image_layers WHERE image_id = ? AND position < ? ORDER BY position DESC", row or ("", 0)
        )
        return [each[0] for each in rows]

    def register(self, stack: Sequence[Staged | int]) -> list[int]:
        """Gives the staged layers of a stack (bottom first, those that are there already as numbers) their final places.

        Call it inside the transaction that also refers to them, or under a lease.
        """
        diff_ids = [item.diff_id if isinstance(item, Staged) else self.get(item).diff_id for item in stack]
        lowers: list[str] = []
        for item in stack:
            if isinstance(item, Staged):
                self._settle(item, lowers)
            lowers.insert(0, item.path if isinstance(item, Staged) else self.path(item))
        if any(isinstance(item, Staged) for item in stack):
            self.sync()
        numbers: list[int] = []
        with self._db.transaction():
            for position, item in enumerate(stack):
                if isinstance(item, int):
                    numbers.append(item)
                    continue
                chain = str(chain_id(diff_ids[: position + 1])) if item.implicit else ""
                numbers.append(self._name(item, chain))
            sync_folder(self._root)
        return numbers

    def tar(self, layer_id: int) -> Iterator[bytes]:
        """The uncompressed stream of a layer that was made here (`packed`)."""
        fd = os.open(self.path(layer_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from _pack(fd)
        finally:
            os.close(fd)

    def remove_unused(self) -> int:
        """Removes layers that no image, no snapshot and no holder refers to; the bytes that were freed.

        The caller holds the store exclusively (`Store.exclusive`): a pull may be about to use one.
        """
        with self._db.transaction(durable=True) as tx:
            rows = tx.rows(
                """SELECT id, size_bytes FROM layers WHERE id NOT IN (SELECT layer_id FROM image_layers)
                   AND id NOT IN (SELECT layer_id FROM snapshot_layers) AND id NOT IN (SELECT layer_id FROM layer_holds)"""
            )
            tx_rows = [(number,) for number, _ in rows]
            for row in tx_rows:
                tx.execute("DELETE FROM layers WHERE id = ?", row)
        for number, _ in rows:
            self._discard(self.path(number))
        return sum(size for _, size in rows)

    def remove_strays(self) -> None:
        """Removes folders that have no row: what a crash left between a rename and its commit, or a row and its folder."""
        with self._db.transaction() as tx:  # nobody registers meanwhile
            known = {str(number) for (number,) in tx.rows("SELECT id FROM layers")} | {EMPTY, COPIED}
            strays = [name for name in os.listdir(self._root) if name not in known]
            for name in strays:
                self._discard(self.path(name))

    def _name(self, item: Staged, chain: str) -> int:
        row = self._db.row("SELECT id FROM layers WHERE diff_id = ? AND chain_id = ?", (item.diff_id, chain))
        if row is not None:
            return int(row[0])
        cursor = self._db.execute(
            """INSERT INTO layers (diff_id, chain_id, size_bytes, tar_bytes, root_mode, root_uid, root_gid, packed)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                item.diff_id,
                chain,
                item.size_bytes,
                item.tar_bytes,
                item.root_mode,
                item.root_uid,
                item.root_gid,
                _pack_version() if item.packed else 0,
            ),
        )
        number = int(cursor.lastrowid or 0)
        final = self.path(number)
        try:
            try:
                os.rename(item.path, final)
            except OSError:
                # A number is given again after a crash between this rename and the commit; what lies there has no row.
                self._discard(final)
                os.rename(item.path, final)
        except OSError as error:
            raise Unavailable(f"store layer {item.diff_id}: {error.strerror}") from error
        return number

    def _settle(self, item: Staged, lowers: list[str]) -> None:
        if not item.implicit or not lowers:
            return
        roots = [RootDir.open_host(path) for path in lowers]
        try:
            with RootDir.open_host(item.path) as own:
                for path in item.implicit:
                    _dress_as_beneath(own, path, roots)
        finally:
            for root in roots:
                root.close()

    def sync(self) -> None:
        """All that was written to the store's file system is on the disk afterwards. Raises Unavailable."""
        from inception.linux import abi
        from inception.linux.call import syscall

        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscall(abi.SYS_syncfs, fd)
        except OSError as error:
            raise Unavailable(f"sync {self._root}: {error.strerror}") from error
        finally:
            os.close(fd)

    def _discard(self, path: str) -> None:
        """Out of the way with one rename, then removed piece by piece; a crash in between leaves it to the sweep."""
        with Scratch(self._tmp) as scratch:
            try:
                os.rename(path, f"{scratch.path}/gone")
            except FileNotFoundError:
                return


def _pack(folder_fd: int) -> Iterator[bytes]:
    """A layer's folder as its tar."""
    from inception.store.pack import pack  # with `tar` a millisecond: a container that runs packs nothing

    return pack(folder_fd, whiteouts=True)


def _pack_version() -> int:
    from inception.store.pack import VERSION

    return VERSION


def _staged(path: str, extracted: Extracted) -> Staged:
    return Staged(
        path=path,
        diff_id=extracted.diff_id,
        size_bytes=extracted.size_bytes,
        tar_bytes=extracted.tar_bytes,
        root_mode=extracted.root_mode,
        root_uid=extracted.root_uid,
        root_gid=extracted.root_gid,
        implicit=extracted.implicit,
    )


def _dress_as_beneath(own: RootDir, path: str, lowers: list[RootDir]) -> None:
    for lower in lowers:
        try:
            found = lower.stat(path)
        except OSError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            return
        try:
            fd = own.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return  # a later entry of the layer replaced it
        try:
            os.fchown(fd, found.st_uid, found.st_gid)
            os.fchmod(fd, stat.S_IMODE(found.st_mode))
            os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))
        finally:
            os.close(fd)
        return


def tree_size(path: str) -> int:
    """The length of all files beneath *path*, one of several names counted once."""
    total = 0
    seen: set[int] = set()
    for _, _, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in files:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_ino not in seen:
                total += found.st_size
                if found.st_nlink > 1:
                    seen.add(found.st_ino)
    return total


def _clamp_times(path: str, latest_ns: int) -> None:
    """No time in the tree is later than *latest_ns*."""
    for _, folders, files, fd in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in [*folders, *files]:
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime_ns > latest_ns:
                os.utime(name, ns=(latest_ns, latest_ns), dir_fd=fd, follow_symlinks=False)
    os.utime(path, ns=(latest_ns, latest_ns))


__all__ = ["COPIED", "EMPTY", "Layer", "Layers", "Staged", "remove_tree", "tree_size"]
