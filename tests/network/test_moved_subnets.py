"""Two engines that chose the same subnet while neither had a bridge: the later one moves, nobody is led to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception.engine import Engine
from inception.engine.config import NetworkConfig
from inception.engine.subnets import settle
from inception.network import bridge

pytestmark = pytest.mark.needs("root", "nft")


def test_a_subnet_of_ours_that_is_led_elsewhere_by_now_is_chosen_anew_while_nobody_is_in_it(
    lab: object, tmp_path: Path
) -> None:
    with Engine(str(tmp_path / "root"), str(tmp_path / "run")) as engine:
        ours = engine.networks.get("bridge")
        asked = engine.networks.create(NetworkConfig(name="asked", subnet="172.30.5.0/24"))
        used = engine.networks.create(NetworkConfig(name="used"))
        for number, network in enumerate((ours, asked, used)):
            bridge.apply(bridge.BridgeConfig(name=f"other{number}", subnet=network.subnet, gateway=network.gateway))
        columns = "network_id, container_id, endpoint_id, address, mac, host_interface"
        row = (used.id, "c", "e", used.gateway.removesuffix(".1") + ".2", "", "v")
        with engine.database.transaction() as tx:
            tx.execute("PRAGMA defer_foreign_keys = ON")
            tx.execute(f"INSERT INTO endpoints ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
            moved = settle(engine, tx, ours)
            assert moved.subnet not in (ours.subnet, used.subnet) and moved.gateway != ours.gateway
            assert settle(engine, tx, asked).subnet == asked.subnet, "whoever asked for it gets it"
            assert settle(engine, tx, used).subnet == used.subnet, "somebody has an address in it"
            assert settle(engine, tx, moved).subnet == moved.subnet
            tx.execute("DELETE FROM endpoints")
        assert engine.networks.get("bridge").subnet == moved.subnet
