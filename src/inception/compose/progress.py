"""What is happening, told to whoever watches: `Container web-1  Started`.

On a terminal a table that redraws itself, as Docker Compose's; elsewhere a line a change. Always on stderr: stdout belongs to
what was asked for.
"""

from __future__ import annotations

import sys
import threading
import time

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Progress(Protocol):
        """Gets every change of state; `close` comes at the end, also of a failure."""

        def update(self, name: str, status: str, *, done: bool = False, failed: bool = False) -> None: ...
        def output(self, name: str, line: str) -> None: ...
        def close(self) -> None: ...


class Silent:
    def update(self, name: str, status: str, *, done: bool = False, failed: bool = False) -> None:
        """Says nothing."""

    def output(self, name: str, line: str) -> None:
        """Says nothing."""

    def close(self) -> None:
        """Nothing to give back."""


class Plain:
    """A line a change, for logs and pipes."""

    def update(self, name: str, status: str, *, done: bool = False, failed: bool = False) -> None:
        sys.stderr.write(f" {name}  {status}\n")
        sys.stderr.flush()

    def output(self, name: str, line: str) -> None:
        """A line that a build step of *name* wrote."""
        sys.stderr.write(f" {name}  | {line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing to give back."""


class Json:
    """A JSON object a line, as `--progress json`."""

    def update(self, name: str, status: str, *, done: bool = False, failed: bool = False) -> None:
        from inception.jsontext import dumps

        level = {"level": "error"} if failed else {}
        sys.stderr.write(
            dumps({**level, "id": name, "status": "Done" if done else "Error" if failed else "Working", "text": status}) + "\n"
        )
        sys.stderr.flush()

    def output(self, name: str, line: str) -> None:
        """What builds write is no state."""

    def close(self) -> None:
        """Nothing to give back."""


class Table:
    """Rows that change in place, drawn by rich."""

    def __init__(self, ansi: str = "auto") -> None:
        from rich.console import Console  # 70 ms, and only on a terminal
        from rich.live import Live

        self._rows: dict[str, tuple[str, bool, bool, float, float]] = {}
        self._lock = threading.Lock()
        console = Console(stderr=True, no_color=ansi == "never")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=10)
        self._live.start()

    def update(self, name: str, status: str, *, done: bool = False, failed: bool = False) -> None:
        with self._lock:
            started = self._rows[name][3] if name in self._rows else time.monotonic()
            self._rows[name] = status, done, failed, started, time.monotonic()

    def output(self, name: str, line: str) -> None:
        """The row shows the step, not what it writes; a failed one's output is shown at the end."""

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid.grid(padding=(0, 1))
        grid.add_column()
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right")
        now = time.monotonic()
        with self._lock:
            rows = list(self._rows.items())
        finished = sum(done for _, (_, done, _, _, _) in rows)
        for name, (status, done, failed, started, changed) in rows:
            mark, colour = (
                ("✔", "green") if done else ("✘", "red") if failed else (_SPINNER[int(now * 10) % len(_SPINNER)], "cyan")
            )
            seconds = (changed if done or failed else now) - started
            grid.add_row(Text(f" {mark}", colour), Text(name), Text(status, colour), Text(f"{seconds:.1f}s", "blue"))
        header = Text(f"[+] Running {finished}/{len(rows)}", "blue")
        outer = Grid.grid()
        outer.add_row(header)
        outer.add_row(grid)
        return outer


_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def check_progress(kind: str) -> None:
    if kind not in ("", "auto", "tty", "plain", "json", "quiet"):
        raise InvalidArgument(f'unsupported --progress value "{kind}"')


def open_progress(kind: str = "auto", ansi: str = "auto") -> Progress:
    """The progress of `--progress auto|tty|plain|json|quiet`. Raises InvalidArgument for another."""
    check_progress(kind)
    if kind == "quiet":
        return Silent()
    if kind == "json":
        return Json()
    if kind == "tty" or (kind in ("", "auto") and ansi != "never" and sys.stderr.isatty()):
        return Table(ansi)
    return Plain()
