"""Real containers under real monitors: busybox in a bind-mounted root, no engine."""

import os
import shutil
import signal
import socket

import pytest

from inception import jsontext
from inception.linux.namespaces import new_netns
from inception.linux.process import wait_pidfd
from inception.monitor import client, handover
from inception.monitor.config import MonitorConfig
from inception.monitor.status import read_status
from inception.oci.runtime import Linux, Mount, Namespace, Process, Root, Spec
from inception.record import encode
from inception.runtime import launch, plan_container, plan_exec

NAMESPACES = ["mount", "pid", "uts", "ipc"]
MOUNTS = [
    Mount(destination="/proc", type="proc", source="proc"),
    Mount(destination="/dev", type="tmpfs", source="tmpfs", options=["nosuid", "mode=755"]),
    Mount(destination="/dev/pts", type="devpts", source="devpts", options=["nosuid", "newinstance", "ptmxmode=0666"]),
    Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=["nosuid"]),
]


class Container:
    """A shell command in namespaces of its own; what `launch` and the monitor need is made as an engine would."""

    def __init__(self, tmp_path, rootfs, command, *, health=None, netns_fd=None, **config):
        self.run_dir = str(tmp_path / "run")
        os.makedirs(self.run_dir)
        self.config_path = str(tmp_path / "monitor.json")
        self.log_path = str(tmp_path / "c-json.log")
        self.rootfs = rootfs
        self.config = MonitorConfig(
            **{
                "id": "c",
                "name": "web",
                "engine_root": str(tmp_path),
                "engine_run_root": str(tmp_path),
                "run_dir": self.run_dir,
                "log_path": self.log_path,
                **config,
            }
        )
        self.netns_fd = netns_fd
        self.plan = self._plan(["/bin/sh", "-c", command])
        self.health_plan = plan_exec(self._process(["/bin/sh", "-c", health])) if health else None
        self.fds = {"lock": handover.open_lock(self.run_dir), "listen": handover.listen(self.run_dir)}
        self.launched = None
        self.monitor_pidfd = None

    def _process(self, args, terminal=False):
        return Process(cwd="/", args=args, env=["PATH=/bin"], terminal=terminal)

    def _plan(self, args):
        namespaces = [Namespace(type=kind) for kind in NAMESPACES]
        if self.netns_fd is not None:
            namespaces.append(Namespace(type="network", path="fd:netns"))
        spec = Spec(
            oci_version="1.3.0",
            root=Root(path=self.rootfs),
            process=self._process(args, self.config.tty),
            mounts=MOUNTS,
            linux=Linux(namespaces=namespaces),
        )
        return plan_container(spec, rootfs=Mount(destination="/", type="bind", source=self.rootfs), die_with_parent=True)

    def start(self):
        for path, data in (
            (self.config_path, jsontext.dumps(encode(self.config)).encode()),
            (f"{self.run_dir}/plan", self.plan.compile()),
            (f"{self.run_dir}/health-plan", self.health_plan.compile() if self.health_plan else b""),
        ):
            with open(path, "wb") as file:
                file.write(data)
        fds, stdio = self.fds, self._open_stdio()
        if self.netns_fd is not None:
            fds["plan.netns"] = os.dup(self.netns_fd)
        fds["init"] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        slots = {name.removeprefix("plan."): fd for name, fd in fds.items() if name.startswith("plan.")}
        try:
            launched = launch(self.plan.compile(), slots, stdio, handover.command(self.config_path, fds), fds)
        finally:
            for fd in {*fds.values(), *stdio}:
                os.close(fd)
        self.launched, self.monitor_pidfd = launched, os.pidfd_open(launched.monitor_pid)
        return self

    def _open_stdio(self):
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if self.config.tty:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.fds["console"], self.fds["plan.console"] = ours.detach(), theirs.detach()
            return (null, null, null)
        stdin = null
        if self.config.open_stdin:
            os.close(null)
            stdin, self.fds["stdin"] = os.pipe2(os.O_CLOEXEC)
        self.fds["stdout"], stdout = os.pipe2(os.O_CLOEXEC)
        self.fds["stderr"], stderr = os.pipe2(os.O_CLOEXEC)
        return (stdin, stdout, stderr)

    def attach(self, **options):
        return client.attach(self.run_dir, claim_release=True, **options)

    @property
    def status(self):
        return read_status(self.run_dir)

    def monitor_alive(self):
        lock = handover.open_lock(self.run_dir)
        if lock is None:
            return True
        os.close(lock)
        return False

    def kill_monitor(self):
        signal.pidfd_send_signal(self.monitor_pidfd, signal.SIGKILL)

    def end(self):
        if self.monitor_pidfd is not None:
            try:
                self.kill_monitor()
            except ProcessLookupError:
                pass
            assert wait_pidfd(self.launched.pidfd, 20)
            os.close(self.launched.pidfd)
            os.close(self.monitor_pidfd)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    root = tmp_path_factory.mktemp("rootfs")
    for folder in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (root / folder).mkdir()
    busybox = shutil.which("busybox")
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "cat", "echo", "sleep", "id", "head", "tr", "stty", "test", "seq", "ps", "kill", "nslookup", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.11\n")
    return str(root)


@pytest.fixture
def container(tmp_path, rootfs):
    made = []

    def make(command, **options):
        made.append(Container(tmp_path, rootfs, command, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def netns():
    fd = new_netns()
    yield fd
    os.close(fd)
