"""What the verbs load that people and scripts call most. An interpreter with nothing but ours costs about 8 ms to start; each
module here costs between a tenth of one and five."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inception

pytestmark = pytest.mark.needs("root", "busybox")

#: Not for any verb that touches a container.
SLOW = {
    *("argparse", "asyncio", "collections", "contextlib", "copy", "ctypes", "dataclasses", "datetime", "enum", "functools"),
    *("hashlib", "importlib.util", "inspect", "json", "logging", "pathlib", "random", "re", "selectors", "shutil", "signal"),
    *("socket", "sqlite3", "subprocess", "tempfile", "threading", "typing", "urllib", "weakref", "zlib"),
}
#: What an exec and a listing have no use for beside that.
STARTING = {
    f"inception.{name}"
    for name in (
        *("cli.run", "engine.create", "engine.endpoints", "engine.images", "engine.inspect", "engine.start"),
        *("linux.netlink", "monitor.client", "network.address", "oci.image", "runtime.container", "runtime.mounts"),
        *("store.extract", "store.images", "store.store", "store.tar"),
    )
}


@pytest.fixture(scope="module")
def running(cli: Any) -> Iterator[str]:
    cli("run", "-d", "--name", "imports", "busybox", "sleep", "600")
    cli("exec", "imports", "true")  # the first one compiles the filter of system calls, which needs more
    yield "imports"
    cli("rm", "-f", "imports")


def loaded(cli: Any, *argv: str) -> set[str]:
    """The modules that a call has at its end, run as the launcher of `make setup` runs it."""
    source = Path(inception.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(source)!r}); from inception.cli.main import main; code = main(sys.argv[1:])"
    code += "; sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    command = [sys.executable, "-IS", "-c", code, "--root", str(cli.root), "--run-root", str(cli.run_root), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_exec_loads_neither_slow_modules_nor_what_a_start_needs(cli: Any, running: str) -> None:
    assert loaded(cli, "exec", running, "true") & (SLOW | STARTING) == set()


def test_ps_loads_neither_slow_modules_nor_what_a_start_needs(cli: Any, running: str) -> None:
    assert loaded(cli, "ps") & (SLOW | STARTING) == set()


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_run_loads_no_slow_modules(cli: Any, running: str, network: str) -> None:
    assert loaded(cli, "run", "--rm", "--network", network, "busybox", "true") & SLOW == set()


def test_start_loads_no_slow_modules(cli: Any, running: str) -> None:
    name = cli("create", "--network", "none", "busybox", "true").strip()
    assert loaded(cli, "start", name) & SLOW == set()
    cli("rm", "-f", name)
