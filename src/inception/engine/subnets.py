"""The subnets of a new network: what the user asked for, checked, or one that nobody on this host has."""

from __future__ import annotations

from inception.errors import Forbidden, InvalidArgument
from inception.linux.netlink import AF_INET6
from inception.network import bridge
from inception.network.address import local_pool, parse_ip, parse_subnet
from inception.network.host import host_routes
from inception.network.ipam import check_subnet, choose_gateway, choose_subnet
from inception.network.leftovers import remove_leftovers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import NetworkConfig
    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.store.database import Transaction

_MACHINE_ID = "/etc/machine-id"


def plan_subnet(config: NetworkConfig, taken: list[str]) -> tuple[str, str]:
    """Subnet and gateway for a new network beside those *taken*. Raises InvalidArgument or Forbidden."""
    subnet = config.subnet
    if subnet:
        check_subnet(subnet, taken)
    else:
        subnet = _free_subnet(taken)
    _check(subnet, config.ip_range, {key: each for key, each in config.auxiliary_addresses.items() if ":" not in each})
    return subnet, choose_gateway(subnet, config.gateway)


def plan_subnet6(config: NetworkConfig, taken: list[str], engine_root: str) -> tuple[str, str]:
    """The same for IPv6: without a wish a /64 of the unique local /48 that this machine's engine has for itself."""
    subnet = config.subnet6
    if subnet:
        check_subnet(subnet, taken)
        subnet = str(parse_subnet(subnet))
    else:
        subnet = choose_subnet([*taken, *host_routes(AF_INET6)], [(local_pool(_machine_id() + engine_root), 64)])
    _check(subnet, config.ip_range6, {key: each for key, each in config.auxiliary_addresses.items() if ":" in each})
    return subnet, choose_gateway(subnet, config.gateway6)


def _free_subnet(taken: list[str]) -> str:
    try:
        return choose_subnet([*taken, *host_routes()])
    except Forbidden:
        if not remove_leftovers():
            raise
    return choose_subnet([*taken, *host_routes()])


def _check(subnet: str, ip_range: str, auxiliary: dict[str, str]) -> None:
    block = parse_subnet(subnet)
    if ip_range and not block.overlaps(parse_subnet(ip_range, strict=False)):
        raise InvalidArgument(f"no matching subnet for range {ip_range}")
    for name, address in auxiliary.items():
        if parse_ip(address) not in block:
            raise InvalidArgument(f"no matching subnet for aux-address {name}={address}")


def _machine_id() -> str:
    try:
        with open(_MACHINE_ID, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeError):
        return ""


def settle(engine: Engine, tx: Transaction, network: Network) -> Network:
    """*network*, with another subnet where the host leads its own elsewhere by now: another engine was quicker.

    Only while nobody is in it, and only a subnet that nobody asked for: there, what was chosen once counts for no one.
    """
    if not network.subnet or network.config.subnet or bridge.exists(network.bridge):
        return network
    if tx.row("SELECT 1 FROM endpoints WHERE network_id = ?", (network.id,)) or not _is_routed(network.subnet):
        return network
    if remove_leftovers() and not _is_routed(network.subnet):
        return network
    taken = tx.rows("SELECT subnet FROM networks WHERE id != ?", (network.id,))
    subnet, gateway = plan_subnet(network.config, [row[0] for row in taken if row[0]])
    tx.execute("UPDATE networks SET subnet = ?, gateway = ?, last_address = '' WHERE id = ?", (subnet, gateway, network.id))
    return engine.networks.get(network.id)


def _is_routed(subnet: str) -> bool:
    wanted = parse_subnet(subnet)
    return any(wanted.overlaps(parse_subnet(route, strict=False)) for route in host_routes())
