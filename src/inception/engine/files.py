"""A container's hosts, hostname and resolv.conf, and what its resolver is told.

The files lie in the container's run folder, since each start writes them anew, and are bind-mounted: written from outside,
never through the image's own paths, where a link could lead anywhere (CVE-2025-24965).
"""

from __future__ import annotations

import os

from inception.engine import records
from inception.engine.config import EndpointState, network_mode
from inception.engine.endpoints import names_table
from inception.engine.surroundings import hostname
from inception.errors import InvalidArgument
from inception.linux.files import write_file
from inception.monitor.config import DnsConfig
from inception.network import resolv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.endpoints import Endpoint
    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.engine.records import ContainerRecord

PLACES = {"/etc/resolv.conf": "resolv.conf", "/etc/hostname": "hostname", "/etc/hosts": "hosts"}
_ALL_ADDRESSES = "host-gateway"


def write_files(engine: Engine, record: ContainerRecord, endpoints: list[Endpoint]) -> dict[str, str]:
    """Write them anew; answers the place inside -> the file outside. With another container's network, its files."""
    mode = network_mode(record.config)
    if mode.startswith("container:"):
        other = records.find(engine, mode.removeprefix("container:"))
        return places(engine, other.id)
    folder = engine.run_dir(record.id)
    texts = {
        "resolv.conf": plan_resolv_conf(record, [endpoint.network for endpoint in endpoints]),
        "hostname": resolv.plan_hostname(hostname(engine, record)),
        "hosts": _hosts(engine, record, [endpoint.state for endpoint in endpoints]),
    }
    for name, text in texts.items():
        write(f"{folder}/{name}", text.encode(), 0o644)
    return places(engine, record.id)


def places(engine: Engine, container_id: str) -> dict[str, str]:
    """The place inside -> the file outside."""
    return {place: f"{engine.run_dir(container_id)}/{name}" for place, name in PLACES.items()}


def marks(engine: Engine) -> list[str]:
    """The folders that lie over the image's layers in a container: in one is /.dockerenv, by which programs know that they are
    in a container (as Docker's init layer). Made when it isn't there."""
    (folder,) = planned = planned_marks(engine)
    if not os.path.exists(f"{folder}/.dockerenv"):
        os.makedirs(folder, 0o755, exist_ok=True)
        write(f"{folder}/.dockerenv", b"", 0o755)
    return planned


def planned_marks(engine: Engine) -> list[str]:
    """What `marks` will say; nothing is made."""
    return [f"{engine.root}/marks"]


def write(path: str, data: bytes, mode: int = 0o600) -> None:
    """A file that is root's alone, unless *mode* says more."""
    write_file(path, data, mode)


def has_resolver(networks: list[Network]) -> bool:
    """Whether 127.0.0.11 answers: on networks of the user's, not on the default one."""
    return any(network.name != "bridge" for network in networks)


def plan_dns(engine: Engine, record: ContainerRecord, networks: list[Network]) -> DnsConfig | None:
    """What the monitor's resolver looks up and whom it asks."""
    if not has_resolver(networks):
        return None
    host = resolv.load_host()
    config = record.config
    return DnsConfig(
        tables=[names_table(engine, network.id) for network in networks if network.name != "bridge"],
        upstream=resolv.upstream(host, config.dns),
        forward=not all(network.config.internal for network in networks),
        aliases=_aliases(config),
    )


def _aliases(config: ContainerConfig) -> dict[str, str]:
    if not any(endpoint.links for endpoint in config.networks.values()):
        return {}
    from inception.engine.links import aliases

    return aliases(config)


def plan_resolv_conf(record: ContainerRecord, networks: list[Network]) -> str:
    config = record.config
    return resolv.plan_resolv_conf(
        resolv.load_host(),
        embedded=has_resolver(networks),
        dns=config.dns,
        search=config.dns_search,
        options=config.dns_options,
        host_network=network_mode(config) == "host",
    )


def _hosts(engine: Engine, record: ContainerRecord, endpoints: list[EndpointState]) -> str:
    config = record.config
    extra = [_extra_host(entry, endpoints) for entry in config.extra_hosts]
    if network_mode(config) == "host":
        return _read("/etc/hosts") + "".join(f"{address}\t{name}\n" for name, address in extra)
    if config.links:
        from inception.engine.links import hosts

        extra += hosts(engine, record)
    return resolv.plan_hosts(
        hostname(engine, record),
        [address for endpoint in endpoints for address in endpoint.addresses],
        [f"{name}:{address}" for name, address in extra],
        domainname=config.domainname,
    )


def _extra_host(entry: str, endpoints: list[EndpointState]) -> tuple[str, str]:
    """`name:address` or `name=address`; `host-gateway` is the host as the container sees it."""
    name, _, address = entry.replace("=", ":", 1).partition(":")
    if address == _ALL_ADDRESSES:
        address = next((endpoint.gateway for endpoint in endpoints if endpoint.default_route), "")
        address = address or next((endpoint.ipv6_gateway for endpoint in endpoints if endpoint.default_route6), "")
        if not address:
            raise InvalidArgument(f"unable to derive the IP value for {_ALL_ADDRESSES}: the container has no way to the host")
    return name, address.strip("[]")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
