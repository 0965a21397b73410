"""`driver_opts` of volumes: all of them are in force, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception import Engine, MountConfig, VolumeConfig
from inception.errors import InceptionError, InvalidArgument

from .conftest import make

pytestmark = pytest.mark.needs("root", "busybox")


def _said(engine: Engine, volume: str, script: str) -> str:
    mounts = [MountConfig(type="volume", source=volume, target="/x")]
    container = make(engine, "sh", "-c", script, mounts=mounts)
    container.start()
    container.wait(timeout_s=20)
    return b"".join(line.data for line in container.logs()).decode()


def test_a_volume_in_memory_has_its_size_and_owner(engine: Engine):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}
    engine.volumes.create(VolumeConfig(name="memory", driver_options=options))
    assert _said(engine, "memory", "df -k /x | tail -1; stat -c %u /x").split()[1:2] == ["1024"]
    assert _said(engine, "memory", "stat -c %u /x") == "1000\n"


def test_a_bound_folder_that_is_read_only_takes_nothing(engine: Engine, tmp_path: Path):
    options = {"type": "none", "device": str(tmp_path), "o": "bind,ro"}
    engine.volumes.create(VolumeConfig(name="bound", driver_options=options))
    assert "Read-only" in _said(engine, "bound", "touch /x/file 2>&1")


def test_other_options_are_refused_by_name(engine: Engine, tmp_path: Path):
    options = {"type": "none", "device": str(tmp_path), "o": "bind,odd"}
    with pytest.raises(InvalidArgument, match="o=odd"):
        engine.volumes.create(VolumeConfig(name="odd", driver_options=options))
    engine.volumes.create(VolumeConfig(name="odd", driver_options={"type": "tmpfs", "device": "tmpfs", "o": "odd"}))
    with pytest.raises(InceptionError):
        _said(engine, "odd", "true")


def test_pruned_networks_leave_neither_bridge_nor_table_and_come_back(engine: Engine):
    from inception.network import bridge, firewall

    first = make(engine, "true", network_mode="bridge")
    first.start()
    first.wait(timeout_s=20)
    network = engine.networks.get("bridge")
    engine.networks.prune()
    assert not bridge.exists(network.bridge) and not firewall.present(engine.tag)
    sleeper = make(engine, "sleep", "60", network_mode="bridge")
    sleeper.start()
    engine.networks.prune()
    assert bridge.exists(network.bridge) and firewall.present(engine.tag)
