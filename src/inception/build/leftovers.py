"""Snapshots of steps carry the builder's pid and start time in their names, so that the next build removes what a killed one
left."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine import Engine

_PREFIX = "build-"


def new_snapshot_id() -> str:
    """A name that the next build knows as this one's when it is killed."""
    from inception.linux.process import start_time

    return f"{_PREFIX}{os.getpid()}-{start_time(os.getpid())}-{os.urandom(6).hex()}"


def remove_abandoned(engine: Engine) -> None:
    from inception.linux.process import is_alive

    rows = engine.store.db.rows("SELECT id FROM snapshots WHERE id >= ? AND id < ?", (_PREFIX, "build."))
    abandoned = []
    for (snapshot_id,) in rows:
        pid, started, _ = snapshot_id.removeprefix(_PREFIX).split("-")
        if not is_alive(int(pid), int(started)):
            abandoned.append(snapshot_id)
    if abandoned:
        from inception.engine.recover import recover

        recover(engine)  # what their steps ran in
    for snapshot_id in abandoned:
        engine.store.snapshots.remove(snapshot_id)
