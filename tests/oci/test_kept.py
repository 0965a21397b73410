"""`run` and `exec` of what was done before, without Python: the same as with it, and only while nothing has changed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_until

from .harness import OURS, Result, Runtime, cgroup_folder, cgroups_named, mounts

pytestmark = pytest.mark.needs("root", "busybox", "cgroup1", "strace")

ABOUT = "env | sort; id; hostname; cat /proc/self/cgroup; cat /proc/mounts | sort; grep -e Cap -e Seccomp /proc/self/status"


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert not cgroups_named(f"itest-{os.getpid()}-*")
    assert [name for name in os.listdir(runtime.root) if not name.startswith("@")] == []


def traced(rt: Runtime, *words: str) -> tuple[Result, bool]:
    """What a command gave, and whether Python did it."""
    trace, out, err = (rt.folder / name for name in ("trace", "traced-out", "traced-err"))
    command = ["strace", "-qq", "-e", "trace=execve", "-o", str(trace), OURS, "--root", str(rt.root), *words]
    with open(out, "wb") as stdout, open(err, "wb") as stderr:  # files: what is created keeps them
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=rt.bundle, timeout=60, check=False
        )
    return Result(done.returncode, out.read_text(), err.read_text()), "/python" in trace.read_text()


def again(rt: Runtime, *, python: bool, more: tuple[str, ...] = ()) -> Result:
    """`run` of the bundle as it is, under the id that its configuration was written for."""
    result, did = traced(rt, "run", *more, rt.id)
    assert did == python
    return result


def learn(rt: Runtime, *, run: Callable[[], tuple[Result, bool]] | None = None) -> Result:
    """What Python gives, twice: the first time it is only seen, the second time it is kept."""
    run = run or (lambda: traced(rt, "run", rt.id))
    for _ in range(2):
        result, python = run()
        assert python
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"user": {"uid": 7, "gid": 8, "additionalGids": [9]}, "noNewPrivileges": True},
        {"capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": [], "ambient": ["CAP_KILL"]}},
        {"root": {"readonly": True}, "linux": {"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]}},
        {"linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 20}}}},
        {
            "linux": {
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}]}
            }
        },
        {"mounts": mounts({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})},
    ],
    ids=["plain", "user", "warning", "readonly", "limits", "seccomp", "cgroup mount"],
)
def test_what_was_run_twice_needs_no_python_and_is_the_same(rt: Runtime, changes: dict[str, Any]) -> None:
    about = f"{ABOUT}; cat /sys/fs/cgroup/pids/pids.max; echo >/x; exit 3"
    own = {key: changes[key] for key in changes if key in ("user", "noNewPrivileges", "capabilities")}
    rest = {key: changes[key] for key in changes if key not in own}
    rt.write({"process": {"args": ["sh", "-c", about], **own}, **rest})
    first, second = learn(rt), again(rt, python=False)
    assert (first.code, first.out, _timeless(first.err)) == (second.code, second.out, _timeless(second.err))
    assert first.code == 3
    assert "HOME=/" in first.out
    assert ("level=warning" in second.err) == ("capabilities" in own)


def test_another_id_is_another_container_of_the_same_configuration(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sh", "-c", "cat /proc/self/cgroup"]}, "linux": {"cgroupsPath": None}})
    for number, id in enumerate([f"{rt.id}-1", f"{rt.id}-a-longer-name", rt.id, f"{rt.id}-{'x' * 40}"]):
        rt.ids.append(id)
        rt.id = id
        result = again(rt, python=number < 2)
        assert result.code == 0
        assert f":/{id}\n" in result.out
        assert result.out.count(f"/{id}\n") >= 8
    rt.id = "itest-" + "y" * 80  # longer than there is room for
    rt.ids.append(rt.id)
    assert f":/{rt.id}\n" in again(rt, python=True).out


def test_the_state_is_that_of_any_container_while_it_runs(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sleep", "600"]}, "annotations": {"org.test": "a b"}, "linux": {"cgroupsPath": None}})
    command = [OURS, "--root", str(rt.root), "run", rt.id]
    states = []
    for python in (True, True, False):
        with subprocess.Popen(command, cwd=rt.bundle, stdin=subprocess.DEVNULL) as process:
            wait_until(lambda: (rt.root / rt.id / "started").exists())
            wait_until(lambda: rt.state()["status"] == "running")
            state = rt.state()
            assert ("python" in os.readlink(f"/proc/{process.pid}/exe")) == python
            assert rt.command("exec", rt.id, "true").code == 0
            assert f"/{rt.id}\n" in rt.command("exec", rt.id, "cat", "/proc/self/cgroup").out
            assert int((cgroup_folder(rt.id, "pids") / "cgroup.procs").read_text()) == state.pop("pid")
            state.pop("created")
            states.append(state)
            process.send_signal(signal.SIGTERM)  # passed on; process 1 without a handler does not hear it
            assert rt.command("kill", rt.id, "KILL").code == 0
            assert process.wait(10) == 128 + 9
    assert states[0] == states[1] == states[2]


def test_a_create_that_was_kept_is_a_container_like_the_first(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sleep", "600"]}, "linux": {"cgroupsPath": None}})
    states = []
    for python in (True, True, False, False):
        result, did = traced(rt, "create", rt.id)
        assert (result.code, result.err, did) == (0, "", python)
        assert rt.state()["status"] == "created"
        assert rt.start().code == 0
        states.append({key: value for key, value in rt.state().items() if key not in ("pid", "created")})
        assert rt.command("pause", rt.id).code == 0
        assert rt.command("resume", rt.id).code == 0
        assert rt.command("delete", "--force", rt.id).code == 0
        assert not cgroups_named(rt.id)
    assert states[0] == states[1] == states[2] == states[3]
    assert states[0]["status"] == "running"


@pytest.mark.parametrize("verb", ["create", "run"])
def test_killed_anywhere_it_leaves_what_delete_force_removes(rt: Runtime, verb: str) -> None:
    rt.write({"process": {"args": ["sleep", "60"]}})
    for _ in range(2):
        assert traced(rt, "create", rt.id)[1] is True
        assert rt.command("delete", "--force", rt.id).code == 0
    for delay_us in range(0, 9000, 600):
        command = [OURS, "--root", str(rt.root), verb, rt.id]
        with subprocess.Popen(command, cwd=rt.bundle, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            time.sleep(delay_us / 1e6)
            process.kill()
        assert rt.command("delete", "--force", rt.id).code == 0
        assert rt.command("state", rt.id).code == 1
        assert not cgroups_named(rt.id)
    assert traced(rt, "create", rt.id)[1] is False
    assert rt.command("delete", "--force", rt.id).code == 0


def test_signals_reach_the_program(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"]}})
    for _ in range(3):
        command = [OURS, "--root", str(rt.root), "run", rt.id]
        with subprocess.Popen(command, cwd=rt.bundle, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            wait_until(lambda: (rt.root / rt.id / "started").exists())
            time.sleep(0.05)  # it may be on its way to the wait still
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 42


def test_what_has_changed_is_seen(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sh", "-c", "echo $HOME; cat /proc/self/oom_score_adj"]}})
    assert learn(rt).out == "/\n0\n"
    assert again(rt, python=False).out == "/\n0\n"
    (rt.rootfs / "etc/passwd").write_text("root:x:0:0::/of/root:/bin/sh\n")
    assert again(rt, python=True).out == "/of/root\n0\n"
    assert again(rt, python=False).out == "/of/root\n0\n"
    (rt.rootfs / "etc/passwd").unlink()
    (rt.rootfs / "etc/passwd").symlink_to("elsewhere")  # not followed here
    for _ in range(2):
        assert again(rt, python=True).out == "/\n0\n"
    (rt.rootfs / "etc/passwd").unlink()
    assert again(rt, python=True).out == "/\n0\n"
    config = rt.bundle / "config.json"
    config.write_text(config.read_text().replace("echo $HOME", "echo other"))
    assert again(rt, python=True).out == "other\n0\n"
    rights = ["setpriv", "--bounding-set", "-sys_time", OURS, "--root", str(rt.root), "run", rt.id]
    trace = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(rt.folder / "trace")]
    subprocess.run([*trace, *rights], cwd=rt.bundle, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    assert "/python" in (rt.folder / "trace").read_text()


@pytest.mark.parametrize("words", [["--detach"], ["--keep"], ["--pid-file", "pid"], ["--preserve-fds", "0"]], ids=" ".join)
def test_other_options_are_pythons(rt: Runtime, words: list[str]) -> None:
    rt.write({})
    for _ in range(3):
        assert again(rt, python=True, more=tuple(words)).code == 0
        rt.command("delete", "--force", rt.id)


@pytest.mark.parametrize(
    "changes",
    [
        {"hooks": {"poststop": [{"path": "/bin/true"}]}},
        {"linux": {"namespaces": [{"type": kind} for kind in ("network", "ipc", "uts", "mount")]}},
        {"mounts": mounts({"destination": "/etc/passwd", "type": "bind", "source": "/etc/passwd", "options": ["bind"]})},
    ],
    ids=["hooks", "the host's pids", "a passwd of its own"],
)
def test_what_is_unusual_stays_pythons(rt: Runtime, changes: dict[str, Any]) -> None:
    rt.write(changes)
    for _ in range(3):
        assert again(rt, python=True).code == 0


def test_what_fails_the_second_time_is_said_as_by_python_and_leaves_nothing(rt: Runtime) -> None:
    rt.write({"process": {"args": ["/bin/there"]}})
    (rt.rootfs / "bin/there").write_text("#!/bin/true\n")
    (rt.rootfs / "bin/there").chmod(0o755)
    assert learn(rt).code == 0
    assert again(rt, python=False).code == 0
    (rt.rootfs / "bin/there").unlink()
    failed = again(rt, python=True)
    assert failed.code == 1
    assert "/bin/there" in failed.err
    assert rt.command("state", rt.id).err == f"container does not exist: {rt.id}\n"
    assert not cgroups_named(rt.id)


def test_an_id_that_is_taken_stays_anothers(rt: Runtime) -> None:
    rt.write({"process": {"args": ["true"]}})
    assert learn(rt).code == 0
    assert rt.command("create", rt.id, stdout="container").code == 0
    taken = again(rt, python=True)
    assert (taken.code, "already exists" in taken.err) == (1, True)
    assert rt.state()["status"] == "created"


def test_a_cgroup_that_is_there_stays_anothers(rt: Runtime) -> None:
    rt.write({})
    assert learn(rt).code == 0
    folder = cgroup_folder(rt.id, "pids")
    folder.mkdir()
    assert again(rt, python=True).code == 0
    folder.rmdir()
    assert again(rt, python=False).code == 0


def test_a_kept_file_that_is_damaged_or_somebody_elses_is_not_used(rt: Runtime) -> None:
    rt.write({})
    assert learn(rt).code == 0
    (kept,) = (path for path in (rt.root / "@plans").iterdir() if path.name != "seen")
    good = kept.read_bytes()
    for bad in (b"", good[:-1], good[:200], good + b"\0", b"INCKEPT0" + good[8:]):
        kept.write_bytes(bad)
        assert again(rt, python=True).code == 0
        assert kept.read_bytes()[:8] == b"INCKEPT1"
        assert again(rt, python=False).code == 0
    os.chown(kept, 1, 0)
    assert again(rt, python=True).code == 0
    kept.chmod(0o622)
    assert again(rt, python=True).code == 0
    assert {path.name for path in (rt.root / "@plans").iterdir()} == {"seen", kept.name}


def test_the_same_exec_needs_no_python_the_third_time(rt: Runtime) -> None:
    assert rt.create(["sleep", "600"]).code == 0
    assert rt.start().code == 0
    words = ["exec", "--user", "7:8", "--env", "A=b c", "--cwd", "/tmp", rt.id, "sh", "-c", f"pwd; {ABOUT}; exit 5"]
    first = learn(rt, run=lambda: traced(rt, *words))
    second, python = traced(rt, *words)
    assert not python
    assert (first.code, first.out, first.err) == (second.code, second.out, second.err)
    assert first.code == 5
    assert "A=b c\n" in first.out
    assert f"/{rt.id}\n" in first.out
    assert traced(rt, *words[:-1], "exit 6")[0].code == 6  # other words are another command
    (rt.rootfs / "etc/passwd").write_text("seven:x:7:8::/of/seven:/bin/sh\n")
    changed, python = traced(rt, *words)
    assert (python, "HOME=/of/seven\n" in changed.out) == (True, True)
    assert traced(rt, *words)[1] is False


def test_an_exec_that_was_done_before_fails_as_ever(rt: Runtime) -> None:
    (rt.rootfs / "bin/there").write_text("#!/bin/true\n")
    (rt.rootfs / "bin/there").chmod(0o755)
    assert rt.create(["sleep", "600"]).code == 0
    assert rt.start().code == 0
    words = ("exec", rt.id, "there")
    for _ in range(3):
        assert traced(rt, *words)[0].code == 0
    assert rt.command("pause", rt.id).code == 0
    paused, _ = traced(rt, *words)
    assert (paused.code, "paused" in paused.err) == (255, True)
    assert rt.command("resume", rt.id).code == 0
    (rt.rootfs / "bin/there").unlink()
    gone, _ = traced(rt, *words)
    assert (gone.code, "there" in gone.err) == (255, True)
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    stopped, _ = traced(rt, *words)
    assert (stopped.code, stopped.err) == (255, "exec failed: cannot exec in a stopped container\n")


def test_no_descriptor_of_the_callers_gets_in(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sh", "-c", "ls /proc/self/fd; sleep 600"]}})
    fds = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(50)]
    try:
        for _ in range(3):
            command = [OURS, "--root", str(rt.root), "run", rt.id]
            with subprocess.Popen(command, cwd=rt.bundle, stdout=subprocess.PIPE, pass_fds=fds) as process:
                assert process.stdout is not None
                assert [process.stdout.readline() for _ in range(4)] == [b"0\n", b"1\n", b"2\n", b"3\n"]
                for _ in range(3):
                    inside = ["exec", rt.id, "ls", "/proc/self/fd"]
                    done = subprocess.run(
                        [OURS, "--root", str(rt.root), *inside], capture_output=True, pass_fds=fds, check=True, timeout=30
                    )
                    assert done.stdout == b"0\n1\n2\n3\n"
                assert rt.command("kill", rt.id, "KILL").code == 0
                assert process.wait(10) == 128 + 9
    finally:
        for fd in fds:
            os.close(fd)


def _timeless(text: str) -> str:
    return re.sub(r'time="[^"]*"', "", text)
