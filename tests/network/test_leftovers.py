"""Bridges and rules of engines whose root is gone."""

from __future__ import annotations

import os

import pytest

from inception.linux import netlink
from inception.linux.netlink import Netlink
from inception.network import bridge, firewall
from inception.network.address import engine_tag, link_name
from inception.network.leftovers import owner_alias, remove_leftovers

pytestmark = pytest.mark.needs("root", "nft")


def _make(root: str, number: int, *, busy: bool = False, alias: bool = True) -> str:
    tag, subnet = engine_tag(root), f"172.30.{number}.0/24"
    name = link_name(tag, "b", str(number))
    mark = owner_alias(root) if alias else ""
    bridge.apply(bridge.BridgeConfig(name=name, subnet=subnet, gateway=f"172.30.{number}.1", alias=mark))
    firewall.add_network(tag, firewall.Network(bridge=name, subnet=subnet))
    if busy:
        netns_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with Netlink() as sock:
            sock.run(netlink.add_veth(f"end{number}", f"peer{number}", peer_netns_fd=netns_fd))
            sock.run(netlink.set_link(f"end{number}", master=sock.index(name)))
        os.close(netns_fd)
    return name


def test_only_idle_bridges_of_roots_that_are_gone_go_and_their_rules_with_the_last(lab, tmp_path):
    gone, here = str(tmp_path / "gone"), str(tmp_path)
    idle, other = _make(gone, 1), _make(gone, 2)
    living = _make(here, 3)
    busy = _make(f"{gone}/busy", 4, busy=True)
    unmarked = _make(f"{gone}/unmarked", 5, alias=False)
    assert sorted(remove_leftovers()) == sorted([idle, other])
    for name, left in ((idle, False), (other, False), (living, True), (busy, True), (unmarked, True)):
        assert bridge.exists(name) is left
    assert not firewall.present(engine_tag(gone))
    assert firewall.present(engine_tag(here)) and firewall.present(engine_tag(f"{gone}/busy"))
    assert remove_leftovers() == []


def test_a_root_that_can_not_be_seen_counts_as_there(lab, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)  # ELOOP: neither there nor gone
    name = _make(str(loop / "root"), 6)
    assert remove_leftovers() == [] and bridge.exists(name)
    assert owner_alias("/" + "x" * 300) == ""


def test_a_full_machine_makes_room_for_a_new_network(lab, tmp_path):
    from inception.engine.config import NetworkConfig
    from inception.engine.subnets import plan_subnet
    from inception.errors import Forbidden

    taken = [f"172.{number}.0.0/16" for number in range(17, 32)] + ["192.168.0.0/17", "192.168.192.0/18"]
    gone = str(tmp_path / "gone")
    for number, subnet in enumerate(("192.168.128.0/20", "192.168.144.0/20", "192.168.160.0/20", "192.168.176.0/20")):
        gateway = subnet.replace(".0/20", ".1")
        name = link_name(engine_tag(gone), "b", str(number))
        bridge.apply(bridge.BridgeConfig(name=name, subnet=subnet, gateway=gateway, alias=owner_alias(gone)))
    assert plan_subnet(NetworkConfig(name="new"), taken)[0] == "192.168.128.0/20"
    with pytest.raises(Forbidden):
        plan_subnet(NetworkConfig(name="new"), [*taken, "192.168.128.0/17"])
