"""A container as it is at this moment: its monitor's word laid over its row, its lock, its processes.

row says     monitor says     state
running      running          running, or paused
running      restarting       restarting
running      exited           exited; whoever looks next may release it
running      nothing, gone    exited 137: monitor and init were killed; recovery takes over
"""

from __future__ import annotations

import fcntl
import os

from inception.caching import lru_cache
from inception.engine.config import ContainerState, HealthState
from inception.errors import Conflict, NotFound
from inception.linux.process import is_alive, open_alive
from inception.monitor.status import MonitorStatus, parse_status, read_status, status_path
from inception.record import encode, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord

# Running containers whose last state is remembered: a server is asked for it again and again.
_KEPT = 512
_LAID_OVER: dict[str, tuple[ContainerRecord, MonitorStatus, ContainerRecord]] = {}
#: On its way out; with `purging` its anonymous volumes go too.
REMOVING = ("removing", "purging")


class ContainerLock:
    """One container's lock, `run_root/containers/ID/lock`: create, start, release, remove and update take it.

    Each holder opens the file anew, so it excludes threads as well as processes; the kernel lets go when a holder dies.
    """

    def __init__(self, engine: Engine, container_id: str, *, removing: bool = False) -> None:
        """*removing*: also of a container that is being removed, to finish that."""
        self._engine = engine
        self._id = container_id
        self._dir = engine.run_dir(container_id)
        self._removing = removing
        self._fd = -1

    def __enter__(self) -> ContainerLock:
        path = f"{self._dir}/lock"
        while True:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                self._make_folder()
                continue
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                if os.fstat(fd).st_ino == os.stat(path).st_ino:
                    self._fd = fd
                    return self
            except FileNotFoundError:
                pass  # the container was removed while we waited: lock what is there now
            os.close(fd)

    def _make_folder(self) -> None:
        """First use, first after a reboot, or the last moments of the container. Raises NotFound for the latter."""
        row = self._engine.database.row("SELECT status FROM containers WHERE id = ?", (self._id,))
        if row is None or (row[0] in REMOVING and not self._removing):
            raise NotFound(f"No such container: {self._id}")
        os.makedirs(self._dir, mode=0o700, exist_ok=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, NotFound):
            # Whoever had the lock before removed the container and this folder: we have just made it again.
            from inception.store.scratch import remove_tree

            remove_tree(self._dir)
        os.close(self._fd)


def live_state(engine: Engine, record: ContainerRecord) -> ContainerRecord:
    """*record*, whose row says that it runs, with the state of this moment."""
    status = _read(engine.run_dir(record.id))
    if status is None:  # its monitor has not spoken yet
        return record if owner_lives(record) else replace(record, state=killed_state(record.state))
    if status.phase != "exited" and not owner_lives(record):
        return replace(record, state=killed_state(record.state))
    # Both are values: who asks again before either has changed gets the same record.
    known = _LAID_OVER.get(record.id)
    if known is not None and known[0] is record and known[1] is status:
        return known[2]
    state = merge_status(record.state, status)
    if state.status == "running" and record.status == "paused":
        state = replace(state, status="paused")
    found = replace(record, state=state)
    if len(_LAID_OVER) >= _KEPT:
        _LAID_OVER.clear()
    _LAID_OVER[record.id] = (record, status, found)
    return found


def _read(run_dir: str) -> MonitorStatus | None:
    try:
        with open(status_path(run_dir), "rb") as file:
            return _parsed(file.read())
    except FileNotFoundError:
        return None


@lru_cache(_KEPT)
def _parsed(text: bytes) -> MonitorStatus:
    return parse_status(text)


def merge_status(state: ContainerState, status: MonitorStatus) -> ContainerState:
    """*state* with what the monitor tells."""
    running = {"running": "paused" if status.paused else "running", "restarting": "restarting", "exited": "exited"}
    health = HealthState()
    if status.health.status != "none":
        health = HealthState(
            status=status.health.status,
            failing_streak=status.health.failing_streak,
            log=[encode(probe, keep_defaults=True) for probe in status.health.log],
        )
    return replace(
        state,
        status=running[status.phase],
        pid=status.pid,
        exit_code=status.exit_code,
        error=status.error,
        oom_killed=status.oom_killed,
        started_at=status.started_at,
        finished_at=status.finished_at,
        restart_count=status.restart_count,
        health=health,
    )


def killed_state(state: ContainerState) -> ContainerState:
    """*state* after its monitor was killed: init goes with its monitor."""
    from inception.engine.times import NEVER, now

    finished = state.finished_at if state.finished_at > state.started_at else now()
    return replace(
        state, status="exited", pid=0, exit_code=137, finished_at=finished if state.started_at != NEVER else state.finished_at
    )


def owner_lives(record: ContainerRecord) -> bool:
    """Whether the process whose business *record* is still runs."""
    return record.owner_pid != 0 and is_alive(record.owner_pid, record.owner_start)


def open_init(engine: Engine, record: ContainerRecord) -> int:
    """A pidfd of the container's first process; owned by the caller. Raises Conflict when there is none."""
    status = read_status(engine.run_dir(record.id)) if record.owner_pid and record.status in ("running", "paused") else None
    if status is not None and status.phase == "running" and status.pid:
        pidfd = open_alive(status.pid, status.pid_start_time)
        if pidfd is not None:
            return pidfd
    raise not_running(record)


def not_running(record: ContainerRecord) -> Conflict:
    """Docker's words for a verb that needs a running container."""
    if record.state.status == "restarting":
        return Conflict(f"Container {record.id} is restarting, wait until the container is running")
    return Conflict(f"container {record.id} is not running")
