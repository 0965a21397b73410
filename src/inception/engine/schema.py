"""The engine's tables in `state.db`.

A row of `containers` with an owner (`owner_pid`, `owner_start`) is the business of that process: whoever creates, starts or
removes it, or the monitor that runs it. A row whose owner has died is what recovery looks for, so before anything is made
outside the database the row says so and names its owner. `records.ContainerRecord` says what the other columns mean.

Addresses and host ports are rows under unique keys: nothing is handed out twice, in whatever process.
"""

from __future__ import annotations

import os

from inception.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store.database import Database

TABLES = [
    """CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL DEFAULT 'container',
        image_id TEXT NOT NULL,
        created_at TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        config TEXT NOT NULL,
        mounts TEXT NOT NULL,
        status TEXT NOT NULL,
        state TEXT NOT NULL,
        wanted INTEGER NOT NULL DEFAULT 0,
        owner_pid INTEGER NOT NULL DEFAULT 0,
        owner_start INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    "CREATE INDEX containers_owned ON containers(owner_pid, owner_start) WHERE owner_pid != 0",
    "CREATE INDEX containers_by_age ON containers(sequence)",
    """CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        config TEXT NOT NULL,
        bridge TEXT NOT NULL,
        subnet TEXT NOT NULL,
        gateway TEXT NOT NULL,
        last_address TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID""",
    """CREATE TABLE endpoints (
        network_id TEXT NOT NULL REFERENCES networks(id),
        container_id TEXT NOT NULL,
        endpoint_id TEXT NOT NULL,
        address TEXT NOT NULL,
        mac TEXT NOT NULL,
        host_interface TEXT NOT NULL,
        PRIMARY KEY (network_id, container_id),
        UNIQUE (network_id, address)
    ) WITHOUT ROWID""",
    "CREATE INDEX endpoints_of_container ON endpoints(container_id)",
    """CREATE TABLE ports (
        protocol TEXT NOT NULL,
        host_port INTEGER NOT NULL,
        host_ip TEXT NOT NULL,
        target_ip TEXT NOT NULL,
        target_port INTEGER NOT NULL,
        container_id TEXT NOT NULL,
        PRIMARY KEY (protocol, host_port, host_ip)
    ) WITHOUT ROWID""",
    "CREATE INDEX ports_of_container ON ports(container_id)",
    """CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        created_at TEXT NOT NULL,
        config TEXT NOT NULL,
        anonymous INTEGER NOT NULL DEFAULT 0,
        filled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """CREATE TABLE volume_uses (
        volume TEXT NOT NULL REFERENCES volumes(name),
        container_id TEXT NOT NULL,
        PRIMARY KEY (volume, container_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX volume_uses_of_container ON volume_uses(container_id)",
    # Whether another container has joined its network namespace, which then outlives it.
    "ALTER TABLE containers ADD COLUMN lends_network INTEGER NOT NULL DEFAULT 0",
    # IPv6 beside IPv4. `endpoints.address` is the IPv6 one where a network has no other.
    "ALTER TABLE networks ADD COLUMN subnet6 TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE networks ADD COLUMN gateway6 TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE networks ADD COLUMN last_address6 TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE endpoints ADD COLUMN address6 TEXT NOT NULL DEFAULT ''",
    "CREATE UNIQUE INDEX endpoints_by_address6 ON endpoints(network_id, address6) WHERE address6 != ''",
]


def open_database(root: str) -> Database:
    """The database of *root* with the engine's tables in it. Raises Unavailable when it is gone and what it told of is not: to
    a new one all that would be leftovers, and be cleared away."""
    from inception.store.database import MEND, Database

    path = f"{root}/state.db"
    if _is_lost(path) and (left := _undescribed(root)):
        raise Unavailable(f"open {path}: it is gone, but {left} is here", MEND)
    database = Database(path)
    database.migrate("engine", TABLES)
    return database


def _is_lost(path: str) -> bool:
    """To SQLite an empty file is a new database."""
    try:
        return os.stat(path).st_size == 0 and not os.path.exists(f"{path}-wal")
    except FileNotFoundError:
        return True


def _undescribed(root: str) -> str:
    """Something that only a row gives a meaning to: a volume or a layer."""
    for folder in ("volumes", "layers"):
        try:
            names = os.listdir(f"{root}/{folder}")
        except FileNotFoundError:
            continue
        for name in names:
            if folder == "volumes" or name.isdecimal():
                return f"{folder}/{name}"
    return ""
