"""Networks with IPv6: addresses, names, the way out, published ports, isolation, and nothing left of them."""

from __future__ import annotations

import socket
import subprocess

import pytest

from inception import EndpointConfig, Engine, NetworkConfig
from inception.engine.config import PortBinding
from inception.engine.container import Container
from inception.engine.endpoints import ensure_bridge
from inception.errors import Conflict, Forbidden, InvalidArgument
from inception.network import firewall
from inception.network.host import host_links

from .conftest import make

pytestmark = pytest.mark.needs("root", "nft", "ipv6")

SERVE = "mkdir /www && cd /www && echo %s > index.html && exec httpd -f -p [::]:80"


def says(container: Container, script: str) -> str:
    return container.exec(["sh", "-c", script]).stdout.decode()


def fetch(address: str, port: int) -> str:
    """What a web server says, read to its end; empty when there is no way to it."""
    try:
        with socket.create_connection((address, port), timeout=2) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            text = b""
            while piece := client.recv(4096):
                text += piece
    except OSError:
        return ""
    return text.decode().rpartition("\r\n\r\n")[2].strip()


def served(container: Container) -> str:
    """The container's IPv6 address, once its web server listens there."""
    address = container.state.endpoints[container.config.network_mode].ipv6_address
    for _ in range(50):
        if fetch(address, 80):
            break
        says(container, "usleep 20000")
    return address


def test_a_dual_network_gives_both_addresses_and_says_so_everywhere(engine: Engine) -> None:
    network = engine.networks.create(
        NetworkConfig(
            name="dual",
            ipv6=True,
            subnet6="fd5c:1:2::/64",
            gateway6="FD5C:1:2::0007",
            ip_range6="fd5c:1:2::100/120",
            auxiliary_addresses={"router": "fd5c:1:2::101"},
        )
    )
    first = make(engine, "sleep", "60", name="first", network_mode="dual")
    first.start()
    asked = EndpointConfig(ipv6_address="fd5c:1:2:0::55", aliases=["db"])
    second = make(engine, "sleep", "60", name="second", network_mode="dual", networks={"dual": asked})
    second.start()
    document = first.inspect()["NetworkSettings"]["Networks"]["dual"]
    # ::100 is within the range and may be had; ::101 is kept free.
    assert (document["GlobalIPv6Address"], document["GlobalIPv6PrefixLen"]) == ("fd5c:1:2::100", 64)
    assert document["IPv6Gateway"] == "fd5c:1:2::7"
    assert document["IPAddress"]
    assert second.inspect()["NetworkSettings"]["Networks"]["dual"]["IPAMConfig"] == {"IPv6Address": "fd5c:1:2:0::55"}
    shown = network.inspect()
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (True, True)
    assert shown["IPAM"]["Config"][1] == {
        "Subnet": "fd5c:1:2::/64",
        "IPRange": "fd5c:1:2::100/120",
        "AuxiliaryAddresses": {"router": "fd5c:1:2::101"},
        "Gateway": "fd5c:1:2::7",
    }
    assert shown["Containers"][second.id]["IPv6Address"] == "fd5c:1:2::55/64"
    assert f"fd5c:1:2::100\t{first.id[:12]}" in says(first, "cat /etc/hosts").splitlines()
    assert "default via fd5c:1:2::7 dev eth0" in says(first, "ip -6 route")
    assert "tentative" not in says(first, "ip -6 addr")
    assert says(first, "ping -6 -c 1 -W 2 db >/dev/null && echo there") == "there\n"
    assert "name = db\n" in says(first, "nslookup fd5c:1:2::55")
    assert says(first, "cat /proc/sys/net/ipv6/conf/eth0/accept_ra") == "0\n"


