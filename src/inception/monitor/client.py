"""Talking to a monitor: attach, watch for the exit, and the few requests that change what it does.

Everything blocks with a timeout; a `fileno` lets callers poll beside other descriptors. A monitor that died shows as the end
of the connection without an exit: `MonitorGone`.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from inception import jsontext
from inception.errors import Unavailable
from inception.monitor import protocol
from inception.monitor.status import MonitorStatus, parse_status
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Self

    from inception.monitor.config import DnsConfig

ANSWER_TIMEOUT_S = 10.0
_STREAMS = {protocol.STDOUT: "stdout", protocol.STDERR: "stderr"}


class MonitorGone(Unavailable):
    """No monitor answers: the container has exited, or its monitor was killed and the container with it."""


class RequestFailed(Unavailable):
    """The monitor refuses or could not do what was asked. *step* and *errno* come from a plan that failed, else -1 and 0."""

    def __init__(self, message: str, step: int = -1, errno: int = 0) -> None:
        super().__init__(message)
        self.step = step
        self.errno = errno


class Connection:
    """One client of a monitor; use one a purpose. Not for several threads at once, except that one may read, one write."""

    def __init__(self, run_dir: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._socket = _connect(run_dir, timeout_s)
        self._early: list[bytes] = []

    def fileno(self) -> int:
        """Readable when a frame or the end is there. Call `pending` first: a frame may have been read already."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        return bool(self._early)

    def request(
        self, kind: bytes, payload: bytes = b"", fds: Iterable[int] = (), timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """Sends a request and waits for its answer; frames that come in between are kept. Raises RequestFailed, MonitorGone."""
        self.send(kind + payload, fds)
        while True:
            frame = self._receive(timeout_s)
            if frame[:1] == protocol.OK:
                answer: dict[str, Any] = jsontext.loads(frame[1:])
                return answer
            if frame[:1] == protocol.FAILED:
                raise _failure(frame)
            self._early.append(frame)

    def send(self, frame: bytes, fds: Iterable[int] = ()) -> None:
        """Sends one frame; waits while the monitor does not take it. Raises MonitorGone."""
        rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
        try:
            if rights:
                self._socket.sendmsg([frame], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            else:
                self._socket.send(frame)
        except OSError as error:
            raise MonitorGone(f"the container's monitor is gone: {error.strerror}") from None

    def frame(self, timeout_s: float | None = None) -> bytes | None:
        """The next frame; None when *timeout_s* (default: for ever) ran out. Raises MonitorGone."""
        if self._early:
            return self._early.pop(0)
        try:
            return self._receive(timeout_s)
        except TimeoutError:
            return None

    def _frames(self, timeout_s: float | None) -> Iterator[bytes]:
        """Frames until *timeout_s* (None: never) is over, however many come: health is told at every probe."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (frame := self.frame(None if deadline is None else max(0.0, deadline - time.monotonic()))) is not None:
            yield frame

    def wait_exit(self, timeout_s: float | None = None) -> MonitorStatus | None:
        """The status at the next exit; None when there was none in *timeout_s* (default: for ever). Raises MonitorGone."""
        for frame in self._frames(timeout_s):
            if frame[:1] == protocol.EXIT:
                return parse_status(frame[1:])
        return None

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _receive(self, timeout_s: float | None) -> bytes:
        # The socket itself stays blocking: a timeout of its own would be that of a writer in another thread, too.
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError("the container's monitor does not answer")
        try:
            try:
                frame = self._socket.recv(protocol.FRAME_BYTES)
            except ConnectionResetError:  # the monitor left with a frame of ours unread; its last ones come after this error
                frame = self._socket.recv(protocol.FRAME_BYTES)
        except OSError as error:
            raise MonitorGone(f"the container's monitor is gone: {error.strerror}") from None
        if not frame:
            raise MonitorGone("the container's monitor is gone")
        return frame


class AttachStream(Connection):
    """A container's streams. Read with `read`, until the exit frame or `MonitorGone`."""

    exit_status: MonitorStatus | None = None

    @property
    def ended(self) -> bool:
        """Whether the container's end has been read."""
        return self.exit_status is not None

    def read(self, timeout_s: float | None = None) -> tuple[str, bytes] | None:
        """The next piece of output: ("stdout" or "stderr", data). None at the container's end or when the time is up.

        At the end `exit_status` is set. A restarting container is not at its end: reading goes on with its next run.
        """
        if self.exit_status is not None:
            return None
        for frame in self._frames(timeout_s):
            stream = _STREAMS.get(frame[:1])
            if stream is not None:
                return stream, frame[1:]
            if frame[:1] == protocol.FAILED:
                raise _failure(frame)
            if frame[:1] == protocol.EXIT:
                status = parse_status(frame[1:])
                if status.phase == "exited":
                    self.exit_status = status
                    break
        return None

    def __iter__(self) -> AttachStream:
        return self

    def __next__(self) -> tuple[str, bytes]:
        piece = self.read()
        if piece is None:
            raise StopIteration
        return piece

    def write(self, data: bytes) -> None:
        """Sends *data* to the container's stdin; waits while it does not read."""
        for start in range(0, len(data), protocol.DATA_BYTES):
            self.send(protocol.STDIN + data[start : start + protocol.DATA_BYTES])

    def close_stdin(self) -> None:
        """No more input from here; the container sees the end of its stdin if it was created with stdin_once."""
        self.send(protocol.CLOSE_STDIN)

    def resize(self, rows: int, columns: int) -> None:
        """The size of the container's terminal, each at most 65535."""
        self.send(protocol.RESIZE + rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))

    def claim_release(self) -> None:
        """This client will clean up after the container's end; the claim ends with the connection."""
        self.request(protocol.CLAIM_RELEASE)


def attach(
    run_dir: str,
    *,
    stdin: bool = False,
    stdout: bool = True,
    stderr: bool = True,
    lossless: bool = False,
    claim_release: bool = False,
) -> AttachStream:
    """Attaches to the container of *run_dir*. Possible before its start: the listening socket keeps the requests.

    *lossless*: the container waits for this client instead of the client being dropped when it reads too slowly; for a
    foreground run. The answers are not waited for, since a monitor may not be there yet. Raises MonitorGone.
    """
    wanted = [name for name, want in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)) if want]
    stream = AttachStream(run_dir)
    try:
        stream.send(protocol.ATTACH + jsontext.dumps({"streams": wanted, "lossless": lossless}).encode())
        if claim_release:
            stream.send(protocol.CLAIM_RELEASE)
    except BaseException:
        stream.close()
        raise
    return stream


