"""After a kill -9 of anything, or a reboot: whoever comes next puts things right.

    look      rows that a process owns, and whether that process is there: one query, and a pidfd for each
    creating  the container is taken back                      removing, purging  it is removed
    starting  its monitor runs: it is adopted; else it is as it was before the start
    exited    who tried to start it again was killed: it is tried again
    running   released as killed (137), and started again if its restart policy wants that
    reboot    the boot id has changed: all owners are gone, and the run root is of yesterday

A pid can be another process by now; start times tell, and are compared once a minute and whenever one container is looked at.
"""

from __future__ import annotations

import fcntl
import os
import time
from select import POLLIN, poll

from inception.engine import records
from inception.engine.live import REMOVING, ContainerLock, killed_state, merge_status, owner_lives
from inception.errors import InceptionError, NotFound
from inception.linux.process import boot_id, is_alive
from inception.monitor.status import read_status
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerState
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord

_THOROUGH_INTERVAL_S = 60.0
_ADOPTION_TIMEOUT_S = 5.0


def recover(engine: Engine) -> None:
    """Cheap when all is well: nothing is walked but the rows that somebody owns."""
    if not engine.boot_checked:
        _check_boot(engine)
        engine.boot_checked = True
    rows = engine.database.rows("SELECT id, owner_pid, owner_start FROM containers WHERE owner_pid != 0")
    if not rows:
        return
    thorough = _is_due(engine)
    for container_id, pid, start in rows:
        if not _exists(pid) or (thorough and not is_alive(pid, start)):
            recover_one(engine, container_id)


def recover_one(engine: Engine, container_id: str) -> None:
    """Put one container right whose owner is gone; nothing happens when somebody was faster."""
    try:
        with ContainerLock(engine, container_id, removing=True):
            record = records.load_row(engine, container_id)
            if record.owner_pid == 0 or owner_lives(record):
                return
            _put_right(engine, record)
    except NotFound:
        pass  # removed by somebody else


def _put_right(engine: Engine, record: ContainerRecord) -> None:
    from inception.engine.release import await_monitor, release_locked, tear_down
    from inception.engine.remove import remove_locked

    if record.status == "starting" and not await_monitor(engine, record.id, 0) and _adopt(engine, record):
        return
    if record.status in ("creating", *REMOVING, "starting") or record.kind != "container":
        tear_down(engine, record)
    if record.status in ("creating", *REMOVING) or record.kind != "container":
        remove_locked(engine, record, volumes=record.status != "removing")
    elif record.status in ("created", "exited"):  # who tried to start it again and again was killed
        engine.database.execute("UPDATE containers SET owner_pid = 0, owner_start = 0 WHERE id = ?", (record.id,))
        if wants_restart(record, record.state):
            start_again(engine, record.id)
    elif record.status == "starting":
        state = replace(record.state, endpoints={}, ports=[])
        engine.database.execute(
            "UPDATE containers SET status = ?, state = ?, owner_pid = 0, owner_start = 0 WHERE id = ?",
            (state.status, records.to_json(state), record.id),
        )
    else:
        state = _last_state(engine, record)
        release_locked(engine, record, state)
        if wants_restart(record, state):
            start_again(engine, record.id)


def _last_state(engine: Engine, record: ContainerRecord) -> ContainerState:
    status = read_status(engine.run_dir(record.id))
    if status is not None and status.phase == "exited":
        return merge_status(record.state, status)
    return killed_state(merge_status(record.state, status) if status is not None else record.state)


def _adopt(engine: Engine, record: ContainerRecord) -> bool:
    """The starter was killed after its monitor had begun: note what the starter would have noted."""
    deadline = time.monotonic() + _ADOPTION_TIMEOUT_S
    while (status := read_status(engine.run_dir(record.id))) is None or not status.monitor_pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    from inception.engine.published import ports_of
    from inception.linux.process import start_time

    try:
        owner = (status.monitor_pid, start_time(status.monitor_pid))
    except ProcessLookupError:
        return False
    state = replace(merge_status(record.state, status), status="running", ports=ports_of(engine, record))
    engine.database.execute(
        "UPDATE containers SET status = 'running', wanted = 1, state = ?, owner_pid = ?, owner_start = ? WHERE id = ?",
        (records.to_json(state), *owner, record.id),
    )
    return True


def wants_restart(record: ContainerRecord, state: ContainerState) -> bool:
    """Whether the policy of a container that ran asks for another start."""
    policy = record.config.restart
    if not record.wanted or record.config.auto_remove:
        return False
    if policy.name == "on-failure":
        allowed = policy.maximum_retries
        return state.exit_code != 0 and (not allowed or state.restart_count < allowed)
    return policy.name in ("always", "unless-stopped")


def start_again(engine: Engine, container_id: str) -> bool:
    """Start one for its policy, for the holder of its lock; a failure is noted in its state, and it is tried again later."""
    from inception.engine.start import Start, startable

    try:
        Start(engine, startable(engine, container_id)).run()
    except InceptionError:
        from inception.engine.retry import retry_later

        if engine.database.row("SELECT 1 FROM containers WHERE id = ?", (container_id,)):
            retry_later(engine, container_id)
        return False
    return True


def _exists(pid: int) -> bool:
    """Whether some process *pid* runs. One that has ended and that its parent does not collect (an init that is slow, or a
    container's that does not care) still takes signal 0; its pidfd says the truth."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        ended = poll()
        ended.register(pidfd, POLLIN)
        return not ended.poll(0)
    finally:
        os.close(pidfd)


def _is_due(engine: Engine) -> bool:
    stamp = f"{engine.run_root}/checked"
    try:
        if time.time() - os.stat(stamp).st_mtime < _THOROUGH_INTERVAL_S:
            return False
        os.utime(stamp)
    except FileNotFoundError:
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return True


def _check_boot(engine: Engine) -> None:
    path = f"{engine.run_root}/boot-id"
    if _read(path) == boot_id():
        _sweep(engine)
        return
    from inception.engine.engine import make_private

    make_private(engine.run_root)
    with open(f"{engine.run_root}/boot.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _read(path) == boot_id():
            return  # somebody else has just done it
        _recover_boot(engine)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(boot_id())
        os.rename(f"{path}.new", path)


def _recover_boot(engine: Engine) -> None:
    """The first command after a reboot (or ever): what the run root says is of another time, and no owner lives."""
    from inception.store.scratch import remove_tree

    for name in ("containers", "gone", "names", "events", "events.1"):
        remove_tree(f"{engine.run_root}/{name}")
    # An owner of the former boot could have the pid and, to the tick, the start time of a process of this one.
    engine.database.execute("UPDATE containers SET owner_pid = -1, owner_start = 0 WHERE owner_pid != 0")
    for (container_id,) in engine.database.rows("SELECT id FROM containers WHERE owner_pid = -1"):
        recover_one(engine, container_id)
    engine.store.recover({row[0] for row in engine.database.rows("SELECT id FROM containers")})


def _sweep(engine: Engine) -> None:
    """Half-done work of dead processes: two empty folders, almost always."""
    from inception.engine.remove import sweep_gone

    sweep_gone(engine)
    tmp = f"{engine.root}/tmp"
    if os.path.isdir(tmp) and os.listdir(tmp):
        from inception.store.scratch import sweep

        sweep(tmp)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
