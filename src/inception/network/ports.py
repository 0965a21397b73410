"""Published ports: what `-p` means, and the sockets that hold the host's ports.

A published port is *held* by a listening socket in the host's namespace for as long as its container runs: then no other
program can have it, and whoever tries gets the kernel's own "address already in use". What arrives is redirected by the
firewall before it reaches the socket; what the firewall can't redirect (IPv6) does reach it, and is proxied by the monitor.
"""

from __future__ import annotations

import _socket
import errno
import os

from inception.errors import Conflict, Forbidden, InvalidArgument, Unavailable
from inception.network.address import is_ipv4, is_ipv6
from inception.network.binding import PortBinding as PortBinding
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PROTOCOLS = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_BACKLOG = 4096
_RANDOM_TRIES = 16


class Listener:
    """A host port held open. `binding` says for what, with the port that was chosen; *socket* is the holder's to close."""

    __slots__ = ("address", "binding", "socket")

    def __init__(self, socket: _socket.socket, address: str, binding: PortBinding) -> None:
        self.socket, self.address, self.binding = socket, address, binding

    def close(self) -> None:
        self.socket.close()


def parse_publish(text: str) -> list[PortBinding]:
    """`[IP:][HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]`, the short form of -p and of Compose's `ports`.

    Raises InvalidArgument in Docker's words.

    >>> [(port.host_port, port.container_port) for port in parse_publish("8080-8081:80-81")]
    [(8080, 80), (8081, 81)]
    """
    host_ip, host, container = _split(text)
    container, _slash, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if not container:
        raise InvalidArgument(f"no port specified: {text}<empty>")
    first, last = _parse_range(container, "containerPort")
    if protocol == "sctp":
        raise InvalidArgument(f"invalid proto: sctp: only tcp and udp ports can be published: {text}")
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    if not host:
        return [PortBinding(container_port=port, protocol=protocol, host_ip=host_ip) for port in range(first, last + 1)]
    host_first, host_last = _parse_range(host, "hostPort", lowest=0)
    if first == last:
        end = host_last if host_last != host_first else 0
        return [PortBinding(container_port=first, protocol=protocol, host_ip=host_ip, host_port=host_first, host_port_end=end)]
    if last - first != host_last - host_first:
        raise InvalidArgument(f"invalid ranges specified for container and host Ports: {container} and {host}")
    return [
        PortBinding(container_port=port, protocol=protocol, host_ip=host_ip, host_port=port - first + host_first)
        for port in range(first, last + 1)
    ]


def parse_expose(text: str) -> list[str]:
    """`80`, `80/udp` or `8000-8010/tcp` (--expose, EXPOSE) as a list of `80/tcp`. Raises InvalidArgument."""
    ports, slash, protocol = text.partition("/")
    protocol = protocol.lower()
    if slash and protocol not in (*_PROTOCOLS, "sctp"):
        raise InvalidArgument(f"invalid proto: {protocol}")
    first, last = _parse_range(ports, "containerPort")
    return [f"{port}/{protocol or 'tcp'}" for port in range(first, last + 1)]


def open_listeners(bindings: Iterable[PortBinding]) -> list[Listener]:
    """Hold the host ports of *bindings*, all or none, in the namespace of the calling thread.

    A binding to all addresses is held for IPv4 and, where the host has it, IPv6, under the same number. Raises Conflict when
    a port is in use, Forbidden or Unavailable for what else the kernel says.
    """
    held: list[Listener] = []
    try:
        for binding in bindings:
            held.extend(_hold(binding))
    except BaseException:
        for listener in held:
            listener.close()
        raise
    return held


def already_allocated(binding: PortBinding) -> Conflict:
    """Docker's error for a port that another container of the engine has."""
    return Conflict(f"Bind for {_shown(binding.host_ip or '0.0.0.0', binding.host_port)} failed: port is already allocated")


def _hold(binding: PortBinding) -> list[Listener]:
    if binding.host_port and not binding.host_port_end:
        return _bind_all(binding)
    if binding.host_port_end:
        candidates = [replace(binding, host_port=port, host_port_end=0) for port in _range_of(binding)]
    else:
        candidates = [binding] * _RANDOM_TRIES  # the kernel's choice for IPv4 may be in use for IPv6
    for candidate in candidates:
        try:
            return _bind_all(candidate)
        except Conflict:
            pass
    raise Conflict(f"all ports are allocated: {_shown(binding.host_ip or '0.0.0.0', binding.host_port)}/{binding.protocol}")


def _range_of(binding: PortBinding) -> range:
    return range(binding.host_port, binding.host_port_end + 1)


def _bind_all(binding: PortBinding) -> list[Listener]:
    addresses = binding.addresses
    held: list[Listener] = []
    try:
        for address in addresses:
            try:
                socket = _bind(address, binding.host_port, binding.protocol)
            except OSError as error:
                if not binding.host_ip and address == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue  # a host without IPv6
                raise _refused(address, binding, error) from error
            binding = replace(binding, host_port=socket.getsockname()[1])
            held.append(Listener(socket, address, binding))
    except BaseException:
        for listener in held:
            listener.close()
        raise
    return held


def _bind(address: str, port: int, protocol: str) -> _socket.socket:
    family = _socket.AF_INET if is_ipv4(address) else _socket.AF_INET6
    socket = _socket.socket(family, _PROTOCOLS[protocol] | _socket.SOCK_CLOEXEC)
    try:
        if family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Connections in TIME_WAIT must not keep a restarted container from its port; another listener still does.
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        socket.bind((address, port))
        if protocol == "tcp":
            socket.listen(_BACKLOG)
    except BaseException:
        socket.close()
        raise
    return socket


def _refused(address: str, binding: PortBinding, error: OSError) -> Conflict | Forbidden | Unavailable:
    said = (os.strerror(error.errno) if error.errno else str(error)).lower()
    message = f"failed to bind host port {_shown(address, binding.host_port)}/{binding.protocol}: {said}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(message)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(message)
    return Unavailable(message)


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _split(text: str) -> tuple[str, str, str]:
    """(host address, host ports, container ports and protocol), empty where not given."""
    head, colon, container = text.rpartition(":")
    if not colon:
        return "", "", text
    address, colon, host = head.rpartition(":")
    if not colon:
        return "", head, container
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if address and not (is_ipv4(bare) if bare == address else is_ipv6(bare)) and not is_ipv6(bare):
        raise InvalidArgument(f"invalid IP address: {address}")
    return bare, host, container


def _parse_range(text: str, what: str, lowest: int = 1) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise InvalidArgument(f"invalid {what}: {text}")
    start, end = int(numbers[0]), int(numbers[1])
    if not lowest <= start <= end <= 65535:
        raise InvalidArgument(f"invalid {what}: {text}")
    return start, end
