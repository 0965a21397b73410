"""POST /grpc and POST /session: connections that are taken out of HTTP/1 and speak gRPC from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inception.api.buildkit.control import Control
from inception.api.buildkit.failures import explain
from inception.api.buildkit.gateway import Gateway
from inception.api.buildkit.session import session_of
from inception.api.hijack import RAW, Hijacked, Taken, head_of
from inception.buildkit.grpc import Service
from inception.buildkit.http2 import Connection
from inception.errors import InceptionError, InvalidArgument

if TYPE_CHECKING:
    from aiohttp import web

    from inception.api.call import Call

_PROTOCOL = "h2c"


async def grpc(call: Call) -> web.StreamResponse:
    """The client calls."""
    _check(call)
    solver = call.server.buildkit()
    wire = Hijacked(call.request, call.server.hang_ups)
    _take(call, wire)
    control = Control(solver)
    gateway = Gateway(solver, control)
    service = Service({**control.methods(), **gateway.methods()}, explain)
    try:
        await Connection(wire, service).run()
    finally:
        wire.close()
        if gateway.loose:
            await call.run(_remove_loose, call, gateway.loose)
    return Taken()


async def session(call: Call) -> web.StreamResponse:
    """The server calls, for as long as the connection lasts."""
    _check(call)
    wire = Hijacked(call.request, call.server.hang_ups)
    found = session_of(lambda name: call.request.headers.get(name, ""), Connection(wire))
    _take(call, wire)
    try:
        await call.server.buildkit().sessions.serve(found)
    except InvalidArgument:
        pass  # the number is taken: the connection ends, which is all that a client can be told now
    finally:
        wire.close()
    return Taken()


def _check(call: Call) -> None:
    if call.request.headers.get("Upgrade", "").lower() != _PROTOCOL:
        raise InvalidArgument(f"no upgrade to {_PROTOCOL} in the request")


def _take(call: Call, wire: Hijacked) -> None:
    call.answered = True
    wire.answer(head_of(call.request, RAW, _PROTOCOL))


def _remove_loose(call: Call, images: set[str]) -> None:
    for image_id in images:
        try:
            if not call.engine.images.get(image_id).names:
                call.engine.images.remove(image_id)
        except InceptionError:
            pass  # it has been removed, or somebody uses it by now
