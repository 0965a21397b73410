"""A folder as a tar stream: layers on commit and save, `export`, copies out of containers.

The same tree gives the same bytes: entries in the order of their names' bytes, folders before what is in them, a hard link
to the name that came first, no names of users, no access times. The digest of a layer that was made here rests on this, so
the stream may only ever change together with the `packed` number of the layers table.

In overlayfs's upper folders a character device 0:0 is a whiteout and `trusted.overlay.opaque` an opaque folder: with
`whiteouts` they become `.wh.NAME` and `.wh..wh..opq` (image-spec layer.md). Other `trusted.overlay.*` are bookkeeping of
the mount and stay out. Sockets can't be archived and are left out, as every tar does.
"""

from __future__ import annotations

import os
import stat

from inception.errors import InvalidArgument, Unavailable
from inception.store import tar
from inception.store.extract import OPAQUE
from inception.store.tar import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
_CHUNK = 1 << 20
_MAX_DEPTH = 400  # one open folder a level
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: an entry that was replaced by a FIFO since it was looked at must not hang us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def pack(
    dir_fd: int, *, prefix: str = "", whiteouts: bool = False, root_entry: bool = True, clamp_mtime_ns: int | None = None
) -> Iterator[bytes]:
    """The tree beneath *dir_fd* as chunks of a tar stream, names starting with *prefix*.

    *root_entry*: the folder itself comes first, as `./` or as *prefix*. Times later than *clamp_mtime_ns* are set to it.
    Raises Unavailable when something can't be read.
    """
    return _Packer(whiteouts, clamp_mtime_ns).run(dir_fd, prefix.strip("/"), root_entry)


def pack_entry(parent_fd: int, name: str, as_name: str = "") -> Iterator[bytes]:
    """One entry of an open folder, and all beneath it, under the name *as_name* (`docker cp`)."""
    shown = as_name or name
    if stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
        fd = os.open(name, _DIR, dir_fd=parent_fd)
        try:
            yield from pack(fd, prefix=shown)
        finally:
            os.close(fd)
        return
    packer = _Packer(False, None)
    yield from packer.entry(parent_fd, name, shown)
    yield bytes(packer.buffer) + tar.END


class _Packer:
    def __init__(self, whiteouts: bool, clamp_mtime_ns: int | None) -> None:
        self.buffer = bytearray()
        self._whiteouts = whiteouts
        self._clamp = clamp_mtime_ns
        self._first: dict[tuple[int, int], str] = {}

    def run(self, dir_fd: int, prefix: str, root_entry: bool) -> Iterator[bytes]:
        root_fd = os.open(".", _DIR, dir_fd=dir_fd)
        stack = [(root_fd, f"{prefix}/" if prefix else "", iter(_names(root_fd)))]
        try:
            if root_entry:
                self._folder(root_fd, prefix or ".")
            while stack:
                fd, above, names = stack[-1]
                name = next(names, None)
                if name is None:
                    stack.pop()
                    os.close(fd)
                    continue
                path = above + name
                try:
                    below = os.open(name, _DIR, dir_fd=fd)
                except FileNotFoundError:
                    continue  # a live tree: gone since its folder was listed
                except OSError:
                    yield from self.entry(fd, name, path)
                    continue
                stack.append((below, f"{path}/", iter(_names(below))))
                if len(stack) > _MAX_DEPTH:
                    raise InvalidArgument(f"archive {path[:64]!r}...: deeper than {_MAX_DEPTH} folders")
                self._folder(below, path)
        except OSError as error:
            raise Unavailable(f"archive {path if stack else prefix!r}: {error.strerror}") from error
        finally:
            for fd, _, _ in stack:
                os.close(fd)
        yield bytes(self.buffer) + tar.END

    def entry(self, parent_fd: int, name: str, path: str) -> Iterator[bytes]:
        """Anything but a folder."""
        try:
            found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        mode = found.st_mode
        if stat.S_ISREG(mode):
            yield from self._regular(parent_fd, name, path)
        elif self._whiteouts and stat.S_ISCHR(mode) and found.st_rdev == 0:
            above, slash, last = path.rpartition("/")
            self._add(Entry(f"{above}{slash}.wh.{last}", tar.REGULAR))  # its own time says nothing, and isn't kept
        elif not stat.S_ISSOCK(mode) and not self._linked(found, path):
            self._add(self._special(parent_fd, name, path, found))
        if len(self.buffer) >= _CHUNK:
            yield self._flush()

    def _special(self, parent_fd: int, name: str, path: str, found: os.stat_result) -> Entry:
        mode = found.st_mode
        if stat.S_ISLNK(mode):
            return self._entry(path, tar.SYMLINK, found, link=os.readlink(name, dir_fd=parent_fd))
        if stat.S_ISFIFO(mode):
            return self._entry(path, tar.FIFO, found)
        kind = tar.CHARACTER if stat.S_ISCHR(mode) else tar.BLOCK_DEVICE
        entry = self._entry(path, kind, found)
        entry.mode &= 0o1777  # set-id bits mean nothing on a device, and the extractor doesn't set them
        entry.device = (os.major(found.st_rdev), os.minor(found.st_rdev))
        return entry

    def _regular(self, parent_fd: int, name: str, path: str) -> Iterator[bytes]:
        try:
            fd = os.open(name, _FILE, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or self._linked(found, path):
                return
            entry = self._entry(path, tar.REGULAR, found, size=found.st_size)
            entry.xattrs = _xattrs(fd)
            self._add(entry)
            left = found.st_size
            while left:
                data = os.read(fd, min(left, _CHUNK))
                if not data:  # it shrank under our hands: the header has promised its size
                    data = bytes(min(left, _CHUNK))
                left -= len(data)
                self.buffer += data
                if len(self.buffer) >= _CHUNK:
                    yield self._flush()
            self.buffer += tar.padding(found.st_size)
        finally:
            os.close(fd)

    def _folder(self, fd: int, path: str) -> None:
        found = os.fstat(fd)
        entry = self._entry(f"{path}/", tar.DIRECTORY, found)
        entry.xattrs = _xattrs(fd)
        self._add(entry)
        if self._whiteouts and _is_opaque(fd):
            self._add(Entry(f"{path}/.wh..wh..opq", tar.REGULAR))

    def _entry(self, path: str, kind: str, found: os.stat_result, size: int = 0, link: str = "") -> Entry:
        return Entry(
            path, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, size, self._time(found), link
        )  # fmt: skip

    def _linked(self, found: os.stat_result, path: str) -> bool:
        """Adds a hard link when the file has had a name before."""
        if found.st_nlink < 2:
            return False
        first = self._first.setdefault((found.st_dev, found.st_ino), path)
        if first == path:
            return False
        self._add(self._entry(path, tar.HARD_LINK, found, link=first))
        return True

    def _time(self, found: os.stat_result) -> int:
        return found.st_mtime_ns if self._clamp is None else min(found.st_mtime_ns, self._clamp)

    def _add(self, entry: Entry) -> None:
        self.buffer += tar.header(entry)

    def _flush(self) -> bytes:
        data, self.buffer = bytes(self.buffer), bytearray()
        return data


def _names(fd: int) -> list[str]:
    return sorted(os.listdir(fd), key=os.fsencode)


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError:
        return False


def _xattrs(fd: int) -> dict[str, bytes] | None:
    try:
        names = os.listxattr(fd)
    except OSError:
        return None
    if not names:
        return None
    found = {}
    for name in names:
        if name == "security.capability" or (name.startswith(("user.", "system.posix_acl_")) and name[:13] != "user.overlay."):
            found[name] = os.getxattr(fd, name)
    return found or None
