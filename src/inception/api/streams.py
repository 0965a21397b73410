"""What a container says and uses, as it goes: attach, logs, stats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from inception.api.attach import Wish
from inception.api.call import Call, encode_json, open_stream, reply
from inception.api.documents import stats_document, system_cpu_ns
from inception.api.hijack import MULTIPLEXED, RAW, Hijacked, Taken, frame, head_of
from inception.api.life import settle
from inception.api.session import Client, WebSocketClient, run_session
from inception.api.threads import Stop
from inception.engine.detach import DetachKeys, parse_detach_keys
from inception.engine.records import event_attributes
from inception.engine.times import parse
from inception.errors import InceptionError, InvalidArgument

if TYPE_CHECKING:
    from inception.engine.container import Container
    from inception.engine.results import ContainerStats
    from inception.monitor.client import AttachStream
    from inception.monitor.logs import LogLine

_BATCH_BYTES = 64 << 10
_FIRST_OUTPUT_POLLS, _FIRST_OUTPUT_POLL_S = 10, 0.02
_JUST_STARTED_NS = 500_000_000


async def attach(call: Call) -> web.StreamResponse:
    container = await call.container()
    await _check_attachable(call, container)
    tty = container.config.tty
    wish, stream = await _open(call, container)
    client = Hijacked(call.request, call.server.hang_ups)
    try:
        # Multiplexed by name only for those who say that they know the name.
        known = MULTIPLEXED in call.request.headers.get("Accept", "") or call.version >= (1, 42)
        call.answered = True
        client.answer(head_of(call.request, RAW if tty or not known else MULTIPLEXED))
        await _attached(call, container, client, wish, stream, framed=not tty)
    finally:
        client.close()
    return Taken()


async def attach_websocket(call: Call) -> web.StreamResponse:
    container = await call.container()
    await _check_attachable(call, container)
    wish, stream = await _open(call, container)
    socket = web.WebSocketResponse()
    socket.headers.update(call.server.headers)
    call.answered = True
    await socket.prepare(call.request)
    try:
        await _attached(call, container, WebSocketClient(socket), wish, stream, framed=False)
    finally:
        await socket.close()
    return socket


async def _check_attachable(call: Call, container: Container) -> None:
    from inception.errors import Conflict

    parse_detach_keys(call.text("detachKeys"))
    status = container.record.state.status
    if status == "paused":
        raise Conflict(f"container {container.id} is paused, unpause the container before attach")
    if status == "restarting":
        raise Conflict(f"container {container.id} is restarting, wait until the container is running")


async def _open(call: Call, container: Container) -> tuple[Wish | None, AttachStream | None]:
    """What the client wants of a container's streams, and the stream, if it runs already. Errors still have a status."""
    if not call.flag("stream"):
        return None, None
    stdin, stdout, stderr = call.flag("stdin"), call.flag("stdout"), call.flag("stderr")
    wish = Wish(stdin and container.config.open_stdin, stdout, stderr)
    if container.record.state.status != "running":
        call.engine.events.emit("container", "attach", container.id, event_attributes(container.record))
        return wish, None
    stream = await call.server.threads.open(container.attach, stdin=wish.stdin, stdout=stdout, stderr=stderr, lossless=True)
    return wish, stream


async def _attached(
    call: Call, container: Container, client: Client, wish: Wish | None, stream: AttachStream | None, *, framed: bool
) -> None:
    try:
        if call.flag("logs"):
            if not call.flag("stream"):
                await _first_output(call, container)
            for line in await call.run(lambda: list(container.logs())):
                if call.flag(line.stream):
                    await client.send(frame(line.stream, line.data) if framed else line.data)
        if wish is not None and stream is None:
            stream = await call.server.attachments.first_stream(container, wish)
        if wish is None or stream is None:
            return
        outputs = tuple(name for name in ("stdout", "stderr") if getattr(wish, name))
        detach = DetachKeys(parse_detach_keys(call.text("detachKeys"))) if container.config.tty else None
        await run_session(client, stream, framed=framed, stdin=wish.stdin, outputs=outputs, detach=detach)
        if stream.ended:
            await settle(call, container)
    except ConnectionError:
        pass  # the client has gone
    finally:
        if stream is not None:
            stream.close()


