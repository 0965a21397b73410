"""`import` of a root filesystem that a web server has."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Cli

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of a folder with `root.tar`, which has one file."""
    (tmp_path / "file").write_text("x")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "file", "file")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().partition("(")[2].partition("/)")[0]
        server.terminate()


def test_an_address_is_imported_and_what_is_wrong_with_it_is_said_in_words(cli: Cli, address: str) -> None:
    done = cli.run("import", f"{address}/root.tar", "web:1")
    assert (done.returncode, done.stderr) == (0, f"Downloading from {address}/root.tar\n")
    assert cli("images", "-q", "--no-trunc", "web:1") == done.stdout
    assert cli.fails("import", f"{address}/none") == (
        1,
        f"Downloading from {address}/none\ninception: import {address}/none: the server answers 404 File not found\n",
    )
    assert cli.fails("import", "http://127.0.0.1:1/x")[1].endswith("127.0.0.1:1 does not answer: Connection refused\n")
