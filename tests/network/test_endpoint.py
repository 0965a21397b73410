"""Endpoints and bridges on a real kernel: what is made, what a failure leaves, what is made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest
from tests.waiting import wait_until

from inception.errors import Conflict, Forbidden, NotFound, Unavailable
from inception.linux import namespaces, netlink
from inception.linux.netlink import Netlink
from inception.monitor.config import PublishedPort
from inception.network import bridge, endpoint, firewall, host, ipam
from inception.network.address import link_name
from inception.record import replace

from .conftest import nft

pytestmark = pytest.mark.needs("root", "nft")


def plan(lab, **changes):
    values = {
        "bridge": link_name(lab.tag, "b", "network 1"),
        "host_ifname": link_name(lab.tag, "v", "x"),
        "address": "172.30.1.2",
        "prefix": 24,
        "gateway": "172.30.1.1",
    }
    return endpoint.EndpointPlan(**{**values, **changes})


def test_an_endpoint_is_ready_when_attach_returns(lab):
    lab.network(1)
    netns = lab.new_netns()
    endpoint.attach(netns, plan(lab, mtu=1400, routes=[("10.5.0.0/16", "172.30.1.9")]))
    with Netlink(netns) as sock:
        eth0, lo = sock.link("eth0"), sock.link("lo")
        routes = {f"{route.destination}/{route.prefix} {route.gateway}" for route in sock.routes()}
    assert eth0 is not None and eth0.is_up and lo is not None and lo.is_up
    assert eth0.mac == "02:42:ac:1e:01:02" and eth0.mtu == 1400
    assert routes == {"/0 172.30.1.1", "172.30.1.0/24 ", "10.5.0.0/16 172.30.1.9"}


def test_the_first_container_of_each_of_many_networks_is_reached_at_once(lab):
    for number in range(8):
        lab.network(number)
        box = lab.container(number, 2)
        assert lab.host.reach(box.address, 80, box.serve(80)) == f"172.30.{number}.1"


def test_an_address_that_gets_a_new_owner_is_found_at_once(lab):
    lab.network(1)
    first, sibling = lab.container(1, 2, mac="02:00:00:00:00:0a"), lab.container(1, 3)
    assert sibling.reach(first.address, 80, first.serve(80)) == sibling.address
    endpoint.detach(first.link)
    second = lab.container(1, 2, mac="02:00:00:00:00:0b")
    server = second.serve(80)
    assert not sibling.is_kept_from(second.address, 80, server)


def test_a_second_network_brings_no_second_default_route(lab):
    lab.network(1)
    lab.network(2)
    netns = lab.new_netns()
    endpoint.attach(netns, plan(lab))
    second = plan(lab, bridge=link_name(lab.tag, "b", "network 2"), host_ifname=link_name(lab.tag, "v", "y"), gateway=None)
    endpoint.attach(netns, type(second)(**{**second.__dict__, "container_ifname": "eth1", "address": "172.30.2.2"}))
    with Netlink(netns) as sock:
        assert [route.gateway for route in sock.routes() if not route.destination] == ["172.30.1.1"]
        assert {address.address for address in sock.addresses()} >= {"172.30.1.2", "172.30.2.2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gateway": "10.77.0.1"}, "connect eth0 to bridge .*: route add default via 10.77.0.1 dev .*: Network is unreachable"),
        ({"bridge": "incnotthere"}, "connect eth0 to bridge incnotthere: .*No such device"),
        ({"container_ifname": "x" * 16}, "interface name 'xxxxxxxxxxxxxxxx' is longer than 15 bytes"),
    ],
)
def test_an_endpoint_that_fails_says_why_and_leaves_nothing(lab, changes, said):
    lab.network(1)
    with pytest.raises(Unavailable, match=said):
        endpoint.attach(lab.new_netns(), plan(lab, **changes))
    assert host.host_links(lab.tag) == [link_name(lab.tag, "b", "network 1")]


def test_an_endpoint_of_the_same_name_is_refused_and_the_first_one_lives_on(lab):
    lab.network(1)
    first = lab.new_netns()
    endpoint.attach(first, plan(lab))
    with pytest.raises(Unavailable, match="File exists"):
        endpoint.attach(lab.new_netns(), plan(lab, address="172.30.1.3"))
    with Netlink(first) as sock:
        assert sock.link("eth0") is not None


def test_detach_removes_both_ends_and_does_not_mind_to_be_late(lab):
    lab.network(1)
    netns = lab.new_netns()
    endpoint.attach(netns, plan(lab))
    endpoint.detach(plan(lab).host_ifname)
    endpoint.detach(plan(lab).host_ifname)
    with Netlink(netns) as sock:
        assert [link.name for link in sock.links() if link.kind == "veth"] == []


def test_the_kernel_removes_an_endpoint_with_its_namespace(lab):
    lab.network(1)
    netns = namespaces.new_netns()
    endpoint.attach(netns, plan(lab))
    os.close(netns)
    wait_until(lambda: plan(lab).host_ifname not in host.host_links(lab.tag))
    assert host.host_links(lab.tag) == [link_name(lab.tag, "b", "network 1")]


def test_a_container_without_networks_has_loopback_alone(lab):
    netns = lab.new_netns()
    with Netlink(netns) as sock:
        assert [link.name for link in sock.links() if link.is_up] == ["lo"]
        assert "127.0.0.1" in {address.address for address in sock.addresses()}


def test_a_bridge_is_put_right_again(lab):
    network = lab.network(1)
    config = bridge.BridgeConfig(name=network.bridge, subnet="172.30.1.0/24", gateway="172.30.1.1")
    with Netlink() as sock:
        index = sock.index(network.bridge)
        sock.run(netlink.set_link(network.bridge, up=False), netlink.delete_address(index, "172.30.1.1", 24))
    assert not bridge.exists(network.bridge)
    bridge.apply(config)
    bridge.apply(config)
    assert bridge.exists(network.bridge)
    assert lab.host.addresses(2) == ["172.30.1.1"]


def test_a_link_of_the_bridges_name_that_is_no_bridge_is_left_alone(lab):
    with Netlink() as sock:
        sock.run(netlink.add_veth("incxxxxbaaaaaaa", "eth0", peer_netns_fd=lab.new_netns()))
    with pytest.raises(Conflict, match="a link of this name exists and is a veth"):
        bridge.apply(bridge.BridgeConfig(name="incxxxxbaaaaaaa", subnet="172.30.1.0/24", gateway="172.30.1.1"))


def test_subnets_of_the_hosts_own_routes_are_not_chosen(lab):
    with Netlink() as sock:
        sock.run(netlink.add_bridge("other"), netlink.set_link("other", up=True))
        index = sock.index("other")
        sock.run(netlink.add_address(index, "172.17.0.1", 16), netlink.add_route(index, destination="172.18.0.0", prefix=15))
        # A VPN's default route, in two pieces.
        sock.run(netlink.add_route(index, destination="0.0.0.0", prefix=1))
        sock.run(netlink.add_route(index, destination="128.0.0.0", prefix=1))
    assert host.host_routes() == ["172.17.0.0/16", "172.18.0.0/15"]
    assert ipam.choose_subnet(host.host_routes()) == "172.20.0.0/16"


def test_a_flushed_ruleset_is_noticed_and_put_back_in_one_piece(lab):
    network = lab.network(1)
    port = PublishedPort(host_ip="", host_port=80, protocol="tcp", target_ip="172.30.1.2", target_port=80)
    firewall.add_ports(lab.tag, [port])
    before = firewall.observe(lab.tag)
    nft("flush", "ruleset")
    assert not firewall.present(lab.tag)
    with pytest.raises(NotFound):
        firewall.add_ports(lab.tag, [port])
    firewall.replace_table(lab.tag, [network], [port])
    assert firewall.observe(lab.tag) == before
    assert before.ports == [firewall.describe(port)]


def test_rules_do_not_grow_with_containers_and_other_users_of_nft_are_not_in_the_way(lab):
    lab.network(1)
    nft("add", "table", "ip", "foreign")
    rules = nft("-s", "list", "chains")
    stop = threading.Event()
    failures: list[str] = []

    def other_user() -> None:
        namespaces.setns(lab.host.netns_fd)  # this thread is the test's own
        while not stop.is_set():
            done = subprocess.run(["nft", "add chain ip foreign c; delete chain ip foreign c"], capture_output=True, text=True)
            if done.returncode:
                failures.append(done.stderr)

    user = threading.Thread(target=other_user)
    user.start()
    try:
        ports = [
            PublishedPort(host_ip="", host_port=8000 + n, protocol="tcp", target_ip="172.30.1.2", target_port=80)
            for n in range(30)
        ]
        for port in ports:
            firewall.add_ports(lab.tag, [port])
        assert len(firewall.observe(lab.tag).ports) == len(ports)
        for port in ports[:5]:
            firewall.remove_ports(lab.tag, [port])
    finally:
        stop.set()
        user.join()
    assert failures == []
    assert len(firewall.observe(lab.tag).ports) == len(ports) - 5
    assert nft("-s", "list", "chains") == rules
    firewall.remove_table(lab.tag)
    firewall.remove_table(lab.tag)
    assert nft("list", "tables") == "table ip foreign\n"


def test_rules_are_changed_also_by_a_process_that_ignores_its_children(lab):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        lab.network(1)
        port = PublishedPort(host_ip="", host_port=80, protocol="tcp", target_ip="172.30.1.2", target_port=80)
        firewall.add_ports(lab.tag, [port])
        with pytest.raises(Conflict):
            firewall.add_ports(lab.tag, [replace(port, target_port=81)])
        assert firewall.observe(lab.tag).ports == [firewall.describe(port)]
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_exhausted_pools_and_missing_helpers_say_so(lab, monkeypatch):
    with pytest.raises(Forbidden, match="could not find an available, non-overlapping IPv4 address pool"):
        ipam.choose_subnet(["172.16.0.0/12", "192.168.0.0/16"])
    monkeypatch.setattr(firewall, "_NFT_PLACES", ("/nowhere/nft",))
    with pytest.raises(Unavailable, match="nft not found in /nowhere/nft"):
        firewall.remove_table(lab.tag)
