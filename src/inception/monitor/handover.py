"""How an engine starts a monitor: what it opens beforehand, the command line, or the thread.

Sockets exist before the container does, so that its first DNS query and its first client are never lost.
"""

from __future__ import annotations

import _socket
import fcntl
import os

from inception.preload import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.monitor.config import MonitorConfig
    from inception.monitor.monitor import Monitor, Spawn
    from inception.monitor.status import MonitorStatus

RESOLVER = "127.0.0.11"
_SOCKET_NAME = "attach.sock"


def command(config_path: str, fds: dict[str, int]) -> list[str]:
    """The arguments that become a monitor, `argv[0]` included. *fds* are inherited under the numbers they have."""
    return [*command_of("inception.monitor.process"), config_path, *(f"{name}={fd}" for name, fd in fds.items())]


def open_lock(run_dir: str) -> int | None:
    """`monitor.lock`, locked for whoever holds the returned fd or a copy; None when a monitor has it."""
    fd = os.open(f"{run_dir}/monitor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def listen(run_dir: str) -> int:
    """A fresh listening `attach.sock` in *run_dir*, which is made private (0700)."""
    dir_fd = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        os.chmod(run_dir, 0o700)
        try:
            os.unlink(_SOCKET_NAME, dir_fd=dir_fd)
        except FileNotFoundError:
            pass
        # AF_UNIX addresses are 108 bytes; through the folder's fd any run folder fits.
        listener.bind(f"/proc/self/fd/{dir_fd}/{_SOCKET_NAME}")
        listener.listen(64)
        return listener.detach()
    finally:
        listener.close()
        os.close(dir_fd)


def dns_sockets(netns_fd: int) -> tuple[int, int]:
    """UDP and listening TCP sockets on the resolver's address inside a network namespace whose loopback is up."""
    from inception.linux.namespaces import socket_in_netns

    udp = socket_in_netns(netns_fd, _socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    tcp = socket_in_netns(netns_fd, _socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    for fd in (udp, tcp):
        bound = _socket.socket(fileno=fd)
        try:
            bound.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            bound.bind((RESOLVER, 53))
            if fd == tcp:
                bound.listen(64)
        except OSError:
            os.close(udp)
            os.close(tcp)
            raise
        finally:
            bound.detach()
    return udp, tcp


class MonitorThread:
    """A monitor in a thread of this process; `pid` is the container's init. The thread lives until the container's end."""

    def __init__(self, monitor: Monitor, plan: bytes, on_exit: Callable[[MonitorStatus], None] | None) -> None:
        import _thread  # threading's bookkeeping would cost 3 ms of import

        self._monitor = monitor
        self._plan = plan
        self._on_exit = on_exit
        self._error: BaseException | None = None
        self._started = _thread.allocate_lock()
        self._done = _thread.allocate_lock()
        self._started.acquire()
        self._done.acquire()
        _thread.start_new_thread(self._run, ())
        self._started.acquire()
        if self._error is not None:
            raise self._error

    @property
    def pid(self) -> int:
        return self._monitor.status.pid

    @property
    def status(self) -> MonitorStatus:
        return self._monitor.status

    def join(self, timeout_s: float = -1) -> bool:
        """Waits until the container has exited for good and *on_exit* is through. False when *timeout_s* ran out."""
        if self._done.acquire(timeout=timeout_s):
            self._done.release()
            return True
        return False

    def _run(self) -> None:
        # PR_SET_PDEATHSIG is about the thread that cloned init, so it must be this one, which lives as long as init does.
        try:
            self._monitor.start(self._plan)
        except BaseException as error:
            self._error = error
            self._monitor.close()
            self._done.release()
            return
        finally:
            self._started.release()
        try:
            status = self._monitor.run()
            if self._on_exit is not None:
                self._on_exit(status)
        finally:
            self._done.release()
            self._monitor.close()  # last: that can sync a disk, and nobody has to wait for it


def run_in_thread(
    config: MonitorConfig,
    plan: bytes,
    fds: dict[str, int],
    on_exit: Callable[[MonitorStatus], None] | None = None,
    spawn: Spawn | None = None,
) -> MonitorThread:
    """Starts a container under a monitor in a thread of this process. *fds* become the monitor's.

    Raises SpawnError when the plan fails; then nothing is left. *on_exit* is called in the monitor's thread at the end.
    """
    from inception.monitor.monitor import Monitor, spawn_plan

    return MonitorThread(Monitor(config, fds, spawn=spawn or spawn_plan), plan, on_exit)