def test_addresses_are_handed_out_once_and_checked(engine: Engine) -> None:
    engine.networks.create(NetworkConfig(name="dual", ipv6=True, subnet6="fd5c:1:3::/64"))
    taken = {"dual": EndpointConfig(ipv6_address="fd5c:1:3::9")}
    make(engine, "sleep", "60", name="first", network_mode="dual", networks=taken).start()
    late = make(engine, "sleep", "60", name="late", network_mode="dual", networks=taken)
    with pytest.raises(Conflict, match="Address already in use: fd5c:1:3::9"):
        late.start()
    outside = {"dual": EndpointConfig(ipv6_address="fd5c:9::9")}
    with pytest.raises(InvalidArgument, match="no configured subnet contains IP address fd5c:9::9"):
        make(engine, "true", name="outside", network_mode="dual", networks=outside).start()
    with pytest.raises(Forbidden, match="Pool overlaps with other one"):
        engine.networks.create(NetworkConfig(name="again", ipv6=True, subnet6="fd5c:1:3::/48"))
    with pytest.raises(InvalidArgument, match="subnet fd5c:1:4::/64: the network has no IPv6"):
        engine.networks.create(NetworkConfig(name="without", subnet6="fd5c:1:4::/64"))
    with pytest.raises(InvalidArgument, match="IPv4 or IPv6 must be enabled"):
        engine.networks.create(NetworkConfig(name="nothing", ipv4=False))
    engine.networks.create(NetworkConfig(name="four"))
    asked = {"four": EndpointConfig(ipv6_address="fd5c:1:3::9")}
    with pytest.raises(InvalidArgument, match="no configured subnet contains IP address"):
        make(engine, "true", name="none", network_mode="four", networks=asked).start()


def test_a_network_of_ipv6_alone_has_no_ipv4_and_gets_a_local_subnet(engine: Engine) -> None:
    network = engine.networks.create(NetworkConfig(name="six", ipv4=False, ipv6=True))
    assert network.subnet6.startswith("fd") and network.subnet6.endswith("/64")
    assert network.subnet == ""
    web = make(engine, "sh", "-c", SERVE % "six", name="web", network_mode="six")
    web.start()
    other = make(engine, "sleep", "60", name="other", network_mode="six")
    other.start()
    served(web)
    assert says(web, "ip -4 addr show eth0") == ""
    assert says(other, "wget -qO- http://web/") == "six\n"
    document = web.inspect()["NetworkSettings"]["Networks"]["six"]
    assert (document["IPAddress"], document["Gateway"], document["IPPrefixLen"]) == ("", "", 0)
    assert network.inspect()["Containers"][web.id]["IPv4Address"] == ""
    assert [len(network.inspect()["IPAM"]["Config"])] == [1]


@pytest.mark.parametrize("ipv4", [True, False])
def test_published_ports_are_reached_over_both_families(engine: Engine, ipv4: bool) -> None:
    network = engine.networks.create(NetworkConfig(name="net", ipv4=ipv4, ipv6=True))
    ports = [PortBinding(container_port=80), PortBinding(container_port=80, host_ip="::1")]
    web = make(engine, "sh", "-c", SERVE % "web", name="web", network_mode="net", ports=ports)
    web.start()
    served(web)
    everywhere, local = (port.host_port for port in web.state.ports)
    assert fetch("::1", everywhere) == "web"
    assert fetch("127.0.0.1", everywhere) == "web"
    assert fetch(network.gateway6, everywhere) == "web"  # an address of this host
    assert fetch("::1", local) == "web"
    assert fetch(network.gateway6, local) == ""
    rules = firewall.observe(engine.tag).ports
    assert any(rule.startswith(f"tcp :::{everywhere} -> ") for rule in rules)
    assert not any(f":{local} " in rule for rule in rules)
    web.remove(force=True)
    assert firewall.observe(engine.tag).ports == []


def test_a_container_without_ipv6_is_still_reached_at_an_ipv6_address_of_the_host(engine: Engine) -> None:
    ports = [PortBinding(container_port=80)]
    engine.networks.create(NetworkConfig(name="four"))
    web = make(engine, "sh", "-c", SERVE.replace("[::]:", "") % "four", name="web", network_mode="four", ports=ports)
    web.start()
    port = web.state.ports[0].host_port
    says(web, "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1/ && break; usleep 50000; done")
    assert fetch("::1", port) == "four"


