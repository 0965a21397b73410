"""Which handler a request gets: `/v1.44/containers/web/json` is `GET /containers/{id}/json` in version 1.44.

Patterns have `{name}` for one segment and `{name:path}` for several (image names have slashes). The table is split by the
first segment, so that a look-up tries a handful of patterns.
"""

from __future__ import annotations

import re
from collections import defaultdict
from importlib import import_module
from typing import TYPE_CHECKING

from inception.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from inception.api.call import Handler

API_VERSION, MINIMUM_VERSION = (1, 51), (1, 24)
_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,3})(?=/|$)")
_RESOURCES = "system auth checkpoints containers life streams archive exec images build networks volumes swarm".split()  # noqa: SIM905


class Router:
    """All routes of all resources; each resource module has ROUTES: (method, pattern, handler)."""

    def __init__(self) -> None:
        self._routes: defaultdict[str, list[tuple[str, re.Pattern[str], Handler]]] = defaultdict(list)
        for name in _RESOURCES:
            for method, pattern, handler in import_module(f"inception.api.{name}").ROUTES:
                self._routes[pattern.split("/")[1]].append((method, _compile(pattern), handler))

    def find(self, method: str, path: str) -> tuple[Handler, tuple[int, int], dict[str, str]]:
        """The handler, the version that the client speaks, and the path's variables. Raises NotFound, InvalidArgument."""
        version, path = split_version(path)
        for known, pattern, handler in self._routes.get(path.split("/", 2)[1] if "/" in path else "", ()):
            if known == method and (match := pattern.fullmatch(path)):
                return handler, version, match.groupdict()
        raise NotFound("page not found")


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """(version, rest of the path); without a prefix it is the newest. Raises InvalidArgument in Docker's words."""
    match = _VERSION.match(path)
    if not match:
        return API_VERSION, path
    version = int(match[1]), int(match[2])
    if version < MINIMUM_VERSION:
        raise InvalidArgument(
            f"client version {_text(version)} is too old. Minimum supported API version is {_text(MINIMUM_VERSION)}, "
            "please upgrade your client to a newer version"
        )
    if version > API_VERSION:
        raise InvalidArgument(
            f"client version {_text(version)} is too new. Maximum supported API version is {_text(API_VERSION)}"
        )
    return version, path[match.end() :] or "/"


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _compile(pattern: str) -> re.Pattern[str]:
    text = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", pattern)
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", text))
