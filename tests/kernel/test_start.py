"""Plans walked by the kernel: what a container sees, and what is left when it has gone."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.waiting import wait_until

from inception.errors import StartFailed
from inception.linux.process import pidfd_send_signal
from inception.oci.runtime import Capabilities, ConsoleSize, Mount, Process, Rlimit, Root, User
from inception.runtime import SpawnError, launch, plan_exec, start

from .conftest import Box, wait

pytestmark = pytest.mark.needs("root", "busybox")


def test_a_container_sees_itself_alone(box: Box):
    assert box.run("sh", "-c", "hostname; echo $$; pwd; id -u; echo /proc/[0-9]*") == (0, "box\n1\n/\n0\n/proc/1\n")


def test_its_changes_land_in_the_upper_layer_and_nowhere_else(box: Box):
    before = sorted(os.listdir(box.image))
    assert box.run("sh", "-c", "echo hello >/new") == (0, "")
    assert (box.folder / "upper/new").read_text() == "hello\n" and sorted(os.listdir(box.image)) == before


def test_standard_devices_and_links_are_there(box: Box):
    nodes = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done"
    script = f"{nodes}; readlink /dev/fd; readlink /dev/ptmx"
    assert box.run("sh", "-c", script)[1].split("\n")[:-1] == [
        "/dev/null 1:3 666",
        "/dev/zero 1:5 666",
        "/dev/full 1:7 666",
        "/dev/random 1:8 666",
        "/dev/urandom 1:9 666",
        "/dev/tty 5:0 666",
        "/proc/self/fd",
        "pts/ptmx",
    ]


def test_masked_paths_are_empty_and_readonly_paths_refuse_writes(box: Box):
    code, output = box.run("sh", "-c", "cat /proc/keys; ls /sys/firmware; echo 1 >/proc/sys/kernel/domainname || echo refused")
    assert code == 0 and output.endswith("refused\n") and output.count("\n") == 2


def test_a_readonly_root_refuses_writes_but_dev_takes_them(box: Box):
    code, output = box.run("sh", "-c", "touch /x; touch /dev/shm/y && echo fine", root=Root(path="x", readonly=True))
    assert "Read-only file system" in output and output.endswith("fine\n") and code == 0


def test_capabilities_are_dockers_and_none_is_inheritable(box: Box):
    for options in ({}, {"process": {"user": User(uid=7, gid=7)}}, {"process": {"no_new_privileges": True}}):
        output = box.run("cat", "/proc/self/status", **options)[1]
        status = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
        assert status["CapInh"] == "0" * 16 and status["CapBnd"] == "00000000a80425fb" and status["Seccomp"] == "2"
        assert status["CapAmb"] == "0" * 16 and status["SigIgn"] == status["SigBlk"] == "0" * 16


def test_user_groups_umask_and_limits_are_as_asked(box: Box):
    user = User(uid=33, gid=34, additional_gids=[34, 50], umask=0o077)
    limits = [Rlimit(type="RLIMIT_NOFILE", soft=99, hard=100)]
    caps = Capabilities(bounding=["CAP_KILL"])
    output = box.run(
        "sh",
        "-c",
        "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn",
        process={"user": user, "rlimits": limits, "capabilities": caps},
    )[1]
    assert output.split("\n")[:-1] == ["33", "34", "34 50", "0077", "99", "100"]


def test_bind_mounts_take_folders_files_and_flags(box: Box):
    folder = box.folder / "data"
    folder.mkdir()
    (folder / "file").write_text("content")
    mounts = [
        Mount(destination="/deep/er/dir", source=str(folder), options=["rbind", "rro"]),
        Mount(destination="/etc/one", source=str(folder / "file"), options=["bind", "ro"]),
    ]
    script = "cat /deep/er/dir/file /etc/one; touch /deep/er/dir/x || echo; touch /etc/one || echo"
    output = box.run("sh", "-c", script, mounts=[*box.spec("x").mounts, *mounts])[1]
    assert output.startswith("contentcontent") and output.count("Read-only file system") == 2


def test_a_bind_onto_a_dangling_link_makes_its_target_inside(box: Box):
    (box.image / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub.conf")
    source = box.folder / "resolv"
    source.write_text("nameserver 127.0.0.11\n")
    mounts = [*box.spec("x").mounts, Mount(destination="/etc/resolv.conf", source=str(source), options=["bind"])]
    assert box.run("cat", "/run/systemd/resolve/stub.conf", mounts=mounts) == (0, "nameserver 127.0.0.11\n")


def test_sysctls_belong_to_the_containers_namespaces(box: Box):
    before = open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()
    settings = {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.msgmax": "9000"}
    script = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax"]
    assert box.run(*script, linux={"sysctl": settings}) == (0, "77\n9000\n")
    assert open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read() == before


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", 126, 'exec: "/etc": permission denied'),
        ("crlf", 127, "exec /bin/crlf: no such file or directory"),
        ("text", 126, "exec /bin/text: exec format error"),
    ],
)
def test_a_program_that_cannot_start_is_reported_and_nothing_stays(box: Box, command: str, code: int, message: str):
    box.script("crlf", "#!/bin/sh\r\necho\r\n")
    box.script("text", "hello")
    for init in (False, True):
        with pytest.raises(StartFailed) as error:
            box.run(command, options={"init": init})
        assert (str(error.value), error.value.exit_code) == (message, code)


def test_init_forwards_signals_reaps_orphans_and_passes_the_code_on(box: Box):
    assert box.run("sh", "-c", "exit 7", options={"init": True})[0] == 7
    assert box.run("sh", "-c", "(sleep 0.1 &) ; sleep 0.3; ps | grep -c Z || true", options={"init": True})[0] == 0
    child = start(box.plan(box.spec("sleep", "60"), init=True), {})
    pidfd_send_signal(child.pidfd, 15)
    assert wait(child.pidfd) == 128 + 15


def test_a_terminal_is_of_the_containers_own_devpts(box: Box):
    ours, theirs = socket.socketpair()
    process = {"terminal": True, "console_size": ConsoleSize(height=31, width=97)}
    plan = box.plan(box.spec("sh", "-c", "tty; stty size; echo there >/dev/console; read x; echo got $x", process=process))
    with ours, theirs:
        child = start(plan, {"console": theirs.fileno()})
        _, (master,), _, _ = socket.recv_fds(ours, 64, 1)
    os.write(master, b"line\n")
    assert wait(child.pidfd) == 0
    output = b""
    while select.select([master], [], [], 1)[0]:
        try:
            output += os.read(master, 4096)
        except OSError:  # EIO: the other end is closed
            break
    os.close(master)
    words = output.replace(b"line\r\n", b"", 1).split()  # the echo of what was typed comes whenever it was typed
    assert words == b"/dev/pts/0 31 97 there got line".split()


def test_fifty_leaked_descriptors_of_the_caller_do_not_arrive(box: Box):
    leaked = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(50)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        assert box.run("sh", "-c", "exec ls /proc/self/fd")[1].split() == ["0", "1", "2", "3"]  # 3 is ls's own
        child = start(box.plan(box.spec("sleep", "60")), {})
        code, output = box.run_plan(exec_plan("ls", "/proc/self/fd"), {"init": child.pidfd})
        assert (code, output.split()) == (0, ["0", "1", "2", "3"])
        pidfd_send_signal(child.pidfd, 9)
        wait(child.pidfd)
    finally:
        for fd in leaked:
            os.close(fd)


def exec_plan(*args: str, **changes: object):
    return plan_exec(Process(cwd="/", args=list(args), env=["PATH=/bin"], capabilities=Capabilities(), **changes))  # type: ignore[arg-type]


def test_exec_joins_every_namespace_and_the_caller_waits_for_it(box: Box):
    child = start(box.plan(box.spec("sleep", "60")), {})
    try:
        script = "hostname; cat /proc/1/comm; for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done"
        code, output = box.run_plan(exec_plan("sh", "-c", script), {"init": child.pidfd})
        wanted = [os.readlink(f"/proc/{child.pid}/ns/{name}") for name in ("mnt", "pid", "uts", "ipc", "net", "cgroup")]
        assert code == 0 and output.split() == ["box", "sleep", *wanted]
        assert box.run_plan(exec_plan("sh", "-c", "exit 9"), {"init": child.pidfd})[0] == 9
        with pytest.raises(StartFailed, match="executable file not found"):
            box.run_plan(exec_plan("nope"), {"init": child.pidfd})
    finally:
        pidfd_send_signal(child.pidfd, 9)
        wait(child.pidfd)


def test_a_launched_container_belongs_to_its_monitor_and_dies_with_it(box: Box):
    reserved = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    source = f"import os, time; os.write({writer}, open('/proc/self/fdinfo/{reserved}', 'rb').read()); time.sleep(60)"
    plan = box.plan(box.spec("sleep", "60"), die_with_parent=True)
    launched = launch(
        plan.compile(),
        {},
        (reserved, reserved, reserved),
        [sys.executable, "-I", "-S", "-c", source],
        {"init": reserved, "w": writer},
    )
    os.close(writer)
    told = os.read(reader, 4096).decode()
    os.close(reader)
    os.close(reserved)
    assert f"Pid:\t{launched.pid}\n" in told
    with open(f"/proc/{launched.pid}/stat") as file:
        assert int(file.read().rsplit(")", 1)[1].split()[1]) == launched.monitor_pid
    os.kill(launched.monitor_pid, 9)
    assert select.select([launched.pidfd], [], [], 10)[0]
    os.close(launched.pidfd)


def test_a_launch_that_fails_leaves_no_monitor(box: Box):
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    marker = box.folder / "ran"
    argv = [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]
    with pytest.raises(SpawnError) as error:
        launch(box.plan(box.spec("nope")).compile(), {}, (null, null, null), argv, {"init": null})
    os.close(null)
    assert error.value.errno == 2 and not marker.exists()


_LAUNCH = """
import os, sys
from inception.runtime import SpawnError, launch
null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
try:
    launch(open(sys.argv[1], "rb").read(), {}, (null, null, null), ["/bin/true"], {"init": null})
