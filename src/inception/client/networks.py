"""Networks and volumes of an engine elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inception.client.bodies import endpoint_body, network_body
from inception.client.records import is_anonymous
from inception.client.transport import filters_text, segment
from inception.engine.config import EndpointConfig, NetworkConfig, VolumeConfig
from inception.engine.results import PruneReport
from inception.errors import Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from inception.client.engine import RemoteEngine

_ANONYMOUS = "com.docker.volume.anonymous"


class RemoteNetwork:
    """One network; equal to another with the same id."""

    def __init__(self, engine: RemoteEngine, document: dict[str, Any]) -> None:
        self.engine = engine
        self.id: str = document["Id"]
        self.name: str = document["Name"]
        self.created_at: str = document.get("Created") or ""
        pools = (document.get("IPAM") or {}).get("Config") or []
        pool: dict[str, Any] = next((each for each in pools if "." in (each.get("Subnet") or "")), {})
        pool6: dict[str, Any] = next((each for each in pools if ":" in (each.get("Subnet") or "")), {})
        self.subnet: str = pool.get("Subnet") or ""
        self.gateway: str = pool.get("Gateway") or ""
        self.subnet6: str = pool6.get("Subnet") or ""
        self.gateway6: str = pool6.get("Gateway") or ""
        self.config = NetworkConfig(
            name=self.name,
            driver=document.get("Driver") or "bridge",
            subnet=self.subnet,
            gateway=self.gateway,
            ip_range=pool.get("IPRange") or "",
            internal=bool(document.get("Internal")),
            attachable=bool(document.get("Attachable")),
            options=document.get("Options") or {},
            labels=document.get("Labels") or {},
            ipv4=document.get("EnableIPv4") is not False,
            ipv6=bool(document.get("EnableIPv6")),
            subnet6=self.subnet6,
            gateway6=self.gateway6,
            ip_range6=pool6.get("IPRange") or "",
        )

    def __repr__(self) -> str:
        return f"RemoteNetwork({self.id[:12]}, {self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteNetwork) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    def inspect(self) -> dict[str, Any]:
        document: dict[str, Any] = self.engine.transport.json("GET", f"/networks/{self.id}")
        return document

    def connect(self, container: str, endpoint: EndpointConfig | None = None) -> None:
        body = {"Container": container, "EndpointConfig": endpoint_body(endpoint or EndpointConfig())}
        self.engine.transport.json("POST", f"/networks/{self.id}/connect", body)

    def disconnect(self, container: str, *, force: bool = False) -> None:
        self.engine.transport.json("POST", f"/networks/{self.id}/disconnect", {"Container": container, "Force": force})

    def remove(self) -> None:
        try:
            self.engine.transport.json("DELETE", f"/networks/{self.id}")
        except Forbidden as error:
            if "active endpoints" not in str(error):
                raise
            raise Conflict(str(error)) from error


class RemoteNetworks:
    """`engine.networks`."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def create(self, config: NetworkConfig) -> RemoteNetwork:
        made = self.engine.transport.json("POST", "/networks/create", network_body(config))
        return self.get(made["Id"])

    def get(self, reference: str) -> RemoteNetwork:
        """The network with this name, id or unique id prefix. Raises NotFound."""
        return RemoteNetwork(self.engine, self.engine.transport.json("GET", f"/networks/{segment(reference)}"))

    def prune(self, filters: dict[str, list[str]] | None = None) -> PruneReport:
        found = self.engine.transport.json("POST", "/networks/prune", filters=filters_text(filters))
        return PruneReport(networks=found["NetworksDeleted"] or [])

    def list(self, filters: dict[str, list[str]] | None = None) -> list[RemoteNetwork]:
        """All networks by name."""
        rows = self.engine.transport.json("GET", "/networks", filters=filters_text(filters))
        return sorted((RemoteNetwork(self.engine, row) for row in rows), key=lambda network: network.name)


class RemoteVolume:
    """One volume; equal to another with the same name."""

    mountpoint = ""

    def __init__(self, engine: RemoteEngine, document: dict[str, Any]) -> None:
        self.engine = engine
        self.name: str = document["Name"]
        self.created_at: str = document.get("CreatedAt") or ""
        self.mountpoint = document.get("Mountpoint") or ""
        self.config = VolumeConfig(
            name=self.name,
            driver=document.get("Driver") or "local",
            driver_options=document.get("Options") or {},
            labels=document.get("Labels") or {},
        )
        self.anonymous = _ANONYMOUS in self.config.labels or is_anonymous(self.name)

    def __repr__(self) -> str:
        return f"RemoteVolume({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteVolume) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    def users(self) -> list[str]:
        """Ids of the containers that have it, running or not."""
        rows = self.engine.transport.json("GET", "/containers/json", all=True, filters=filters_text({"volume": [self.name]}))
        return [row["Id"] for row in rows]

    def inspect(self) -> dict[str, Any]:
        document: dict[str, Any] = self.engine.transport.json("GET", f"/volumes/{segment(self.name)}")
        return document

    def remove(self, *, force: bool = False) -> None:
        self.engine.transport.json("DELETE", f"/volumes/{segment(self.name)}", force=force)


class RemoteVolumes:
    """`engine.volumes`."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def create(self, config: VolumeConfig | None = None) -> RemoteVolume:
        config = config or VolumeConfig()
        body = {"Name": config.name, "Driver": config.driver, "DriverOpts": config.driver_options, "Labels": config.labels}
        return RemoteVolume(self.engine, self.engine.transport.json("POST", "/volumes/create", body))

    def get(self, name: str) -> RemoteVolume:
        """Raises NotFound."""
        if not name:
            raise NotFound("get : no such volume")
        return RemoteVolume(self.engine, self.engine.transport.json("GET", f"/volumes/{segment(name)}"))

    def prune(self, filters: dict[str, list[str]] | None = None, *, all: bool = False) -> PruneReport:
        # Before 1.42 all unused ones went, named or not.
        named = all and self.engine.transport.api_version >= (1, 42)
        wanted = {**(filters or {}), **({"all": ["true"]} if named else {})}
        found = self.engine.transport.json("POST", "/volumes/prune", filters=filters_text(wanted))
        return PruneReport(volumes=found["VolumesDeleted"] or [], space_reclaimed_bytes=found["SpaceReclaimed"])

    def list(self, filters: dict[str, list[str]] | None = None) -> list[RemoteVolume]:
        """All volumes by name."""
        rows = self.engine.transport.json("GET", "/volumes", filters=filters_text(filters))["Volumes"] or []
        return sorted((RemoteVolume(self.engine, row) for row in rows), key=lambda volume: volume.name)
