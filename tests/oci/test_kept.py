"""`run` and `exec` of what was done before, without Python: the same as with it, and only while nothing has changed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
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


PYTHON = Path(sys.prefix) / "lib/inception/runc"  # the command without `_shortcut.c`


SHOW = "env; hostname; cat /mounted; printf '%s|' \"$@\"; cat /proc/self/cgroup; readlink /proc/self/ns/net"
SHELLS = (["sh"], ["/bin/sh"], ["busybox", "sh"], ["//bin/sh"])
WORDS = ("a", "", "b c", "\"'\\", "<&>", "\n\t", "\x7f\u00e9", "$HOME", "\\u0000", "x" * 3000, "\x05000", "=", "-n")


def values(number: int) -> dict[str, Any]:
    """A configuration of one shape with values of its own."""
    word = WORDS[number % len(WORDS)]
    return {
        "process": {
            "args": [*SHELLS[number % 4], "-c", SHOW, word, word, "end"],
            "env": ["PATH=/bin:/sbin", f"WORD={word}", f"NUMBER={number}", "NUMBER=again"],
        },
        "hostname": f"host-{'h' * number}",
        "annotations": {"org.test.word": word, "org.test.number": str(number)},
    }


def test_values_vary_without_python_and_mean_what_they_mean_to_it(rt: Runtime, tmp_path: Path) -> None:
    """Arguments, variables, hostname, annotations, root, sources, cgroup, namespace: whatever they are, both do the same."""
    learned: set[tuple[int, bool]] = set()
    with_python = 0
    for number in range(40):
        source, root = tmp_path / f"source{number}", tmp_path / f"root{number}"
        source.write_text(f"content {number}\n")
        root.symlink_to(rt.rootfs)
        mount = {"destination": "/mounted", "type": "bind", "source": str(source), "options": ["bind", "ro"]}
        network = {"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}
        rest = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        id = rt.write(
            {**values(number), "mounts": mounts(mount), "root": {"path": str(root)}, "linux": {"namespaces": [network, *rest]}}
        )
        results, kept = [], []
        for command in ([OURS], [str(PYTHON)]):
            trace = rt.folder / "trace"
            strace = ["strace", "-qq", "-e", "trace=execve", "-o", str(trace)]
            done = subprocess.run(
                [*strace, *command, "--root", str(rt.root), "create", "--pid-file", "pid", id],
                cwd=rt.bundle,
                stdin=subprocess.DEVNULL,
                stdout=(rt.folder / "program-out").open("wb"),
                stderr=subprocess.STDOUT,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, (rt.folder / "program-out").read_text()
            python = "/python" in trace.read_text()
            state = {key: value for key, value in rt.state().items() if key not in ("created", "pid")}
            assert int((rt.bundle / "pid").read_text()) == rt.state()["pid"]
            saved = json.loads((rt.root / id / "config.json").read_text())
            assert rt.start().code == 0
            rt.wait("stopped")
            results.append((state, saved, (rt.folder / "program-out").read_bytes()))
            kept.append(python)
            assert rt.command("delete", id).code == 0
        assert results[0] == results[1]
        assert f"content {number}\n".encode() in results[0][2]
        assert state["annotations"]["org.test.number"] == str(number)
        with_python += kept[0]
        learned.add((number % 4, kept[0]))
    assert {(kind, False) for kind in range(4)} <= learned
    assert with_python < 24  # twice a shape, and what JSON spells unusually is a shape of its own


def test_places_that_have_to_do_with_each_other_are_pythons(rt: Runtime, tmp_path: Path) -> None:
    """A source in the root is taken from the container's own files; a destination may be spelt as the host has it."""
    inside = rt.rootfs / "inside"
    inside.mkdir()
    (inside / "file").write_text("in the root")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("out of it")
    script = {"process": {"args": ["cat", "/mnt/file"]}, "root": {"path": str(rt.rootfs)}}

    def bind(source: str, destination: str = "/mnt") -> None:
        mount = {"destination": destination, "type": "bind", "source": source, "options": ["bind"]}
        rt.write({**script, "mounts": mounts(mount)})

    bind(str(outside))
    assert learn(rt).out == "out of it"
    assert again(rt, python=False).out == "out of it"
    for source, destination in (
        (str(inside), "/mnt"),
        (f"{outside}/../outside", "/mnt"),
        ("../outside", "/mnt"),
        (str(outside), f"{rt.rootfs}/mnt"),
    ):
        for _ in range(3):
            bind(source, destination)
            if source.startswith(".."):
                (rt.bundle / "../outside").exists() or (rt.bundle / "../outside").symlink_to(outside)
            assert again(rt, python=True).out == ("in the root" if source == str(inside) else "out of it")


