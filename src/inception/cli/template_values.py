"""The values of Go templates and what can be done with them: Go's rendering, encoding/json, and the functions.

Functions raise ValueError, TypeError or LookupError; the template says which one it was and where.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

quote = encode_basestring


class Marshalled(dict):  # type: ignore[type-arg]
    """A row of a listing: as JSON its keys are in order and `<`, `>` and `&` escaped, whoever asks."""


class NilList(list):  # type: ignore[type-arg]
    """A list that is not there: it prints and ranges as an empty one, and is `null` in JSON."""


class NilMap(dict):  # type: ignore[type-arg]
    """A map that is not there."""


class EmptyStruct(dict):  # type: ignore[type-arg]
    """A value of a map that is a set: Go prints `{}`."""


#: Maps of Docker's documents whose values say nothing.
_SETS = ("ExposedPorts", "Volumes")
#: Fields of Docker's documents that are lists or maps in Go, where ours have None.
_LIST_WORDS = """
    Binds CapAdd CapDrop Cmd DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch Entrypoint Env ExecIDs ExtraHosts
    GroupAdd Links MaskedPaths OnBuild ReadonlyPaths SecurityOpt Shell Ulimits VolumesFrom Aliases DNSNames
"""
_LISTS = frozenset(_LIST_WORDS.split())
_MAP_WORDS = "DriverOpts ExposedPorts Labels Options PortBindings Ports StorageOpt Sysctls Tmpfs Volumes"
_MAPS = frozenset(_MAP_WORDS.split())


def typed(document: Any) -> Any:
    """*document* with lists and maps for what Go knows to be one though it is null."""
    if isinstance(document, dict):
        return {key: _nil(key) if item is None else _set_or(key, item) for key, item in document.items()}
    return [typed(item) for item in document] if isinstance(document, list) else document


def _nil(key: str) -> Any:
    return NilList() if key in _LISTS else NilMap() if key in _MAPS else None


def _set_or(key: str, item: Any) -> Any:
    if key in _SETS and isinstance(item, dict):
        return {name: value or EmptyStruct() for name, value in item.items()}
    return typed(item)


def missing(mapping: dict[str, Any]) -> Any:
    """Go answers a missing key with the zero value of the map's type: an empty string in a map of strings."""
    return "" if all(isinstance(value, str) for value in mapping.values()) else None


def go_type(value: Any) -> str:
    return {bool: "bool", str: "string", int: "int", float: "float64", list: "[]interface {}"}.get(type(value), "interface {}")


def render(value: Any, inside: bool = False) -> str:
    """*value* as Go's fmt prints it with %v; *inside* a list or map nothing is `<nil>`, at the top `<no value>`."""
    if value is None:
        return "<nil>" if inside else "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, EmptyStruct):
        return "{}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{render(value[key], True)}" for key in sorted(value) if not callable(value[key])) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(render(item, True) for item in value) + "]"
    if isinstance(value, float):
        return f"{int(value)}" if value.is_integer() and abs(value) < 1e21 else repr(value)
    return str(value)


def to_json(value: Any, *, escape_html: bool = False) -> str:
    """*value* as Go's encoding/json writes it: no spaces; with *escape_html* also `<`, `>` and `&` escaped."""
    import json

    own = isinstance(value, Marshalled)
    text = json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, sort_keys=own)
    if escape_html or own:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, (NilList, NilMap)):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if not callable(item)}
    return [_plain(item) for item in value] if isinstance(value, list) else value


# -- functions


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value[key] if key in value else missing(value)
        elif isinstance(value, (list, str)):
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        elif value is None:
            raise ValueError("index of untyped nil")
        else:
            raise ValueError(f"can't index item of type {go_type(value)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    low, high = [*bounds, *(0, len(value))[len(bounds) :]][:2]
    if not 0 <= low <= high <= len(value):
        raise ValueError(f"index out of range: {max(low, high)}")
    return value[low:high]


def _len(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise ValueError(f"len of type {go_type(value)}")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _comparable(left: Any, right: Any) -> None:
    kinds = [bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v) for v in (left, right)]
    if kinds[0] is not kinds[1] and left is not None and right is not None:
        raise ValueError("incompatible types for comparison")


def _eq(left: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    for other in others:
        _comparable(left, other)
    return any(left == other for other in others)


def _less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left < right)


def _printf(pattern: str, *values: Any) -> str:
    rest = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match.group(1), match.group(2)
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        if verb in "sv":
            return ("%" + flags.replace("0", "", 1) + "s" if flags.startswith("0") else "%" + flags + "s") % render(value)
        if verb == "q":
            return ("%" + flags + "s") % quote(render(value))
        if verb == "t":
            return render(value)
        if verb in "dxXofgeE" and isinstance(value, (int, float)):
            return str(("%" + flags + verb) % value)
        if verb in "xX" and isinstance(value, str):
            return value.encode().hex()
        return f"%!{verb}({go_type(value)}={render(value)})"

    return re.sub(r"%([-+# 0]*\d{0,4}(?:\.\d{1,3})?)([a-zA-Z%])", one, pattern)


def _truncate(value: Any, length: int) -> str:
    text = render(value)
    return text if len(text) < length else text[:length]


def _print(*values: Any) -> str:
    output = ""
    for i, value in enumerate(values):  # Go puts a space between two operands when neither is a string
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            output += " "
        output += render(value)
    return output


def _url_query(text: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(text, safe="")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: values,
    "or": lambda *values: values,
    "not": lambda value: not value,
    "eq": _eq,
    "ne": lambda left, right: not _eq(left, right),
    "lt": _less,
    "le": lambda left, right: _less(left, right) or left == right,
    "gt": lambda left, right: _less(right, left),
    "ge": lambda left, right: not _less(left, right),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(map(render, values)) + "\n",
    "printf": _printf,
    "json": to_json,
    "join": lambda items, separator: separator.join(items),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": lambda text: re.sub(r"\b\w", lambda match: match.group().upper(), text),
    "pad": lambda text, before, after: text and " " * before + text + " " * after,
    "truncate": _truncate,
    "urlquery": lambda *values: _url_query(_print(*values)),
    "html": lambda value: (
        render(value)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&#34;")
        .replace("'", "&#39;")
    ),
}
