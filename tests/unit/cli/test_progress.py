"""How a transfer looks on a terminal, and in a log."""

from __future__ import annotations

import io

import pytest

from inception.cli import progress
from inception.cli.progress import PullProgress
from inception.store.progress import Progress

NEWS = [
    Progress(status="Pulling from x"),
    Progress(id="54d6c51a3fc8", status="Downloading", current=0, total=10_000_000),
    Progress(id="54d6c51a3fc8", status="Downloading", current=5_000_000, total=10_000_000),
    Progress(id="54d6c51a3fc8", status="Pull complete"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, news: list[Progress] = NEWS) -> str:
    show = PullProgress(stream)
    for each in news:
        show(each)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (120, "54d6c51a3fc8: Downloading [" + "=" * 24 + ">" + " " * 25 + "]      5MB/10MB"),
        (80, "54d6c51a3fc8: Downloading [" + "=" * 12 + ">" + " " * 14 + "]      5MB/10MB"),
        (50, "54d6c51a3fc8: Downloading 5MB/10MB"),
    ],
)
def test_a_narrow_terminal_loses_the_bar_and_not_the_counts(columns: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_size", lambda stream: (columns, 24))
    monkeypatch.setattr(progress, "_REDRAW_S", 0.0)
    text = shown(Terminal())
    assert f"\x1b[2K{line}\x1b[1B" in text
    assert all(len(part) < columns for part in text.replace("\x1b[2K", "\n").replace("\x1b", "\n").splitlines())


def test_a_log_gets_a_line_for_each_change_and_no_control_characters() -> None:
    assert shown(io.StringIO()).splitlines() == [
        "Pulling from x",
        "54d6c51a3fc8: Downloading",
        "54d6c51a3fc8: Pull complete",
    ]
