"""Checkpoints of a container."""

from __future__ import annotations

from aiohttp import web

from inception.api.call import Call, empty, reply
from inception.api.fields import Fields


async def create(call: Call) -> web.Response:
    body = Fields(await call.json(required=True))
    name, folder, leave_running = body.text("CheckpointID"), body.text("CheckpointDir"), not body.flag("Exit")
    container = await call.container()
    await call.server.threads.long(container.checkpoint, name, checkpoint_dir=folder, leave_running=leave_running)
    return empty(201)


async def list_checkpoints(call: Call) -> web.Response:
    container = await call.container()
    return reply([{"Name": name} for name in await call.run(container.checkpoints, call.text("dir"))])


async def remove(call: Call) -> web.Response:
    container = await call.container()
    await call.run(lambda: container.remove_checkpoint(call.arguments["checkpoint"], checkpoint_dir=call.text("dir")))
    return empty()


ROUTES = [
    ("POST", "/containers/{id}/checkpoints", create),
    ("GET", "/containers/{id}/checkpoints", list_checkpoints),
    ("DELETE", "/containers/{id}/checkpoints/{checkpoint}", remove),
]
