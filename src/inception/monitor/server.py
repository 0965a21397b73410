"""The monitor's side of `attach.sock`: any number of clients, none of which can hurt another or the monitor.

Memory is bounded: a client that does not read costs at most QUEUE_BYTES before it is dropped, or, when it attached
`lossless`, before the container's output is held until it reads on.
"""

from __future__ import annotations

import _socket
import os

from inception import jsontext
from inception.monitor import protocol
from inception.monitor.loop import EPOLLIN, EPOLLOUT, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Container(Protocol):
        """What clients can ask for; `monitor.Monitor`."""

        def write_stdin(self, data: bytes) -> bool:
            """False when the sender should wait for `Server.resume_input`."""

        def close_stdin(self) -> None: ...
        def stdin_left(self) -> None:
            """A client that could write to stdin is gone."""

        def resize(self, rows: int, columns: int) -> None: ...
        def stop_requested(self) -> None: ...
        def set_restart(self, name: str, maximum_retries: int) -> None: ...
        def set_resolver(self, dns: dict[str, Any] | None, fds: list[int]) -> None:
            """*fds* stay the caller's."""

        def set_targets(self, ipv4: str, ipv6: str) -> None: ...

        def set_paused(self, paused: bool) -> None: ...
        def hold_output(self, hold: bool) -> None: ...
        def exec(self, plan: bytes, slots: dict[str, int], client: Client) -> int: ...


CLIENTS = 256
# Every queued frame counts at least this much, so that many small ones are bounded too.
_FRAME_COST = 256
_DATA_KINDS = {"stdout": protocol.STDOUT, "stderr": protocol.STDERR}


class Client:
    """One connection. Roles are what its frames asked for; a client without any is only listened to."""

    __slots__ = ("claimed_release", "gone", "lossless", "queue", "queued_bytes", "socket", "streams", "watches")

    def __init__(self, connection: _socket.socket) -> None:
        self.socket = connection
        self.streams: frozenset[str] = frozenset()
        self.lossless = False
        self.watches = False
        self.claimed_release = False
        self.gone = False
        self.queue: list[bytes] = []
        self.queued_bytes = 0


