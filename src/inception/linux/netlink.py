"""rtnetlink(7): links, addresses, routes and neighbours as requests that can be printed, and one socket that sends them.

A `Request` is a plain value: message, flags, and the words of the call. A `Netlink` socket belongs to the network namespace
it was opened in for as long as it lives, whatever namespace the sender is in, so no thread of ours ever changes namespace.
`Netlink.run` puts any number of requests into one sendmsg(2); the kernel carries them out in order and answers each one.

    caller                                  kernel (the socket's namespace)
    [link add, link set, ...]   ────▶       one rtnl critical section after the other
    OSError of the first failure ◀───       an NLMSG_ERROR for each, with the extended ACK's text where there is one

Sources: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h, linux/netlink.h. Importing a netlink library
costs more than starting a container does; these are the two dozen messages that container networks need.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from inception._spawn import address
from inception.linux import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AF_NETLINK, NETLINK_ROUTE, NETLINK_NETFILTER = 16, 0, 12
AF_INET, AF_INET6, AF_BRIDGE, AF_UNSPEC = 2, 10, 7, 0
SOL_NETLINK, NETLINK_EXT_ACK = 270, 11

NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_ACK, F_DUMP, F_EXCL, F_CREATE, F_REPLACE = 0x1, 0x4, 0x300, 0x200, 0x400, 0x100
F_CAPPED, F_ACK_TLVS = 0x100, 0x200
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_PROTINFO = 1, 3, 4, 10, 12
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_NET_NS_FD = 18, 20, 26, 28
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 8, 1
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS, IFA_RT_PRIORITY = 1, 2, 4, 8, 9
IFA_F_NODAD, IFA_F_PERMANENT = 0x2, 0x80
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
NLMSGERR_ATTR_MSG = 1

IFF_UP = 0x1
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
_SIOCGIFINDEX, _SIOCETHTOOL, _ETHTOOL_GLINK = 0x8933, 0x8946, 0x0A
IFNAMSIZ = 16

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst len, src len, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")


class Request:
    """One message: `words` is the call as ip(8) would be told it; errnos in `allow` count as done."""

    __slots__ = ("allow", "body", "flags", "kind", "words")

    def __init__(self, kind: int, flags: int, body: bytes, words: str, allow: tuple[int, ...] = ()) -> None:
        self.kind, self.flags, self.body, self.words, self.allow = kind, flags, body, words, allow

    def __str__(self) -> str:
        return self.words


class Link:
    """A network interface as the kernel reports it; `kind` is `bridge`, `veth`, ... or empty for hardware."""

    __slots__ = ("alias", "flags", "index", "kind", "mac", "master", "mtu", "name")

    def __init__(self, index: int, flags: int, attributes: dict[int, bytes]) -> None:
        info = parse_attributes(attributes.get(IFLA_LINKINFO, b""))
        self.index = index
        self.flags = flags
        self.name = _text(attributes.get(IFLA_IFNAME, b""))
        self.mac = attributes.get(IFLA_ADDRESS, b"").hex(":")
        self.mtu = _u32(attributes.get(IFLA_MTU))
        self.master = _u32(attributes.get(IFLA_MASTER))
        self.alias = os.fsdecode(attributes.get(IFLA_IFALIAS, b"").rstrip(b"\0"))
        self.kind = _text(info.get(IFLA_INFO_KIND, b""))

    @property
    def is_up(self) -> bool:
        return bool(self.flags & IFF_UP)


class Address:
    """An address on a link: text form and prefix length; `attributes` is all that the kernel says."""

    __slots__ = ("address", "attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(
        self, family: int, prefix: int, index: int, attributes: dict[int, bytes], *, flags: int = 0, scope: int = 0
    ) -> None:
        self.attributes, self.scope = attributes, scope
        self.flags = _u32(attributes[IFA_FLAGS]) if IFA_FLAGS in attributes else flags
        raw = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS, b"")
        self.family, self.prefix, self.index = family, prefix, index
        self.address = _socket.inet_ntop(family, raw)


class Route:
    """A unicast route of the main table; `destination` is empty for the default route, `gateway` for a direct one."""

    __slots__ = ("destination", "family", "gateway", "index", "prefix")

    def __init__(self, family: int, prefix: int, attributes: dict[int, bytes]) -> None:
        self.family, self.prefix = family, prefix
        self.index = _u32(attributes.get(RTA_OIF))
        self.destination = _address_text(family, attributes.get(RTA_DST))
        self.gateway = _address_text(family, attributes.get(RTA_GATEWAY))


class Netlink:
    """A NETLINK_ROUTE socket in one network namespace; a context manager. Not to be shared between threads."""

    def __init__(self, netns_fd: int | None = None, protocol: int = NETLINK_ROUTE) -> None:
        """Open in the namespace *netns_fd*, or in the calling thread's own when it is None."""
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        if netns_fd is None:
            self._socket = _socket.socket(AF_NETLINK, kind, protocol)
        else:
            fd = namespaces.socket_in_netns(netns_fd, AF_NETLINK, kind, protocol)
            self._socket = _socket.socket(AF_NETLINK, kind, protocol, fd)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def run(self, *requests: Request) -> None:
        """Carry out *requests* in order, in one sendmsg(2). All are tried; raises OSError for the first that failed."""
        first = self._sequence + 1
        self._send(requests, F_REQUEST | F_ACK)
        failure: OSError | None = None
        waiting = len(requests)
        while waiting:
            for kind, sequence, flags, body in self._receive():
                if kind != NLMSG_ERROR or not first <= sequence < first + len(requests):
                    continue
                waiting -= 1
                error = _failure(requests[sequence - first], flags, body)
                failure = failure or error
        if failure is not None:
            raise failure

    def links(self) -> list[Link]:
        """All links of the namespace."""
        request = Request(RTM_GETLINK, F_DUMP, _LINK.pack(AF_UNSPEC, 0, 0, 0, 0), "link show")
        return [_link(body) for kind, body in self.dump(request) if kind == RTM_NEWLINK]

    def link(self, name: str) -> Link | None:
        """The link called *name*, or None."""
        request = Request(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _name(name), f"link show dev {name}")
        self._send((request,), F_REQUEST)
        for kind, _sequence, flags, body in self._receive():
            if kind == RTM_NEWLINK:
                return _link(body)
            error = _failure(request, flags, body)
            if error is not None and error.errno != 19:  # ENODEV
                raise error
        return None

    def index(self, name: str) -> int:
        """The index of link *name*. An ioctl: unlike RTM_GETLINK it doesn't wait for the rtnl lock. OSError: ENODEV."""
        try:
            found = fcntl.ioctl(self._socket.fileno(), _SIOCGIFINDEX, struct.pack("16si20x", os.fsencode(name), 0))
        except OSError as error:
            raise OSError(error.errno, f"ioctl(SIOCGIFINDEX, {name!r}): {os.strerror(error.errno or 0)}") from None
        return int(struct.unpack_from("16si", found)[1])

    def has(self, name: str) -> bool:
        """Whether there is a link *name*; as `index`, without the rtnl lock."""
        try:
            return self.index(name) > 0
        except OSError as error:
            if error.errno == 19:  # ENODEV
                return False
            raise

    def settle(self, name: str) -> None:
        """Let the link's carrier count now. OSError: ENODEV.

        The kernel lets a link send only when its link watch has run after the other end came up, which it does up to a second
        later (net/core/link_watch.c, linkwatch_schedule_work); asking ethtool for the state does the work at once.
        """
        answer = bytearray(struct.pack("=II", _ETHTOOL_GLINK, 0))
        request = struct.pack("@16sP16x", os.fsencode(name), address(answer))  # `array` brings `collections`, 2 ms
        try:
            fcntl.ioctl(self._socket.fileno(), _SIOCETHTOOL, request)
        except OSError as error:
            words = f"ioctl(SIOCETHTOOL, {name!r}, ETHTOOL_GLINK): {os.strerror(error.errno or 0)}"
            raise OSError(error.errno, words) from None

    def addresses(self) -> list[Address]:
        """All addresses of the namespace, v4 and v6."""
        request = Request(RTM_GETADDR, F_DUMP, _ADDRESS.pack(AF_UNSPEC, 0, 0, 0, 0), "address show")
        found = []
        for kind, body in self.dump(request):
            if kind == RTM_NEWADDR:
                family, prefix, flags, scope, index = _ADDRESS.unpack_from(body)
                attributes = parse_attributes(body[_ADDRESS.size :])
                found.append(Address(family, prefix, index, attributes, flags=flags, scope=scope))
        return found

    def routes(self, family: int = AF_INET) -> list[Route]:
        """The unicast routes of all tables but the local one."""
        request = Request(RTM_GETROUTE, F_DUMP, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "route show table all")
        found = []
        for kind, body in self.dump(request):
            if kind == RTM_NEWROUTE:
                its_family, prefix, _src, _tos, _table, _protocol, _scope, its_type, _flags = _ROUTE.unpack_from(body)
                if its_type == RTN_UNICAST:
                    found.append(Route(its_family, prefix, parse_attributes(body[_ROUTE.size :])))
        return found

    def dump(self, request: Request) -> Iterator[tuple[int, bytes]]:
        self._send((request,), F_REQUEST)
        while True:
            for kind, _sequence, flags, body in self._receive():
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    error = _failure(request, flags, body)
                    if error is not None:
                        raise error
                yield kind, body

    def _send(self, requests: tuple[Request, ...], flags: int) -> None:
        parts = []
        for request in requests:
            self._sequence += 1
            length = _HEADER.size + len(request.body)
            parts.append(_HEADER.pack(length, request.kind, request.flags | flags, self._sequence, 0))
            parts.append(request.body + bytes(-length % 4))
        self._socket.sendto(b"".join(parts), (0, 0))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        # 32 KiB is the most that the kernel puts into one datagram of a dump (netlink_dump, NLMSG_GOODSIZE and up).
        data = self._socket.recv(1 << 16)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, sequence, flags, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def add_bridge(name: str, *, mac: str = "", mtu: int = 0) -> Request:
    """A bridge, down. A MAC of its own keeps it from changing with the lowest of its ports'."""
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name) + _mac(mac) + _mtu(mtu)
    body += nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, f"link add {name}{_words(mac=mac, mtu=mtu)} type bridge")


