"""Checkpoints: a running container as files, and a start that goes on from them. criu does it (decision 52).

    containers/ID/checkpoints/NAME/     images, `dump.log`; a folder of the caller's holds NAME alone, as Docker's does

It is frozen while it is saved, and killed frozen: nothing happens between what is saved and its end. A start from a checkpoint
makes all that a start makes, but for the process: that has criu restored by a process which then is its monitor
(`monitor/revive.py`). From there on it is a container like any other; its policy starts it anew, not from the checkpoint.
"""

from __future__ import annotations

import os
import re
import shutil
import time

from inception.engine import files, records
from inception.engine.cgroups import cgroup_of
from inception.engine.lifecycle import freeze, set_wanted, tell
from inception.engine.live import ContainerLock, not_running, open_init
from inception.engine.records import event_attributes, snapshot_of
from inception.engine.release import await_monitor, release
from inception.engine.spec import build_spec
from inception.engine.surroundings import OpenSurroundings
from inception.errors import Conflict, InvalidArgument, NotFound, StartFailed, Unavailable
from inception.jsontext import dumps, loads
from inception.linux.process import pidfd_send_signal, wait_pidfd
from inception.monitor import client
from inception.monitor.revive import Report, Request
from inception.preload import command_of
from inception.record import decode, encode
from inception.runtime.checkpoint import CriuOptions, dump
from inception.runtime.criu import PROGRAM
from inception.runtime.state import RuntimeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.oci.runtime import Spec
    from inception.runtime import Launched

_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_KILL_TIMEOUT_S = 20.0
_PROBE_TIMEOUT_S = 10.0


def create(engine: Engine, container_id: str, name: str, folder: str = "", *, leave_running: bool = False) -> None:
    """Save it under *name*. Raises InvalidArgument, Conflict, Unavailable: then it runs on."""
    if os.geteuid():
        raise Unavailable("checkpoint: criu needs root")
    if not re.fullmatch(f"{_NAME}+", name):
        raise InvalidArgument(f"Invalid checkpoint ID ({name}), only {_NAME} are allowed")
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        if record.state.status != "running":
            raise not_running(record)
        place = _place(engine, record, name, folder)
        if os.path.lexists(place):
            taken = f"checkpoint with name {name} already exists for container {record.name}"
            raise Conflict(f"cannot checkpoint container {record.name}: {taken}")
        try:
            _save(engine, record, place, leave_running=leave_running)
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, (InvalidArgument, Unavailable)):
                raise type(error)(f"cannot checkpoint container {record.name}: {error}", error.hint) from error
            raise
    if not leave_running:
        await_monitor(engine, container_id)
        try:
            release(engine, container_id)
        except NotFound:
            pass  # removed by its auto_remove
    engine.events.emit("container", "checkpoint", container_id, event_attributes(record))


def names(engine: Engine, container_id: str, folder: str = "") -> list[str]:
    """Its checkpoints, or those in *folder*."""
    folder = folder or _own_folder(engine, records.load(engine, container_id))
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except FileNotFoundError:
        return []


def remove(engine: Engine, container_id: str, name: str, folder: str = "") -> None:
    """Raises NotFound."""
    shutil.rmtree(find(engine, records.load(engine, container_id), name, folder))


def find(engine: Engine, record: ContainerRecord, name: str, folder: str = "") -> str:
    """The folder of a checkpoint. Raises NotFound."""
    place = _place(engine, record, name, folder)
    if not re.fullmatch(f"{_NAME}+", name) or not os.path.isdir(place):
        raise NotFound(f"checkpoint {name} does not exist for container {record.name}")
    return place


def _place(engine: Engine, record: ContainerRecord, name: str, folder: str) -> str:
    return f"{os.path.abspath(folder) if folder else _own_folder(engine, record)}/{name}"


def _own_folder(engine: Engine, record: ContainerRecord) -> str:
    return f"{engine.container_dir(record.id)}/checkpoints"


