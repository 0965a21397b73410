"""The Dockerfiles that users get: neither hadolint nor our own checks find anything in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inception.build.checks import check_file
from inception.build.parse import parse_dockerfile

TOP = Path(__file__).parents[2]
SHIPPED = sorted((TOP / "infrastructure").glob("**/Dockerfile"))


def test_hadolint_finds_nothing():
    assert len(SHIPPED) == 3
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "--no-color", *SHIPPED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", SHIPPED, ids=[path.parent.name for path in SHIPPED])
def test_our_own_checks_find_nothing(path: Path):
    assert check_file(parse_dockerfile(path.read_bytes(), str(path))) == []