def add_veth(name: str, peer: str, *, peer_netns_fd: int, mtu: int = 0, peer_mac: str = "") -> Request:
    """A veth pair, down: *name* here, *peer* made directly in another namespace."""
    inner = _LINK.pack(0, 0, 0, 0, 0) + _name(peer) + _mac(peer_mac) + _mtu(mtu)
    inner += attribute(IFLA_NET_NS_FD, _U32.pack(peer_netns_fd))
    kind = attribute(IFLA_INFO_KIND, b"veth") + nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inner))
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name) + _mtu(mtu) + nested(IFLA_LINKINFO, kind)
    words = f"link add {name}{_words(mtu=mtu)} type veth peer {peer}{_words(mac=peer_mac)} netns fd:{peer_netns_fd}"
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, words)


def delete_link(name: str) -> Request:
    """Delete a link (and the peer of a veth, wherever that is); one that is gone already counts as done."""
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name)
    return Request(RTM_DELLINK, 0, body, f"link delete {name}", allow=(19,))


def set_link(
    link: str | int,
    *,
    up: bool | None = None,
    mtu: int = 0,
    mac: str = "",
    name: str = "",
    master: int | None = None,
    alias: str = "",
) -> Request:
    """Change a link, given by name or index. *master* 0 takes it out of its bridge."""
    index = link if isinstance(link, int) else 0
    flags = IFF_UP if up else 0
    body = _LINK.pack(0, 0, index, flags, 0 if up is None else IFF_UP)
    body += (_name(name) if index else _name(str(link))) + _mac(mac) + _mtu(mtu)
    if master is not None:
        body += attribute(IFLA_MASTER, _U32.pack(master))
    if alias:
        body += attribute(IFLA_IFALIAS, os.fsencode(alias))
    state = "" if up is None else " up" if up else " down"
    to = "" if master is None else f" master {master}"
    words = f"link set {link}{_words(name=name, alias=alias, mac=mac, mtu=mtu)}{to}{state}"
    return Request(RTM_NEWLINK, 0, body, words)


