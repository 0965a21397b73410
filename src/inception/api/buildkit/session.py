"""What the server asks of a client while it builds for it: the services that the client's session offers.

A client opens its session first (`POST /session`, with a number of its own making) and then says in Solve which one to use.
`Sessions` finds one by its number, waiting for it a little; `ClientFiles` and the other questions are for the build's threads,
which may wait: each becomes a call on the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar
from urllib.parse import quote_plus

from inception.buildkit import messages
from inception.buildkit.grpc import NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED, Channel, Exchange, GrpcError
from inception.buildkit.http2 import Connection, Headers
from inception.buildkit.protobuf import Message, Value
from inception.errors import InvalidArgument, NotFound, Unavailable

T = TypeVar("T")
_AGENT_PIECE = 16 << 10
_APPEARS_S = 5.0
_ASK_AGAIN_S = 1.0
# Where a client's log-in for Docker Hub is asked for.
_HUB, _HUB_REGISTRY = "docker.io", "registry-1.docker.io"


class Session:
    """A client's session: the client serves over *connection*."""

    def __init__(self, number: str, shared_key: str, connection: Connection) -> None:
        self.number = number
        self.shared_key = shared_key
        self.connection = connection
        self.channel = Channel(connection)


def session_of(header: Callable[[str], str], connection: Connection) -> Session:
    """The session that *header*s describe. Raises InvalidArgument when they don't."""
    number = header("x-docker-expose-session-uuid")
    if not number:
        raise InvalidArgument("no session: the header X-Docker-Expose-Session-Uuid is missing")
    return Session(number, header("x-docker-expose-session-sharedkey"), connection)


class Sessions:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._news = asyncio.Condition()

    async def serve(self, session: Session) -> None:
        """For as long as its connection lasts. Raises InvalidArgument when there is one of that number."""
        if session.number in self._open:
            raise InvalidArgument(f"session {session.number} is there already")
        self._open[session.number] = session
        try:
            async with self._news:
                self._news.notify_all()
            await session.connection.run()
        finally:
            del self._open[session.number]

    async def get(self, number: str) -> Session:
        """Raises NotFound when it doesn't appear."""
        try:
            async with asyncio.timeout(_APPEARS_S), self._news:
                await self._news.wait_for(lambda: number in self._open)
        except TimeoutError:
            raise NotFound(f"no active session for {number}: context deadline exceeded") from None
        return self._open[number]


