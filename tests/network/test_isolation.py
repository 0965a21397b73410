"""Who reaches whom when nothing is published."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from inception.network import bridge, firewall

pytestmark = pytest.mark.needs("root", "nft")


def test_containers_of_one_network_talk_and_those_of_two_do_not(lab):
    lab.network(1)
    lab.network(2)
    one, sibling, stranger = lab.container(1, 2), lab.container(1, 3), lab.container(2, 2)
    server = one.serve(80)
    assert sibling.reach(one.address, 80, server) == sibling.address
    assert stranger.is_kept_from(one.address, 80, server)


def test_what_leaves_a_network_bears_the_hosts_address(lab):
    lan = lab.lan()
    lab.network(1)
    box = lab.container(1, 2)
    server = lan.serve(80)
    assert box.reach(lan.address, 80, server) == "10.99.0.1"


def test_an_internal_network_leads_nowhere_and_nobody_in(lab):
    lan = lab.lan()
    lab.network(1, internal=True)
    lab.network(2)
    inner, friend, outer = lab.container(1, 2), lab.container(1, 3), lab.container(2, 2)
    outside, other, server = lan.serve(80), outer.serve(80), inner.serve(80)
    assert inner.is_kept_from(lan.address, 80, outside)
    assert inner.is_kept_from(outer.address, 80, other)
    assert outer.is_kept_from(inner.address, 80, server)
    assert lan.is_kept_from(inner.address, 80, server)
    assert friend.reach(inner.address, 80, server) == friend.address


def test_without_inter_container_communication_siblings_reach_the_gateway_only(lab):
    lan = lab.lan()
    lab.network(1)
    one, two = lab.container(1, 2, isolated=True), lab.container(1, 3, isolated=True)
    server, outside = one.serve(80), lan.serve(80)
    assert two.is_kept_from(one.address, 80, server)
    assert two.reach(lan.address, 80, outside) == "10.99.0.1"


def test_two_engines_live_side_by_side_and_one_leaves_without_the_other(lab):
    lab.network(1)
    first = lab.tag
    lab.tag = "othr"
    lab.network(2)
    box, stranger = lab.container(2, 2), lab.container(2, 3)
    server = box.serve(80)
    firewall.remove_table(first)
    assert not firewall.present(first)
    assert stranger.reach(box.address, 80, server) == stranger.address
    assert len(firewall.observe("othr").bridges) == 1


def test_router_advertisements_of_a_sibling_are_ignored(lab):
    lab.network(1)
    attacker, victim, control = lab.container(1, 2), lab.container(1, 3), lab.container(1, 4)
    for box in (attacker, control):
        box.sysctl("ipv6/conf/eth0/disable_ipv6", "0")
    deadline = time.monotonic() + 10
    while not any(a.startswith("2001:db8:") for a in control.addresses(socket.AF_INET6)) and time.monotonic() < deadline:
        _advertise(attacker)
        time.sleep(0.1)
    # The advertisement is a good one: who has IPv6 on takes it.
    assert any(a.startswith("2001:db8:") for a in control.addresses(socket.AF_INET6))
    assert victim.addresses(socket.AF_INET6) == []
    assert _v6_of_bridge(lab) == []


def _v6_of_bridge(lab) -> list[str]:
    return [address for address in lab.host.addresses(socket.AF_INET6) if address != "::1"]


def _advertise(box) -> None:
    """An RFC 4861 router advertisement with an RFC 4862 prefix, 2001:db8::/64, sent as a frame."""
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8::")
    source, target = socket.inet_pton(socket.AF_INET6, "fe80::1"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    pseudo = source + target + struct.pack("!II", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    packet = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + source + target + body
    frame = bytes.fromhex("333300000001") + bytes.fromhex("0242ac1e0102") + b"\x86\xdd" + packet
    sender = box.open_socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind(("eth0", 0))
    sender.send(frame)


def test_a_removed_network_leaves_neither_link_nor_rule(lab):
    network = lab.network(1)
    box = lab.container(1, 2)
    firewall.remove_network(lab.tag, network)
    firewall.remove_network(lab.tag, network)
    bridge.remove(network.bridge)
    bridge.remove(network.bridge)
    assert not bridge.exists(network.bridge)
    assert firewall.observe(lab.tag).bridges == []
    assert box.addresses(socket.AF_INET) == [box.address]
