"""What Compose files may say and this engine does not do: refused by name, never ignored.

The table has the fields that would change what a container can or may do. Fields that have no meaning on one machine without
BuildKit are refused too: a file that sets them expects something.
"""

from __future__ import annotations

from inception.compose.errors import ComposeFileError
from inception.compose.values import is_every
from inception.compose.yaml import Map, Seq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from inception.compose.yaml import Place

# Path -> hint. `*` is any name or index.
_REFUSED: dict[str, str] = {
    "models": "",
    "services.*.build.isolation": "",
    "services.*.cpu_count": "it is for Windows; use cpus",
    "services.*.cpu_percent": "it is for Windows; use cpus",
    "services.*.cpu_rt_period": "",
    "services.*.cpu_rt_runtime": "",
    "services.*.credential_spec": "it is for Windows",
    "services.*.deploy.endpoint_mode": "it is for Swarm",
    "services.*.deploy.placement": "it is for Swarm",
    "services.*.deploy.resources.reservations.generic_resources": "it is for Swarm",
    "services.*.deploy.rollback_config": "it is for Swarm",
    "services.*.deploy.update_config": "it is for Swarm",
    "services.*.models": "",
    "services.*.provider": "",
    "services.*.pull_refresh_after": "",
    "services.*.storage_opt": "a size limit needs a quota of the filesystem, which overlay snapshots don't set",
    "services.*.use_api_socket": "",
    "configs.*.template_driver": "it is for Swarm",
    "secrets.*.driver": "it is for Swarm",
    "secrets.*.driver_opts": "it is for Swarm",
    "secrets.*.template_driver": "it is for Swarm",
}
# Path -> the values that are supported.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "services.*.deploy.mode": ("replicated",),
    "services.*.isolation": ("default",),
    "services.*.ports.*.mode": ("ingress", "host"),
    "services.*.ports.*.protocol": ("tcp", "udp"),
    "services.*.pull_policy": ("always", "never", "build", "if_not_present", "missing", "daily", "weekly", "every_DURATION"),
    "services.*.volumes.*.type": ("bind", "volume", "tmpfs", "image"),
    "services.*.volumes.*.bind.recursive": ("enabled", "disabled", "writable", "readonly"),
    "networks.*.driver": ("bridge", "default"),
    "networks.*.ipam.driver": ("default",),
    "volumes.*.driver": ("local",),
}


def check_support(tree: Map) -> None:
    """Raises ComposeFileError with file and line: `services.web.gpus is not supported`."""
    for pattern, hint in _REFUSED.items():
        for path, _, place in _matches(tree, pattern.split("."), "", tree.place):
            raise ComposeFileError(f"{path} is not supported", place, hint)
    for pattern, allowed in _ALLOWED.items():
        for path, value, place in _matches(tree, pattern.split("."), "", tree.place):
            if value not in allowed and not ("every_DURATION" in allowed and is_every(value)):
                names = ", ".join(str(each).lower() if isinstance(each, bool) else each for each in allowed)
                raise ComposeFileError(f"{path}: {str(value).lower()!r} is not supported", place, f"supported: {names}")


def _matches(value: Any, pattern: list[str], path: str, place: Place | None) -> Iterator[tuple[str, Any, Place | None]]:
    """The set fields of the tree that *pattern* fits: path, value and place."""
    if not pattern:
        if value is not None and value != {} and value != []:
            yield path, value, place
        return
    head, rest = pattern[0], pattern[1:]
    if isinstance(value, Seq) and head == "*":
        for index, (item, where) in enumerate(value.items()):
            yield from _matches(item, rest, f"{path}[{index}]", where)
    elif isinstance(value, Map):
        for key in list(value) if head == "*" else [head]:
            if key in value:
                yield from _matches(value[key], rest, f"{path}.{key}" if path else key, value.place_of(key))
