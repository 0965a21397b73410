"""systemd owns the cgroup: scopes, their properties, and what is left of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import CGROUP1, Runtime

pytestmark = pytest.mark.needs("root", "busybox")
with_systemd = pytest.mark.needs("systemd")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert not list(Path("/sys/fs/cgroup").glob("**/itest-*.scope"))


def _create(rt: Runtime, script: str = "sleep 60", *, path: str = "system.slice:itest:{}", **linux: object):
    id = rt.write({"process": {"args": ["sh", "-c", script]}, "linux": {**linux, "cgroupsPath": None}})
    given = path.format(id)
    rt.write({"process": {"args": ["sh", "-c", script]}, "linux": {**linux, "cgroupsPath": given}})
    rt.ids.append(id)
    rt.id = id
    return rt.command("--systemd-cgroup", "create", id, stdout="container"), f"itest-{id}.scope"


def _show(unit: str, *names: str) -> dict[str, str]:
    text = subprocess.run(["systemctl", "show", unit, "-p", ",".join(names)], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


@with_systemd
def test_a_container_is_a_scope_in_its_slice(rt: Runtime):
    created, unit = _create(rt)
    assert created.code == 0, created
    found = _show(unit, "ActiveState", "Slice", "Delegate", "ControlGroup", "Description")
    assert found == {
        "ActiveState": "active",
        "Slice": "system.slice",
        "Delegate": "yes",
        "ControlGroup": f"/system.slice/{unit}",
        "Description": f"inception-runc container {rt.id}",
    }
    assert f"/system.slice/{unit}\n" in Path(f"/proc/{rt.state()['pid']}/cgroup").read_text()
    procs = Path(f"/sys/fs/cgroup/{'unified/' if CGROUP1 else ''}system.slice/{unit}/cgroup.procs")
    assert procs.read_text().split() == [str(rt.state()["pid"])], "the helper is gone"
    assert rt.start().code == 0
    assert rt.command("exec", rt.id, "true").code == 0
    assert rt.command("pause", rt.id).code == 0 and rt.command("resume", rt.id).code == 0
    assert rt.command("delete", "--force", rt.id).code == 0
    assert _show(unit, "ActiveState", "LoadState") == {"ActiveState": "inactive", "LoadState": "not-found"}


@with_systemd
@pytest.mark.needs("cgroup2-controllers")
def test_limits_are_known_to_systemd_and_to_the_kernel_and_can_be_changed(rt: Runtime):
    resources = {
        "memory": {"limit": 64 << 20, "swap": 96 << 20},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
        "pids": {"limit": 50},
    }
    created, unit = _create(rt, resources=resources)
    assert created.code == 0, created
    names = ("MemoryMax", "MemorySwapMax", "CPUWeight", "CPUQuotaPerSecUSec", "TasksMax")
    values = [str(64 << 20), str(32 << 20), "100", "500ms", "50"]
    assert _show(unit, *names) == dict(zip(names, values, strict=True))
    folder = Path(f"/sys/fs/cgroup/system.slice/{unit}")
    assert (folder / "memory.max").read_text() == f"{64 << 20}\n" and (folder / "cpu.max").read_text() == "50000 100000\n"
    assert rt.start().code == 0
    updated = rt.command("update", "--memory", "128m", "--memory-swap", "128m", "--pids-limit", "20", rt.id)
    assert updated.code == 0, updated
    assert _show(unit, "MemoryMax", "TasksMax") == {"MemoryMax": str(128 << 20), "TasksMax": "20"}
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert (folder / "memory.max").read_text() == f"{128 << 20}\n" and (folder / "pids.max").read_text() == "20\n"


@with_systemd
def test_a_create_that_fails_leaves_no_unit(rt: Runtime):
    created, unit = _create(rt, maskedPaths=["relative"])
    if created.code == 0:
        pytest.fail("the bundle was meant to be refused")
    created, unit = _create(rt, sysctl={"kernel.msgmax": "x"})
    assert created.code == 1
    assert _show(unit, "LoadState") == {"LoadState": "not-found"}
    assert rt.command("state", rt.id).code != 0


@with_systemd
def test_a_nested_slice_is_made(rt: Runtime):
    created, unit = _create(rt, path="itest-deep.slice:itest:{}")
    assert created.code == 0, created
    assert f"/itest.slice/itest-deep.slice/{unit}\n" in Path(f"/proc/{rt.state()['pid']}/cgroup").read_text()
    assert rt.command("delete", "--force", rt.id).code == 0
    subprocess.run(["systemctl", "stop", "itest-deep.slice", "itest.slice"], check=True)


@with_systemd
@pytest.mark.needs("podman")
def test_podman_with_systemd_as_its_cgroup_manager(tmp_path: Path):
    launcher = tmp_path / "inception-runc"
    from .harness import OURS

    launcher.write_text(f'#!/bin/sh\nexec {OURS} "$@"\n')
    launcher.chmod(0o755)
    rootfs = tmp_path / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    for name in ("proc", "dev", "sys", "tmp", "etc", "run"):
        (rootfs / name).mkdir()
    (rootfs / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (rootfs / "bin/busybox").chmod(0o755)
    (rootfs / "bin/sh").symlink_to("busybox")
    runroot = Path(f"/run/itest-{os.getpid()}")  # at most 50 characters
    folders = ["--root", str(tmp_path / "storage"), "--runroot", str(runroot)]
    command = ["podman", *folders, "--runtime", str(launcher), "--cgroup-manager", "systemd", "--events-backend", "none"]
    options = ["--rm", "--network", "none", "--memory", "64m", "--log-driver", "none", "--security-opt", "label=disable"]
    script = "while read line; do echo $line; done </proc/self/cgroup; echo $((6*7))"
    done = subprocess.run(
        [*command, "run", *options, "--cgroupns", "host", "--rootfs", str(rootfs), "/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # podman leaves its own storage mounted.
    subprocess.run(["umount", str(tmp_path / "storage/overlay")], check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout.endswith("42\n"), done
    assert "/machine.slice/libpod-" in done.stdout, done
    shutil.rmtree(runroot)


@pytest.mark.needs("no-systemd")
def test_without_systemd_an_error_says_so(rt: Runtime):
    created, _ = _create(rt)
    assert created.code == 1 and "systemd is not running" in created.err and "Traceback" not in created.err
    assert rt.command("state", rt.id).code != 0
    refused, _ = _create(rt, path="/a/path")
    assert refused.code == 1 and 'expected cgroupsPath to be of format "slice:prefix:name"' in refused.err
