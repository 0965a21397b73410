"""NAT, isolation between networks, published ports: one nftables table of our own for each engine root.

    raw          what claims to come from, or go to, 127.0.0.0/8 on any wire is dropped
    prerouting   ports_at[address, protocol, port], else (to an address of this host) ports[protocol, port]  ->  dnat
    output       the same for connections of the host itself, 127.0.0.1 too
    forward      replies; within one network; published ports; nothing else enters a network, or leaves an internal one
    postrouting  masquerade: out of a network, from the host's 127.0.0.1, and back into the network it came from

The rules never change. Networks and ports are elements of sets and maps, so that adding or removing a container's ports is
one transaction of a few elements however many there are; a container that publishes nothing costs nothing here. nft(8) makes
every call atomic and repeats it when another nft user was faster. Somebody's `flush ruleset` takes our table with it:
`present` notices (one netlink message, no process), `replace_table` puts everything back in one transaction.

Networks with IPv6 have the same rules in a table of the family ip6, which is there with the first of them.

Whether a packet is forwarded is up to *all* tables: a drop elsewhere (dockerd sets the policy of iptables' FORWARD chain to
drop) is not ours to lift.
"""

from __future__ import annotations

import os

from inception.errors import Conflict, NotFound, Unavailable
from inception.linux import nfnetlink
from inception.network.address import is_ipv4
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Redirect(Protocol):
        """A published port: what arrives at host_ip:host_port goes to target_ip:target_port. No host_ip is all addresses."""

        host_ip: str
        host_port: int
        protocol: str
        target_ip: str
        target_port: int


# Fixed places: a PATH that a caller set must not choose what runs as root.
_NFT_PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
_ANY = ("", "0.0.0.0", "::")

_SKELETON = """\
add table {family} {table}
add set {family} {table} bridges {{ type ifname; }}
add set {family} {table} internal {{ type ifname; }}
add set {family} {table} masquerading {{ type ifname; }}
add set {family} {table} within {{ type ifname . ifname; }}
add set {family} {table} subnets {{ type {address} . ifname; flags interval; }}
add map {family} {table} ports {{ type inet_proto . inet_service : {address} . inet_service; }}
add map {family} {table} ports_at {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
add chain {family} {table} raw {{ type filter hook prerouting priority -300; policy accept; }}
add chain {family} {table} prerouting {{ type nat hook prerouting priority -100; policy accept; }}
add chain {family} {table} output {{ type nat hook output priority -100; policy accept; }}
add chain {family} {table} forward {{ type filter hook forward priority 0; policy accept; }}
add chain {family} {table} postrouting {{ type nat hook postrouting priority 100; policy accept; }}
flush table {family} {table}
{loopback}\
add rule {family} {table} prerouting dnat {family} to {family} daddr . meta l4proto . th dport map @ports_at
add rule {family} {table} prerouting {local} dnat {family} to meta l4proto . th dport map @ports
add rule {family} {table} output dnat {family} to {family} daddr . meta l4proto . th dport map @ports_at
add rule {family} {table} output {local} dnat {family} to meta l4proto . th dport map @ports
add rule {family} {table} forward ct state established,related accept
add rule {family} {table} forward iifname . oifname @within accept
add rule {family} {table} forward iifname @internal drop
add rule {family} {table} forward oifname @internal drop
add rule {family} {table} forward oifname @bridges ct status dnat accept
add rule {family} {table} forward oifname @bridges drop
add rule {family} {table} postrouting iifname @masquerading iifname . oifname != @within masquerade
add rule {family} {table} postrouting {family} saddr . oifname @subnets ct status dnat masquerade
"""
_IPV4 = {
    "address": "ipv4_addr",
    "local": "fib daddr type local",
    "loopback": """\
add rule ip {table} raw iif != lo ip daddr 127.0.0.0/8 drop
add rule ip {table} raw iif != lo ip saddr 127.0.0.0/8 drop
add rule ip {table} postrouting ip saddr 127.0.0.0/8 oifname @bridges masquerade
""",
}
# ::1 and link-local addresses never leave their link, so what is sent to them can't be led into a network: the proxy gets it.
_IPV6 = {"address": "ipv6_addr", "local": "ip6 daddr != { ::1, fe80::/10 } fib daddr type local", "loopback": ""}
# The raw rules are there because bridges have route_localnet set, without which the host's 127.0.0.1 can't be redirected: it
# also lets containers reach services on the host's loopback, or speak from 127.0.0.1 (CVE-2020-8558), and dnat in prerouting
# lets the LAN reach ports published on 127.0.0.1 (CVE-2025-54388). 127/8 has no business on a wire (RFC 1122, 3.2.1.3).
# The last rule: a container that connects to a published port of its own network would get its answers from a stranger, the
# sibling itself, without it. It asks for the source's subnet since br_netfilter shows this hook no input interface.


