"""Content by digest: `ROOT/blobs/sha256/HEX`, written once, never changed.

A blob is streamed into a scratch folder and hashed on the way, checked against what was promised (size while it comes, digest
at the end), synced, and only then renamed to its name. So a name never points to half a blob or to other bytes, whoever died.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, is_digest
from inception.store.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

CHUNK = 1 << 20
_MEND = "`inception store verify --repair` mends what lies in the store"


class Content:
    """The blobs beneath *root*; all methods are safe from any process and thread."""

    def __init__(self, root: str, tmp: str) -> None:
        self._root = root
        self._tmp = tmp

    def path(self, digest: str) -> str:
        checked = Digest(digest)  # as a type its parts are safe in a path
        return f"{self._root}/{checked.algorithm}/{checked.hex}"

    def exists(self, digest: str) -> bool:
        return os.path.exists(self.path(digest))

    def size(self, digest: str) -> int:
        """Bytes. Raises NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise NotFound(f"content {digest}: not found") from None

    def open(self, digest: str) -> BinaryIO:
        """The blob for reading; the caller closes it. Raises NotFound, Unavailable."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"content {digest}: not found") from None
        except OSError as error:
            raise Unavailable(f"open {self.path(digest)}: {error.strerror}", _MEND) from error

    def read(self, digest: str, max_bytes: int = 64 << 20) -> bytes:
        """All of a blob that is a document. Raises NotFound, InvalidArgument when it is longer than *max_bytes*."""
        with self.open(digest) as file:
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise InvalidArgument(f"content {digest}: longer than {max_bytes} bytes")
            return file.read()

    def put(
        self, chunks: Iterable[bytes], digest: str = "", size_bytes: int | None = None, max_bytes: int | None = None
    ) -> tuple[Digest, int]:
        """Stores a stream; its digest and size. What is there already is read and checked all the same.

        Raises InvalidArgument when the stream is not what *digest* and *size_bytes* promise, or exceeds *max_bytes*.
        """
        with Scratch(self._tmp) as scratch:
            partial = f"{scratch.path}/blob"
            with open(partial, "xb", buffering=0) as file:
                found, length = copy_hashed(chunks, file, digest, size_bytes, max_bytes)
            self.adopt(partial, found)
        return found, length

    def put_bytes(self, data: bytes, digest: str = "") -> Digest:
        return self.put([data], digest)[0]

    def adopt(self, partial: str, digest: str) -> None:
        """Gives the complete, verified file *partial* its name. It must lie on the same file system."""
        final = self.path(digest)
        folder = os.path.dirname(final)
        try:
            with open(partial, "rb", buffering=0) as file:
                os.fsync(file.fileno())
            os.makedirs(folder, mode=0o700, exist_ok=True)
            os.chmod(partial, 0o400)
            os.rename(partial, final)
            sync_folder(folder)
        except OSError as error:
            raise Unavailable(f"store {digest}: {error.strerror}", _MEND if os.path.isdir(final) else "") from error

    def delete(self, digest: str) -> int:
        """Removes a blob; the bytes that were freed, 0 when it was not there."""
        path = self.path(digest)
        try:
            freed = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        except IsADirectoryError:  # nothing of ours, but in our way
            with Scratch(self._tmp) as scratch:
                os.rename(path, f"{scratch.path}/gone")
        return freed

    def names(self) -> list[str]:
        """All that lies where blobs do, `algorithm:name`, also what is none."""
        found = []
        for algorithm in os.listdir(self._root):
            found += [f"{algorithm}:{name}" for name in os.listdir(f"{self._root}/{algorithm}")]
        return found

    def list(self) -> list[str]:
        """The digests of all blobs. Walks the folder: for clean-up only."""
        return [name for name in self.names() if is_digest(name)]


def copy_hashed(
    chunks: Iterable[bytes], file: BinaryIO, digest: str = "", size_bytes: int | None = None, max_bytes: int | None = None
) -> tuple[Digest, int]:
    """Writes *chunks* to *file*; digest and length. Raises as `Content.put`."""
    import hashlib  # 5 ms of OpenSSL that lookups never need

    algorithm = Digest(digest).algorithm if digest else "sha256"
    hasher = hashlib.new(algorithm)
    length = 0
    try:
        for chunk in chunks:
            length += len(chunk)
            if size_bytes is not None and length > size_bytes:
                raise InvalidArgument(f"content {digest}: longer than the {size_bytes} bytes that were announced")
            if max_bytes is not None and length > max_bytes:
                raise InvalidArgument(f"content {digest or 'stream'}: longer than the allowed {max_bytes} bytes")
            hasher.update(chunk)
            write_all(file.fileno(), chunk)
    except OSError as error:
        raise Unavailable(f"store {digest or 'content'}: {error.strerror}", "is the disk full?") from error
    if size_bytes is not None and length != size_bytes:
        raise InvalidArgument(f"content {digest}: got {length} bytes of the {size_bytes} that were announced")
    found = Digest(f"{algorithm}:{hasher.hexdigest()}")
    if digest and found != digest:
        raise InvalidArgument(f"content {digest}: the bytes have digest {found}")
    return found, length


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until all is written."""
    written = os.write(fd, data)
    if written < len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def chunks_of(file: BinaryIO, size: int = CHUNK) -> Iterable[bytes]:
    """*file* in pieces."""
    while chunk := file.read(size):
        yield chunk


def sync_folder(path: str) -> None:
    """Makes the names in *path* survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
