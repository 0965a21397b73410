"""Removing a container: its row last, so that a removal that was killed can be found and finished."""

from __future__ import annotations

import os

from inception.engine import records
from inception.engine.live import REMOVING, ContainerLock, owner_lives
from inception.errors import Conflict, NotFound, NotModified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord

TRASH = ("-snapshot", "-container")


def remove(engine: Engine, container_id: str, *, force: bool, volumes: bool) -> None:
    """Raises Conflict when it runs and *force* is not given."""
    from inception.engine.lifecycle import RUNNING, kill, stop

    if _remove_ended_here(engine, container_id, volumes):
        return
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


def _remove_ended_here(engine: Engine, container_id: str, volumes: bool) -> bool:
    """Remove a container whose monitor was a thread of this process and is through: nothing has to be asked or waited for."""
    thread = engine.containers.thread_of(container_id)
    if thread is None or not thread.join(0):
        return False
    from inception.engine.release import tear_down
    from inception.engine.supervisor import supervisor_of

    supervisor = supervisor_of(engine)
    with ContainerLock(engine, container_id):
        record = records.load_row(engine, container_id)
        if record.owner_pid not in (0, os.getpid()):
            return False  # another process has started it again
        if record.owner_pid:
            tear_down(engine, record)
        remove_locked(engine, record, volumes=volumes, trash=supervisor.make_trash())
    supervisor.forget(container_id)
    return True


def _refuse_running(engine: Engine, record: ContainerRecord) -> None:
    from inception.engine.release import ended_state, tear_down

    if ended_state(engine, record) is not None:
        tear_down(engine, record)
    elif record.owner_pid and owner_lives(record) and record.status not in ("created", "exited", *REMOVING):
        raise Conflict(f"cannot remove container {record.name!r}: it has just been started again")


def remove_locked(engine: Engine, record: ContainerRecord, *, volumes: bool, trash: str = "") -> None:
    """Remove a container that does not run, for the holder of its lock. Idempotent but for the last step, the row.

    Its files are moved to *trash* with the endings of TRASH, and removed when there is time for it, or else at once.
    """
    if trash and not record.mounts:  # files are only moved, which is quick enough to be done while others wait
        with engine.database.transaction():
            _take_apart(engine, record, volumes, trash)
    else:
        _take_apart(engine, record, volumes, trash)
    if not trash:
        sweep_gone(engine)
    if record.kind != "step":
        from inception.engine.records import event_attributes

        engine.events.emit("container", "destroy", record.id, event_attributes(record))


def _take_apart(engine: Engine, record: ContainerRecord, volumes: bool, trash: str) -> None:
    from inception.engine.owner import take
    from inception.engine.volumes import remove_volume
    from inception.store.scratch import move, remove_tree

    snapshot, folder = (trash + ending if trash else "" for ending in TRASH)
    with engine.database.transaction():
        take(engine, record.id, "purging" if volumes else "removing")
    if record.kind != "step":
        engine.store.snapshots.remove(record.id, durable=not records.is_fleeting(record), trash=snapshot)
        for point in record.mounts:
            if point.snapshot:
                engine.store.snapshots.remove(point.snapshot)
    if not folder or not move(engine.container_dir(record.id), folder):
        remove_tree(engine.container_dir(record.id))
    if record.mounts:
        engine.database.execute("DELETE FROM volume_uses WHERE container_id = ?", (record.id,))
    if volumes:
        for mount in record.mounts:
            if mount.anonymous:
                try:
                    remove_volume(engine, mount.source, force=True)
                except Conflict:
                    pass  # another container has it through --volumes-from
    _move_away(engine, record.id)
    with engine.database.transaction() as tx:
        tx.execute("DELETE FROM endpoints WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM ports WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM containers WHERE id = ?", (record.id,))


def _move_away(engine: Engine, container_id: str) -> None:
    """The run folder, lock and all, goes where the next command finds it if this one is killed after the row is gone."""
    from inception.store.scratch import remove_tree

    place = f"{engine.run_root}/gone/{container_id}"
    remove_tree(place)
    os.makedirs(f"{engine.run_root}/gone", mode=0o700, exist_ok=True)
    try:
        os.rename(engine.run_dir(container_id), place)
    except FileNotFoundError:
        pass  # a removal that was killed has got as far as this before


def sweep_gone(engine: Engine) -> None:
    """Empty the folder of run folders that nobody needs."""
    folder = f"{engine.run_root}/gone"
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        from inception.store.scratch import remove_tree  # there is almost never anything

        try:
            remove_tree(f"{folder}/{name}")
        except OSError:
            pass  # another process is doing the same
