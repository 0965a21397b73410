"""The engine's side of a damaged database: what its own folders still tell of volumes and containers.

The store's side is `inception.store.rescue`.
"""

from __future__ import annotations

import os

from inception.engine.config import VolumeConfig
from inception.engine.records import to_json
from inception.engine.times import now
from inception.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.store.verify import Problem


def mend_database(engine: Engine, *, repair: bool) -> list[Problem]:
    """What was wrong with it, and is not any more. Raises Unavailable for a damaged one that is not to be repaired, Conflict
    while other processes use it."""
    from inception.store.database import MEND
    from inception.store.rescue import adopt, damage, rescue
    from inception.store.verify import Problem

    path = f"{engine.root}/state.db"
    what = damage(path) if os.path.isdir(f"{engine.root}/layers") else ""
    if not what:
        return []
    if not repair:
        raise Unavailable(f"check {path}: {what}", MEND)
    engine.close()
    done = rescue(path, _make)
    told = f"{done.rows} records are saved" + (f", {done.copied} of them out of its copy" if done.copied else "")
    kept = f"; the damaged file is {done.kept}" if os.path.exists(done.kept) else ""
    return [
        Problem(where="state.db", what=what, mended=told + kept),
        *adopt(engine.store, done.aside),
        *_adopt_volumes(engine),
        *_put_containers_aside(engine, done.aside),
    ]


def _make(path: str) -> None:
    from inception.engine.schema import TABLES
    from inception.store.database import Database
    from inception.store.schema import STEPS

    database = Database(path)
    database.migrate("engine", TABLES)
    database.migrate("store", STEPS)
    database.close()


def _adopt_volumes(engine: Engine) -> list[Problem]:
    """A folder of data is a volume again: whoever makes one of its name would clear it away as a leftover."""
    from inception.store.verify import Problem

    problems = []
    for name in _unknown(engine, "volumes", "name"):
        if os.path.isdir(f"{engine.root}/volumes/{name}/_data"):
            row = (name, now(), to_json(VolumeConfig(name=name)), 0, 1)
            engine.database.execute(
                "INSERT INTO volumes (name, created_at, config, anonymous, filled) VALUES (?, ?, ?, ?, ?)", row
            )
            problems.append(Problem(where=f"volumes/{name}", what="no record of it", mended="it is a volume again"))
    return problems


def _put_containers_aside(engine: Engine, aside: str) -> list[Problem]:
    from inception.store.verify import Problem

    problems = []
    for name in _unknown(engine, "containers", "id"):
        os.makedirs(f"{aside}/containers", mode=0o700, exist_ok=True)
        os.rename(f"{engine.root}/containers/{name}", f"{aside}/containers/{name}")
        told = f"its files and logs are in {aside}/containers"
        problems.append(Problem(where=f"containers/{name[:12]}", what="no record of it", mended=told))
    return problems


def _unknown(engine: Engine, folder: str, column: str) -> list[str]:
    try:
        names = os.listdir(f"{engine.root}/{folder}")
    except FileNotFoundError:
        return []
    return sorted({*names} - {row[0] for row in engine.database.rows(f"SELECT {column} FROM {folder}")})
