"""Attachments that came before their container's start.

`docker run` attaches, then waits, then starts. The streams of such clients are connected by the start itself, when the
monitor's socket listens and before the container's first instruction: no output is lost. A container that somebody else starts
(our CLI, a restart after a reboot) shows by its event, and is attached to then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from inception.errors import InceptionError, NotModified
from inception.monitor import client

if TYPE_CHECKING:
    from inception.api.hub import Hub
    from inception.api.threads import Threads
    from inception.engine.container import Container
    from inception.monitor.client import AttachStream


class Wish:
    """The streams that one client wants. `stream` is None when the container did not start."""

    def __init__(self, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.taken = False  # a start is under way that brings the stream
        self.stream: asyncio.Future[AttachStream | None] = asyncio.get_running_loop().create_future()

    def connect(self, run_dir: str) -> AttachStream:
        # Whoever is connected from the start cleans up after the end: sooner than a new process could.
        return client.attach(
            run_dir, stdin=self.stdin, stdout=self.stdout, stderr=self.stderr, lossless=True, claim_release=True
        )


class Attachments:
    """All wishes of a server's clients, by container id. Used on the event loop only."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._hub = hub
        self._threads = threads
        self._wishes: defaultdict[str, list[Wish]] = defaultdict(list)

    async def first_stream(self, container: Container, wish: Wish) -> AttachStream | None:
        """A stream of *container*, which did not run yet, as soon as it does; None when it does not come to that."""
        self._wishes[container.id].append(wish)
        listener = asyncio.create_task(self._listen(container, wish))
        try:
            return await wish.stream
        except asyncio.CancelledError:
            if wish.stream.done() and not wish.stream.cancelled() and (stream := wish.stream.result()) is not None:
                stream.close()
            raise
        finally:
            listener.cancel()
            self._drop(container.id, wish)

    async def _listen(self, container: Container, wish: Wish) -> None:
        """Hear of a start by somebody else, and of the removal."""
        try:
            with self._hub.subscribe(container.id) as events:
                started = await self._threads.call(lambda: container.state.status == "running")
                while not wish.taken:
                    if started:
                        return await self._attach_late(container, wish)
                    event = await events.next()
                    if event is None or event.action == "destroy":
                        break
                    started = event.action == "start"
        except InceptionError:
            pass  # removed
        if not wish.taken:
            _fulfil(wish, None)

    async def _attach_late(self, container: Container, wish: Wish) -> None:
        try:
            stream: AttachStream | None = await self._threads.open(
                container.attach, stdin=wish.stdin, stdout=wish.stdout, stderr=wish.stderr, lossless=True
            )
        except InceptionError:
            stream = None  # over already
        _fulfil(wish, stream)

    def _drop(self, container_id: str, wish: Wish) -> None:
        wishes = self._wishes[container_id]
        if wish in wishes:
            wishes.remove(wish)
        if not wishes:
            del self._wishes[container_id]

    async def start(self, container: Container, *, checkpoint: str = "", folder: str = "") -> None:
        """Start *container* with everyone connected who has asked for it. A client that goes away meanwhile changes nothing."""
        wishes = [wish for wish in self._wishes.get(container.id, ()) if not wish.taken]
        for wish in wishes:
            wish.taken = True
        await asyncio.shield(asyncio.create_task(self._start(container, wishes, checkpoint, folder)))

    async def _start(self, container: Container, wishes: list[Wish], checkpoint: str, folder: str) -> None:
        streams: list[AttachStream] = []

        def connect(run_dir: str) -> None:
            streams.extend(wish.connect(run_dir) for wish in wishes)

        try:
            start, told = container.start, connect if wishes else None
            await self._threads.call(start, connect=told, checkpoint=checkpoint, checkpoint_dir=folder)
        except NotModified:
            for wish in wishes:  # somebody else was faster
                await self._attach_late(container, wish)
            raise
        except BaseException:
            for stream in streams:
                stream.close()
            for wish in wishes:
                _fulfil(wish, None)
            raise
        for wish, stream in zip(wishes, streams, strict=True):
            _fulfil(wish, stream)


def _fulfil(wish: Wish, stream: AttachStream | None) -> None:
    if not wish.stream.done():
        wish.stream.set_result(stream)
    elif stream is not None:
        stream.close()  # the client left meanwhile
