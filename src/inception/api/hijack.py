"""A connection taken out of HTTP: attach and exec speak raw bytes both ways over it.

    client                                   server
    POST ... Upgrade: tcp         ───▶
                                  ◀───       101 UPGRADED (200 OK to a client that did not ask to upgrade)
    stdin, half-close at its end  ───▶
                                  ◀───       output: raw with a terminal, else framed; half-close at its end, then close

The transport gets a protocol of ours in place of aiohttp's. A half-close is not a farewell: a client that is really gone shows
as a hang-up, which the kernel reports when both directions are shut.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import termios
from collections import deque
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUT_BYTES = 256 << 10
_HEAD_POLLS, _HEAD_POLL_S = 200, 0.0005
_STREAM_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Hijacked(asyncio.Protocol):
    """What both sides of a session use: `receive`, `send`, `close`."""

    def __init__(self, request: web.BaseRequest, hang_ups: HangUps) -> None:
        self._former: Any = request.protocol
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._hang_ups = hang_ups
        self._input: deque[bytes] = deque()
        self._input_bytes = 0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._lost = False
        self._head_is_read = False

    def answer(self, head: bytes) -> None:
        """Take over the connection and send *head*."""
        # What the client sent right behind its request, aiohttp's protocol has kept.
        early = bytes(getattr(self._former, "_message_tail", b""))
        self._former._message_tail = b""
        self._transport.set_protocol(self)
        if early:
            self.data_received(early)
        self._transport.resume_reading()
        self._hang_ups.add(self._transport.get_extra_info("socket").fileno(), self._hung_up)
        self._transport.write(head)

    @property
    def lost(self) -> bool:
        return self._lost

    async def receive(self) -> bytes:
        """What the client sent; empty at the end of its input."""
        while not self._input:
            if self._ended or self._lost:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._input.popleft()
        self._input_bytes -= len(data)
        if self._input_bytes <= _INPUT_BYTES // 2 and not self._lost:
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        """Waits while the client does not read. Raises ConnectionResetError when it is gone."""
        if not self._head_is_read:
            await self._await_reader()
        if self._lost:
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._writable.wait()

    async def _await_reader(self) -> None:
        """Until the client has taken the head: docker-py loses what comes in one piece with it."""
        self._head_is_read = True
        for _ in range(_HEAD_POLLS):
            if self._lost or not _unread_bytes(self._transport):
                return
            await asyncio.sleep(_HEAD_POLL_S)

    def close(self) -> None:
        """The end of the output, then of the connection, once everything is sent."""
        self._hang_ups.remove(self._hung_up)
        if not self._lost:
            # Input that nobody reads would reset the connection under the client's last bytes.
            self._input.clear()
            self._transport.resume_reading()
            self._transport.close()

    # asyncio calls these

    def data_received(self, data: bytes) -> None:
        self._input.append(data)
        self._input_bytes += len(data)
        if self._input_bytes > _INPUT_BYTES:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return True  # half-closed: our side stays open

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._hang_ups.remove(self._hung_up)
        self._news.set()
        self._writable.set()
        self._former.connection_lost(error)

    def _hung_up(self) -> None:
        self._transport.abort()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """What was sent and the other side has not read (a unix socket), or not acknowledged (TCP). Source: SIOCOUTQ, tcp(7)."""
    answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, "little") + transport.get_write_buffer_size()


class HangUps:
    """Connections whose other side has gone altogether. An event loop hears of it only while it reads or writes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLHUP | select.EPOLLET)

    def remove(self, callback: Callable[[], None]) -> None:
        for fd, found in list(self._callbacks.items()):
            if found == callback:
                del self._callbacks[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # closed, and so out of the set

    def _ready(self) -> None:
        for fd, events in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            if callback is not None and events & (select.EPOLLHUP | select.EPOLLERR):
                callback()


class Taken(web.Response):
    """What a handler answers whose connection is no longer HTTP's: nothing is sent."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        self.force_close()
        return None

    async def write_eof(self, data: Any = b"") -> None:
        pass


def head_of(request: web.BaseRequest, content_type: str, protocol: str = "tcp") -> bytes:
    """The answer that a client expects before the raw bytes."""
    if request.headers.get("Upgrade"):
        first = f"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}"
    else:
        first = "HTTP/1.1 200 OK"
    return f"{first}\r\nContent-Type: {content_type}\r\n\r\n".encode()


def frame(stream: str, data: bytes) -> bytes:
    """Docker's multiplexing: one byte stream number, three zeros, the length, the data."""
    return bytes((_STREAM_NUMBERS[stream], 0, 0, 0)) + len(data).to_bytes(4, "big") + data


RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
