"""POST /build with `version=2`: one request instead of calls over gRPC, and BuildKit's words in its answer.

    {"id": "moby.buildkit.trace", "aux": BASE64}         what Control.Status streams, message by message
    {"id": "moby.image.id", "aux": {"ID": "sha256:…"}}   the image
    {"errorDetail": {…}, "error": "…"}                   or what went wrong

The context is the request's body, an address, or (`remote=client-session`) a folder of the session that the client has opened
beside it. A session also answers for secrets, agents and log-ins; without one there are the log-ins of the request alone.
dockerode, the Go SDK's own builds and testcontainers build this way; buildx and Compose don't.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO

from inception.api.buildkit.failures import words_of
from inception.api.buildkit.options import UPLOAD, Request
from inception.api.buildkit.session import Client
from inception.api.call import Call, encode_json, open_stream, parse_json
from inception.api.fields import Fields
from inception.api.progress import error_document
from inception.build.cacheplaces import parse_source
from inception.errors import InceptionError, InvalidArgument
from inception.record import replace

if TYPE_CHECKING:
    from aiohttp import web

    from inception.api.buildkit.jobs import Job, Solver
    from inception.api.buildkit.session import Session
    from inception.build import BuildConfig, BuildResult
    from inception.buildkit.protobuf import Value
    from inception.store.credentials import Credentials

CLIENT_SESSION = "client-session"
_PIECE = 1 << 20


async def build_posted(call: Call, config: BuildConfig, log_ins: dict[str, Credentials]) -> web.StreamResponse:
    solver = call.server.buildkit()
    config.cache_from = [parse_source(str(name)) for name in parse_json(call.text("cachefrom") or "[]", "cachefrom") or []]
    session = await solver.sessions.get(call.text("session")) if call.text("session") else None
    job = await solver.begin(_solve_request(call, config))
    client = Poster(session, asyncio.get_running_loop(), call.body_file(), log_ins)
    work = solver.posted[job.ref] = asyncio.create_task(_run(solver, job, _request(call, config, session), client))
    try:
        return await _stream(call, job, work)
    finally:
        del solver.posted[job.ref]
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def cancel(call: Call) -> None:
    """POST /build/cancel: nothing happens when there is no such build any more, as in Docker."""
    work = call.server.buildkit().posted.get(call.text("id"))
    if work is not None:
        work.cancel()


class Poster(Client):
    """Who has sent the request: its *body* is the archive, *log_ins* came with it, all else is asked of its session."""

    def __init__(
        self, session: Session | None, loop: asyncio.AbstractEventLoop, body: BinaryIO, log_ins: dict[str, Credentials]
    ) -> None:
        super().__init__(session, loop)
        self._body = body
        self._log_ins = log_ins

    def upload(self, path: str) -> Iterator[bytes]:
        while data := self._body.read(_PIECE):
            yield data

    def log_in(self, domain: str) -> tuple[str, str]:
        found = self._log_ins.get(domain)
        if found is None:
            return super().log_in(domain)
        return (found.username, found.password) if found.username else ("", found.identity_token)


def _request(call: Call, config: BuildConfig, session: Session | None) -> Request:
    filename = config.dockerfile or "Dockerfile"
    if call.text("remote") != CLIENT_SESSION:
        where = config.context if config.context != "-" else UPLOAD + "body"
        return Request(config=config, filename=filename, context=where, dockerfile_from="")
    if session is None:
        raise InvalidArgument(f"remote {CLIENT_SESSION}: the request names no session")
    return Request(config=replace(config, context=f"{session.shared_key}/context"), filename=filename)


def _solve_request(call: Call, config: BuildConfig) -> Value:
    """What of Control.Solve's request a job looks at."""
    exporters = []
    for item in parse_json(call.text("outputs") or "[]", "outputs") or []:
        fields = Fields(item, "outputs")
        exporters.append({"type": fields.text("Type"), "attrs": fields.value.get("Attrs") or {}})
    if len(exporters) > 1:
        raise InvalidArgument("outputs: multiple outputs not supported")
    inline = config.build_args.get("BUILDKIT_INLINE_CACHE") == "1"
    return {
        "ref": call.text("buildid") or os.urandom(12).hex(),
        "cache": {"exports": [{"type": "inline", "attrs": {}}] if inline else []},
        "exporters": exporters or [{"type": "moby", "attrs": {"name": ",".join(config.tags)}}],
    }


async def _run(solver: Solver, job: Job, request: Request, client: Client) -> BuildResult:
    try:
        return await job.build(request, client)
    finally:
        await solver.end(job)


async def _stream(call: Call, job: Job, work: asyncio.Task[BuildResult]) -> web.StreamResponse:
    """As in Docker, an error that comes before there is anything to tell has its status; a later one is the last object."""
    response: web.StreamResponse | None = None
    quiet = call.flag("q")
    async with aclosing(job.log.read()) as pieces:
        async for piece in pieces:
            response = response or await open_stream(call)
            if not quiet:
                await response.write(_line({"id": "moby.buildkit.trace", "aux": b64encode(piece).decode()}))
    last: dict[str, Any] | None = None
    try:
        await asyncio.wait([work])
        result = work.result()
        if result.image_id:
            last = {"stream": f"{result.image_id}\n"} if quiet else {"id": "moby.image.id", "aux": {"ID": result.image_id}}
    except asyncio.CancelledError:
        if not work.cancelled():
            raise
        last = error_document("context canceled")
    except InceptionError as error:
        if response is None:
            raise
        last = error_document(words_of(error))
    except OSError as error:
        if response is None:
            raise
        last = error_document(str(error))
    response = response or await open_stream(call)
    if last is not None:
        await response.write(_line(last))
    await response.write_eof()
    return response


def _line(document: dict[str, Any]) -> bytes:
    return encode_json(document).strip() + b"\r\n"
