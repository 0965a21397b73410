"""What would be asked of the kernel and of nft, as text."""

from __future__ import annotations

import re

import pytest

from inception.errors import InvalidArgument
from inception.monitor.config import PublishedPort
from inception.network import address, endpoint, firewall


def plan(**changes) -> endpoint.EndpointPlan:
    values = {"bridge": "br", "host_ifname": "veth", "address": "172.18.0.2", "prefix": 16, "gateway": "172.18.0.1"}
    return endpoint.EndpointPlan(**{**values, **changes})


def test_an_endpoint_is_one_pair_made_in_place():
    assert str(endpoint.plan_pair(plan(), 7)) == "link add veth type veth peer eth0 mac 02:42:ac:12:00:02 netns fd:7"
    assert "mac 02:00:00:00:00:09" in str(endpoint.plan_pair(plan(mac="02:00:00:00:00:09"), 7))
    assert [str(request) for request in endpoint.plan_outside(plan(), 3)] == [
        "link set veth addrgenmode none",
        "link set veth master 3 up",
    ]


def test_inside_the_default_route_comes_last_and_only_from_the_gateway_network():
    assert [str(request) for request in endpoint.plan_inside(plan(), 2)] == [
        "address add 172.18.0.2/16 broadcast 172.18.255.255 dev 2",
        "link set 2 up",
        "route add default via 172.18.0.1 dev 2",
    ]
    assert not any("default" in str(request) for request in endpoint.plan_inside(plan(gateway=None), 2))


def test_ports_are_elements_of_two_maps_and_ipv6_is_left_to_the_monitor():
    def port(host_ip: str, protocol: str = "tcp") -> PublishedPort:
        return PublishedPort(host_ip=host_ip, host_port=8080, protocol=protocol, target_ip="172.18.0.2", target_port=80)

    ports = [port(""), port("0.0.0.0", "udp"), port("127.0.0.1"), port("::1")]
    assert firewall.plan_ports("abcd", ports) == (
        "add element ip inception-abcd ports { tcp . 8080 : 172.18.0.2 . 80, udp . 8080 : 172.18.0.2 . 80 }\n"
        "add element ip inception-abcd ports_at { 127.0.0.1 . tcp . 8080 : 172.18.0.2 . 80 }\n"
    )
    assert firewall.plan_ports("abcd", [port("")], "delete") == "delete element ip inception-abcd ports { tcp . 8080 }\n"
    assert firewall.plan_ports("abcd", []) == ""


def test_an_internal_network_is_never_masqueraded():
    text = firewall.plan_network("abcd", firewall.Network(bridge="br", subnet="10.0.0.0/24", internal=True))
    assert 'internal { "br" }' in text and "masquerading" not in text


def test_a_table_is_replaced_in_one_transaction():
    lines = firewall.plan_table("abcd").splitlines()
    assert lines[:3] == ["add table ip inception-abcd", "delete table ip inception-abcd", "add table ip inception-abcd"]
    assert all("inception-abcd" in line for line in lines)


def test_names_of_links_fit_tell_their_engine_and_differ():
    tag = address.engine_tag("/var/lib/inception")
    names = {address.link_name(tag, "v", str(n)) for n in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch(f"inc{tag}v[a-z2-7]{{7}}", name) for name in names)
    assert address.engine_tag("/elsewhere") != tag
    assert address.link_name(tag, "b", "x") == address.link_name(tag, "b", "x")


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4\0", "::1", "é", "1.2.3.4 "])
def test_addresses_are_read_strictly(text):
    with pytest.raises(InvalidArgument, match="invalid IPv4 address"):
        address.parse_ipv4(text)
