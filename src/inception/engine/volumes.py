"""Volumes of the local driver.

A plain volume is `root/volumes/NAME/_data`. With `driver_opts` (`type`, `o`, `device`) it is a mount: `type: none, o: bind,
device: /folder` lets the data land in that host folder, `type: tmpfs` in memory; the container gets such a mount straight
from its source, so nothing stays mounted on the host and a reboot leaves nothing to repair.
"""

from __future__ import annotations

import os

from inception.engine.config import VolumeConfig
from inception.engine.engine import make_private
from inception.engine.names import check_name, new_id
from inception.engine.times import now
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.jsontext import dumps, loads
from inception.record import decode, encode, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.engine import Engine
    from inception.engine.results import PruneReport

_COLUMNS = "name, created_at, config, anonymous, filled"
# By this label Docker's clients tell volumes that nobody named.
_ANONYMOUS = "com.docker.volume.anonymous"
_NETWORK_TYPES = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "glusterfs", "sshfs")


class Volume:
    """One volume; equal to another with the same name."""

    def __init__(self, engine: Engine, row: tuple[Any, ...]) -> None:
        self.engine = engine
        self.name: str = row[0]
        self.created_at: str = row[1]
        self.config = decode(VolumeConfig, loads(row[2]))
        self.anonymous = bool(row[3])
        self.filled = bool(row[4])

    def __repr__(self) -> str:
        return f"Volume({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and other.name == self.name and other.engine.root == self.engine.root

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    @property
    def mountpoint(self) -> str:
        """The folder that `volume inspect` shows: where a plain volume's data lies."""
        return f"{self.engine.root}/volumes/{self.name}/_data"

    @property
    def host_path(self) -> str:
        """The host folder with its data; empty for a tmpfs volume, which lives with its containers."""
        options = self.config.driver_options
        if options.get("type") == "tmpfs":
            return ""
        return options["device"] if options else self.mountpoint

    def users(self) -> list[str]:
        """Ids of the containers that have it, running or not."""
        rows = self.engine.database.rows("SELECT container_id FROM volume_uses WHERE volume = ?", (self.name,))
        return [row[0] for row in rows]

    def inspect(self) -> dict[str, Any]:
        """Docker's `volume inspect` document."""
        return {
            "CreatedAt": self.created_at,
            "Driver": self.config.driver,
            "Labels": self.labels or None,
            "Mountpoint": self.mountpoint,
            "Name": self.name,
            "Options": self.config.driver_options or None,
            "Scope": "local",
        }

    def remove(self, *, force: bool = False) -> None:
        """Raises Conflict while a container has it, running or not. *force* does not mind that it is gone."""
        remove_volume(self.engine, self.name, force=force)


