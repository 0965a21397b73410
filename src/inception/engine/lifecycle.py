"""Stop, kill, wait, pause, attach, logs, rename: verbs on a container that exists.

Starting is `start.py`, the end `release.py`.
"""

from __future__ import annotations

import os
import time

from inception.engine import records
from inception.engine.cgroups import cgroup_of
from inception.engine.live import ContainerLock, not_running, open_init
from inception.engine.names import check_name
from inception.engine.records import event_attributes
from inception.engine.release import await_monitor, release
from inception.engine.validate import parse_signal
from inception.errors import Conflict, InvalidArgument, NotFound, NotModified, Unavailable
from inception.linux.process import pidfd_send_signal, wait_pidfd
from inception.monitor import client, protocol
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.monitor.logs import LogLine

DEFAULT_STOP_TIMEOUT_S = 10
# poll(2) counts milliseconds in an int; what is longer than its 24 days is for ever.
_LONGEST_TIMEOUT_S = (2**31 - 1) // 1000
#: How long a killed process may take to go; longer means that it hangs in the kernel.
_KILL_TIMEOUT_S = 20.0
_POLL_S = 0.01
RUNNING = ("running", "paused", "restarting")


def stop(engine: Engine, container_id: str, timeout_s: float | None, signal: str) -> None:
    record = records.load(engine, container_id)
    config = record.config
    number = parse_signal(signal or config.stop_signal or "TERM")
    if timeout_s is None:
        timeout_s = config.stop_timeout_s if config.stop_timeout_s is not None else DEFAULT_STOP_TIMEOUT_S
    if record.state.status not in RUNNING:
        release(engine, container_id)  # an exit that nobody has written down yet
        set_wanted(engine, container_id, False)  # nor may it be tried to start it again
        raise NotModified(f"container {record.name} is already stopped")
    set_wanted(engine, container_id, False)
    try:
        with _watch(engine, record, claim=True) as exits:
            client.stop_requested(engine.run_dir(container_id))
            _signal(engine, record, number)
            if record.state.status == "paused":
                _thaw(engine, record)
            if not _wait_exit(exits, timeout_s if 0 <= timeout_s <= _LONGEST_TIMEOUT_S else None):
                _kill_all(engine, record)
                if not _wait_exit(exits, _KILL_TIMEOUT_S):
                    raise Unavailable(
                        f"cannot stop container: {record.name}: tried to kill container, but did not receive an exit event"
                    )
    except client.MonitorGone:
        pass  # it was on its way out
    _settle(engine, record)
    engine.events.emit("container", "stop", container_id, event_attributes(record))


def restart(engine: Engine, container_id: str, timeout_s: float | None, signal: str) -> None:
    from inception.engine.start import start

    fleeting = records.load(engine, container_id).config.auto_remove
    try:
        if fleeting:  # this end of it is none
            _set_auto_remove(engine, container_id, False)
        stop(engine, container_id, timeout_s, signal)
    except NotModified:
        pass
    finally:
        if fleeting:
            _set_auto_remove(engine, container_id, True)
    start(engine, container_id)
    record = records.load(engine, container_id)
    engine.events.emit("container", "restart", container_id, event_attributes(record))


def kill(engine: Engine, container_id: str, signal: str) -> None:
    record = records.load(engine, container_id)
    number = parse_signal(signal or "KILL")
    try:
        final = number in (9, parse_signal(record.config.stop_signal or "TERM"))
        pidfd = open_init(engine, record)
    except Conflict as error:
        raise Conflict(f"cannot kill container: {record.name}: {error}") from error
    try:
        if final:  # whoever kills it does not want it started again
            set_wanted(engine, container_id, False)
            client.stop_requested(engine.run_dir(container_id))
        pidfd_send_signal(pidfd, number)
        engine.events.emit("container", "kill", container_id, {**event_attributes(record), "signal": str(number)})
        if number == 9:
            if record.state.status == "paused":
                _thaw(engine, record)
            if not wait_pidfd(pidfd, _KILL_TIMEOUT_S):
                raise Unavailable(f"cannot kill container: {record.name}: it does not go, its process hangs in the kernel")
    except (client.MonitorGone, ProcessLookupError):
        pass  # it has just ended by itself
    finally:
        os.close(pidfd)
    if number == 9:
        _settle(engine, record)


