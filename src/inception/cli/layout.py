"""An OCI layout in a folder as the archive that `load` takes, wherever the engine is."""

from __future__ import annotations

import io
import os

from inception.oci.digest import is_digest
from inception.store import tar
from inception.store.content import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


def open_layout(path: str) -> BinaryIO:
    """A tar of the folder *path*, made while it is read; of what lies in it only what belongs to a layout."""
    return io.BufferedReader(_Tar(path))


class _Tar(io.RawIOBase):
    def __init__(self, path: str) -> None:
        self._chunks = _pack(path)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _pack(path: str) -> Iterator[bytes]:
    names = ["oci-layout", "index.json"]
    blobs = f"{path}/blobs"
    for algorithm in sorted(os.listdir(blobs)) if os.path.isdir(blobs) else ():
        names += [
            f"blobs/{algorithm}/{name}" for name in os.listdir(f"{blobs}/{algorithm}") if is_digest(f"{algorithm}:{name}")
        ]
    for name in names:
        try:
            file = open(f"{path}/{name}", "rb", buffering=0)
        except FileNotFoundError:
            continue  # `load` says what it misses
        with file:
            size = os.fstat(file.fileno()).st_size
            yield tar.header(tar.Entry(name, tar.REGULAR, 0o644, size=size))
            left = size
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            yield bytes(left) + tar.padding(size)  # one that shrinks meanwhile has another digest then, and is refused for that
    yield tar.END
