"""Names, times, states and filters without a kernel."""

from __future__ import annotations

import pytest

from inception.engine.config import ContainerState, HealthState, PortBinding
from inception.engine.filters import event_matches
from inception.engine.inspect import _port_map
from inception.engine.names import check_name, new_id, random_name
from inception.engine.results import Event
from inception.engine.status import status_text
from inception.engine.times import human_duration, now, parse, parse_when_ns
from inception.errors import InvalidArgument
from inception.record import replace


def test_an_id_is_64_hex_digits_and_its_start_never_a_number() -> None:
    ids = {new_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(len(each) == 64 and set(each) <= set("0123456789abcdef") and not each[:12].isdecimal() for each in ids)


def test_random_names_are_two_words_and_get_a_number_when_names_are_scarce() -> None:
    assert all(check_name(random_name()).count("_") == 1 for _ in range(50))
    assert random_name(3)[-1].isdecimal()


@pytest.mark.parametrize("name", ["", "a", "-ab", "a b", "a/b", "../x", "é", "a\n"])
def test_a_bad_name_is_refused_in_docker_s_words(name: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        check_name(name)


def test_a_leading_slash_is_not_part_of_a_name() -> None:
    assert check_name("/web") == "web"


def test_times_are_given_as_docker_takes_them() -> None:
    assert parse_when_ns("1700000000.5") == 1_700_000_000_500_000_000
    assert parse_when_ns("2023-11-14T22:13:20Z") == 1_700_000_000_000_000_000
    assert parse_when_ns("2023-11-14T23:13:20+01:00") == 1_700_000_000_000_000_000
    assert abs(parse(now()) - parse_when_ns("1h") - 3600 * 10**9) < 10**9
    with pytest.raises(InvalidArgument, match="invalid time"):
        parse_when_ns("yesterday")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (70, "About a minute"),
        (600, "10 minutes"),
        (3700, "About an hour"),
        (7300, "2 hours"),
        (200_000, "2 days"),
        (1_300_000, "2 weeks"),
        (10_000_000, "3 months"),
        (100_000_000, "3 years"),
    ],
)
def test_ages_are_docker_s(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def running(health: str) -> ContainerState:
    return ContainerState(status="running", started_at=now(), health=HealthState(status=health))


@pytest.mark.parametrize(
    ("state", "start"),
    [
        (ContainerState(), "Created"),
        (ContainerState(status="running", started_at=now()), "Up Less than a second"),
        (ContainerState(status="paused", started_at=now()), "Up Less than a second (Paused)"),
        (ContainerState(status="exited", exit_code=3, finished_at=now()), "Exited (3) Less than a second ago"),
        (
            ContainerState(status="running", started_at=now(), health=HealthState(status="starting")),
            "Up Less than a second (health: starting)",
        ),
        (
            ContainerState(status="running", started_at=now(), health=HealthState(status="healthy")),
            "Up Less than a second (healthy)",
        ),
    ],
)
def test_the_status_column_is_docker_s(state: ContainerState, start: str) -> None:
    assert status_text(replace(state, started_at=now(), finished_at=now())) == start  # tests may be collected long before


def test_a_port_on_all_addresses_is_shown_for_both_families() -> None:
    web = PortBinding(container_port=80, host_port=8080)
    ports = [web, PortBinding(container_port=53, protocol="udp", host_ip="127.0.0.1", host_port=5)]
    assert _port_map(ports, exposed=["80/tcp", "443/tcp"]) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "443/tcp": None,
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5"}],
    }


def test_events_are_chosen_by_object_action_and_label() -> None:
    event = Event(type="container", action="exec_start: ls", id="abc", attributes={"name": "web", "k": "v"}, time_ns=1)
    for filters, wanted in (
        ({}, True),
        ({"container": ["web"]}, True),
        ({"container": ["ab"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["web"]}, False),
        ({"event": ["exec_start"]}, True),
        ({"event": ["exec"]}, False),
        ({"label": ["k=v"]}, True),
        ({"label": ["k=x"]}, False),
    ):
        assert event_matches(filters)(event) is wanted, filters
    with pytest.raises(InvalidArgument, match="invalid filter 'color'"):
        event_matches({"color": ["red"]})