def wait(engine: Engine, container_id: str, condition: str, timeout_s: float | None) -> int:
    if condition not in ("", "not-running", "next-exit", "removed"):
        raise InvalidArgument(f"invalid condition: {condition!r}")
    thread = engine.containers.thread_of(container_id) if condition in ("", "not-running") else None
    if thread is not None:
        if thread.join(-1 if timeout_s is None else timeout_s):
            return thread.status.exit_code
        raise _timed_out(records.load(engine, container_id))
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    record = records.load(engine, container_id)
    if condition == "next-exit":
        record = _wait_for_start(engine, record, deadline)
    exit_code = record.state.exit_code
    if record.state.status in RUNNING:
        exit_code = _wait_running(engine, record, condition == "next-exit", deadline)
    if condition == "removed":
        while engine.database.row("SELECT 1 FROM containers WHERE id = ?", (container_id,)):
            _sleep(deadline, record)
    return exit_code


def _wait_running(engine: Engine, record: ContainerRecord, any_exit: bool, deadline: float | None) -> int:
    try:
        with _watch(engine, record, claim=not any_exit) as exits:
            while True:
                status = exits.wait_exit(_left(deadline))
                if status is None:
                    raise _timed_out(record)
                if any_exit or status.phase == "exited":
                    break
    except client.MonitorGone:
        try:
            release(engine, record.id)
            return records.load(engine, record.id).state.exit_code
        except NotFound:
            return 137  # removed with force while we waited
    if status.phase == "exited":
        _settle(engine, record)
    return status.exit_code


def _wait_for_start(engine: Engine, record: ContainerRecord, deadline: float | None) -> ContainerRecord:
    while record.state.status not in RUNNING:
        _sleep(deadline, record)
        record = records.load(engine, record.id)
    return record


def pause(engine: Engine, container_id: str) -> None:
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {record.name} is already paused")
        if record.state.status != "running":
            raise not_running(record)
        try:
            freeze(engine, record)
        except TimeoutError as error:
            raise Unavailable(f"pause {record.name}: its processes can't be frozen now") from error
        _set_status(engine, container_id, "paused")
    engine.events.emit("container", "pause", container_id, event_attributes(record))


def freeze(engine: Engine, record: ContainerRecord) -> None:
    """Raises TimeoutError; then it runs on."""
    # Told first: a probe that its monitor starts in a frozen cgroup would hold up the monitor too.
    tell(client.paused, engine, record.id)
    try:
        cgroup_of(engine, record).freeze()
    except TimeoutError:
        tell(client.resumed, engine, record.id)
        raise


def unpause(engine: Engine, container_id: str) -> None:
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        if record.state.status != "paused":
            raise Conflict(f"Container {record.name} is not paused")
        _thaw(engine, record)
    engine.events.emit("container", "unpause", container_id, event_attributes(record))


def attach(
    engine: Engine, container_id: str, *, stdin: bool = True, stdout: bool = True, stderr: bool = True, lossless: bool = False
) -> client.AttachStream:
    record = records.load(engine, container_id)
    if record.state.status == "paused":
        raise Conflict("You cannot attach to a paused container, unpause it first")
    if record.state.status == "restarting":
        raise Conflict("You cannot attach to a restarting container, wait until it is running")
    if record.state.status != "running":
        raise Conflict("You cannot attach to a stopped container, start it first")
    stdin = stdin and record.config.open_stdin
    stream = client.attach(engine.run_dir(container_id), stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless)
    engine.events.emit("container", "attach", container_id, event_attributes(record))
    return stream


def resize(engine: Engine, container_id: str, rows: int, columns: int) -> None:
    record = records.load(engine, container_id)
    if record.state.status != "running":
        raise not_running(record)
    if not (0 <= rows <= 65535 and 0 <= columns <= 65535):
        raise InvalidArgument(f"invalid terminal size: {rows} rows, {columns} columns")
    with client.Connection(engine.run_dir(container_id)) as connection:
        connection.send(protocol.RESIZE + rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))


