"""A container's places in networks: addresses, links, published ports, names.

    claim       one transaction: an address and an endpoint id in every network it belongs to
    attach      the bridge (made when it is missing), a veth pair, addresses and routes inside its namespace
    publish     host ports held and redirected, names in the networks' tables
    release     all of it back, in the opposite order; the rows go last, so that recovery finds what is left

The default network answers no names, as Docker's does not.
"""

from __future__ import annotations

from _thread import start_new_thread

from inception.engine.config import EndpointConfig, EndpointState, wanted_networks
from inception.engine.names import new_id
from inception.engine.networks import PREDEFINED, Network
from inception.engine.published import (
    REDIRECT,
    Targets,
    all_ports,
    insert_redirects,
    plan_redirects,
    redirect,
)
from inception.engine.subnets import settle
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.network import bridge, firewall
from inception.network import names as dns_names
from inception.network.address import derive_mac, is_interface, is_link_local, link_name, parse_subnet
from inception.network.endpoint import EndpointPlan, attach, detach
from inception.network.host import host_links
from inception.network.ipam import choose_address
from inception.network.leftovers import owner_alias
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.network.ports import Listener
    from inception.store.database import Transaction


class Endpoint(Record):
    """One claimed place: the network, what the user asked for there, and what was chosen."""

    network: Network
    config: EndpointConfig
    state: EndpointState
    host_interface: str
    publishes: bool = False


def claim(engine: Engine, tx: Transaction, record: ContainerRecord) -> list[Endpoint]:
    """Addresses in all its networks, inside the caller's transaction. Raises NotFound for a network that is gone."""
    wanted = wanted_networks(record.config).items()
    found = [(settle(engine, tx, engine.networks.get(name)), config) for name, config in wanted]
    ordered = sorted(found, key=lambda each: -each[1].gateway_priority)
    outward = [network for network, _ in ordered if not network.config.internal]
    default = next((network.id for network in outward if network.subnet), "")
    default6 = next((network.id for network in outward if network.subnet6), "")
    return [
        claim_one(engine, tx, record, network, config, number, (network.id == default, network.id == default6))
        for number, (network, config) in enumerate(found)
    ]


class _Addresses:
    """What is handed out in one network, asked of the index instead of read."""

    def __init__(self, tx: Transaction, network: Network) -> None:
        self._tx = tx
        self._network = network

    def __contains__(self, address: object) -> bool:
        network = self._network
        if address in (network.gateway, network.gateway6) or address in network.config.auxiliary_addresses.values():
            return True
        column = "address6" if ":" in str(address) else "address"
        query = f"SELECT 1 FROM endpoints WHERE network_id = ? AND {column} = ?"
        return self._tx.row(query, (self._network.id, address)) is not None


