"""Folders that outlive builds, by their id, each with a lock: cache mounts, and contexts as clients sent them.

    ROOT/build-cache/KIND/HEX/        KIND: mounts, contexts. HEX: digest of the id, so that no id can be a path (CVE-2024-9675)
      id                              in words, for people and for `prune`
      digests.0                       of a context's files: `context.py`
      lock.0, data.0                  the folder; `private` takes data.1, data.2, ... while others are in use

`shared` holds the lock together with others, `locked` alone, `private` takes the first folder that is free. Locks are
flock(2): whoever is killed lets go.
"""

from __future__ import annotations

import fcntl
import os

from inception.build.waiting import wait_for
from inception.errors import Unavailable
from inception.oci.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_PRIVATE = 64


class CacheFolders:
    """Those of one store; *kind* is `mounts` or `contexts`."""

    def __init__(self, store_root: str, kind: str = "mounts") -> None:
        self._root = f"{store_root}/build-cache/{kind}"

    def take(self, name: str, sharing: str, check: Callable[[], None]) -> CacheFolder:
        """The folder of the cache *name*, locked. *check* is called while waiting, and raises to end that."""
        home = f"{self._root}/{sha256(os.fsencode(name)).hex}"
        os.makedirs(home, mode=0o700, exist_ok=True)
        _write_once(f"{home}/id", os.fsencode(name))
        for number in range(_MAX_PRIVATE):
            folder = _open(home, number, sharing, None if sharing == "private" else check)
            if folder is not None:
                return folder
        raise Unavailable(f"cache mount {name}: all of its {_MAX_PRIVATE} private folders are in use")

    def trim(self, keep_bytes: int, unused_since: float) -> None:
        """Removes those that nobody uses: what hasn't been used since that time, and the oldest of what is noted to be more
        than *keep_bytes* together."""
        found = []
        for home in _folders(self._root):
            for name in os.listdir(home):
                if name.startswith("lock."):
                    status = os.stat(f"{home}/{name}")
                    found.append((status.st_mtime, home, name.removeprefix("lock."), _noted(f"{home}/{name}")))
        total = 0
        for used_at, home, number, size in sorted(found, reverse=True):
            total += size
            if used_at < unused_since or total > keep_bytes:
                _remove(home, number)

    def entries(self) -> list[tuple[str, str, int, int]]:
        """(name, id in words, bytes, last use in seconds) of each folder."""
        from inception.store.layers import tree_size

        found = []
        for home in _folders(self._root):
            with open(f"{home}/id", "rb") as file:
                words = os.fsdecode(file.read()).replace("\0", " ").strip()
            for name in sorted(os.listdir(home)):
                if name.startswith("data."):
                    number = name.removeprefix("data.")
                    used_at = int(os.stat(f"{home}/lock.{number}").st_mtime)
                    found.append((f"{os.path.basename(home)[:24]}-{number}", words, tree_size(f"{home}/{name}"), used_at))
        return found

    def remove(self, entry: str) -> int | None:
        """Removes one that `entries` names; the bytes, None when somebody uses it."""
        start, _, number = entry.rpartition("-")
        home = next((each for each in _folders(self._root) if os.path.basename(each).startswith(start)), "")
        return _remove(home, number) if home else 0


class CacheFolder:
    """`data_fd` is the open folder at `path`, `digests` a place for those of its files, `fresh` whether it was made just now.
    Closing it unlocks it."""

    def __init__(self, home: str, number: int, lock_fd: int, data_fd: int, fresh: bool) -> None:
        self.path = f"{home}/data.{number}"
        self.digests = f"{home}/digests.{number}"
        self._lock_fd = lock_fd
        self.data_fd = data_fd
        self.fresh = fresh

    def filled(self) -> None:
        """What it begins with is in it: the next one finds it so."""
        os.pwrite(self._lock_fd, b"1", 0)
        self.fresh = False

    def note_size(self, size_bytes: int) -> None:
        """For `trim`, which can't walk through all of them."""
        data = b"1 %d\n" % size_bytes
        os.pwrite(self._lock_fd, data, 0)
        os.ftruncate(self._lock_fd, len(data))

    def share(self) -> None:
        """From here on others may use it too."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self.data_fd)
        os.close(self._lock_fd)


def _noted(path: str) -> int:
    with open(path, "rb") as file:
        words = file.read(64).split()
    return int(words[1]) if len(words) == 2 else 0


def _open(home: str, number: int, sharing: str, check: Callable[[], None] | None) -> CacheFolder | None:
    """None: in use, and *check* doesn't say to wait."""
    lock = os.open(f"{home}/lock.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:

        def kind() -> int:  # the first one fills the folder alone; whoever waited for that may then share it
            filled = os.fstat(lock).st_size > 0
            return fcntl.LOCK_SH if sharing == "shared" and filled else fcntl.LOCK_EX

        def take() -> bool:
            return _lock(lock, kind())

        if check is not None:
            wait_for(take, check)
        elif not take():
            os.close(lock)
            return None
        if kind() == fcntl.LOCK_SH:  # it was filled just before we had it alone
            fcntl.flock(lock, fcntl.LOCK_SH)
        data = f"{home}/data.{number}"
        os.makedirs(data, mode=0o755, exist_ok=True)
        os.utime(lock)  # for `prune`: when it was used
        fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return CacheFolder(home, number, lock, fd, os.fstat(lock).st_size == 0)
    except BaseException:
        os.close(lock)
        raise


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folders(root: str) -> list[str]:
    try:
        return [f"{root}/{name}" for name in sorted(os.listdir(root))]
    except FileNotFoundError:
        return []


def _remove(home: str, number: str) -> int | None:
    import shutil

    from inception.store.layers import tree_size

    lock = os.open(f"{home}/lock.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        data = f"{home}/data.{number}"
        if not os.path.isdir(data):
            return 0
        if not _lock(lock, fcntl.LOCK_EX):
            return None
        freed = tree_size(data)
        os.ftruncate(lock, 0)  # fresh again, whatever happens from here on
        shutil.rmtree(data)
        shutil.rmtree(f"{home}/digests.{number}", ignore_errors=True)
        return freed
    finally:
        os.close(lock)


def _write_once(path: str, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with open(fd, "wb") as file:
        file.write(data)
