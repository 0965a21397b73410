"""What a build tells while it runs, and two ways to show it.

    #5 [2/4] RUN apt-get update        plain: a line for everything, for logs and tools that know BuildKit's
    #5 0.812 Get:1 http://...
    #5 DONE 3.4s

The live view for terminals redraws one block: every step with its time, and below a running one the end of its output.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

_TAIL_LINES = 6
_REDRAW_S = 0.1
# Control characters of a step's output would move the cursor or worse; tabs are shown as blanks.
_PRINTABLE: dict[int, str | None] = dict.fromkeys((*range(32), *range(127, 160))) | {9: "  "}
_MAX_LINE = 4096


class Event(Record):
    """`kind`: `start` and then `done`, `cached` or `failed` (`data`: why) of the step number `step`, before that `making` when
    the cache hasn't got it, `output` with its `data` and `stream` (1 or 2); or, of no step, a `warning`, and first of all the
    `plan`: `data` has all instructions with zero bytes between them. `seconds` is the time since the step's start."""

    kind: str
    step: int = 0
    name: str = ""
    data: bytes = b""
    seconds: float = 0.0
    stream: int = 1


if TYPE_CHECKING:
    OnEvent = Callable[[Event], None]


class Reporter:
    """Numbers the steps of one build and times them; safe from threads."""

    def __init__(self, progress: OnEvent | None) -> None:
        self._progress = progress
        self._lock = allocate_lock()
        self._last = 0
        self._warned: set[str] = set()
        self.names: list[str] = []

    def tell(self, event: Event) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(event)

    def warn(self, text: str) -> None:
        if text not in self._warned:  # each platform of a build has them
            self._warned.add(text)
            self.tell(Event(kind="warning", name=text))

    def plan(self, titles: list[str]) -> None:
        self.tell(Event(kind="plan", data="\0".join(titles).encode()))

    def step(self, name: str) -> Step:
        with self._lock:
            self._last += 1
            number = self._last
            self.names.append(name)
        return Step(self, number, name)