def claim_one(
    engine: Engine,
    tx: Transaction,
    record: ContainerRecord,
    network: Network,
    config: EndpointConfig,
    number: int,
    default_routes: tuple[bool, bool],
) -> Endpoint:
    """A place in one network; *default_routes* says whether those of IPv4 and of IPv6 lead through it."""
    if config.interface_name and not is_interface(config.interface_name):
        raise InvalidArgument(f"invalid interface name: {config.interface_name!r}", "15 letters at most, without a slash")
    if network.name in PREDEFINED and network.name != "bridge":
        raise InvalidArgument(f"container cannot be connected to network {network.name} together with others")
    for local in config.link_local_addresses:
        if not is_link_local(local):
            raise InvalidArgument(f"invalid link local IP address: {local}", "one of 169.254.0.0/16 or fe80::/10")
    if (config.ipv4_address or config.ipv6_address) and network.name == "bridge":
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    last = tx.row("SELECT last_address, last_address6 FROM networks WHERE id = ?", (network.id,))
    if last is None:
        raise NotFound(f"network {network.name} not found")
    address = _choose(tx, network, network.subnet, config.ipv4_address, last[0], network.config.ip_range)
    address6 = _choose(tx, network, network.subnet6, config.ipv6_address, last[1], network.config.ip_range6)
    state = EndpointState(
        network_id=network.id,
        endpoint_id=new_id(),
        ipv4_address=address,
        prefix_length=parse_subnet(network.subnet).prefix if address else 0,
        gateway="" if network.config.internal else network.gateway,
        mac_address=config.mac_address or derive_mac(address or address6),
        interface=config.interface_name or f"eth{number}",
        default_route=default_routes[0],
        aliases=config.aliases,
    )
    if address6:
        state.ipv6_address, state.ipv6_prefix_length = address6, parse_subnet(network.subnet6).prefix
        state.ipv6_gateway = "" if network.config.internal else network.gateway6
        state.default_route6 = default_routes[1]
    interface = link_name(engine.tag, "v", state.endpoint_id)
    row = (network.id, record.id, state.endpoint_id, address or address6, state.mac_address, interface, address6)
    # Columns by name: a server that runs on while a newer one adds some must still be able to start containers.
    columns = "network_id, container_id, endpoint_id, address, mac, host_interface, address6"
    tx.execute(f"INSERT INTO endpoints ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    if address and not config.ipv4_address:
        tx.execute("UPDATE networks SET last_address = ? WHERE id = ?", (address, network.id))
    if address6 and not config.ipv6_address:
        tx.execute("UPDATE networks SET last_address6 = ? WHERE id = ?", (address6, network.id))
    return Endpoint(
        network=network,
        config=config,
        state=state,
        host_interface=interface,
        publishes=record.config.publish_all or bool(record.config.ports),
    )


def _choose(tx: Transaction, network: Network, subnet: str, requested: str, last: str, ip_range: str) -> str:
    """An address of one family; none in a network that doesn't have it."""
    if not subnet:
        if requested:
            raise InvalidArgument(
                f"invalid config for network {network.name}: invalid endpoint settings: "
                f"no configured subnet contains IP address {requested}"
            )
        return ""
    return choose_address(subnet, _Addresses(tx, network), requested, network=network.name, after=last, ip_range=ip_range)


def attach_endpoint(engine: Engine, endpoint: Endpoint, netns_fd: int) -> None:
    """Connect a network namespace to the endpoint's network."""
    network = endpoint.network
    ensure_bridge(engine, network)
    attach(
        netns_fd,
        EndpointPlan(
            bridge=network.bridge,
            host_ifname=endpoint.host_interface,
            container_ifname=endpoint.state.interface,
            address=endpoint.state.ipv4_address,
            prefix=endpoint.state.prefix_length,
            gateway=network.gateway if endpoint.state.default_route else None,
            mac=endpoint.state.mac_address,
            mtu=network.config.mtu,
            isolated=not network.config.inter_container,
            hairpin=endpoint.publishes,
            address6=endpoint.state.ipv6_address,
            prefix6=endpoint.state.ipv6_prefix_length,
            gateway6=network.gateway6 if endpoint.state.default_route6 else None,
            link_local=endpoint.config.link_local_addresses,
        ),
    )


def ensure_bridge(engine: Engine, network: Network) -> None:
    """The network's bridge and the engine's rules, made again when a reboot or somebody else took them away."""
    if bridge.exists(network.bridge):
        _ensure_rules(engine, network)
    else:
        _make_bridge(engine, network)


def _make_bridge(engine: Engine, network: Network) -> None:
    """By one, of all whose containers are the first of a network at once; the others wait for it."""
    import fcntl

    with open(f"{engine.run_root}/networks.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not bridge.exists(network.bridge):
            bridge.apply(
                bridge.BridgeConfig(
                    name=network.bridge,
                    subnet=network.subnet,
                    gateway=network.gateway,
                    mtu=network.config.mtu,
                    subnet6=network.subnet6,
                    gateway6=network.gateway6,
                    alias=owner_alias(engine.root),
                )
            )
        _ensure_rules(engine, network)
        firewall.add_network(engine.tag, _rules_of(network))


def _ensure_rules(engine: Engine, network: Network) -> None:
    if not firewall.present(engine.tag) or (network.subnet6 and not firewall.present6(engine.tag)):
        restore_rules(engine)


def restore_rules(engine: Engine) -> None:
    """Everything that the packet filter should hold, whatever somebody has taken from it."""
    rows = engine.database.rows("SELECT id FROM networks WHERE subnet != '' OR subnet6 != ''")
    networks = [engine.networks.get(row[0]) for row in rows]
    firewall.replace_table(
        engine.tag, [_rules_of(network) for network in networks if bridge.exists(network.bridge)], all_ports(engine)
    )


def _rules_of(network: Network) -> firewall.Network:
    config = network.config
    return firewall.Network(
        bridge=network.bridge,
        subnet=network.subnet,
        internal=config.internal,
        masquerade=config.masquerade,
        subnet6=network.subnet6,
    )


def publish(engine: Engine, record: ContainerRecord, endpoints: list[Endpoint], listeners: list[Listener]) -> None:
    """Redirect the held ports to the container, and let its networks know its names."""
    if listeners:
        bindings = [held.binding for held in listeners]
        try:
            insert_redirects(engine, record, plan_redirects(bindings, Targets([each.state for each in endpoints])))
        except NotFound:
            restore_rules(engine)
    for endpoint in endpoints:
        dns_names.publish(
            names_table(engine, endpoint.network.id),
            names_of(record, endpoint.network, endpoint.config),
            *endpoint.state.addresses,
        )


def names_table(engine: Engine, network_id: str) -> str:
    return f"{engine.run_root}/names/{network_id}"


def names_of(record: ContainerRecord, network: Network, config: EndpointConfig) -> list[str]:
    """The names that a container answers to in one network."""
    if network.name == "bridge" or record.kind == "step":
        return []
    hostname = [record.config.hostname] if record.config.hostname else []
    return list(dict.fromkeys([record.name, record.id[:12], *config.aliases, *hostname]))


def release_endpoints(engine: Engine, record: ContainerRecord) -> None:
    """Take a container out of the host's network: names, ports, links, then the rows. Idempotent."""
    database = engine.database
    ports = database.rows(f"SELECT {REDIRECT} FROM ports WHERE container_id = ?", (record.id,))
    query = "SELECT network_id, address, address6, host_interface FROM endpoints WHERE container_id = ?"
    rows = database.rows(query, (record.id,))
    if not ports and not rows:
        return
    lends = database.row("SELECT lends_network FROM containers WHERE id = ?", (record.id,)) == (1,)
    for network_id, address, address6, host_interface in rows:
        leave(engine, record, network_id, {address, address6}, host_interface, wait=lends)
    if ports and firewall.present(engine.tag):
        firewall.remove_ports(engine.tag, [redirect(row) for row in ports])
    with database.transaction() as tx:
        tx.execute("DELETE FROM ports WHERE container_id = ?", (record.id,))
        tx.execute("DELETE FROM endpoints WHERE container_id = ?", (record.id,))


def leave(
    engine: Engine, record: ContainerRecord, network_id: str, addresses: set[str], host_interface: str, *, wait: bool = True
) -> None:
    """Take a container's names and link out of one network; with *wait* the link is gone when this returns."""
    network = engine.networks.get(network_id)
    config = _endpoint_config(record, network)
    dns_names.withdraw(names_table(engine, network_id), names_of(record, network, config), *filter(None, addresses))
    if wait:
        detach(host_interface)
    else:
        # The namespace ends with its container, and the link with it. Deleting it only makes that certain, and takes the
        # kernel 15 to 40 ms that nobody need wait for; a thread that is cut off by the end of this process loses nothing.
        start_new_thread(_detach_quietly, (host_interface,))


def _detach_quietly(host_interface: str) -> None:
    try:
        detach(host_interface)
    except Unavailable:
        pass


def _endpoint_config(record: ContainerRecord, network: Network) -> EndpointConfig:
    wanted = wanted_networks(record.config)
    return next((wanted[key] for key in wanted if key in (network.name, network.id)), EndpointConfig())


def rename_names(engine: Engine, record: ContainerRecord, new_name: str) -> None:
    """Let a running container's networks know its new name instead of the old one."""
    query = "SELECT network_id, address, address6 FROM endpoints WHERE container_id = ?"
    for network_id, *addresses in engine.database.rows(query, (record.id,)):
        network = engine.networks.get(network_id)
        if network.name != "bridge":
            table = names_table(engine, network.id)
            dns_names.publish(table, [new_name], *filter(None, addresses))
            dns_names.withdraw(table, [record.name], *filter(None, addresses))


def remove_network(engine: Engine, network: Network) -> None:
    """Bridge, rules, names and row of a network that nobody is in. Raises Conflict when somebody is."""
    with engine.database.transaction() as tx:
        users = tx.rows("SELECT name, id FROM containers, endpoints WHERE id = container_id AND network_id = ?", (network.id,))
        if users:
            raise Conflict(
                f"error while removing network: network {network.name} has active endpoints "
                f"(name:{users[0][0]!r} id:{users[0][1][:12]!r})"
            )
        # Before the row, while nobody can claim an address: a kill leaves a row whose bridge comes back when asked.
        take_down(engine, network)
        tx.execute("DELETE FROM networks WHERE id = ?", (network.id,))


def take_down(engine: Engine, network: Network) -> None:
    """Remove what a network has outside the database; it comes back with its next container."""
    if not network.bridge:
        return
    if firewall.present(engine.tag):
        firewall.remove_network(engine.tag, _rules_of(network))
    bridge.remove(network.bridge)
    dns_names.remove_table(names_table(engine, network.id))
    if not host_links(engine.tag):
        firewall.remove_table(engine.tag)


def take_down_idle(engine: Engine, network: Network) -> None:
    """`take_down` unless somebody is in the network; who comes meanwhile finds its address claimed after this."""
    with engine.database.transaction() as tx:
        if not tx.row("SELECT 1 FROM endpoints WHERE network_id = ?", (network.id,)):
            take_down(engine, network)
