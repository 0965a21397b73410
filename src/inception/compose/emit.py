"""A project printed as `docker compose config` prints it: YAML as go-yaml writes it, or JSON as Go does.

Fields come in the order of Compose's own structs, names of services, variables and labels in that of the alphabet; durations
and sizes in the specification's units; a dollar sign doubled, so that the output can be read again.
"""

from __future__ import annotations

import _json
import re

from inception.compose.yaml import Map, Seq, go_string, resolve
from inception.duration import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from inception.compose.model import Project


def _words(*lines: str) -> list[str]:
    return " ".join(lines).split()


_REQUEST = ("capabilities", "driver", "count", "device_ids", "options")
_ORDER: dict[str, Sequence[str]] = {
    "bind": ("selinux", "propagation", "create_host_path", "recursive"),
    "build": _words(
        "context dockerfile dockerfile_inline entitlements args provenance sbom ssh labels cache_from cache_to no_cache",
        "additional_contexts pull extra_hosts isolation network target secrets shm_size tags ulimits platforms privileged",
    ),
    "configs": ("source", "target", "uid", "gid", "mode"),
    "depends_on": ("condition", "restart", "required"),
    "deploy": _words("mode replicas labels update_config rollback_config resources restart_policy placement endpoint_mode"),
    "config": ("subnet", "gateway", "ip_range", "aux_addresses"),
    "devices": ("source", "target", "permissions", *_REQUEST),
    "gpus": _REQUEST,
    "healthcheck": ("test", "timeout", "interval", "retries", "start_period", "start_interval", "disable"),
    "ipam": ("driver", "config"),
    "limits": ("cpus", "memory", "pids"),
    "reservations": ("cpus", "memory", "devices"),
    "logging": ("driver", "options"),
    "network": ("name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels", "enable_ipv4"),
    "ports": ("name", "mode", "host_ip", "target", "published", "protocol", "app_protocol"),
    "resource": ("name", "file", "environment", "content", "driver", "driver_opts", "external", "labels"),
    "restart_policy": ("condition", "delay", "max_attempts", "window"),
    "blkio_config": ("weight", "weight_device", "device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"),
    "tmpfs": ("size", "mode"),
    "watch": ("path", "action", "target", "exec", "include", "ignore", "initial_sync"),
    "secrets": ("source", "target", "uid", "gid", "mode"),
    "ulimits": ("single", "soft", "hard"),
    "volume": ("labels", "nocopy", "subpath"),
    "volumes": ("type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs", "image"),
    "post_start": ("command", "user", "privileged", "working_dir", "environment"),
    "pre_stop": ("command", "user", "privileged", "working_dir", "environment"),
}
_SERVICE = _words(
    "profiles annotations attach build develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_period cpu_quota cpus",
    "cpuset cpu_shares command configs container_name depends_on deploy device_cgroup_rules devices dns dns_opt dns_search",
    "domainname entrypoint environment expose external_links extra_hosts group_add gpus hostname healthcheck image init ipc",
    "isolation labels links logging mem_limit mem_reservation memswap_limit mem_swappiness mac_address network_mode",
    "networks oom_kill_disable oom_score_adj pid pids_limit platform ports privileged pull_policy read_only restart runtime",
    "scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal sysctls tmpfs tty ulimits user",
    "userns_mode uts volumes volumes_from working_dir post_start pre_stop",
)
_DURATIONS = ("interval", "delay", "window", "timeout", "start_period", "start_interval", "stop_grace_period")
_SIZES = ("rate", "mem_limit", "mem_reservation", "memswap_limit", "shm_size", "memory", "size")
# Mappings whose keys are the user's: nothing in them is a field.
_FREE = ("environment", "labels", "args", "driver_opts", "options", "sysctls", "annotations", "aux_addresses")
_HIDDEN_WHEN_ZERO = ("mem_swappiness", "oom_score_adj")
_SHOWN_WHEN_FALSE = ("init", "required", "attach", "enable_ipv4", "enable_ipv6")


def config_tree(project: Project, *, escape: bool = True) -> dict[str, Any]:
    """The project as plain values in the order in which `config` shows them."""
    tree: Any = project.tree
    shown: dict[str, Any] = {"name": project.name}
    shown["services"] = {name: _service(tree["services"][name]) for name in sorted(tree["services"])}
    for section in ("networks", "volumes", "secrets", "configs"):
        kind = "network" if section == "networks" else "resource"
        if tree[section]:
            shown[section] = {name: _fields(tree[section][name], kind) for name in sorted(tree[section])}
    shown.update({key: in_alphabet(tree[key]) for key in tree if key.startswith("x-")})
    return _escaped(shown) if escape else shown


