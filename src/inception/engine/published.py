"""A container's published ports: where they lead, who holds them, and how they follow it into another network.

A port leads to the address in the network that the default route of its family leads through.
"""

from __future__ import annotations

from inception.engine.config import EndpointState, PortBinding
from inception.errors import Conflict, NotFound
from inception.network import firewall
from inception.network.ports import Listener, already_allocated, open_listeners
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from inception.engine.endpoints import Endpoint
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord


class Redirect(Record):
    """A row of `ports`: where a host port leads."""

    protocol: str
    host_ip: str
    host_port: int
    target_ip: str
    target_port: int


REDIRECT = "protocol, host_ip, host_port, target_ip, target_port"


def redirect(row: tuple[Any, ...]) -> Redirect:
    return Redirect(protocol=row[0], host_ip=row[1], host_port=row[2], target_ip=row[3], target_port=row[4])


def all_ports(engine: Engine) -> list[Redirect]:
    return [redirect(row) for row in engine.database.rows(f"SELECT {REDIRECT} FROM ports")]


def ports_of(engine: Engine, record: ContainerRecord) -> list[PortBinding]:
    """What the container publishes now."""
    rows = engine.database.rows(f"SELECT {REDIRECT} FROM ports WHERE container_id = ?", (record.id,))
    everywhere = {(row[0], row[2]) for row in rows if not row[1]}
    rows = [row for row in rows if row[1] != "::" or (row[0], row[2]) not in everywhere]  # the IPv6 half of "everywhere"
    return [PortBinding(container_port=row[4], protocol=row[0], host_ip=row[1], host_port=row[2]) for row in rows]


class Targets:
    """Where the published ports of a container lead: its addresses in the networks that its default routes lead through."""

    def __init__(self, endpoints: list[EndpointState]) -> None:
        self.ipv4 = next((each.ipv4_address for each in endpoints if each.default_route), "")
        self.ipv6 = next((each.ipv6_address for each in endpoints if each.default_route6), "")

    def of(self, host_ip: str) -> str:
        """For an address of the host: of the same family, where there is one."""
        return (self.ipv6 or self.ipv4) if ":" in host_ip else (self.ipv4 or self.ipv6)


def plan_redirects(bindings: Iterable[PortBinding], targets: Targets) -> list[tuple[str, str, int, str, int]]:
    """Rows of `ports`. What is published everywhere has a second one, for IPv6, when there is an address to lead it to."""
    found: dict[tuple[str, str, int], tuple[str, str, int, str, int]] = {}
    for binding in bindings:
        for host_ip in (binding.host_ip, "::") if not binding.host_ip and targets.ipv6 else (binding.host_ip,):
            key = (binding.protocol, host_ip, binding.host_port)
            found[key] = (*key, targets.of(host_ip), binding.container_port)
    return list(found.values())


def hold_ports(engine: Engine, record: ContainerRecord, endpoints: list[Endpoint]) -> list[Listener]:
    """Listening sockets for everything that the container publishes; the caller owns them. Raises Conflict."""
    config = record.config
    bindings = list(config.ports)
    if config.publish_all:
        published = {(port.container_port, port.protocol) for port in bindings}
        for exposed in config.exposed_ports:
            number, _, protocol = exposed.partition("/")
            if (int(number), protocol) not in published:
                bindings.append(PortBinding(container_port=int(number), protocol=protocol))
    carriers = [endpoint for endpoint in endpoints if endpoint.state.default_route or endpoint.state.default_route6]
    if not bindings or not carriers:
        return []
    from inception.network.ports import PortBinding as HostPort

    default_ip = carriers[0].network.config.default_host_ip
    asked = [HostPort(**{**port.__dict__, "host_ip": port.host_ip or default_ip}) for port in bindings]
    try:
        return open_listeners(asked)
    except Conflict:
        for port in asked:
            query = "SELECT 1 FROM ports WHERE protocol = ? AND host_port = ? AND (host_ip = ? OR host_ip = '' OR ? = '')"
            values = (port.protocol, port.host_port, port.host_ip, port.host_ip)
            if port.host_port and engine.database.row(query, values):
                raise already_allocated(port) from None
        raise


def insert_redirects(engine: Engine, record: ContainerRecord, rows: list[tuple[str, str, int, str, int]]) -> None:
    """Lead the ports of *rows* to the container. Raises Conflict when one leads elsewhere, NotFound without our rules."""
    with engine.database.transaction() as tx:
        for row in rows:
            tx.execute(f"INSERT INTO ports ({REDIRECT}, container_id) VALUES (?, ?, ?, ?, ?, ?)", (*row, record.id))
    firewall.add_ports(engine.tag, [redirect(row) for row in rows])


def delete_redirects(engine: Engine, record: ContainerRecord) -> None:
    rows = engine.database.rows(f"SELECT {REDIRECT} FROM ports WHERE container_id = ?", (record.id,))
    if rows and firewall.present(engine.tag):
        firewall.remove_ports(engine.tag, [redirect(row) for row in rows])
    engine.database.execute("DELETE FROM ports WHERE container_id = ?", (record.id,))


def follow_routes(engine: Engine, record: ContainerRecord, before: dict[str, EndpointState]) -> None:
    """Let what a running container publishes lead where its routes lead now, if that is not where they led *before*.

    Its monitor holds the ports all the time; without a way out they lead nowhere until it has one again.
    """
    then, now = Targets(list(before.values())), Targets(list(record.state.endpoints.values()))
    if not record.state.ports or (then.ipv4, then.ipv6) == (now.ipv4, now.ipv6):
        return
    delete_redirects(engine, record)
    if now.ipv4 or now.ipv6:
        try:
            insert_redirects(engine, record, plan_redirects(record.state.ports, now))
        except NotFound:
            from inception.engine.endpoints import restore_rules

            restore_rules(engine)
    from inception.monitor.client import MonitorGone, set_targets

    try:
        set_targets(engine.run_dir(record.id), now.of("0.0.0.0"), now.of("::"))
    except MonitorGone:
        pass  # the container ends at this moment
