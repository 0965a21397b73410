"""Networks that a container joins and leaves while it runs: names, resolv.conf, hosts, the way out."""

from __future__ import annotations

import socket

import pytest

from inception import Conflict, EndpointConfig, Engine, InvalidArgument, NetworkConfig
from inception.engine.config import PortBinding
from inception.engine.container import Container
from inception.network import firewall

from .conftest import make

pytestmark = pytest.mark.needs("root", "nft")


def says(container: Container, script: str) -> str:
    return container.exec(["sh", "-c", script]).stdout.decode()


def servers(container: Container) -> list[str]:
    return [line.split()[1] for line in says(container, "cat /etc/resolv.conf").splitlines() if line.startswith("nameserver")]


@pytest.mark.parametrize("in_process", [False, True])
def test_names_resolve_in_a_network_joined_while_running_until_it_is_left(engine: Engine, in_process: bool) -> None:
    network = engine.networks.create(NetworkConfig(name="net"))
    other = make(engine, "sleep", "60", name="other", network_mode="net")
    other.start()
    if in_process:
        container = engine.containers.run("busybox", ["sleep", "60"], name="moving")
    else:
        container = make(engine, "sleep", "60", name="moving", network_mode="bridge")
        container.start()
    before = says(container, "cat /etc/resolv.conf; cat /etc/hosts")
    assert "127.0.0.11" not in servers(container)
    network.connect("moving")
    address = engine.containers.get("moving").state.endpoints["net"].ipv4_address
    assert servers(container) == ["127.0.0.11"]
    assert f"{address}\t{container.id[:12]}" in says(container, "cat /etc/hosts").splitlines()
    assert says(container, "ping -c 1 -W 2 other >/dev/null && echo there") == "there\n"
    assert says(other, "ping -c 1 -W 2 moving >/dev/null && echo there") == "there\n"
    network.disconnect("moving")
    assert says(container, "cat /etc/resolv.conf; cat /etc/hosts") == before
    network.connect("moving")
    assert says(container, "ping -c 1 -W 2 other >/dev/null && echo there") == "there\n"
    if in_process:
        container.remove(force=True)


def test_a_second_network_joined_while_running_adds_its_names(engine: Engine) -> None:
    for name in ("first", "second"):
        engine.networks.create(NetworkConfig(name=name))
    make(engine, "sleep", "60", name="other", network_mode="second").start()
    container = make(engine, "sleep", "60", name="moving", network_mode="first")
    container.start()
    assert says(container, "ping -c 1 -W 2 other >/dev/null 2>&1 || echo unknown") == "unknown\n"
    engine.networks.get("second").connect("moving")
    assert says(container, "ping -c 1 -W 2 other >/dev/null && echo there") == "there\n"
    engine.networks.get("second").disconnect("moving")
    assert says(container, "ping -c 1 -W 2 other >/dev/null 2>&1 || echo unknown") == "unknown\n"


def test_a_resolv_conf_that_the_user_changed_stays_when_the_container_joins_a_network(engine: Engine) -> None:
    network = engine.networks.create(NetworkConfig(name="net"))
    container = make(engine, "sleep", "60", name="moving", network_mode="bridge")
    container.start()
    container.exec(["sh", "-c", "echo nameserver 192.0.2.1 >/etc/resolv.conf"])
    network.connect("moving")
    assert servers(container) == ["192.0.2.1"]


def test_the_default_route_moves_when_its_network_is_left(engine: Engine) -> None:
    for name in ("first", "second"):
        engine.networks.create(NetworkConfig(name=name))
    container = make(engine, "sleep", "60", name="moving", network_mode="first")
    container.start()
    engine.networks.get("second").connect("moving")
    engine.networks.get("first").disconnect("moving")
    assert f"default via {engine.networks.get('second').gateway} dev eth1" in says(container, "ip route")
    engine.networks.get("first").connect("moving")
    assert says(container, "ip route").count("default") == 1


def test_the_network_of_the_highest_priority_leads_out_and_links_bear_the_names_that_were_asked_for(engine: Engine) -> None:
    for name in ("first", "second", "third"):
        engine.networks.create(NetworkConfig(name=name, ipv6=True))
    networks = {"first": EndpointConfig(), "second": EndpointConfig(gateway_priority=5, interface_name="wan")}
    container = make(engine, "sleep", "60", name="moving", network_mode="first", networks=networks)
    container.start()

    def way_out() -> list[str]:
        text = says(container, "ip route; ip -6 route")
        return [line.split()[2] for line in text.splitlines() if line.startswith("default")]

    second, third = engine.networks.get("second"), engine.networks.get("third")
    assert way_out() == [second.gateway, second.gateway6]
    assert "dev wan" in says(container, "ip route")
    third.connect("moving", EndpointConfig(gateway_priority=4))
    assert way_out() == [second.gateway, second.gateway6]
    third.disconnect("moving")
    third.connect("moving", EndpointConfig(gateway_priority=6))
    assert way_out() == [third.gateway, third.gateway6]
    assert [state.default_route for state in container.state.endpoints.values()] == [False, False, True]
    third.disconnect("moving")
    assert way_out() == [second.gateway, second.gateway6]
    assert container.inspect()["NetworkSettings"]["Networks"]["second"]["GwPriority"] == 5
    with pytest.raises(Conflict, match="it has an interface wan already"):
        third.connect("moving", EndpointConfig(interface_name="wan"))
    with pytest.raises(InvalidArgument, match="invalid interface name: 'a/b'"):
        third.connect("moving", EndpointConfig(interface_name="a/b"))


def test_published_ports_follow_the_container_into_another_network(engine: Engine) -> None:
    for name in ("first", "second"):
        engine.networks.create(NetworkConfig(name=name))
    ports = [PortBinding(container_port=80), PortBinding(container_port=80, protocol="udp")]
    container = make(engine, "nc", "-ll", "-p", "80", "-e", "cat", name="moving", network_mode="first", ports=ports)
    container.start()
    engine.networks.get("second").connect("moving")
    port, udp = (each.host_port for each in container.state.ports)
    says(container, "for i in 1 2 3 4 5 6 7 8 9; do netstat -ln | grep -q :80 && break; usleep 50000; done")
    assert echoed("127.0.0.1", port)
    assert echoed("::1", port)
    engine.networks.get("first").disconnect("moving")
    address = container.state.endpoints["second"].ipv4_address
    rules = [f"tcp 0.0.0.0:{port} -> {address}:80", f"udp 0.0.0.0:{udp} -> {address}:80"]
    assert firewall.observe(engine.tag).ports == rules
    assert echoed("127.0.0.1", port)
    assert echoed("::1", port)
    engine.networks.get("second").disconnect("moving")
    assert firewall.observe(engine.tag).ports == []
    assert not echoed("127.0.0.1", port)
    engine.networks.get("first").connect("moving")
    assert echoed("127.0.0.1", port)
    assert echoed("::1", port)


def echoed(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1) as client:
            client.send(b"hello\n")
            return client.recv(64) == b"hello\n"
    except OSError:
        return False
