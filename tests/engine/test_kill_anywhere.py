"""kill -9 of commands and monitors at random points: the next command puts everything right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.waiting import wait_until

from inception import Engine, NetworkConfig, PortBinding, RestartPolicy

from .conftest import findings, make

pytestmark = pytest.mark.needs("root", "nft")

# Forks a process that uses an engine, over and over, for each seed that it reads: imports would cost more than the test.
_WORKER = """
import os, random, sys
from inception import Engine, ContainerConfig, EndpointConfig, MountConfig, PortBinding, RestartPolicy, run
from inception.engine.config import CommitConfig
from inception.errors import InceptionError
import inception.engine.supervisor, inception.engine.commit, inception.engine.exec, inception.engine.copyup
engine, seed = Engine(sys.argv[1], sys.argv[2]), random.Random()
def create(**fields):
    fields = {"image": "busybox", "command": ["sleep", "60"], "network_mode": seed.choice(["none", "bridge", "net"]), **fields}
    return engine.containers.create(ContainerConfig(**fields))
def cycle():
    ports = [PortBinding(container_port=80)] if seed.random() < 0.5 else []
    volume = [MountConfig(type="volume", target="/etc")] if seed.random() < 0.5 else []
    container = create(ports=ports, mounts=volume, restart=RestartPolicy(name=seed.choice(["no", "always"])))
    container.start()
    for verb in seed.sample([lambda: container.exec(["true"]), container.restart, lambda: container.pause(),
                             lambda: container.commit(CommitConfig()), lambda: container.kill("TERM")], 2):
        verb()
    container.remove(force=True, volumes=True)
def bound():
    with run("busybox", ["sleep", "60"], engine=engine, network_mode=seed.choice(["none", "net"])) as container:
        container.exec(["true"])
def work():
    while True:
        try:
            seed.choice([cycle, cycle, bound])()
        except InceptionError:
            pass
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        seed.seed(int(line))
        work()
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("gone", flush=True)
"""


class Workers:
    """Processes that use the engine, one at a time."""

    def __init__(self, roots: tuple[str, str]) -> None:
        self._factory = subprocess.Popen(
            [sys.executable, "-c", _WORKER, *roots], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = 0

    def start(self, seed: int) -> None:
        assert self._factory.stdin is not None and self._factory.stdout is not None
        self._factory.stdin.write(f"{seed}\n")
        self._factory.stdin.flush()
        self.pid = int(self._factory.stdout.readline())

    def kill(self) -> None:
        assert self._factory.stdout is not None
        os.kill(self.pid, signal.SIGKILL)
        assert self._factory.stdout.readline() == "gone\n"

    def close(self) -> None:
        self._factory.communicate("")


@pytest.fixture
def workers(roots: tuple[str, str]) -> Iterator[Workers]:
    workers = Workers(roots)
    yield workers
    workers.close()


def test_after_a_kill_of_a_command_at_any_point_the_next_one_finds_a_whole_engine(
    engine: Engine, roots: tuple[str, str], workers: Workers
) -> None:
    engine.networks.create(NetworkConfig(name="net", ipv6=True))
    seed = random.Random(4242)
    end = time.monotonic() + 45
    kills = 0
    while time.monotonic() < end and kills < 300:
        workers.start(seed.randrange(1 << 30))
        time.sleep(seed.random() * 0.15)
        workers.kill()
        kills += 1
        with Engine(*roots) as after:
            containers = after.containers.list(all=True)
            assert findings(after) == [], f"after kill {kills}"
            if kills % 5 == 0:
                for container in containers:
                    container.remove(force=True, volumes=True)
                assert findings(after) == [], f"after removals at kill {kills}"
    assert kills >= 50
    for container in engine.containers.list(all=True):
        container.remove(force=True, volumes=True)
    assert engine.volumes.list() == []


def test_a_container_whose_monitor_is_killed_runs_again_after_the_next_command(engine: Engine) -> None:
    engine.networks.create(NetworkConfig(name="net", ipv6=True))
    always = make(
        engine, "sleep", "60", network_mode="net", ports=[PortBinding(container_port=80)], restart=RestartPolicy(name="always")
    )
    never = make(engine, "sleep", "60", network_mode="net")
    always.start()
    never.start()
    for _ in range(5):
        monitors = [engine.containers.get(each.id).record.owner_pid for each in (always, never)]
        inits = [always.state.pid, never.state.pid]
        os.kill(monitors[0], signal.SIGKILL)
        _await_end(inits[0])
        assert engine.containers.get(always.id).state.status == "running"
        assert always.state.pid != inits[0]
        assert findings(engine) == []
    os.kill(monitors[1], signal.SIGKILL)
    _await_end(inits[1])
    state = engine.containers.get(never.id).state
    assert (state.status, state.exit_code) == ("exited", 137)
    assert findings(engine) == []


def test_everything_killed_at_once_comes_back_as_its_policies_say(
    engine: Engine, roots: tuple[str, str], workers: Workers
) -> None:
    containers = [make(engine, "sleep", "60", restart=RestartPolicy(name=name)) for name in ("no", "always", "unless-stopped")]
    for container in containers:
        container.start()
    workers.start(7)
    time.sleep(0.1)
    owners = {row[0] for row in engine.database.rows("SELECT owner_pid FROM containers WHERE owner_pid != 0")}
    for pid in owners - {workers.pid}:
        os.kill(pid, signal.SIGKILL)
    workers.kill()
    for container in containers:
        _await_end(container.record.state.pid)
    with Engine(*roots) as after:
        states = [after.containers.get(container.id).state.status for container in containers]
        assert states == ["exited", "running", "running"]
        assert findings(after) == []


def _await_end(pid: int) -> None:
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), f"the end of {pid}")
