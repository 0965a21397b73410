"""The first containers of a network start at once: each finds that the bridge is not there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inception.engine import Engine
from inception.engine.config import NetworkConfig
from inception.engine.endpoints import ensure_bridge
from inception.engine.networks import Network
from inception.network import bridge, firewall

pytestmark = pytest.mark.needs("root", "nft")


def test_a_bridge_that_several_need_at_once_is_made_by_one(lab: object, tmp_path: Path):
    together = threading.Barrier(4)

    def need(engine: Engine, network: Network) -> None:
        together.wait()
        ensure_bridge(engine, network)

    with Engine(str(tmp_path / "root"), str(tmp_path / "run")) as engine, ThreadPoolExecutor(together.parties) as pool:
        for number in range(10):
            network = engine.networks.create(NetworkConfig(name=f"n{number}"))
            for done in [pool.submit(need, engine, network) for _ in range(together.parties)]:
                done.result()
            assert bridge.exists(network.bridge)
        assert firewall.present(engine.tag)
