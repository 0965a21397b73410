"""A container that joins or leaves a network, also while it runs: its links, its way out, its names and what it publishes.

Where it runs, the changes are made in its network namespace; where it doesn't, its next start makes them.
"""

from __future__ import annotations

import os

from inception.engine import records
from inception.engine.config import EndpointConfig, EndpointState, network_mode, wanted_networks
from inception.engine.endpoints import attach_endpoint, claim_one, leave, publish
from inception.engine.live import ContainerLock, not_running, open_init
from inception.engine.networks import PREDEFINED, Network
from inception.engine.published import follow_routes
from inception.engine.subnets import settle
from inception.errors import Conflict, Forbidden, InvalidArgument, NotFound
from inception.linux.namespaces import open_ns
from inception.linux.process import pidfd_send_signal
from inception.network.address import is_mac
from inception.network.endpoint import set_default_route
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord


def connect(engine: Engine, network: Network, reference: str, config: EndpointConfig) -> None:
    container_id = records.find(engine, reference).id
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        if config.mac_address and not is_mac(config.mac_address):
            raise InvalidArgument(f"{config.mac_address} is not a valid mac address")
        wanted = wanted_networks(record.config)
        if not wanted and network_mode(record.config) != "none":
            raise Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any other network"
            )
        if network.name in PREDEFINED and network.name != "bridge":
            raise Forbidden(f"container cannot be connected to {network.name} network")
        if any(key in (network.name, network.id) for key in wanted):
            raise Conflict(f"endpoint with name {record.name} already exists in network {network.name}")
        changed = replace(record.config, networks={**record.config.networks, network.name: config})
        if network_mode(record.config) == "none":
            changed = replace(changed, network_mode=network.name)
        record = replace(record, config=changed)
        if record.state.status in ("running", "paused"):
            record = _connect_running(engine, record, network, config)
        _write_config(engine, record)
    _emit(engine, network, "connect", container_id)


def _connect_running(engine: Engine, record: ContainerRecord, network: Network, config: EndpointConfig) -> ContainerRecord:
    there = record.state.endpoints
    interfaces = {state.interface for state in there.values()}
    if config.interface_name in interfaces:
        raise Conflict(f"connect {record.name}: it has an interface {config.interface_name} already")
    number = next(n for n in range(len(there) + 1) if f"eth{n}" not in interfaces)
    with _open_netns(engine, record) as netns:
        with engine.database.transaction() as tx:
            network = settle(engine, tx, network)
            endpoint = claim_one(engine, tx, record, network, config, number, (False, False))
        try:
            attach_endpoint(engine, endpoint, netns.fd)
            publish(engine, record, [endpoint], [])
            endpoints = _lead_out(netns.fd, record, {**there, network.name: endpoint.state})
            changed = replace(record, state=replace(record.state, endpoints=endpoints))
            follow_routes(engine, changed, there)
            from inception.engine.resolver import follow

            follow(engine, changed, there, netns.fd)
        except BaseException:
            _forget(engine, record, network)
            raise
    return changed


class _OpenNetns:
    """The network namespace of a running container, for one block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> _OpenNetns:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)


def _open_netns(engine: Engine, record: ContainerRecord) -> _OpenNetns:
    pidfd = open_init(engine, record)  # while it is open, the pid names that process or none
    try:
        netns = _OpenNetns(open_ns(record.state.pid, "network"))
        pidfd_send_signal(pidfd, 0)
        return netns
    except (FileNotFoundError, ProcessLookupError):
        raise not_running(record) from None
    finally:
        os.close(pidfd)


def disconnect(engine: Engine, network: Network, reference: str, *, force: bool) -> None:
    try:
        container_id = records.find(engine, reference).id
    except NotFound:
        if force:  # a daemon may have kept an endpoint of a container that is gone; here they go with it
            raise NotFound(f"endpoint {reference} not found") from None
        raise
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        wanted = wanted_networks(record.config)
        key = next((key for key in wanted if key in (network.name, network.id)), None)
        if key is None:
            raise Forbidden(f"container {record.name} is not connected to network {network.name}")
        there = record.state.endpoints
        endpoints = {name: state for name, state in there.items() if state.network_id != network.id}
        remaining = {name: config for name, config in wanted.items() if name != key}
        # The network mode must name one of them, or none.
        mode = network_mode(record.config) if key != network_mode(record.config) else next(iter(remaining), "none")
        config = replace(record.config, network_mode=mode, networks=remaining)
        changed = replace(record, config=config, state=replace(record.state, endpoints=endpoints))
        if record.state.status in ("running", "paused"):
            _forget(engine, record, network)
            try:
                changed = _disconnect_running(engine, changed, there)
            except Conflict:
                pass  # it ended meanwhile
        _write_config(engine, changed)
    _emit(engine, network, "disconnect", container_id)


def _disconnect_running(engine: Engine, record: ContainerRecord, before: dict[str, EndpointState]) -> ContainerRecord:
    """A running container's way out and its names, now that it is in *record*'s networks, and no longer in all of *before*."""
    from inception.engine.resolver import follow

    with _open_netns(engine, record) as netns:
        endpoints = _lead_out(netns.fd, record, record.state.endpoints)
        changed = replace(record, state=replace(record.state, endpoints=endpoints))
        follow_routes(engine, changed, before)
        follow(engine, changed, before, netns.fd)
    return changed


def _lead_out(netns_fd: int, record: ContainerRecord, there: dict[str, EndpointState]) -> dict[str, EndpointState]:
    """The default routes of a running container that is in the networks *there*: those that lead out already stay so, unless
    another network has a higher priority."""
    wanted = wanted_networks(record.config)

    def priority(name: str) -> int:
        config = wanted.get(name) or wanted.get(there[name].network_id)
        return config.gateway_priority if config is not None else 0

    for route, gateway in (("default_route", "gateway"), ("default_route6", "ipv6_gateway")):
        candidates = [name for name, state in there.items() if getattr(state, gateway)]
        if not candidates:
            continue
        best = max(candidates, key=lambda name: (priority(name), getattr(there[name], route)))  # used at once
        if not getattr(there[best], route):
            set_default_route(netns_fd, there[best].interface, getattr(there[best], gateway))
            there = {name: replace(state, **{route: name == best}) for name, state in there.items()}
    return there


def _forget(engine: Engine, record: ContainerRecord, network: Network) -> None:
    """Take a running container out of one network."""
    query = "SELECT address, address6, host_interface FROM endpoints WHERE network_id = ? AND container_id = ?"
    row = engine.database.row(query, (network.id, record.id))
    if row is not None:
        leave(engine, record, network.id, {row[0], row[1]}, row[2])
        engine.database.execute("DELETE FROM endpoints WHERE network_id = ? AND container_id = ?", (network.id, record.id))


def _write_config(engine: Engine, record: ContainerRecord) -> None:
    engine.database.execute(
        "UPDATE containers SET config = ?, state = ? WHERE id = ?",
        (records.to_json(record.config), records.to_json(record.state), record.id),
    )


def _emit(engine: Engine, network: Network, action: str, container_id: str) -> None:
    attributes = {"container": container_id, "name": network.name, "type": network.config.driver}
    engine.events.emit("network", action, network.id, attributes)
