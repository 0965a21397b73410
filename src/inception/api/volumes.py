"""Volumes."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from inception.api.call import Call, empty, reply
from inception.api.errors import NoSwarm
from inception.api.fields import Fields
from inception.engine.config import VolumeConfig


async def list_volumes(call: Call) -> web.Response:
    filters = call.filters()

    def rows() -> list[dict[str, Any]]:
        return [volume.inspect() for volume in call.engine.volumes.list(filters)]

    return reply({"Volumes": await call.run(rows), "Warnings": None})


async def create(call: Call) -> web.Response:
    body = Fields(await call.json(required=True))
    body.refuse(ClusterVolumeSpec="it is for Swarm")
    config = VolumeConfig(
        name=body.text("Name"),
        driver=body.text("Driver") or "local",
        driver_options=body.texts("DriverOpts"),
        labels=body.texts("Labels"),
    )
    return reply(await call.run(lambda: call.engine.volumes.create(config).inspect()), 201)


async def inspect(call: Call) -> web.Response:
    return reply(await call.run(lambda: call.engine.volumes.get(call.arguments["name"]).inspect()))


async def remove(call: Call) -> web.Response:
    from inception.engine.volumes import remove_volume

    await call.run(remove_volume, call.engine, call.arguments["name"], force=call.flag("force"))
    return empty()


async def update(call: Call) -> web.Response:
    raise NoSwarm


async def prune(call: Call) -> web.Response:
    filters = call.filters()
    # Before 1.42 all unused volumes went; since then the named ones only with the filter `all`.
    report = await call.run(call.engine.volumes.prune, filters, all=call.version < (1, 42))
    return reply({"VolumesDeleted": report.volumes, "SpaceReclaimed": report.space_reclaimed_bytes})


ROUTES = [
    ("GET", "/volumes", list_volumes),
    ("POST", "/volumes/create", create),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("PUT", "/volumes/{name}", update),
    ("DELETE", "/volumes/{name}", remove),
]