def move_link(index: int, netns_fd: int, name: str) -> Request:
    """Give a link to another network namespace, where it is down, has no addresses, and is called *name*."""
    body = _LINK.pack(0, 0, index, 0, 0) + _name(name) + attribute(IFLA_NET_NS_FD, _U32.pack(netns_fd))
    return Request(RTM_NEWLINK, 0, body, f"link set {index} netns fd:{netns_fd} name {name}")


def copy_address(index: int, address: Address) -> Request:
    """Give a link an address that another has, or it had, with its peer, its broadcast and its metric."""
    body = _ADDRESS.pack(address.family, address.prefix, 0, address.scope, index)
    for kind in (IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_RT_PRIORITY):
        if kind in address.attributes:
            body += attribute(kind, address.attributes[kind])
    # It was free a moment ago: nothing waits for the answer of nobody.
    body += attribute(IFA_FLAGS, _U32.pack(address.flags | (IFA_F_NODAD if address.family == AF_INET6 else 0)))
    words = f"address replace {address.address}/{address.prefix} dev {index}"
    return Request(RTM_NEWADDR, F_CREATE | F_REPLACE, body, words)


def set_no_link_local(link: str) -> Request:
    """Let the link have no IPv6 link-local address: a bridge port is not spoken to. The kernel reads this of no new link."""
    mode = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(link) + nested(IFLA_AF_SPEC, nested(AF_INET6, mode))
    # EAFNOSUPPORT: a kernel without IPv6, or with it disabled, needs none of this.
    return Request(RTM_SETLINK, 0, body, f"link set {link} addrgenmode none", allow=(97,))


