from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from inception.api.documents import Summaries
from inception.engine.config import ContainerConfig, ContainerState
from inception.engine.records import ContainerRecord
from inception.record import replace

RECORD = ContainerRecord(
    id="1" * 64,
    name="web",
    kind="container",
    image_id="sha256:2",
    created_at="2026-01-01T00:00:00Z",
    config=ContainerConfig(image="bb", command=["true"]),
    mounts=[],
    status="created",
    state=ContainerState(status="created"),
    wanted=False,
    owner_pid=0,
    owner_start=0,
)


def row(summaries: Summaries, record: ContainerRecord, linked: tuple[str, ...] = ()) -> tuple[bytes, Any]:
    container: Any = SimpleNamespace(record=record, engine=SimpleNamespace(root="/r"))
    data = summaries.row(container, {"bridge": "b"}, linked)
    return data, json.loads(data)


def test_a_row_is_written_once_while_nothing_changes() -> None:
    summaries = Summaries()
    first, document = row(summaries, RECORD)
    assert document["Names"] == ["/web"] and document["State"] == "created"
    assert row(summaries, RECORD)[0] is first

    assert row(summaries, RECORD, ("/other/web",))[1]["Names"] == ["/web", "/other/web"]
    assert row(summaries, replace(RECORD, name="www"))[1]["Names"] == ["/www"]
    assert row(summaries, replace(RECORD, state=ContainerState(status="exited")))[1]["State"] == "exited"
