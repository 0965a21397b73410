"""Scalars of Compose files: booleans, sizes, shell words, ports and mounts in their short forms.

Every function takes what YAML gave (a string, a number, a boolean) and raises ValueError with Compose's words.
"""

from __future__ import annotations

import posixpath
import re

from inception.duration import parse_duration_ns
from inception.engine.merge import clean
from inception.network.ports import parse_publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.network.ports import PortBinding

_TRUE = ("true", "yes", "on", "y")
_FALSE = ("false", "no", "off", "n")
_SIZE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?) ?([kKmMgGtTpP]?)(?:[iI]?[bB])?")


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


def published_ports(text: str) -> list[dict[str, Any]]:
    """`[[ip:]published:]target[/protocol]`, with ranges, in the long form: one entry for every target port."""
    return [_long_port(binding) for binding in parse_publish(text)]


def _long_port(binding: PortBinding) -> dict[str, Any]:
    port: dict[str, Any] = {"mode": "ingress", "target": binding.container_port, "protocol": binding.protocol}
    if binding.host_ip:
        port["host_ip"] = binding.host_ip
    if binding.host_port_end:
        port["published"] = f"{binding.host_port}-{binding.host_port_end}"
    elif binding.host_port:
        port["published"] = str(binding.host_port)
    return port


_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def mount(text: str) -> dict[str, Any]:
    """`[source:]target[:options]` in the long form. A source with a slash, a dot or a tilde in front is a host path."""
    parts = text.split(":")
    if not text or any(not part for part in parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        target = posixpath.normpath(text)
        return {"type": "volume", "target": target, "volume": {}} if len(text) > 2 else {"type": "volume", "target": target}
    source, target = parts[0], parts[1]
    bind = source[0] in "./~"
    found: dict[str, Any] = {"type": "bind" if bind else "volume", "source": source, "target": clean(target)}
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


def duration_ns(text: str) -> int:
    """As Go has them, with days and weeks: `1w2d3h`."""
    longer = re.match(r"(?:(\d+)w)?(?:(\d+)d)?", text)
    assert longer is not None
    weeks, days = (int(number or 0) for number in longer.groups())
    rest = text[longer.end() :]
    return (weeks * 7 + days) * 86400 * 10**9 + (parse_duration_ns(rest) if rest or not longer[0] else 0)


_SPANS_S = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def is_every(pull_policy: str) -> bool:
    """Whether it is a span of time: `every_1h30m`."""
    return re.fullmatch(r"every_([0-9]+[wdhms])+", pull_policy) is not None


def refresh_after_s(pull_policy: str) -> int | None:
    """How old an image may be under a `pull_policy` that speaks of time; None for one that doesn't.

    >>> refresh_after_s("daily"), refresh_after_s("every_1h30m"), refresh_after_s("always")
    (86400, 5400, None)
    """
    text = {"daily": "every_1d", "weekly": "every_1w"}.get(pull_policy, pull_policy)
    if not is_every(text):
        return None
    return sum(int(number) * _SPANS_S[unit] for number, unit in re.findall(r"([0-9]+)([wdhms])", text))
