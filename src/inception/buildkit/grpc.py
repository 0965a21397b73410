"""gRPC over HTTP/2: calls as a client makes them and as a server answers them.

A message is one byte (0: not compressed), four bytes length, the bytes. A call ends with the trailers `grpc-status` and
`grpc-message`; what else an error has to say is a `Status` in `grpc-status-details-bin`.
Source: grpc's PROTOCOL-HTTP2.
"""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, unquote

from inception.buildkit.http2 import Connection, Headers, Stream, StreamClosed
from inception.buildkit.messages import STATUS
from inception.buildkit.protobuf import Message, Value
from inception.errors import InceptionError, InvalidArgument

CANCELED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 1, 2, 3, 5, 9
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14
# As BuildKit and its clients do.
_MAX_MESSAGE = 16 << 20
_HEAD: Headers = [(":status", "200"), ("content-type", "application/grpc")]


class GrpcError(InceptionError):
    """What the trailers say: a code, words, and the bytes of a `Status` with details (or none)."""

    def __init__(self, code: int, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Messages:
    """The messages that come in over a stream."""

    def __init__(self, stream: Stream, kind: Message) -> None:
        self._stream = stream
        self._kind = kind
        self._rest = bytearray()

    async def next(self) -> Value | None:
        """The next one; None at the end. Raises StreamClosed, InvalidArgument."""
        while True:
            found = self._take()
            if found is not None:
                return found
            data = await self._stream.receive()
            if not data:
                if self._rest:
                    raise InvalidArgument("invalid message: cut off")
                return None
            self._rest += data

    async def some(self) -> list[Value]:
        """The next ones, as many as are there; empty at the end."""
        first = await self.next()
        found = [first] if first is not None else []
        while found and len(found) < 256:
            more = self._take()
            if more is None and self._stream.peek():
                self._rest += await self._stream.receive()
                continue
            if more is None:
                break
            found.append(more)
        return found

    def _take(self) -> Value | None:
        if len(self._rest) < 5:
            return None
        length = int.from_bytes(self._rest[1:5], "big")
        if self._rest[0]:
            raise GrpcError(UNIMPLEMENTED, "compressed messages are not supported")
        if length > _MAX_MESSAGE:
            raise InvalidArgument(f"invalid message: larger than {_MAX_MESSAGE} bytes")
        if len(self._rest) < 5 + length:
            return None
        data = bytes(memoryview(self._rest)[5 : 5 + length])
        del self._rest[: 5 + length]
        return self._kind.decode(data)


def frame(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


# --- the server's side ---


class Call:
    """A call under way: `request` is its first message, `metadata` what came with it."""

    def __init__(self, stream: Stream, method: Method) -> None:
        self.stream = stream
        self.messages = Messages(stream, method.request)
        self.request: Value = {}
        self._response = method.response
        self._answered = False

    def metadata(self, name: str) -> str:
        return self.stream.header(name)

    async def send(self, value: Value) -> None:
        await self.send_encoded(self._response.encode(value))

    async def send_encoded(self, data: bytes) -> None:
        await self.begin()
        await self.stream.send(frame(data))

    async def begin(self) -> None:
        """The head, if it has not gone out yet."""
        if not self._answered:
            self._answered = True
            await self.stream.send_headers(_HEAD)

    async def finish(self, code: int = 0, message: str = "", details: bytes = b"") -> None:
        trailers: Headers = [("grpc-status", str(code))]
        if message:
            trailers.append(("grpc-message", quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="replace")))
        if details:
            trailers.append(("grpc-status-details-bin", b64encode(details).decode().rstrip("=")))
        # Without a body the trailers are the head.
        await self.stream.send_headers(trailers if self._answered else [*_HEAD, *trailers], end=True)


class Method:
    """`handler` answers with the one message of its answer, or (None) has sent what there was to send. Where the request
    *streams*, it is called at once and takes the messages itself."""

    def __init__(
        self,
        request: Message,
        response: Message,
        handler: Callable[[Call], Awaitable[Value | None]],
        *,
        streams: bool = False,
    ) -> None:
        self.request = request
        self.response = response
        self.handler = handler
        self.streams = streams


class Service:
    """Answers the streams of one connection from a table of methods by their paths."""

    def __init__(self, methods: dict[str, Method], explain: Callable[[InceptionError], GrpcError]) -> None:
        self._methods = methods
        self._explain = explain

    async def __call__(self, stream: Stream) -> None:
        path = stream.header(":path")
        method = self._methods.get(path)
        call = Call(stream, method or _NOTHING)
        try:
            if method is None:
                service, _, name = path.removeprefix("/").rpartition("/")
                raise GrpcError(UNIMPLEMENTED, f"unknown method {name} for service {service}: it is not supported")
            if method.streams:
                await call.begin()
            else:
                call.request = await call.messages.next() or method.request.decode(b"")
            answer = await method.handler(call)
            if answer is not None:
                await call.send(answer)
            await call.begin()
            await call.finish()
        except ConnectionError:
            await stream.reset()
        except InceptionError as error:
            found = error if isinstance(error, GrpcError) else self._explain(error)
            await _finish(call, found)
        except OSError as error:
            await _finish(call, GrpcError(UNKNOWN, str(error)))
        except Exception as error:
            print(f"inception serve: {path}: {type(error).__name__}: {error}", file=sys.stderr)
            if os.environ.get("INCEPTION_DEBUG"):
                import traceback

                traceback.print_exc()
            await _finish(call, GrpcError(INTERNAL, f"{type(error).__name__}: {error}"))


_NOTHING = Method(Message("Nothing"), Message("Nothing"), lambda call: asyncio.sleep(0))


async def _finish(call: Call, error: GrpcError) -> None:
    try:
        await call.finish(error.code, str(error), error.details)
    except ConnectionError:
        pass


# --- the client's side ---


class Exchange:
    """A call of ours whose messages go both ways."""

    def __init__(self, stream: Stream, request: Message, response: Message) -> None:
        self._stream = stream
        self._request = request
        self._messages = Messages(stream, response)

    async def send(self, value: Value) -> None:
        await self._stream.send(frame(self._request.encode(value)))

    async def send_all(self, values: list[Value]) -> None:
        await self._stream.send(b"".join(frame(self._request.encode(value)) for value in values))

    async def end(self) -> None:
        """Nothing more comes from us."""
        try:
            await self._stream.send(b"", end=True)
        except StreamClosed:
            pass  # nor from the other side

    async def some(self) -> list[Value]:
        """What has come; empty at the end. Raises GrpcError when that is an error."""
        try:
            found = await self._messages.some()
        except StreamClosed:
            raise GrpcError(UNAVAILABLE, "the client has gone") from None
        if not found:
            self.check()
        return found

    def check(self) -> None:
        """Raises GrpcError for an end that is one."""
        code = self._stream.header("grpc-status")
        if code not in ("0", ""):
            details = self._stream.header("grpc-status-details-bin")
            text = unquote(self._stream.header("grpc-message"))
            raise GrpcError(int(code) if code.isdecimal() else UNKNOWN, text, _unbase64(details))
        if not code:
            raise GrpcError(
                UNAVAILABLE, f"the call was not answered (HTTP status {self._stream.header(':status') or 'missing'})"
            )

    async def cancel(self) -> None:
        await self._stream.reset()


class Channel:
    """Calls over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open(self, path: str, request: Message, response: Message, metadata: Headers | None = None) -> Exchange:
        """Raises GrpcError when the peer has gone."""
        headers: Headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("user-agent", "inception"),
            ("te", "trailers"),
            *(metadata or []),
        ]
        try:
            return Exchange(await self._connection.open(headers), request, response)
        except ConnectionError:
            raise GrpcError(UNAVAILABLE, "the client has gone") from None

    async def call(
        self, path: str, request: Message, response: Message, value: Value, metadata: Headers | None = None
    ) -> Value:
        """One message there, one back. Raises GrpcError."""
        exchange = await self.open(path, request, response, metadata)
        try:
            await exchange.send(value)
            await exchange.end()
            found: list[Value] = []
            while more := await exchange.some():
                found += more
        except ConnectionError:
            raise GrpcError(UNAVAILABLE, "the client has gone") from None
        except asyncio.CancelledError:
            await exchange.cancel()
            raise
        if len(found) != 1:
            raise GrpcError(INTERNAL, f"{path}: expected one message, got {len(found)}")
        return found[0]


def _unbase64(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""


def details_of(code: int, message: str, details: list[dict[str, Any]]) -> bytes:
    """A `Status` for the trailers."""
    return STATUS.encode({"code": code, "message": message, "details": details})