class Volumes:
    """`engine.volumes`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(self, config: VolumeConfig | None = None) -> Volume:
        """Make a volume, or answer the one of that name when it has the same driver and options."""
        config = config or VolumeConfig()
        anonymous = not config.name
        config = replace(config, name=new_id()) if anonymous else config
        return ensure_volume(self.engine, config, anonymous=anonymous)

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        row = self.engine.database.row(f"SELECT {_COLUMNS} FROM volumes WHERE name = ?", (name,))
        if row is None:
            raise NotFound(f"get {name}: no such volume")
        return Volume(self.engine, row)

    def prune(self, filters: dict[str, list[str]] | None = None, *, all: bool = False) -> PruneReport:
        """Remove unused anonymous volumes, with *all* the named ones too. Filters: label, label!."""
        from inception.engine.prune import prune_volumes

        return prune_volumes(self.engine, filters or {}, all=all)

    # Last, since its name hides the type's in the annotations of a class.

    def list(self, filters: dict[str, list[str]] | None = None) -> list[Volume]:
        """All volumes by name. Filters as `docker volume ls`: name, label, driver, dangling."""
        from inception.engine.filters import select_volumes

        rows = self.engine.database.rows(f"SELECT {_COLUMNS} FROM volumes ORDER BY name")
        return select_volumes(self.engine, [Volume(self.engine, row) for row in rows], filters or {})


def check_driver(config: VolumeConfig) -> None:
    """Raises InvalidArgument or Unavailable for options that no mount of ours could honour."""
    if config.driver not in ("", "local"):
        raise NotFound(f'error looking up volume plugin {config.driver}: plugin "{config.driver}" not found')
    options = config.driver_options
    for key in options:
        if key not in ("type", "o", "device"):
            raise InvalidArgument(f'create {config.name}: invalid option: "{key}"', "the local driver knows type, o and device")
    if not options:
        return
    kind = options.get("type", "")
    if kind in _NETWORK_TYPES:
        raise Unavailable(
            f"create {config.name}: volumes of type {kind} are not supported",
            "mount it on the host and give that folder: o=bind",
        )
    if kind == "tmpfs":
        return
    words = options.get("o", "").split(",")
    if kind not in ("", "none", "bind") or not {"bind", "rbind"} & set(words):
        raise InvalidArgument(f"create {config.name}: type {kind or 'none'!r} with o={options.get('o', '')!r} is not supported")
    for word in words:
        if word not in ("bind", "rbind", "ro", "rw", "defaults", ""):
            raise InvalidArgument(
                f"create {config.name}: o={word} is not supported", "a bound folder takes bind, rbind, ro and rw"
            )
    if not os.path.isabs(options.get("device", "")):
        raise InvalidArgument(
            f"create {config.name}: missing device in volume options"
            if not options.get("device")
            else f"create {config.name}: device {options['device']!r} is not an absolute path"
        )


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidArgument(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    try:
        check_name(name, "volume")
    except InvalidArgument:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
            "are allowed",
            "a host folder is given with its absolute path, or with ./",
        ) from None


def ensure_volume(engine: Engine, config: VolumeConfig, *, anonymous: bool) -> Volume:
    """The volume of *config*.name, made when it is not there. May run inside a transaction of the caller."""
    _check_name(config.name)
    check_driver(config)
    # Durable: data whose row a power cut has taken back would be cleared as a dead removal's leftovers.
    with engine.database.transaction(durable=True) as tx:
        row = tx.row(f"SELECT {_COLUMNS} FROM volumes WHERE name = ?", (config.name,))
        if row is not None:
            volume = Volume(engine, row)
            if config.driver_options and config.driver_options != volume.config.driver_options:
                raise Conflict(f"volume {config.name} already exists with other options", "remove it, or choose another name")
            return volume
        if anonymous:
            config = replace(config, labels={_ANONYMOUS: "", **config.labels})
        row = (config.name, now(), dumps(encode(config)), int(anonymous), 0)
        volume = Volume(engine, row)
        if not config.driver_options:
            make_private(f"{engine.root}/volumes")
            _clear_leftovers(f"{engine.root}/volumes/{config.name}")
            make_private(f"{engine.root}/volumes/{config.name}")
            os.makedirs(volume.mountpoint, mode=0o755, exist_ok=True)
        tx.execute(f"INSERT INTO volumes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
    engine.events.emit("volume", "create", config.name, {"driver": "local"})
    return volume


def _clear_leftovers(folder: str) -> None:
    # A removal deletes the row first; killed before its files were gone, it must not give old data to a new volume.
    if os.path.lexists(folder):
        from inception.store.scratch import remove_tree

        remove_tree(folder)


def remove_volume(engine: Engine, name: str, *, force: bool = False) -> None:
    """Its data goes to where half-done work is swept from, in the transaction that takes its row: no data without a row."""
    from inception.store.scratch import remove_tree

    folder = f"{engine.root}/tmp/volume-{new_id()[:16]}"
    with engine.database.transaction(durable=True) as tx:
        if tx.row("SELECT 1 FROM volumes WHERE name = ?", (name,)) is None:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        users = [row[0] for row in tx.rows("SELECT container_id FROM volume_uses WHERE volume = ?", (name,))]
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        tx.execute("DELETE FROM volumes WHERE name = ?", (name,))
        try:
            os.makedirs(f"{engine.root}/tmp", mode=0o700, exist_ok=True)
            os.rename(f"{engine.root}/volumes/{name}", folder)
        except FileNotFoundError:
            pass  # one whose data lies elsewhere, or that a killed removal has emptied
    remove_tree(folder)
    engine.events.emit("volume", "destroy", name, {"driver": "local"})