class Network(Record):
    """A network as the firewall knows it: its bridge and what may pass it. It has one subnet at least."""

    bridge: str
    subnet: str = ""
    subnet6: str = ""
    internal: bool = False
    masquerade: bool = True


class Rules(Record):
    """What is in the tables now: bridges, and ports as `tcp 0.0.0.0:80 -> 172.18.0.2:80`."""

    bridges: list[str] = []
    ports: list[str] = []


def table_name(tag: str) -> str:
    """The table of the engine marked *tag* (address.engine_tag), in both families."""
    return f"inception-{tag}"


def plan_table(tag: str, networks: Iterable[Network] = (), ports: Iterable[Redirect] = ()) -> str:
    """The tables as one transaction that replaces whatever was there; that of IPv6 only when a network needs it."""
    networks = list(networks)
    families = ["ip", "ip6"] if any(network.subnet6 for network in networks) else ["ip"]
    text = "".join(_plan_removal(table_name(tag), family) + _skeleton(tag, family) for family in families)
    for network in networks:
        text += plan_network(tag, network)
    return text + plan_ports(tag, ports)


def _skeleton(tag: str, family: str) -> str:
    table, words = table_name(tag), _IPV4 if family == "ip" else _IPV6
    loopback = words["loopback"].format(table=table)
    return _SKELETON.format(family=family, table=table, address=words["address"], local=words["local"], loopback=loopback)


def _plan_removal(table: str, family: str) -> str:
    return f"add table {family} {table}\ndelete table {family} {table}\n"


def plan_network(tag: str, network: Network, verb: str = "add") -> str:
    """The elements of one network; *verb* is `add` or `delete`."""
    table, bridge = table_name(tag), f'"{network.bridge}"'
    lines = []
    for family, subnet in (("ip", network.subnet), ("ip6", network.subnet6)):
        if not subnet:
            continue
        lines += [
            f"{verb} element {family} {table} bridges {{ {bridge} }}",
            f"{verb} element {family} {table} within {{ {bridge} . {bridge} }}",
            f"{verb} element {family} {table} subnets {{ {subnet} . {bridge} }}",
        ]
        if network.internal:
            lines.append(f"{verb} element {family} {table} internal {{ {bridge} }}")
        elif network.masquerade:
            lines.append(f"{verb} element {family} {table} masquerading {{ {bridge} }}")
    return "".join(f"{line}\n" for line in lines)


def plan_ports(tag: str, ports: Iterable[Redirect], verb: str = "add") -> str:
    """The elements of published ports; *verb* is `add` or `delete`.

    From an address of one family to one of the other nothing can be redirected: that is the monitor's to proxy.
    """
    elements: dict[tuple[str, str], list[str]] = {}
    for port in ports:
        family = _family_of(port)
        target = f" : {port.target_ip} . {port.target_port}" if verb == "add" else ""
        if family and port.host_ip in _ANY:
            elements.setdefault((family, "ports"), []).append(f"{port.protocol} . {port.host_port}{target}")
        elif family:
            elements.setdefault((family, "ports_at"), []).append(f"{port.host_ip} . {port.protocol} . {port.host_port}{target}")
    table = table_name(tag)
    return "".join(
        f"{verb} element {family} {table} {name} {{ {', '.join(elements[family, name])} }}\n"
        for family in ("ip", "ip6")
        for name in ("ports", "ports_at")
        if (family, name) in elements
    )


def _family_of(port: Redirect) -> str:
    """Where its redirection belongs; empty when there can be none."""
    if is_ipv4(port.target_ip):
        return "ip" if port.host_ip == "" or is_ipv4(port.host_ip) else ""
    if ":" not in port.host_ip or port.host_ip == "::1":
        return ""
    return "ip6"


def present(tag: str) -> bool:
    """Whether the engine's table exists; cheap enough to ask at every start."""
    return nfnetlink.table_exists(table_name(tag))


def present6(tag: str) -> bool:
    """Whether the one for IPv6 exists."""
    return nfnetlink.table_exists(table_name(tag), family="ip6")


def replace_table(tag: str, networks: Iterable[Network], ports: Iterable[Redirect] = ()) -> None:
    """Make the tables hold exactly *networks* and *ports*, in one transaction, whatever was there before."""
    _apply(plan_table(tag, networks, ports))


def remove_table(tag: str) -> None:
    """Remove the tables with the last of our rules; one that is gone already counts as done."""
    table = table_name(tag)
    _apply(_plan_removal(table, "ip") + (_plan_removal(table, "ip6") if present6(tag) else ""))


def add_network(tag: str, network: Network) -> None:
    """Let *network* into the table, which is made if it isn't there. Idempotent; other networks are not touched."""
    skeleton = "" if present(tag) else _skeleton(tag, "ip")
    if network.subnet6 and not present6(tag):
        skeleton += _skeleton(tag, "ip6")
    _apply(skeleton + plan_network(tag, network))


