"""A container's life: start, stop, kill, pause, wait, resize."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from inception.api.call import Call, empty, encode_json, open_stream
from inception.errors import InceptionError, InvalidArgument, NotFound

if TYPE_CHECKING:
    from inception.api.hub import Subscription
    from inception.engine.container import Container

_RUNNING = ("running", "paused", "restarting")
# Events tell at once; looking again now and then is for what nobody told: a monitor that was killed.
_LOOK_AGAIN_S = 2.0


async def start(call: Call) -> web.Response:
    if await call.body() not in (b"", b"{}", b"null", b"{}\n", b"null\n"):
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    container = await call.container()
    await call.server.attachments.start(container, checkpoint=call.text("checkpoint"), folder=call.text("checkpoint-dir"))
    return empty()


async def stop(call: Call) -> web.Response:
    container = await call.container()
    await call.server.threads.long(container.stop, timeout_s=_timeout(call), signal=call.text("signal"))
    return empty()


async def restart(call: Call) -> web.Response:
    container = await call.container()
    await call.server.threads.long(container.restart, timeout_s=_timeout(call), signal=call.text("signal"))
    return empty()


def _timeout(call: Call) -> float | None:
    return float(call.number("t")) if call.text("t") else None


async def kill(call: Call) -> web.Response:
    container = await call.container()
    await call.run(container.kill, call.text("signal") or "KILL")
    return empty()


async def pause(call: Call) -> web.Response:
    await call.run((await call.container()).pause)
    return empty()


async def unpause(call: Call) -> web.Response:
    await call.run((await call.container()).unpause)
    return empty()


async def resize(call: Call) -> web.Response:
    rows, columns = call.number("h", -1), call.number("w", -1)
    if rows < 0 or columns < 0:
        raise InvalidArgument("invalid terminal size: h and w are needed")
    container = await call.container()
    await call.run(container.resize, rows, columns)
    return empty(200)


async def wait(call: Call) -> web.StreamResponse:
    """Docker's CLI waits before it starts: the head of the answer goes out at once, the exit code when there is one."""
    condition = call.text("condition", "not-running")
    if condition not in ("not-running", "next-exit", "removed"):
        raise InvalidArgument(f'invalid condition: "{condition}"')
    container = await call.container()
    with call.server.hub.subscribe(container.id) as events:
        response = await open_stream(call)
        try:
            answer: dict[str, object] = {"StatusCode": await _exit_code(call, container, condition, events)}
        except InceptionError as error:
            answer = {"StatusCode": -1, "Error": {"Message": str(error)}}
        await response.write(encode_json(answer))
        await response.write_eof()
        return response


async def _exit_code(call: Call, container: Container, condition: str, events: Subscription) -> int:
    """Events came from before the state was read, so nothing falls between."""
    try:
        state = await call.run(lambda: container.state)
    except NotFound:
        return 0
    code = state.exit_code
    was_running = state.status in _RUNNING
    if condition == "not-running" and not was_running:
        return code
    runs = state.started_at
    while True:
        event = await events.next(_LOOK_AGAIN_S)
        if event is not None and event.action == "die":
            code = int(event.attributes.get("exitCode", code))
            if condition != "removed":
                return code  # also of one that its policy starts again
        if event is not None and event.action == "destroy":
            return code
        if event is not None and event.action != "die":
            continue
        try:
            state = await call.run(lambda: container.state)
        except NotFound:
            return code
        stopped = state.status not in _RUNNING
        if stopped and condition == "not-running":
            return state.exit_code
        if stopped and condition == "next-exit" and (was_running or state.started_at != runs):
            return state.exit_code
        if stopped and state.status != "created":
            code = state.exit_code
        was_running = was_running or not stopped


async def settle(call: Call, container: Container) -> None:
    """Clean up after a container whose end this server heard of first."""
    from inception.engine.release import release

    try:
        await asyncio.shield(call.run(release, call.engine, container.id))
    except InceptionError:
        pass  # somebody else was faster


ROUTES = [
    ("POST", "/containers/{id}/start", start),
    ("POST", "/containers/{id}/stop", stop),
    ("POST", "/containers/{id}/restart", restart),
    ("POST", "/containers/{id}/kill", kill),
    ("POST", "/containers/{id}/pause", pause),
    ("POST", "/containers/{id}/unpause", unpause),
    ("POST", "/containers/{id}/wait", wait),
    ("POST", "/containers/{id}/resize", resize),
]