def logs(
    engine: Engine,
    container_id: str,
    stdout: bool,
    stderr: bool,
    follow: bool | Callable[[], bool],
    tail: int | None,
    since: str,
    until: str,
) -> Iterator[LogLine]:
    from inception.engine.times import parse_when_ns
    from inception.monitor.logs import read_logs, while_running

    record = records.load(engine, container_id)
    if record.config.log.driver == "none":
        raise InvalidArgument("configured logging driver does not support reading")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    running = while_running(engine.run_dir(container_id))
    goes_on = running if follow is True else (lambda: follow() and running()) if follow else None
    return read_logs(
        log_path(engine, container_id),
        streams=frozenset(name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted),
        follow=goes_on,
        tail=tail,
        since_ns=parse_when_ns(since) if since else None,
        until_ns=parse_when_ns(until) if until else None,
    )


def log_path(engine: Engine, container_id: str) -> str:
    return f"{engine.container_dir(container_id)}/{container_id}-json.log"


def rename(engine: Engine, container_id: str, new_name: str) -> None:
    from inception.engine.endpoints import rename_names

    if not new_name:
        raise InvalidArgument("Neither old nor new names may be empty")
    name = check_name(new_name)
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        if name == record.name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        with engine.database.transaction() as tx:
            check_name_free(engine, name)
            tx.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))
        rename_names(engine, record, name)
    attributes = {**event_attributes(record), "name": name, "oldName": f"/{record.name}"}
    engine.events.emit("container", "rename", container_id, attributes)


def check_name_free(engine: Engine, name: str) -> None:
    """Raises Conflict, in Docker's words, when a container has *name*. Call it in the transaction that takes the name."""
    row = engine.database.row("SELECT id FROM containers WHERE name = ?", (name,))
    if row is not None:
        raise Conflict(
            f'Conflict. The container name "/{name}" is already in use by container "{row[0]}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )


def set_wanted(engine: Engine, container_id: str, wanted: bool) -> None:
    """Whether recovery shall start it again, if its policy agrees."""
    engine.database.execute("UPDATE containers SET wanted = ? WHERE id = ?", (int(wanted), container_id))


def _set_auto_remove(engine: Engine, container_id: str, value: bool) -> None:
    with ContainerLock(engine, container_id):
        config = replace(records.load_row(engine, container_id).config, auto_remove=value)
        records.save_config(engine, container_id, config)


def _set_status(engine: Engine, container_id: str, status: str) -> None:
    engine.database.execute("UPDATE containers SET status = ? WHERE id = ?", (status, container_id))


def _thaw(engine: Engine, record: ContainerRecord) -> None:
    cgroup_of(engine, record).thaw()
    _set_status(engine, record.id, "running")
    tell(client.resumed, engine, record.id)


def tell(verb: Callable[[str], None], engine: Engine, container_id: str) -> None:
    """Tell its monitor, if there is one."""
    try:
        verb(engine.run_dir(container_id))
    except client.MonitorGone:
        pass  # its end is on the way, and means more


def _signal(engine: Engine, record: ContainerRecord, number: int) -> None:
    try:
        pidfd = open_init(engine, record)
    except Conflict:
        return  # between two runs: the monitor knows that it is to stop
    try:
        pidfd_send_signal(pidfd, number)
        engine.events.emit("container", "kill", record.id, {**event_attributes(record), "signal": str(number)})
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _kill_all(engine: Engine, record: ContainerRecord) -> None:
    _signal(engine, record, 9)
    cgroup_of(engine, record).kill()


def _watch(engine: Engine, record: ContainerRecord, *, claim: bool) -> client.Connection:
    """A connection that hears of exits; with *claim* this process cleans up after the last one, not the monitor."""
    exits = client.watch(engine.run_dir(record.id))
    if claim:
        exits.request(protocol.CLAIM_RELEASE)
    return exits


def _wait_exit(exits: client.Connection, timeout_s: float | None) -> bool:
    """Whether the container's last exit came in time."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (status := exits.wait_exit(_left(deadline))) is not None:
        if status.phase == "exited":
            return True
    return False


def _settle(engine: Engine, record: ContainerRecord) -> None:
    """After the exit: wait until the monitor is gone, so that the container can be started or removed at once, and release."""
    await_monitor(engine, record.id)
    try:
        release(engine, record.id)
    except NotFound:
        pass  # released, and removed by auto_remove, by somebody else


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _sleep(deadline: float | None, record: ContainerRecord) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise _timed_out(record)
    time.sleep(_POLL_S)


def _timed_out(record: ContainerRecord) -> Unavailable:
    return Unavailable(f"wait {record.name}: timed out")
