"""How a transfer goes: Docker's lines, one an item; on a terminal they are redrawn in place with a bar."""

from __future__ import annotations

import time

from inception.cli.format import human_size, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from inception.store.progress import Progress

_BAR, _SHORTEST_BAR = 50, 10
_RATE = len("  1.23MB/s")
_REDRAW_S = 0.05
_RATE_AFTER_S = 0.5  # before that it is a guess
_COLUMNS, _ROWS = 80, 24


def full_name(image: str) -> str:
    """An image's name as Docker repeats it: with its tag, without the default registry."""
    from inception.errors import InvalidArgument
    from inception.oci.reference import Reference

    try:
        return Reference.parse(image).familiar
    except InvalidArgument:
        return image


class PullProgress:
    """Shows each Progress that it is called with on *stream*; quiet shows nothing. Safe from several threads."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        from _thread import allocate_lock

        self.stream = stream
        self.quiet = quiet
        self.live = stream.isatty()
        self._lock = allocate_lock()
        self._order: list[str] = []
        self._lines: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._drawn_at: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if self.quiet:
            return
        with self._lock:
            self._show(progress)

    def _show(self, progress: Progress) -> None:
        item, now = progress.id, time.monotonic()
        changed = self._last.get(item) != progress.status
        self._last[item] = progress.status
        if changed:
            self._began[item] = (now, progress.current)
        if not item or not self.live:
            if changed:
                self._print((f"{printable(item)}: " if item else "") + printable(progress.status))
            return
        new = item not in self._lines
        if new:
            self._order.append(item)
        if new or changed or now - self._drawn_at[item] >= _REDRAW_S:
            began, had = self._began[item]
            rate = (progress.current - had) / (now - began) if now - began >= _RATE_AFTER_S else 0.0
            columns, rows = _size(self.stream)
            self._lines[item] = _line(progress, rate, columns)[: columns - 1]  # a line that wraps would be two to go up
            self._draw(item, new, rows)
            self._drawn_at[item] = now

    def _print(self, text: str) -> None:
        # What was drawn so far stays above; a new block starts below this line.
        self._order.clear()
        self._lines.clear()
        print(text, file=self.stream, flush=True)

    def _draw(self, item: str, new: bool, rows: int) -> None:
        text = self._lines[item]
        up = len(self._order) - self._order.index(item)
        if new:
            self.stream.write(f"{text}\n")
        elif up < rows:  # what has left the screen stays as it was
            self.stream.write(f"\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")
        self.stream.flush()


def _size(stream: TextIO) -> tuple[int, int]:
    import os

    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _COLUMNS, _ROWS
    return columns or _COLUMNS, rows or _ROWS


def _line(progress: Progress, rate: float, columns: int = _COLUMNS) -> str:
    """Docker's line, and how fast it goes; what a narrow terminal has no room for is taken off the bar."""
    text = f"{printable(progress.id)}: {printable(progress.status)}"
    speed = f"  {human_size(rate)}/s" if rate > 0 else ""
    if not progress.total:
        return text + (f" {human_size(progress.current)}{speed}" if progress.current else "")
    counts = f"{human_size(progress.current):>8}/{human_size(progress.total)}"
    width = min(_BAR, columns - len(text) - len(counts) - _RATE - 5)  # with room for a rate before there is one
    if width < _SHORTEST_BAR:
        return f"{text} {counts.lstrip()}{speed}"
    done = min(width, progress.current * width // progress.total)
    bar = "=" * max(0, done - 1) + (">" if done < width else "=") if done else ">"
    return f"{text} [{bar.ljust(width)}] {counts}{speed}"
