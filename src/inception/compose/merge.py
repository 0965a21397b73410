"""Merging canonical trees: one file over another, a service over the one it extends.

Mappings merge key by key, sequences are appended, scalars are replaced. Exceptions (compose-spec, "Merge and override"):

- commands (`command`, `entrypoint`, `healthcheck.test`) are replaced;
- entries of `ports`, `volumes`, `secrets`, `configs`, `devices`, `env_file` that share their identity are one entry, the later;
- what the later file marks `!reset` is gone, what it marks `!override` replaces.
"""

from __future__ import annotations

from inception.compose.errors import ComposeFileError
from inception.compose.yaml import Map, Seq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_REPLACED = {
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
    "services.*.build.context",
}
_COMMANDS = ("services.*.command", "services.*.entrypoint")
_IDENTITIES: dict[str, Callable[[Any], Any]] = {
    "services.*.ports": lambda port: (port.get("host_ip"), port["target"], port.get("published"), port["protocol"]),
    "services.*.volumes": lambda mount: mount["target"],
    "services.*.secrets": lambda secret: secret.get("target", secret.get("source")),
    "services.*.configs": lambda config: config.get("target", config.get("source")),
    "services.*.devices": lambda device: device.get("target", device["source"]),
    "services.*.env_file": lambda file: file["path"],
    "services.*.build.secrets": lambda secret: secret.get("target", secret.get("source")),
}
_UNIQUE_STRINGS = {
    f"services.*.{key}"
    for key in (
        "cap_add",
        "cap_drop",
        "device_cgroup_rules",
        "dns",
        "dns_opt",
        "dns_search",
        "expose",
        "extra_hosts",
        "group_add",
        "links",
        "profiles",
        "security_opt",
        "tmpfs",
        "volumes_from",
    )
}


def merge(base: Map, over: Map, path: str = "") -> Map:
    """*over* laid over *base*: a new mapping; neither is changed."""
    merged = Map(over.place or base.place)
    for key, value in base.items():
        if key not in over.reset:
            merged.put(key, value, base.place_of(key))
    merged.implied = base.implied - over.keys()
    for key, value in over.items():
        where = f"{path}.{key}" if path else key
        if key in over.implied and key in merged:
            continue
        if key in over.implied:
            merged.implied.add(key)
        if key in merged and key not in over.override:
            value = _merged(merged[key], value, where, over)
        merged.put(key, value, over.place_of(key))
    return merged


def merge_service(base: Map, over: Map) -> Map:
    """A service over the one that it extends."""
    return merge(base, over, "services.*")


def _merged(base: Any, over: Any, path: str, owner: Map) -> Any:
    pattern = _pattern(path)
    if over is None and pattern not in _COMMANDS and isinstance(base, (Map, Seq)):
        return base
    if isinstance(base, Map) and isinstance(over, Map):
        if pattern == "services.*.logging" and base.get("driver") != over.get("driver") and over.get("driver"):
            return over  # options of another driver mean nothing to this one
        return merge(base, over, path)
    if isinstance(base, Seq) and isinstance(over, Seq) and pattern not in _REPLACED:
        return unique(_appended(base, over), pattern)
    either = pattern in _REPLACED or pattern.startswith("services.*.ulimits.")
    if isinstance(base, (Map, Seq)) and over is not None and type(base) is not type(over) and not either:
        raise ComposeFileError(f"cannot override {path} with another type", owner.place_of(path.rpartition(".")[2]))
    return over


def _pattern(path: str) -> str:
    parts = path.split(".")
    if len(parts) > 1 and parts[0] == "services":
        parts[1] = "*"
    return ".".join(parts)


def _appended(base: Seq, over: Seq) -> Seq:
    both = Seq(over.place or base.place)
    for sequence in (base, over):
        for item, place in sequence.items():
            both.add(item, place)
    return both


def unique(sequence: Seq, pattern: str) -> Seq:
    """Entries with one identity made one: the last, in the place of the first."""
    identity = _IDENTITIES.get(pattern, str if pattern in _UNIQUE_STRINGS else None)
    if identity is None:
        return sequence
    found: dict[Any, tuple[Any, Any]] = {}
    for item, place in sequence.items():
        key = identity(item)
        if key in found and isinstance(item, Map) and pattern != "services.*.ports":
            item = merge(found[key][0], item) if found[key][0].get("type") == item.get("type") else item
        found[key] = item, place
    items = Seq(sequence.place)
    for item, place in found.values():
        items.add(item, place)
    return items
