"""Known ways out of a container (SECURITY.md, section 1), tried on ours."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from inception.errors import InceptionError, StartFailed
from inception.linux.process import pidfd_send_signal
from inception.oci.runtime import Capabilities, Mount, Process
from inception.runtime import plan_exec, start

from .conftest import Box, wait

pytestmark = pytest.mark.needs("root", "busybox")


def tree(folder: Path) -> dict[str, bytes | str]:
    """Names and contents beneath a folder, to compare before and after."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        found[str(path)] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
    return found


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "file").write_text("untouched")
    return folder


def test_cve_2019_5736_the_hosts_interpreter_is_not_behind_proc_self_exe(box: Box):
    before = hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).digest()
    box.script("exe", "#!/proc/self/exe\n")
    (box.image / "bin/link").symlink_to("/proc/self/exe")
    for command in ("exe", "/proc/self/exe", "/bin/link"):
        assert box.run(command) == (127, "")
    assert hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).digest() == before


def test_cve_2019_5736_what_is_behind_it_cannot_be_written(box: Box):
    """During --init the stub stays process 1: its file is sealed."""
    script = "readlink /proc/1/exe; dd if=/dev/zero of=/proc/1/exe bs=1 count=1 conv=notrunc 2>&1 || echo refused"
    _, output = box.run("sh", "-c", script, options={"init": True})
    assert "inception-init" in output and output.endswith("refused\n")


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 20, 1024])
def test_cve_2024_21626_a_working_directory_cannot_be_a_descriptor_of_the_host(box: Box, number: int):
    with pytest.raises(StartFailed):
        box.run("true", process={"cwd": f"/proc/self/fd/{number}"})
    child = start(box.plan(box.spec("sleep", "60")), {})
    try:
        process = Process(cwd=f"/proc/self/fd/{number}", args=["true"], env=["PATH=/bin"], capabilities=Capabilities())
        with pytest.raises(StartFailed):
            box.run_plan(plan_exec(process), {"init": child.pidfd})
    finally:
        pidfd_send_signal(child.pidfd, 9)
        wait(child.pidfd)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_cve_2019_19921_proc_and_sys_must_not_be_links(box: Box, name: str):
    (box.image / "other").mkdir()
    (box.image / name).symlink_to("/other")
    with pytest.raises(StartFailed) as error:
        box.run("true")
    assert "symbolic link in the image" in error.value.hint


def test_cve_2019_16884_nothing_but_procfs_goes_on_proc(box: Box, canary: Path):
    mounts = [*box.spec("x").mounts, Mount(destination="/proc", source=str(canary), options=["bind"])]
    with pytest.raises(StartFailed):
        box.run("true", mounts=mounts)
    with pytest.raises(InceptionError):
        box.run("true", mounts=[Mount(destination="/proc", type="tmpfs")])


@pytest.mark.parametrize("target", ["{canary}", "../../../../../../..{canary}", "/proc/self/root{canary}", "/proc/1/cwd"])
def test_cve_2026_41579_a_dev_that_is_a_link_stays_inside(box: Box, canary: Path, target: str):
    (box.image / "dev").symlink_to(target.format(canary=canary))
    before = tree(canary)
    try:
        code, _ = box.run("true")
        assert code == 0
    except StartFailed:
        pass
    assert tree(canary) == before


def test_mount_targets_behind_links_stay_inside(box: Box, canary: Path):
    (box.image / "out").symlink_to(str(canary))
    (box.image / "up").symlink_to("../../../../../../../../.." + str(canary))
    before = tree(canary)
    source = box.folder / "source"
    source.write_text("x")
    extra = [Mount(destination=f"/{name}/made/file", source=str(source), options=["bind"]) for name in ("out", "up")]
    code, output = box.run("sh", "-c", f"cat {canary}/made/file", mounts=[*box.spec("x").mounts, *extra])
    assert (code, output) == (0, "x") and tree(canary) == before


def test_cve_2025_31133_an_images_own_null_is_not_what_masks(box: Box):
    """/dev of the image (no tmpfs over it) with a null that points at a kernel setting."""
    (box.image / "dev").mkdir()
    (box.image / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    mounts = [mount for mount in box.spec("x").mounts if not mount.destination.startswith("/dev")]
    with pytest.raises(StartFailed):
        box.run("sh", "-c", "echo '|/evil' >/proc/kcore", mounts=mounts)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_cve_2016_9962_the_joining_process_cannot_be_traced(box: Box):
    """What a process of the container could open of every newcomer while 50 execs pass by."""
    look = "for f in $p/fd/* $p/exe $p/cwd; do readlink $f; done"
    spy = f"while :; do for p in /proc/[0-9]*; do {look}; done; done"
    log = box.folder / "upper"
    child = start(box.plan(box.spec("sh", "-c", f"({spy}) >/log 2>/dev/null")), {})
    try:
        for _ in range(50):
            process = Process(cwd="/", args=["true"], env=["PATH=/bin"], capabilities=Capabilities())
            assert box.run_plan(plan_exec(process), {"init": child.pidfd})[0] == 0
    finally:
        pidfd_send_signal(child.pidfd, 9)
        wait(child.pidfd)
    seen = set((log / "log").read_text().split())
    assert not [path for path in seen if "python" in path or str(box.folder) in path]


def test_default_containers_cannot_do_what_kernel_bugs_need(box: Box):
    script = "mount -t tmpfs x /mnt; mount -o remount,rw /sys; mount -o remount,rw /proc/sys; true"
    _, output = box.run("sh", "-c", script)
    assert output.count("ermission denied") + output.count("not permitted") + output.count("No such") >= 3
