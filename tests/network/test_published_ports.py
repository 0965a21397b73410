"""Published ports: from where they are reached, from where they are not, and whom the container sees."""

from __future__ import annotations

import os
import socket

import pytest

from inception.errors import Conflict, NotFound
from inception.linux import netlink
from inception.linux.netlink import Netlink
from inception.monitor.config import PublishedPort
from inception.network import firewall, ports

pytestmark = pytest.mark.needs("root", "nft")

UDP = socket.SOCK_DGRAM


def published(target: str, host_port: int, *, host_ip: str = "", protocol: str = "tcp", target_port: int = 80) -> PublishedPort:
    return PublishedPort(host_ip=host_ip, host_port=host_port, protocol=protocol, target_ip=target, target_port=target_port)


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, UDP])
def test_a_port_on_all_addresses_is_reached_from_everywhere_and_shows_who_came_from_outside(lab, kind, bridge_netfilter):
    if os.path.exists("/proc/sys/net/bridge"):
        lab.host.sysctl("bridge/bridge-nf-call-iptables", bridge_netfilter)
    lan = lab.lan()
    lab.network(1)
    lab.network(2)
    web, sibling, stranger = lab.container(1, 2, hairpin=True), lab.container(1, 3), lab.container(2, 2)
    server = web.serve(80, kind)
    protocol = "udp" if kind == UDP else "tcp"
    firewall.add_ports(lab.tag, [published(web.address, 8080, protocol=protocol)])
    # The sockets that hold the port must not be in the way.
    held = ports.open_listeners([ports.PortBinding(container_port=80, host_port=8080, protocol=protocol)])
    assert lan.reach("10.99.0.1", 8080, server) == "10.99.0.2"
    assert lab.host.reach("10.99.0.1", 8080, server) == "10.99.0.1"
    assert lab.host.reach("127.0.0.1", 8080, server) == "172.30.1.1"
    assert sibling.reach("10.99.0.1", 8080, server) == "172.30.1.1"
    assert sibling.reach("172.30.1.1", 8080, server) == "172.30.1.1"
    assert stranger.reach("10.99.0.1", 8080, server) in ("172.30.1.1", "172.30.2.2")
    assert web.reach("10.99.0.1", 8080, server) == "172.30.1.1"  # hairpin: itself, through the host
    for listener in held:
        listener.close()


def test_a_port_on_loopback_is_for_the_host_alone(lab):
    lan = lab.lan()
    lab.network(1)
    web, sibling = lab.container(1, 2), lab.container(1, 3)
    server = web.serve(80)
    firewall.add_ports(lab.tag, [published(web.address, 8080, host_ip="127.0.0.1")])
    # The worst LAN there is: the host lets 127/8 in on its cards (kube-proxy does), the neighbour routes it here.
    lab.host.sysctl("ipv4/conf/all/route_localnet", "1")
    lan.sysctl("ipv4/conf/eth0/route_localnet", "1")
    with Netlink(lan.netns_fd) as sock:
        sock.run(netlink.add_route(sock.index("eth0"), destination="127.0.0.1", prefix=32, gateway="10.99.0.1"))
    assert lab.host.reach("127.0.0.1", 8080, server) == "172.30.1.1"
    assert lan.is_kept_from("127.0.0.1", 8080, server)
    assert lan.is_kept_from("10.99.0.1", 8080, server)
    assert lan.is_kept_from(web.address, 80, server)
    assert lan.is_kept_from(web.address, 8080, server)
    assert sibling.is_kept_from("172.30.1.1", 8080, server)


def test_a_neighbour_that_routes_to_the_containers_address_gets_only_what_is_published(lab):
    lan = lab.lan()
    lab.network(1)
    web = lab.container(1, 2)
    server = web.serve(80)
    firewall.add_ports(lab.tag, [published(web.address, 8080)])
    assert lan.is_kept_from(web.address, 80, server)
    assert lan.reach("10.99.0.1", 8080, server) == "10.99.0.2"


def test_a_port_on_one_address_of_the_host_is_on_no_other(lab):
    lan = lab.lan()
    with Netlink() as sock:
        sock.run(netlink.add_address(sock.index("lan0"), "10.99.0.9", 24))
    lab.network(1)
    web = lab.container(1, 2)
    server = web.serve(80)
    firewall.add_ports(lab.tag, [published(web.address, 8080, host_ip="10.99.0.9")])
    assert lan.reach("10.99.0.9", 8080, server) == "10.99.0.2"
    assert lan.is_kept_from("10.99.0.1", 8080, server)
    assert lab.host.is_kept_from("127.0.0.1", 8080, server)


