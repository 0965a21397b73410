"""Dockerfiles of real programs on `debian:bookworm`: each is built and run, and `check` says whether it does its work.

A folder each: `Dockerfile`, its context, `check` (sh, with lib.sh). `make test-dockerfiles` runs all, the suite the quickest.
They come from the distribution's and the languages' own package registries; where those present a certificate that only this
machine trusts, the machine's certificates are given to the steps that need them as a secret.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INCEPTION = Path(sys.executable).parent / "inception"
ALL = sorted(path.parent.name for path in HERE.glob("*/Dockerfile"))
#: What is built in seconds and downloads little.
QUICK = ["haproxy", "perl-app"]
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

pytestmark = pytest.mark.needs("root", "mmdebstrap", "curl")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command line of an engine of its own."""
    home = tmp_path_factory.mktemp("dockerfiles")
    command = f"{INCEPTION} --root {home}/root --run-root {home}/run"
    yield command
    subprocess.run(f"{command} rm -f $({command} ps -aq); {command} network prune -f; {command} builder prune -af", shell=True)


@pytest.mark.parametrize("name", ALL if os.environ.get("ALL_DOCKERFILES") else QUICK)
def test_it_builds_and_works(engine: str, name: str):
    image = f"{name}:test"
    run(f"{engine} build --progress plain -t {image} --secret id=ca,src={_CERTIFICATES} {HERE / name}", 1800)
    run(f"set -e; . {HERE}/lib.sh; . {HERE / name}/check", 300, INCEPTION=engine, IMAGE=image)


def run(script: str, timeout_s: float, **env: str) -> None:
    done = subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-4000:]