async def _first_output(call: Call, container: Container) -> None:
    """Docker's start takes so long that a short program has spoken by its end, and clients ask but once."""
    state = container.record.state
    if state.status != "running" or time.time_ns() - parse(state.started_at) > _JUST_STARTED_NS:
        return
    for _ in range(_FIRST_OUTPUT_POLLS):
        said = await call.run(lambda: list(container.logs(tail=1)))
        if said or container.record.state.status != "running":
            return
        await asyncio.sleep(_FIRST_OUTPUT_POLL_S)
        await call.run(container.reload)


# Logs


async def logs(call: Call) -> web.StreamResponse:
    stdout, stderr, follow = call.flag("stdout"), call.flag("stderr"), call.flag("follow")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    container = await call.container()
    if not follow:
        await _first_output(call, container)
    stop = Stop()
    since, until = call.text("since"), call.text("until")
    lines: Iterator[LogLine] = await call.run(
        container.logs,
        stdout=stdout,
        stderr=stderr,
        follow=stop.wanted if follow else False,
        tail=_tail(call),
        since="" if since == "0" else since,
        until="" if until == "0" else until,
    )
    tty = container.config.tty
    response = await open_stream(call, RAW if tty or call.version < (1, 42) else MULTIPLEXED)
    timestamps, details = call.flag("timestamps"), call.flag("details")
    with call.server.following(container.id):
        async for data in _batches(call.server.threads.iterate(lines, stop), timestamps, details, tty):
            await response.write(data)
    await response.write_eof()
    return response


def _tail(call: Call) -> int | None:
    text = call.text("tail", "all")
    return int(text) if text.isascii() and text.isdigit() else None


async def _batches(lines: AsyncIterator[LogLine], timestamps: bool, details: bool, tty: bool) -> AsyncIterator[bytes]:
    partial = False
    async for line in lines:
        head = line.time.encode() + b" " if timestamps and not partial else b""
        data = head + (line.details if details else b"") + line.data
        partial = not line.data.endswith(b"\n")
        yield data if tty else frame(line.stream, data)


# Statistics


async def stats(call: Call) -> web.StreamResponse:
    container = await call.container()
    if not call.flag("stream", True):
        return reply(await _one_sample(call, container))
    stop = Stop()
    response = await open_stream(call)
    before: tuple[ContainerStats, int] | None = None
    try:
        async for sample in call.server.threads.iterate(_samples(container, stop), stop):
            now, system = sample
            document = stats_document(now, before[0] if before else None, system, before[1] if before else 0)
            await response.write(encode_json(document))
            before = sample
    except InceptionError:
        pass  # removed: the stream ends
    await response.write_eof()
    return response


def _samples(container: Container, stop: Stop) -> Iterator[tuple[ContainerStats, int]]:
    for sample in container.stats_stream():
        if stop.stopped:
            return
        yield sample, system_cpu_ns()


async def _one_sample(call: Call, container: Container) -> dict[str, Any]:
    """With the sample of a second before, unless the client wants it at once."""
    before, system_before = await call.run(container.stats), system_cpu_ns()
    if call.flag("one-shot") or not before.memory_limit_bytes:
        return stats_document(before, None, system_before, 0)
    await asyncio.sleep(1)
    return stats_document(await call.run(container.stats), before, system_cpu_ns(), system_before)


ROUTES = [
    ("POST", "/containers/{id}/attach", attach),
    ("GET", "/containers/{id}/attach/ws", attach_websocket),
    ("GET", "/containers/{id}/logs", logs),
    ("GET", "/containers/{id}/stats", stats),
]
