"""Which subnet, which address: pure choices. The caller makes them inside one database transaction, and stores them there.

Nothing here walks what exists: an address is looked for from the one after the last that was handed out, as Docker does, so
that a name or connection that outlives its container meets a stranger as late as possible.
"""

from __future__ import annotations

from inception.errors import Conflict, Forbidden, InvalidArgument
from inception.network.address import Subnet, format_ip, parse_ip, parse_subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class Taken(Protocol):
        """A set, or an index of the database: answers whether an address is handed out."""

        def __contains__(self, address: object, /) -> bool: ...


# Docker's predefined address pools: (block, prefix length of the networks cut from it).
DEFAULT_POOLS: tuple[tuple[str, int], ...] = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)


def choose_subnet(taken: Iterable[str], pools: Iterable[tuple[str, int]] = DEFAULT_POOLS) -> str:
    """The first subnet of *pools* that overlaps none of *taken* (networks of the engine, routes of the host).

    Raises Forbidden when all are used.
    """
    used = [parse_subnet(text, strict=False) for text in taken]
    candidate = None
    for candidate in _candidates(pools):
        if not any(candidate.overlaps(other) for other in used):
            return str(candidate)
    raise Forbidden(
        f"could not find an available, non-overlapping {_family(candidate)} address pool "
        "among the defaults to assign to the network",
        "give the network a subnet of its own (--subnet), or remove unused ones: inception network prune",
    )


def check_subnet(subnet: str, taken: Iterable[str]) -> None:
    """Refuse a subnet that a user asked for when it is not one, or overlaps a network in *taken*."""
    wanted = parse_subnet(subnet)
    if wanted.prefix > wanted.bits - 2:
        raise InvalidArgument(f"invalid subnet {subnet}: no room for a gateway and a container")
    if any(wanted.overlaps(parse_subnet(other, strict=False)) for other in taken):
        raise Forbidden(f"invalid pool request: Pool overlaps with other one on this address space: {subnet}")


def choose_gateway(subnet: str, requested: str = "") -> str:
    """The address of the bridge: *requested*, or the first of the subnet."""
    block = parse_subnet(subnet)
    if not requested:
        return format_ip(block.base + 1, block.bits)
    number = parse_ip(requested)
    if not _is_host(block, number):
        raise InvalidArgument(f"no matching subnet for gateway {requested}")
    return format_ip(number, block.bits)


def choose_address(
    subnet: str, taken: Taken, requested: str = "", *, network: str = "", after: str = "", ip_range: str = ""
) -> str:
    """An address of *subnet* that is not in *taken* (which holds the gateway too).

    *after* is the last one handed out; *ip_range* narrows the choice, not what may be requested. Raises InvalidArgument for a
    *requested* address outside of the subnet, Conflict for one in use, Forbidden when none is left.
    """
    block = parse_subnet(subnet)
    if requested:
        number = parse_ip(requested)
        if (":" in requested) != (block.bits == 128) or not _is_host(block, number):
            raise InvalidArgument(
                "invalid config for network " + (network or subnet) + ": invalid endpoint settings: "
                f"no configured subnet contains IP address {requested}"
            )
        requested = format_ip(number, block.bits)
        if requested in taken:
            raise Conflict(f"Address already in use: {requested} on network {network or subnet}")
        return requested
    for number in _rotation(block, parse_subnet(ip_range, strict=False) if ip_range else block, after):
        address = format_ip(number, block.bits)
        if address not in taken:
            return address
    raise Forbidden(
        f"no available {_family(block)} addresses on this network's address pools: {network or 'network'} ({subnet})"
    )


def _rotation(block: Subnet, within: Subnet, after: str) -> Iterator[int]:
    first = max(within.base, block.base + 1)
    last = min(within.broadcast, block.last_host)
    start = parse_ip(after) + 1 if after else first
    if not first <= start <= last:
        start = first
    yield from range(start, last + 1)
    yield from range(first, start)


def _is_host(block: Subnet, number: int) -> bool:
    return block.base < number <= block.last_host


def _family(block: Subnet | None) -> str:
    return "IPv6" if block is not None and block.bits == 128 else "IPv4"


def _candidates(pools: Iterable[tuple[str, int]]) -> Iterator[Subnet]:
    for text, prefix in pools:
        pool = parse_subnet(text)
        if prefix < pool.prefix:
            raise InvalidArgument(f"address pool {text}: networks of /{prefix} are larger than the pool")
        for base in range(pool.base, pool.base + pool.size, 1 << (pool.bits - prefix)):
            yield Subnet(base=base, prefix=prefix, bits=pool.bits)
