"""Standard streams joined to a container or an exec: output out, input in, signals and window sizes across.

    stdin ──▶ thread ──▶ stream.write        a thread of its own: the container may block on its output, which we read,
    stream.read ──▶ main ──▶ stdout, stderr  while it does not read the input that we would be stuck writing
    signals, detach, resize ──▶ wake pipe ──▶ main

The main thread waits in poll(2) for output and for the wake pipe; a signal's number arrives there as a byte.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` builds enums, 5 ms
import _thread
import os
import select

from inception.cli.terminal import DetachKeys, RawMode, size
from inception.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Stream(Protocol):
        """The container's side: an AttachStream, or an exec's streams."""

        def fileno(self) -> int: ...
        @property
        def pending(self) -> bool: ...
        def read(self, timeout_s: float | None = None) -> tuple[str, bytes] | None: ...
        def write(self, data: bytes) -> None: ...
        def close_stdin(self) -> None: ...
        def resize(self, rows: int, columns: int) -> None: ...
        @property
        def ended(self) -> bool: ...


# What is sent on to the container. Not SIGCHLD, SIGPIPE, SIGURG, as with Docker; nor SIGWINCH, which Docker does send and
# which ends nginx when somebody drags a window's corner.
_NAMES = "HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP IO PWR VTALRM PROF XCPU XFSZ"
FORWARDED: tuple[int, ...] = tuple(getattr(_signal, f"SIG{name}") for name in _NAMES.split())
_DETACHED = 255


class Session:
    """One attachment. Made before the container starts, so that no signal is lost; `run` returns at its end.

    *interactive* sends standard input on. *tty* puts a terminal there into raw mode, follows its size, and watches for
    *detach_keys*. *forward*, when given, gets every signal of FORWARDED instead of it acting on this process.
    """

    def __init__(
        self,
        *,
        tty: bool = False,
        interactive: bool = False,
        outputs: tuple[str, ...] = ("stdout", "stderr"),
        detach_keys: bytes = b"",
        forward: Callable[[int], None] | None = None,
    ) -> None:
        self.tty = tty
        self.interactive = interactive
        self.outputs = outputs
        self.detach_keys = detach_keys
        self.forward = forward
        self.detached = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._handlers: dict[int, object] = {}
        self._catch()

    def _catch(self) -> None:
        signals = list(FORWARDED) if self.forward else []
        if self.tty:
            signals.append(_signal.SIGWINCH)
        if signals:
            self._wakeup = _signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in signals:
            self._handlers[number] = _signal.signal(number, lambda *_: None)

    def close(self) -> None:
        """Give the signals back."""
        if self._handlers:
            _signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            _signal.signal(number, handler)
        self._handlers.clear()

    def run(self, stream: Stream) -> None:
        """Pass data until the stream's end, or until `detached`."""
        if self.tty and self.interactive and os.isatty(0):
            with RawMode(0):
                self._run(stream)
        else:
            self._run(stream)
        if self.detached:
            write_all(2, b"read escape sequence\n")

    def _run(self, stream: Stream) -> None:
        if self.tty:
            self._resize(stream)
        if self.interactive:
            _thread.start_new_thread(self._send_input, (stream,))
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self.detached:
            ready = [] if stream.pending else [fd for fd, _ in poll.poll()]
            if self._wake_read in ready:
                self._woken(stream)
            if stream.pending or stream.fileno() in ready:
                piece = stream.read(0.0)
                if piece is not None:
                    self._show(*piece)
                elif stream.ended:
                    return

    def _show(self, name: str, data: bytes) -> None:
        if name in self.outputs:
            write_all(1 if name == "stdout" else 2, data)

    def _woken(self, stream: Stream) -> None:
        for number in os.read(self._wake_read, 4096):
            if number == _DETACHED:
                self.detached = True
            elif number == _signal.SIGWINCH:
                self._resize(stream)
            elif self.forward is not None:
                try:
                    self.forward(number)
                except (NotFound, Conflict):
                    pass  # it has ended; the stream is about to say so

    def _resize(self, stream: Stream) -> None:
        found = size()
        if found is not None:
            stream.resize(*found)

    def _send_input(self, stream: Stream) -> None:
        keys = DetachKeys(self.detach_keys) if self.tty and self.detach_keys else None
        try:
            while data := os.read(0, 1 << 15):
                if keys is not None:
                    data, complete = keys.feed(data)
                    if complete:
                        os.write(self._wake_write, bytes([_DETACHED]))
                        return
                if data:
                    stream.write(data)
            stream.close_stdin()
        except Exception:
            # The container went away, or the terminal did. The main thread sees the first by itself; in the second case
            # there is nothing more to read, and what runs goes on.
            pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*, also to a descriptor that somebody has made non-blocking. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
