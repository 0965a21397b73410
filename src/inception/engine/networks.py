"""Networks: bridges of our own, and the three that are always there (`bridge`, `host`, `none`).

A network is a row; its bridge on the host is made when the first container joins and kept until the network is removed (the
default one until a `network prune` finds nothing in it). Subnets are chosen in the transaction that writes the row, so two
processes never choose the same one.
"""

from __future__ import annotations

from inception.engine.config import EndpointConfig, NetworkConfig
from inception.engine.names import is_id_prefix, new_id
from inception.engine.times import now
from inception.errors import Conflict, Forbidden, InvalidArgument, NotFound
from inception.jsontext import dumps, loads
from inception.record import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.engine import Engine
    from inception.engine.results import PruneReport

PREDEFINED = ("bridge", "host", "none")
_COLUMNS = "id, name, created_at, config, bridge, subnet, gateway, subnet6, gateway6"
_VALUES = "?, ?, ?, ?, ?, ?, ?, ?, ?"


class Network:
    """One network; equal to another with the same id. `subnet` and `gateway` are empty for `host` and `none`.

    So they are in a network without IPv4; `subnet6` and `gateway6` in one without IPv6.
    """

    def __init__(self, engine: Engine, row: tuple[Any, ...]) -> None:
        self.engine = engine
        self.id: str = row[0]
        self.name: str = row[1]
        self.created_at: str = row[2]
        self.config = decode(NetworkConfig, loads(row[3]))
        self.bridge: str = row[4]
        self.subnet: str = row[5]
        self.gateway: str = row[6]
        self.subnet6: str = row[7]
        self.gateway6: str = row[8]

    def __repr__(self) -> str:
        return f"Network({self.id[:12]}, {self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    def inspect(self) -> dict[str, Any]:
        """Docker's `network inspect` document."""
        from inception.engine.inspect import inspect_network

        return inspect_network(self.engine, self)

    def connect(self, container: str, endpoint: EndpointConfig | None = None) -> None:
        """Put *container* into this network, at once when it runs. Raises Conflict when it is there already."""
        from inception.engine.connections import connect

        connect(self.engine, self, container, endpoint or EndpointConfig())

    def disconnect(self, container: str, *, force: bool = False) -> None:
        """Take *container* out. Raises NotFound; with *force* in the words that Docker has for an endpoint."""
        from inception.engine.connections import disconnect

        disconnect(self.engine, self, container, force=force)

    def remove(self) -> None:
        """Raises Conflict while containers are connected, Forbidden for a predefined network."""
        if self.name in PREDEFINED:
            raise Forbidden(f"{self.name} is a pre-defined network and cannot be removed")
        from inception.engine.endpoints import remove_network

        remove_network(self.engine, self)
        self.engine.events.emit("network", "destroy", self.id, {"name": self.name, "type": self.config.driver})


class Networks:
    """`engine.networks`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(self, config: NetworkConfig) -> Network:
        """Raises Conflict for a name in use or a subnet that overlaps another, InvalidArgument for what bridges can't do."""
        if not config.name.strip() or not config.name.isprintable() or "/" in config.name:
            raise InvalidArgument(f"Invalid network name ({config.name})", "anything that can be printed, without a slash")
        if config.name in PREDEFINED or config.name in ("default", "container"):
            raise Forbidden(f"operation is not permitted on predefined {config.name} network")
        if config.driver in ("host", "null"):
            raise Forbidden(f'only one instance of "{config.driver}" network is allowed')
        if config.driver != "bridge":
            raise InvalidArgument(
                f'could not find plugin {config.driver} in v1 plugin registry: plugin "{config.driver}" not found',
                "bridge is the driver there is; host and none exist already",
            )
        if not config.ipv4 and not config.ipv6:
            raise InvalidArgument("IPv4 or IPv6 must be enabled")
        if (config.subnet and not config.ipv4) or (config.subnet6 and not config.ipv6):
            family, subnet = ("IPv4", config.subnet) if config.subnet and not config.ipv4 else ("IPv6", config.subnet6)
            raise InvalidArgument(f"subnet {subnet}: the network has no {family}", f"enable it: --{family.lower()}")
        network = self._insert(config)
        self.engine.events.emit("network", "create", network.id, {"name": network.name, "type": config.driver})
        return network

    def get(self, reference: str) -> Network:
        """The network with this name, id or unique id prefix. Raises NotFound."""
        row = self._row(reference)
        if row is None and reference in PREDEFINED:
            return self._predefine(reference)
        if row is None:
            raise NotFound(f"network {reference} not found")
        return Network(self.engine, row)

    def prune(self, filters: dict[str, list[str]] | None = None) -> PruneReport:
        """Remove the networks that no container belongs to, and idle bridges of the others. Filters: label, label!, until."""
        from inception.engine.prune import prune_networks

        return prune_networks(self.engine, filters or {})

    def _row(self, reference: str) -> tuple[Any, ...] | None:
        database = self.engine.database
        row = database.row(f"SELECT {_COLUMNS} FROM networks WHERE name = ?1 OR id = ?1", (reference,))
        if row is None and is_id_prefix(reference):
            rows = database.rows(
                f"SELECT {_COLUMNS} FROM networks WHERE id >= ? AND id < ? LIMIT 2", (reference, reference + "g")
            )
            if len(rows) > 1:
                raise InvalidArgument(f"network {reference} is ambiguous ({len(rows)} matches found based on ID prefix)")
            row = rows[0] if rows else None
        return row

    def _predefine(self, name: str) -> Network:
        if name == "bridge":
            try:
                return self._insert(NetworkConfig(name=name))
            except Conflict:
                return self.get(name)  # another process was first
        config = NetworkConfig(name=name, driver="null" if name == "none" else "host")
        with self.engine.database.transaction() as tx:
            row = (new_id(), name, now(), dumps(encode(config)), "", "", "", "", "")
            tx.execute(f"INSERT OR IGNORE INTO networks ({_COLUMNS}) VALUES ({_VALUES})", row)
        return self.get(name)

    def _insert(self, config: NetworkConfig) -> Network:
        from inception.engine.subnets import plan_subnet, plan_subnet6
        from inception.network.address import link_name

        network_id = new_id()
        bridge = config.bridge_name or link_name(self.engine.tag, "b", network_id)
        with self.engine.database.transaction() as tx:
            if tx.row("SELECT 1 FROM networks WHERE name = ?", (config.name,)):
                raise Conflict(f"network with name {config.name} already exists")
            taken = tx.rows("SELECT subnet, subnet6 FROM networks")
            subnet, gateway = plan_subnet(config, [row[0] for row in taken if row[0]]) if config.ipv4 else ("", "")
            pair6 = plan_subnet6(config, [row[1] for row in taken if row[1]], self.engine.root) if config.ipv6 else ("", "")
            row = (network_id, config.name, now(), dumps(encode(config)), bridge, subnet, gateway, *pair6)
            tx.execute(f"INSERT INTO networks ({_COLUMNS}) VALUES ({_VALUES})", row)
        return Network(self.engine, row)

    # Last, since its name hides the type's in the annotations of a class.

    def list(self, filters: dict[str, list[str]] | None = None) -> list[Network]:
        """All networks by name. Filters as `docker network ls`: id, name, label, driver, type, scope, dangling."""
        from inception.engine.filters import select_networks

        for name in PREDEFINED:
            self.get(name)
        rows = self.engine.database.rows(f"SELECT {_COLUMNS} FROM networks ORDER BY name")
        return select_networks(self.engine, [Network(self.engine, row) for row in rows], filters or {})
