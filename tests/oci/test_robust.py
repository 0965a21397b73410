"""Commands that race, die in the middle, or meet what others left."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inception.errors import InvalidArgument
from inception.jsontext import loads
from inception.linux.cgroup import Cgroups
from inception.oci.runtime import Mount, Spec
from inception.record import decode
from inception.runtime import cgroups
from inception.runtime.container import plan_container
from inception.runtime.resources import device_rules, plan_resources
from inception.runtime.validate import check_spec

from .harness import COMMANDS, GOOD, Runtime, cgroup_folder, cgroups_named, namespaces

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
    assert not cgroups_named(f"itest-{os.getpid()}-t*")


def test_cve_2021_43784_seventy_thousand_id_maps_are_refused_by_their_place(rt: Runtime):
    maps = [{"containerID": index, "hostID": 100000 + index, "size": 1} for index in range(70000)]
    linux = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps}
    found = rt.create("true", linux=linux)
    assert found.code == 1 and "linux.uidMappings: 70000 entries; the kernel takes 340" in found.err


def test_cve_2021_43784_a_mebibyte_of_configuration_arrives_as_it_is(rt: Runtime):
    value = "v" * 100_000
    env = ["PATH=/bin", "HOME=/", *(f"V{index}={value}" for index in range(10))]
    annotations = {f"itest.{index}": value for index in range(10)}
    found = rt.run("env | wc -c; echo ${#V9}", process={"env": env}, annotations=annotations)
    size, last = map(int, found.out.split())
    assert last == len(value) and size >= 10 * len(value), found.err
    too_much = [f"V{index}={value}" for index in range(30)]
    refused = rt.create("true", process={"env": too_much})
    assert refused.code == 1 and "process.args: with process.env longer than" in refused.err


_NUMBERS = st.integers() | st.sampled_from([-1, 2**31, 2**32, 2**63, 2**64, 10**30])
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(item, (*path, key))


_DOCUMENT: dict[str, Any] = {
    **GOOD,
    "hooks": {"poststop": [{"path": "/bin/true", "args": ["x"], "env": ["A=b"], "timeout": 1}]},
    "annotations": {"a": "b"},
    "process": {
        **GOOD["process"],
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "oomScoreAdj": 1,
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 1},
        "consoleSize": {"height": 1, "width": 1},
    },
    "linux": {
        **GOOD["linux"],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}],
        "resources": {"memory": {"limit": 1 << 30}, "cpu": {"shares": 5, "cpus": "0"}, "pids": {"limit": 9}},
        "maskedPaths": ["/proc/kcore"],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]},
        "timeOffsets": {},
        "rootfsPropagation": "rprivate",
    },
}


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")), deadline=None)
@given(place=st.sampled_from([path for path in _places(_DOCUMENT) if path]), value=_VALUES)
def test_whatever_stands_anywhere_in_a_bundle_is_planned_or_refused_by_its_place(place: tuple[Any, ...], value: Any):
    document = copy.deepcopy(_DOCUMENT)
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    try:
        spec = decode(Spec, loads(json.dumps(document)))
        check_spec(spec)
        plan_container(spec, rootfs=Mount(destination="/", type="bind", source="/"), hold=True).compile()
        cgroups.cgroup_path(spec.linux.cgroups_path if spec.linux else "", "x")
        if spec.linux and spec.linux.resources:
            plan_resources(spec.linux.resources, Cgroups.detect())
            device_rules(spec.linux.resources)
    except InvalidArgument as error:
        assert str(error).split(":")[0].split(".")[0].split("[")[0] in {*_DOCUMENT, "root"}, error


def test_the_debug_log_has_the_landmarks_of_runcs(rt: Runtime):
    id = rt.write({"process": {"args": ["sleep", "60"], "execCPUAffinity": {"initial": "0"}}})
    created = rt.command("--debug", "create", id, stdout="container")
    for words in ("nsexec container setup", "child process in init()", "init: closing the pipe to signal completion"):
        assert words in created.err
    assert rt.start().code == 0
    told = rt.command("--debug", "exec", id, "true").err
    for words in ("nsexec container setup", "nsexec: affinity: 0x1", "child process in init()", "setns_init: about to exec"):
        assert words in told
