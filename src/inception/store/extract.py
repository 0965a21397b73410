"""The one extractor: a tar stream onto a folder, whoever wrote the stream.

Layers, ADD archives, copies into containers and volume imports all come through here. Rules that hold for each of them:

  - A parent folder is opened with openat2(RESOLVE_IN_ROOT) beneath the root fd, so a link in it leads to a place inside, the
    way the container itself would see it. The last component is never followed: it is made, or what was there is removed and
    then made, through the parent's fd with O_EXCL.
  - `..` may not climb above the root; hard links are found by the same rules as names.
  - Owner before mode (chown(2) clears set-uid bits), then extended attributes (chown clears capabilities too), times last,
    those of folders after everything else.
  - Of the archive's extended attributes `security.capability`, `user.*` and POSIX ACLs are taken. `trusted.*` never: there
    overlayfs keeps its own notes, and a layer that brings `trusted.overlay.redirect` could point anywhere.
  - Bytes written, entries, name lengths and depth are bounded before anything is written for them.

Whiteouts (image-spec layer.md): `overlay` turns them into overlayfs's form, a character device 0:0 and
`trusted.overlay.opaque`; `kept` leaves them as they are spelt, for a store that copies; `apply` removes what they hide;
`literal` gives `.wh.` no meaning.

A source that may be hostile is extracted by the confined process of `worker.py`, which runs this same code.
"""

from __future__ import annotations

import errno
import os
import stat

from inception.errors import Conflict, InceptionError, InvalidArgument, Unavailable
from inception.linux.path import RootDir
from inception.record import Record
from inception.store.content import write_all
from inception.store.limits import Limits as Limits
from inception.store.scratch import remove_at
from inception.store.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, HARD_LINK, REGULAR, SYMLINK, Entry, TarReader

OPAQUE = "trusted.overlay.opaque"
_WHITEOUT = ".wh."
_OPAQUE_NAME = ".wh..wh..opq"
_RESERVED = ".wh..wh."  # aufs's own bookkeeping; of it only the opaque mark means something
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENTS = 64


class ExtractOptions(Record):
    """How to write: `destination` is a folder inside the root, made when it is not there.

    `uid` and `gid` replace every owner (None keeps the archive's). `keep_directories`: a folder is never replaced by a file,
    nor a file by a folder (`docker cp`). Modes are cut by `mode_mask`.
    """

    whiteouts: str = "literal"
    destination: str = ""
    uid: int | None = None
    gid: int | None = None
    mode_mask: int = 0o7777
    keep_directories: bool = False


class Extracted(Record):
    """What came of it. `root_mode` is None when the archive says nothing of its root folder; `implicit` are the folders that
    it has no entry for, made because something lies in them."""

    entries: int = 0
    size_bytes: int = 0
    root_mode: int | None = None
    root_uid: int = 0
    root_gid: int = 0
    implicit: list[str] = []
    diff_id: str = ""
    tar_bytes: int = 0


