"""COPY and ADD carried out: from a tree into the mounted root of a step.

What exists at the destination decides as in Docker: a folder is merged into a folder; a file replaces a file or a link; a
folder is never replaced by a file, nor a file by a folder. Links in the destination's own path are followed inside the root,
as a process in the container would see them; links met below it are not.
"""

from __future__ import annotations

import errno
import os
import stat

from inception.build.mode import parse_mode
from inception.build.selection import Selection, Source, read_xattrs
from inception.errors import InceptionError, InvalidArgument, Unavailable
from inception.linux import abi
from inception.linux.path import RootDir, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.operations import Copy
    from inception.build.tree import Node

_MAX_LINKS = 40
_SMALL = 64 << 10
_CHUNK = 1 << 30  # copy_file_range(2) takes less than 2 GiB at a time
_BENEATH: int = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Writer:
    """Writes into *root*. *owner* replaces every owner (None keeps that of the source, where it is kept at all)."""

    def __init__(self, root: RootDir, operation: Copy, owner: tuple[int, int] | None) -> None:
        self.root = root
        self.destination = operation.destination
        self.owner = owner
        self.mode: Callable[[int], int] | None = parse_mode(operation.chmod) if operation.chmod else None
        # Files with several names: by device and inode where the first copy lies, below which open folder, and its inode.
        self._links: dict[tuple[int, int], tuple[int, str, int]] = {}
        self._tops: list[int] = []

    def close(self) -> None:
        for fd in self._tops:
            os.close(fd)
        self._tops.clear()
        self._links.clear()

    # --- what a COPY is made of ---

    def copy(self, selection: Selection) -> None:
        """Copies all sources. Raises InvalidArgument with Docker's words where something is in the way."""
        try:
            for source in selection.sources:
                if source.is_dir:
                    self._merge(selection, source)
                else:
                    self._file(selection, source)
        except InceptionError:
            raise
        except OSError as error:
            raise _explain(error, self.destination) from error

    def put(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file with *data*: a here-document."""
        fd = os.memfd_create(name.replace("\0", "") or "file", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            os.lseek(fd, 0, os.SEEK_SET)
            self.put_file(name, fd, mode, None)
        finally:
            os.close(fd)

    def put_file(self, name: str, source: int, mode: int, mtime_ns: int | None) -> None:
        """A file with what is in *source*: a download. *mtime_ns* None is now."""
        try:
            parent, last = self._place(name)
            try:
                self._clear(parent, last)
                fd = os.open(last, _NEW, 0o600, dir_fd=parent)
                try:
                    copy_bytes(source, fd)
                    self._dress(fd, self.owner or (0, 0), mode | stat.S_IFREG)
                    if mtime_ns is not None:
                        os.utime(fd, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(fd)
            finally:
                os.close(parent)
        except OSError as error:
            raise _explain(error, self.destination) from error

    # --- places ---

    def make_folder(self, path: str) -> int:
        """The folder *path*, made with its parents where missing; an fd."""
        uid, gid = self.owner or (0, 0)
        try:
            return self.root.mkdirs(path, 0o755, uid, gid)
        except NotADirectoryError:
            raise InvalidArgument(f"cannot copy to non-directory: {path}") from None

    def _place(self, name: str) -> tuple[int, str]:
        """Where a single file goes: the open folder, and the name in it."""
        path = self.destination
        if path.endswith("/"):
            return self.make_folder(path), name
        for _ in range(_MAX_LINKS):
            head, _, last = path.rpartition("/")
            parent = self.make_folder(head)
            try:
                found = os.stat(last, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return parent, last
            if stat.S_ISDIR(found.st_mode):
                os.close(parent)
                return self.make_folder(path), name
            if not stat.S_ISLNK(found.st_mode):
                return parent, last
            target = os.readlink(last, dir_fd=parent)
            os.close(parent)
            path = target if target.startswith("/") else f"{head}/{target}"
            if path.rpartition("/")[2] in ("", ".", ".."):
                return self.make_folder(path), name
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.destination)

    def _clear(self, parent: int, name: str) -> None:
        """Takes away what a new file replaces."""
        try:
            if self._links:
                inode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino
                self._links = {key: first for key, first in self._links.items() if first[2] != inode}
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            raise InvalidArgument(f"cannot replace to directory {self.destination} with file {name}") from None

    # --- copying ---

    def _file(self, selection: Selection, source: Source) -> None:
        parent, name = self._place(source.name)
        try:
            self._entry(selection, parent, name, source.node, parent, name)
        finally:
            os.close(parent)

    def _merge(self, selection: Selection, source: Source) -> None:
        """The contents of a folder into the destination. It is not the folder itself that is copied, so that a new destination
        has nothing of its mode or owner."""
        new = not self.root.exists(self.destination)
        top = self.make_folder(self.destination)
        folders: list[tuple[str, Node]] = []
        above, parent = "", os.dup(top)
        try:
            for path, node in source.entries:
                head, _, name = path.rpartition("/")
                if head != above:  # what lies in one folder comes in a row
                    os.close(parent)
                    parent = -1
                    above, parent = head, openat2(top, head or ".", abi.O_PATH | os.O_DIRECTORY, 0, _BENEATH)
                if node.is_dir:
                    self._folder(parent, name, path)
                    folders.append((path, node))
                else:
                    self._entry(selection, parent, name, node, top, path)
            # Deepest first: writing into a folder changes its times.
            for path, node in reversed(folders):
                fd = openat2(top, path, os.O_RDONLY | os.O_DIRECTORY, 0, _BENEATH)
                try:
                    self._dress_like(selection, fd, node)
                finally:
                    os.close(fd)
            if new:
                self._dress_new(source.node)
        finally:
            if parent >= 0:
                os.close(parent)
            os.close(top)

    def _dress_new(self, node: Node) -> None:
        fd = self.root.open(self.destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._dress(fd, self.owner or (0, 0), 0o755 | stat.S_IFDIR)
            os.utime(fd, ns=(node.stat.st_mtime_ns,) * 2)
        finally:
            os.close(fd)

    def _folder(self, parent: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise InvalidArgument(f"cannot copy to non-directory: {self.destination.rstrip('/')}/{path}") from None

    def _entry(self, selection: Selection, parent: int, name: str, node: Node, top: int, path: str) -> None:
        """*node* as *name* in *parent*, which is *path* below *top*."""
        try:
            self._new_entry(selection, parent, name, node, top, path)
        except FileExistsError:  # most have nothing in their way: they need not ask first
            self._clear(parent, name)
            self._new_entry(selection, parent, name, node, top, path)

    def _new_entry(self, selection: Selection, parent: int, name: str, node: Node, top: int, path: str) -> None:
        kind = stat.S_IFMT(node.stat.st_mode)
        if kind == stat.S_IFREG:
            if node.stat.st_nlink == 1:
                self._regular(selection, parent, name, node)
            elif not self._linked(parent, name, node):
                self._regular(selection, parent, name, node)
                self._note_link(parent, name, node, top, path)
        elif kind == stat.S_IFLNK:
            os.symlink(selection.tree.readlink(node), name, dir_fd=parent)
            uid, gid = self._owner_of(selection, node)
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(node.stat.st_mtime_ns,) * 2, dir_fd=parent, follow_symlinks=False)
        elif kind != stat.S_IFSOCK:  # a socket without its listener is nothing
            self._special(selection, parent, name, node)

    def _regular(self, selection: Selection, parent: int, name: str, node: Node) -> None:
        source = selection.tree.open_file(node)
        try:
            target = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                copy_bytes(source, target)
                self._dress_like(selection, target, node)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _linked(self, parent: int, name: str, node: Node) -> bool:
        """Makes one more name of a file that has been copied; False when it hasn't."""
        first = self._links.get((node.stat.st_dev, node.stat.st_ino))
        if first is None:
            return False
        top, path, _ = first
        head, _, last = path.rpartition("/")
        folder = openat2(top, head or ".", abi.O_PATH | os.O_DIRECTORY, 0, _BENEATH)
        try:
            os.link(last, name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(folder)
        return True

    def _note_link(self, parent: int, name: str, node: Node, top: int, path: str) -> None:
        # Folders are few, files with more names than one may be all (a pnpm store): what stays open is the folder.
        if not self._tops or not os.path.sameopenfile(self._tops[-1], top):
            self._tops.append(os.dup(top))
        inode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino
        self._links[node.stat.st_dev, node.stat.st_ino] = (self._tops[-1], path, inode)

    def _special(self, selection: Selection, parent: int, name: str, node: Node) -> None:
        mode = node.stat.st_mode
        if stat.S_ISFIFO(mode):
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            os.mknod(name, mode & ~0o777 | 0o600, node.stat.st_rdev, dir_fd=parent)
        uid, gid = self._owner_of(selection, node)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, self._mode_of(mode), dir_fd=parent)
        os.utime(name, ns=(node.stat.st_mtime_ns,) * 2, dir_fd=parent, follow_symlinks=False)

    def _owner_of(self, selection: Selection, node: Node) -> tuple[int, int]:
        if self.owner is not None:
            return self.owner
        return (node.stat.st_uid, node.stat.st_gid) if selection.kept_owners else (0, 0)

    def _mode_of(self, mode: int) -> int:
        return self.mode(mode) if self.mode is not None else stat.S_IMODE(mode)

    def _dress_like(self, selection: Selection, fd: int, node: Node) -> None:
        self._dress(fd, self._owner_of(selection, node), node.stat.st_mode)
        if selection.kept_owners:
            for name, data in read_xattrs(selection.tree, node):
                os.setxattr(fd, name, data)
        os.utime(fd, ns=(node.stat.st_mtime_ns,) * 2)

    def _dress(self, fd: int, owner: tuple[int, int], mode: int) -> None:
        # The owner first: chown(2) clears set-uid bits.
        os.fchown(fd, *owner)
        os.fchmod(fd, self._mode_of(mode))


def copy_bytes(source: int, target: int) -> None:
    """All of *source* after what is in *target*; what is long in the kernel, which wants one file system for both."""
    first = os.read(source, _SMALL)
    _write(target, first)
    try:
        while len(first) == _SMALL and os.copy_file_range(source, target, _CHUNK):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    # Files of /proc and of some file systems have no size for copy_file_range to see; the rest, if any, goes this way.
    while chunk := os.read(source, 1 << 20):
        _write(target, chunk)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _explain(error: OSError, destination: str) -> InceptionError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE):
        return Unavailable(f"write {destination}: {error.strerror}")
    return InvalidArgument(f"write {destination}: {error.strerror or error}")
