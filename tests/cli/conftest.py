"""An engine in a folder of its own, with busybox in it, driven through the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


class Cli:
    """`inception` on one root. Each call is a process of its own, as a user's is."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.run_root = folder / "run"
        self.prefix = [
            sys.executable,
            "-I",
            "-m",
            "inception.cli",
            "--root",
            str(self.root),
            "--run-root",
            str(self.run_root),
        ]

    def run(
        self, *argv: str, stdin: str | None = None, env: dict[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The finished call, whatever its exit code."""
        return subprocess.run(
            [*self.prefix, *argv],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def __call__(self, *argv: str, stdin: str | None = None) -> str:
        """What a call printed, which must have worked."""
        done = self.run(*argv, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), (argv, done)
        return done.stdout

    def fails(self, *argv: str) -> tuple[int, str]:
        """(exit code, standard error) of a call that must fail without a traceback."""
        done = self.run(*argv)
        assert done.returncode != 0, done
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        return done.returncode, done.stderr

    def start(self, *argv: str, **options: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.prefix, *argv], **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    # A short path: AF_UNIX addresses are short, and so are patience and screens.
    engine = Cli(tmp_path_factory.mktemp("cli"))
    done = engine.run("image", "bootstrap", "-q", "busybox")
    assert done.returncode == 0, done.stderr
    yield engine
    names = engine("ps", "-aq").split()
    if names:
        engine("rm", "-f", "-v", *names)
    networks = [name for name in engine("network", "ls", "--format", "{{.Name}}").split() if name not in PREDEFINED]
    if networks:
        engine("network", "rm", *networks)
    engine("network", "prune", "-f")  # the default network's bridge and our rules, in which nothing runs any more


PREDEFINED = ("bridge", "host", "none")