def _service(service: Map) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key in _in_order(service, _SERVICE):
        value = service[key]
        if key == "networks":
            shown[key] = {name: _fields(value[name], "endpoint") if value[name] else None for name in sorted(value)}
        elif key in ("depends_on", "ulimits") and value:
            shown[key] = {
                name: _fields(value[name], key) if isinstance(value[name], Map) else value[name] for name in sorted(value)
            }
        elif _present(key, value):
            shown[key] = _value(key, value)
    return shown


def _present(key: str, value: Any) -> bool:
    if value is None or (value is False and key not in _SHOWN_WHEN_FALSE) or (value == 0 and key in _HIDDEN_WHEN_ZERO):
        return False
    return not (isinstance(value, (Map, Seq)) and not value and key not in ("volume", "bind", "entrypoint", "command"))


def _value(key: str, value: Any) -> Any:
    if key == "args":
        return in_alphabet({name: each for name, each in value.items() if each is not None})
    if key in _FREE or key.startswith("x-"):
        return in_alphabet(value)
    if key == "ssh":  # a key and its path in one string, as Compose has it
        return [f"{name}: {place}" if place else name for name, place in value.items()]
    if isinstance(value, Map):
        return _fields(value, key)
    if key == "extra_hosts":
        return sorted(value)
    if isinstance(value, Seq):
        return [_fields(item, key) if isinstance(item, Map) else item for item in value]
    if key in _DURATIONS and isinstance(value, int):
        return format_duration(value)
    if key in _SIZES and isinstance(value, int):
        return str(value)
    if key == "mem_swappiness":
        return str(value)
    return f"0{value:o}" if key == "mode" and isinstance(value, int) else value


def _fields(value: Map, kind: str) -> dict[str, Any]:
    shown = {key: _value(key, value[key]) for key in _in_order(value, _ORDER.get(kind, ())) if _present(key, value[key])}
    if kind == "tmpfs" and "mode" in shown:
        shown["mode"] = value["mode"]  # the one mode that is shown in decimal
    return shown


def _in_order(keys: Iterable[str], order: Sequence[str]) -> list[str]:
    """*keys* in the *order* of a struct; those that it hasn't come last, in that of the alphabet."""
    return sorted(keys, key=lambda key: (order.index(key) if key in order else len(order), key))


def in_alphabet(value: Any) -> Any:
    """*value* with the keys of every mapping sorted."""
    if isinstance(value, dict):
        return {key: in_alphabet(value[key]) for key in sorted(value)}
    return [in_alphabet(item) for item in value] if isinstance(value, list) else value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


# ---- YAML and JSON ------------------------------------------------------------------------------------------------------


def to_yaml(value: Any) -> str:
    """*value* in block style, as go-yaml writes it with an indent of two."""
    lines: list[str] = []
    _emit(value, 0, lines, "")
    return "\n".join(lines) + "\n"


