"""Snapshots without overlayfs: each is a copy of its layers' tree (merge.py), `ROOT/snapshots/ID/root`.

For where overlayfs can't be had: on another overlayfs, in a user namespace that may not mount it, without root, on a file
system that doesn't say what kind its entries are. A snapshot costs the time of a copy, and where the file system shares bytes
between files (reflinks) hardly more room than its changes.

Which of the two kinds a store is of is decided once, when its root is made: its layers lie in another form.
"""

from __future__ import annotations

import os
import stat

from inception.errors import NotFound, Unavailable
from inception.linux.path import RootDir
from inception.oci.runtime import Mount
from inception.store.layers import EMPTY
from inception.store.scratch import Scratch, remove_tree
from inception.store.snapshots import Change, Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.store.merge import Difference, Node

_MADE = "made"


class Copies(Snapshots):
    """The snapshots of one store that copies."""

    driver = "vfs"
    folders = ("root",)

    def prepare(self, snapshot_id: str, layer_ids: Sequence[int] = (), image_id: str = "", *, fill: bool = True) -> None:
        super().prepare(snapshot_id, layer_ids, image_id)
        if fill:
            try:
                self.fill(snapshot_id)
            except BaseException:
                self.remove(snapshot_id)
                raise

    def fill(self, snapshot_id: str) -> None:
        """The copy. Not in a transaction: everyone who writes would wait for it."""
        from inception.store.merge import fill

        path = self.path(snapshot_id)
        try:
            fill(self._base(self.layer_ids(snapshot_id)), f"{path}/root")
            # Whatever changes from here on has a later time than this file (or, within a tick, the same).
            os.close(os.open(f"{path}/{_MADE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Unavailable(f"copy the image to {path}: {error}", "is the disk full?") from error

    def planned_mount(self, snapshot_id: str, layer_ids: Sequence[int], over: Sequence[str] = ()) -> Mount:
        return Mount(destination="/", type="bind", source=f"{self.path(snapshot_id)}/root", options=["rbind"])

    def mount(self, snapshot_id: str, *, read_only: bool = False, over: Sequence[str] = ()) -> Mount:
        self._check(snapshot_id)
        self._lay_over(snapshot_id, over)
        options = ["rbind", *(["ro"] if read_only else [])]
        return Mount(destination="/", type="bind", source=f"{self.path(snapshot_id)}/root", options=options)

    def open(self, snapshot_id: str, *, read_only: bool = True, over: Sequence[str] = ()) -> RootDir:
        self._check(snapshot_id)
        self._lay_over(snapshot_id, over)
        return _detached(f"{self.path(snapshot_id)}/root", read_only)

    def _lay_over(self, snapshot_id: str, over: Sequence[str]) -> None:
        """The files of *over*, empty ones, into the copy where it has nothing of that name; `changes` then has them too."""
        for name in (name for folder in over for name in os.listdir(folder)):
            path = f"{self.path(snapshot_id)}/root/{name}"
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755))
            except FileExistsError:
                continue

    def open_layers(self, layer_ids: Sequence[int]) -> RootDir:
        from inception.store.merge import fill

        if len(layer_ids) < 2 and not self._whites_out(layer_ids):
            return RootDir.open_host(self._layers.path(layer_ids[0] if layer_ids else EMPTY))
        scratch = Scratch(self._tmp).__enter__()
        try:
            place = f"{scratch.path}/root"
            os.mkdir(place, 0o755)
            base = self._base(layer_ids)
            fill(base, place, link=True)
            os.chmod(place, stat.S_IMODE(base.status.st_mode))
            return _Temporary(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), scratch)
        except BaseException as error:
            scratch.__exit__(None, None, None)
            if isinstance(error, OSError):
                raise Unavailable(f"show layers {list(layer_ids)}: {error}") from error
            raise

    def usage(self, snapshot_id: str) -> int:
        _, found = self._differences(snapshot_id)
        nodes = [each.node for each in found if each.node is not None]
        return sum(node.status.st_size for node in nodes if stat.S_ISREG(node.status.st_mode))

    def changes(self, snapshot_id: str) -> list[Change]:
        _, found = self._differences(snapshot_id)
        return sorted((Change(kind=each.kind, path=f"/{each.path}") for each in found), key=lambda each: os.fsencode(each.path))

    def is_changed(self, snapshot_id: str, before: os.stat_result) -> bool:
        after = os.stat(self.writable(snapshot_id))
        same = (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
        return not same or bool(self._differences(snapshot_id)[1])

    def commit(self, snapshot_id: str, *, consume: bool = False, clamp_mtime_ns: int | None = None) -> int:
        from inception.store.merge import Node, extract_changes

        below = self.layer_ids(snapshot_id)
        _, found = self._differences(snapshot_id)
        root = self.writable(snapshot_id)
        with Scratch(self._tmp) as scratch:
            target = f"{scratch.path}/layer"
            os.mkdir(target, 0o700)
            try:
                extract_changes(found, Node(root, os.stat(root)), target)
            except OSError as error:
                raise Unavailable(f"commit {snapshot_id}: {error}", "is the disk full?") from error
            staged = self._layers.stage_folder(target, clamp_mtime_ns)
            number = self._layers.register([*below, staged])[-1]
        if consume:
            self.remove(snapshot_id)
        return number

    def writable(self, snapshot_id: str) -> str:
        return f"{self.path(snapshot_id)}/root"

    def _base(self, layer_ids: Sequence[int]) -> Node:
        from inception.store.merge import merge

        numbers: list[int | str] = [*layer_ids] or [EMPTY]
        return merge([self._layers.path(number) for number in numbers])

    def _differences(self, snapshot_id: str) -> tuple[Node, list[Difference]]:
        from inception.store.merge import compare

        base = self._base(self.layer_ids(snapshot_id))
        path = self.path(snapshot_id)
        try:
            since_ns = os.stat(f"{path}/{_MADE}").st_ctime_ns
        except FileNotFoundError:
            raise NotFound(f"snapshot {snapshot_id}: its copy was never finished") from None
        return base, compare(base, f"{path}/root", since_ns)

    def _whites_out(self, layer_ids: Sequence[int]) -> bool:
        """Whether a lone layer has whiteouts, of nothing: rare, and then it is copied to be without them."""
        from inception.store.merge import WHITEOUT

        for _, _, names in (walk for number in layer_ids for walk in os.walk(self._layers.path(number))):
            if any(name.startswith(WHITEOUT) for name in names):
                return True
        return False


class _Temporary(RootDir):
    """A tree that goes when it is closed."""

    def __init__(self, fd: int, scratch: Scratch) -> None:
        super().__init__(fd)
        self._scratch: Scratch | None = scratch

    def close(self) -> None:
        super().close()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.__exit__(None, None, None)


def _detached(path: str, read_only: bool) -> RootDir:
    """A mount of a folder that is attached nowhere; the folder itself where mounting is not ours to do."""
    from inception.linux import abi, mount
    from inception.linux.call import AT_FDCWD

    try:
        fd = mount.open_tree(AT_FDCWD, path, abi.OPEN_TREE_CLONE)
    except PermissionError:
        return RootDir.open_host(path)
    try:
        if read_only:
            mount.mount_setattr(fd, set=abi.MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(fd)
        raise
    return RootDir(fd)


def overlay_works(root: str) -> bool:
    """Whether snapshots on *root*'s file system can be overlays: by making one, with all that layers need."""
    from inception.store.snapshots import _open_overlay

    place = f"{root}/tmp/probe-{os.urandom(6).hex()}"
    try:
        for name in ("", "/lower", "/upper", "/work"):
            os.mkdir(f"{place}{name}", 0o700)
        os.mknod(f"{place}/lower/w", stat.S_IFCHR, os.makedev(0, 0))
        os.setxattr(f"{place}/lower", "trusted.overlay.opaque", b"y")
        options = [f"lowerdir={place}/lower", f"upperdir={place}/upper", f"workdir={place}/work"]
        _open_overlay(options, read_only=False).close()
        return _says_kinds(f"{place}/lower")
    except OSError:
        return False
    finally:
        remove_tree(place)


def shares_bytes(folder: str) -> bool:
    """Whether a copy on *folder*'s file system can share the bytes of what it is a copy of."""
    import tempfile

    from inception.store.merge import clone

    with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        one.write(b"x" * 4096)
        one.flush()
        return clone(one.fileno(), other.fileno())


def _says_kinds(path: str) -> bool:
    """Whether folder entries carry their kinds (d_type), which overlayfs needs for whiteouts. Source: getdents(2)."""
    from inception.linux import abi
    from inception.linux.call import syscall

    buffer = bytearray(4096)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        length = syscall(abi.SYS_getdents64, fd, buffer, len(buffer))
    finally:
        os.close(fd)
    at = 0
    while at < length:
        if buffer[at + 18] == 0:  # DT_UNKNOWN
            return False
        at += int.from_bytes(buffer[at + 16 : at + 18], "little")
    return True
