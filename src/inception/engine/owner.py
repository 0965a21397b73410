"""Whose business a container is: see `schema.py`. Whoever changes one says so in its row first."""

from __future__ import annotations

import os

from inception.linux.process import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine

_own: tuple[int, int] = (0, 0)


def me() -> tuple[int, int]:
    """This process as an owner: pid and start time."""
    global _own
    if _own[0] != os.getpid():  # a fork carries the value of its parent
        _own = (os.getpid(), start_time(os.getpid()))
    return _own


def take(engine: Engine, container_id: str, status: str) -> None:
    """Make the container this process's business, with *status*."""
    engine.database.execute(
        "UPDATE containers SET status = ?, owner_pid = ?, owner_start = ? WHERE id = ?", (status, *me(), container_id)
    )


def start_or_zero(pid: int) -> int:
    """The start time of *pid*, 0 when it has ended already: an owner that is never found alive."""
    try:
        return start_time(pid)
    except ProcessLookupError:
        return 0
