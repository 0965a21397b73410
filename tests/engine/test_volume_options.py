"""`driver_opts` of volumes: all of them are in force, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception import Engine, MountConfig, VolumeConfig
from inception.errors import InceptionError, InvalidArgument

from .conftest import make

pytestmark = pytest.mark.needs("root", "busybox")


def _said(engine: Engine, volume: str, script: str, subpath: str = "") -> str:
    mounts = [MountConfig(type="volume", source=volume, target="/x", subpath=subpath)]
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


def test_a_part_of_a_volume_is_mounted_and_no_link_leads_out_of_it(engine: Engine):
    engine.volumes.create(VolumeConfig(name="whole"))
    _said(
        engine,
        "whole",
        "mkdir -p /x/a/b; echo deep >/x/a/b/file; ln -s / /x/out; ln -s a/b /x/in; mkdir /x/etc; touch /x/etc/own",
    )
    assert _said(engine, "whole", "ls /x", "a/b") == "file\n"
    assert _said(engine, "whole", "cat /x", "a/b/file") == "deep\n"
    assert _said(engine, "whole", "ls /x", "in") == "file\n"
    assert _said(engine, "whole", "ls /x", "out/etc") == "own\n"
    with pytest.raises(InceptionError, match="cannot access path a/none in volume: no such file"):
        _said(engine, "whole", "true", "a/none")


def test_a_part_of_a_volume_is_there_again_after_a_restart(engine: Engine):
    engine.volumes.create(VolumeConfig(name="whole"))
    _said(engine, "whole", "mkdir /x/part")
    container = make(
        engine, "sh", "-c", "date >>/x/runs", mounts=[MountConfig(type="volume", source="whole", target="/x", subpath="part")]
    )
    for _ in range(2):
        container.start()
        assert container.wait(timeout_s=20) == 0
    assert _said(engine, "whole", "wc -l </x/part/runs").strip() == "2"


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
