"""`inception-runc` on bundles, by its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from .conftest import Box

pytestmark = pytest.mark.needs("root", "busybox")


class Runc:
    def __init__(self, box: Box) -> None:
        self.root = box.folder / "run"
        self.bundle = box.folder / "bundle"
        self.bundle.mkdir()
        (self.bundle / "rootfs").symlink_to(box.image)
        assert self("spec", "--bundle", str(self.bundle)).returncode == 0
        self.change(lambda spec: spec["process"].update(terminal=False, env=["PATH=/bin"]))

    def change(self, edit) -> None:
        path = self.bundle / "config.json"
        spec = json.loads(path.read_text())
        edit(spec)
        path.write_text(json.dumps(spec))

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "inception.runtime.cli", "--root", str(self.root), *words]
        # Files, not pipes: a created container keeps its stdio open.
        with open(f"{self.root}.out", "w+") as out, open(f"{self.root}.err", "w+") as err:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60).returncode
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())


@pytest.fixture
def runc(box: Box) -> Iterator[Runc]:
    runc = Runc(box)
    yield runc
    for name in os.listdir(runc.root) if runc.root.exists() else []:
        runc("delete", "--force", name)


def name() -> str:
    return f"test-{os.getpid()}-{time.monotonic_ns()}"


def test_run_gives_the_programs_output_and_code_and_removes_it(runc: Runc):
    runc.change(lambda spec: spec["process"].update(args=["sh", "-c", "hostname; exit 5"]))
    ran = runc("run", "--bundle", str(runc.bundle), name())
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "inception\n", "")
    assert os.listdir(runc.root) == []


def test_the_lifecycle_from_create_to_delete(runc: Runc):
    runc.change(lambda spec: spec["process"].update(args=["sleep", "60"]))
    id, pid_file = name(), runc.bundle / "pid"
    assert runc("create", "-b", str(runc.bundle), "--pid-file", str(pid_file), id).returncode == 0
    state = json.loads(runc("state", id).stdout)
    assert state["status"] == "created" and state["pid"] == int(pid_file.read_text()) and state["ociVersion"] == "1.3.0"
    assert "already exists" in runc("create", "-b", str(runc.bundle), id).stderr
    assert runc("start", id).returncode == 0
    assert json.loads(runc("state", id).stdout)["status"] == "running"
    assert "already run" in runc("start", id).stderr
    executed = runc("exec", id, "sh", "-c", "echo $$ in; exit 4")
    assert (executed.returncode, executed.stdout) == (4, "2 in\n")
    assert runc("exec", id, "nope").returncode == 255
    assert runc("pause", id).returncode == 0 and json.loads(runc("state", id).stdout)["status"] == "paused"
    assert runc("resume", id).returncode == 0
    assert json.loads(runc("ps", "--format", "json", id).stdout) == [state["pid"]]
    assert "is not stopped: running" in runc("delete", id).stderr
    assert runc("kill", id, "KILL").returncode == 0
    wait_until(lambda: json.loads(runc("state", id).stdout)["status"] == "stopped")
    assert "not running" in runc("kill", id, "KILL").stderr
    assert runc("delete", id).returncode == 0
    assert runc("state", id).stderr == f"container does not exist: {id}\n"


def test_hooks_run_in_their_order_with_the_state_on_stdin(runc: Runc, tmp_path: Path):
    log = tmp_path / "log"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$1 $(cat)" >> {log}\n')
    hook.chmod(0o755)
    kinds = ("poststop", "poststart", "createRuntime", "prestart")
    runc.change(lambda spec: spec.update(hooks={kind: [{"path": str(hook), "args": ["hook", kind]}] for kind in kinds}))
    runc.change(lambda spec: spec["process"].update(args=["true"]))
    assert runc("run", "-b", str(runc.bundle), name()).returncode == 0
    ran = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [kind for kind, _ in ran] == ["prestart", "createRuntime", "poststart", "poststop"]
    assert [json.loads(state)["status"] for _, state in ran] == ["creating", "creating", "running", "stopped"]


def test_a_failing_hook_fails_create_and_leaves_nothing(runc: Runc):
    runc.change(lambda spec: spec.update(hooks={"createRuntime": [{"path": "/bin/false"}]}))
    failed = runc("create", "-b", str(runc.bundle), name())
    assert failed.returncode == 1 and "error running createRuntime hook #0: /bin/false: exit status 1" in failed.stderr
    assert os.listdir(runc.root) == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda spec: spec["process"].update(cwd=7), "process.cwd: expected a string, got an integer"),
        (lambda spec: spec["linux"]["namespaces"][2].update(type="pidd"), "linux.namespaces[2].type: unknown namespace 'pidd'"),
        (lambda spec: spec["linux"].update(sysctl={"vm.swappiness": "1"}), "linux.sysctl.vm.swappiness: is not in a separate"),
        (lambda spec: spec["linux"].update(intelRdt={"closID": "x"}), "linux.intelRdt: this machine has no resctrl"),
        (lambda spec: spec["process"].update(args=["nope"]), 'exec: "nope": executable file not found in $PATH'),
        (lambda spec: spec["root"].update(path="gone"), "open_tree("),
    ],
)
def test_a_bundle_that_cannot_run_says_why_in_one_line(runc: Runc, edit, message: str):
    runc.change(edit)
    failed = runc("run", "-b", str(runc.bundle), name())
    assert failed.returncode in (1, 127) and message in failed.stderr and "Traceback" not in failed.stderr
    assert not runc.root.exists() or os.listdir(runc.root) == []


def test_what_is_not_supported_is_refused_by_name(runc: Runc):
    assert runc("checkpoint", "x").stderr == "container does not exist: x\n"
    assert runc("state", "../x").stderr.startswith("invalid container ID '../x'")