class Step:
    """One step being reported: `with reporter.step("[1/2] RUN x") as step: step.output(...)`."""

    def __init__(self, reporter: Reporter, number: int, name: str) -> None:
        self._reporter = reporter
        self._number = number
        self._name = name
        self._started = time.monotonic()
        self._cached = False

    def __enter__(self) -> Step:
        self._tell("start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_rest: object) -> None:
        if kind is not None:
            self._tell("failed", str(error).encode())
        else:
            self._tell("cached" if self._cached else "done")

    def cached(self) -> None:
        """Nothing had to be done."""
        self._cached = True

    def making(self) -> None:
        self._tell("making")

    def output(self, data: bytes, stream: int = 1) -> None:
        self._tell("output", data, stream)

    def _tell(self, kind: str, data: bytes = b"", stream: int = 1) -> None:
        seconds = time.monotonic() - self._started
        self._reporter.tell(Event(kind=kind, step=self._number, name=self._name, data=data, seconds=seconds, stream=stream))


def _first_line(name: str) -> str:
    line, newline, _ = name.partition("\n")
    return f"{line} ..." if newline else line


def _clean(text: str) -> str:
    return text.translate(_PRINTABLE)


def printable_lines(output: bytes) -> list[str]:
    """*output* as lines for a terminal, without control characters."""
    lines = _Lines()
    return [_clean(line) for line in lines.feed(output) + lines.end()]


class _Lines:
    """Puts pieces of output together to lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) > _MAX_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").rpartition("\r")[2] for line in whole]

    def end(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace")] if rest else []


class Plain:
    """`--progress=plain`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: dict[int, _Lines] = {}

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        number = f"#{event.step}"
        if event.kind in ("plan", "making"):
            return
        if event.kind == "warning":
            self._write(f"WARNING: {event.name}")
        elif event.kind == "start":
            self._lines[event.step] = _Lines()
            self._write(f"{number} {_clean(_first_line(event.name))}")
        elif event.kind == "output":
            for line in self._lines[event.step].feed(event.data):
                self._write(f"{number} {event.seconds:.3f} {_clean(line)}")
        else:
            for line in self._lines.pop(event.step).end():
                self._write(f"{number} {event.seconds:.3f} {_clean(line)}")
            # Without a reason: it was interrupted.
            failed = f"ERROR: {_clean(_first_line(event.data.decode('utf-8', 'replace')))}" if event.data else "CANCELED"
            word = {"cached": "CACHED", "failed": failed}.get(event.kind, f"DONE {event.seconds:.1f}s")
            self._write(f"{number} {word}\n")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class RawJson:
    """`--progress=json` (buildx's `rawjson`): a line of JSON for everything, as buildx prints it: vertexes, logs, warnings."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._started: dict[int, str] = {}

    def __enter__(self) -> RawJson:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        from inception import jsontext

        if event.kind not in ("plan", "making"):
            self._stream.write(jsontext.dumps(self._line(event)) + "\n")
        self._stream.flush()

    def _line(self, event: Event) -> dict[str, object]:
        from base64 import b64encode

        from inception.engine.times import now
        from inception.oci.digest import sha256

        if event.kind == "warning":
            return {"warnings": [{"level": 1, "short": b64encode(event.name.encode()).decode()}]}
        vertex = str(sha256(f"{event.step} {event.name}".encode()))
        time_text = now()
        if event.kind == "output":
            data = b64encode(event.data).decode()
            return {"logs": [{"vertex": vertex, "stream": event.stream, "data": data, "timestamp": time_text}]}
        shown: dict[str, object] = {"digest": vertex, "name": event.name}
        shown["started"] = self._started.setdefault(event.step, time_text)
        if event.kind != "start":
            shown["completed"] = time_text
            shown |= {"cached": True} if event.kind == "cached" else {}
            shown |= {"error": "failed"} if event.kind == "failed" else {}
        return {"vertexes": [shown]}


class _Shown:
    """A step in the live view."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = time.monotonic()
        self.seconds = 0.0
        self.state = "start"
        self.lines = _Lines()
        self.tail: list[str] = []


class Live:
    """The view for terminals; redrawn by a thread of its own between `with` and the end of the block."""

    def __init__(self, stream: IO[str], title: str = "Building") -> None:
        self._stream = stream
        self._title = title
        self._lock = allocate_lock()
        self._steps: dict[int, _Shown] = {}
        self._warnings: list[str] = []
        self._drawn = 0
        self._started = time.monotonic()
        import threading  # 3 ms that a cached build without a terminal does without

        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="build-progress", daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """The terminal is somebody else's from here on."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._draw(final=True)

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind in ("plan", "making"):
                return
            if event.kind == "warning":
                self._warnings.append(event.name)
                return
            if event.kind == "start":
                self._steps[event.step] = _Shown(event.name)
                return
            step = self._steps[event.step]
            if event.kind == "output":
                step.tail = (step.tail + step.lines.feed(event.data))[-_TAIL_LINES:]
            else:
                step.state, step.seconds = event.kind, event.seconds

    def _keep_drawing(self) -> None:
        while not self._over.wait(_REDRAW_S):
            self._draw()

    def _draw(self, final: bool = False) -> None:
        width, height = _terminal_size(self._stream)
        with self._lock:
            rows = self._rows(final)
        if not final and len(rows) > height - 1:
            rows = [rows[0], *rows[-(height - 2) :]]
        cleared = [f"{_cut(row, width)}\x1b[K" for row in rows]
        up = f"\x1b[{self._drawn}A\r" if self._drawn else ""
        # Nothing is drawn over the last picture: what is said there may be longer than a row.
        said = self._said() if final else []
        self._stream.write(up + "\n".join([*cleared, *said]) + "\n\x1b[J")
        self._stream.flush()
        self._drawn = len(rows)

    def _rows(self, final: bool) -> list[str]:
        done = sum(1 for step in self._steps.values() if step.state != "start")
        elapsed = time.monotonic() - self._started
        state = " FINISHED" if final and done == len(self._steps) else ""
        rows = [f"[+] {self._title} {elapsed:.1f}s ({done}/{len(self._steps)}){state}"]
        for step in self._steps.values():
            seconds = time.monotonic() - step.started if step.state == "start" else step.seconds
            mark = {"cached": "CACHED ", "failed": "ERROR "}.get(step.state, "")
            rows.append(f" => {mark}{_clean(_first_line(step.name))}\t{seconds:.1f}s")
            if step.state == "start" and not final:
                rows += [f" => => # {_clean(line)}" for line in step.tail]
        return rows

    def _said(self) -> list[str]:
        if not self._warnings:
            return []
        count = "1 warning" if len(self._warnings) == 1 else f"{len(self._warnings)} warnings"
        return ["", f" {count} found:", *(f" - {_clean(text)}" for text in self._warnings)]


def _cut(row: str, width: int) -> str:
    """One row of the screen; what follows a tab goes to the right edge."""
    left, _, right = row.partition("\t")
    room = width - len(right) - 1
    left = left if len(left) <= room else left[: max(room - 3, 0)] + "..."
    return left.ljust(room) + right if right else left


def _terminal_size(stream: IO[str]) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    # A terminal that nobody has sized says 0.
    return max(size.columns or 80, 20), max(size.lines or 24, 4)


def open_progress(kind: str, stream: IO[str]) -> Plain | Live | RawJson:
    """`plain`, `tty`, `json`, or `auto`: the live view where *stream* is a terminal."""
    if kind in ("json", "rawjson"):
        return RawJson(stream)
    live = kind == "tty" or (kind == "auto" and stream.isatty() and os.environ.get("TERM") != "dumb")
    return Live(stream) if live else Plain(stream)
