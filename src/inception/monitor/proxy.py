"""Published ports: the listening sockets are held for as long as the container runs, and what arrives is passed on.

nft redirects what it can before it gets here; what it can't (::1, and loopback where it may not be routed) arrives on these
sockets. Each direction of a connection holds one chunk at most: a side that does not read stops the other.
"""

from __future__ import annotations

import _socket

from inception.monitor.loop import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, Loop
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.monitor.config import PublishedPort

CHUNK_BYTES = 64 << 10
CONNECTIONS = 1024
FLOWS = 256
FLOW_IDLE_S = 90.0
BATCH = 32


class Proxy:
    """Serves *held*: a port and its bound socket (listening, for tcp) each. Owns the sockets."""

    def __init__(self, loop: Loop, held: list[tuple[PublishedPort, int]]) -> None:
        self._ports = [_Udp(loop, port, fd) if port.protocol == "udp" else _Tcp(loop, port, fd) for port, fd in held]

    def lead_to(self, ipv4: str, ipv6: str) -> None:
        """New connections and flows go to *ipv4*, or *ipv6* where the host's side is of IPv6; to an empty address none can."""
        for port in self._ports:
            port.lead_to(ipv6 if ":" in port.host_ip else ipv4)

    def close(self) -> None:
        for port in self._ports:
            port.close()


class _Tcp:
    def __init__(self, loop: Loop, port: PublishedPort, fd: int) -> None:
        self.loop = loop
        self.pairs: set[_Pair] = set()
        self._port, self.host_ip = port, port.host_ip
        self._listener = _socket.socket(fileno=fd)
        self._listener.setblocking(False)
        loop.watch(fd, EPOLLIN, self._accept)

    def lead_to(self, address: str) -> None:
        self._port = replace(self._port, target_ip=address)

    def close(self) -> None:
        for pair in list(self.pairs):
            pair.close()
        self.loop.forget(self._listener.fileno())
        self._listener.close()

    def _accept(self, _events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        client = _socket.socket(fileno=fd)
        if len(self.pairs) >= CONNECTIONS:
            client.close()
            return
        client.setblocking(False)
        target = _connect(self._port, _socket.SOCK_STREAM)
        if target is None:
            client.close()
            return
        pair = _Pair(self, client, target)
        self.pairs.add(pair)
        pair.start()


class _Pair:
    """A client's connection and ours to the container."""

    def __init__(self, owner: _Tcp, client: _socket.socket, target: _socket.socket) -> None:
        self._owner = owner
        self._directions = (_Direction(client, target), _Direction(target, client))
        self._sockets = (client, target)
        self._closed = False

    def start(self) -> None:
        self._update()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._owner.pairs.discard(self)
            for one in self._sockets:
                self._owner.loop.forget(one.fileno())
                one.close()

    def _ready(self, which: int, events: int) -> None:
        incoming, outgoing = self._directions[which], self._directions[1 - which]
        try:
            if events & (EPOLLERR | EPOLLHUP) and not incoming.wants_to_read:
                self.close()  # nobody will read what the other side may still say
                return
            if events & EPOLLOUT:
                outgoing.send()
            if events & ~EPOLLOUT and incoming.wants_to_read:
                incoming.receive()
        except OSError:
            self.close()
            return
        if all(direction.done for direction in self._directions):
            self.close()
        else:
            self._update()

    def _update(self) -> None:
        for which, one in enumerate(self._sockets):
            incoming, outgoing = self._directions[which], self._directions[1 - which]
            events = (EPOLLIN if incoming.wants_to_read else 0) | (EPOLLOUT if outgoing.waiting else 0)
            if events:
                self._owner.loop.watch(one.fileno(), events, lambda ready, which=which: self._ready(which, ready))  # type: ignore[misc]
            else:
                self._owner.loop.forget(one.fileno())


class _Direction:
    """Bytes from *source* to *sink*; an end of one becomes the half-close of the other."""

    def __init__(self, source: _socket.socket, sink: _socket.socket) -> None:
        self._source = source
        self._sink = sink
        self.waiting = b""
        self.done = False

    @property
    def wants_to_read(self) -> bool:
        return not self.waiting and not self.done

    def receive(self) -> None:
        try:
            data = self._source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self.waiting = data
            self.send()
        else:
            self.done = True
            self._sink.shutdown(_socket.SHUT_WR)

    def send(self) -> None:
        if self.waiting:
            try:
                self.waiting = self.waiting[self._sink.send(self.waiting) :]
            except BlockingIOError:
                pass


class _Udp:
    """One socket a client address towards the container, so that answers find their way back; idle ones are dropped."""

    def __init__(self, loop: Loop, port: PublishedPort, fd: int) -> None:
        self._loop = loop
        self._port, self.host_ip = port, port.host_ip
        self._socket = _socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._flows: dict[tuple[Any, ...], tuple[_socket.socket, float]] = {}
        self._sweeper = loop.call_later(FLOW_IDLE_S, self._sweep)
        loop.watch(fd, EPOLLIN, self._from_clients)

    def lead_to(self, address: str) -> None:
        self._port = replace(self._port, target_ip=address)
        for client in list(self._flows):
            self._drop(client)

    def close(self) -> None:
        self._loop.cancel(self._sweeper)
        for client in list(self._flows):
            self._drop(client)
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _from_clients(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data, client = self._socket.recvfrom(CHUNK_BYTES)
            except OSError:
                return
            target = self._target(client)
            if target is not None:
                try:
                    target.send(data)
                except OSError:  # lost, as datagrams may be
                    pass

    def _target(self, client: tuple[Any, ...]) -> _socket.socket | None:
        known = self._flows.pop(client, None)
        target = known[0] if known else self._open(client)
        if target is not None:
            self._flows[client] = (target, self._loop.clock())  # at the end: the order is that of last use
        return target

    def _open(self, client: tuple[Any, ...]) -> _socket.socket | None:
        if len(self._flows) >= FLOWS:
            self._drop(next(iter(self._flows)))
        target = _connect(self._port, _socket.SOCK_DGRAM)
        if target is not None:
            self._loop.watch(target.fileno(), EPOLLIN, lambda _events: self._to_client(target, client))
        return target

    def _to_client(self, target: _socket.socket, client: tuple[Any, ...]) -> None:
        try:
            data = target.recv(CHUNK_BYTES)
            self._socket.sendto(data, client)
        except OSError:
            pass

    def _drop(self, client: tuple[Any, ...]) -> None:
        target, _ = self._flows.pop(client)
        self._loop.forget(target.fileno())
        target.close()

    def _sweep(self) -> None:
        oldest = self._loop.clock() - FLOW_IDLE_S
        for client in [client for client, (_, used) in self._flows.items() if used < oldest]:
            self._drop(client)
        self._sweeper = self._loop.call_later(FLOW_IDLE_S, self._sweep)


def _connect(port: PublishedPort, kind: int) -> _socket.socket | None:
    """A connection to the container's side of *port*, perhaps still under way; None when there is no way there."""
    if not port.target_ip:
        return None
    family = _socket.AF_INET6 if ":" in port.target_ip else _socket.AF_INET
    target = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        target.connect((port.target_ip, port.target_port))
    except BlockingIOError:
        pass
    except OSError:
        target.close()
        return None
    return target
