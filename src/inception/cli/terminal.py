"""The user's terminal: raw mode, its size, the keys that detach."""

from __future__ import annotations

import os

from inception.cli.flags import UsageError
from inception.engine.detach import DetachKeys as DetachKeys
from inception.engine.detach import parse_detach_keys as parse_detach_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def check_terminal(tty: bool, interactive: bool) -> None:
    """Docker's refusal to give a terminal's keys to a container when there are none."""
    if tty and interactive and not os.isatty(0):
        raise UsageError("the input device is not a TTY", exit_code=1)


class RawMode:
    """A terminal in raw mode for the length of a `with` block: every key goes through as it is, Ctrl-C too."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> None:
        import termios

        self._saved = termios.tcgetattr(self.fd)
        mode: list[Any] = [part.copy() if isinstance(part, list) else part for part in self._saved]
        # cfmakeraw(3), except that output keeps its processing (OPOST): our own messages need their carriage returns,
        # and the container's terminal has made its own already.
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.fd, termios.TCSANOW, mode)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        import termios

        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)
        except termios.error:
            pass  # the terminal itself has gone


def size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal on standard output; None when that is no terminal or has no size."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None
