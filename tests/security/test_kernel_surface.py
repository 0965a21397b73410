"""What a default container can ask of the kernel (SECURITY: CVE-2022-0185, CVE-2022-0492, capabilities, descriptors)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inception import Engine, MountConfig
from inception.errors import InceptionError, StartFailed

from .conftest import entry, make, output

pytestmark = pytest.mark.needs("root", "busybox", "cc")

DENIED = (
    *("af_alg", "af_vsock", "keyctl", "add_key", "request_key", "bpf", "userfaultfd", "io_uring_setup"),
    *("open_by_handle_at", "perf_event_open", "unshare_user", "clone_user", "fsopen", "mount", "setns"),
    *("init_module", "kexec_load", "personality"),
)


def _probe(engine: Engine, image: str, probe: Path, *names: str, **fields: object) -> dict[str, int]:
    mounts = [MountConfig(type="bind", source=str(probe), target="/probe", read_only=True)]
    code, text = output(make(engine, image, "/probe", *names, mounts=mounts, **fields))
    assert code == 0, text
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def test_the_default_profile_denies_what_kernel_exploits_begin_with(engine: Engine, image: Callable[..., str], probe: Path):
    found = _probe(engine, image(), probe, "getpid", *DENIED, "clone3")
    assert found.pop("getpid") == 0
    assert found.pop("clone3") == errno.ENOSYS, "so that C libraries take the clone whose flags can be filtered"
    assert {name: number for name, number in found.items() if number not in (errno.EPERM, errno.EACCES)} == {}


def test_the_same_in_an_exec(engine: Engine, image: Callable[..., str], probe: Path):
    mounts = [MountConfig(type="bind", source=str(probe), target="/probe", read_only=True)]
    container = make(engine, image(), "sleep", "60", mounts=mounts)
    container.start()
    found = dict(line.split() for line in container.exec(["/probe", *DENIED]).stdout.decode().splitlines())
    assert set(found) == set(DENIED) and set(found.values()) <= {str(errno.EPERM), str(errno.EACCES)}


def test_without_a_profile_the_probe_reaches_the_kernel(engine: Engine, image: Callable[..., str], probe: Path):
    """That the denials above are the profile's: keyctl answers without it."""
    assert _probe(engine, image(), probe, "keyctl", security_opt=["seccomp=unconfined"]) == {"keyctl": 0}


def test_a_profile_that_is_no_json_is_an_error_and_starts_nothing(engine: Engine, image: Callable[..., str]):
    with pytest.raises(InceptionError, match="line 1 column"):
        make(engine, image(), "true", security_opt=["seccomp={bad"]).start()


@pytest.mark.parametrize(
    "fields", [{}, {"cap_add": ["SYS_ADMIN"]}, {"cap_add": ["ALL"]}, {"privileged": True}, {"user": "1000"}]
)
def test_nothing_is_inheritable_nor_ambient(engine: Engine, image: Callable[..., str], fields: dict[str, object]):
    container = make(engine, image(), "sh", "-c", "cat /proc/self/status; sleep 60", **fields)
    container.start()
    for text in (
        container.exec(["cat", "/proc/self/status"]).stdout,
        container.exec(["cat", "/proc/self/status"], privileged=True).stdout,
        container.exec(["cat", "/proc/1/status"], user="0").stdout,
    ):
        status = dict(line.split(":\t", 1) for line in text.decode().splitlines() if ":\t" in line)
        assert (int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0)


def test_fifty_descriptors_that_the_caller_leaks_reach_neither_run_nor_exec(
    engine: Engine, image: Callable[..., str], host: Path
):
    leaked = [os.open(host, os.O_RDONLY) for _ in range(50)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)
        container = make(engine, image(), "sh", "-c", "ls -l /proc/self/fd; sleep 60")
        container.start()
        seen = container.exec(["sh", "-c", "ls -l /proc/1/fd /proc/self/fd"]).stdout.decode()
        seen += b"".join(line.data for line in container.logs()).decode()
        assert str(host) not in seen and "/canary" not in seen
        for number in (3, 7, leaked[0], leaked[-1], 1023):
            with pytest.raises(StartFailed):
                container.exec(["pwd"], working_dir=f"/proc/self/fd/{number}")
            with pytest.raises(StartFailed):
                make(engine, image(), "pwd", working_dir=f"/proc/self/fd/{number}").start()
    finally:
        for fd in leaked:
            os.close(fd)


def test_masked_paths_say_nothing_and_read_only_ones_take_nothing(engine: Engine, image: Callable[..., str]):
    script = """
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
            [ -e $f ] && [ -n "$(cat $f 2>/dev/null)" ] && echo "leak $f"
        done
        for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
            [ -d $d ] && [ -n "$(ls $d)" ] && echo "leak $d"
        done
        for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/irq/0/smp_affinity /sys/kernel/uevent_helper; do
            (echo x >$f) 2>/dev/null && echo "write $f"
        done
        mount -o remount,rw /proc/sys 2>/dev/null && echo remount
        true
    """
    assert output(make(engine, image(), "sh", "-c", script)) == (0, "")


@pytest.mark.needs("cgroup1")
@pytest.mark.parametrize("fields", [{}, {"cap_add": ["SYS_ADMIN"], "cgroupns_mode": "host"}])
def test_cve_2022_0492_no_release_agent_can_be_set(
    engine: Engine, image: Callable[..., str], host: Path, fields: dict[str, object]
):
    """The public proof: a cgroup v1 mount with a release_agent, by new namespaces, and in what is mounted already."""
    script = f"""
        unshare -UrmC sh -c 'mkdir /m; mount -t cgroup -o rdma cgroup /m && echo {host}/file >/m/release_agent && echo got' 2>&1
        for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent; do
            (echo {host}/pwned >$f) 2>/dev/null && echo "got $f"
        done
        true
    """
    code, text = output(make(engine, image(), "sh", "-c", script, **fields))
    assert code == 0 and "got" not in text


def test_a_set_uid_program_gives_nothing_with_no_new_privileges(engine: Engine, image: Callable[..., str]):
    program = Path("/bin/busybox").read_bytes()
    setuid = entry("bin/sid", data=program, mode=0o4755)
    found = image(setuid, entry("bin/id2", data=program, mode=0o4755))
    code, text = output(
        make(engine, found, "/bin/sid", "cat", "/proc/self/status", user="1000", security_opt=["no-new-privileges"])
    )
    assert code == 0 or "applet not found" in text
    assert "Uid:\t1000\t1000\t1000" in text or "applet not found" in text