@pytest.mark.parametrize(
    "text",
    [
        '{"root": {"path": "rootfs"}, %s',
        '{"Root": {"Path": "/nowhere"}, %s',
        '{"hoo\u212as": {}, %s',
        '{"root\\u002e": 1, "process.args[]": "x", %s',
        "{%s\x01",
        '{"annotations": {"a": "b\x01"}, %s',
        '{"annotations": {"a": "\\u0000"}, %s',
    ],
)
def test_json_that_is_strange_is_read_by_python(rt: Runtime, text: str) -> None:
    rt.write({"process": {"args": ["echo", "done"]}})
    rt.root.mkdir()
    config = rt.bundle / "config.json"
    config.write_text(text % config.read_text()[1:])
    results = [traced(rt, "run", rt.id) for _ in range(3)]
    own = subprocess.run([PYTHON, "--root", rt.root, "run", rt.id], cwd=rt.bundle, capture_output=True, text=True, check=False)
    for result, _ in results:
        assert (result.code, result.out, result.err) == (own.returncode, own.stdout, own.stderr)
    assert own.returncode == 0 or results[2][1]


def test_what_engines_call_needs_no_python_the_third_time(rt: Runtime, tmp_path: Path) -> None:
    """The command lines of containerd's shim, dockerd's and conmon's."""
    log = ["--log", str(tmp_path / "log.json"), "--log-format", "json"]
    process = {"user": {"uid": 3, "gid": 4}, "env": ["PATH=/bin", "HOME=/tmp"], "cwd": "/tmp", "args": []}
    pythons = []
    for number in range(4):
        rt.write({"process": {"args": ["sleep", f"60{number}"]}})
        create = ["create", "--bundle", str(rt.bundle), "--pid-file", str(tmp_path / "init.pid"), rt.id]
        result, python = traced(rt, *log, *create)
        assert (result.code, result.out, result.err) == (0, "", "")
        pythons.append(python)
        assert rt.start().code == 0
        for inside in range(3):
            words = ["sh", "-c", f"echo {number} {inside} $(id -u) $HOME $(pwd); sleep 60; exit {inside}"]
            (tmp_path / "process.json").write_text(json.dumps({**process, "args": words}))
            exec_ = [
                "exec",
                "--process",
                str(tmp_path / "process.json"),
                "--detach",
                "--pid-file",
                str(tmp_path / "exec.pid"),
                rt.id,
            ]
            result, python = traced(rt, *log, *exec_)
            assert (result.code, result.err, python) == (0, "", inside < 2)
            command = Path("/proc", (tmp_path / "exec.pid").read_text(), "cmdline").read_bytes()
            assert f"echo {number} {inside} ".encode() in command
            wait_until(lambda: (rt.folder / "traced-out").read_text().endswith("\n"))
            assert (rt.folder / "traced-out").read_text() == f"{number} {inside} 3 /tmp /tmp\n"
        assert rt.command("kill", rt.id, "KILL").code == 0
        rt.wait("stopped")
        assert rt.command("delete", rt.id).code == 0
    assert pythons == [True, True, False, False]
    assert (tmp_path / "log.json").read_text() == ""
    rt.write({"process": {"args": ["sleep", "604"]}})
    create[1:3], create[-1], log[1] = ["--bundle", str(rt.bundle)], rt.id, str(tmp_path / "not/there")
    failed, python = traced(rt, *log, *create)
    assert (failed.code, python, "not/there" in failed.err) == (1, True, True)


