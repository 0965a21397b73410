"""What must happen when a container has ended: state into the database, links, addresses, ports, names and cgroup gone.

    monitor ── exit ──▶ a client that claimed it, in process         or, when nobody did,
                        `main` with ROOT RUN_ROOT ID, in the monitor's own process

All of it can be done again and by several at once: each step is idempotent, and the container's lock puts them in turn. A
release that is killed half-way leaves the row owned by a dead process, and recovery calls it again.
"""

from __future__ import annotations

import os
import sys
import time

from inception.engine import records
from inception.engine.cgroups import cgroup_of
from inception.engine.live import ContainerLock, killed_state, merge_status, owner_lives
from inception.errors import InceptionError, NotFound
from inception.monitor.status import read_status
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerState
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord


def main(arguments: list[str]) -> int:
    """ROOT RUN_ROOT ID: release this container, whose monitor this process was a moment ago."""
    from inception.engine.engine import Engine

    root, run_root, container_id = arguments
    try:
        with Engine(root, run_root) as engine:
            release(engine, container_id)
    except NotFound:
        return 0  # removed already
    except InceptionError as error:
        print(f"release {container_id}: {error}", file=sys.stderr)
        return 1
    return 0


def release(engine: Engine, container_id: str) -> None:
    """Put down the end of a container if it has ended; nothing happens when it runs. Raises NotFound."""
    row = engine.database.row("SELECT owner_pid FROM containers WHERE id = ?", (container_id,))
    if row is None:
        raise NotFound(f"No such container: {container_id}")
    if row[0] == 0:
        return
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        state = ended_state(engine, record)
        if state is not None:
            release_locked(engine, record, state)


def ended_state(engine: Engine, record: ContainerRecord) -> ContainerState | None:
    """The final state of a container that ended since its row was written; None when it runs, or nothing is to be done."""
    if record.owner_pid == 0 or record.status not in ("running", "paused"):
        return None
    status = read_status(engine.run_dir(record.id))
    if status is not None and status.phase == "exited":
        return merge_status(record.state, status)
    if owner_lives(record):
        return None
    return killed_state(merge_status(record.state, status) if status is not None else record.state)


def release_locked(engine: Engine, record: ContainerRecord, state: ContainerState) -> None:
    """`release` for the holder of the lock, who knows the final *state*."""

    tear_down(engine, record)
    state = replace(state, status="exited", pid=0, endpoints={}, ports=[])
    engine.database.execute(
        "UPDATE containers SET status = 'exited', state = ?, owner_pid = 0, owner_start = 0 WHERE id = ?",
        (records.to_json(state), record.id),
    )
    if record.config.auto_remove:
        from inception.engine.remove import remove_locked

        remove_locked(engine, records.load(engine, record.id), volumes=True)


def tear_down(engine: Engine, record: ContainerRecord) -> None:
    """Remove what a run of *record* made outside the database, then its rows of addresses and ports. Idempotent."""
    cgroup = cgroup_of(engine, record)
    cgroup.kill()  # none of it may outlive init; joiners of a pid namespace of the host's could
    from inception.engine.endpoints import release_endpoints

    release_endpoints(engine, record)
    cgroup.remove()


def await_monitor(engine: Engine, container_id: str, timeout_s: float = 5.0) -> bool:
    """Wait until no monitor holds the container. False when one still does after *timeout_s*."""
    import fcntl

    from inception.monitor.handover import open_lock

    deadline = time.monotonic() + timeout_s
    pause_s = 0.0002
    while True:
        try:
            lock = open_lock(engine.run_dir(container_id))
        except FileNotFoundError:
            return True
        if lock is not None:
            # Closing is not enough: a child that another thread has just cloned has a copy until it executes its program.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.01)
