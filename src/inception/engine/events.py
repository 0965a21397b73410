"""What happened, in Docker's words: `container start`, `network connect`, `volume create`, `image pull`.

One file in the run root, a line an event, appended by whoever did it; no daemon hands events out, a reader follows the file.
It is bounded: past a size it becomes `events.1`, replacing the one before. A reboot ends it, like Docker's.
"""

from __future__ import annotations

import os
import time

from inception.jsontext import dumps, loads
from inception.record import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.engine.results import Event

_MAX_BYTES = 4 << 20
_FOLLOW_INTERVAL_S = 0.05


class Events:
    """`engine.events`."""

    def __init__(self, run_root: str) -> None:
        self.path = f"{run_root}/events"

    def emit(self, type: str, action: str, id: str, attributes: dict[str, str]) -> None:
        """Append one event. A full disk loses events, never the work they tell of."""
        event = {"type": type, "action": action, "id": id, "attributes": attributes, "time_ns": time.time_ns()}
        line = (dumps(event) + "\n").encode()
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line)  # one write under O_APPEND: lines of several processes never mix
                if os.fstat(fd).st_size > _MAX_BYTES:
                    self._rotate(fd)
            finally:
                os.close(fd)
        except OSError:
            pass

    def read(
        self, *, since: str = "", until: str = "", filters: dict[str, list[str]] | None = None, follow: bool = False
    ) -> Iterator[Event]:
        """Events from *since* to *until*; without *since* those from now on; *follow* waits for more until *until*.

        Times as `parse_when_ns` takes them. Filters as `docker events`: container, image, network, volume, type, event,
        label. Raises InvalidArgument for others.
        """
        from inception.engine.filters import event_matches
        from inception.engine.times import parse_when_ns

        matches = event_matches(filters or {})
        since_ns = parse_when_ns(since) if since else time.time_ns()
        until_ns = parse_when_ns(until) if until else None
        return self._select(since_ns, until_ns, matches, follow, bool(since))

    def _select(
        self, since_ns: int, until_ns: int | None, matches: Callable[[Event], bool], follow: bool, history: bool
    ) -> Iterator[Event]:
        from inception.engine.results import Event

        for line in self._lines(until_ns if follow else 0, history):
            event = decode(Event, loads(line))
            if until_ns is not None and event.time_ns > until_ns:
                return
            if event.time_ns >= since_ns and matches(event):
                yield event

    def _lines(self, until_ns: int | None, history: bool) -> Iterator[bytes]:
        """Whole lines; goes on until *until_ns* (None is for ever). Follows a rotation to the new file."""
        if history:
            yield from _read_lines(f"{self.path}.1")
        reader = Tail(self.path, from_start=history)
        while True:
            yield from reader.lines()
            if until_ns is not None and time.time_ns() >= until_ns:
                return
            time.sleep(_FOLLOW_INTERVAL_S)

    def _rotate(self, fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_ino == os.stat(self.path).st_ino:  # nobody else has done it in between
            os.rename(self.path, f"{self.path}.1")


def _read_lines(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


class Tail:
    """A file that grows, and is replaced by a new one of its name from time to time."""

    def __init__(self, path: str, *, from_start: bool) -> None:
        self.path = path
        self._fd = -1
        self._rest = b""
        self._open()
        if self._fd >= 0 and not from_start:
            os.lseek(self._fd, 0, os.SEEK_END)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def lines(self) -> Iterator[bytes]:
        """Lines that came since the last call."""
        if self._fd < 0:
            self._open()
        while self._fd >= 0:
            while chunk := os.read(self._fd, 1 << 16):
                *whole, self._rest = (self._rest + chunk).split(b"\n")
                yield from whole
            if not self._replaced():
                return
            os.close(self._fd)
            self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1

    def _replaced(self) -> bool:
        try:
            return os.stat(self.path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False
