"""One request, as handlers see it: parameters in Docker's spellings, a bounded body, the engine behind threads.

async def inspect(call: Call) -> Response:
    container = await call.container()
    return reply(await call.run(container.inspect, size=call.flag("size")))
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar

from aiohttp import web

from inception.api.errors import TooLarge
from inception.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.web_response import StreamResponse

    from inception.api.server import Server
    from inception.engine import Engine
    from inception.engine.container import Container
    from inception.engine.results import Event

    Handler = Callable[["Call"], Any]

P = ParamSpec("P")
T = TypeVar("T")
_BODY_BYTES = 4 << 20
# What an unprivileged user may ask for; root too. Source: /proc/sys/fs/pipe-max-size.
_PIPE_BYTES = 1 << 20


class Call:
    """*arguments* are the path's variables, *version* what the client speaks, as (major, minor)."""

    def __init__(self, server: Server, request: web.BaseRequest, version: tuple[int, int], arguments: dict[str, str]) -> None:
        self.server = server
        self.request = request
        self.version = version
        self.arguments = arguments
        self.query = request.query
        self.answered = False
        self._feeder: asyncio.Task[None] | None = None

    @property
    def engine(self) -> Engine:
        return self.server.engine

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that blocks, on one of the threads for calls."""
        return await self.server.threads.call(function, *args, **kwargs)

    async def container(self) -> Container:
        """The container that the path names."""
        return await self.run(self.engine.containers.get, self.arguments["id"])

    # Parameters

    def text(self, name: str, default: str = "") -> str:
        value = self.query.get(name, default)
        if "\0" in value:
            raise InvalidArgument(f'invalid value for "{name}": it holds a zero byte')
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean in any of Docker's spellings: `1`, `true`, `True`; empty, `0`, `no`, `false`, `none` are false."""
        value = self.query.get(name)
        return default if value is None else value.strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, name: str, default: int = 0) -> int:
        text = self.query.get(name, "")
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise InvalidArgument(f'invalid value for "{name}": {text!r} is not a number') from None
        if not -(2**63) <= value < 2**63:
            raise InvalidArgument(f'invalid value for "{name}": {text!r}: value out of range')
        return value

    def filters(self, *ignored: str) -> dict[str, list[str]]:
        """`filters`: Go's clients send {"label": {"a=b": true}}, Python's {"label": ["a=b"]}. *ignored* keys are left out."""
        text = self.query.get("filters", "")
        if not text:
            return {}
        value = parse_json(text, "filters")
        if not isinstance(value, dict):
            raise InvalidArgument("invalid filters: expected an object")
        found: dict[str, list[str]] = {}
        for key, values in value.items():
            if isinstance(values, dict):
                values = [name for name, wanted in values.items() if wanted]
            if not isinstance(values, list) or not all(isinstance(item, (str, bool, int)) for item in values):
                raise InvalidArgument(f"invalid filter '{key}': expected a list of strings")
            if values and key not in ignored:
                found[key] = [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
        return found

    def refuse(self, **reasons: str) -> None:
        """Raise InvalidArgument for a parameter, given and not empty, that isn't supported; *reasons* by name."""
        for name, reason in reasons.items():
            key = name.replace("_", "-")
            if self.query.get(key, "") not in ("", "0", "false", "False", "[]", "{}", "null"):
                raise InvalidArgument(f"{key} is not supported: {reason}")

    # The body

    async def json(self, *, required: bool = False) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty one, unless it is *required*. Bounded."""
        data = await self.body()
        if not data.strip():
            if required:
                raise InvalidArgument("invalid JSON: got EOF while reading request body")
            return {}
        kind = self.request.headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({kind}): must be 'application/json'")
        value = parse_json(data, "request body")
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidArgument("invalid JSON: expected an object")
        return value

    async def body(self, limit: int = _BODY_BYTES) -> bytes:
        pieces, size = [], 0
        self._invite()
        while chunk := await self.request.content.readany():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"request body too large: more than {limit} bytes")
            pieces.append(chunk)
        return b"".join(pieces)

    def body_file(self) -> BinaryIO:
        """The body as a file (a pipe) for a thread or a process: it is read as it comes, never held whole."""
        self._invite()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(writer, False)
        self._feeder = asyncio.create_task(_feed(self.request.content, writer))
        return os.fdopen(reader, "rb")

    def _invite(self) -> None:
        """A client that asks first (curl does with large bodies, and waits a second) hears that its body is wanted."""
        asks = "Expect" in self.request.headers and self.request.version >= (1, 1)
        if asks and self.request.transport is not None and not self.answered:
            self.request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def close(self) -> None:
        """At the end of the request, good or bad: whoever still reads the body sees its end."""
        if self._feeder is not None:
            self._feeder.cancel()


async def _feed(content: StreamReader, writer: int) -> None:
    try:
        while chunk := await content.readany():
            view = memoryview(chunk)
            while view:
                await wait_ready(writer, writing=True)
                try:
                    view = view[os.write(writer, view) :]
                except BlockingIOError:
                    pass
    except OSError:
        pass  # the reader has enough, or the client has gone: a half archive is its reader's to refuse
    finally:
        os.close(writer)


async def wait_ready(fd: int, *, writing: bool) -> None:
    """Until *fd* can be read from, or written to."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, wake)
    try:
        await ready
    finally:
        remove(fd)


def parse_json(text: str | bytes, what: str) -> Any:
    """Raises InvalidArgument; deep nesting is an error, not a crash."""
    try:
        value = json.loads(text)
        # Half a surrogate pair is no character: stored once, it would break every list that it is in. Go replaces it, too.
        escaped = b"\\u" if isinstance(text, bytes) else "\\u"
        return json.loads(_mended(json.dumps(value, ensure_ascii=False))) if escaped in text else value  # type: ignore[operator]
    except RecursionError:
        raise InvalidArgument(f"invalid JSON in {what}: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"invalid JSON in {what}: {_go_words(error)}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid JSON in {what}: {error}") from None


# What Python misses where, and how Go says it, which clients' tests look for.
_GO_WORDS = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after a value",
    "Extra data": "after top-level value",
}


def _go_words(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc):
        return "unexpected end of JSON input"
    return f"invalid character {error.doc[error.pos]!r} {_GO_WORDS.get(error.msg, 'looking for beginning of value')}"


def _mended(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def reply(value: Any, status: int = 200) -> web.Response:
    """A JSON document."""
    return web.Response(status=status, body=encode_json(value), content_type="application/json")


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


def encode_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


async def open_stream(
    call: Call, content_type: str = "application/json", headers: dict[str, str] | None = None
) -> StreamResponse:
    """An answer whose head goes out at once and whose body comes piece by piece."""
    response = web.StreamResponse(headers={**call.server.headers, **(headers or {})})
    response.content_type = content_type
    if call.request.version >= (1, 1):
        response.enable_chunked_encoding()
    call.answered = True
    await response.prepare(call.request)
    return response


def event_document(event: Event) -> dict[str, Any]:
    """An event as Docker sends it."""
    document: dict[str, Any] = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": dict(sorted(event.attributes.items()))},
        "scope": "local",
        "time": event.time_ns // 10**9,
        "timeNano": event.time_ns,
    }
    if event.type == "container":  # the form before API 1.22, which clients still read
        document = {"status": event.action, "id": event.id, "from": event.attributes.get("image", ""), **document}
    elif event.type == "image":
        document = {"status": event.action, "id": event.id, **document}
    return document
