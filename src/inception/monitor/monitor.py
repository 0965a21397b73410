"""The conductor: keeps one container's first process going, from its start to the last byte it said.

    running ──exit──▶ restarting ──back-off──▶ running        policy says so, and nobody asked for a stop
       └──────exit──▶ exited ──▶ clients served ──▶ release

One loop, one thread. It is the same class in a process of its own (`__main__.py`) and in a thread of a Python program that
runs a container (`handover.run_in_thread`); the process starts with init already there, the thread starts it itself, by the
same way as any restart: the compiled plan, run again.
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.linux.process import oom_kills, pid_of, start_time
from inception.monitor import protocol
from inception.monitor.jsonlog import JsonLog
from inception.monitor.kernel import collect, hold_root, kill, receive_fd
from inception.monitor.loop import EPOLLIN, Loop, Timer
from inception.monitor.output import Input, Output
from inception.monitor.restart import FIRST_DELAY_S, RestartPolicy
from inception.monitor.server import Client, Server
from inception.monitor.status import HealthStatus, MonitorStatus, status_text, write_status
from inception.monitor.times import NEVER, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.monitor.config import DnsConfig, MonitorConfig
    from inception.monitor.dns import Resolver
    from inception.monitor.health import HealthCheck
    from inception.monitor.proxy import Proxy

    Spawn = Callable[[bytes, dict[str, int], tuple[int, int, int]], tuple[int, int]]

# How long clients that don't read may keep a monitor whose container has exited.
LAST_WORDS_S = 2.0


def spawn_plan(plan: bytes, slots: dict[str, int], stdio: tuple[int, int, int]) -> tuple[int, int]:
    """Runs a compiled plan: (pid, pidfd). Raises SpawnError."""
    from inception import _spawn

    pid, pidfd = _spawn.spawn(plan, slots, stdio)
    return pid, pidfd


class Monitor:
    """*fds* are named as in this package's docstring; all are owned. *spawn* is replaced in tests."""

    def __init__(
        self, config: MonitorConfig, fds: dict[str, int], *, loop: Loop | None = None, spawn: Spawn = spawn_plan
    ) -> None:
        self.config = config
        self.loop = loop or Loop()
        self.status = MonitorStatus(monitor_pid=os.getpid(), restart_count=config.restart_count)
        self._fds = fds
        self._spawn = spawn
        self._slots = {name.removeprefix("plan."): fd for name, fd in fds.items() if name.startswith("plan.")}
        self._policy = RestartPolicy(config.restart, config.restart_maximum_retries, config.restart_count)
        self._log = (
            JsonLog(config.log_path, config.log_max_size_bytes, config.log_max_files, config.log_attributes)
            if config.log_path
            else None
        )
        self._pidfd: int | None = None
        self._root: int | None = None
        self._outputs: list[Output] = []
        self._input: Input | None = None
        self._terminal: int | None = None
        self._held = False
        self._started_s = 0.0
        self._restart_timer: Timer | None = None
        self._health: HealthCheck | None = None
        self._resolver: Resolver | None = None
        self._proxy: Proxy | None = None
        self._ooms_before = 0
        self._closers: list[Callable[[], None]] = []
        self._server = Server(self.loop, fds["listen"], self)

    # Life

    def start(self, plan: bytes | None = None) -> None:
        """Takes over the init that was handed over, or runs *plan*. Raises SpawnError in the latter case."""
        self._open_services()
        if plan is None:
            pidfd = self._fds["init"]
            self._adopt(
                pid_of(pidfd), pidfd, self._fds.get("stdin"), [self._fds[n] for n in ("stdout", "stderr") if n in self._fds]
            )
        else:
            self._start_init(plan)

    def run(self) -> MonitorStatus:
        """Serves until the container has exited for good and every client knows."""
        while self.status.phase != "exited":
            self.loop.run_once()
        self._say_goodbye()
        return self.status

    def fail(self, cause: str) -> None:
        """Ends the container because its monitor can't go on."""
        if self._pidfd is not None:
            kill(self._pidfd)
            self.status.exit_code = collect(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        status = self.status
        status.phase, status.pid, status.pid_start_time, status.finished_at, status.error = "exited", 0, 0, timestamp(), cause
        self._write_status()
        self._announce_exit()

    @property
    def release_claimed(self) -> bool:
        """Whether a client promised to clean up after this container."""
        return self._server.release_claimed

    def close(self) -> None:
        """Closes everything that is still open, also what was handed over."""
        self._server.close()
        for closer in self._closers:
            closer()
        self._close_input()
        for output in self._outputs:
            output.close()
        if self._log:
            self._log.close()
        self.loop.close()
        self._let_root_go()
        used = {"init", "listen", "stdin", "stdout", "stderr"}
        for fd in {fd for name, fd in self._fds.items() if name not in used}:
            os.close(fd)

    def _open_services(self) -> None:
        """What only some containers need is imported only there."""
        config = self.config
        self._closers.append(self._close_resolver)
        if "dns-udp" in self._fds:
            assert config.dns is not None
            self._open_resolver(config.dns, self._fds.pop("dns-udp"), self._fds.pop("dns-tcp"))
        if config.ports:
            from inception.monitor.proxy import Proxy

            held = [(port, self._fds.pop(f"port{i}")) for i, port in enumerate(config.ports) if f"port{i}" in self._fds]
            self._proxy = Proxy(self.loop, held)
            self._closers.append(self._proxy.close)

    def _open_resolver(self, dns: DnsConfig, udp_fd: int, tcp_fd: int) -> None:
        from inception.monitor.dns import Resolver

        self._resolver = Resolver(self.loop, dns, udp_fd, tcp_fd)

    def _close_resolver(self) -> None:
        if self._resolver is not None:
            self._resolver.close()
            self._resolver = None

    def _start_init(self, plan: bytes) -> None:
        """Runs *plan* with fresh pipes (or the plan's own terminal)."""
        self._let_root_go()  # two overlays must not share an upper folder
        theirs: list[int] = []
        ours: list[int] = []
        try:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            theirs.append(null)
            stdin, stdio = None, [null, null, null]
            if not self.config.tty:
                if self.config.open_stdin:
                    stdio[0], stdin = os.pipe2(os.O_CLOEXEC)
                    theirs.append(stdio[0])
                for number in (1, 2):
                    end, stdio[number] = os.pipe2(os.O_CLOEXEC)
                    theirs.append(stdio[number])
                    ours.append(end)
            pid, pidfd = self._spawn(plan, self._slots, (stdio[0], stdio[1], stdio[2]))
        except BaseException:
            for fd in (*ours, *([stdin] if stdin is not None else [])):
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._adopt(pid, pidfd, stdin, ours)

    def _adopt(self, pid: int, pidfd: int, stdin: int | None, outputs: list[int]) -> None:
        self._pidfd = pidfd
        self._root = hold_root(pid)
        self._started_s = self.loop.clock()
        if self.config.tty:
            self._terminal = receive_fd(self._fds["console"])
            stdin, outputs = os.dup(self._terminal), [os.dup(self._terminal)]
        if stdin is not None and (self.config.open_stdin or self.config.tty):
            self._input = Input(self.loop, stdin, self._server.resume_input)
        self._outputs = [
            Output(self.loop, fd, stream, self._heard) for fd, stream in zip(outputs, ("stdout", "stderr"), strict=False)
        ]
        status = self.status
        status.pid, status.pid_start_time, status.error = pid, start_time(pid), ""
        status.phase = "running"
        status.started_at, status.finished_at, status.exit_code, status.oom_killed = timestamp(), NEVER, 0, False
        self._start_health()
        self._write_status()
        self._server.hear_waiting()
        self.loop.watch(pidfd, EPOLLIN, self._init_exited)
        self.hold_output(self._held)

    def _let_root_go(self) -> None:
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def _init_exited(self, _events: int) -> None:
        """Init is dead, and with it everyone else in its pid namespace: what the pipes hold is all there is."""
        assert self._pidfd is not None
        exit_code = collect(self._pidfd)
        self.loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        if self._health:
            self._health.stop()
            self._health = None
        self._close_input()
        self._drain()
        self._ended(exit_code)
        if not self._output_open:
            self._announce_exit()

    def _ended(self, exit_code: int) -> None:
        """Notes an exit (or a start that failed), and decides what comes next."""
        status = self.status
        status.pid = status.pid_start_time = 0
        status.exit_code, status.finished_at, status.paused = exit_code, timestamp(), False
        # Counted from the last exit on, not from when this process was ready to look: a first init can be dead by then.
        kills = oom_kills(self.config.oom_paths)
        status.oom_killed, self._ooms_before = kills > self._ooms_before, kills
        delay_s = self._policy.next_delay_s(exit_code, self.loop.clock() - self._started_s)
        if delay_s is None:
            status.phase = "exited"
        else:
            status.phase, status.restart_count = "restarting", self._policy.restart_count
            self._restart_timer = self.loop.call_later(delay_s, self._restart)
        # The status first: whoever hears of an event looks at once, and must not find the container running.
        self._write_status()
        if status.oom_killed:
            self._emit("oom")
        self._emit("die", exitCode=str(exit_code))

    def _announce_exit(self) -> None:
        self._server.announce(protocol.EXIT, status_text(self.status))

    def _restart(self) -> None:
        if self._output_open:  # a lossless client is still reading what the last run said
            self._restart_timer = self.loop.call_later(FIRST_DELAY_S, self._restart)
            return
        self._started_s = self.loop.clock()
        try:
            with open(f"{self.config.run_dir}/plan", "rb") as file:
                self._start_init(file.read())
            self._emit("start")
        except Exception as error:  # SpawnError, OSError: whatever it is, the policy decides whether there is a next time
            self.status.error = f"restart {self.config.name}: {error}"
            self._ended(128)
            self._announce_exit()

    def _say_goodbye(self) -> None:
        """Lets clients read to the end: lossless ones as long as they stay, others for LAST_WORDS_S."""
        for closer in self._closers:
            closer()
        self._closers.clear()
        self._server.hear_waiting()
        self.loop.call_later(LAST_WORDS_S, self._server.drop_stalled)
        while self._server.unsent or self._output_open:
            self.loop.run_once()
        if self._log:
            self._log.close()
            self._note_log_error()

    # Streams

    def _heard(self, stream: str, data: bytes) -> None:
        if self._log:
            self._log.write(stream, data)
            if self._log.error or self._log.dropped_bytes:
                self._note_log_error()
        self._server.output(stream, data)

    @property
    def _output_open(self) -> bool:
        return any(output.open for output in self._outputs)

    def _drain(self) -> None:
        """Reads what is left and closes. While a lossless client holds the output this waits for `hold_output(False)`."""
        for output in self._outputs:
            output.drain(lambda: self._held)
        if self._log and not self._held:
            self._log.flush()

    def _close_input(self) -> None:
        if self._input:
            self._input.close()
            self._input = None
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _note_log_error(self) -> None:
        assert self._log is not None
        if self._log.error != self.status.error and self._log.error:
            self.status.error = self._log.error
            self._write_status()

    # What clients ask for (server.Container)

    def write_stdin(self, data: bytes) -> bool:
        if self._input is None:
            return True
        self._input.write(data)
        return not self._input.full

    def close_stdin(self) -> None:
        # With a terminal the end of input is a character (^D) that the client sends, as in Docker.
        if self._input and self.config.stdin_once and not self.config.tty:
            self._input.finish()

    def stdin_left(self) -> None:
        self.close_stdin()

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal is not None:
            from inception.linux import pty  # few have a terminal, and every start waits for what a monitor loads

            pty.set_size(self._terminal, rows, columns)

    def set_restart(self, name: str, maximum_retries: int) -> None:
        self._policy.name, self._policy.maximum_retries = name, maximum_retries

    def set_resolver(self, dns: dict[str, Any] | None, fds: list[int]) -> None:
        if dns is None:
            self._close_resolver()
            return
        from inception.monitor.config import DnsConfig
        from inception.record import decode

        config = decode(DnsConfig, dns)
        if self._resolver is not None:
            self._resolver.config = config
        else:
            udp_fd, tcp_fd = fds
            self._open_resolver(config, os.dup(udp_fd), os.dup(tcp_fd))

    def set_targets(self, ipv4: str, ipv6: str) -> None:
        if self._proxy is not None:
            self._proxy.lead_to(ipv4, ipv6)

    def stop_requested(self) -> None:
        self._policy.stop_requested = True
        if self.status.phase == "restarting":
            self.loop.cancel(self._restart_timer)
            self.status.phase = "exited"
            self._write_status()
            self._announce_exit()

    def set_paused(self, paused: bool) -> None:
        self.status.paused = paused
        if self._health:
            self._health.set_paused(paused)
        self._write_status()

    def hold_output(self, hold: bool) -> None:
        self._held = hold
        if self._pidfd is None and not hold and self._output_open:
            self._drain()
            if not self._output_open:
                self._announce_exit()
            return
        for output in self._outputs:
            if hold:
                output.hold()
            else:
                output.resume()

    def exec(self, plan: bytes, slots: dict[str, int], client: Client) -> int:
        """A detached exec: this process becomes its parent. Raises SpawnError."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            pid, pidfd = self._spawn(plan, self._join_slots(slots), (null, null, null))
        finally:
            os.close(null)
        self.loop.watch(pidfd, EPOLLIN, lambda _events: self._exec_exited(pid, pidfd, client))
        return pid

    def _exec_exited(self, pid: int, pidfd: int, client: Client) -> None:
        exit_code = collect(pidfd)
        self.loop.forget(pidfd)
        os.close(pidfd)
        self._server.send(client, protocol.EXEC_EXIT + jsontext.dumps({"pid": pid, "exit_code": exit_code}).encode())

    def _join_slots(self, slots: dict[str, int]) -> dict[str, int]:
        """*slots* and `init`, the first process of this moment: namespaces are joined through it."""
        if self._pidfd is None:
            raise RuntimeError("the container is not running")
        return {**slots, "init": self._pidfd}

    # Beside the container

    def _start_health(self) -> None:
        check = self.config.healthcheck
        if check is None or not check.test or check.test[0] == "NONE":
            return
        from inception.monitor.health import HealthCheck

        try:
            with open(f"{self.config.run_dir}/health-plan", "rb") as file:
                plan = file.read()
        except OSError as error:  # an unprobed container is better than none, but it must be said
            self.status.error = f"health check of {self.config.name}: health-plan: {error.strerror}"
            return
        self._health = HealthCheck(
            self.loop, check, lambda stdio: self._spawn(plan, self._join_slots({}), stdio), self._health_changed
        )
        self._health.start()

    def _health_changed(self, health: HealthStatus) -> None:
        changed = health.status not in (self.status.health.status, "starting")
        self.status.health = health
        self._write_status()
        if changed:
            self._emit(f"health_status: {health.status}")
        self._server.announce(protocol.HEALTH, status_text(self.status))

    def _emit(self, action: str, **attributes: str) -> None:
        """Adds one line to the engine's event file: what only a monitor sees. One write, so that lines of many don't mix."""
        if not self.config.events_path:
            return
        event = {
            "type": "container",
            "action": action,
            "id": self.config.id,
            "attributes": {**self.config.event_attributes, **attributes},
            "time_ns": time.time_ns(),
        }
        try:
            fd = os.open(self.config.events_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, jsontext.dumps(event).encode() + b"\n")
            finally:
                os.close(fd)
        except OSError:  # a full disk costs the event; the status still tells
            pass

    def _write_status(self) -> None:
        try:
            write_status(self.config.run_dir, self.status)
        except OSError as error:  # a full or vanished run folder must not end the container
            os.write(2, f"write status of {self.config.name}: {error}\n".encode())
