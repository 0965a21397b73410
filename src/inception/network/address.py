"""Addresses as numbers: subnets of IPv4 and IPv6, and MAC and interface names derived from what they stand for.

The standard library's `ipaddress` costs 6 ms to import, a container's whole start about as much; this is what is used of it.
"""

from __future__ import annotations

import _socket
from _blake2 import blake2b  # the module behind hashlib, which takes 3 ms to import, 10 with OpenSSL's

from inception.errors import InvalidArgument
from inception.record import Record

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class Subnet(Record):
    """`base`/`prefix`, base being the network address as a number; `bits` is 32 for IPv4, 128 for IPv6."""

    base: int
    prefix: int
    bits: int = 32

    @property
    def size(self) -> int:
        return 1 << (self.bits - self.prefix)

    @property
    def broadcast(self) -> int:
        return self.base + self.size - 1

    @property
    def last_host(self) -> int:
        """The last address that a container may have: IPv6 has no broadcast."""
        return self.broadcast - 1 if self.bits == 32 else self.broadcast

    def __str__(self) -> str:
        return f"{format_ip(self.base, self.bits)}/{self.prefix}"

    def __contains__(self, address: int) -> bool:
        return self.base <= address < self.base + self.size

    def overlaps(self, other: Subnet) -> bool:
        return self.bits == other.bits and self.base < other.base + other.size and other.base < self.base + self.size


def parse_ipv4(text: str) -> int:
    """Dotted quad to number; strict, as inet_pton(3) is. Raises InvalidArgument."""
    try:
        return int.from_bytes(_socket.inet_pton(_socket.AF_INET, text))
    except (OSError, ValueError, UnicodeError):
        raise InvalidArgument(f"invalid IPv4 address: {text}") from None


def format_ipv4(number: int) -> str:
    """Number to dotted quad."""
    return _socket.inet_ntoa(number.to_bytes(4))


def parse_ip(text: str) -> int:
    """An address of either family to its number. Raises InvalidArgument."""
    if ":" not in text:
        return parse_ipv4(text)
    try:
        return int.from_bytes(_socket.inet_pton(_socket.AF_INET6, text))
    except (OSError, ValueError, UnicodeError):
        raise InvalidArgument(f"invalid IPv6 address: {text}") from None


def format_ip(number: int, bits: int) -> str:
    """Number to text, IPv6 as RFC 5952 has it."""
    return format_ipv4(number) if bits == 32 else _socket.inet_ntop(_socket.AF_INET6, number.to_bytes(16))


def is_ipv4(text: str) -> bool:
    """Whether *text* is a dotted quad."""
    return _is_address(_socket.AF_INET, text)


def is_link_local(text: str) -> bool:
    """In 169.254.0.0/16 or fe80::/10."""
    if is_ipv4(text):
        return parse_ipv4(text) >> 16 == 0xA9FE
    return is_ipv6(text) and parse_ip(text) >> 118 == 0xFE80 >> 6


def is_ipv6(text: str) -> bool:
    """Whether *text* is an IPv6 address, without brackets or zone."""
    return _is_address(_socket.AF_INET6, text)


def parse_subnet(text: str, *, strict: bool = True) -> Subnet:
    """`172.18.0.0/16` to a Subnet. *strict* refuses host bits, otherwise they are cleared. Raises InvalidArgument."""
    address, slash, length = text.partition("/")
    bits = 128 if ":" in address else 32
    if not slash or not (length.isascii() and length.isdigit()) or int(length) > bits:
        raise InvalidArgument(f"invalid CIDR block notation: {text}")
    number, prefix = parse_ip(address), int(length)
    base = number >> (bits - prefix) << (bits - prefix)
    if strict and base != number:
        raise InvalidArgument(f"invalid subnet {text}: it should be {format_ip(base, bits)}/{prefix}")
    return Subnet(base=base, prefix=prefix, bits=bits)


def derive_mac(address: str) -> str:
    """A locally administered MAC: 02:42 and the address, so the ARP caches of others stay right when the address is reused.

    Of an IPv6 address, which is longer, a digest.
    """
    if ":" in address:
        return "02:42:" + blake2b(parse_ip(address).to_bytes(16), digest_size=4).digest().hex(":")
    return "02:42:" + parse_ipv4(address).to_bytes(4).hex(":")


def local_pool(identity: str) -> str:
    """The /48 of unique local IPv6 addresses that *identity* (a machine's, an engine's) may cut networks from (RFC 4193)."""
    number = int.from_bytes(b"\xfd" + blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=5).digest())
    return f"{format_ip(number << 80, 128)}/48"


def is_mac(text: str) -> bool:
    """Whether *text* is six bytes in hexadecimal with colons between them."""
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdefABCDEF") for part in parts)


def is_interface(text: str) -> bool:
    """Whether a link inside of a namespace of its own may be called so, beside its loopback."""
    return (
        0 < len(text) <= 15
        and text.isascii()
        and text.isprintable()
        and not set(text) & set("/: ")
        and text not in (".", "..", "lo")
    )


def engine_tag(engine_root: str) -> str:
    """Four letters that mark the links and the nft table of one engine root, so that engines live side by side."""
    return _letters(engine_root, 4)


def link_name(tag: str, kind: str, identity: str) -> str:
    """Name of a host link: `inc`, the engine's tag, `b` (bridge) or `v` (veth), 35 bits of *identity*; 15 bytes, the most."""
    return f"inc{tag}{kind}{_letters(identity, 7)}"


def _letters(text: str, count: int) -> str:
    number = int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest())
    return "".join(_BASE32[number >> (5 * i) & 31] for i in range(count))


def _is_address(family: int, text: str) -> bool:
    try:
        _socket.inet_pton(family, text)
    except (OSError, ValueError, UnicodeError):
        return False
    return True
