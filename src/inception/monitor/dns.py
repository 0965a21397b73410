"""The resolver at 127.0.0.11:53 in the container's network namespace.

    name in a table  ──▶ all its addresses, a different one first each time
    address in one   ──▶ its name (PTR)
    anything else    ──▶ the host's servers, one after the other, from the host's network namespace

Tables are folders that engines change at any time, so they are read for each question: two or three system calls. What a
container sends is hostile until shown otherwise: sizes, queries under way and connections are bounded, and a query that
can't be read is refused or ignored.
"""

from __future__ import annotations

import _socket
import os

from inception.monitor import dnswire
from inception.monitor.dnswire import BadQuery, Question
from inception.monitor.loop import EPOLLIN, EPOLLOUT, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.monitor.config import DnsConfig

    Reply = Callable[[bytes], None]

# Short, since a restarted container may come back with another address; nothing is asked over a wire.
TTL_S = 5
UPSTREAM_TIMEOUT_S = 2.0
UNDER_WAY = 256
CONNECTIONS = 32
CONNECTION_IDLE_S = 10.0
MESSAGE_BYTES = 65535
# Which record an address is, by its length.
_KINDS = {4: dnswire.A, 16: dnswire.AAAA}
# Packets read in a row before anything else has its turn.
BATCH = 32


