"""Every step of `create`, `start`, `run` and `exec` made to fail in turn, and every one of them killed in turn.

A step of a plan fails because the test writes a system call that does not exist over it in the compiled plan. A call of the
command itself fails, or is its last, by a profile function, which sees each call before it happens.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from inception.linux import abi
from inception.linux.call import syscall
from inception.runtime import cli, container, exec
from inception.runtime.plan import Plan

from .harness import Runtime, cgroups_named, mounts, namespaces

pytestmark = pytest.mark.needs("root", "busybox")

_NO_SUCH_CALL = 0xFFFF
# Steps whose failure has words of its own.
_NAMED = re.compile(r"error running \w+ hook #0: /bin/true: |exec /bin/\w+: |chdir to the working directory ")
# What fails between `create` and `start` ends the process; its error has nobody to go to.
_ENDED = "cannot start a container that has stopped"


_SEEN = mmap.mmap(-1, 1 << 16)  # how many steps or calls the last command had, and steps' names: from its process to ours


def _seen() -> int:
    (seen,) = struct.unpack("=I", _SEEN[0:4])
    return int(seen)


def _name(step: int) -> str:
    return _kinds()[step].partition(" ")[0]


def _kinds() -> list[str]:
    """The last plan's steps, each as its name and what asked for it."""
    return _SEEN[4:].split(b"\0", 1)[0].decode().split("\n")


def _steps() -> Iterator[int]:
    """The steps to be tried: the first and last of each kind, with ALL_FAULTS=1 all; in the end one that is not there."""
    yield 0
    kinds = _kinds()
    for step in range(1, len(kinds)):
        others = kinds[:step], kinds[step + 1 :]
        if os.environ.get("ALL_FAULTS") or not all(kinds[step] in side for side in others):
            yield step
    yield len(kinds)


class Faulty(Plan):
    """A plan whose step `at` is a call that no kernel has; `None` leaves it whole."""

    at: int | None = None

    def compile(self) -> bytes:
        compiled = bytearray(super().compile())
        text = "\n".join(f"{step.name} {step.source.partition('[')[0]}" for step in self.steps)
        _SEEN[0 : 4 + len(text)] = struct.pack("=I", len(self.steps)) + text.encode()
        if self.at is not None and self.at < len(self.steps):
            (first,) = struct.unpack_from("=I", compiled, 8)
            struct.pack_into("=HHhHhhHH", compiled, first + 64 * self.at, abi.OP_SYSCALL, _NO_SUCH_CALL, -1, 0, 0, 0, 0, 0)
        return bytes(compiled)


def look(rt: Runtime) -> dict[str, Any]:
    """What a failure must leave as it was."""
    return {
        "cgroups": {str(path) for path in cgroups_named(f"itest-{os.getpid()}-*")},
        "folders": sorted(os.listdir(rt.root)),
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(rt.folder) in line],
        "processes": _children(),
    }


def _children() -> set[int]:
    """Our children that live, after a moment for those that are ending: with orphans, all that a command has left."""
    found: set[int] = set()
    for _ in range(200):
        found = set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
        ended = {pid for pid in found if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None}
        if not (found := found - ended):
            break
        time.sleep(0.01 if ended else 0.002)
    return found


