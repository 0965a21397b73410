"""Subnets as people give them, a list of both families, sorted into the fields of a NetworkConfig."""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from inception.engine.config import NetworkConfig

    Pool = tuple[str, str, str]


def pool_fields(pools: Iterable[Pool], place: str = "") -> dict[str, str]:
    """(subnet, gateway, range) of IPv4 and of IPv6, one of each at most, as fields. Raises InvalidArgument, naming *place*."""
    found: dict[str, str] = {}
    for pool in pools:
        is_ipv6 = any(":" in text for text in pool)
        suffix = "6" if is_ipv6 else ""
        if f"subnet{suffix}" in found:
            family = "IPv6" if is_ipv6 else "IPv4"
            raise InvalidArgument(f"{place}several {family} subnets in one network are not supported")
        found |= {f"{field}{suffix}": text for field, text in zip(("subnet", "gateway", "ip_range"), pool, strict=True)}
    return found


def match_pools(subnets: list[str], gateways: list[str], ranges: list[str]) -> list[Pool]:
    """The flags of `network create`: every gateway and range goes with the subnet of its family. Raises InvalidArgument."""
    pools = []
    gateways, ranges = list(gateways), list(ranges)
    for subnet in subnets:
        pools.append((subnet, _take(gateways, subnet, "gateway"), _take(ranges, subnet, "ip-range")))
    for what, left in (("gateway", gateways), ("range", ranges)):
        if left:
            raise InvalidArgument(f"no matching subnet for {what} {left[0]}")
    return pools


def _take(candidates: list[str], subnet: str, what: str) -> str:
    fitting = [each for each in candidates if (":" in each) == (":" in subnet)]
    if len(fitting) > 1:
        raise InvalidArgument(f"cannot configure multiple {what}s ({', '.join(fitting)}) on the same subnet ({subnet})")
    for each in fitting:
        candidates.remove(each)
    return fitting[0] if fitting else ""


def pools_of(config: NetworkConfig, subnet: str, gateway: str, subnet6: str, gateway6: str) -> list[dict[str, Any]]:
    """`IPAM.Config` of a network's document."""
    found: list[dict[str, Any]] = []
    for block, door, part, is_ipv6 in ((subnet, gateway, config.ip_range, False), (subnet6, gateway6, config.ip_range6, True)):
        auxiliary = {key: each for key, each in config.auxiliary_addresses.items() if (":" in each) == is_ipv6}
        if block or door or part or (auxiliary and not is_ipv6):
            pool: dict[str, Any] = {"Subnet": block, "IPRange": part, "AuxiliaryAddresses": auxiliary, "Gateway": door}
            found.append({key: value for key, value in pool.items() if value})
    return found
