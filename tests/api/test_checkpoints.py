"""Checkpoints, asked for by Docker's command line and by ours at the other end of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from inception.client.engine import RemoteEngine

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done"


@pytest.fixture(scope="module")
def experimental(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Host]:
    found = Host(tmp_path_factory.mktemp("experimental"))
    found.start("--experimental")
    try:
        found.docker("import", "-c", "ENV PATH=/bin", str(busybox_tar), "bb:latest")
        yield found
    finally:
        found.clean()
        assert found.stop() == 0
        found.remove()


def _count(host: Host, name: str) -> int:
    return int(host.docker("logs", "--tail", "1", name) or 0)


@pytest.mark.needs("criu-works")
def test_docker_checkpoint(experimental: Host) -> None:
    host = experimental
    assert host.docker("version", "-f", "{{.Server.Experimental}} {{.Server.Os}}") == "true linux"
    host.docker("run", "-d", "--name", "one", "--network", "none", "bb", "sh", "-c", COUNTER)
    wait_until(lambda: _count(host, "one") > 3)
    assert host.docker("checkpoint", "create", "--leave-running", "one", "first") == "first"
    assert host.docker("inspect", "-f", "{{.State.Status}}", "one") == "running"
    assert host.docker("checkpoint", "create", "one", "second") == "second"
    assert host.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "one") == "exited 137"
    assert host.docker("checkpoint", "ls", "one").split() == ["CHECKPOINT", "NAME", "first", "second"]
    saved = _count(host, "one")
    host.docker("start", "--checkpoint", "second", "one")
    wait_until(lambda: _count(host, "one") > saved)
    lines = host.docker("logs", "one").split()
    assert lines == [str(number) for number in range(1, len(lines) + 1)], "one that had begun anew would count from 1"
    taken = host.run("checkpoint", "create", "one", "first")
    assert taken.returncode == 1
    assert "checkpoint with name first already exists for container one" in taken.stderr
    host.docker("checkpoint", "rm", "one", "first")
    gone = host.run("checkpoint", "rm", "one", "first")
    assert gone.returncode == 1 and "checkpoint first does not exist for container one" in gone.stderr


@pytest.mark.needs("criu-works")
def test_the_same_by_our_own_client(experimental: Host) -> None:
    host = experimental
    host.docker("run", "-d", "--name", "two", "--network", "none", "bb", "sh", "-c", COUNTER)
    with RemoteEngine(host.address) as engine:
        container = engine.containers.get("two")
        wait_until(lambda: _count(host, "two") > 3)
        container.checkpoint("it")
        assert container.checkpoints() == ["it"]
        saved = _count(host, "two")
        container.start(checkpoint="it")
        wait_until(lambda: _count(host, "two") > saved)
        container.remove_checkpoint("it")
        assert container.checkpoints() == []


def test_docker_hides_them_where_nobody_says_experimental(host: Host) -> None:
    assert host.request("GET", "/_ping")[1]["docker-experimental"] == "false"
    refused = host.run("checkpoint", "ls", "nothing")
    assert refused.returncode == 1 and "experimental" in refused.stderr
