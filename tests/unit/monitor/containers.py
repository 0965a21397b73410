"""A monitor over a shell command instead of a container: same class, same sockets, no root."""

import os
import signal
import socket

from inception.linux.pty import open_peer
from inception.monitor import client, handover
from inception.monitor.config import MonitorConfig


class SpawnError(Exception):
    def __init__(self, step, errno):
        super().__init__(f"step {step}: {os.strerror(errno)}")
        self.step = step
        self.errno = errno


def spawn_shell(plan, slots, stdio):
    """Takes a shell command for a plan; `!` fails like a plan whose program is not there."""
    command = plan.decode()
    if command == "!":
        raise SpawnError(7, 2)
    terminal = []
    if "console" in slots:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        terminal = [open_peer(master)]
        stdio = terminal * 3
        sender = socket.socket(fileno=os.dup(slots["console"]))
        socket.send_fds(sender, [b"pty"], [master])
        sender.close()
        os.close(master)
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", command],
        {"PATH": "/usr/bin:/bin"},
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)],
        setsid=True,
        setsigdef=[signal.SIGPIPE],
    )
    for fd in terminal:
        os.close(fd)
    sessions.append(pid)
    return pid, os.pidfd_open(pid)


sessions = []  # of the shells that were started; what they started may outlive them


class Fake:
    """A "container" running *command* under a monitor in a thread."""

    def __init__(self, tmp_path, command, **config):
        self.run_dir = str(tmp_path / "run")
        self.log_path = str(tmp_path / "c-json.log")
        os.makedirs(self.run_dir, exist_ok=True)
        with open(f"{self.run_dir}/plan", "w") as file:
            file.write(command)
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
        self.fds = {"listen": handover.listen(self.run_dir)}
        if self.config.tty:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.fds["console"] = ours.detach()
            self.fds["plan.console"] = theirs.detach()
        self.command = command
        self.thread = None
        self.finals = []

    def start(self):
        self.thread = handover.run_in_thread(self.config, self.command.encode(), self.fds, self.finals.append, spawn_shell)
        return self

    def attach(self, **options):
        return client.attach(self.run_dir, **options)

    def join(self):
        assert self.thread.join(20), "the monitor did not end"
        return self.thread.status

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read()

    def kill(self):
        """Ends it whatever state it is in."""
        if self.thread and not self.thread.join(0):
            try:
                client.stop_requested(self.run_dir)
            except client.MonitorGone:
                pass
            if self.thread.pid:
                os.kill(self.thread.pid, signal.SIGKILL)
            assert self.thread.join(20)
        while sessions:
            try:
                os.killpg(sessions.pop(), signal.SIGKILL)
            except ProcessLookupError:
                pass
