"""An ordinary user with one mapped id: no privilege, no limits, no help."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.runtime import cli, cli_control, cli_process, cli_show, cli_spec  # noqa: F401 (imported while we may read them)
from inception.runtime.cli import run

from .harness import APPLETS

pytestmark = pytest.mark.needs("root", "busybox")
USER = 54321


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(f"/tmp/itest-rootless-{os.getpid()}")
    (folder / "bundle/rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bundle/rootfs/bin/busybox")
    for applet in APPLETS.split():
        (folder / "bundle/rootfs/bin" / applet).symlink_to("busybox")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER, follow_symlinks=False)
    yield folder
    as_user(folder, "delete", "--force", "one")
    shutil.rmtree(folder)


def as_user(folder: Path, *words: str) -> int:
    """Run our command line as USER, in a process of its own; its exit code. Output goes to files in *folder*."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.chdir(folder / "bundle")
            for fd, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), fd)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = run(["--root", f"{folder}/root", *words])
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def change(folder: Path, *args: str) -> None:
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["process"].update(args=list(args), terminal=False)
    path.write_text(json.dumps(spec))


def test_a_user_runs_a_container_as_its_root(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "sh", "-c", "id -u; cat /proc/self/uid_map; hostname; exit 5")
    assert as_user(folder, "run", "one") == 5
    assert (folder / "out").read_text().split() == ["0", "0", str(USER), "1", "inception"]


def test_a_user_execs_kills_and_deletes(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "sleep", "60")
    assert as_user(folder, "run", "--detach", "one") == 0
    assert as_user(folder, "exec", "one", "sh", "-c", "exit 7") == 7
    assert as_user(folder, "delete", "--force", "one") == 0
    assert as_user(folder, "state", "one") == 1


def test_a_limit_that_a_user_cannot_set_is_an_error(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["linux"]["resources"] = {"memory": {"limit": 1 << 26}}
    path.write_text(json.dumps(spec))
    change(folder, "true")
    assert as_user(folder, "run", "one") == 1
    assert "linux.resources" in (folder / "err").read_text()
