"""Removing a container: its row last, so that a removal that was killed can be found and finished."""

from __future__ import annotations

from inception.engine import records
from inception.engine.live import ContainerLock, owner_lives
from inception.errors import Conflict, NotFound, NotModified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord


def remove(engine: Engine, container_id: str, *, force: bool, volumes: bool) -> None:
    """Raises Conflict when it runs and *force* is not given."""
    from inception.engine.lifecycle import RUNNING, kill, stop

    record = records.load(engine, container_id)
    if record.state.status in RUNNING:
        if not force:
            raise Conflict(
                f"cannot remove container {record.name!r}: container is {record.state.status}: "
                "stop the container before removing or force remove"
            )
        try:
            kill(engine, container_id, "KILL")
        except Conflict:
            try:
                stop(engine, container_id, 0, "KILL")  # it was between two runs
            except NotModified:
                pass
        except NotFound:
            return
    try:
        with ContainerLock(engine, container_id):
            record = records.load(engine, container_id)
            _refuse_running(engine, record)
            remove_locked(engine, record, volumes=volumes)
    except NotFound:
        if not force:
            raise


def _refuse_running(engine: Engine, record: ContainerRecord) -> None:
    from inception.engine.release import ended_state, tear_down

    if ended_state(engine, record) is not None:
        tear_down(engine, record)
    elif record.owner_pid and owner_lives(record) and record.status != "removing":
        raise Conflict(f"cannot remove container {record.name!r}: it has just been started again")


def remove_locked(engine: Engine, record: ContainerRecord, *, volumes: bool) -> None:
    """Remove a container that does not run, for the holder of its lock. Idempotent but for the last step, the row."""
    from inception.engine.lifecycle import event_attributes
    from inception.engine.owner import take
    from inception.engine.volumes import remove_volume
    from inception.store.scratch import remove_tree

    take(engine, record.id, "removing")
    if record.kind != "step":
        engine.store.snapshots.remove(record.id)
    remove_tree(engine.container_dir(record.id))
    with engine.database.transaction() as tx:
        tx.execute("DELETE FROM volume_uses WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM endpoints WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM ports WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM containers WHERE id = ?", (record.id,))
    remove_tree(engine.run_dir(record.id))
    if volumes:
        for mount in record.mounts:
            if mount.anonymous:
                try:
                    remove_volume(engine, mount.source)
                except (Conflict, NotFound):
                    pass  # another container has it through --volumes-from
    if record.kind != "step":
        engine.events.emit("container", "destroy", record.id, event_attributes(record))
