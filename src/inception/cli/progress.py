"""How a transfer goes: Docker's lines, one an item; on a terminal they are redrawn in place with a bar."""

from __future__ import annotations

import time

from inception.cli.format import human_size, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from inception.store.progress import Progress

_BAR = 50
_REDRAW_S = 0.05


def full_name(image: str) -> str:
    """An image's name as Docker repeats it: with its tag, without the default registry."""
    from inception.errors import InvalidArgument
    from inception.oci.reference import Reference

    try:
        return Reference.parse(image).familiar
    except InvalidArgument:
        return image


class PullProgress:
    """Shows each Progress that it is called with on *stream*; quiet shows nothing."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.stream = stream
        self.quiet = quiet
        self.live = stream.isatty()
        self._order: list[str] = []
        self._lines: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._drawn_at = 0.0

    def __call__(self, progress: Progress) -> None:
        if self.quiet:
            return
        changed = self._last.get(progress.id) != progress.status
        self._last[progress.id] = progress.status
        if not progress.id:
            if changed:
                self._print(printable(progress.status))
            return
        if not self.live:
            if changed:
                self._print(f"{printable(progress.id)}: {printable(progress.status)}")
            return
        new = progress.id not in self._lines
        if new:
            self._order.append(progress.id)
        self._lines[progress.id] = _line(progress)
        now = time.monotonic()
        if new or changed or now - self._drawn_at >= _REDRAW_S:
            self._draw(progress.id, new)
            self._drawn_at = now

    def _print(self, text: str) -> None:
        # What was drawn so far stays above; a new block starts below this line.
        self._order.clear()
        self._lines.clear()
        print(text, file=self.stream, flush=True)

    def _draw(self, item: str, new: bool) -> None:
        up = len(self._order) - self._order.index(item)
        if new:
            self.stream.write(f"{self._lines[item]}\n")
        else:
            self.stream.write(f"\x1b[{up}A\r\x1b[2K{self._lines[item]}\x1b[{up}B\r")
        self.stream.flush()


def _line(progress: Progress) -> str:
    text = f"{printable(progress.id)}: {printable(progress.status)}"
    if not progress.total:
        return text + (f" {human_size(progress.current)}" if progress.current else "")
    done = min(_BAR, progress.current * _BAR // progress.total)
    bar = "=" * max(0, done - 1) + (">" if done < _BAR else "=") if done else ">"
    return f"{text} [{bar.ljust(_BAR)}] {human_size(progress.current):>8}/{human_size(progress.total)}"
