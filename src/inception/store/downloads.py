"""Blobs on their way: `ROOT/partial/ALGORITHM-HEX`, one file a blob, locked by whoever fetches it.

Threads and processes that want the same blob meet at its lock: the first fetches, the others wait, see the news and find the
blob in the store. A transfer that was cut off, also by kill -9, leaves what it had; the next one reads it, hashes it and asks
for the rest. What comes out is verified as a whole before it gets a name, so a part that went bad costs one more transfer.
"""

from __future__ import annotations

import fcntl
import os
import time

from inception.errors import InvalidArgument, Unavailable
from inception.oci.digest import Digest
from inception.store.content import CHUNK, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from inception.oci.image import Descriptor
    from inception.store import Store

    #: Bytes from an offset on; the total says how much there is.
    Source = Callable[[int], Iterator[bytes]]
    Tell = Callable[[str, int], None]

_POLL_S = 0.05
#: Parts that nobody has come back for are removed by clean-up.
KEEP_S = 24 * 3600


def download(store: Store, blob: Descriptor, source: Source, tell: Tell) -> bool:
    """Brings *blob* into the store; whether bytes were fetched here. `tell(status, bytes)` is called now and then.

    Raises InvalidArgument when the bytes are not what the descriptor says, and what *source* raises.
    """
    for turn in range(2):
        with _Part(store.root, Digest(blob.digest), tell) as part:
            if store.content.exists(blob.digest):
                part.discard()
                return False
            resumed = part.take_up(blob.size)
            try:
                part.fill(blob, source, tell)
                found = part.digest
                if found != blob.digest:
                    raise InvalidArgument(f"content {blob.digest}: the bytes have digest {found}")
            except InvalidArgument:
                part.discard()
                if resumed and turn == 0:
                    continue  # what was there may have been the bad part
                raise
            store.content.adopt(part.path, blob.digest)
            return True
    raise AssertionError("unreachable")


def remove_stale(root: str, keep_s: float = KEEP_S) -> int:
    """Removes parts that nobody is at and that are older than *keep_s*; the bytes freed."""
    freed = 0
    folder = f"{root}/partial"
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    for name in names:
        path = f"{folder}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(fd)
            if time.time() - found.st_mtime >= keep_s:
                os.unlink(path)
                freed += found.st_size
        except OSError:
            pass  # someone is at it, or was faster
        finally:
            os.close(fd)
    return freed


class _Part:
    """One partial file, held alone."""

    def __init__(self, root: str, digest: Digest, tell: Tell) -> None:
        self._folder = f"{root}/partial"
        self.path = f"{self._folder}/{digest.algorithm}-{digest.hex}"
        self._algorithm = digest.algorithm
        self._tell = tell
        self._fd = -1
        self._length = 0
        self._hasher: Any = None

    def __enter__(self) -> _Part:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        while True:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Unavailable(f"create {self.path}: {error.strerror}") from error
            try:
                self._lock()
                if os.fstat(self._fd).st_ino == os.stat(self.path).st_ino:
                    return self
            except FileNotFoundError:
                pass  # finished or given up by the one we waited for: its file has another name now, or none
            except BaseException:
                self._close()
                raise
            self._close()

    def _lock(self) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # Asked again and again instead of blocking: this way an interrupt ends the wait, and there is news.
                self._tell("Waiting", os.fstat(self._fd).st_size)
                time.sleep(_POLL_S)

    def take_up(self, size: int) -> bool:
        """Hashes what is there already; whether that is anything."""
        import hashlib  # 5 ms of OpenSSL that lookups never need

        self._hasher = hashlib.new(self._algorithm)
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        while chunk := os.read(self._fd, CHUNK):
            self._hasher.update(chunk)
            self._length += len(chunk)
        return self._length > 0

    def fill(self, blob: Descriptor, source: Source, tell: Tell) -> None:
        if self._length == blob.size > 0:
            return
        told = 0.0
        for chunk in source(self._length):
            self._length += len(chunk)
            if self._length > blob.size:
                raise InvalidArgument(f"content {blob.digest}: longer than the {blob.size} bytes that were announced")
            self._hasher.update(chunk)
            try:
                write_all(self._fd, chunk)
            except OSError as error:
                raise Unavailable(f"store {blob.digest}: {error.strerror}", "is the disk full?") from error
            if (now := time.monotonic()) - told > 0.1:
                told = now
                tell("Downloading", self._length)
        if self._length != blob.size:
            raise InvalidArgument(f"content {blob.digest}: got {self._length} bytes of the {blob.size} that were announced")

    @property
    def digest(self) -> str:
        return f"{self._algorithm}:{self._hasher.hexdigest()}"

    def discard(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if os.fstat(self._fd).st_size == 0:
            self.discard()
        self._close()
