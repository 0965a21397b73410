"""Scalars of Compose files: booleans, sizes, durations, shell words, ports and mounts in their short forms.

Every function takes what YAML gave (a string, a number, a boolean) and raises ValueError with Compose's words.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = ("true", "yes", "on", "y")
_FALSE = ("false", "no", "off", "n")
_SIZE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?) ?([kKmMgGtTpP]?)(?:[iI]?[bB])?")
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}
_DURATION_PART = re.compile(r"([0-9]*\.?[0-9]*)([^0-9.]*)")


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"invalid boolean: {value}")


def integer(value: Any) -> int:
    if isinstance(value, (int, float)) and value == int(value):
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        raise ValueError(f"expected an integer, got {str(value)!r}") from None


def number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, got {str(value)!r}") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise ValueError(f"expected a number, got {value!r}")
    return found


def file_mode(value: Any) -> int:
    """Permissions: a number as YAML read it (`0440` is octal there), or octal digits in a string."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"invalid file mode: {value}")
    try:
        mode = value if isinstance(value, int) else int(value, 8)
    except ValueError:
        raise ValueError(f"invalid file mode: {value}") from None
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"invalid file mode: {value}")
    return mode


def size_bytes(value: Any) -> int:
    """`64m`, `1gb`, `512` as bytes, in powers of 1024.

    >>> size_bytes("1.5g") == 3 << 29
    True
    """
    if isinstance(value, (int, float)):
        return int(value)
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError(f"invalid size: '{value}'")
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def duration_ns(value: Any) -> int:
    """`1m30s` as nanoseconds, as Go reads durations, with days and weeks too.

    >>> duration_ns("1h1.5s")
    3601500000000
    """
    text = str(value)
    rest, sign = text, 1
    if rest[:1] in ("-", "+"):
        rest, sign = rest[1:], -1 if rest[0] == "-" else 1
    if rest == "0":
        return 0
    total = 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        match = _DURATION_PART.match(rest)
        if not match or match[1] in ("", "."):
            raise ValueError(f'time: invalid duration "{text}"')
        if not match[2]:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if match[2] not in _UNITS_NS:
            raise ValueError(f'time: unknown unit "{match[2]}" in duration "{text}"')
        whole, _, fraction = match[1].partition(".")
        unit = _UNITS_NS[match[2]]
        total += int(whole or 0) * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        rest = rest[match.end() :]
    return sign * total


def format_duration(nanoseconds: int) -> str:
    """As Go prints a duration.

    >>> [format_duration(ns) for ns in (90 * 10**9, 3600 * 10**9, 1500 * 10**6, 500 * 10**6, 0)]
    ['1m30s', '1h0m0s', '1.5s', '500ms', '0s']
    """
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, name in ((10**3, "ns"), (10**6, "µs"), (10**9, "ms")):
        if nanoseconds < unit:
            return f"{_decimal(nanoseconds, unit // 1000)}{name}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}"


def shell_words(text: str) -> list[str]:
    """A command line as words: quotes and backslashes as a POSIX shell has them, nothing expanded."""
    words: list[str] = []
    word: list[str] | None = None
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        at += 1
        if char in " \t\r\n":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        word = [] if word is None else word
        if char == "'":
            close = text.find("'", at)
            if close < 0:
                raise ValueError("invalid command line string")
            word.append(text[at:close])
            at = close + 1
        elif char == '"':
            at = _double_quoted(text, at, word)
        elif char == "\\":
            if at >= end:
                raise ValueError("invalid command line string")
            word.append(text[at])
            at += 1
        else:
            word.append(char)
    if word is not None:
        words.append("".join(word))
    return words


def _double_quoted(text: str, at: int, word: list[str]) -> int:
    while at < len(text):
        char = text[at]
        at += 1
        if char == '"':
            return at
        if char == "\\" and text[at : at + 1] in ('"', "\\", "$", "`"):
            char = text[at]
            at += 1
        word.append(char)
    raise ValueError("invalid command line string")


def _port_range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = int(first)
        high = int(last) if dash else low
    except ValueError:
        raise ValueError(f"invalid {what}: {text}") from None
    if not 0 <= low <= high <= 65535 or not (first.isascii() and text.replace("-", "").isdigit()):
        raise ValueError(f"invalid {what}: {text}")
    return low, high


def published_ports(text: str) -> list[dict[str, Any]]:
    """`[[ip:]published:]target[/protocol]`, with ranges, in the long form: one entry for every target port."""
    spec, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    host_ip, published, target = _split_port(spec)
    if host_ip:
        _check_address(host_ip)
    low, high = _port_range(target, "containerPort")
    if low == 0:
        raise ValueError(f"invalid containerPort: {target}")
    common = {"mode": "ingress", **({"host_ip": host_ip} if host_ip else {}), "protocol": protocol}
    if not published:
        return [{**common, "target": port} for port in range(low, high + 1)]
    first, last = _port_range(published, "hostPort")
    if high == low and last > first:  # any port of the range, for the one target
        return [{**common, "target": low, "published": published}]
    if last - first != high - low:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {published}")
    return [{**common, "target": low + i, "published": str(first + i)} for i in range(high - low + 1)]


def _split_port(spec: str) -> tuple[str, str, str]:
    if spec.startswith("["):
        address, bracket, rest = spec[1:].partition("]:")
        if not bracket:
            raise ValueError(f"invalid port: {spec}")
        published, _, target = rest.rpartition(":")
        return address, published, target
    rest, _, target = spec.rpartition(":")
    host_ip, _, published = rest.rpartition(":")
    if not target:
        raise ValueError(f"no port specified: {spec}<empty>")
    return host_ip, published, target


def _check_address(text: str) -> None:
    import socket  # only files that name an address pay for it

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
            return
        except OSError:
            continue
    raise ValueError(f"invalid IP address: {text}")


_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def mount(text: str) -> dict[str, Any]:
    """`[source:]target[:options]` in the long form. A source with a slash, a dot or a tilde in front is a host path."""
    parts = text.split(":")
    if not text or any(not part for part in parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        return {"type": "volume", "target": text, "volume": {}}
    source, target = parts[0], parts[1]
    bind = source[0] in "./~"
    found: dict[str, Any] = {"type": "bind" if bind else "volume", "source": source, "target": target}
    details: dict[str, Any] = {}
    for option in parts[2].split(",") if len(parts) > 2 else []:
        if option in ("ro", "rw"):
            if option == "ro":
                found["read_only"] = True
        elif option in ("z", "Z") and bind:
            details["selinux"] = option
        elif option == "nocopy" and not bind:
            details["nocopy"] = True
        elif option in _PROPAGATIONS and bind:
            details["propagation"] = option
        elif option not in ("cached", "delegated", "consistent"):  # for Docker Desktop's file sharing only
            raise ValueError(f"invalid spec: {text}: unknown option {option!r}")
    if bind:
        details["create_host_path"] = True
    return {**found, found["type"]: details}