class Resolver:
    """Serves *udp_fd* and the listening *tcp_fd*, which it owns."""

    def __init__(self, loop: Loop, config: DnsConfig, udp_fd: int, tcp_fd: int, upstream_port: int = 53) -> None:
        self.loop = loop
        self.config = config
        self.upstream_port = upstream_port
        self.under_way: set[_Forward] = set()
        self._turn = 0
        self._connections: set[_Connection] = set()
        self._udp = _socket.socket(fileno=udp_fd)
        self._tcp = _socket.socket(fileno=tcp_fd)
        for bound, handler in ((self._udp, self._datagrams), (self._tcp, self._accept)):
            bound.setblocking(False)
            loop.watch(bound.fileno(), EPOLLIN, handler)

    def close(self) -> None:
        for forward in list(self.under_way):
            forward.close()
        for connection in list(self._connections):
            connection.close()
        for bound in (self._udp, self._tcp):
            self.loop.forget(bound.fileno())
            bound.close()

    def handle(self, data: bytes, reply: Reply, *, tcp: bool) -> None:
        """Answers the query *data* through *reply*, now or when an upstream server has."""
        try:
            question = dnswire.parse_query(data)
        except BadQuery as bad:
            if bad.rcode is not None:
                reply(dnswire.refusal(data, bad.rcode))
            return
        limit = MESSAGE_BYTES if tcp else question.udp_bytes
        records = self._known(question)
        if records is not None:
            reply(dnswire.answer(question, dnswire.NOERROR, records, TTL_S, limit))
        elif not (self.config.forward and self.config.upstream):
            reply(dnswire.answer(question, dnswire.NXDOMAIN, [], TTL_S, limit))
        elif len(self.under_way) >= UNDER_WAY:
            reply(dnswire.answer(question, dnswire.SERVFAIL, [], TTL_S, limit))
        else:
            _Forward(self, data, question, reply, tcp).ask()

    def forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _known(self, question: Question) -> list[tuple[int, bytes]] | None:
        """The records for a name of ours (none for types it does not have), None for other names."""
        if question.qclass != dnswire.IN:
            return None
        address = _reverse_address(question.name)
        if address:
            names = self._names(address)
            if not names:
                return None
            wanted = question.kind in (dnswire.PTR, dnswire.ANY)
            return [(dnswire.PTR, dnswire.encode_name(names[0]))] if wanted else []
        addresses = self._addresses(question.name)
        if not addresses:
            return None
        kinds = [(_KINDS[len(packed)], packed) for packed in addresses]
        # A name that is here is asked of nobody further up, whatever the type: it has no such records.
        found = [record for record in kinds if question.kind in (record[0], dnswire.ANY)]
        self._turn = (self._turn + 1) % 0xFFFF
        first = self._turn % max(1, len(found))
        return found[first:] + found[:first]

    def _addresses(self, name: str) -> list[bytes]:
        """Addresses of *name* in the first table that has it, packed and sorted."""
        name = self.config.aliases.get(name, name)
        if not _may_be_folder(name):
            return []
        for table in self.config.tables:
            try:
                entries = os.listdir(f"{table}/{name}")
            except OSError:
                continue
            packed = sorted(address for address in map(_pack, entries) if address)
            if packed:
                return packed
        return []

    def _names(self, address: str) -> list[str]:
        """Names of *address* in the first table that has it; names of people before short ids, short before long."""
        for table in self.config.tables:
            try:
                names = [name for name in os.listdir(table) if os.path.exists(f"{table}/{name}/{address}")]
            except OSError:
                continue
            if names:
                return sorted(names, key=lambda name: (_is_short_id(name), len(name), name))
        return []

    def _datagrams(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data, sender = self._udp.recvfrom(MESSAGE_BYTES)
            except OSError:  # nothing there, or an ICMP error of an earlier answer
                return
            self.handle(data, lambda message, to=sender: self._send(message, to), tcp=False)  # type: ignore[misc]

    def _send(self, message: bytes, to: tuple[Any, ...]) -> None:
        try:
            self._udp.sendto(message, to)
        except OSError:  # it no longer listens, or its buffer is full: it asks again if it cares
            pass

    def _accept(self, _events: int) -> None:
        try:
            fd, _ = self._tcp._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        if len(self._connections) >= CONNECTIONS:
            os.close(fd)
        else:
            self._connections.add(_Connection(self, fd))


class _Connection:
    """One TCP client: messages with a two-byte length before each (RFC 1035, 4.2.2)."""

    def __init__(self, resolver: Resolver, fd: int) -> None:
        self._resolver = resolver
        self._socket = _socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._received = b""
        self._unsent = b""
        self._closed = False
        self._timer = resolver.loop.call_later(CONNECTION_IDLE_S, self.close)
        resolver.loop.watch(fd, EPOLLIN, self._ready)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._resolver.loop.cancel(self._timer)
            self._resolver.loop.forget(self._socket.fileno())
            self._socket.close()
            self._resolver.forget(self)

    def _ready(self, events: int) -> None:
        if events & EPOLLOUT:
            self._flush()
            return
        try:
            data = self._socket.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        self._still_alive()
        while not self._closed and len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < end:
                break
            message, self._received = self._received[2:end], self._received[end:]
            self._resolver.handle(message, self._reply, tcp=True)

    def _reply(self, message: bytes) -> None:
        if not self._closed:
            self._unsent += len(message).to_bytes(2, "big") + message
            self._flush()

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        # Whoever asks on without reading answers is read no further until it does.
        self._resolver.loop.watch(self._socket.fileno(), EPOLLOUT if self._unsent else EPOLLIN, self._ready)

    def _still_alive(self) -> None:
        self._resolver.loop.cancel(self._timer)
        self._timer = self._resolver.loop.call_later(CONNECTION_IDLE_S, self.close)


class _Forward:
    """One query under way to the upstream servers, over the protocol it came by, under an id and from a port of its own."""

    def __init__(self, resolver: Resolver, query: bytes, question: Question, reply: Reply, tcp: bool) -> None:
        self._resolver = resolver
        self._question = question
        self._reply = reply
        self._tcp = tcp
        self._id = int.from_bytes(os.urandom(2), "big")
        message = self._id.to_bytes(2, "big") + query[2:]
        self._message = len(message).to_bytes(2, "big") + message if tcp else message
        self._servers = iter(resolver.config.upstream)
        self._socket: _socket.socket | None = None
        self._received = b""
        self._answer: bytes | None = None
        self._timer = resolver.loop.call_later(UPSTREAM_TIMEOUT_S, self._next)
        resolver.under_way.add(self)

    def ask(self) -> None:
        """Asks the next server; without one the last bad answer is passed on, or SERVFAIL."""
        self._disconnect()
        for server in self._servers:
            try:
                self._connect(server)
                return
            except OSError:  # no route, no such family: the next one
                self._disconnect()
        self.close()
        limit = MESSAGE_BYTES if self._tcp else self._question.udp_bytes
        self._reply(self._answer or dnswire.answer(self._question, dnswire.SERVFAIL, [], 0, limit))

    def close(self) -> None:
        self._resolver.loop.cancel(self._timer)
        self._disconnect()
        self._resolver.under_way.discard(self)

    def _connect(self, server: str) -> None:
        family = _socket.AF_INET6 if ":" in server else _socket.AF_INET
        kind = _socket.SOCK_STREAM if self._tcp else _socket.SOCK_DGRAM
        self._socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        try:
            self._socket.connect((server, self._resolver.upstream_port))
        except BlockingIOError:
            pass
        if self._tcp:
            self._resolver.loop.watch(self._socket.fileno(), EPOLLOUT, self._connected)
        else:
            self._socket.send(self._message)
            self._resolver.loop.watch(self._socket.fileno(), EPOLLIN, self._receive)
        self._resolver.loop.cancel(self._timer)
        self._timer = self._resolver.loop.call_later(UPSTREAM_TIMEOUT_S, self._next)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._resolver.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._received = b""

    def _next(self) -> None:
        self.ask()

    def _connected(self, _events: int) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._message)
        except OSError:
            self.ask()
            return
        if sent < len(self._message):  # a fresh connection takes a query whole, whatever its size
            self.ask()
            return
        self._resolver.loop.watch(self._socket.fileno(), EPOLLIN, self._receive)

    def _receive(self, _events: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(MESSAGE_BYTES + 2)
        except BlockingIOError:
            return
        except OSError:  # refused: no server there
            self.ask()
            return
        if self._tcp:
            if not data:
                self.ask()
                return
            self._received += data
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < max(2, end):
                return
            data = self._received[2:end]
        if not dnswire.is_answer_to(data, self._id, self._question):
            if self._tcp:
                self.ask()
            return  # someone guesses ports and ids: the true answer may still come
        answer = self._question.id.to_bytes(2, "big") + data[2:]
        if dnswire.rcode_of(answer) in (dnswire.SERVFAIL, dnswire.NOTIMP, 5):  # 5: REFUSED
            self._answer = answer
            self.ask()
            return
        self.close()
        self._reply(answer)


def _may_be_folder(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..") and name.isascii()


def _is_short_id(name: str) -> bool:
    return len(name) == 12 and all(letter in "0123456789abcdef" for letter in name)


def _pack(address: str) -> bytes | None:
    try:
        return _socket.inet_pton(_socket.AF_INET6 if ":" in address else _socket.AF_INET, address)
    except OSError:
        return None


def _reverse_address(name: str) -> str | None:
    """`2.0.18.172.in-addr.arpa` -> `172.18.0.2`; with the 32 digits below `ip6.arpa` an IPv6 address; None for other names."""
    if name.endswith(".ip6.arpa"):
        nibbles = name.removesuffix(".ip6.arpa").split(".")
        if len(nibbles) != 32 or not all(len(each) == 1 and each in "0123456789abcdef" for each in nibbles):
            return None
        return _socket.inet_ntop(_socket.AF_INET6, bytes.fromhex("".join(reversed(nibbles))))
    digits, found, _ = name.partition(".in-addr.arpa")
    if not found or not name.endswith(".in-addr.arpa"):
        return None
    address = ".".join(reversed(digits.split(".")))
    return address if _pack(address) else None
