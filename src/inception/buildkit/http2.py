"""HTTP/2 over a connection that was taken out of HTTP/1: the frames are h2's business, waiting and bounds are ours.

One reader feeds h2 and hands what came to the streams; each stream has a task of its own (for a server) or is read by whoever
opened it (for a client). What a stream has not taken yet is what its window lets the peer send, so nothing grows; senders wait
for the peer's window.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

Headers = list[tuple[str, str]]
_STREAM_WINDOW = 4 << 20
_CONNECTION_WINDOW = 16 << 20
_FRAME = 128 << 10
_CANCEL = 8  # RFC 9113, section 7
_SETTINGS: dict[SettingCodes | int, int] = {
    SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    SettingCodes.MAX_FRAME_SIZE: _FRAME,
    SettingCodes.MAX_CONCURRENT_STREAMS: 256,
}


class Wire(Protocol):
    """The bytes below. `receive` answers with nothing at the end; `send` waits while the peer doesn't read, and raises
    ConnectionError when it has gone."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class StreamClosed(ConnectionError):
    """The peer has ended a stream, or has gone altogether."""


class Stream:
    """One exchange. `headers` are the peer's first, `trailers` its last; values of one name in their order."""

    def __init__(self, connection: Connection, number: int, headers: Headers | None = None) -> None:
        self.number = number
        self.headers = headers or []
        self.trailers: Headers = []
        self._connection = connection
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self._window = asyncio.Event()
        self._ended = False
        self._deaf = False
        self._gone = False

    def header(self, name: str) -> str:
        """The first value of *name*, in the headers or the trailers; empty when there is none."""
        return next((value for key, value in (*self.trailers, *self.headers) if key == name), "")

    async def receive(self) -> bytes:
        """The next piece of the peer's data; nothing at its end. Raises StreamClosed when it was broken off."""
        while not self._pieces:
            if self._gone:
                raise StreamClosed("the stream was broken off")
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data, length = self._pieces.popleft()
        await self._connection.acknowledge(self.number, length)
        return data

    def peek(self) -> bool:
        """Whether `receive` would answer at once."""
        return bool(self._pieces)

    async def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        self._check()
        await self._connection.send_headers(self.number, headers, end)

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Waits for the peer's window. Raises StreamClosed."""
        view = memoryview(data)
        while view:
            self._check()
            room = self._connection.room(self.number)
            if room <= 0:
                self._window.clear()
                await self._window.wait()
                continue
            await self._connection.send_data(self.number, bytes(view[:room]))
            view = view[room:]
        if end:
            self._check()
            await self._connection.end(self.number)

    async def reset(self) -> None:
        """Break it off."""
        if not self._gone:
            self.lost()
            await self._connection.reset(self.number)

    def _check(self) -> None:
        if self._gone or self._deaf:
            raise StreamClosed("the stream was broken off")

    # The connection calls these

    def feed(self, data: bytes, length: int) -> None:
        self._pieces.append((data, length))
        self._news.set()

    def finish(self) -> None:
        self._ended = True
        self._news.set()

    def deafen(self) -> None:
        """The peer has answered and takes nothing more."""
        self._deaf = True
        self._window.set()

    def lost(self) -> None:
        self._gone = True
        self._news.set()
        self._window.set()

    def widen(self) -> None:
        self._window.set()


