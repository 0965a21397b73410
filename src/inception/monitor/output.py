"""The container's standard streams, seen from outside: pipes, or the master side of its terminal.

Output is read whenever it is there, whoever listens; input waits, bounded, until the container takes it.
"""

from __future__ import annotations

import os

from inception.monitor.loop import EPOLLIN, EPOLLOUT, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What a pipe holds by default: one read empties it.
CHUNK_BYTES = 64 << 10
# As much as one can hold (pipe-max-size).
FULL_BYTES = 1 << 20
INPUT_BYTES = 256 << 10


class Output:
    """One output stream; *sink* gets what it says. Owns *fd*."""

    def __init__(self, loop: Loop, fd: int, stream: str, sink: Callable[[str, bytes], None]) -> None:
        self.stream = stream
        self._loop = loop
        self._fd: int | None = fd
        self._sink = sink
        self._left = FULL_BYTES  # of what `drain` takes
        os.set_blocking(fd, False)

    def resume(self) -> None:
        if self._fd is not None:
            self._loop.watch(self._fd, EPOLLIN, self._ready)

    def hold(self) -> None:
        """Stops reading. The fd leaves the set altogether: a hung-up pipe is reported whatever events are asked for."""
        if self._fd is not None:
            self._loop.forget(self._fd)

    @property
    def open(self) -> bool:
        return self._fd is not None

    def read(self) -> int:
        """Passes on one chunk; its size. 0 when there is nothing now, or nothing any more (then the stream is closed)."""
        if self._fd is None:
            return 0
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: nobody has the terminal's other side open any more
            data = b""
        if data:
            self._sink(self.stream, data)
            return len(data)
        self.close()
        return 0

    def drain(self, held: Callable[[], bool]) -> None:
        """After the end: passes on what is there and closes, unless it is *held* meanwhile; then it is called again.

        Not more than there can be: a container in the machine's pid namespace may leave somebody who writes on and on.
        """
        while not held():
            size = self.read() if self._left > 0 else 0
            self._left -= size
            if size == 0:
                self.close()
                return

    def close(self) -> None:
        if self._fd is not None:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = None

    def _ready(self, _events: int) -> None:
        self.read()


class Input:
    """The container's stdin. Owns *fd*. `full` tells senders to wait; *drained* is called when it no longer holds."""

    def __init__(self, loop: Loop, fd: int, drained: Callable[[], None]) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._drained = drained
        self._waiting = bytearray()
        self._closing = False
        os.set_blocking(fd, False)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= INPUT_BYTES

    def write(self, data: bytes) -> None:
        """Takes *data* for the container; what comes after `finish` or after the reader left is dropped, as by a pipe."""
        if self._fd is None or self._closing:
            return
        self._waiting += data
        self._flush()

    def finish(self) -> None:
        """End of input, once everything is through."""
        self._closing = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        if self._fd is not None:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = None
            self._waiting.clear()
            self._drained()

    def _flush(self, _events: int = 0) -> None:
        assert self._fd is not None
        was_full = self.full
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            self._loop.watch(self._fd, EPOLLOUT, self._flush)
        except OSError:  # EPIPE: the container closed its end
            self.close()
            return
        if not self._waiting:
            self._loop.forget(self._fd)
            if self._closing:
                self.close()
                return
        if was_full and not self.full:
            self._drained()