def set_bridge_port(index: int, *, isolated: bool = False, hairpin: bool = False) -> Request:
    """Options of a bridge port: isolated ports don't reach each other; a hairpin port may get back what it sent."""
    options = attribute(IFLA_BRPORT_ISOLATED, bytes([isolated])) + attribute(IFLA_BRPORT_MODE, bytes([hairpin]))
    body = _LINK.pack(AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_PROTINFO, options)
    words = f"bridge link set {index} isolated {_on(isolated)} hairpin {_on(hairpin)}"
    return Request(RTM_SETLINK, 0, body, words)


def add_address(index: int, address: str, prefix: int, *, broadcast: str = "", replace: bool = False) -> Request:
    """Give a link an address. One of IPv6 counts at once: it is ours to give, so nobody is asked whether he has it."""
    family = _family(address)
    raw = _socket.inet_pton(family, address)
    body = _ADDRESS.pack(family, prefix, 0, RT_SCOPE_UNIVERSE, index) + attribute(IFA_LOCAL, raw) + attribute(IFA_ADDRESS, raw)
    if broadcast:
        body += attribute(IFA_BROADCAST, _socket.inet_pton(AF_INET, broadcast))
    if family == AF_INET6:
        body += attribute(IFA_FLAGS, _U32.pack(IFA_F_NODAD))
    words = f"address {'replace' if replace else 'add'} {address}/{prefix}{_words(broadcast=broadcast)} dev {index}"
    return Request(RTM_NEWADDR, F_CREATE | (F_REPLACE if replace else F_EXCL), body, words)