class Extractor:
    """One run of the rules above."""

    def __init__(self, root: RootDir, options: ExtractOptions = ExtractOptions(), limits: Limits = Limits()) -> None:
        self.result = Extracted()
        self._root = root
        self._options = options
        self._limits = limits
        self._overlay = options.whiteouts == "overlay"
        self._hides = options.whiteouts in ("overlay", "apply")
        self._prefix = self._clean(options.destination)
        self._parents: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._made: set[str] = set()  # by this archive, where whiteouts are applied in place
        self._budget = limits.max_bytes
        self._writers = {
            REGULAR: self._regular,
            HARD_LINK: self._hard_link,
            SYMLINK: self._symlink,
            CHARACTER: self._device,
            BLOCK_DEVICE: self._device,
            FIFO: self._device,
        }

    def run(self, reader: TarReader) -> Extracted:
        """Extracts everything. Raises InvalidArgument for a bad or too large archive, Unavailable for a full disk; the tree
        is then half-made, and its owner throws it away."""
        disk = os.fstatvfs(self._root.fd)
        kept = min(disk.f_blocks // 50, disk.f_bavail) * disk.f_frsize if self._limits.keep_free else 0
        self._budget = min(self._limits.max_bytes, disk.f_bavail * disk.f_frsize - kept)
        entry: Entry | None = None
        try:
            if self._prefix:
                self._parent(self._prefix)
            if self._options.whiteouts in ("overlay", "kept"):
                self._times[""] = 0
            for entry in reader:
                self.result.entries += 1
                if self.result.entries > self._limits.max_entries:
                    raise InvalidArgument(f"archive has more than {self._limits.max_entries} entries")
                self._place(entry, reader)
            self._set_times()
        except (OSError, ValueError) as error:
            raise _explain(error, entry.name if entry else self._options.destination) from error
        finally:
            self._forget()
        return self.result

    def _place(self, entry: Entry, reader: TarReader) -> None:
        path = self._clean(entry.name)
        if self._prefix:
            path = f"{self._prefix}/{path}" if path else self._prefix
        parent, _, name = path.rpartition("/")
        if self._hides and name.startswith(_WHITEOUT):
            self._whiteout(parent, name)
        elif entry.kind == DIRECTORY:
            self._directory(path, parent, name, entry)
        elif not name:
            raise InvalidArgument(f"archive entry {entry.name!r} would replace the root folder")
        else:
            self._fresh(self._parent(parent), name, path, entry, reader)
        if self._options.whiteouts == "apply":
            self._made.add(path)

    def _clean(self, name: str) -> str:
        """*name* without `.`, empty and `..` components; the root is an empty text."""
        if len(name) > self._limits.max_name_bytes:
            raise InvalidArgument(
                f"archive entry {name[:64]!r}...: the name is longer than {self._limits.max_name_bytes} bytes"
            )
        parts: list[str] = []
        for part in name.split("/"):
            if part == "..":
                if not parts:
                    raise InvalidArgument(f"archive entry {name!r} leads outside of the root folder")
                parts.pop()
            elif part and part != ".":
                parts.append(part)
        if len(parts) > self._limits.max_depth:
            raise InvalidArgument(f"archive entry {name[:64]!r}...: deeper than {self._limits.max_depth} folders")
        return "/".join(parts)

    def _fresh(self, parent_fd: int, name: str, path: str, entry: Entry, reader: TarReader) -> None:
        """Makes *entry*, in place of whatever was there."""
        write = self._writers[entry.kind]
        try:
            write(parent_fd, name, entry, reader)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and self._options.keep_directories:
                raise Conflict(f'cannot overwrite directory "/{path}" with non-directory') from None
            remove_at(parent_fd, name)
            if not stat.S_ISREG(found.st_mode):
                self._forget()  # an open parent may have been it, or reached through it
                parent_fd = self._parent(path.rpartition("/")[0])
            write(parent_fd, name, entry, reader)

    def _regular(self, parent_fd: int, name: str, entry: Entry, reader: TarReader) -> None:
        size = entry.size
        # Also checked before: a file that is there already must not have cost its bytes twice.
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent_fd)
        try:
            self._spend(size)
            if entry.extents is not None:
                os.ftruncate(fd, size)
                for offset, length in entry.extents:
                    os.lseek(fd, offset, os.SEEK_SET)
                    for piece in reader.data(length):
                        write_all(fd, piece)
            elif size:
                for piece in reader.data(size):
                    write_all(fd, piece)
            self._dress(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _symlink(self, parent_fd: int, name: str, entry: Entry, _reader: TarReader) -> None:
        os.symlink(entry.link, name, dir_fd=parent_fd)
        self._own_unopened(parent_fd, name, entry)

    def _device(self, parent_fd: int, name: str, entry: Entry, _reader: TarReader) -> None:
        kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[entry.kind]
        mode = entry.mode & self._options.mode_mask & 0o1777
        os.mknod(name, mode | kind, os.makedev(*entry.device), dir_fd=parent_fd)
        self._own_unopened(parent_fd, name, entry)
        if os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode & 0o7777 != mode:  # the umask
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
            try:
                os.chmod(f"/proc/self/fd/{fd}", mode)
            finally:
                os.close(fd)

    def _hard_link(self, parent_fd: int, name: str, entry: Entry, _reader: TarReader) -> None:
        target = self._clean(entry.link)
        if self._prefix:
            target = f"{self._prefix}/{target}"
        folder, _, target_name = target.rpartition("/")
        try:
            folder_fd = self._open_parent(folder)
            try:
                os.link(target_name, name, src_dir_fd=folder_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
            finally:
                os.close(folder_fd)
        except FileNotFoundError:
            raise InvalidArgument(f"archive entry {entry.name!r}: hard link to {entry.link!r}, which is not in it") from None

    def _directory(self, path: str, parent: str, name: str, entry: Entry) -> None:
        if not path or path == self._prefix:
            fd = self._root.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
        else:
            fd = self._make_directory(self._parent(parent), name, path)
        if not path:
            result = self.result
            result.root_mode, result.root_uid, result.root_gid = entry.mode, *self._owner(entry)
        try:
            self._dress(fd, entry)
        finally:
            os.close(fd)
        self._times[path] = entry.mtime_ns

    def _make_directory(self, parent_fd: int, name: str, path: str) -> int:
        """The folder *name*, open; what is there and is no folder is replaced."""
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                if self._options.keep_directories:
                    raise Conflict(f'cannot overwrite non-directory "/{path}" with directory') from None
                os.unlink(name, dir_fd=parent_fd)
                self._forget()
                parent_fd = self._parent(path.rpartition("/")[0])
                os.mkdir(name, 0o755, dir_fd=parent_fd)
                if self._overlay and _is_whiteout(found):
                    fd = os.open(name, _DIR, dir_fd=parent_fd)
                    os.setxattr(fd, OPAQUE, b"y")  # what lies beneath stays hidden
                    return fd
        return os.open(name, _DIR, dir_fd=parent_fd)

    def _whiteout(self, parent: str, name: str) -> None:
        parent_fd = self._parent(parent)
        if name == _OPAQUE_NAME:
            if self._overlay:
                fd = os.open(".", _DIR, dir_fd=parent_fd)
                try:
                    os.setxattr(fd, OPAQUE, b"y")
                finally:
                    os.close(fd)
            else:
                fd = os.open(".", _DIR, dir_fd=parent_fd)
                try:
                    for found in os.listdir(fd):
                        self._hide(parent_fd, parent, found)
                finally:
                    os.close(fd)
            return
        if name.startswith(_RESERVED):
            return
        hidden = name[len(_WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise InvalidArgument(f"archive entry {parent + '/' + name!r}: a whiteout of {hidden!r}")
        if not self._overlay:
            self._hide(parent_fd, parent, hidden)
            return
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent_fd)
        except FileExistsError:
            # A whiteout hides what is beneath, not what its own layer brings, in whichever order the two come.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                fd = os.open(hidden, _DIR, dir_fd=parent_fd)
                try:
                    os.setxattr(fd, OPAQUE, b"y")
                finally:
                    os.close(fd)

    def _hide(self, parent_fd: int, parent: str, name: str) -> None:
        path = f"{parent}/{name}" if parent else name
        if path not in self._made:
            remove_at(parent_fd, name)
            self._forget()

    def _parent(self, path: str) -> int:
        """An fd of the folder *path*, made with its own parents where the archive forgot them. Kept open for the next."""
        fd = self._parents.get(path)
        if fd is None:
            fd = self._open_parent(path)
            if len(self._parents) >= _OPEN_PARENTS:
                self._forget()
            self._parents[path] = fd
        return fd

    def _open_parent(self, path: str) -> int:
        try:
            return self._root.open(path or ".", os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            if not self._overlay:
                raise
            # One of the folders may be a whiteout of this layer, that is to become an opaque folder.
        above, _, name = path.rpartition("/")
        above_fd = self._open_parent(above)
        try:
            try:
                os.mkdir(name, 0o755, dir_fd=above_fd)
            except FileExistsError:
                if not _is_whiteout(os.stat(name, dir_fd=above_fd, follow_symlinks=False)):
                    raise NotADirectoryError(errno.ENOTDIR, "its parent is not a folder, or a link to nowhere") from None
                os.close(self._make_directory(above_fd, name, path))
            fd = os.open(name, _DIR, dir_fd=above_fd)
        finally:
            os.close(above_fd)
        self.result.implicit.append(path)
        if self._overlay:
            self._times[path] = 0  # a layer is the same whenever it is unpacked
        if self._options.uid is not None or self._options.gid is not None:
            os.fchown(fd, self._options.uid or 0, self._options.gid or 0)
        return fd

    def _dress(self, fd: int, entry: Entry) -> None:
        """Owner, mode and extended attributes of an open file, in the order that keeps all three."""
        os.fchown(fd, *self._owner(entry))
        os.fchmod(fd, entry.mode & self._options.mode_mask)
        if entry.xattrs:
            for key, value in entry.xattrs.items():
                self._set_xattr(fd, key, value)

    def _set_xattr(self, fd: int, key: str, value: bytes) -> None:
        if key != "security.capability" and not key.startswith(("user.", "system.posix_acl_")):
            return
        try:
            os.setxattr(fd, key, value)
        except OSError as error:
            # A file system without ACLs or user attributes loses comfort; one without capabilities loses function.
            if error.errno != errno.ENOTSUP or key == "security.capability":
                raise

    def _own_unopened(self, parent_fd: int, name: str, entry: Entry) -> None:
        os.chown(name, *self._owner(entry), dir_fd=parent_fd, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent_fd, follow_symlinks=False)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        options = self._options
        return (
            entry.uid if options.uid is None else options.uid,
            entry.gid if options.gid is None else options.gid,
        )

    def _spend(self, size: int) -> None:
        self.result.size_bytes += size
        if self.result.size_bytes > self._budget:
            if self._budget < self._limits.max_bytes:
                raise Unavailable(f"archive needs more than the {self._budget >> 20} MiB that are free on the disk")
            raise InvalidArgument(f"archive holds more than the allowed {self._limits.max_bytes} bytes")

    def _set_times(self) -> None:
        self._forget()
        for path, mtime_ns in self._times.items():
            try:
                fd = self._root.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # a later entry replaced it
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _forget(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _explain(error: Exception, name: str) -> InceptionError:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return Unavailable(f"extract {name!r}: {error.strerror}", "is the disk full?")
    cause = error.strerror if isinstance(error, OSError) else error
    return InvalidArgument(f"extract {name!r}: {cause}")
