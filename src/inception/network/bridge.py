"""The bridge of a network: a switch that the host has a port of its own in, the gateway."""

from __future__ import annotations

from inception.errors import Conflict, Unavailable
from inception.linux import netlink
from inception.linux.netlink import Netlink
from inception.network import host
from inception.network.address import derive_mac, format_ipv4, parse_subnet
from inception.record import Record

# Docker's choice for every bridge, given by us: the kernel's own would be asked for on the wire for a second.
_LINK_LOCAL = "fe80::1"


class BridgeConfig(Record):
    """One network's bridge. *name* is a link name (address.link_name); *subnet* is `172.18.0.0/16`; *mtu* 0 is the kernel's,
    *alias* says whose it is (leftovers.py).

    A network without IPv4 has only *subnet6* and *gateway6*, one without IPv6 has neither.
    """

    name: str
    subnet: str
    gateway: str
    mtu: int = 0
    subnet6: str = ""
    gateway6: str = ""
    alias: str = ""


def apply(config: BridgeConfig) -> None:
    """Make the bridge what *config* says, whatever of it is there already; ready for endpoints when this returns."""
    if config.subnet6 and not host.has_ipv6():
        raise Unavailable(f"network bridge {config.name}: this kernel has no IPv6", "make the network without --ipv6")
    host.enable_forwarding()
    if config.subnet6:
        host.enable_forwarding6()
    try:
        with Netlink() as sock:
            if _needs_making(sock, config.name):
                sock.run(netlink.add_bridge(config.name, mac=derive_mac(config.gateway or config.gateway6), mtu=config.mtu))
            _configure(sock, config)
    except OSError as error:
        raise Unavailable(f"network bridge {config.name}: {error.strerror}") from error


def remove(name: str) -> None:
    """Delete the bridge; one that is gone already counts as done."""
    try:
        with Netlink() as sock:
            sock.run(netlink.delete_link(name))
    except OSError as error:
        raise Unavailable(f"network bridge {name}: {error.strerror}") from error


def exists(name: str) -> bool:
    """Whether the bridge is there and up."""
    with Netlink() as sock:
        link = sock.link(name)
    return link is not None and link.kind == "bridge" and link.is_up


def _needs_making(sock: Netlink, name: str) -> bool:
    link = sock.link(name)
    if link is not None and link.kind != "bridge":
        raise Conflict(f"network bridge {name}: a link of this name exists and is a {link.kind or 'network card'}")
    return link is None


def _configure(sock: Netlink, config: BridgeConfig) -> None:
    # Before it is up: no address from a router advertisement that a container sends (CVE-2020-13401), no address at all.
    host.set_link_option("ipv6", config.name, "accept_ra", "0")
    host.set_link_option("ipv6", config.name, "disable_ipv6", "0" if config.subnet6 else "1")
    if config.subnet6:
        sock.run(netlink.set_no_link_local(config.name))
    # The answers to redirected connections from the host's 127.0.0.1 come in here; firewall.py's raw chain draws the line.
    host.set_link_option("ipv4", config.name, "route_localnet", "1")
    index = sock.index(config.name)
    addresses = []
    if config.subnet:
        subnet = parse_subnet(config.subnet)
        broadcast = format_ipv4(subnet.broadcast)
        addresses.append(netlink.add_address(index, config.gateway, subnet.prefix, broadcast=broadcast, replace=True))
    if config.subnet6:
        addresses.append(netlink.add_address(index, config.gateway6, parse_subnet(config.subnet6).prefix, replace=True))
        addresses.append(netlink.add_address(index, _LINK_LOCAL, 64, replace=True))
    sock.run(*addresses, netlink.set_link(config.name, up=True, mtu=config.mtu, alias=config.alias))