def test_the_hosts_own_loopback_services_are_out_of_reach_for_containers(lab):
    lab.network(1)
    box = lab.container(1, 2)
    service = lab.host.serve(5432, address="127.0.0.1")
    everywhere = lab.host.serve(5433, UDP)
    box.sysctl("ipv4/conf/eth0/route_localnet", "1")
    with Netlink(box.netns_fd) as sock:
        # Only a container with CAP_NET_ADMIN can do this: 127.0.0.1 is the host's, and its own source address.
        sock.run(netlink.set_link("lo", up=False))
        sock.run(netlink.add_route(sock.index("eth0"), destination="127.0.0.1", prefix=32, gateway="172.30.1.1"))
        sock.run(netlink.add_address(sock.index("eth0"), "127.0.0.9", 32))
    assert box.is_kept_from("127.0.0.1", 5432, service)
    liar = box.open_socket(kind=UDP)
    liar.bind(("127.0.0.9", 0))
    liar.sendto(b"I am local", ("172.30.1.1", 5433))
    honest = box.open_socket(kind=UDP)
    honest.sendto(b"I am not", ("172.30.1.1", 5433))
    assert everywhere.recv(64) == b"I am not"


def test_an_internal_network_publishes_nothing_to_the_lan(lab):
    lan = lab.lan()
    lab.network(1, internal=True)
    web = lab.container(1, 2)
    server = web.serve(80)
    firewall.add_ports(lab.tag, [published(web.address, 8080)])
    assert lan.is_kept_from("10.99.0.1", 8080, server)
    assert lab.host.reach("10.99.0.1", 8080, server) == "10.99.0.1"


def test_removed_ports_are_closed_and_the_rest_stay_open(lab):
    lan = lab.lan()
    lab.network(1)
    web, other = lab.container(1, 2), lab.container(1, 3)
    one, two = web.serve(80), other.serve(80)
    firewall.add_ports(lab.tag, [published(web.address, port) for port in range(8000, 8100)])
    firewall.add_ports(lab.tag, [published(other.address, 9000)])
    assert lan.reach("10.99.0.1", 8099, one) == "10.99.0.2"
    firewall.remove_ports(lab.tag, [published(web.address, port) for port in range(8000, 8100)])
    assert lan.is_kept_from("10.99.0.1", 8099, one)
    assert lan.reach("10.99.0.1", 9000, two) == "10.99.0.2"
    assert firewall.observe(lab.tag).ports == ["tcp 0.0.0.0:9000 -> 172.30.1.3:80"]


def test_removing_what_is_partly_gone_removes_the_rest(lab):
    lab.network(1)
    gone, there = published("172.30.1.2", 8000), published("172.30.1.2", 8001)
    firewall.add_ports(lab.tag, [there])
    firewall.remove_ports(lab.tag, [gone, there])
    assert firewall.observe(lab.tag).ports == []
    firewall.remove_ports(lab.tag, [gone, there])


def test_a_port_that_leads_elsewhere_is_refused_and_nothing_of_the_call_is_kept(lab):
    lab.network(1)
    firewall.add_ports(lab.tag, [published("172.30.1.2", 8001)])
    with pytest.raises(Conflict, match="port is already allocated"):
        firewall.add_ports(lab.tag, [published("172.30.1.3", 8000), published("172.30.1.3", 8001)])
    assert firewall.observe(lab.tag).ports == ["tcp 0.0.0.0:8001 -> 172.30.1.2:80"]


def test_a_udp_peer_that_never_pauses_is_led_to_the_new_container(lab):
    lan = lab.lan()
    lab.network(1)
    old, new = lab.container(1, 2), lab.container(1, 3)
    first, second = old.serve(80, UDP), new.serve(80, UDP)
    firewall.add_ports(lab.tag, [published(old.address, 53, protocol="udp")])
    client = lan.open_socket(kind=UDP)
    client.sendto(b"1", ("10.99.0.1", 53))
    assert first.recv(8) == b"1"
    firewall.remove_ports(lab.tag, [published(old.address, 53, protocol="udp")])
    firewall.add_ports(lab.tag, [published(new.address, 53, protocol="udp")])
    client.sendto(b"2", ("10.99.0.1", 53))
    assert second.recv(8) == b"2"


def test_without_a_table_publishing_says_so(lab):
    with pytest.raises(NotFound, match="No such file or directory"):
        firewall.add_ports(lab.tag, [published("172.30.1.2", 8000)])
    firewall.remove_ports(lab.tag, [published("172.30.1.2", 8000)])
