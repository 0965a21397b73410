"""What a Docker that is in no swarm says on every path of Swarm: clients that look go on."""

from __future__ import annotations

from aiohttp import web

from inception.api.call import Call
from inception.api.errors import NoSwarm, NotSupported


async def no_swarm(call: Call) -> web.Response:
    raise NoSwarm


async def refused(call: Call) -> web.Response:
    raise NotSupported("Swarm is not supported")


ROUTES = [
    *(
        (method, f"/{kind}{rest}", no_swarm)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
        for method, rest in (("GET", ""), ("GET", "/{rest:path}"), ("POST", "/{rest:path}"), ("DELETE", "/{rest:path}"))
    ),
    ("GET", "/swarm", no_swarm),
    ("GET", "/swarm/unlockkey", no_swarm),
    ("POST", "/swarm/init", refused),
    ("POST", "/swarm/join", refused),
    ("POST", "/swarm/{rest:path}", no_swarm),
]
