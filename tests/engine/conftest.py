"""An engine on roots of its own with the busybox image. What a test leaves in it is removed; then nothing may be left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception import ContainerConfig, Engine
from inception.engine.container import Container
from inception.engine.networks import PREDEFINED
from inception.network import firewall
from inception.network.host import host_links
from inception.store.bootstrap import bootstrap


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    base = tmp_path_factory.mktemp("engine")
    roots = (str(base / "root"), str(base / "run"))
    with Engine(*roots) as engine:
        bootstrap(engine.store, "busybox:latest")
    yield roots
    with Engine(*roots) as engine:
        clean(engine)
        for network in engine.networks.list():
            from inception.engine.endpoints import take_down

            take_down(engine, network)
        assert _settled(engine, set()) == set()
        assert not firewall.present(engine.tag)
        for root in engine.cgroups.v1.values():
            _remove_empty(Path(root) / "inception")
        if engine.cgroups.v2:
            _remove_empty(Path(engine.cgroups.v2) / "inception")


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # not there, or another engine's containers are in it


@pytest.fixture
def engine(roots: tuple[str, str]) -> Iterator[Engine]:
    with Engine(*roots) as engine:
        yield engine
        clean(engine)


def clean(engine: Engine) -> None:
    """Remove everything but the images."""
    for container in engine.containers.list(all=True):
        container.remove(force=True, volumes=True)
    for network in engine.networks.list():
        if network.name not in PREDEFINED:
            network.remove()
    for volume in engine.volumes.list():
        volume.remove()


def make(engine: Engine, *command: str, **fields: object) -> Container:
    """A container of busybox without a network, unless *fields* say otherwise."""
    values = {"image": "busybox", "command": list(command), "network_mode": "none", **fields}
    return engine.containers.create(ContainerConfig(**values))


def _settled(engine: Engine, expected: set[str]) -> set[str]:
    """The links of the engine, when those of ended namespaces have gone."""
    deadline = time.monotonic() + 30
    while (links := set(host_links(engine.tag))) - expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return links


def findings(engine: Engine) -> list[str]:
    """What in the engine does not fit together, and does not for a while: a monitor may be releasing its container just now."""
    deadline = time.monotonic() + 30
    while (found := _look(engine)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _look(engine: Engine) -> list[str]:
    """Rows, monitors, cgroups, links, rules, names, folders: what one says and another doesn't."""
    rows = engine.database.rows("SELECT id, status, owner_pid FROM containers")
    found = [f"{row[0][:12]} is {row[1]}" for row in rows if row[1] not in ("created", "running", "paused", "exited")]
    found += [f"{row[0][:12]} runs without an owner" for row in rows if row[1] == "running" and not row[2]]
    known = {row[0] for row in rows}
    running = {row[0] for row in rows if row[1] in ("running", "paused")}
    for what, folder in (("container", engine.root), ("run", engine.run_root)):
        names = set(os.listdir(f"{folder}/containers")) if os.path.isdir(f"{folder}/containers") else set()
        found += [f"{what} folder of nobody: {name[:12]}" for name in names - known]
    found += [f"snapshot of nobody: {name[:12]}" for name in set(engine.store.snapshots.list()) - known]
    for place in [*engine.cgroups.v1.values(), *([engine.cgroups.v2] if engine.cgroups.v2 else [])]:
        groups = set(os.listdir(f"{place}/inception")) if os.path.isdir(f"{place}/inception") else set()
        found += [f"cgroup of {name[:12]} in {place}" for name in groups & known - running]
    wanted = {row[0] for row in engine.database.rows("SELECT host_interface FROM endpoints")}
    bridges = {row[0] for row in engine.database.rows("SELECT bridge FROM networks")}
    links = set(host_links(engine.tag)) - bridges
    found += [f"link {name} of nobody" for name in links - wanted] + [f"link {name} missing" for name in wanted - links]
    ports = {
        f"{row[0]} {row[1] or '0.0.0.0'}:{row[2]} -> {row[3]}:{row[4]}"
        for row in engine.database.rows("SELECT protocol, host_ip, host_port, target_ip, target_port FROM ports")
    }
    found += [f"rule of nobody: {port}" for port in set(firewall.observe(engine.tag).ports) ^ ports]
    owners = {row[0] for row in engine.database.rows("SELECT container_id FROM endpoints UNION SELECT container_id FROM ports")}
    found += [f"address or port of {name[:12]}, which does not run" for name in owners - running]
    query = "SELECT address FROM endpoints UNION SELECT address6 FROM endpoints"
    addresses = {row[0] for row in engine.database.rows(query)}
    for folder, _, files in os.walk(f"{engine.run_root}/names"):
        found += [f"name {folder.rpartition('/')[2]} for {name}" for name in files if name not in addresses]
    return found
