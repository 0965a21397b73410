from __future__ import annotations

import socket

import pytest

from inception.errors import Conflict, InvalidArgument, Unavailable
from inception.network.ports import PortBinding, already_allocated, open_listeners, parse_expose, parse_publish


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortBinding(container_port=80)),
        ("8080:80", PortBinding(container_port=80, host_port=8080)),
        ("8080:80/udp", PortBinding(container_port=80, host_port=8080, protocol="udp")),
        ("8080:80/TCP", PortBinding(container_port=80, host_port=8080)),
        ("127.0.0.1:8080:80", PortBinding(container_port=80, host_port=8080, host_ip="127.0.0.1")),
        ("127.0.0.1::80", PortBinding(container_port=80, host_ip="127.0.0.1")),
        ("[::1]:8080:80", PortBinding(container_port=80, host_port=8080, host_ip="::1")),
        ("::1:8080:80", PortBinding(container_port=80, host_port=8080, host_ip="::1")),
        ("0:80", PortBinding(container_port=80)),
        ("8000-8010:80", PortBinding(container_port=80, host_port=8000, host_port_end=8010)),
        (":80", PortBinding(container_port=80)),
    ],
)
def test_one_port_is_read_as_docker_reads_it(text, expected):
    assert parse_publish(text) == [expected]


def test_ranges_pair_up():
    pairs = [(port.host_port, port.container_port) for port in parse_publish("9000-9002:80-82/udp")]
    assert pairs == [(9000, 80), (9001, 81), (9002, 82)]
    assert [port.container_port for port in parse_publish("80-82")] == [80, 81, 82]
    assert {port.host_port for port in parse_publish("80-82")} == {0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no port specified: <empty>"),
        ("80:", "no port specified: 80:<empty>"),
        ("x", "invalid containerPort: x"),
        ("0", "invalid containerPort: 0"),
        ("8080:65536", "invalid containerPort: 65536"),
        ("8080:٣", "invalid containerPort: ٣"),
        ("8080:9-8", "invalid containerPort: 9-8"),
        ("x:80", "invalid hostPort: x"),
        ("70000:80", "invalid hostPort: 70000"),
        ("8000-8001:80-85", "invalid ranges specified for container and host Ports: 80-85 and 8000-8001"),
        ("80/icmp", "invalid proto: icmp"),
        ("80/sctp", "invalid proto: sctp: only tcp and udp ports can be published"),
        ("localhost:80:80", "invalid IP address: localhost"),
        ("300.0.0.1:80:80", "invalid IP address: 300.0.0.1"),
        ("[127.0.0.1]:80:80", "invalid IP address: [127.0.0.1]"),
    ],
)
def test_nonsense_is_refused_in_dockers_words(text, said):
    with pytest.raises(InvalidArgument) as error:
        parse_publish(text)
    assert str(error.value).startswith(said)


def test_exposed_ports_are_read():
    assert parse_expose("80") == ["80/tcp"]
    assert parse_expose("8000-8002/udp") == ["8000/udp", "8001/udp", "8002/udp"]
    with pytest.raises(InvalidArgument, match="invalid proto: icmp"):
        parse_expose("80/icmp")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def local(port: int = 0, **changes) -> PortBinding:
    return PortBinding(**{"container_port": 80, "host_ip": "127.0.0.1", "host_port": port, **changes})


def test_a_held_port_is_taken_for_everyone_else_and_free_again_after():
    port = free_port()
    held = open_listeners([local(port), local(port, protocol="udp")])
    with pytest.raises(Conflict, match=f"failed to bind host port 127.0.0.1:{port}/tcp: address already in use"):
        open_listeners([local(port)])
    with pytest.raises(Conflict, match=f"failed to bind host port 127.0.0.1:{port}/udp: address already in use"):
        open_listeners([local(port, protocol="udp")])
    for listener in held:
        listener.close()
    for listener in open_listeners([local(port)]):
        listener.close()


def test_all_ports_are_held_or_none():
    one, two = free_port(), free_port()
    busy = open_listeners([local(two)])
    with pytest.raises(Conflict):
        open_listeners([local(one), local(two)])
    busy += open_listeners([local(one)])
    for listener in busy:
        listener.close()


def test_an_unspecified_port_is_the_same_for_both_families():
    held = open_listeners([PortBinding(container_port=80)])
    assert {listener.address for listener in held} <= {"0.0.0.0", "::"}
    assert len({listener.binding.host_port for listener in held}) == 1 and held[0].binding.host_port
    assert all(
        not listener.socket.get_inheritable() if hasattr(listener.socket, "get_inheritable") else True for listener in held
    )
    for listener in held:
        listener.close()


def test_of_a_range_the_first_free_port_is_chosen():
    first = free_port()
    busy = open_listeners([local(first)])
    held = open_listeners([local(first, host_port_end=first + 5)])
    assert first < held[0].binding.host_port <= first + 5 and held[0].binding.host_port_end == 0
    with pytest.raises(Conflict, match="all ports are allocated"):
        open_listeners([local(first, host_port_end=first)])
    for listener in busy + held:
        listener.close()


def test_an_address_that_the_host_does_not_have_is_refused():
    with pytest.raises(Unavailable, match=r"failed to bind host port 192\.0\.2\.77:8080/tcp: cannot assign requested address"):
        open_listeners([local(8080, host_ip="192.0.2.77")])


def test_a_port_of_another_container_is_refused_in_dockers_words():
    said = "Bind for 0.0.0.0:80 failed: port is already allocated"
    assert str(already_allocated(PortBinding(container_port=80, host_port=80))) == said
    said = "Bind for [::1]:80 failed: port is already allocated"
    assert str(already_allocated(PortBinding(container_port=80, host_port=80, host_ip="::1"))) == said
