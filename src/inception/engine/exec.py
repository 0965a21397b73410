"""Another process in a running container: `exec`.

    run             waits for it, collects what it says
    start           hands out its streams (the CLI's -i and -t); this process is its parent
    start_detached  leaves it to the container's monitor

Streams are pipes or a terminal of the container's, never descriptors of the caller's own: a process inside could reopen those
through /proc/self/fd and write where it should not.
"""

from __future__ import annotations

import _thread
import os
import select
import time

from inception.engine import records
from inception.engine.cgroups import cgroup_of
from inception.engine.config import ContainerConfig, ExecConfig
from inception.engine.live import not_running, open_init
from inception.engine.merge import merge_env
from inception.engine.names import new_id
from inception.engine.records import event_attributes
from inception.engine.seccomp import filter_of
from inception.engine.spec import (
    Surroundings,
    apparmor_profile,
    held_capabilities,
    plan_capabilities,
    plan_env,
    security_options,
)
from inception.engine.surroundings import hostname, resolve_user_of
from inception.errors import Conflict, InvalidArgument, NotFound, StartFailed, Unavailable
from inception.linux.path import RootDir
from inception.linux.process import pidfd_send_signal, reap
from inception.oci.runtime import Capabilities, Process
from inception.record import replace
from inception.runtime import SpawnError, plan_exec, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.engine.results import ExecResult
    from inception.monitor import client
    from inception.oci.runtime import User
    from inception.runtime import Plan

_READ_BYTES = 64 << 10


class ExecProcess:
    """A process inside a container with its streams; close it, or use it as a context manager.

    One thread may read while another writes.
    """

    def __init__(self, pid: int, pidfd: int, stdin: int | None, outputs: dict[int, str], terminal: bool) -> None:
        self.pid = pid
        self.exit_code: int | None = None
        self.on_end: Callable[[int], None] | None = None
        self._lock = _thread.allocate_lock()
        self._pidfd = pidfd
        self._stdin = stdin
        self._outputs = outputs
        self._terminal = terminal
        self._epoll = select.epoll()
        for fd in outputs:
            os.set_blocking(fd, False)
            self._epoll.register(fd, select.EPOLLIN)
        self._epoll.register(pidfd, select.EPOLLIN)

    def __enter__(self) -> ExecProcess:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when `read` has something to say."""
        return self._epoll.fileno()

    def stdin_fileno(self) -> int | None:
        """Where its input is written to; None when it takes none, or no more."""
        return self._stdin

    @property
    def pending(self) -> bool:
        """Whether something was read already and waits here: never."""
        return False

    @property
    def ended(self) -> bool:
        """Whether the end was seen: `exit_code` is set and everything was read."""
        return self.exit_code is not None

    def read(self, timeout_s: float | None = None) -> tuple[str, bytes] | None:
        """The next piece of output: ("stdout" or "stderr", data). None at the end, or when the time is up."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ended:
            left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._epoll.poll(left)
            if not ready:
                return None
            exited = False
            for fd, _events in ready:
                if fd == self._pidfd:
                    exited = True
                    continue
                data = self._read_output(fd)
                if data:
                    return self._outputs[fd], data
                if data is not None:
                    self._drop_output(fd)
            if exited:
                # Grandchildren may hold the pipes open for ever; what the process itself said is in them by now.
                piece = self._read_rest()
                if piece is not None:
                    return piece
                self._epoll.unregister(self._pidfd)
                self._collect()
        return None

    def _read_rest(self) -> tuple[str, bytes] | None:
        for fd, stream in self._outputs.items():
            data = self._read_output(fd)
            if data:
                return stream, data
        return None

    def _read_output(self, fd: int) -> bytes | None:
        """What is there; empty at the end, None when there is nothing yet."""
        try:
            return os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""  # a terminal whose last user has left

    def _drop_output(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._outputs[fd]
        if fd != self._stdin:
            os.close(fd)

    def __iter__(self) -> ExecProcess:
        return self

    def __next__(self) -> tuple[str, bytes]:
        piece = self.read()
        if piece is None:
            raise StopIteration
        return piece

    def write(self, data: bytes) -> None:
        """Send *data* to its stdin; waits while it does not read. Nothing happens when it does not listen any more."""
        if self._stdin is None:
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                poll = select.poll()  # select(2) ends at descriptor 1023
                poll.register(self._stdin, select.POLLOUT)
                poll.poll()
            except (BrokenPipeError, OSError):
                return

    def close_stdin(self) -> None:
        """The end of its input; with a terminal that is a character (^D), which is the caller's to send."""
        stdin = None if self._terminal else self._take_stdin()
        if stdin is not None:
            os.close(stdin)

    def _take_stdin(self) -> int | None:
        """The input's descriptor, for whoever comes first: one thread ends the input while another lets go of everything."""
        with self._lock:
            stdin, self._stdin = self._stdin, None
        return stdin

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        if self._terminal and self._stdin is not None:
            import fcntl
            import termios

            size = b"".join(value.to_bytes(2, "little") for value in (rows, columns, 0, 0))
            fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, size)

    def kill(self, signal: int = 9) -> None:
        """Send it a signal; nothing happens when it has ended."""
        try:
            pidfd_send_signal(self._pidfd, signal)
        except ProcessLookupError:
            pass

    def wait(self) -> int:
        """Its exit code; what it says until then is thrown away."""
        while self.read() is not None:
            pass
        assert self.exit_code is not None
        return self.exit_code

    def _collect(self) -> None:
        self.exit_code = reap(self._pidfd)
        if self.on_end is not None:
            self.on_end(self.exit_code)

    def close(self) -> None:
        """Let go of it; it is killed when it still runs, since nobody else would collect it."""
        if self._pidfd < 0:
            return
        if self.exit_code is None:
            self.kill()
            self._collect()
        stdin = self._take_stdin()
        fds = {*self._outputs, *([stdin] if stdin is not None else []), self._pidfd}
        self._outputs.clear()
        self._pidfd = -1
        self._epoll.close()
        for fd in fds:
            os.close(fd)


