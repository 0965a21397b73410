"""A container that should run and could not be started: tried again, by a process of its own, until it does.

Whoever recovered it (a command, the unit at boot) has long gone when the port is free again or the disk is mounted. The
process waits as the restart policy's back-off says, owns the row meanwhile, so that recovery replaces it when it is killed,
and ends when the container runs, is gone, or is no longer wanted.
"""

from __future__ import annotations

import os
import time

from inception.engine import records
from inception.engine.lifecycle import set_wanted
from inception.engine.live import ContainerLock
from inception.engine.owner import me
from inception.errors import InceptionError, NotFound
from inception.monitor.restart import RestartPolicy
from inception.preload import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine


def retry_later(engine: Engine, container_id: str) -> None:
    """Leave a container whose start has failed to a process that tries again."""
    set_wanted(engine, container_id, True)
    command = [*command_of("inception.engine.retry"), engine.root, engine.run_root, container_id]
    null = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=null)
    try:
        os.waitpid(pid, 0)  # it goes at once: its child is nobody's
    except ChildProcessError:
        pass  # a program that ignores SIGCHLD


def main(arguments: list[str]) -> int:
    """ROOT RUN_ROOT ID: start this container as soon as it can be."""
    if os.fork():
        return 0
    os.setsid()
    os.chdir("/")
    from inception.engine.engine import Engine

    root, run_root, container_id = arguments
    with Engine(root, run_root) as engine:
        try:
            _keep_trying(engine, container_id)
        except InceptionError:
            return 1  # it is gone, or the database is
    return 0


def _keep_trying(engine: Engine, container_id: str) -> None:
    policy = None
    while True:
        with ContainerLock(engine, container_id):
            if policy is not None and _start(engine, container_id):
                return
            record = records.load(engine, container_id)
            if not _is_ours_to_start(record):
                return
            restart = record.config.restart
            policy = policy or RestartPolicy(restart.name, restart.maximum_retries)
            delay_s = policy.next_delay_s(record.state.exit_code or 128, 0)
            owner = (0, 0) if delay_s is None else me()
            engine.database.execute("UPDATE containers SET owner_pid = ?, owner_start = ? WHERE id = ?", (*owner, container_id))
        if delay_s is None:
            return
        time.sleep(delay_s)


def _start(engine: Engine, container_id: str) -> bool:
    """Whether there is nothing more to do."""
    from inception.engine.start import Start, startable

    if not _is_ours_to_start(records.load(engine, container_id)):
        return True
    try:
        Start(engine, startable(engine, container_id)).run()
    except NotFound:
        records.load(engine, container_id)  # raises as well when it is the container that is gone
        return False
    except InceptionError:
        return False
    return True


def _is_ours_to_start(record: records.ContainerRecord) -> bool:
    from inception.engine.recover import wants_restart

    return (
        record.status in ("created", "exited") and record.owner_pid in (0, os.getpid()) and wants_restart(record, record.state)
    )
