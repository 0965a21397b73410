"""Commands that race, die in the middle, or meet what others left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import COMMANDS, Runtime, cgroup_folder, cgroups_named

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert runtime.command("list", "-q").out == ""
    assert not cgroups_named(f"itest-{os.getpid()}-*")


def _popen(rt: Runtime, *words: str) -> subprocess.Popen[bytes]:
    argv = [*COMMANDS["inception-runc"], "--root", str(rt.root), *words]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=rt.bundle)


def test_create_killed_anywhere_leaves_what_delete_force_removes(rt: Runtime):
    for delay_ms in range(0, 60, 4):
        id = rt.write({"process": {"args": ["sleep", "60"]}})
        process = _popen(rt, "create", id)
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = rt.command("delete", "--force", id)
        assert found.code == 0, found
        assert rt.command("state", id).code != 0
        assert rt.command("create", id).code == 0, "the id is free again"
        assert rt.command("delete", "--force", id).code == 0


def test_many_creates_of_one_id_make_one_container(rt: Runtime):
    id = rt.write({"process": {"args": ["sleep", "60"]}})
    processes = [_popen(rt, "create", id) for _ in range(6)]
    assert sorted(process.wait() for process in processes) == [0, 1, 1, 1, 1, 1]
    assert rt.state()["status"] == "created"


def test_many_starts_start_once(rt: Runtime):
    assert rt.create("echo started; sleep 60").code == 0
    processes = [_popen(rt, "start", rt.id) for _ in range(6)]
    assert sorted(process.wait() for process in processes) == [0, 1, 1, 1, 1, 1]
    rt.wait("running")
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.output() == "started\n"


def test_delete_force_while_others_start_exec_and_kill(rt: Runtime):
    for _ in range(5):
        assert rt.create("sleep 60").code == 0
        others = [_popen(rt, *words) for words in (("start", rt.id), ("exec", rt.id, "true"), ("kill", rt.id, "TERM"))]
        assert rt.command("delete", "--force", rt.id).code == 0
        for other in others:
            other.wait(10)
        assert rt.command("state", rt.id).code != 0


def test_a_pid_that_is_another_process_now_is_not_touched(rt: Runtime):
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        path = rt.root / rt.id / "state.json"
        text = path.read_text()
        pid = next(word for word in text.replace(",", "").replace("}", "").split() if word.isdigit() and int(word) > 1)
        path.write_text(text.replace(f'"pid": {pid}', f'"pid": {stranger.pid}'))
        assert rt.state()["status"] == "stopped"
        assert rt.command("kill", rt.id, "KILL").code == 1
        assert rt.command("delete", "--force", rt.id).code == 0
        assert stranger.poll() is None
        stranger.kill()


def test_what_is_in_the_folder_may_be_broken(rt: Runtime):
    for text in ("", "{", "[]", '{"id": 1}'):
        assert rt.create("sleep 60").code == 0
        pid = rt.state()["pid"]
        (rt.root / rt.id / "state.json").write_text(text)
        (rt.root / rt.id / "shortcut").write_text(text)
        found = rt.command("state", rt.id)
        assert found.code == 1 and "Traceback" not in found.err
        assert rt.command("list").code == 0
        assert rt.command("delete", "--force", rt.id).code == 0
        os.kill(pid, signal.SIGKILL)
        for folder in cgroups_named(rt.id):
            _remove(folder)


def _remove(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.01)


BROKEN = [
    ("", "Expecting value"),
    ("[]", "expected an object"),
    (
        '{"ociVersion": "1.0.2", "process": {"cwd": "/", "args": ["x"], "user": {"uid": "0"}}}',
        "process.user.uid: expected an integer",
    ),
    ('{"process": {"args": ["x"]}}', "process.cwd: missing"),
    ("[" * 100000, "config.json"),
    ('{"ociVersion": 1e999}', "ociVersion"),
    ('{"process": {"cwd": "/", "args": ["\\u0000"]}, "root": {"path": "rootfs"}, "linux": {}}', "process.args[0]: holds a NUL"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_bundle_is_one_line_that_names_the_place(rt: Runtime, text: str, message: str):
    id = rt.write({})
    (rt.bundle / "config.json").write_text(text)
    found = rt.command("create", id)
    assert found.code == 1 and message in found.err and "Traceback" not in found.err and len(found.err.splitlines()) == 1


def test_users_that_are_no_numbers_are_refused(rt: Runtime):
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    for user in ("-1", "4294967296", " 0", "1000:abc", "0x0", "", "4294967295", "root"):
        found = rt.command("exec", f"--user={user}", rt.id, "id", "-u")
        assert found.code == 255 and found.out == "", user


def test_limits_and_cgroups_of_others_are_left_alone(rt: Runtime):
    for path in ("/", "", "../x", "/a/../..", "system.slice:a:b"):
        if path:
            assert rt.create("sleep 60", linux={"cgroupsPath": path}).code == 1, path
    other = cgroup_folder(f"itest-{os.getpid()}-other", "memory")
    other.mkdir()
    try:
        with subprocess.Popen(["sleep", "60"]) as stranger:
            (other / "cgroup.procs").write_text(str(stranger.pid))
            refused = rt.create("sleep 60", linux={"cgroupsPath": f"/{other.name}"})
            alive = stranger.poll() is None
            stranger.kill()
        assert alive and refused.code == 1 and "is not empty" in refused.err, refused
        stranger.wait()
        assert rt.run("true", linux={"cgroupsPath": f"/{other.name}"}).code == 0
        assert other.exists(), "it was there before"
    finally:
        _remove(other)


def test_a_thread_of_commands_leaves_nothing(rt: Runtime):
    errors: list[object] = []

    def live(number: int) -> None:
        for turn in range(3):
            id = f"itest-{os.getpid()}-t{number}-{turn}"
            done = _popen(rt, "run", id).wait(30)
            if done:
                errors.append((id, done))

    rt.write({"process": {"args": ["true"]}, "linux": {"cgroupsPath": None}})
    threads = [threading.Thread(target=live, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not cgroups_named("inception-runc-itest*")