class Connection:
    """Both roles: with *serve* it is a server that calls it, in a task, for each stream; without, a client that opens them."""

    def __init__(self, wire: Wire, serve: Callable[[Stream], Awaitable[None]] | None = None) -> None:
        self._wire = wire
        self._serve = serve
        self._h2 = H2Connection(H2Configuration(client_side=serve is None, header_encoding="utf-8"))
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sending = asyncio.Lock()
        self.closed = False

    async def run(self) -> None:
        """Until the peer's end; then every stream is broken off, and every task of them ended."""
        try:
            self._h2.initiate_connection()
            self._h2.update_settings(_SETTINGS)
            self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
            await self._flush()
            while not self.closed and (data := await self._wire.receive()):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                await self._flush()
        except (ProtocolError, UnicodeDecodeError):
            await self._farewell()
        except ConnectionError:
            pass
        finally:
            await self._close()

    async def open(self, headers: Headers) -> Stream:
        """A new exchange (for a client). Raises StreamClosed."""
        if self.closed:
            raise StreamClosed("the connection is closed")
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = Stream(self, number)
        await self.send_headers(number, headers, False)
        return stream

    async def _farewell(self) -> None:
        try:
            await self._flush()
        except ConnectionError:
            pass

    async def _close(self) -> None:
        self.closed = True
        for stream in self._streams.values():
            stream.lost()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._accept(event)
        elif isinstance(event, WindowUpdated):
            for stream in [self._streams[event.stream_id]] if event.stream_id in self._streams else []:
                stream.widen()
            if event.stream_id == 0:
                self._widen_all()
        elif isinstance(event, RemoteSettingsChanged):
            self._widen_all()
        elif isinstance(event, ConnectionTerminated):
            self.closed = True
        elif isinstance(event, (DataReceived, ResponseReceived, TrailersReceived, StreamEnded, StreamReset)):
            self._of_stream(event)

    def _of_stream(self, event: DataReceived | ResponseReceived | TrailersReceived | StreamEnded | StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            if isinstance(event, DataReceived):  # of a stream that we broke off
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, DataReceived):
            stream.feed(event.data, event.flow_controlled_length)
        elif isinstance(event, ResponseReceived):
            stream.headers = _texts(event.headers)
        elif isinstance(event, TrailersReceived):
            stream.trailers = _texts(event.headers)
        elif isinstance(event, StreamEnded):
            stream.finish()
            if self._serve is None:
                stream.deafen()
                del self._streams[event.stream_id]
        else:
            stream.lost()
            del self._streams[event.stream_id]
            task = self._tasks.get(event.stream_id)
            if task is not None:
                task.cancel()

    def _accept(self, event: RequestReceived) -> None:
        assert self._serve is not None and event.stream_id is not None
        number = event.stream_id
        stream = self._streams[number] = Stream(self, number, _texts(event.headers))
        task = asyncio.ensure_future(self._serve(stream))
        self._tasks[number] = task
        task.add_done_callback(lambda _task: self._forget(number))

    def _forget(self, number: int) -> None:
        self._tasks.pop(number, None)
        self._streams.pop(number, None)

    def _widen_all(self) -> None:
        for stream in self._streams.values():
            stream.widen()

    # Streams call these

    def room(self, number: int) -> int:
        """How much may be sent now in one frame."""
        try:
            return min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
        except ProtocolError:
            raise StreamClosed("the stream was broken off") from None

    async def acknowledge(self, number: int, length: int) -> None:
        if length and not self.closed:
            try:
                self._h2.acknowledge_received_data(length, number)
            except ProtocolError:
                return  # it has been closed meanwhile
            await self._flush()

    async def send_headers(self, number: int, headers: Headers, end: bool) -> None:
        await self._send(lambda: self._h2.send_headers(number, headers, end_stream=end))

    async def send_data(self, number: int, data: bytes) -> None:
        await self._send(lambda: self._h2.send_data(number, data))

    async def end(self, number: int) -> None:
        await self._send(lambda: self._h2.end_stream(number))

    async def reset(self, number: int) -> None:
        self._streams.pop(number, None)
        if not self.closed:
            try:
                await self._send(lambda: self._h2.reset_stream(number, _CANCEL))
            except ConnectionError:
                pass

    async def _send(self, act: Callable[[], None]) -> None:
        if self.closed:
            raise StreamClosed("the connection is closed")
        try:
            act()
        except ProtocolError:
            raise StreamClosed("the stream was broken off") from None
        await self._flush()

    async def _flush(self) -> None:
        # One at a time: what h2 made first must leave first, even where a send has to wait.
        async with self._sending:
            data = self._h2.data_to_send()
            if data:
                await self._wire.send(data)


def _texts(headers: object) -> Headers:
    return [(str(name), str(value)) for name, value in headers]  # type: ignore[attr-defined]