def _save(engine: Engine, record: ContainerRecord, place: str, *, leave_running: bool) -> None:
    state = RuntimeState(
        id=record.id,
        bundle=place,
        cgroup=cgroup_of(engine, record).path,
        created=record.created_at,
        pid=record.state.pid,
        rootfs=f"/proc/{record.state.pid}/root",
    )
    with OpenSurroundings(engine, record) as around:
        around.own_netns = bool(record.state.endpoints)
        spec = build_spec(record.config, around.gather(files.places(engine, record.id)), engine.cgroups)
    assert spec.linux is not None
    for space in spec.linux.namespaces:
        if space.path:  # what it has joined, it is in
            space.path = f"/proc/{record.state.pid}/ns/{'net' if space.type == 'network' else space.type}"
    pidfd = open_init(engine, record)
    cgroup = cgroup_of(engine, record)
    try:
        try:
            tell(client.paused, engine, record.id)
            _await_probe(record)
            freeze(engine, record)
        except TimeoutError:
            raise Unavailable("its processes can't be frozen now") from None
        try:
            dump(state, spec, CriuOptions(images=place, leave_running=True))
            if not leave_running:
                set_wanted(engine, record.id, False)
                tell(client.stop_requested, engine, record.id)
                pidfd_send_signal(pidfd, 9)
        finally:
            cgroup.thaw()
            tell(client.resumed, engine, record.id)
        if not leave_running and not wait_pidfd(pidfd, _KILL_TIMEOUT_S):
            raise Unavailable("it is saved, but does not end: its process hangs in the kernel")
    finally:
        os.close(pidfd)


def _await_probe(record: ContainerRecord) -> None:
    """Until the health check's command has ended, which is no child of init's: criu could not save it, and says so."""
    if record.owner_pid == os.getpid():
        return  # a thread of ours; what else is below us is nothing to wait for
    deadline = time.monotonic() + _PROBE_TIMEOUT_S
    path = f"/proc/{record.owner_pid}/task/{record.owner_pid}/children"
    while time.monotonic() < deadline:
        try:
            with open(path, encoding="ascii") as file:
                if set(file.read().split()) <= {str(record.state.pid)}:
                    return
        except OSError:
            return
        time.sleep(0.01)


# ---- a start ------------------------------------------------------------------------------------------------------------


def launch(
    engine: Engine,
    record: ContainerRecord,
    images: str,
    spec: Spec,
    fds: dict[str, int],
    stdio: tuple[int, int, int],
    config_path: str,
) -> Launched:
    """As `runtime.launch`, from a checkpoint instead of a plan. Raises StartFailed."""
    from inception.runtime import Launched

    work = f"{engine.run_dir(record.id)}/restore"
    os.makedirs(work, 0o700, exist_ok=True)
    request = Request(spec=spec, images=images, work=work, cgroup=cgroup_of(engine, record).path)
    path = f"{work}/request.json"
    files.write(path, dumps(encode(request)).encode())
    with engine.store.snapshots.open(snapshot_of(record), read_only=False, over=files.marks(engine)) as root:
        report = _ask(path, config_path, {**fds, "root": root.fd}, stdio)
    if report.error:
        raise StartFailed(f"start {record.name}: {report.error}", report.hint, 1)
    try:
        pidfd = os.pidfd_open(report.pid)
    except ProcessLookupError:
        pidfd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)  # it has ended, of which its monitor tells
    return Launched(pid=report.pid, pidfd=pidfd, monitor_pid=report.monitor_pid)


def _ask(request_path: str, config_path: str, fds: dict[str, int], stdio: tuple[int, int, int]) -> Report:
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    fds = {**fds, "report": theirs}
    argv = [*command_of("inception.monitor.revive"), request_path, config_path, *(f"{name}={fd}" for name, fd in fds.items())]
    # Onto its own number: what it is to have stays open, and no descriptor of ours is ever inheritable by somebody else.
    kept = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in dict.fromkeys(fds.values())]
    actions = [*kept, *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio))]
    env = {name: os.environ[name] for name in ("PATH", PROGRAM) if name in os.environ}
    try:
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.waitpid(pid, 0)
    with open(ours, "rb") as file:
        said = file.read()
    if not said:
        return Report(error="the process that was to restore it has ended without a word")
    return decode(Report, loads(said))
