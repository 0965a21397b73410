"""`build --debug`: a shell in the state that a failed step left."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from .conftest import Builder

pytestmark = pytest.mark.needs("root", "busybox")

TEXT = """FROM busybox
ENV WHO=me
WORKDIR /srv
RUN --mount=type=secret,id=s,target=/run/s --mount=type=tmpfs,target=/scratch echo half >half && cat /nothing
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.said = b""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execv(words[0], words)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while text.encode() not in self.said:
            assert time.monotonic() < deadline, self.said.decode(errors="replace")
            assert self._read(), f"it ended: {self.said.decode(errors='replace')}"

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 0.5)[0]:
            return True
        try:
            piece = os.read(self._fd, 1 << 16)
        except OSError:
            return False
        self.said += piece
        return bool(piece)


def command(builder: Builder, *words: str) -> list[str]:
    roots = ["--root", builder.engine.root, "--run-root", builder.engine.run_root]
    return [sys.executable, "-m", "inception.cli", *roots, "build", "--debug", *words, str(builder.context)]


def test_a_shell_has_what_the_step_had_and_what_it_left(busybox: Builder, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("CANARY\n")
    busybox.write("Dockerfile", TEXT)
    terminal = Terminal(*command(busybox, "--secret", f"id=s,src={secret}"))
    terminal.wait_for("/srv # ")
    assert b"can't open '/nothing'" in terminal.said
    terminal.type('echo "=$(cat half)=$(cat /run/s)=$WHO=$(pwd)="; touch /scratch/x && tty\n')
    terminal.wait_for("=half=CANARY=me=/srv=")
    terminal.wait_for("/dev/pts/0")
    terminal.type("exit 7\n")
    assert terminal.end() == 1
    assert terminal.said.count(b"returned a non-zero code: 1") == 2  # before the shell, and as the last line
    # That nothing of it stays is looked at by the fixture.


def test_a_build_that_succeeds_opens_none(busybox: Builder):
    busybox.write("Dockerfile", "FROM busybox\nRUN true\n")
    assert Terminal(*command(busybox)).end() == 0


def test_without_a_terminal_it_is_refused(busybox: Builder):
    import subprocess

    done = subprocess.run(command(busybox), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert "--debug opens a shell when a step fails: it needs a terminal" in done.stderr