def _emit(value: Any, indent: int, lines: list[str], lead: str) -> None:
    """Adds *value*; *lead* is what its first line begins with, other lines begin with *indent* blanks."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            start = lead or " " * indent
            lead = ""
            _emit_after(f"{start}{_scalar(key, indent)}:", item, indent + 2, lines)
    elif isinstance(value, list) and value:
        for item in value:
            start = lead or " " * indent
            lead = ""
            if isinstance(item, (dict, list)) and item:
                _emit(item, indent + 2, lines, start + "- ")
            else:
                lines.append(f"{start}- {_scalar(item, indent + 2)}")
    else:
        lines.append(lead + _scalar(value, indent))


def _emit_after(start: str, value: Any, indent: int, lines: list[str]) -> None:
    if isinstance(value, (dict, list)) and value:
        lines.append(start)
        _emit(value, indent, lines, "")
    else:
        lines.append(f"{start} {_scalar(value, indent)}")


_DATE = re.compile(r"\d{4}-\d\d?-\d\d?($|[Tt ]+\d)")
_OLD_BOOLEANS = {"y", "yes", "on", "n", "no", "off"}


def _scalar(value: Any, indent: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if not isinstance(value, str):
        return _number(value)
    if "\n" in value and _fits_literal(value):
        return _literal(value, indent)
    if (
        not isinstance(resolve(value), str)
        or value.lower() in _OLD_BOOLEANS
        or _base60(value)
        or _DATE.match(value)
        or not _printable(value)
    ):
        return _double_quoted(value)
    return value if _plain(value) else "'" + value.replace("'", "''") + "'"


def _number(value: Any) -> str:
    return go_string(value)


def _printable(text: str) -> bool:
    """As go-yaml has it: nothing beyond 16 bits is."""
    return all(char.isprintable() and char <= "\uffff" for char in text)


def _base60(text: str) -> bool:
    parts = text.lstrip("+-").split(":")
    first, *rest = parts
    # Only what YAML 1.1 took for a number in base 60: `22:22`, not `1000:1000`.
    short = all(part.isdecimal() and len(part) <= 2 and int(part) < 60 for part in (part.partition(".")[0] for part in rest))
    return bool(rest) and first.replace("_", "").isdecimal() and short


def _plain(text: str) -> bool:
    if text[0] in "#&*!|>'\"%@`{}[]," or text != text.strip(" "):
        return False
    if text[0] in "-?:" and (len(text) == 1 or text[1] == " "):
        return False
    return not (text.startswith(("---", "...")) or ": " in text or " #" in text or text.endswith(":"))


def _fits_literal(text: str) -> bool:
    """Whether go-yaml writes it as a block: no blanks where nobody sees them, no control characters but tabs."""
    return not text.endswith(" ") and " \n" not in text and _printable(text.replace("\n", "").replace("\t", ""))


def _literal(text: str, indent: int) -> str:
    chomp = "-" if not text.endswith("\n") else "+" if text.endswith("\n\n") else ""
    hint = "2" if text.startswith((" ", "\n")) else ""
    body = text[:-1] if text.endswith("\n") else text
    return f"|{hint}{chomp}\n" + "\n".join(" " * indent + line if line else "" for line in body.split("\n"))


def _double_quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0", "\x1b": "\\e"}
    escapes |= {"\a": "\\a", "\b": "\\b", "\v": "\\v", "\f": "\\f", "\x85": "\\N", "\xa0": "\\_"}
    found = (escapes.get(char) or (char if _printable(char) else f"\\{_escape_of(ord(char))}") for char in text)
    return '"' + "".join(found) + '"'


def _escape_of(code: int) -> str:
    return f"x{code:02X}" if code < 1 << 8 else f"u{code:04X}" if code < 1 << 16 else f"U{code:08X}"


def json_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """What `config_tree` made as Docker Compose's JSON has it: without `x-` fields, and with what its structs always have."""
    shown = {key: item if key.startswith("x-") else _json_value("", item) for key, item in sorted(tree.items())}
    shown["services"] = {name: _completed(each, _JSON_SERVICE, _SERVICE) for name, each in shown["services"].items()}
    for name, network in shown.get("networks", {}).items():
        shown["networks"][name] = _completed(network, {"ipam": {}}, _ORDER["network"])
    return shown


_JSON_SERVICE: dict[str, Any] = {"command": None, "entrypoint": None}
_JSON_ALWAYS: dict[str, dict[str, Any]] = {
    "deploy": {"resources": {}, "placement": {}},
    "watch": {"exec": {"command": None}},
}
_JSON_CAPITALS = ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops", "weight_device")


def _json_value(kind: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_json_value(kind, item) for item in value]
    if not isinstance(value, dict) or kind in _FREE:
        return value
    shown = {key: _json_value(key, item) for key, item in value.items() if not key.startswith("x-")}
    if kind in _JSON_ALWAYS:
        return _completed(shown, _JSON_ALWAYS[kind], _ORDER[kind])
    return {key.capitalize(): item for key, item in shown.items()} if kind in _JSON_CAPITALS else shown


def _completed(value: dict[str, Any], always: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    full = {**always, **value}
    return {key: full[key] for key in _in_order(full, order)}


def to_json(value: Any, indent: int = 0) -> str:
    """*value* as Go's encoder prints it, indented by two."""
    inner = " " * (indent + 2)
    if isinstance(value, dict) and value:
        rows = (f"{inner}{_json_string(key)}: {to_json(value[key], indent + 2)}" for key in value)
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + to_json(item, indent + 2) for item in value) + "\n" + " " * indent + "]"
    if isinstance(value, str):
        return _json_string(value)
    return (
        "{}"
        if value == {} and isinstance(value, dict)
        else "[]"
        if isinstance(value, list)
        else "null"
        if value is None
        else _number(value)
    )


def _json_string(text: str) -> str:
    """*text* as Go's encoder quotes it: UTF-8, but nothing that HTML or JavaScript would take for its own."""
    quoted: str = _json.encode_basestring(text)
    for char in "<>&\u2028\u2029":
        quoted = quoted.replace(char, f"\\u{ord(char):04x}")
    return quoted