def test_a_warning_is_where_the_log_is(rt: Runtime, tmp_path: Path) -> None:
    rt.write({"process": {"capabilities": {"bounding": ["CAP_WHAT"]}}})
    for _ in range(3):
        result, python = traced(rt, "--log", str(tmp_path / "log"), "run", rt.id)
        assert (result.code, result.err, python) == (0, "", True)
    assert (tmp_path / "log").read_text().count("CAP_WHAT") == 3
    result, python = traced(rt, "run", rt.id)
    assert ("CAP_WHAT" in result.err, python) == (True, False)


def test_a_pid_file_that_can_not_be_written_ends_it_in_pythons_words(rt: Runtime, tmp_path: Path) -> None:
    for _ in range(3):
        rt.write({"process": {"args": ["sleep", "60"]}})
        result, python = traced(rt, "create", "--pid-file", str(tmp_path / "not/there"), rt.id)
        assert (result.code, python) == (1, True)
        assert "--pid-file" in result.err
        assert rt.command("state", rt.id).code == 1
        assert not cgroups_named(rt.id)


def test_a_detached_run_goes_on(rt: Runtime) -> None:
    for number in range(3):
        rt.write({"process": {"args": ["sleep", "60"]}})
        result, python = traced(rt, "run", "--detach", "--pid-file", "pid", rt.id)
        assert (result.code, python) == (0, number < 2)
        assert rt.state()["status"] == "running"
        assert rt.state()["pid"] == int((rt.bundle / "pid").read_text())
        assert rt.command("delete", "--force", rt.id).code == 0


def test_another_id_is_another_container_of_the_same_configuration(rt: Runtime) -> None:
    rt.write({"process": {"args": ["sh", "-c", "cat /proc/self/cgroup"]}, "linux": {"cgroupsPath": None}})
    for number, id in enumerate([f"{rt.id}-1", f"{rt.id}-a-longer-name", rt.id, f"{rt.id}-{'x' * 40}"]):
        rt.ids.append(id)
        rt.id = id
        result = again(rt, python=number < 2)
        assert result.code == 0
        assert f":/{id}\n" in result.out
        assert result.out.count(f"/{id}\n") >= 8
    rt.id = "itest-" + "y" * 180
    rt.ids.append(rt.id)
    assert f":/{rt.id}\n" in again(rt, python=False).out


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
    assert learn(rt).out == "/of/root\n0\n"
    assert again(rt, python=False).out == "/of/root\n0\n"
    (rt.rootfs / "etc/passwd").unlink()
    assert again(rt, python=False).out == "/\n0\n"
    (rt.rootfs / "etc/passwd").symlink_to("/other")
    assert again(rt, python=False).out == "/\n0\n"  # inside of the root there is no such file
    (rt.rootfs / "other").write_text("root:x:0:0::/of/root:/bin/sh\n")
    assert again(rt, python=False).out == "/of/root\n0\n"
    (rt.rootfs / "other").unlink()
    os.mkfifo(rt.rootfs / "other")
    assert again(rt, python=True).out == "/\n0\n"
    (rt.rootfs / "other").unlink()
    config = rt.bundle / "config.json"
    config.write_text(config.read_text().replace('"cwd": "/"', '"cwd": "/bin"'))
    assert learn(rt).out == "/\n0\n"
    rights = ["setpriv", "--bounding-set", "-sys_time", OURS, "--root", str(rt.root), "run", rt.id]
    trace = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(rt.folder / "trace")]
    subprocess.run([*trace, *rights], cwd=rt.bundle, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    assert "/python" in (rt.folder / "trace").read_text()


@pytest.mark.parametrize("words", [["--keep"], ["--no-pivot"], ["--preserve-fds", "0"]], ids=" ".join)
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
        assert kept.read_bytes()[:8] == b"INCKEPT2"
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
    other, python = traced(rt, *words[:-1], "echo $0 $A; exit 6")
    assert (other.code, other.out, python) == (6, "sh b c\n", False)
    (rt.rootfs / "etc/passwd").write_text("seven:x:7:8::/of/seven:/bin/sh\n")
    assert "HOME=/of/seven\n" in learn(rt, run=lambda: traced(rt, *words)).out
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