class Server:
    def __init__(self, loop: Loop, listen_fd: int, container: Container) -> None:
        self._loop = loop
        self._container = container
        self._clients: dict[int, Client] = {}
        self._holding = False
        self._input_held = False
        self._listener = _socket.socket(fileno=listen_fd)
        self._listener.setblocking(False)
        loop.watch(listen_fd, EPOLLIN, self._accept)

    def hear_waiting(self) -> None:
        """Serves who connected and asked before there was a monitor, so that no output passes them by."""
        self._accept(0)
        for client in list(self._clients.values()):
            self._receive(client)

    @property
    def release_claimed(self) -> bool:
        return any(client.claimed_release and not client.gone for client in self._clients.values())

    @property
    def unsent(self) -> bool:
        return any(client.queue for client in self._clients.values())

    def output(self, stream: str, data: bytes) -> None:
        """Sends *data* to everyone attached to *stream*."""
        listeners = [client for client in self._clients.values() if stream in client.streams]
        if not listeners:
            return
        kind = _DATA_KINDS[stream]
        for start in range(0, len(data), protocol.DATA_BYTES):
            frame = kind + data[start : start + protocol.DATA_BYTES]
            for client in listeners:
                self.send(client, frame)

    def announce(self, kind: bytes, status: str) -> None:
        """Tells everyone who watches of an EXIT, or of HEALTH."""
        frame = kind + status.encode()
        for client in list(self._clients.values()):
            if client.watches:
                self.send(client, frame)

    def send(self, client: Client, frame: bytes) -> None:
        """Sends or queues *frame*; a client that is gone or too far behind is dropped."""
        if client.gone or client.socket.fileno() not in self._clients:
            return
        if not client.queue:
            try:
                client.socket.send(frame)
                return
            except BlockingIOError:
                self._loop.watch(client.socket.fileno(), EPOLLOUT | self._input_events(client), self._handler(client))
            except OSError:
                self._mark_gone(client)
                return
        client.queue.append(frame)
        client.queued_bytes += len(frame) + _FRAME_COST
        if client.queued_bytes > protocol.QUEUE_BYTES:
            if client.lossless:
                self._balance()
            else:
                self._drop(client)

    def resume_input(self) -> None:
        """The container takes input again."""
        if self._input_held:
            self._input_held = False
            for client in self._clients.values():
                self._rewatch(client)

    def drop_stalled(self) -> None:
        """Lets go of clients that have unsent frames and did not ask to be waited for."""
        for client in list(self._clients.values()):
            if client.queue and not client.lossless:
                self._drop(client)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def _accept(self, _events: int) -> None:
        while True:
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]
            except OSError:  # nobody waits any more, or this one has left already
                return
            connection = _socket.socket(fileno=fd)
            if len(self._clients) >= CLIENTS or not _is_ours(connection):
                connection.close()
                continue
            connection.setblocking(False)
            client = Client(connection)
            self._clients[fd] = client
            self._rewatch(client)

    def _handler(self, client: Client) -> Callable[[int], None]:
        def ready(events: int) -> None:
            if events & EPOLLOUT:
                self._send_queued(client)
            if events & ~EPOLLOUT:
                self._receive(client)

        return ready

    def _input_events(self, client: Client) -> int:
        return 0 if self._input_held and "stdin" in client.streams else EPOLLIN

    def _rewatch(self, client: Client) -> None:
        events = self._input_events(client) | (EPOLLOUT if client.queue else 0)
        if events:
            self._loop.watch(client.socket.fileno(), events, self._handler(client))
        else:  # out of the set, since a hang-up is reported whatever events are asked for
            self._loop.forget(client.socket.fileno())

    def _send_queued(self, client: Client) -> None:
        try:
            while client.queue:
                client.socket.send(client.queue[0])
                client.queued_bytes -= len(client.queue.pop(0)) + _FRAME_COST
        except BlockingIOError:
            pass
        except OSError:
            self._mark_gone(client)
        if not client.queue:
            self._rewatch(client)
        self._balance()

    def _mark_gone(self, client: Client) -> None:
        """It listens no more; what it said before it left is still to be read, then it is dropped."""
        client.gone = True
        client.queue.clear()
        client.queued_bytes = 0

    def _balance(self) -> None:
        """Holds the container's output while a lossless client is far behind, until it has caught up by half."""
        limit = protocol.QUEUE_BYTES // (2 if self._holding else 1)
        hold = any(client.lossless and client.queued_bytes > limit for client in self._clients.values())
        if hold != self._holding:
            self._holding = hold
            self._container.hold_output(hold)

    def _receive(self, client: Client) -> None:
        """Serves every frame that has arrived."""
        while client.socket.fileno() in self._clients and self._input_events(client):
            try:
                frame, ancillary, _, _ = client.socket.recvmsg(
                    protocol.FRAME_BYTES, _socket.CMSG_SPACE(4 * (protocol.EXEC_SLOTS + 1)), _socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except ConnectionResetError:  # it left without reading all; what it had sent comes after this error
                continue
            except OSError:
                frame, ancillary = b"", []
            fds = _received_fds(ancillary)
            try:
                if frame:
                    self._serve(client, frame[:1], frame[1:], fds)
                else:
                    self._drop(client)
            finally:
                for fd in fds:
                    os.close(fd)

    def _serve(self, client: Client, kind: bytes, payload: bytes, fds: list[int]) -> None:
        if kind == protocol.STDIN:
            if "stdin" in client.streams and not self._container.write_stdin(payload) and not self._input_held:
                self._input_held = True
                for other in self._clients.values():
                    self._rewatch(other)
            return
        if kind == protocol.CLOSE_STDIN:
            if "stdin" in client.streams:
                client.streams -= {"stdin"}
                self._container.close_stdin()
            return
        if kind == protocol.RESIZE:
            if len(payload) == 4:
                self._container.resize(payload[0] | payload[1] << 8, payload[2] | payload[3] << 8)
            return
        try:
            answer = self._request(client, kind, payload, fds)
        except Exception as error:  # whatever a client asked for must not end the monitor
            reply = {"message": str(error), "step": getattr(error, "step", -1), "errno": getattr(error, "errno", None) or 0}
            self.send(client, protocol.FAILED + jsontext.dumps(reply).encode())
            return
        self.send(client, protocol.OK + jsontext.dumps(answer).encode())

    def _request(self, client: Client, kind: bytes, payload: bytes, fds: list[int]) -> dict[str, int]:
        if kind == protocol.ATTACH:
            options = jsontext.loads(payload)
            client.streams = frozenset(options["streams"])
            client.lossless = bool(options["lossless"])
            client.watches = True
        elif kind == protocol.WATCH:
            client.watches = True
        elif kind == protocol.STOP_REQUESTED:
            self._container.stop_requested()
        elif kind == protocol.SET_RESTART:
            policy = jsontext.loads(payload)
            self._container.set_restart(policy["name"], policy["maximum_retries"])
        elif kind == protocol.SET_RESOLVER:
            self._container.set_resolver(jsontext.loads(payload)["dns"], fds)
        elif kind == protocol.SET_TARGETS:
            targets = jsontext.loads(payload)
            self._container.set_targets(targets["ipv4"], targets["ipv6"])
        elif kind in (protocol.PAUSED, protocol.RESUMED):
            self._container.set_paused(kind == protocol.PAUSED)
        elif kind == protocol.CLAIM_RELEASE:
            client.claimed_release = True
        elif kind == protocol.EXEC:
            slots = jsontext.loads(payload)["slots"]
            if len(fds) != len(slots) + 1:
                raise ValueError(f"exec: expected {len(slots) + 1} descriptors, got {len(fds)}")
            plan = os.pread(fds[0], os.fstat(fds[0]).st_size, 0)
            return {"pid": self._container.exec(plan, dict(zip(slots, fds[1:], strict=True)), client)}
        else:
            raise ValueError(f"unknown request {kind!r}")
        return {}

    def _drop(self, client: Client) -> None:
        if self._clients.pop(client.socket.fileno(), None) is None:
            return
        self._loop.forget(client.socket.fileno())
        client.socket.close()
        client.queue.clear()
        client.queued_bytes = 0
        self._balance()
        if "stdin" in client.streams:
            self._container.stdin_left()


def _is_ours(connection: _socket.socket) -> bool:
    """Root and the monitor's own user may ask; the 0700 run folder keeps everyone else away before this does."""
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little") in (0, os.geteuid())


def _received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        int.from_bytes(data[start : start + 4], "little")
        for level, kind, data in ancillary
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS
        for start in range(0, len(data) - 3, 4)
    ]
