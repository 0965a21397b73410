"""Files in and out of a container: archive and export."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from inception.api.call import Call, empty, encode_json, open_stream
from inception.api.threads import Stop
from inception.buildkit.gomode import go_mode
from inception.errors import InvalidArgument, NotFound
from inception.monitor.times import timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from inception.engine.container import Container
    from inception.engine.results import PathStat

T = TypeVar("T")


def _stat_header(found: PathStat) -> dict[str, str]:
    document = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": timestamp(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return {"X-Docker-Container-Path-Stat": base64.b64encode(encode_json(document).strip()).decode()}


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("missing parameter: path")
    return path


async def _named(call: Call, container: Container, work: Awaitable[T]) -> T:
    """Docker names the container as the client did."""
    try:
        return await work
    except NotFound as error:
        raise NotFound(str(error).replace(container.id, call.arguments["id"])) from error


async def head(call: Call) -> web.Response:
    container = await call.container()
    found = await _named(call, container, call.run(container.stat_path, _path(call)))
    return web.Response(headers=_stat_header(found))


async def get(call: Call) -> web.StreamResponse:
    container = await call.container()
    found, chunks = await _named(call, container, call.run(container.get_archive, _path(call)))
    return await send_tar(call, chunks, _stat_header(found))


async def put(call: Call) -> web.Response:
    container = await call.container()
    work = call.server.threads.long(
        container.put_archive,
        _path(call),
        call.body_file(),
        copy_uid_gid=call.flag("copyUIDGID"),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
    )
    await _named(call, container, work)
    return empty(200)


async def export(call: Call) -> web.StreamResponse:
    container = await call.container()
    return await send_tar(call, await call.run(container.export), None, "application/octet-stream")


async def send_tar(
    call: Call, chunks: Iterator[bytes], headers: dict[str, str] | None, content_type: str = "application/x-tar"
) -> web.StreamResponse:
    """A tar as it is made. The first piece is made before the head is sent: an error then still has its status."""
    pieces = call.server.threads.iterate(chunks, Stop())
    first = await anext(pieces, b"")
    response = await open_stream(call, content_type, headers)
    if first:
        await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


ROUTES = [
    ("HEAD", "/containers/{id}/archive", head),
    ("GET", "/containers/{id}/archive", get),
    ("PUT", "/containers/{id}/archive", put),
    ("GET", "/containers/{id}/export", export),
]
