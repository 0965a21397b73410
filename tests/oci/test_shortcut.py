"""`inception-runc` without Python: the same as with it, for whoever calls."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import COMMANDS, OURS, Runtime

pytestmark = pytest.mark.needs("root", "busybox", "cgroup1")

PYTHON = Path(sys.prefix) / "lib/inception/runc"
VERBS = ("state", "start", "kill", "delete")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/itest-{os.getpid()}-*"))


def executed(rt: Runtime, *words: str, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """The exit code of a command, and the programs that it became."""
    trace = rt.folder / "trace"
    command = ["strace", "-f", "-e", "trace=execve", "-o", str(trace), OURS, *options, "--root", str(rt.root), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=rt.bundle, timeout=30, check=False)
    lines = trace.read_text().splitlines()
    return done.returncode, [line.split('"')[1] for line in lines if "execve(" in line and line.endswith("= 0")]


def both(rt: Runtime, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """The same exit code and the same words, with and without Python. Only for what changes nothing."""
    ours = rt.command(*words)
    with monkeypatch.context() as patch:
        patch.setitem(COMMANDS, "inception-runc", [str(PYTHON)])
        theirs = rt.command(*words)
    assert (ours.code, ours.out, ours.err) == (theirs.code, theirs.out, theirs.err)


@pytest.mark.needs("strace")
def test_an_ordinary_containers_life_needs_no_python_after_create(rt: Runtime) -> None:
    assert rt.create(["sleep", "600"]).code == 0
    for words in (["state"], ["start"], ["state"], ["kill"], ["kill", "KILL"]):
        verb, *rest = words
        assert executed(rt, verb, rt.id, *rest) == (0, [OURS])
    rt.wait("stopped")
    assert executed(rt, "delete", rt.id) == (0, [OURS])
    assert rt.command("state", rt.id).err == f"container does not exist: {rt.id}\n"
    assert not (rt.root / rt.id).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{rt.id}"))
    assert executed(rt, "delete", "--force", rt.id) == (0, [OURS])
    assert executed(rt, "delete", rt.id)[0] == 1


def test_the_state_is_told_alike_at_every_stage(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = 'a "quoted" \n line, a \u00e9 and a \f'
    assert rt.create(["sleep", "600"], annotations={"org.test": strange, "pid": "paused"}).code == 0
    both(rt, monkeypatch, "state", rt.id)
    assert rt.state()["annotations"]["org.test"] == strange
    assert rt.start().code == 0
    both(rt, monkeypatch, "state", rt.id)
    assert rt.command("pause", rt.id).code == 0
    both(rt, monkeypatch, "state", rt.id)
    assert rt.state()["status"] == "paused"
    both(rt, monkeypatch, "start", rt.id)
    assert rt.command("resume", rt.id).code == 0
    assert rt.command("kill", rt.id, "SIGKILL").code == 0
    rt.wait("stopped")
    assert rt.state()["pid"] == 0
    both(rt, monkeypatch, "state", rt.id)


@pytest.mark.parametrize(
    "words",
    [
        ["start"],
        ["delete"],
        ["kill", "NOPE"],
        ["kill", "0"],
        ["kill", "65"],
        ["kill", "9x"],
        ["kill", "--all", "CONT"],
        ["state", "more"],
        ["state", "--nope"],
        ["start", "--help"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_said_alike(rt: Runtime, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    assert rt.create(["sleep", "600"]).code == 0
    assert rt.start().code == 0
    both(rt, monkeypatch, words[0], rt.id, *words[1:])
    assert rt.state()["status"] == "running"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("id", ["missing", "../up", "a/b", "", "x" * 2000, "."])
def test_an_id_that_is_not_there_is_said_alike(rt: Runtime, monkeypatch: pytest.MonkeyPatch, verb: str, id: str) -> None:
    both(rt, monkeypatch, verb, id)


@pytest.mark.parametrize("script", [["/nowhere"], ["/etc"], ["script"]], ids=["missing", "a folder", "no interpreter"])
def test_a_program_that_cannot_run_is_said_as_by_python(rt: Runtime, script: list[str]) -> None:
    (rt.rootfs / "bin/script").write_text("#!/no/such/interpreter\n")
    (rt.rootfs / "bin/script").chmod(0o755)
    outcomes = []
    for remove in (False, True):
        created = rt.create(script)
        if created.code == 0:
            if remove:
                (rt.root / rt.id / "shortcut").unlink()
            started = rt.start()
            assert started.code == 1
            outcomes.append(started.err)
            assert rt.state()["status"] == "stopped"
            assert rt.command("delete", rt.id).code == 0
        else:
            outcomes.append(created.err)
    assert outcomes[0] == outcomes[1]
    assert "exec" in outcomes[0]


def test_an_init_that_died_before_its_start_is_said_as_by_python(rt: Runtime) -> None:
    assert rt.create(["true"]).code == 0
    assert rt.command("kill", rt.id, "9").code == 0
    rt.wait("stopped")
    started = rt.start()
    assert (started.code, started.err) == (1, "cannot start a container that has stopped\n")


@pytest.mark.parametrize("stage", ["poststart", "poststop", "startContainer"])
def test_hooks_are_run_by_python(rt: Runtime, stage: str) -> None:
    note = rt.rootfs / "noted" if stage == "startContainer" else rt.folder / "noted"
    path = "/noted" if stage == "startContainer" else str(note)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {path}"]}
    assert rt.create(["true"], hooks={stage: [hook]}).code == 0
    assert not (rt.root / rt.id / "shortcut").exists()
    assert rt.start().code == 0
    rt.wait("stopped")
    assert rt.command("delete", rt.id).code == 0
    assert note.read_text().startswith("{")


def test_a_cgroup_that_was_there_before_stays(rt: Runtime) -> None:
    folders = [Path(f"/sys/fs/cgroup/{name}/itest-{os.getpid()}-kept") for name in ("pids", "memory")]
    for folder in folders:
        folder.mkdir()
    try:
        assert rt.create(["true"], linux={"cgroupsPath": f"/{folders[0].name}"}).code == 0
        assert rt.start().code == 0
        rt.wait("stopped")
        assert rt.command("delete", rt.id).code == 0
        assert all(folder.is_dir() for folder in folders)
        assert not Path(f"/sys/fs/cgroup/freezer/{folders[0].name}").exists()
    finally:
        for folder in folders:
            folder.rmdir()


def test_what_the_container_made_below_its_cgroup_goes_with_it(rt: Runtime) -> None:
    assert rt.create(["true"]).code == 0
    Path(f"/sys/fs/cgroup/pids/{rt.id}/below").mkdir()
    assert rt.start().code == 0
    rt.wait("stopped")
    assert rt.command("delete", rt.id).code == 0
    assert not Path(f"/sys/fs/cgroup/pids/{rt.id}").exists()


def test_a_command_that_meets_another_waits_for_it(rt: Runtime) -> None:
    """Python holds the lock; who comes without it finds it taken, and waits as Python does."""
    assert rt.create(["sleep", "600"]).code == 0
    with open(rt.root / rt.id / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(rt.start().code))
        thread.start()
        thread.join(0.5)
        assert not found
    thread.join(30)
    assert found == [0]


@pytest.mark.parametrize("text", ["", "1 1\n", "2 1 1\n", "1 1 1", "1 x 1\n\n\n\n", "1 1 1\nboot\n\n" + "/x\n" * 70 + "\n"])
def test_a_shortcut_that_is_not_whole_is_left_to_python(rt: Runtime, text: str) -> None:
    assert rt.create(["sleep", "600"]).code == 0
    (rt.root / rt.id / "shortcut").write_text(text)
    assert rt.state()["status"] == "created"
    assert rt.start().code == 0
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.command("delete", rt.id).code == 0
    assert not (rt.root / rt.id).exists()


def test_another_process_with_its_pid_is_not_the_container(rt: Runtime) -> None:
    assert rt.create(["true"]).code == 0
    assert rt.start().code == 0
    rt.wait("stopped")
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        pid = (rt.root / rt.id / "shortcut").read_text().split()[1]
        for name in ("shortcut", "state.json"):
            path = rt.root / rt.id / name
            path.write_text(path.read_text().replace(pid, str(stranger.pid), 1))
        assert rt.state()["status"] == "stopped"
        assert rt.command("kill", rt.id, "KILL").err == "container not running\n"
        assert rt.command("delete", "--force", rt.id).code == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.needs("strace")
def test_long_roots_and_the_options_before_the_verb_are_understood(rt: Runtime) -> None:
    assert rt.create(["sleep", "600"]).code == 0
    deep = rt.folder / ("d" * 150) / ("e" * 150)
    deep.parent.mkdir()
    rt.root.rename(deep)
    rt.root = deep
    options = ("--log", str(rt.folder / "log"), "--log-format=json", "-rootless", "false", "--systemd-cgroup")
    assert executed(rt, "state", rt.id, options=options) == (0, [OURS])
    assert executed(rt, "start", rt.id, options=options) == (0, [OURS])
