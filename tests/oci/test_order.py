"""The order of what processes report while they start, with delays put where a busy machine would have them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Runtime, cgroups_named

pytestmark = pytest.mark.needs("root", "busybox", "strace")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert not cgroups_named(f"itest-{os.getpid()}-*")


# A program of the library's kind: it lives on, and nobody else reaps for it.
_CALLER = """
import os, sys
from inception.errors import InceptionError
from inception.oci.runtime import Process
from inception.runtime.lifecycle import Container
try:
    Container(sys.argv[1], sys.argv[2]).exec(Process(cwd="/", args=["gone"], env=["PATH=/bin"]))
except InceptionError as error:
    print(error)
print("children:", open(f"/proc/self/task/{os.getpid()}/children").read())
"""


def test_an_exec_that_fails_before_its_fork_was_reported_is_reaped(rt: Runtime) -> None:
    """Else it stays a zombie in a pid namespace that its init can't leave then, for as long as the caller lives."""
    (rt.rootfs / "bin/gone").write_text("#!/no/such/interpreter\n")
    (rt.rootfs / "bin/gone").chmod(0o755)
    assert rt.create(["sleep", "600"]).code == 0
    assert rt.start().code == 0
    # Who forks goes on 0.3 s later; what was forked runs and fails at once.
    late = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", "inject=clone3:delay_exit=300000"]
    words = [sys.executable, "-c", _CALLER, str(rt.root), rt.id]
    done = subprocess.run([*late, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "gone" in done.stdout
    assert done.stdout.endswith("children: \n")
