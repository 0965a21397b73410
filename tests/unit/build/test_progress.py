"""What a build shows while it runs."""

from __future__ import annotations

import io

import pytest

from inception.build.progress import Event, Live, Plain, Reporter, open_progress, printable_lines


def run(show) -> None:
    reporter = Reporter(show)
    with reporter.step("[1/2] FROM base") as step:
        step.cached()
    with reporter.step("[2/2] RUN x\nmore") as step:
        step.output(b"one\ntw")
        step.output(b"o\r\n10%\r100%\n\x1b[2Jlast")
    reporter.warn("careful")
    with pytest.raises(KeyError), reporter.step("[3/2] RUN y"):
        raise KeyError("why")


def test_plain_lines_are_those_that_tools_know(monkeypatch):
    monkeypatch.setattr("inception.build.progress.time.monotonic", lambda: 1.0)
    stream = io.StringIO()
    run(Plain(stream))
    assert stream.getvalue().splitlines() == [
        "#1 [1/2] FROM base",
        "#1 CACHED",
        "",
        "#2 [2/2] RUN x ...",
        "#2 0.000 one",
        "#2 0.000 two",
        "#2 0.000 100%",
        "#2 0.000 [2Jlast",
        "#2 DONE 0.0s",
        "",
        "WARNING: careful",
        "#3 [3/2] RUN y",
        "#3 ERROR: 'why'",
        "",
    ]


def test_the_live_view_ends_with_every_step_and_no_output():
    stream = io.StringIO()
    with Live(stream) as show:
        run(show)
    shown = stream.getvalue().rpartition("[+] Building")[2]
    assert "(3/3) FINISHED" in shown
    assert (
        " => CACHED [1/2] FROM base" in shown
        and " => ERROR [3/2] RUN y" in shown
        and "\n 1 warning found:\n - careful\n" in shown
    )
    assert "100%" not in shown


def test_control_characters_of_a_step_never_reach_the_terminal():
    stream = io.StringIO()
    show = Plain(stream)
    show(Event(kind="start", step=1, name="RUN \x1b]0;title\x07"))
    show(Event(kind="output", step=1, data="\x1b[31mred\x9b2J\n".encode()))
    assert "\x1b" not in stream.getvalue() and "\x07" not in stream.getvalue() and "\x9b" not in stream.getvalue()
    assert printable_lines(b"a\tb\x00\nc\xff") == ["a  b", "c\ufffd"]


def test_a_long_line_without_an_end_is_cut_into_pieces():
    stream = io.StringIO()
    show = Plain(stream)
    show(Event(kind="start", step=1, name="x"))
    show(Event(kind="output", step=1, data=b"a" * 100_000))
    assert len(stream.getvalue()) > 100_000


def test_a_file_gets_plain_lines():
    assert isinstance(open_progress("auto", io.StringIO()), Plain)
    assert isinstance(open_progress("tty", io.StringIO()), Live)