def _command(rt: Runtime, *words: str, prepare: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """The command in a fork of this process, after *prepare*: its exit code, or the signal as a negative number, and stderr."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            with open(rt.folder / "err", "w") as err, open(rt.folder / "out", "w") as out, open("/dev/null") as null:
                for number, file in enumerate((null, out, err)):
                    os.dup2(file.fileno(), number)
            os.closerange(3, 256)
            sys.stderr = open(2, "w", closefd=False)
            prepare()
            code = cli.run(["--root", str(rt.root), *words])
            sys.setprofile(None)
            sys.stderr.flush()
            os._exit(code)
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}".encode())
        os._exit(99)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), (rt.folder / "err").read_text()


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    (runtime.root / "@seccomp").mkdir(parents=True)
    syscall(abi.SYS_prctl, abi.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become ours
    yield runtime
    syscall(abi.SYS_prctl, abi.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    runtime.close()
    assert not cgroups_named(f"itest-{os.getpid()}-*")


HOOK = [{"path": "/bin/true"}]
RICH: dict[str, Any] = {
    "process": {
        "args": ["sleep", "60"],
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "oomScoreAdj": 100,
        "noNewPrivileges": True,
        "user": {"uid": 1, "gid": 1, "additionalGids": [5]},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
        "scheduler": {"policy": "SCHED_BATCH"},
        "cwd": "/tmp/made",
    },
    "root": {"readonly": True},
    "hooks": dict.fromkeys(["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"], HOOK),
    "mounts": mounts(
        {"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/made/here", "type": "bind", "source": "rootfs/bin", "options": ["rbind", "ro", "rslave"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ),
    "linux": {
        "namespaces": namespaces("cgroup"),
        "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "devices": [{"allow": False, "access": "rwm"}]},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "devices": [{"path": "/dev/more/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 1}],
        "maskedPaths": ["/proc/kcore", "/proc/acpi"],
        "readonlyPaths": ["/proc/sys"],
        "rootfsPropagation": "rslave",
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]},
    },
}
OWN_USERS: dict[str, Any] = {
    "process": {"args": ["sleep", "60"]},
    "linux": {
        "namespaces": namespaces("user", "cgroup"),
        "uidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
        "resources": {"pids": {"limit": 50}},
    },
}


def _faulty(monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    """Plans that are made from here on fail at their step *at*."""
    monkeypatch.setattr(Faulty, "at", at)
    monkeypatch.setattr(container, "Plan", Faulty)
    monkeypatch.setattr(exec, "Plan", Faulty)


def _check_words(step: int, err: str) -> None:
    """One line that says which step of how many failed and what asked for it, or what a hook, program or folder could not."""
    assert len(err.splitlines()) == 1, err
    if _ENDED in err or "container not running" in err:  # it ended before, or while, somebody came to start it
        assert _name(step) == "accept"
        return
    assert "unction not implemented" in err, err
    assert f"(step {step + 1} of {_seen()}, from " in err or _NAMED.search(err), err


@pytest.mark.parametrize("changes", [RICH, OWN_USERS], ids=["rich", "users"])
def test_any_step_that_fails_in_create_or_start_is_named_and_leaves_nothing(
    rt: Runtime, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    before, started = look(rt), 0
    for step in _steps():
        _faulty(monkeypatch, step)
        id = rt.write(changes)
        code, err = _command(rt, "create", "-b", str(rt.bundle), id)
        if code == 0:
            started += 1
            code, err = _command(rt, "start", id)
            if step >= _seen():
                break
            if os.path.exists(rt.root / id):
                assert rt.state()["status"] == "stopped"
                assert _command(rt, "delete", id) == (0, "")
        assert code == 1, (step, err)
        _check_words(step, err)
        assert look(rt) == before, (step, err)
    assert code == 0 and step > 40 and started > 2
    assert _command(rt, "delete", "--force", id) == (0, "")


@pytest.mark.parametrize("changes", [RICH, OWN_USERS], ids=["rich", "users"])
def test_any_step_that_fails_in_run_leaves_nothing(rt: Runtime, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    before = look(rt)
    for step in _steps():
        _faulty(monkeypatch, step)
        id = rt.write({**changes, "process": {**changes["process"], "args": ["true"]}})
        code, err = _command(rt, "run", "-b", str(rt.bundle), id)
        assert look(rt) == before, (step, err)
        if step >= _seen():
            break
        if code == 127 and _name(step) == "accept":  # whoever came to start it saw it end as if its program had begun
            continue
        assert code == 1, (step, err)
        _check_words(step, err)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("changes", [RICH, OWN_USERS], ids=["rich", "users"])
def test_any_step_that_fails_in_exec_leaves_the_container_as_it_was(
    rt: Runtime, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    id = rt.write(changes)
    assert rt.command("create", id, stdout="container").code == 0 and rt.start().code == 0
    before = look(rt)
    for step in _steps():
        _faulty(monkeypatch, step)
        code, err = _command(rt, "exec", id, "true")
        assert look(rt) == before, (step, err)
        if step >= _seen():
            break
        assert code == 255, (step, err)
        _check_words(step, err)
    assert (code, err) == (0, "") and step > 10
    assert rt.state()["status"] == "running"


# ---- the command's own calls ------------------------------------------------------------------------------------------------


_STRIDE = 1 if os.environ.get("ALL_FAULTS") else 3  # every third call; all of them take minutes
# Where a failure means "not there": os.path's questions, the search for a module.
_QUIET = re.compile("genericpath|importlib")


def _at_call(number: int, act: Callable[[str], None]) -> Callable[[], None]:
    """What makes *act* come before Python's system call *number*; `_SEEN` counts them."""
    seen = 0

    def look(frame: FrameType, event: str, called: Any) -> None:
        nonlocal seen
        if event == "c_call" and not _QUIET.search(frame.f_code.co_filename) and _is_system_call(called):
            seen += 1
            _SEEN[0:4] = struct.pack("=I", seen)
            if seen - 1 == number:
                sys.setprofile(None)
                act(" < ".join(_callers(frame)))

    return lambda: sys.setprofile(look)


def _callers(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def _is_system_call(called: Any) -> bool:
    if called.__name__ in ("close", "_exit", "getpid", "fspath", "fsencode", "geteuid", "detach", "fileno", "uname"):
        return False  # can't fail; and a close that the test keeps from happening says nothing about what is left
    module = called.__module__ or type(called.__self__).__module__
    return module in ("posix", "fcntl", "_socket", "inception._spawn", "_io", "io")


_PLACE = mmap.mmap(-1, 1 << 12)  # the functions in which the last call was made to fail


def _fail(where: str) -> None:
    _PLACE[:] = where.encode().ljust(len(_PLACE), b"\0")
    raise OSError(errno.EIO, "made to fail", where)


def _die(where: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("verb", ["create", "run"])
def test_any_call_of_the_command_that_fails_leaves_nothing_or_a_container(rt: Runtime, verb: str):
    before, failed = look(rt), 0
    for number in itertools.count(step=_STRIDE):
        id = rt.write({**RICH, "process": {**RICH["process"], "args": ["true"]}})
        code, err = _command(rt, verb, "-b", str(rt.bundle), id, prepare=_at_call(number, _fail))
        assert "Traceback" not in err and code in (0, 1), (number, err)
        if code == 0 and verb == "create":
            assert rt.state()["status"] == "created"
            assert _command(rt, "delete", "--force", id) == (0, "")
        if code and verb == "run" and b" delete " in _PLACE[:]:  # the container has run, and says why it is still there
            assert _command(rt, "delete", "--force", id) == (0, "")
        assert look(rt) == before, (number, code, err)
        failed += code
        if _seen() <= number:
            break
    assert failed > 20 and (code, err) == (0, "")


@pytest.mark.parametrize("verb", ["create", "start", "delete", "run"])
def test_a_command_that_is_killed_at_any_of_its_calls_leaves_what_delete_force_removes(rt: Runtime, verb: str):
    before = look(rt)
    for number in itertools.count(step=_STRIDE):
        id = rt.write({**RICH, "process": {**RICH["process"], "args": ["sleep", "60"]}})
        words = ["-b", str(rt.bundle), id] if verb in ("create", "run") else [id]
        if verb in ("start", "delete"):
            assert _command(rt, "create", "-b", str(rt.bundle), id) == (0, "")
        if verb == "run":
            words.insert(0, "--detach")
        code, err = _command(rt, verb, *words, prepare=_at_call(number, _die))
        assert code in (0, -signal.SIGKILL), (number, code, err)
        assert _command(rt, "delete", "--force", id) == (0, ""), number
        assert look(rt) == before, (number, code, err)
        if _seen() <= number:
            break
    assert code == 0 and number > 10
