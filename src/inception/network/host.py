"""The host's side, for the whole machine: sysctls, routes that our subnets must not cover, links that bear our mark."""

from __future__ import annotations

import os

from inception.errors import Unavailable
from inception.linux.netlink import AF_INET, Netlink

_SHORTEST_PREFIX = 8  # no network of anybody's is larger
_CONF = "/proc/sys/net/{family}/conf/{link}/{key}"


def host_routes(family: int = AF_INET) -> list[str]:
    """Destinations that the host routes somewhere (`10.0.0.0/8`); our own bridges' among them.

    Not the default route, nor one in pieces: VPNs set 0.0.0.0/1 and 128.0.0.0/1, which would leave no subnet to choose.
    """
    with Netlink() as netlink:
        return [f"{route.destination}/{route.prefix}" for route in netlink.routes(family) if route.prefix >= _SHORTEST_PREFIX]


def host_links(tag: str) -> list[str]:
    """Names of the bridges and veths of the engine marked *tag*, for recovery to compare with what should be there."""
    with Netlink() as netlink:
        return sorted(link.name for link in netlink.links() if link.name.startswith(f"inc{tag}"))


def enable_forwarding() -> None:
    """Let the host route IPv4 between its links, as every container network needs. It stays on: others may rely on it now."""
    write_sysctl("/proc/sys/net/ipv4/ip_forward", "1")


def enable_forwarding6() -> None:
    """The same for IPv6. A router does not listen to other routers: links that the host took its own way out from still do."""
    if _read(_CONF.format(family="ipv6", link="all", key="forwarding")) == "1":
        return
    with Netlink() as netlink:
        names = [link.name for link in netlink.links()]
    for name in ("default", *names):
        path = _CONF.format(family="ipv6", link=name, key="accept_ra")
        if _read(path) == "1":
            write_sysctl(path, "2")
    write_sysctl(_CONF.format(family="ipv6", link="all", key="forwarding"), "1")


def set_link_option(family: str, link: str, key: str, value: str) -> None:
    """`net.FAMILY.conf.LINK.KEY = VALUE`. A kernel without IPv6 needs no IPv6 option."""
    try:
        write_sysctl(_CONF.format(family=family, link=link, key=key), value)
    except FileNotFoundError:
        if family != "ipv6":
            raise


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 at all."""
    return os.path.exists("/proc/sys/net/ipv6")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def write_sysctl(path: str, value: str) -> None:
    """Write *value* unless it is there already: a read-only /proc/sys with the right values is good enough."""
    with open(path, encoding="utf-8") as file:
        if file.read().strip() == value:
            return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        name = path.removeprefix("/proc/sys/").replace("/", ".")
        raise Unavailable(f"sysctl {name}={value}: {os.strerror(error.errno or 0)}") from error
