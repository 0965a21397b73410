from __future__ import annotations

import pytest

from inception.errors import Conflict, Forbidden, InvalidArgument
from inception.network import ipam
from inception.network.address import local_pool

NET = "10.0.0.0/29"  # hosts .1 to .6


def test_the_first_free_pool_is_chosen_as_docker_does():
    assert ipam.choose_subnet([]) == "172.17.0.0/16"
    assert ipam.choose_subnet(["172.17.0.0/16", "172.18.4.0/24"]) == "172.19.0.0/16"
    assert ipam.choose_subnet(["172.16.0.0/12"]) == "192.168.0.0/20"
    assert ipam.choose_subnet(["172.16.0.0/12", "192.168.0.0/19"]) == "192.168.32.0/20"


def test_a_default_route_written_as_a_subnet_leaves_nothing():
    with pytest.raises(Forbidden, match="non-overlapping IPv4 address pool"):
        ipam.choose_subnet(["0.0.0.0/0"])


def test_addresses_go_round_so_that_one_just_freed_is_the_last_to_come_back():
    taken = {"10.0.0.1"}
    assert ipam.choose_address(NET, taken) == "10.0.0.2"
    assert ipam.choose_address(NET, taken, after="10.0.0.4") == "10.0.0.5"
    assert ipam.choose_address(NET, taken, after="10.0.0.6") == "10.0.0.2"
    assert ipam.choose_address(NET, {*taken, "10.0.0.5", "10.0.0.6"}, after="10.0.0.4") == "10.0.0.2"


def test_every_address_is_handed_out_once_and_then_the_network_is_full():
    taken = {"10.0.0.1"}
    handed_out = []
    for _ in range(5):
        handed_out.append(ipam.choose_address(NET, taken, after=handed_out[-1] if handed_out else ""))
        taken.add(handed_out[-1])
    assert handed_out == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Forbidden) as error:
        ipam.choose_address(NET, taken, network="backend")
    assert str(error.value) == "no available IPv4 addresses on this network's address pools: backend (10.0.0.0/29)"


def test_a_range_narrows_the_choice_and_not_what_may_be_asked_for():
    assert ipam.choose_address("10.0.0.0/16", set(), ip_range="10.0.5.0/24") == "10.0.5.0"
    assert ipam.choose_address("10.0.0.0/16", set(), ip_range="10.0.5.0/24", requested="10.0.9.9") == "10.0.9.9"
    with pytest.raises(Forbidden):
        ipam.choose_address("10.0.0.0/16", {"10.0.5.4", "10.0.5.5"}, ip_range="10.0.5.4/31")


def test_a_requested_address_is_refused_when_it_is_taken_or_not_of_the_subnet():
    assert ipam.choose_address(NET, {"10.0.0.1"}, "10.0.0.3") == "10.0.0.3"
    with pytest.raises(Conflict, match=r"Address already in use: 10.0.0.1 on network web"):
        ipam.choose_address(NET, {"10.0.0.1"}, "10.0.0.1", network="web")
    for outside in ("10.0.0.0", "10.0.0.7", "10.0.1.1"):
        with pytest.raises(InvalidArgument, match=f"no configured subnet contains IP address {outside}"):
            ipam.choose_address(NET, set(), outside)
    with pytest.raises(InvalidArgument, match=r"invalid IPv4 address: 10\.0\.0"):
        ipam.choose_address(NET, set(), "10.0.0")


def test_a_subnet_of_the_users_own_is_checked():
    ipam.check_subnet("10.1.0.0/16", ["10.2.0.0/16"])
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        ipam.check_subnet("10.1.0.0/16", ["10.1.4.0/24"])
    with pytest.raises(InvalidArgument, match=r"invalid subnet 10.1.0.1/16: it should be 10.1.0.0/16"):
        ipam.check_subnet("10.1.0.1/16", [])
    with pytest.raises(InvalidArgument, match="no room for a gateway and a container"):
        ipam.check_subnet("10.1.0.0/31", [])
    for text in ("10.1.0.0", "10.1.0.0/33", "10.1.0.0/x", "fd00::/129", "fd00::1/64", "fd00::/127", ""):
        with pytest.raises(InvalidArgument):
            ipam.check_subnet(text, [])


def test_ipv6_addresses_are_chosen_like_ipv4_ones_and_the_last_is_no_broadcast():
    block = "fd00:1::/126"
    assert ipam.choose_gateway(block) == "fd00:1::1"
    assert ipam.choose_gateway(block, "FD00:1:0::3") == "fd00:1::3"
    taken = {"fd00:1::1"}
    assert ipam.choose_address(block, taken) == "fd00:1::2"
    assert ipam.choose_address(block, taken, after="fd00:1::2") == "fd00:1::3"
    assert ipam.choose_address(block, taken, "fd00:0001::3") == "fd00:1::3"
    with pytest.raises(Forbidden, match="no available IPv6 addresses"):
        ipam.choose_address(block, taken | {"fd00:1::2", "fd00:1::3"})
    with pytest.raises(Conflict):
        ipam.choose_address(block, taken, "fd00:1::0001")
    with pytest.raises(InvalidArgument, match=r"no configured subnet contains IP address 10\.0\.0\.1"):
        ipam.choose_address(block, taken, "10.0.0.1")


def test_each_identity_has_its_own_local_pool_and_cuts_networks_of_64_bits_from_it():
    pool, other = local_pool("one"), local_pool("two")
    assert pool.startswith("fd") and pool.endswith("::/48") and pool != other
    first = ipam.choose_subnet([], [(pool, 64)])
    assert first == pool.removesuffix("48") + "64"
    second = ipam.choose_subnet([first, "10.0.0.0/8"], [(pool, 64)])
    assert second == pool.removesuffix("::/48") + ":1::/64"
    with pytest.raises(Forbidden, match="non-overlapping IPv6 address pool"):
        ipam.choose_subnet(["fd00::/8"], [(pool, 64)])


def test_the_gateway_is_the_first_address_unless_it_is_given():
    assert ipam.choose_gateway(NET) == "10.0.0.1"
    assert ipam.choose_gateway(NET, "10.0.0.6") == "10.0.0.6"
    for outside in ("10.0.0.0", "10.0.0.7", "10.9.0.1"):
        with pytest.raises(InvalidArgument, match=f"no matching subnet for gateway {outside}"):
            ipam.choose_gateway(NET, outside)
