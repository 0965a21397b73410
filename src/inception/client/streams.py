"""Attach and exec over a connection taken out of HTTP, with the same methods as the streams of an engine here."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}
_HEAD_BYTES = 8
_READ_BYTES = 1 << 16


class RemoteStream:
    """Output of a container or an exec, and its input. *resize_to* sends the size of its terminal.

    One thread may read while another writes.
    """

    ended = False

    def __init__(self, connection: socket.socket, *, framed: bool, resize_to: Callable[[int, int], None]) -> None:
        self._socket = connection
        self._framed = framed
        self._resize_to = resize_to
        self._received = bytearray()
        self._found: list[tuple[str, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when `read` has something to say; call `pending` first."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        return bool(self._found)

    def read(self, timeout_s: float | None = None) -> tuple[str, bytes] | None:
        """The next piece of output: ("stdout" or "stderr", data). None at the end, or when the time is up."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._found and not self.ended:
            if not self._readable(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return None
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError:
                data = b""
            self.ended = not data
            self._take(data)
        return self._found.pop(0) if self._found else None

    def _readable(self, left_s: float | None) -> bool:
        waiting = getattr(self._socket, "pending", None)  # TLS may hold what was decrypted already
        if waiting is not None and waiting():
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(None if left_s is None else left_s * 1000))

    def _take(self, data: bytes) -> None:
        if not self._framed:
            if data:
                self._found.append(("stdout", data))
            return
        self._received += data
        while len(self._received) >= _HEAD_BYTES:
            length = int.from_bytes(self._received[4:8], "big")
            if len(self._received) < _HEAD_BYTES + length:
                return
            piece = bytes(self._received[_HEAD_BYTES : _HEAD_BYTES + length])
            self._found.append((_STREAMS.get(self._received[0], "stdout"), piece))
            del self._received[: _HEAD_BYTES + length]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[str, bytes]:
        piece = self.read()
        if piece is None:
            raise StopIteration
        return piece

    def write(self, data: bytes) -> None:
        """Send *data* to its stdin; nothing happens when nobody listens any more."""
        try:
            self._socket.sendall(data)
        except OSError:
            pass

    def close_stdin(self) -> None:
        """The end of its input."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def resize(self, rows: int, columns: int) -> None:
        self._resize_to(rows, columns)

    def close(self) -> None:
        self._socket.close()
