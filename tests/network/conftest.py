"""A machine of our own to test networks on: the test's thread moves into a new network namespace and back afterwards.

All links and rules of a test live there and end with it; the machine's own are compared before and after. Sockets are opened
directly in the namespaces of the lab's hosts and containers, so one thread plays them all.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from inception.linux import namespaces, netlink
from inception.linux.netlink import Netlink
from inception.network import bridge, endpoint, firewall
from inception.network.address import engine_tag, link_name

_WAIT_S = 2.0
_SILENCE_S = 0.3


class Host:
    """A network namespace with an address."""

    def __init__(self, lab: Lab, address: str, netns_fd: int, link: str = "") -> None:
        self.lab, self.address, self.netns_fd, self.link = lab, address, netns_fd, link

    def open_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        fd = namespaces.socket_in_netns(self.netns_fd, family, kind, protocol)
        opened = socket.socket(family, kind, protocol, fd)
        self.lab.stack.callback(opened.close)
        opened.settimeout(_WAIT_S)
        return opened

    def serve(self, port: int, kind: int = socket.SOCK_STREAM, address: str = "0.0.0.0") -> socket.socket:
        server = self.open_socket(kind=kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen(16)
        return server

    def reach(self, address: str, port: int, server: socket.socket, wait_s: float = _WAIT_S) -> str | None:
        """The address that *server* sees when this host connects to *address*, or None when nothing arrives."""
        client = self.open_socket(kind=server.type)
        client.settimeout(wait_s)
        server.settimeout(wait_s)
        try:
            if server.type == socket.SOCK_DGRAM:
                return _exchange(client, server, (address, port))
            client.connect((address, port))
            return str(server.accept()[1][0])
        except OSError:
            return None

    def is_kept_from(self, address: str, port: int, server: socket.socket) -> bool:
        return self.reach(address, port, server, _SILENCE_S) is None

    def sysctl(self, path: str, value: str) -> None:
        namespaces.write_in_netns(self.netns_fd, f"/proc/sys/net/{path}", value.encode())

    def addresses(self, family: int) -> list[str]:
        with Netlink(self.netns_fd) as sock:
            return [item.address for item in sock.addresses() if item.family == family and item.index != 1]


def _exchange(client: socket.socket, server: socket.socket, target: tuple[str, int]) -> str | None:
    client.connect(target)
    client.send(b"hello")
    data, peer = server.recvfrom(64)
    server.sendto(data, peer)
    return str(peer[0]) if client.recv(64) == b"hello" else None


class Lab:
    """The host with an engine's networks, and the other machines on its LAN."""

    def __init__(self, stack: contextlib.ExitStack, root: str) -> None:
        self.stack = stack
        self.tag = engine_tag(root)
        self.count = 0
        netns_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, netns_fd)
        self.host = Host(self, "10.99.0.1", netns_fd)
        with Netlink() as sock:
            sock.run(netlink.set_link("lo", up=True))

    def new_netns(self) -> int:
        fd = namespaces.new_netns()
        self.stack.callback(os.close, fd)
        return fd

    def lan(self) -> Host:
        """Another machine: 10.99.0.2, with the host as its gateway."""
        fd = self.new_netns()
        with Netlink() as here, Netlink(fd) as there:
            here.run(netlink.add_veth("lan0", "eth0", peer_netns_fd=fd))
            here.run(netlink.add_address(here.index("lan0"), "10.99.0.1", 24), netlink.set_link("lan0", up=True))
            index = there.index("eth0")
            there.run(netlink.add_address(index, "10.99.0.2", 24), netlink.set_link(index, up=True))
            there.run(netlink.add_route(index, gateway="10.99.0.1"))
            here.settle("lan0")
        return Host(self, "10.99.0.2", fd, "eth0")

    def network(self, number: int, *, internal: bool = False) -> firewall.Network:
        """The network 172.30.NUMBER.0/24, its bridge and its place in the firewall."""
        name = link_name(self.tag, "b", f"network {number}")
        bridge.apply(bridge.BridgeConfig(name=name, subnet=f"172.30.{number}.0/24", gateway=f"172.30.{number}.1"))
        network = firewall.Network(bridge=name, subnet=f"172.30.{number}.0/24", internal=internal)
        firewall.add_network(self.tag, network)
        return network

    def container(self, network: int, last: int, *, isolated: bool = False, hairpin: bool = False, mac: str = "") -> Host:
        """A container at 172.30.NETWORK.LAST."""
        self.count += 1
        fd = self.new_netns()
        name = link_name(self.tag, "v", str(self.count))
        plan = endpoint.EndpointPlan(
            bridge=link_name(self.tag, "b", f"network {network}"),
            host_ifname=name,
            address=f"172.30.{network}.{last}",
            prefix=24,
            gateway=f"172.30.{network}.1",
            isolated=isolated,
            hairpin=hairpin,
            mac=mac,
        )
        endpoint.attach(fd, plan)
        return Host(self, plan.address, fd, name)


def nft(*arguments: str) -> str:
    """Another user of nftables."""
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


def _machine() -> str:
    with Netlink() as sock:
        links = sorted(link.name for link in sock.links())
    return f"{links} {nft('list', 'ruleset')}"


@pytest.fixture
def lab(tmp_path: os.PathLike[str]) -> Iterator[Lab]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    before = _machine()
    try:
        namespaces.unshare(0x40000000)  # CLONE_NEWNET
        try:
            with contextlib.ExitStack() as stack:
                yield Lab(stack, os.fspath(tmp_path))
        finally:
            namespaces.setns(home)
        assert _machine() == before
    finally:
        os.close(home)