def test_networks_are_isolated_and_an_internal_one_has_no_way_out(engine: Engine) -> None:
    for name, internal in (("one", False), ("two", False), ("inside", True)):
        engine.networks.create(NetworkConfig(name=name, ipv6=True, internal=internal))
    web = make(engine, "sh", "-c", SERVE % "one", name="web", network_mode="one")
    web.start()
    target = served(web)
    for name in ("two", "inside"):
        container = make(engine, "sleep", "60", name=f"in-{name}", network_mode=name)
        container.start()
        assert says(container, f"wget -T 1 -qO- http://[{target}]/ || echo kept") == "kept\n"
    assert "default" not in says(engine.containers.get("in-inside"), "ip -6 route")
    assert engine.containers.get("in-inside").state.endpoints["inside"].ipv6_gateway == ""


def test_what_leaves_a_network_bears_the_hosts_address(engine: Engine) -> None:
    network = engine.networks.create(NetworkConfig(name="net", ipv6=True))
    box = make(engine, "sleep", "60", name="box", network_mode="net")
    box.start()
    # Another machine: a namespace behind a link that no engine knows.
    link, netns = "inctest6", "inctest6"
    steps = [
        ["ip", "netns", "add", netns],
        ["ip", "link", "add", link, "type", "veth", "peer", "eth0", "netns", netns],
        ["ip", "-6", "addr", "add", "fd5c:77::1/64", "dev", link, "nodad"],
        ["ip", "link", "set", link, "up"],
        ["ip", "-n", netns, "-6", "addr", "add", "fd5c:77::2/64", "dev", "eth0", "nodad"],
        ["ip", "-n", netns, "link", "set", "eth0", "up"],
        ["ip", "-n", netns, "link", "set", "lo", "up"],
    ]
    try:
        for step in steps:
            subprocess.run(step, check=True)
        from inception.linux.namespaces import socket_in_netns

        with open(f"/run/netns/{netns}", "rb") as there:
            fd = socket_in_netns(there.fileno(), socket.AF_INET6, socket.SOCK_STREAM, 0)
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fd) as server:
            server.settimeout(3)
            server.bind(("::", 7000))
            server.listen()
            says(box, "echo hi | nc -w 2 fd5c:77::2 7000 & true")
            assert server.accept()[1][0] == "fd5c:77::1"
    finally:
        subprocess.run(["ip", "link", "delete", link], check=False)
        subprocess.run(["ip", "netns", "delete", netns], check=False)
    assert network.gateway6


def test_ipv6_follows_a_container_that_moves_between_networks(engine: Engine) -> None:
    first = engine.networks.create(NetworkConfig(name="first", ipv6=True))
    second = engine.networks.create(NetworkConfig(name="second", ipv6=True, subnet6="fd5c:1:5::/64"))
    container = make(engine, "sleep", "60", name="moving", network_mode="first")
    container.start()
    second.connect("moving", EndpointConfig(ipv6_address="fd5c:1:5::42"))
    assert "inet6 fd5c:1:5::42/64" in says(container, "ip -6 addr show eth1")
    assert f"fd5c:1:5::42\t{container.id[:12]}" in says(container, "cat /etc/hosts").splitlines()
    assert says(container, "ip -6 route").count("default") == 1
    old = container.state.endpoints["first"].ipv6_address
    first.disconnect("moving")
    assert f"default via {second.gateway6} dev eth1" in says(container, "ip -6 route")
    assert old not in says(container, "cat /etc/hosts")


def test_rules_and_bridge_come_back_and_go_with_the_last_network(engine: Engine) -> None:
    network = engine.networks.create(NetworkConfig(name="net", ipv6=True))
    make(engine, "sleep", "60", name="box", network_mode="net").start()
    subprocess.run(["nft", "delete", "table", "ip6", firewall.table_name(engine.tag)], check=True)
    ensure_bridge(engine, network)
    assert network.bridge in firewall.observe(engine.tag).bridges
    assert firewall.present6(engine.tag)
    engine.containers.get("box").remove(force=True)
    network.remove()
    if not host_links(engine.tag):
        assert not firewall.present6(engine.tag)
    assert network.bridge not in host_links(engine.tag)
