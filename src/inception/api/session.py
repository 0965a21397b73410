"""Attach and exec: a client's connection on one side, a container's or an exec's streams on the other, no thread between.

The streams are descriptors; the event loop waits for them, and reads and writes only what does not block.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import WSMsgType, web

from inception.api.call import wait_ready
from inception.api.hijack import frame
from inception.engine.exec import ExecProcess
from inception.errors import Unavailable

if TYPE_CHECKING:
    from inception.engine.detach import DetachKeys
    from inception.monitor.client import AttachStream

# A pipe that is ready takes this much without blocking (pipe(7)); a frame to a monitor may be longer.
_PIPE_BYTES = 4096
_FRAME_BYTES = 32 << 10
_PIECES_A_TURN = 16


class Client(Protocol):
    """The other end of a session."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class WebSocketClient:
    """A client of /attach/ws: messages instead of a stream; output is raw."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return str(message.data).encode()
        return bytes(message.data) if message.type is WSMsgType.BINARY else b""

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)


async def run_session(
    client: Client,
    stream: AttachStream | ExecProcess,
    *,
    framed: bool,
    stdin: bool,
    outputs: tuple[str, ...],
    detach: DetachKeys | None = None,
) -> bool:
    """Pass data until the stream's end or until the client has gone (ConnectionError). Answers whether the client's user
    has typed the *detach* keys instead."""
    output = asyncio.create_task(_send_output(client, stream, framed, outputs))
    tasks: set[asyncio.Task[Any]] = {output}
    try:
        if stdin:
            writer = asyncio.create_task(_send_input(client, stream, detach))
            tasks.add(writer)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not output.done() and writer.result():
                return True
        await output
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send_output(client: Client, stream: AttachStream | ExecProcess, framed: bool, outputs: tuple[str, ...]) -> None:
    pieces = 0
    while True:
        try:
            piece = stream.read(0.0)
        except Unavailable:
            return  # its monitor was killed, and the container with it
        if piece is not None:
            if piece[0] in outputs:
                await client.send(frame(*piece) if framed else piece[1])
            pieces += 1
            if pieces % _PIECES_A_TURN == 0:
                await asyncio.sleep(0)  # one that never stops talking must not silence the others
        elif stream.ended:
            return
        else:
            await wait_ready(stream.fileno(), writing=False)


async def _send_input(client: Client, stream: AttachStream | ExecProcess, detach: DetachKeys | None) -> bool:
    """True when the keys that detach came, False at the end of the input."""
    write = _exec_writer(stream) if isinstance(stream, ExecProcess) else _attach_writer(stream)
    try:
        while data := await client.receive():
            detached = False
            if detach is not None:
                data, detached = detach.feed(data)
            view = memoryview(data)
            while view:
                view = view[await write(view) :]
            if detached:
                return True
        stream.close_stdin()
    except (OSError, Unavailable):
        pass  # nobody listens any more; the end of the output tells the rest
    return False


def _attach_writer(stream: AttachStream) -> Any:
    async def write(view: memoryview) -> int:
        piece = bytes(view[:_FRAME_BYTES])
        await wait_ready(stream.fileno(), writing=True)
        stream.write(piece)
        return len(piece)

    return write


def _exec_writer(process: ExecProcess) -> Any:
    async def write(view: memoryview) -> int:
        fd = process.stdin_fileno()
        if fd is None:
            raise BrokenPipeError
        await wait_ready(fd, writing=True)
        try:
            return os.write(fd, view[:_PIPE_BYTES])
        except BlockingIOError:
            return 0

    return write
