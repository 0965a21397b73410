from __future__ import annotations

import os

import pytest

from inception.cli.streams import Session
from inception.cli.terminal import DetachKeys, parse_detach_keys
from inception.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", b"\x10\x11"), ("ctrl-a,a", b"\x01a"), ("ctrl-@", b"\0"), ("ctrl-_,ctrl-[", b"\x1f\x1b"), ("x", b"x")],
)
def test_detach_keys_are_the_bytes_that_a_terminal_sends(text, keys):
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-é", "ab", "ctrl-p,,", "shift-a"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid detach keys"):
        parse_detach_keys(text)


def test_the_sequence_is_held_back_until_it_is_known_to_be_none():
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"ab\x10") == (b"ab", False)
    assert keys.feed(b"c") == (b"\x10c", False)
    assert keys.feed(b"\x10\x10\x11rest") == (b"\x10", True)


class Fake:
    """A stream that says what it was given to say, then ends."""

    exit_status = None

    def __init__(self, *pieces: tuple[str, bytes]) -> None:
        self.pieces = list(pieces)
        self.read_end, self.write_end = os.pipe()
        os.write(self.write_end, b"x")
        self.ended = False

    def fileno(self) -> int:
        return self.read_end

    @property
    def pending(self) -> bool:
        return bool(self.pieces)

    def read(self, timeout_s: float | None = None) -> tuple[str, bytes] | None:
        if self.pieces:
            return self.pieces.pop(0)
        self.ended = True
        return None

    def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...


def test_a_session_writes_each_stream_where_it_belongs(capfd):
    session = Session(outputs=("stdout", "stderr"))
    session.run(Fake(("stdout", b"out\n"), ("stderr", b"err\n")))
    assert tuple(capfd.readouterr()) == ("out\n", "err\n")


def test_a_session_leaves_out_what_is_not_attached(capfd):
    Session(outputs=("stderr",)).run(Fake(("stdout", b"out\n"), ("stderr", b"err\n")))
    assert tuple(capfd.readouterr()) == ("", "err\n")


def test_a_forwarding_session_passes_signals_on_and_gives_them_back(capfd):
    import signal

    before = signal.getsignal(signal.SIGUSR1)
    got: list[int] = []
    session = Session(forward=got.append)
    os.kill(os.getpid(), signal.SIGUSR1)
    stream = Fake(("stdout", b""), ("stdout", b""))
    stream.pieces = []
    original = stream.read

    def read_after_the_signal(timeout_s: float | None = None) -> tuple[str, bytes] | None:
        return original(timeout_s) if got else ("stdout", b"")

    stream.read = read_after_the_signal  # type: ignore[method-assign]
    session.run(stream)
    session.close()
    assert got == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before