def remove_network(tag: str, network: Network) -> None:
    """Undo `add_network`; what is gone already counts as done."""
    _delete(plan_network(tag, network, "delete"))


def add_ports(tag: str, ports: Iterable[Redirect]) -> None:
    """Publish *ports*, all or none.

    Raises Conflict when one of them leads elsewhere already, NotFound when the table is gone: then `replace_table`.
    """
    text = plan_ports(tag, ports)
    if text:
        _apply(text)


def remove_ports(tag: str, ports: Iterable[Redirect]) -> None:
    """Undo `add_ports`, and end the UDP flows that connection tracking would keep sending to the old container."""
    ports = list(ports)
    _delete(plan_ports(tag, ports, "delete"))
    for address in sorted({port.target_ip for port in ports if port.protocol == "udp"}):
        nfnetlink.forget_flows(address)


def observe(tag: str) -> Rules:
    """What the tables hold, for recovery to compare with what should be there. An absent table holds nothing."""
    if not present(tag):
        return Rules()
    table = table_name(tag)
    bridges, ports = set(), []
    for family, everywhere in (("ip", "0.0.0.0"), ("ip6", "::")):
        bridges |= {key.strip('"') for key in _elements(family, table, "set", "bridges")}
        for element in _elements(family, table, "map", "ports"):
            key, target = element.split(" : ")
            protocol, port = key.split(" . ")
            ports.append(f"{protocol} {everywhere}:{port} -> {target.replace(' . ', ':')}")
        for element in _elements(family, table, "map", "ports_at"):
            key, target = element.split(" : ")
            address, protocol, port = key.split(" . ")
            ports.append(f"{protocol} {address}:{port} -> {target.replace(' . ', ':')}")
    return Rules(bridges=sorted(bridges), ports=sorted(ports))


def describe(port: Redirect) -> str:
    """A published port as `observe` spells it."""
    return f"{port.protocol} {port.host_ip or '0.0.0.0'}:{port.host_port} -> {port.target_ip}:{port.target_port}"


def _elements(family: str, table: str, kind: str, name: str) -> list[str]:
    # -n: numbers, no names of ports; protocols stay names. One element: `tcp . 80 : 172.18.0.2 . 80`.
    status, text = _nft(["-n", "list", kind, family, table, name], "")
    _opening, marker, rest = text.partition("elements = {")
    if status != 0 or not marker:
        return []
    elements = [" ".join(element.split()) for element in rest.partition("}")[0].split(",")]
    return [_named_protocol(element) for element in elements if element]


def _named_protocol(element: str) -> str:
    words = element.split(" . ")
    return " . ".join({"6": "tcp", "17": "udp"}.get(word, word) if i < 2 else word for i, word in enumerate(words))


def _delete(text: str) -> None:
    if not text:
        return
    try:
        _apply(text)
    except NotFound:
        # Something of it is gone already. One transaction fails as a whole, so the rest goes piece by piece.
        for line in text.splitlines():
            head, _brace, elements = line.partition("{ ")
            for element in elements.removesuffix(" }").split(", "):
                try:
                    _apply(f"{head}{{ {element} }}\n")
                except NotFound:
                    pass


def _apply(text: str) -> None:
    status, output = _nft(["-f", "-"], text)
    if status == 0:
        return
    cause = next((line for line in output.splitlines() if "Error:" in line), output.strip()).partition("Error: ")[2]
    if "File exists" in cause:
        raise Conflict("publish ports: port is already allocated")
    if "No such file or directory" in cause:
        raise NotFound(f"nft: {cause}")
    raise Unavailable(f"nft: {cause or output.strip() or f'exit status {status}'}")


def _nft(arguments: list[str], text: str) -> tuple[int, str]:
    """Exit status and output of nft(8). Files in memory for its streams: no pipe that could fill up on either side."""
    program = next((place for place in _NFT_PLACES if os.access(place, os.X_OK)), None)
    if program is None:
        raise Unavailable("nft not found in " + ", ".join(_NFT_PLACES), "install the package nftables")
    given, said = os.memfd_create("nft-in"), os.memfd_create("nft-out")
    try:
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        streams = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
        pid = os.posix_spawn(program, ["nft", *arguments], {"LC_ALL": "C"}, file_actions=streams)
        status = _await(pid)
        os.lseek(said, 0, os.SEEK_SET)
        with os.fdopen(os.dup(said), "r", encoding="utf-8", errors="replace") as output:
            text = output.read()
        return (1 if "Error:" in text else 0) if status is None else status, text
    finally:
        os.close(given)
        os.close(said)


def _await(pid: int) -> int | None:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # the process that we are a library in ignores SIGCHLD, so its children leave no status
        return None
