"""`checkpoint` and `restore`: what a container was doing goes on; and what a user is told where criu can't do it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import OURS, PRIVATE, Runtime, cgroup_folder, cgroups_named, mounts, namespaces

pytestmark = pytest.mark.needs("root", "busybox")
with_criu = pytest.mark.needs("criu-works")
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i >/count; sleep 0.05; done"


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert runtime.command("list", "-q").out == ""


def _detached(rt: Runtime, script: str, *options: str, **changes: Any) -> None:
    assert rt.create(script, *options, **changes).code == 0 and rt.start().code == 0


def _count(rt: Runtime) -> int:
    return int((rt.rootfs / "count").read_text() or "0")


def _eventually(true: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _counts(rt: Runtime) -> None:
    """It goes on from where it was."""
    before = _count(rt)
    _eventually(lambda: _count(rt) > before)


def _log(rt: Runtime, name: str) -> str:
    path = rt.bundle / "checkpoint" / name
    return path.read_text(errors="replace")[-3000:] if path.exists() else ""


def _checkpoint(rt: Runtime, *options: str) -> None:
    done = rt.command("checkpoint", *options, rt.id)
    assert done.code == 0 and done.err == "", (done, _log(rt, "dump.log"))


def _restore(rt: Runtime, *options: str) -> None:
    done = rt.command("restore", "--detach", *options, rt.id, stdout="container")
    assert done.code == 0, (done, _log(rt, "restore.log"))


# ---- where criu works ---------------------------------------------------------------------------------------------------


@with_criu
def test_a_counter_goes_on_where_it_was_with_its_mounts_limits_and_network(rt: Runtime, tmp_path: Path):
    (tmp_path / "host/below").mkdir(parents=True)
    (tmp_path / "host/word").write_text("told\n")
    (tmp_path / "file").write_text("one\n")
    more = [
        {"destination": "/mnt/host", "type": "bind", "source": str(tmp_path / "host"), "options": ["rbind", "ro"]},
        {"destination": "/etc/file", "type": "bind", "source": str(tmp_path / "file"), "options": ["bind"]},
        {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    linux = {
        "maskedPaths": ["/proc/kcore", "/proc/acpi", "/sys/firmware", "/not/there"],
        "readonlyPaths": ["/proc/sys", "/proc/bus"],
        "resources": {"pids": {"limit": 77}},
        "namespaces": namespaces("cgroup"),
    }
    hooks = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{tmp_path}/hooks; echo >>{tmp_path}/hooks"]}]}
    _detached(rt, f"echo kept >/scratch/file; {COUNTER}", mounts=mounts(*more), linux=linux, hooks=hooks)
    _eventually(lambda: (rt.rootfs / "count").exists() and _count(rt) > 3)
    first = rt.state()
    _checkpoint(rt)
    assert rt.command("state", rt.id).code == 1, "it is gone"
    assert not cgroup_folder(rt.id, "pids").exists()
    stopped = _count(rt)

    pid_file = tmp_path / "pid"
    _restore(rt, "--pid-file", str(pid_file))
    state = rt.state()
    assert state["status"] == "running" and state["bundle"] == first["bundle"]
    assert int(pid_file.read_text()) == state["pid"]
    _counts(rt)
    assert _count(rt) > stopped
    script = "cat /mnt/host/word /etc/file /scratch/file; cat /proc/kcore | wc -c; ls /proc/acpi; touch /mnt/host/x; hostname"
    found = rt.command("exec", rt.id, "sh", "-c", script)
    assert found.out == "told\none\nkept\n0\nconformance\n" and "Read-only" in found.err, found
    assert cgroup_folder(rt.id, "pids").joinpath("pids.max").read_text() == "77\n"
    assert state["pid"] in map(int, cgroup_folder(rt.id, "pids").joinpath("cgroup.procs").read_text().split())
    link = rt.command("exec", rt.id, "cat", "/sys/class/net/lo/flags")
    assert int(link.out, 16) & 1, "its loopback is up"
    seen = [json.loads(line) for line in (tmp_path / "hooks").read_text().splitlines()]
    assert [state["pid"] for state in seen] == [first["pid"], rt.state()["pid"]]
    # Every command of an engine works on it, and it can be saved again.
    assert rt.command("pause", rt.id).code == 0 and rt.state()["status"] == "paused"
    assert rt.command("resume", rt.id).code == 0
    _checkpoint(rt)
    _restore(rt)
    _counts(rt)
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.command("delete", rt.id).code == 0


@with_criu
def test_one_that_is_left_running_goes_on_and_can_be_gone_back_to(rt: Runtime):
    _detached(rt, COUNTER)
    _eventually(lambda: (rt.rootfs / "count").exists() and _count(rt) > 3)
    _checkpoint(rt, "--leave-running")
    saved = _count(rt)
    pid = rt.state()["pid"]
    _counts(rt)
    taken = rt.command("restore", "--detach", rt.id)
    assert taken.code == 1 and "already exists" in taken.err and rt.state()["pid"] == pid
    assert rt.command("delete", "--force", rt.id).code == 0
    (rt.rootfs / "count").write_text("0")
    _restore(rt)
    _eventually(lambda: _count(rt) > saved)


@pytest.mark.parametrize("before", [False, pytest.param(True, marks=pytest.mark.needs("soft-dirty"))])
@with_criu
def test_pipes_are_those_of_who_restores_and_memory_may_be_saved_beforehand(rt: Runtime, before: bool):
    id = rt.write({"process": {"args": ["sh", "-c", "while read word; do echo got $word; done; exit 7"]}})
    command = [*PRIVATE, OURS, "--root", str(rt.root)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": rt.bundle, "text": True}
    with subprocess.Popen([*command, "run", id], stderr=subprocess.DEVNULL, **streams) as ran:
        assert ran.stdin is not None and ran.stdout is not None
        ran.stdin.write("one\n")
        ran.stdin.flush()
        assert ran.stdout.readline() == "got one\n"
        if before:
            _checkpoint(rt, "--pre-dump", "--image-path", "before")
            assert rt.state()["status"] == "running"
        parent = ("--parent-path", "../before") if before else ()
        _checkpoint(rt, *parent, "--image-path", "after", "--work-path", "work")
        assert (rt.bundle / "work/dump.log").exists() and (rt.bundle / "after/parent").is_symlink() == before
        assert ran.wait(20) == 137, "its process was killed"
    with subprocess.Popen([*command, "restore", "--image-path", "after", id], stderr=subprocess.PIPE, **streams) as ran:
        out, err = ran.communicate("two\n", timeout=60)
        assert (ran.returncode, out, err) == (7, "got two\n", ""), (ran.returncode, out, err)
    assert rt.command("state", id).code == 1, "a container in the foreground goes with its process"


@with_criu
def test_a_terminal_comes_back_as_a_new_one(rt: Runtime, tmp_path: Path):
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def master() -> int:
            connection, _ = listener.accept()
            with connection:
                return socket.recv_fds(connection, 64, 1)[1][0]

        _detached(rt, "tty; while read word; do echo got $word; done", "--console-socket", path, process={"terminal": True})
        first = master()
        _checkpoint(rt)
        os.close(first)
        without = rt.command("restore", "--detach", rt.id)
        assert without.code == 1 and "console socket" in without.err
        _restore(rt, "--console-socket", path)
        second = master()
        os.write(second, b"two\n")
        seen = b""
        while b"got two" not in seen:
            seen += os.read(second, 4096)
        os.close(second)


@with_criu
def test_a_joined_network_namespace_is_the_same_afterwards(rt: Runtime):
    name = f"itest-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        path = f"/run/netns/{name}"
        _detached(rt, COUNTER, linux={"namespaces": namespaces({"type": "network", "path": path})})
        _checkpoint(rt)
        _restore(rt)
        assert os.stat(f"/proc/{rt.state()['pid']}/ns/net").st_ino == os.stat(path).st_ino
        _counts(rt)
    finally:
        rt.close()
        subprocess.run(["ip", "netns", "del", name], check=True)


@with_criu
def test_connections_within_it_are_saved_when_that_is_asked_for(rt: Runtime):
    (rt.rootfs / "bin/nc").symlink_to("busybox")
    said = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done"
    heard = "tail -f /dev/null | nc -l -p 2000 | while read word; do echo $word >/count; done"
    _detached(rt, f"exec >/dev/null 2>&1; {heard} & until {said} | nc 127.0.0.1 2000; do sleep 0.1; done")
    _eventually(lambda: (rt.rootfs / "count").exists() and _count(rt) > 3)
    failed = rt.command("checkpoint", rt.id)
    assert failed.code == 1 and "--tcp-established" in failed.err, failed
    _checkpoint(rt, "--tcp-established")
    stopped = _count(rt)
    _restore(rt, "--tcp-established")
    _eventually(lambda: _count(rt) > stopped + 3)


@with_criu
def test_one_with_a_user_namespace_comes_back_in_one_with_its_devices():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # criu finds devices as the container's root
        os.chmod(folder, 0o755)
        rt = Runtime("inception-runc", Path(folder))
        try:
            _in_a_user_namespace(rt, 200_000)
        finally:
            rt.close()


def _in_a_user_namespace(rt: Runtime, own: int) -> None:
    for path in (rt.rootfs, *rt.rootfs.rglob("*")):
        os.lchown(path, own, own)
    maps = [{"containerID": 0, "hostID": own, "size": 65536}]
    # Before Linux 6.15 only the host's own nodes can be given to a user namespace.
    own_nodes = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)
    path, mode, group = ("/dev/mine", 0o640, 7) if own_nodes else ("/dev/zero", 0o666, 65534)
    devices = [{"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": mode, "uid": 0, "gid": group}]
    linux = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps, "devices": devices}
    _detached(rt, f"exec >/dev/null 2>&1; {COUNTER}", linux=linux)
    for _ in range(2):
        _eventually(lambda: (rt.rootfs / "count").exists() and _count(rt) > 3)
        _checkpoint(rt)
        assert (rt.bundle / "checkpoint").stat().st_mode & 0o777 == 0o700, "memory is nobody else's business"
        _restore(rt)
        _counts(rt)
    script = f"cat /proc/self/uid_map; head -c 3 {path} | wc -c; stat -c %a:%g {path}; echo x >/dev/null; id -u"
    found = rt.command("exec", rt.id, "sh", "-c", script)
    assert found.out.split() == ["0", str(own), "65536", "3", f"{mode:o}:{group}", "0"], found


@with_criu
def test_damaged_memory_for_which_criu_waits_for_ever_is_given_up(rt: Runtime):
    _detached(rt, f"exec >/dev/null 2>&1; sleep 60 & {COUNTER}")
    _checkpoint(rt)
    pages = rt.bundle / "checkpoint/pages-1.img"
    os.truncate(pages, pages.stat().st_size // 2)
    impatient = "import sys; from inception.runtime import cli, revival; revival._PATIENCE_S = 2.0; sys.exit(cli.main())"
    argv = [*PRIVATE, sys.executable, "-c", impatient, "--root", str(rt.root), "restore", "--detach", rt.id]
    failed = subprocess.run(argv, cwd=rt.bundle, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1 and failed.stderr.startswith(f"restore {rt.id}: criu "), failed
    assert rt.command("list", "-q").out == "" and not cgroups_named(rt.id)
    left = subprocess.run(["pgrep", "-f", str(rt.folder)], capture_output=True, text=True).stdout
    assert left == "", left


@with_criu
def test_what_criu_cannot_restore_leaves_nothing_and_says_why(rt: Runtime):
    _detached(rt, COUNTER)
    _checkpoint(rt)
    next((rt.bundle / "checkpoint").glob("mm-*.img")).unlink()
    failed = rt.command("restore", "--detach", rt.id)
    assert failed.code == 1 and failed.err.startswith(f"restore {rt.id}: criu: ") and "restore.log" in failed.err, failed
    assert rt.command("list", "-q").out == "" and not cgroups_named(rt.id)


@with_criu
def test_what_criu_cannot_save_runs_on_and_criu_says_why(rt: Runtime, tmp_path: Path):
    _detached(rt, COUNTER)
    # A mount that nobody named: criu has no way to find it again.
    (tmp_path / "other").mkdir()
    pid = rt.state()["pid"]
    attach = [sys.executable, "-c", _ATTACH, str(pid), str(tmp_path / "other"), "/tmp"]
    subprocess.run(attach, check=True)
    failed = rt.command("checkpoint", rt.id)
    assert failed.code == 1 and failed.err.startswith(f"checkpoint {rt.id}: criu: ") and "dump.log" in failed.err, failed
    assert rt.state()["status"] == "running"
    _counts(rt)


_ATTACH = """
import sys
from inception.linux import abi, mount, namespaces
pid, source, target = sys.argv[1:]
tree = mount.open_tree(-100, source, abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
namespaces.setns(namespaces.open_ns(pid, "mount"), 0)
mount.move_mount(tree, -100, target)
"""


# ---- what a user is told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--parent-path", "/elsewhere"), "--parent-path must be relative to --image-path"),
        (("--parent-path", "../gone"), "invalid --parent-path: "),
        (("--page-server", "nowhere"), "--page-server 'nowhere': expected ADDRESS:PORT"),
        (("--page-server", "host:70000"), "--page-server 'host:70000': expected ADDRESS:PORT"),
        (("--manage-cgroups-mode", "hard"), "--manage-cgroups-mode 'hard': expected soft, full, strict or ignore"),
        (("--empty-ns", "pid"), "--empty-ns pid: namespace 'pid' is not supported, only network"),
        (("--lazy-pages",), "--lazy-pages: needs --page-server ADDRESS:PORT, from which the pages are fetched"),
        (("--status-fd", "1"), "--status-fd: is written to with --lazy-pages only"),
        (("--lazy-pages", "--page-server", "h:1", "--status-fd", "200"), "--status-fd 200: is not open"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(rt: Runtime, options: tuple[str, ...], message: str):
    _detached(rt, COUNTER)
    failed = rt.command("checkpoint", *options, rt.id)
    assert failed.code == 1 and failed.err.startswith(f"checkpoint {rt.id}: {message}"), failed
    assert rt.state()["status"] == "running"


def test_only_a_container_that_runs_can_be_saved(rt: Runtime):
    assert rt.create("sleep 60").code == 0
    failed = rt.command("checkpoint", rt.id)
    assert (failed.code, failed.err) == (1, "container cannot be checkpointed in created state\n")
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    failed = rt.command("checkpoint", rt.id)
    assert (failed.code, failed.err) == (1, "container cannot be checkpointed in stopped state\n")
    failed = rt.command("checkpoint", "nobody")
    assert (failed.code, failed.err) == (1, "container does not exist: nobody\n")


def test_a_criu_that_is_not_there_is_named(rt: Runtime):
    _detached(rt, COUNTER)
    failed = rt.command("--criu", "/no/criu", "checkpoint", rt.id)
    assert (failed.code, failed.err) == (1, f"checkpoint {rt.id}: --criu /no/criu: there is no such program\n")
    failed = rt.command("--criu", "/bin/false", "checkpoint", rt.id)
    assert failed.code == 1 and failed.err.startswith(f"checkpoint {rt.id}: criu ended without an answer"), failed
    assert rt.state()["status"] == "running"


def test_a_restore_without_a_checkpoint_leaves_nothing(rt: Runtime):
    id = rt.write({})
    failed = rt.command("restore", "--image-path", "nothing", id)
    assert failed.code == 1 and failed.err.startswith(f"restore {id}: "), failed
    assert rt.command("list", "-q").out == "" and not (rt.bundle / "nothing").exists()


@pytest.mark.needs("criu")
def test_where_criu_does_not_work_it_says_so_itself(rt: Runtime):
    from tests.conftest import criu_works

    _detached(rt, COUNTER)
    done = rt.command("checkpoint", "--leave-running", rt.id)
    if criu_works():
        assert done.code == 0
    else:
        assert done.code == 1 and done.err.startswith(f"checkpoint {rt.id}: criu"), done
    assert rt.state()["status"] == "running"