def delete_address(index: int, address: str, prefix: int) -> Request:
    """Take an address from a link; one that is gone already counts as done."""
    family = _family(address)
    raw = _socket.inet_pton(family, address)
    body = _ADDRESS.pack(family, prefix, 0, 0, index) + attribute(IFA_LOCAL, raw)
    return Request(RTM_DELADDR, 0, body, f"address delete {address}/{prefix} dev {index}", allow=(99,))  # EADDRNOTAVAIL


def add_route(index: int, *, destination: str = "", prefix: int = 0, gateway: str = "", replace: bool = False) -> Request:
    """A route of the family of its addresses; without a destination it is the default route."""
    body = _route(index, destination, prefix, gateway)
    words = f"route {'replace' if replace else 'add'} {_route_words(index, destination, prefix, gateway)}"
    return Request(RTM_NEWROUTE, F_CREATE | (F_REPLACE if replace else F_EXCL), body, words)


def attribute(kind: int, payload: bytes) -> bytes:
    """One nlattr, padded to four bytes. Raises OSError EMSGSIZE when the payload can't be said in 16 bits of length."""
    length = _ATTRIBUTE.size + len(payload)
    if length > 0xFFFF:  # CVE-2021-43784: a length that wraps turns data into attributes
        raise OSError(90, f"netlink attribute {kind}: {len(payload)} bytes are too many")
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type. What is shorter than it says ends the list."""
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def mac_bytes(mac: str) -> bytes:
    """Six bytes of `02:42:ac:11:00:02`. Raises ValueError."""
    raw = bytes.fromhex(mac.replace(":", ""))
    if len(raw) != 6 or mac.count(":") != 5:
        raise ValueError(f"not a MAC address: {mac!r}")
    return raw


def _failure(request: Request, flags: int, body: bytes) -> OSError | None:
    number = -struct.unpack_from("=i", body)[0]
    if number == 0 or number in request.allow:
        return None
    said = ""
    if flags & F_ACK_TLVS:
        # nlmsgerr holds the header of the request, and the rest of it too unless NLM_F_CAPPED.
        skip = 4 + (_HEADER.size if flags & F_CAPPED else (_U32.unpack_from(body, 4)[0] + 3) & ~3)
        said = _text(parse_attributes(body[skip:]).get(NLMSGERR_ATTR_MSG, b""))
    return OSError(number, f"{request.words}: {os.strerror(number)}{f' ({said})' if said else ''}")


def _route(index: int, destination: str, prefix: int, gateway: str) -> bytes:
    scope = RT_SCOPE_UNIVERSE if gateway else RT_SCOPE_LINK
    family = _family(gateway or destination)
    body = _ROUTE.pack(family, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0)
    if destination:
        body += attribute(RTA_DST, _socket.inet_pton(family, destination))
    if gateway:
        body += attribute(RTA_GATEWAY, _socket.inet_pton(family, gateway))
    return body + attribute(RTA_OIF, _U32.pack(index))


def _route_words(index: int, destination: str, prefix: int, gateway: str) -> str:
    return f"{f'{destination}/{prefix}' if destination else 'default'}{f' via {gateway}' if gateway else ''} dev {index}"


def _link(body: bytes) -> Link:
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    return Link(index, flags, parse_attributes(body[_LINK.size :]))


def _name(name: str) -> bytes:
    raw = os.fsencode(name)
    if len(raw) >= IFNAMSIZ:
        raise OSError(36, f"interface name {name!r} is longer than {IFNAMSIZ - 1} bytes")  # ENAMETOOLONG
    return attribute(IFLA_IFNAME, raw + b"\0") if name else b""


def _mac(mac: str) -> bytes:
    return attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b""


def _mtu(mtu: int) -> bytes:
    return attribute(IFLA_MTU, _U32.pack(mtu)) if mtu else b""


def _words(**options: object) -> str:
    return "".join(f" {key} {value}" for key, value in options.items() if value)


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _u32(raw: bytes | None) -> int:
    return _U32.unpack_from(raw)[0] if raw else 0


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def _address_text(family: int, raw: bytes | None) -> str:
    return _socket.inet_ntop(family, raw) if raw else ""
