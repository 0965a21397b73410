"""Snapshots: a stack of layers with one writable folder on top, as the root of a container or of a build step.

    prepare    row and `ROOT/snapshots/ID/{upper,work}`
    mount      the value that the runtime mounts: nothing is mounted here
    open       a detached mount, for looking things up and for copying in and out while no container runs
    commit     the upper folder as a new layer (copied while something may still write, or taken as it is)
    remove     the row for good, then the folder

`prepare` and `mount` are on the path of every start: two statements and three mkdirs, no walk.
"""

from __future__ import annotations

import errno
import os
import stat

from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.linux.path import RootDir
from inception.record import Record
from inception.store.layers import EMPTY
from inception.store.scratch import Scratch, move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from inception.oci.runtime import Mount
    from inception.store.database import Database
    from inception.store.layers import Layers

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Change(Record):
    """One line of `docker diff`: `kind` is `A`dded, `C`hanged or `D`eleted."""

    kind: str
    path: str


class Snapshots:
    """The snapshots of one store; of those that can't be overlays, see copies.py."""

    #: What Docker calls this way of making roots.
    driver = "overlay2"
    #: What lies in each snapshot's folder; the first is what its user writes to.
    folders: tuple[str, ...] = ("upper", "work")

    def __init__(self, root: str, tmp: str, db: Database, layers: Layers) -> None:
        self._root = root
        self._tmp = tmp
        self._db = db
        self._layers = layers

    def path(self, snapshot_id: str) -> str:
        """The folder that holds `upper` and `work`."""
        if not snapshot_id or not _ID_CHARACTERS.issuperset(snapshot_id) or snapshot_id[0] == ".":
            raise InvalidArgument(f"invalid snapshot id {snapshot_id!r}")
        return f"{self._root}/{snapshot_id}"

    def fill(self, snapshot_id: str) -> None:
        """What of `prepare` takes its time, where anything does (copies.py). Raises Unavailable."""

    def prepare(self, snapshot_id: str, layer_ids: Sequence[int] = (), image_id: str = "", *, fill: bool = True) -> None:
        """A new snapshot over *layer_ids*, bottom first, or over those of *image_id*. Without *fill* the caller calls that,
        when its own transaction is done. Raises Conflict, NotFound."""
        path = self.path(snapshot_id)
        db = self._db
        with db.transaction():
            if db.row("SELECT 1 FROM snapshots WHERE id = ?", (snapshot_id,)):
                raise Conflict(f"snapshot {snapshot_id} exists already")
            if image_id:
                rows = db.rows(
                    """SELECT l.id, root_mode, root_uid, root_gid FROM image_layers JOIN layers AS l ON l.id = layer_id
                       WHERE image_id = ? ORDER BY position""",
                    (image_id,),
                )
                if not rows and not db.row("SELECT 1 FROM images WHERE id = ?", (image_id,)):
                    raise NotFound(f"No such image: {image_id}")
            else:
                rows = [self._layer_row(number) for number in layer_ids]
            db.execute("INSERT INTO snapshots (id, image_id) VALUES (?, ?)", (snapshot_id, image_id))
            for position, row in enumerate(rows):
                db.execute(
                    "INSERT INTO snapshot_layers (snapshot_id, position, layer_id) VALUES (?, ?, ?)",
                    (snapshot_id, position, row[0]),
                )
            # Inside the transaction: whoever clears folders without a row holds the write lock too.
            self._make_folders(path, rows)

    def mount(self, snapshot_id: str, *, read_only: bool = False, over: Sequence[str] = ()) -> Mount:
        """The overlay mount of a snapshot's root; with *read_only* without its upper folder being writable. Folders *over* its
        layers belong neither to them nor to its changes. Raises NotFound."""
        layers = [
            row[0]
            for row in self._db.rows(
                "SELECT layer_id FROM snapshot_layers WHERE snapshot_id = ? ORDER BY position DESC", (snapshot_id,)
            )
        ]
        path = self.path(snapshot_id)
        if not layers:
            self._check(snapshot_id)
        lowers = [*over, *self._lowers(layers or [EMPTY])]
        if read_only:
            # Without an upper folder overlayfs wants two lower ones; the snapshot's own is the first.
            return _root([f"lowerdir={path}/upper:{':'.join(lowers)}"])
        return _overlay(path, lowers)

    def planned_mount(self, snapshot_id: str, layer_ids: Sequence[int], over: Sequence[str] = ()) -> Mount:
        """What `mount` will say of a snapshot that is not made yet."""
        return _overlay(self.path(snapshot_id), [*over, *self._lowers([*reversed(layer_ids)] or [EMPTY])])

    def writable(self, snapshot_id: str) -> str:
        """The folder that takes what its user writes."""
        return f"{self.path(snapshot_id)}/upper"

    def is_changed(self, snapshot_id: str, before: os.stat_result) -> bool:
        """Whether anything was written since its folder was as *before*."""
        upper = self.writable(snapshot_id)
        after = os.stat(upper)
        same = (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
        return not same or bool(os.listdir(upper))

    def open(self, snapshot_id: str, *, read_only: bool = True, over: Sequence[str] = ()) -> RootDir:
        """The root as a mount that is attached nowhere and gone when it is closed. Not while a container runs on it, unless
        *read_only*: a running one is reached through /proc/PID/root instead."""
        try:
            return _open_overlay(self.mount(snapshot_id, read_only=read_only, over=over).options, read_only)
        except OSError as error:
            raise Unavailable(f"mount snapshot {snapshot_id}: {error}", _overlay_hint(error)) from error

    def open_layers(self, layer_ids: Sequence[int]) -> RootDir:
        """A stack of layers, bottom first, to look at: a detached read-only mount. The caller holds a lease."""
        lowers = self._lowers([*reversed(layer_ids), EMPTY])  # at least two are wanted where there is no upper folder
        try:
            if not layer_ids:
                return RootDir.open_host(self._layers.path(EMPTY))
            return _open_overlay([f"lowerdir={':'.join(lowers)}"], read_only=True)
        except OSError as error:
            raise Unavailable(f"mount layers {list(layer_ids)}: {error}", _overlay_hint(error)) from error

    def view(self, snapshot_id: str) -> RootDir:
        """`open`, read-only."""
        return self.open(snapshot_id)

    def remove(self, snapshot_id: str, *, durable: bool = True, trash: str = "") -> None:
        """Nothing there is fine. Its mounts must be gone.

        Not *durable*: after a power cut the row may be back without its folder; for whoever would remove it then too. With a
        path *trash* on the same filesystem its files are only moved there.
        """
        path = self.path(snapshot_id)
        with self._db.transaction(durable=durable) as tx:
            tx.execute("DELETE FROM snapshots WHERE id = ?", (snapshot_id,))
        if not trash or not move(path, trash):
            self._discard(path)

    def usage(self, snapshot_id: str) -> int:
        """Bytes in the writable folder. Walks it."""
        from inception.store.layers import tree_size

        self._check(snapshot_id)
        return tree_size(f"{self.path(snapshot_id)}/upper")

    def layer_ids(self, snapshot_id: str) -> list[int]:
        """The layers beneath, bottom first. Raises NotFound."""
        self._check(snapshot_id)
        rows = self._db.rows("SELECT layer_id FROM snapshot_layers WHERE snapshot_id = ? ORDER BY position", (snapshot_id,))
        return [row[0] for row in rows]

    def changes(self, snapshot_id: str) -> list[Change]:
        """What differs from the layers, in the order of the paths; a changed file's folders count as changed."""
        from inception.store.diff import changes

        lowers = [self._layers.path(number) for number in reversed(self.layer_ids(snapshot_id))]
        return changes(f"{self.path(snapshot_id)}/upper", lowers)

    def commit(self, snapshot_id: str, *, consume: bool = False, clamp_mtime_ns: int | None = None) -> int:
        """The upper folder as a new layer; its number. The caller holds a lease until an image refers to it.

        A snapshot that something may still write to is copied. With *consume* the folder itself becomes the layer, and the
        snapshot is gone: for a finished build step, whose times may be cut to *clamp_mtime_ns* (SOURCE_DATE_EPOCH).
        """
        from inception.store import pack

        below = self.layer_ids(snapshot_id)
        upper = f"{self.path(snapshot_id)}/upper"
        with Scratch(self._tmp) as scratch:
            if consume:
                staged = self._layers.stage_folder(upper, clamp_mtime_ns)
            else:
                fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    staged = self._layers.stage(pack.pack(fd, whiteouts=True), scratch)
                finally:
                    os.close(fd)
                staged.packed = True
            number = self._layers.register([*below, staged])[-1]
        if consume:
            self.remove(snapshot_id)
        return number

    def remove_strays(self) -> None:
        """Removes folders without a row."""
        with self._db.transaction() as tx:
            known = {row[0] for row in tx.rows("SELECT id FROM snapshots")}
            for name in os.listdir(self._root):
                if name not in known:
                    self._discard(f"{self._root}/{name}")

    def _lowers(self, numbers: Sequence[int | str]) -> list[str]:
        """The folders of layers, top first. One that comes twice counts where it is highest: overlayfs takes none twice, and
        all that the lower one has is in the higher one too."""
        return [self._layers.path(number) for number in dict.fromkeys(numbers)]

    def _layer_row(self, number: int) -> tuple[Any, ...]:
        row = self._db.row("SELECT id, root_mode, root_uid, root_gid FROM layers WHERE id = ?", (number,))
        if row is None:
            raise NotFound(f"layer {number}: not found")
        return row

    def _make_folders(self, path: str, rows: list[tuple[Any, ...]]) -> None:
        # The first folder's own mode and owner are what `stat /` says inside: those of the topmost layer that has any. Without
        # root all files are the user's own.
        mode, uid, gid = next(((row[1], row[2], row[3]) for row in reversed(rows) if row[1] is not None), (0o755, 0, 0))
        try:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:  # left by a crash: it has no row
                self._discard(path)
                os.mkdir(path, 0o700)
            for name in self.folders[1:]:
                os.mkdir(f"{path}/{name}", 0o700)
            top = f"{path}/{self.folders[0]}"
            os.mkdir(top, 0o755)
            made = os.stat(top)
            if os.geteuid() == 0 and (uid, gid) != (made.st_uid, made.st_gid):
                os.chown(top, uid, gid)
            if mode != stat.S_IMODE(made.st_mode):
                os.chmod(top, mode)
        except OSError as error:
            raise Unavailable(f"create {path}: {error.strerror}") from error

    def _check(self, snapshot_id: str) -> None:
        if not self._db.row("SELECT 1 FROM snapshots WHERE id = ?", (snapshot_id,)):
            raise NotFound(f"snapshot {snapshot_id}: not found")

    def _discard(self, path: str) -> None:
        with Scratch(self._tmp) as scratch:
            try:
                os.rename(path, f"{scratch.path}/gone")
            except FileNotFoundError:
                return
            except OSError as error:
                raise Unavailable(f"remove {path}: {error.strerror}") from error

    def list(self) -> list[str]:
        return [row[0] for row in self._db.rows("SELECT id FROM snapshots ORDER BY id")]


def _overlay_hint(error: OSError) -> str:
    """Source: the kernel's filesystems/overlayfs.rst, "Upper and Lower"."""
    if error.errno == errno.EPERM:
        return "mounting takes root, or a user namespace of one's own"
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV):
        return "overlayfs needs a root folder on ext4, xfs (ftype=1), btrfs or tmpfs, not on another overlay or over a network"
    return ""


def _overlay(path: str, lowers: list[str], *more: str) -> Mount:
    return _root([f"lowerdir={':'.join(lowers)}", f"upperdir={path}/upper", f"workdir={path}/work", *more])


def _root(options: list[str]) -> Mount:
    from inception.oci.runtime import Mount  # whoever only looks into the store needs none of the runtime's types

    return Mount(destination="/", type="overlay", source="overlay", options=options)


def _open_overlay(options: Sequence[str], read_only: bool) -> RootDir:
    from inception.linux import abi
    from inception.linux import mount as kernel

    fs_fd = kernel.fsopen("overlay")
    try:
        for option in options:
            key, _, value = option.partition("=")
            if key == "lowerdir" and len(value) > 255:  # fsconfig(2) takes 255 bytes at a time; lowerdir+ is Linux 6.5
                for lower in value.split(":"):
                    kernel.fsconfig_string(fs_fd, "lowerdir+", lower)
            else:
                kernel.fsconfig_string(fs_fd, key, value)
        kernel.fsconfig_create(fs_fd)
        return RootDir(kernel.fsmount(fs_fd, abi.MOUNT_ATTR_RDONLY if read_only else 0))
    finally:
        os.close(fs_fd)
