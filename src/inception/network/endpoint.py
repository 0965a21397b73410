"""A container's link into a network: one veth pair, its far end made directly inside the container's network namespace.

    host: bridge ── inc…v… (port)  ═════  eth0: container

No thread of ours enters the namespace: what happens inside goes through a netlink socket that was opened there. The pair
ends with either of its ends, so a container whose namespace is gone needs no `detach`; the kernel removes the rest by itself,
a few milliseconds later.
"""

from __future__ import annotations

from inception.errors import Unavailable
from inception.linux import namespaces, netlink
from inception.linux.netlink import Netlink
from inception.network.address import derive_mac, format_ipv4, parse_subnet
from inception.record import Record


class EndpointPlan(Record):
    """One end of a container in one network. *address* is empty in a network without IPv4, *address6* in one without IPv6.

    *gateway* (*gateway6*) is given for the one network that the default route leads through, and only for that. *routes* are
    (`10.0.0.0/8`, gateway) pairs. An empty *mac* is derived from the address; *mtu* 0 is the bridge's. *isolated* keeps the
    container from its siblings on the bridge (a network without inter-container communication). *hairpin* is for a container
    that publishes ports: where br_netfilter is on (dockerd loads it), it reaches its own ones through the host only so.
    *link_local* are more addresses, of 169.254.0.0/16 or fe80::/10.
    """

    bridge: str
    host_ifname: str
    address: str
    prefix: int = 0
    container_ifname: str = "eth0"
    gateway: str | None = None
    mac: str = ""
    mtu: int = 0
    isolated: bool = False
    hairpin: bool = False
    routes: list[tuple[str, str]] = []
    address6: str = ""
    prefix6: int = 0
    gateway6: str | None = None
    link_local: list[str] = []


def attach(netns_fd: int, plan: EndpointPlan) -> None:
    """Connect the namespace; it can send and receive when this returns. After an error nothing of it is left.

    Raises Unavailable.
    """
    try:
        with Netlink() as outside:
            bridge = outside.index(plan.bridge)
            outside.run(plan_pair(plan, netns_fd))
            try:
                outside.run(*plan_outside(plan, bridge))
                if plan.isolated or plan.hairpin:
                    port = outside.index(plan.host_ifname)
                    outside.run(netlink.set_bridge_port(port, isolated=plan.isolated, hairpin=plan.hairpin))
                _configure_inside(netns_fd, plan, outside)
            except BaseException:
                outside.run(netlink.delete_link(plan.host_ifname))
                raise
    except OSError as error:
        raise Unavailable(f"connect {plan.container_ifname} to bridge {plan.bridge}: {error.strerror}") from error


def detach(host_ifname: str) -> None:
    """Remove an endpoint by its host end; one that is gone already counts as done.

    Deleting takes the kernel 15 to 40 ms of RCU waits, also behind those of namespaces that end just now. A link that went
    with its namespace is out of sight after 1 ms, and that is seen without waiting.
    """
    try:
        with Netlink() as outside:
            if outside.has(host_ifname):
                outside.run(netlink.delete_link(host_ifname))
    except OSError as error:
        raise Unavailable(f"disconnect {host_ifname}: {error.strerror}") from error


def set_default_route(netns_fd: int, ifname: str, gateway: str) -> None:
    """Lead what leaves a namespace through *gateway*, whatever way it went before."""
    try:
        with Netlink(netns_fd) as inside:
            inside.run(netlink.add_route(inside.index(ifname), gateway=gateway, replace=True))
    except OSError as error:
        raise Unavailable(f"route {ifname} through {gateway}: {error.strerror}") from error


def plan_inside(plan: EndpointPlan, index: int) -> list[netlink.Request]:
    """What is done inside the namespace, where the new link has *index*, in order."""
    requests = []
    if plan.address:
        broadcast = format_ipv4(parse_subnet(f"{plan.address}/{plan.prefix}", strict=False).broadcast)
        requests.append(netlink.add_address(index, plan.address, plan.prefix, broadcast=broadcast))
    if plan.address6:
        requests.append(netlink.add_address(index, plan.address6, plan.prefix6))
    requests += [netlink.add_address(index, each, 64 if ":" in each else 16) for each in plan.link_local]
    requests.append(netlink.set_link(index, up=True))
    for gateway in (plan.gateway, plan.gateway6):
        if gateway:
            requests.append(netlink.add_route(index, gateway=gateway))
    for destination, gateway in plan.routes:
        block = parse_subnet(destination)
        requests.append(netlink.add_route(index, destination=format_ipv4(block.base), prefix=block.prefix, gateway=gateway))
    return requests


def plan_pair(plan: EndpointPlan, netns_fd: int) -> netlink.Request:
    """The pair itself. Alone, since what follows must not be done to a link of this name that someone else made."""
    name, peer = plan.host_ifname, plan.container_ifname
    return netlink.add_veth(name, peer, peer_netns_fd=netns_fd, peer_mac=_mac(plan), mtu=plan.mtu)


def plan_outside(plan: EndpointPlan, bridge_index: int) -> list[netlink.Request]:
    """What is done to the host's end, in order."""
    return [
        netlink.set_no_link_local(plan.host_ifname),
        netlink.set_link(plan.host_ifname, up=True, master=bridge_index),
    ]


def _configure_inside(netns_fd: int, plan: EndpointPlan, outside: Netlink) -> None:
    # Where IPv6 is off there is no link-local address and no ear for router advertisements either. Before the link is up, so
    # that there is never a moment with one.
    if plan.address6 or any(":" in each for each in plan.link_local):
        _enable_ipv6(netns_fd, plan.container_ifname)
    else:
        _sysctl(netns_fd, f"ipv6/conf/{plan.container_ifname}/disable_ipv6")
    with Netlink(netns_fd) as inside:
        index = inside.index(plan.container_ifname)
        inside.run(*plan_inside(plan, index))
        outside.settle(plan.host_ifname)
        outside.settle(plan.bridge)  # its first port gives the bridge its carrier
        # Whoever spoke to the last owner of the address would go on sending to its MAC, for half a minute and more. With
        # arp_notify, setting a MAC announces it; set only now, since setting the link up would announce it too, to no effect
        # if the bridge isn't listening yet. (A packet socket could also do it; closing one takes 10 ms of RCU wait.)
        if plan.address:
            _sysctl(netns_fd, f"ipv4/conf/{plan.container_ifname}/arp_notify")
        if plan.address6:
            _sysctl(netns_fd, f"ipv6/conf/{plan.container_ifname}/ndisc_notify")
        inside.run(netlink.set_link(index, mac=_mac(plan)))


def _enable_ipv6(netns_fd: int, ifname: str) -> None:
    """IPv6 on a link that is down still; nobody is asked on the wire whether he has our addresses, so they count at once."""
    conf = f"ipv6/conf/{ifname}"
    # A sibling that advertises itself as a router must not become the way out (CVE-2020-13401).
    for key in ("accept_ra", "accept_dad", "disable_ipv6"):
        _sysctl(netns_fd, f"{conf}/{key}", b"0")


def _sysctl(netns_fd: int, path: str, value: bytes = b"1") -> None:
    try:
        namespaces.write_in_netns(netns_fd, f"/proc/sys/net/{path}", value)
    except FileNotFoundError:  # a kernel without IPv6
        if not path.startswith("ipv6/"):
            raise


def _mac(plan: EndpointPlan) -> str:
    return plan.mac or derive_mac(plan.address or plan.address6)
