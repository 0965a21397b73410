"""Containers as the database holds them, and as their monitors report them now.

`load` and `find` put the two together: the row says what was decided (config, name, who owns it), the monitor's
`status.json` what has happened since (restarts, health, exit).
"""

from __future__ import annotations

from inception.caching import lru_cache
from inception.engine.config import ContainerConfig, ContainerState
from inception.engine.names import is_id_prefix
from inception.errors import InvalidArgument, NotFound
from inception.jsontext import dumps, loads
from inception.record import Record, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.engine import Engine
    from inception.store.database import Transaction


class MountPoint(Record):
    """One mount of a container, decided: `type` is bind, volume, tmpfs or image; `source` a host path (bind), a volume's or an
    image's name, whose files `snapshot` holds."""

    type: str
    destination: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    recursive_read_only: bool = True
    subpath: str = ""
    no_copy: bool = False
    anonymous: bool = False
    tmpfs_options: list[str] = []
    non_recursive: bool = False
    snapshot: str = ""


class ContainerRecord(Record):
    """A row of `containers`.

    `kind` is `container`, `bound` (of the library's `run`: removed when its process is gone) or `step` (of the builder).
    `wanted` says that it should run, so that recovery starts it again if its policy agrees.
    """

    id: str
    name: str
    kind: str
    image_id: str
    created_at: str
    config: ContainerConfig
    mounts: list[MountPoint]
    status: str
    state: ContainerState
    wanted: bool
    owner_pid: int
    owner_start: int


def snapshot_of(record: ContainerRecord) -> str:
    """The id of its snapshot: its own, but for a step, whose snapshot is the builder's and stands in place of an image."""
    return record.image_id if record.kind == "step" else record.id


def is_fleeting(record: ContainerRecord) -> bool:
    """Whether nobody means to keep it: what a power cut leaves of it is removed, so no disk need be waited for."""
    return record.kind != "container" or record.config.auto_remove


def event_attributes(record: ContainerRecord) -> dict[str, str]:
    """What every event of a container carries: its labels, image and name."""
    return {**record.config.labels, "image": record.config.image, "name": record.name}


def command_text(argv: list[str]) -> str:
    """The COMMAND column: arguments with blanks are quoted."""
    return " ".join([argv[0], *(f"'{arg}'" if " " in arg else arg for arg in argv[1:])]) if argv else ""


_COLUMNS = "id, name, kind, image_id, created_at, config, mounts, status, state, wanted, owner_pid, owner_start"


def load(engine: Engine, container_id: str) -> ContainerRecord:
    """The container with exactly this id, as it is now. Raises NotFound."""
    return observe(engine, load_row(engine, container_id))


def load_row(engine: Engine, container_id: str) -> ContainerRecord:
    """`load`, as its row has it."""
    row = engine.database.execute(f"SELECT {_COLUMNS} FROM containers WHERE id = ?", (container_id,)).fetchone()
    if row is None:
        raise NotFound(f"No such container: {container_id}")
    return from_row(row)


def find(engine: Engine, reference: str) -> ContainerRecord:
    """The container with this name, id or unique id prefix. Raises NotFound, or InvalidArgument when several match."""
    name = reference.removeprefix("/")
    execute = engine.database.execute
    row = execute(f"SELECT {_COLUMNS} FROM containers WHERE id = ?", (name,)).fetchone()
    row = row or execute(f"SELECT {_COLUMNS} FROM containers WHERE name = ? AND kind != 'step'", (name,)).fetchone()
    if row is None and is_id_prefix(name):
        rows = execute(
            f"SELECT {_COLUMNS} FROM containers WHERE id >= ? AND id < ? AND kind != 'step' LIMIT 2", (name, name + "g")
        ).fetchall()
        if len(rows) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {name}")
        row = rows[0] if rows else None
    if row is None or row[7] == "creating":
        raise NotFound(f"No such container: {reference}")
    return observe(engine, from_row(row))


def listed(engine: Engine, *, running_only: bool) -> list[ContainerRecord]:
    """All containers, newest first."""
    where = " AND owner_pid != 0" if running_only else ""
    rows = engine.database.execute(
        f"SELECT {_COLUMNS} FROM containers WHERE kind != 'step' AND status != 'creating'{where} ORDER BY sequence DESC"
    ).fetchall()
    return [observe(engine, from_row(row)) for row in rows]


# A server reads the same rows again and again, and records are values: who asks twice gets the same one, and may keep what it
# has made of it.
@lru_cache(4096)
def from_row(row: tuple[Any, ...]) -> ContainerRecord:
    return ContainerRecord(
        id=row[0],
        name=row[1],
        kind=row[2],
        image_id=row[3],
        created_at=row[4],
        config=decode_config(row[5]),
        mounts=list(_mounts_of(row[6])),
        status=row[7],
        state=_state_of(row[8]),
        wanted=bool(row[9]),
        owner_pid=row[10],
        owner_start=row[11],
    )


# With 200 containers, decoding was two thirds of a list.
@lru_cache(4096)
def decode_config(text: str) -> ContainerConfig:
    """The column `config`."""
    return decode(ContainerConfig, loads(text))


@lru_cache(4096)
def _mounts_of(text: str) -> tuple[MountPoint, ...]:
    return tuple(decode(MountPoint, mount) for mount in loads(text))


@lru_cache(4096)
def _state_of(text: str) -> ContainerState:
    return decode(ContainerState, loads(text))


def to_json(value: object) -> str:
    """*value* (a record, or a list of them) as the text of a column."""
    return dumps(encode(value))


def observe(engine: Engine, record: ContainerRecord) -> ContainerRecord:
    """*record* with what its monitor says now."""
    if record.owner_pid == 0 or record.status not in ("running", "paused"):
        return record
    from inception.engine.live import live_state

    return live_state(engine, record)


def save_config(engine: Engine, container_id: str, config: ContainerConfig) -> None:
    """Another configuration for a container; the caller holds its lock."""
    engine.database.execute("UPDATE containers SET config = ? WHERE id = ?", (to_json(config), container_id))


def insert(tx: Transaction, record: ContainerRecord) -> None:
    """A new row; `sequence` orders containers by age even when clocks jump."""
    values = (
        record.id,
        record.name,
        record.kind,
        record.image_id,
        record.created_at,
        to_json(record.config),
        to_json(record.mounts),
        record.status,
        to_json(record.state),
        int(record.wanted),
        record.owner_pid,
        record.owner_start,
    )
    tx.execute(
        f"""INSERT INTO containers ({_COLUMNS}, sequence)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(sequence), 0) + 1 FROM containers))""",
        values,
    )