def run(engine: Engine, container_id: str, config: ExecConfig, stdin: bytes, timeout_s: float | None) -> ExecResult:
    """`exec` and wait."""
    from inception.engine.results import ExecResult

    said: list[tuple[str, bytes]] = []
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with start(engine, container_id, config) as process:
        if stdin:
            _feed(process, stdin)
        while not process.ended:
            piece = process.read(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if piece is not None:
                said.append(piece)
            elif not process.ended:
                raise Unavailable(f"exec {config.command[0]}: timed out after {timeout_s} s")
        assert process.exit_code is not None
        return ExecResult(
            exit_code=process.exit_code,
            output=b"".join(data for _, data in said),
            stdout=b"".join(data for stream, data in said if stream == "stdout"),
            stderr=b"".join(data for stream, data in said if stream == "stderr"),
        )


def _feed(process: ExecProcess, data: bytes) -> None:
    """Write *data* and the end of input beside the reading, so that neither waits for the other."""
    import threading

    def feed() -> None:
        process.write(data)
        process.close_stdin()

    threading.Thread(target=feed, daemon=True).start()


def start(engine: Engine, container_id: str, config: ExecConfig) -> ExecProcess:
    """Start it with its streams connected to this process."""
    record = _running(engine, container_id, config)
    announced = _announce(engine, record, config)
    init = open_init(engine, record)
    ours: list[int] = []
    theirs: list[int] = []
    try:
        plan = plan_process(engine, record, config, init)
        fds = {"init": init}
        stdin: int | None = None
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        theirs.append(null)
        stdio = [null, null, null]
        if config.tty:
            import _socket

            console, theirs_console = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            ours.append(console.detach())
            fds["console"] = theirs_console.detach()
            theirs.append(fds["console"])
        else:
            if config.open_stdin:
                stdio[0], stdin = os.pipe2(os.O_CLOEXEC)
                theirs.append(stdio[0])
                ours.append(stdin)
            for number in (1, 2):
                end, stdio[number] = os.pipe2(os.O_CLOEXEC)
                theirs.append(stdio[number])
                ours.append(end)
        try:
            child = spawn(plan.compile(), fds, (stdio[0], stdio[1], stdio[2]))
        except SpawnError as error:
            raise plan.failure(error) from None
        if config.tty:
            from inception.monitor.kernel import receive_fd

            console_fd = ours.pop()
            try:
                terminal = receive_fd(console_fd)
            finally:
                os.close(console_fd)
            process = ExecProcess(child.pid, child.pidfd, terminal, {terminal: "stdout"}, True)
        else:
            process = ExecProcess(child.pid, child.pidfd, stdin, dict(zip(ours[-2:], ("stdout", "stderr"), strict=True)), False)
        ours = []
    finally:
        for fd in (*ours, *theirs, init):
            os.close(fd)
    _emit(engine, record, announced, f"exec_start: {' '.join(config.command)}")
    if not config.id:
        process.on_end = lambda code: _emit(engine, record, announced, "exec_die", exitCode=str(code))
    return process


def start_detached(engine: Engine, container_id: str, config: ExecConfig) -> str:
    """Leave it to the monitor: it lives on when this process ends."""
    start_watched(engine, container_id, config).close()
    return new_id()


def start_watched(engine: Engine, container_id: str, config: ExecConfig) -> client.ExecWatch:
    """Leave it to the monitor, and hear of its end. The caller closes what it gets; that doesn't end the exec."""
    from inception.monitor import client

    config = replace(config, tty=False, open_stdin=False)
    record = _running(engine, container_id, config)
    announced = _announce(engine, record, config)
    init = open_init(engine, record)
    try:
        plan = plan_process(engine, record, config, init)
    finally:
        os.close(init)
    try:
        watch = client.exec_watched(engine.run_dir(container_id), plan.compile())
    except client.RequestFailed as error:
        if error.step < 0:
            raise
        from inception.runtime.words import explain_failure

        raise explain_failure(plan, error.step, error.errno) from None
    except client.MonitorGone:
        raise not_running(record) from None
    _emit(engine, record, announced, f"exec_start: {' '.join(config.command)}")
    return watch


def plan_process(engine: Engine, record: ContainerRecord, config: ExecConfig, init: int) -> Plan:
    """The plan of a process in the container whose first process *init* is a pidfd of."""
    with RootDir.open_host(f"/proc/{record.state.pid}/root") as root:
        pidfd_send_signal(init, 0)  # still that process: the root is its root
        groups = [] if config.user else record.config.group_add
        try:
            found = resolve_user_of(root, config.user or record.config.user, groups)
        except NotFound as error:  # a user or a group that the container's files don't have
            raise StartFailed(str(error), error.hint, exit_code=126) from None
    process = plan_values(record, config, found.user, found.home, hostname(engine, record))
    capabilities = process.capabilities.bounding if process.capabilities else []
    seccomp = None if config.privileged else filter_of(engine, record.config, capabilities)
    cgroup = cgroup_of(engine, record)
    join = cgroup.join_beside(cgroup.create(early_controllers(engine, record.config)), record.state.pid)
    return plan_exec(process, join=join, seccomp=seccomp)


def plan_probe(engine: Engine, record: ContainerRecord, command: list[str], user: User, around: Surroundings) -> Plan:
    """The plan of a health check: an exec of the container's own user. The monitor knows init, and fills it in."""
    process = plan_values(record, ExecConfig(command=command), user, around.home, around.hostname)
    capabilities = process.capabilities.bounding if process.capabilities else []
    join = cgroup_of(engine, record).create(early_controllers(engine, record.config))
    return plan_exec(process, join=join, seccomp=filter_of(engine, record.config, capabilities))


def plan_values(record: ContainerRecord, config: ExecConfig, user: User, home: str, host_name: str) -> Process:
    """The process of an exec: the container's environment and rights, and what is asked for on top. Pure."""
    own = record.config
    held = held_capabilities()
    capabilities = held if config.privileged else plan_capabilities(own, held)
    around = Surroundings(hostname=host_name, home=home)
    environment = plan_env(replace(own, tty=config.tty, env=merge_env(own.env, config.env)), around)
    return Process(
        args=config.command,
        cwd=config.working_dir or own.working_dir or "/",
        env=environment,
        terminal=config.tty,
        user=user,
        capabilities=Capabilities(bounding=capabilities, effective=capabilities, permitted=capabilities),
        no_new_privileges=security_options(own).get("no-new-privileges", "false") != "false",
        apparmor_profile=apparmor_profile(own),
    )


def early_controllers(engine: Engine, config: ContainerConfig) -> list[str]:
    """The cgroup controllers that limit the container: a process must be in them before it runs."""
    from inception.engine.cgroups import plan_resources
    from inception.runtime import resources

    planned = plan_resources(config.resources, [], engine.cgroups)
    return resources.limited_controllers(resources.plan_resources(planned, engine.cgroups))


def _running(engine: Engine, container_id: str, config: ExecConfig) -> ContainerRecord:
    if not config.command:
        raise InvalidArgument("No exec command specified")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    record = records.load(engine, container_id)
    if record.state.status == "paused":
        raise Conflict(f"Container {record.name} is paused, unpause the container before exec")
    if record.state.status != "running":
        raise not_running(record)
    return record


def _announce(engine: Engine, record: ContainerRecord, config: ExecConfig) -> str:
    """The id that its events bear."""
    if config.id:
        return config.id
    exec_id = new_id()
    _emit(engine, record, exec_id, f"exec_create: {' '.join(config.command)}")
    return exec_id


def _emit(engine: Engine, record: ContainerRecord, exec_id: str, action: str, **attributes: str) -> None:
    about = {**event_attributes(record), "execID": exec_id, **attributes}
    engine.events.emit("container", action, record.id, about)
