"""A stack of layers as one tree without overlayfs: what lies where, a copy of it, and how a tree differs from it.

Layers of a store that copies keep whiteouts as the archive spelt them (`.wh.NAME`, `.wh..wh..opq`; image-spec layer.md), since
overlayfs's own form can't be made everywhere: not on another overlayfs, and not without privileges.

Copies share their bytes with the layer where the file system can (FICLONE: btrfs, xfs, bcachefs), so they cost names only.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WHITEOUT = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_FICLONE = 0x40049409
_PIECE = 1 << 30
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Node:
    """One name of the tree: the *folder* that it comes from, and for a folder what is in it."""

    __slots__ = ("children", "folder", "status")

    def __init__(self, folder: str, status: os.stat_result) -> None:
        self.folder = folder
        self.status = status
        self.children: dict[str, Node] | None = {} if stat.S_ISDIR(status.st_mode) else None


def merge(layers: Sequence[str]) -> Node:
    """The tree that *layers* (bottom first) show together. Every folder name that leads to a node is a folder of its layer."""
    root = Node(layers[0], os.stat(layers[0]))
    for layer in layers:
        _apply(root, layer)
    return root


def _apply(root: Node, layer: str) -> None:
    todo = [(root, layer)]
    while todo:
        node, path = todo.pop()
        children = node.children
        assert children is not None
        with os.scandir(path) as found:
            entries = list(found)
        # A whiteout hides what is beneath, not what its own layer brings.
        names = [entry.name for entry in entries if entry.name.startswith(WHITEOUT)]
        if OPAQUE_NAME in names:
            children.clear()
        for name in names:
            if not name.startswith(_RESERVED):
                children.pop(name[len(WHITEOUT) :], None)
        for entry in entries:
            if entry.name.startswith(WHITEOUT):
                continue
            status = entry.stat(follow_symlinks=False)
            there = children.get(entry.name)
            if there is not None and there.children is not None and stat.S_ISDIR(status.st_mode):
                there.folder, there.status = layer, status
            else:
                there = children[entry.name] = Node(layer, status)
            if there.children is not None:
                todo.append((there, entry.path))


def fill(root: Node, target: str, *, link: bool = False) -> None:
    """Makes the tree in the empty folder *target*. With *link* files are names of the layers' own: for those who only look.

    Raises OSError.
    """
    fd = os.open(target, _DIR)
    try:
        _Filler(fd, link).folder(root, "", fd)
    finally:
        os.close(fd)


class _Filler:
    def __init__(self, root_fd: int, link: bool) -> None:
        self._root_fd = root_fd
        self._link = link
        self._clones = True
        self._first: dict[tuple[str, int], str] = {}

    def folder(self, node: Node, path: str, fd: int) -> None:
        assert node.children is not None
        for name, child in node.children.items():
            below = f"{path}/{name}" if path else name
            if child.children is None:
                self.entry(child, below, fd, name)
                continue
            os.mkdir(name, 0o700, dir_fd=fd)
            child_fd = os.open(name, _DIR, dir_fd=fd)
            try:
                self.folder(child, below, child_fd)
                self.dress(child, below, child_fd)
            finally:
                os.close(child_fd)

    def dress(self, node: Node, path: str, fd: int) -> None:
        """A folder's own attributes, last: what is made in it changes its time."""
        source = os.open(f"{node.folder}/{path}", _DIR)
        try:
            _copy_attributes(source, fd, node.status)
        finally:
            os.close(source)

    def entry(self, node: Node, path: str, fd: int, name: str) -> None:
        """Anything but a folder."""
        source, status = f"{node.folder}/{path}", node.status
        if self._link:
            os.link(source, name, dst_dir_fd=fd, follow_symlinks=False)
            return
        if status.st_nlink > 1:
            first = self._first.setdefault((node.folder, status.st_ino), path)
            if first != path:
                os.link(first, name, src_dir_fd=self._root_fd, dst_dir_fd=fd, follow_symlinks=False)
                return
        if stat.S_ISREG(status.st_mode):
            self._file(source, status, fd, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), name, dir_fd=fd)
        elif not stat.S_ISSOCK(status.st_mode):
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=fd)
        else:
            return
        os.chown(name, status.st_uid, status.st_gid, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=fd)
        os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _file(self, path: str, status: os.stat_result, fd: int, name: str) -> None:
        source = os.open(path, _FILE)
        try:
            target = os.open(name, _NEW, 0o600, dir_fd=fd)
            try:
                if status.st_size and not (self._clones and self._clone(source, target)):
                    _copy_bytes(source, target, status)
                _copy_attributes(source, target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _clone(self, source: int, target: int) -> bool:
        self._clones = clone(source, target)
        return self._clones


def clone(source: int, target: int) -> bool:
    """FICLONE: the same bytes, kept once; whether the file system can."""
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True


def _copy_bytes(source: int, target: int, status: os.stat_result) -> None:
    if status.st_blocks * 512 >= status.st_size:
        left = status.st_size
        while left and (done := os.copy_file_range(source, target, min(left, _PIECE))):
            left -= done
        return
    os.ftruncate(target, status.st_size)  # with holes, which stay holes
    at = 0
    while at < status.st_size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end and (done := os.copy_file_range(source, target, end - at, at, at)):
            at += done


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in _attributes(source):
        if name == "security.capability" or name.startswith(("user.", "system.posix_acl_")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:
        return []


class Difference:
    """One name that differs: `kind` is `A`, `C` or `D`; `node` is what is there now (None when it is gone)."""

    __slots__ = ("kind", "node", "path")

    def __init__(self, kind: str, path: str, node: Node | None) -> None:
        self.kind = kind
        self.path = path
        self.node = node


def compare(base: Node, folder: str, since_ns: int) -> list[Difference]:
    """How the tree in *folder* differs from *base*, of which it was a copy at *since_ns*: folders before what is in them.

    A file whose status the kernel has not changed since is the same; of others owner, mode, time and bytes are compared.
    """
    found: list[Difference] = []
    _compare_folder(base, folder, "", since_ns, found)
    return found


def _compare_folder(base: Node | None, folder: str, path: str, since_ns: int, found: list[Difference]) -> bool:
    before = base.children if base is not None and base.children is not None else {}
    changed = False
    with os.scandir(f"{folder}/{path}") as entries:
        now = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in now:
        below = f"{path}/{entry.name}" if path else entry.name
        status = entry.stat(follow_symlinks=False)
        old = before.get(entry.name)
        node = Node(folder, status)
        if node.children is None:
            if old is None or not _is_same(old, node, below, since_ns):
                found.append(Difference("A" if old is None else "C", below, node))
                changed = True
            continue
        position = len(found)
        inner = _compare_folder(old, folder, below, since_ns, found)
        if old is None or inner or old.children is None or not _same_attributes(old, node, below, since_ns):
            found.insert(position, Difference("A" if old is None else "C", below, node))
            changed = True
    gone = before.keys() - {entry.name for entry in now}
    for name in sorted(gone, key=os.fsencode):
        found.append(Difference("D", f"{path}/{name}" if path else name, None))
    return changed or bool(gone)


def _is_same(old: Node, new: Node, path: str, since_ns: int) -> bool:
    before, now = old.status, new.status
    if stat.S_IFMT(before.st_mode) != stat.S_IFMT(now.st_mode):
        return False
    if now.st_ctime_ns < since_ns:
        return True
    if (before.st_size, before.st_rdev, before.st_mtime_ns) != (now.st_size, now.st_rdev, now.st_mtime_ns):
        return False
    if not _same_attributes(old, new, path, since_ns):
        return False
    was, is_now = f"{old.folder}/{path}", f"{new.folder}/{path}"
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(was) == os.readlink(is_now)
    if not stat.S_ISREG(now.st_mode):
        return True
    with open(os.open(was, _FILE), "rb") as one, open(os.open(is_now, _FILE), "rb") as other:
        while data := one.read(1 << 20):
            if data != other.read(len(data)):
                return False
    return True


def _same_attributes(old: Node, new: Node, path: str, since_ns: int) -> bool:
    before, now = old.status, new.status
    if now.st_ctime_ns < since_ns:
        return True
    if (before.st_mode, before.st_uid, before.st_gid) != (now.st_mode, now.st_uid, now.st_gid):
        return False
    if stat.S_ISLNK(now.st_mode):
        return True
    return _named_attributes(f"{old.folder}/{path}") == _named_attributes(f"{new.folder}/{path}")


def _named_attributes(path: str) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
    except OSError:
        return {}


def extract_changes(differences: Iterator[Difference] | Sequence[Difference], root: Node, target: str) -> None:
    """The differences as a layer of their own in the empty folder *target*; *root* has its root folder's attributes."""
    fd = os.open(target, _DIR)
    folders: list[tuple[Node, str]] = []
    filler = _Filler(fd, link=False)
    try:
        for each in differences:
            above, _, name = each.path.rpartition("/")
            parent = os.open(above or ".", _DIR, dir_fd=fd)
            try:
                if each.node is None:
                    os.close(os.open(f"{WHITEOUT}{name}", _NEW, 0o600, dir_fd=parent))
                    os.utime(f"{WHITEOUT}{name}", ns=(0, 0), dir_fd=parent)
                elif each.node.children is not None:
                    os.mkdir(name, 0o700, dir_fd=parent)
                    folders.append((each.node, each.path))
                else:
                    filler.entry(each.node, each.path, parent, name)
            finally:
                os.close(parent)
        for node, path in reversed(folders):
            folder_fd = os.open(path, _DIR, dir_fd=fd)
            try:
                filler.dress(node, path, folder_fd)
            finally:
                os.close(folder_fd)
        filler.dress(root, "", fd)
    finally:
        os.close(fd)
