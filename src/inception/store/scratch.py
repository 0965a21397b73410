"""Half-done work: folders under `ROOT/tmp` that their owner holds a lock on.

Whatever is made lies here first and gets its final place with one rename. A folder whose lock nobody holds belonged to a
process that is gone, at whatever point it was killed, and is removed by the next one that asks: no pid is compared, so none
can be mistaken.
"""

from __future__ import annotations

import fcntl
import os

from inception.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Scratch:
    """One locked folder, removed with all that is in it at the end: `with Scratch(tmp) as scratch: scratch.path`."""

    def __init__(self, tmp: str) -> None:
        self._tmp = tmp
        self._fd = -1
        self.path = ""

    def __enter__(self) -> Scratch:
        while True:
            self.path = f"{self._tmp}/{os.urandom(8).hex()}"
            try:
                os.mkdir(self.path, 0o700)
                self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._fd).st_nlink:
                    return self
            except (BlockingIOError, FileNotFoundError):
                pass  # a sweep took it between mkdir and flock
            except OSError as error:
                raise Unavailable(f"create {self.path}: {error.strerror}") from error
            self._close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        remove_tree(self.path)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sweep(tmp: str) -> int:
    """Removes what dead owners left in *tmp*; the number of folders."""
    removed = 0
    for name in os.listdir(tmp):
        path = f"{tmp}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            os.unlink(path)
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
            removed += 1
        except BlockingIOError:
            pass  # its owner lives
        except OSError:
            pass  # a process of a dead owner is still writing to it, or another sweep is at it: the next one finds it
        finally:
            os.close(fd)
    return removed


def move(path: str, place: str) -> bool:
    """Rename; False when it can't be done, because *path* is gone or the folder around *place*."""
    try:
        os.rename(path, place)
    except OSError:
        return False
    return True


def remove_tree(path: str) -> None:
    """Removes *path* and all beneath it, never following a link out; nothing there is fine.

    Raises OSError where something can't be removed (a mount, an immutable file).
    """
    parent, _, name = path.rpartition("/")
    try:
        fd = os.open(parent or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(fd, name)
    finally:
        os.close(fd)


def remove_at(parent_fd: int, name: str) -> None:
    """`remove_tree` for an entry of an open folder.

    Depth is bounded by fds only for trees that nobody could have made through path names: it goes down by fd, one a level,
    and climbs back by "..", of folders that no one else can reach (0700).
    """
    try:
        os.unlink(name, dir_fd=parent_fd)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    except PermissionError:  # POSIX says EPERM for a folder; also an immutable file, which fails below
        pass
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    stack = [name]
    try:
        while stack:
            below = None
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        try:
                            os.rmdir(entry.name, dir_fd=fd)
                        except OSError:
                            below = entry.name
                            break
                    else:
                        os.unlink(entry.name, dir_fd=fd)
            if below is not None:
                fd = _step(fd, below)
                stack.append(below)
                continue
            fd = _step(fd, "..")
            os.rmdir(stack.pop(), dir_fd=fd)
    finally:
        os.close(fd)


def _step(fd: int, name: str) -> int:
    new = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    os.close(fd)
    return new