def watch(run_dir: str) -> Connection:
    """A connection for `wait_exit`. Raises MonitorGone when no monitor listens."""
    connection = Connection(run_dir)
    try:
        connection.request(protocol.WATCH)
    except BaseException:
        connection.close()
        raise
    return connection


def stop_requested(run_dir: str) -> None:
    """From here on the container is not restarted; one that waits for its restart is over now. Raises MonitorGone."""
    _request(run_dir, protocol.STOP_REQUESTED)


def set_restart(run_dir: str, name: str, maximum_retries: int) -> None:
    """Another restart policy from the next exit on. Raises MonitorGone."""
    payload = jsontext.dumps({"name": name, "maximum_retries": maximum_retries}).encode()
    with Connection(run_dir) as connection:
        connection.request(protocol.SET_RESTART, payload)


def set_resolver(run_dir: str, dns: DnsConfig | None, fds: tuple[int, ...] = ()) -> None:
    """What the resolver knows from here on. *fds* are `handover.dns_sockets` for the first one; None ends it.

    Raises MonitorGone.
    """
    payload = jsontext.dumps({"dns": encode(dns) if dns is not None else None}).encode()
    with Connection(run_dir) as connection:
        connection.request(protocol.SET_RESOLVER, payload, fds)


def set_targets(run_dir: str, ipv4: str, ipv6: str) -> None:
    """Where published ports lead from here on, those of the host's IPv4 addresses and of its IPv6 ones. Raises MonitorGone."""
    payload = jsontext.dumps({"ipv4": ipv4, "ipv6": ipv6}).encode()
    with Connection(run_dir) as connection:
        connection.request(protocol.SET_TARGETS, payload)


def paused(run_dir: str) -> None:
    """Tells the monitor that the container is frozen: health probes wait. Raises MonitorGone."""
    _request(run_dir, protocol.PAUSED)


def resumed(run_dir: str) -> None:
    """Tells the monitor that the container is thawed. Raises MonitorGone."""
    _request(run_dir, protocol.RESUMED)


class ExecWatch(Connection):
    """An exec that the monitor runs, watched; to let go of it doesn't end it. `pid` is its process."""

    pid = 0

    def exit_code(self, timeout_s: float | None = None) -> int | None:
        """Its exit code; None when *timeout_s* ran out. Raises MonitorGone."""
        for frame in self._frames(timeout_s):
            if frame[:1] == protocol.EXEC_EXIT:
                code: int = jsontext.loads(frame[1:])["exit_code"]
                return code
        return None


def exec_watched(run_dir: str, plan: bytes, slots: dict[str, int] | None = None) -> ExecWatch:
    """Runs a compiled exec plan under the monitor, without stdio. The slot `init` is filled in by the monitor.

    Raises RequestFailed with step and errno when the plan fails, MonitorGone.
    """
    slots = slots or {}
    plan_fd = os.memfd_create("exec-plan", os.MFD_CLOEXEC)
    try:
        os.write(plan_fd, plan)
        payload = jsontext.dumps({"slots": list(slots)}).encode()
        watch = ExecWatch(run_dir)
        try:
            watch.pid = watch.request(protocol.EXEC, payload, [plan_fd, *slots.values()])["pid"]
        except BaseException:
            watch.close()
            raise
        return watch
    finally:
        os.close(plan_fd)


def exec_detached(run_dir: str, plan: bytes, slots: dict[str, int] | None = None) -> int:
    """As `exec_watched`, let go of at once; its pid."""
    watch = exec_watched(run_dir, plan, slots)
    watch.close()
    return watch.pid


def _request(run_dir: str, kind: bytes) -> None:
    with Connection(run_dir) as connection:
        connection.request(kind)


def _failure(frame: bytes) -> RequestFailed:
    failure = jsontext.loads(frame[1:])
    return RequestFailed(failure["message"], failure["step"], failure["errno"])


def _connect(run_dir: str, timeout_s: float) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        # A socket with a Python timeout is non-blocking to the kernel, and connect(2) then fails while the backlog is full.
        timeval = int(timeout_s).to_bytes(8, "little") + bytes(8)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
        dir_fd = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # AF_UNIX addresses are 108 bytes; through the folder's fd any run folder fits.
            connection.connect(f"/proc/self/fd/{dir_fd}/attach.sock")
        finally:
            os.close(dir_fd)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, bytes(16))
    except OSError as error:
        connection.close()
        raise MonitorGone(f"no monitor listens in {run_dir}: {error.strerror}") from None
    return connection