except SpawnError as error:
    print(error.step, os.strerror(error.errno))
"""


@pytest.mark.needs("strace")
@pytest.mark.parametrize("place", ["setsid", "pidfd_open"])
def test_a_launch_whose_monitor_is_killed_before_it_is_one_fails(box: Box, place: str):
    """It waited for word of a process that was no more, with the container locked."""
    plan = box.folder / "compiled"
    plan.write_bytes(box.plan(box.spec("sleep", "60"), die_with_parent=True).compile())
    # The first two calls of who is to become the monitor, which nobody else makes.
    killed = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={place}", "-e", f"inject={place}:signal=KILL:when=1"]
    done = subprocess.run([*killed, sys.executable, "-c", _LAUNCH, plan], capture_output=True, text=True, timeout=20)
    assert done.stdout == "-2 Protocol error\n", (done.stdout, done.stderr)


@pytest.mark.needs("strace")
def test_a_launch_whose_process_in_between_is_killed_waits_for_the_monitor_and_ends_it(box: Box):
    """The monitor works in the caller's memory, which was the next call's by then."""
    plan = box.folder / "compiled"
    plan.write_bytes(box.plan(box.spec("sleep", "60"), die_with_parent=True).compile())
    late = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsid", "-e", "inject=setsid:delay_enter=1500000"]
    tracer = subprocess.Popen([*late, sys.executable, "-c", _LAUNCH, plan], stdout=subprocess.PIPE, text=True)
    monitor = between = 0
    while not monitor:
        assert tracer.poll() is None, "the launch ended without a process in between"
        caller = _children(tracer.pid)
        between = _children(caller)
        monitor = _children(between)
        time.sleep(0.01)
    os.kill(between, 9)
    assert tracer.communicate(timeout=20)[0] == "-2 Protocol error\n"
    wait_until(lambda: not os.path.exists(f"/proc/{monitor}"))


def _children(pid: int) -> int:
    """The only child of *pid*, or 0."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text() or 0) if pid else 0
    except FileNotFoundError:
        return 0


def test_the_same_bytes_start_again_and_again(box: Box):
    plan = box.plan(box.spec("true"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        assert box.run_plan(plan) == (0, "")
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_start_containers_at_once(box: Box):
    import threading

    plan = box.plan(box.spec("sh", "-c", "exit 3"))
    plan.compile()
    codes: list[int] = []
    folders = [Box(box.folder / f"box{n}") for n in range(4)]

    def work(own: Box) -> None:
        codes.extend(own.run("sh", "-c", "exit 3")[0] for _ in range(5))

    threads = [threading.Thread(target=work, args=(own,)) for own in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [3] * 20


def test_hosts_mounts_are_the_same_afterwards(box: Box):
    def mounts() -> list[str]:
        return [line.split(" ", 2)[2] for line in open("/proc/self/mountinfo")]

    before = mounts()
    box.run("true")
    with pytest.raises(StartFailed):
        box.run("true", mounts=[*box.spec("x").mounts, Mount(destination="/x", type="nope")])
    assert mounts() == before
