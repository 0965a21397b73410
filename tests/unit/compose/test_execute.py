"""Walking a plan, and what counts as a condition met; no engine needed."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from inception.compose.conditions import Stop, settled
from inception.compose.execute import Executor
from inception.compose.model import Ipam, IpamConfig, Network, Project
from inception.compose.plan import Operation, Plan
from inception.compose.progress import Silent
from inception.compose.resources import network_config
from inception.engine.config import ContainerConfig, ContainerState, HealthState
from inception.errors import InvalidArgument, Unavailable
from inception.oci.image import Healthcheck

PROJECT = Project(
    name="demo",
    directory="/",
    files=[],
    environment={},
    profiles=[],
    services={},
    networks={},
    volumes={},
    secrets={},
    configs={},
)


class Recorded(Executor):
    """Writes down what it is told to do; operations called `fail` fail, `hold` waits until it is stopped."""

    def __init__(self, parallel: int = -1) -> None:
        super().__init__(cast(Any, None), PROJECT, Silent(), parallel=parallel)
        self.done: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.together = threading.Event()

    def perform(self, operation: Operation, stop: Stop) -> None:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.at_once >= 2:
                self.together.set()
        if operation.target.startswith("pair"):
            assert self.together.wait(10), "the two were not started together"
        with self.lock:
            self.at_once -= 1
            self.done.append(operation.target)
        if operation.target == "fail":
            raise Unavailable("it failed")
        if operation.target == "interrupt":
            raise KeyboardInterrupt


def plan(*rows: tuple[str, list[str]]) -> Plan:
    return Plan(
        operations=[Operation(kind="do", target=name, after=[f"do {other}" for other in after]) for name, after in rows]
    )


def test_each_operation_comes_after_those_that_it_waits_for() -> None:
    executor = Recorded()
    executor.run(plan(("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("d", ["c"])))
    assert executor.done == ["a", "b", "c", "d"]


def test_what_waits_for_nothing_runs_at_once() -> None:
    executor = Recorded()
    executor.run(plan(("pair-1", []), ("pair-2", [])))
    assert executor.most_at_once == 2


def test_parallel_bounds_how_many_run_at_once() -> None:
    executor = Recorded(parallel=1)
    executor.run(plan(("a", []), ("b", []), ("c", [])))
    assert (executor.most_at_once, sorted(executor.done)) == (1, ["a", "b", "c"])


def test_a_failure_stops_what_has_not_begun_and_is_raised() -> None:
    executor = Recorded()
    with pytest.raises(Unavailable, match=r"^it failed$"):
        executor.run(plan(("fail", []), ("never", ["fail"]), ("nor this", ["never"])))
    assert executor.done == ["fail"]


def test_operations_that_wait_for_one_another_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^operations wait for one another: do a, do b$"):
        Recorded().run(plan(("a", ["b"]), ("b", ["a"])))


def test_what_is_not_in_the_plan_is_not_waited_for() -> None:
    executor = Recorded()
    executor.run(plan(("a", ["elsewhere"])))
    assert executor.done == ["a"]


class Fake:
    """As much of a container as a condition looks at."""

    def __init__(self, check: bool) -> None:
        self.name = "demo-db-1"
        self.labels = {"com.docker.compose.service": "db"}
        self.config = ContainerConfig(image="x", healthcheck=Healthcheck(test=["CMD", "x"]) if check else None)


def met(condition: str, status: str, health: str = "none", exit_code: int = 0, check: bool = True) -> str:
    state = ContainerState(status=status, exit_code=exit_code, health=HealthState(status=health))
    return settled(cast(Any, Fake(check)), condition, state)


@pytest.mark.parametrize(
    ("condition", "status", "health", "exit_code", "check", "answer"),
    [
        ("service_healthy", "running", "healthy", 0, True, "Healthy"),
        ("service_healthy", "running", "starting", 0, True, ""),
        ("service_healthy", "running", "none", 0, True, ""),
        ("service_healthy", "restarting", "starting", 0, True, ""),
        ("service_completed_successfully", "running", "none", 0, False, ""),
        ("service_completed_successfully", "exited", "none", 0, False, "Exited"),
        ("running_or_healthy", "running", "none", 0, False, "Running"),
        ("running_or_healthy", "running", "starting", 0, True, ""),
        ("running_or_healthy", "running", "healthy", 0, True, "Healthy"),
    ],
)
def test_conditions(condition: str, status: str, health: str, exit_code: int, check: bool, answer: str) -> None:
    assert met(condition, status, health, exit_code, check) == answer


@pytest.mark.parametrize(
    ("condition", "status", "health", "exit_code", "check", "message"),
    [
        ("service_healthy", "running", "unhealthy", 0, True, "dependency failed to start: container demo-db-1 is unhealthy"),
        ("service_healthy", "exited", "healthy", 1, True, "dependency failed to start: container demo-db-1 exited (1)"),
        ("service_healthy", "running", "none", 0, False, "container demo-db-1 has no healthcheck configured"),
        ("service_completed_successfully", "exited", "none", 3, False, 'service "db" didn\'t complete successfully: exit 3'),
        ("running_or_healthy", "exited", "none", 0, False, "container demo-db-1 exited (0)"),
    ],
)
def test_conditions_that_cannot_be_met_any_more(
    condition: str, status: str, health: str, exit_code: int, check: bool, message: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        met(condition, status, health, exit_code, check)
    assert str(caught.value) == message


def test_network_options_become_fields_and_unknown_ones_are_refused() -> None:
    network = Network(
        key="n",
        name="demo_n",
        driver_opts={"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "br0"},
        ipam=Ipam(config=[IpamConfig(subnet="10.9.0.0/24", gateway="10.9.0.1")]),
    )
    config = network_config(PROJECT, network)
    assert (config.mtu, config.bridge_name, config.subnet, config.gateway) == (1400, "br0", "10.9.0.0/24", "10.9.0.1")
    assert config.labels["com.docker.compose.network"] == "n"
    with pytest.raises(InvalidArgument, match=r"^networks.n.driver_opts: foo is not supported$"):
        network_config(PROJECT, Network(key="n", name="n", driver_opts={"foo": "1"}))
    pools = [IpamConfig(subnet="fd00:1::/64", ip_range="fd00:1::80/122"), IpamConfig(subnet="10.9.0.0/24")]
    config = network_config(PROJECT, Network(key="n", name="n", enable_ipv6=True, ipam=Ipam(config=pools)))
    assert (config.ipv6, config.subnet6, config.ip_range6, config.subnet) == (
        True,
        "fd00:1::/64",
        "fd00:1::80/122",
        "10.9.0.0/24",
    )
    with pytest.raises(InvalidArgument, match=r"^networks.n.ipam: several IPv4 subnets in one network are not supported$"):
        network_config(PROJECT, Network(key="n", name="n", ipam=Ipam(config=[IpamConfig(), IpamConfig()])))