class Client:
    """A session's services for threads that may wait. Each call raises GrpcError or Unavailable when the client has gone, and
    GrpcError when there is no session."""

    def __init__(self, session: Session | None, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self._loop = loop

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* on the event loop; its result."""
        if self._loop.is_closed():
            work.close()
            raise Unavailable("the server is stopping")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(_ASK_AGAIN_S)
            except CancelledError:
                raise Unavailable("the server is stopping") from None
            except TimeoutError:
                if self._loop.is_closed():
                    raise Unavailable("the server is stopping") from None
            except ConnectionError:
                raise GrpcError(UNAVAILABLE, "the client has gone") from None

    def open(self, path: str, request: Message, response: Message, metadata: Headers | None = None) -> BlockingExchange:
        return BlockingExchange(self, self.wait(self._channel().open(path, request, response, metadata)))

    def call(self, path: str, request: Message, response: Message, value: Value) -> Value:
        return self.wait(self._channel().call(path, request, response, value))

    def _channel(self) -> Channel:
        if self.session is None:
            raise GrpcError(UNIMPLEMENTED, "the request names no session")
        return self.session.channel

    # --- services ---

    def sync(self, name: str, *, excludes: list[str], follow: list[str] | None) -> BlockingExchange:
        """The files of the folder that the client calls *name*: all, or (with *follow*) what these paths lead to."""
        metadata = [*_header("dir-name", [name]), *_header("exclude-patterns", excludes), *_header("followpaths", follow or [])]
        return self.open("/moby.filesync.v1.FileSync/DiffCopy", messages.PACKET, messages.PACKET, metadata)

    def receive_files(self, exporter: int) -> BlockingExchange:
        """The client takes files into a folder of its own."""
        return self.open("/moby.filesync.v1.FileSend/DiffCopy", messages.PACKET, messages.PACKET, _of_exporter(exporter))

    def receive_bytes(self, exporter: int, chunks: Iterable[bytes]) -> None:
        """The client takes one file."""
        path = "/moby.filesync.v1.FileSend/DiffCopy"
        exchange = self.open(path, messages.BYTES, messages.BYTES, _of_exporter(exporter))
        try:
            for chunk in chunks:
                for at in range(0, len(chunk), 1 << 20):
                    exchange.send_all([{"data": chunk[at : at + (1 << 20)]}])
            exchange.end()
            while exchange.some():
                pass
        except BaseException:
            exchange.cancel()
            raise

    def secret(self, name: str) -> bytes | None:
        try:
            path = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
            return bytes(self.call(path, messages.ID_REQUEST, messages.BYTES, {"id": name})["data"])
        except GrpcError as error:
            if error.code in (NOT_FOUND, UNIMPLEMENTED):
                return None
            raise InvalidArgument(f"secret {name}: {error}") from None

    def agent(self, name: str) -> Callable[[], socket.socket] | None:
        """What connects to the ssh-agent that the client calls *name*; None when it has none."""
        try:
            self.call("/moby.sshforward.v1.SSH/CheckAgent", messages.ID_REQUEST, messages.EMPTY, {"id": name})
        except GrpcError as error:
            if error.code == UNAVAILABLE:
                raise
            return None
        return lambda: self._connect_agent(name)

    def _connect_agent(self, name: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            exchange = self.wait(
                self._channel().open(
                    "/moby.sshforward.v1.SSH/ForwardAgent", messages.BYTES, messages.BYTES, [("buildkit.ssh.id", name)]
                )
            )
        except BaseException:
            ours.close()
            theirs.close()
            raise
        theirs.setblocking(False)
        asyncio.run_coroutine_threadsafe(_carry(theirs, exchange), self._loop)
        return ours

    def log_in(self, domain: str) -> tuple[str, str]:
        """(user, password); the user is empty for an identity token, both are for nobody's."""
        host = _HUB_REGISTRY if domain == _HUB else domain
        path = "/moby.filesync.v1.Auth/Credentials"
        try:
            found = self.call(path, messages.CREDENTIALS_REQUEST, messages.CREDENTIALS_RESPONSE, {"host": host})
        except GrpcError as error:
            if error.code == UNAVAILABLE:
                raise
            return "", ""
        return found["username"], found["secret"]

    def upload(self, path: str) -> Iterator[bytes]:
        """What the client got over its standard input."""
        exchange = self.open("/moby.upload.v1.Upload/Pull", messages.BYTES, messages.BYTES, [("urlpath", path)])
        ended = False
        try:
            while packets := exchange.some():
                for packet in packets:
                    yield packet["data"]
            ended = True
        finally:
            if not ended:
                exchange.cancel()


class BlockingExchange:
    """An exchange for a thread."""

    def __init__(self, client: Client, exchange: Exchange) -> None:
        self._client = client
        self._exchange = exchange

    def some(self) -> list[Value]:
        return self._client.wait(self._exchange.some())

    def send_all(self, packets: list[Value]) -> None:
        self._client.wait(self._exchange.send_all(packets))

    def end(self) -> None:
        self._client.wait(self._exchange.end())

    def cancel(self) -> None:
        self._client.wait(self._exchange.cancel())


async def _carry(stream: socket.socket, exchange: Exchange) -> None:
    """Between a step's ssh and the client's agent, until either is done."""
    loop = asyncio.get_running_loop()

    async def there() -> None:
        while data := await loop.sock_recv(stream, _AGENT_PIECE):
            await exchange.send({"data": data})
        await exchange.end()

    async def back() -> None:
        while packets := await exchange.some():
            for packet in packets:
                await loop.sock_sendall(stream, packet["data"])

    tasks = [asyncio.ensure_future(there()), asyncio.ensure_future(back())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.cancel()
        stream.close()


def _header(name: str, values: list[str]) -> Headers:
    """Values of a call; where one is not plain ASCII, all are escaped, and a header beside them says so."""
    if all(value.isascii() and value.isprintable() for value in values):
        return [(name, value) for value in values]
    return [*((name, quote_plus(value, errors="surrogateescape")) for value in values), (f"{name}-encoded", "1")]


def _of_exporter(number: int) -> Headers:
    return [("buildkit-attachable-exporter-id", str(number))]
