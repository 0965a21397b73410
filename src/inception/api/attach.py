"""Attachments that came before their container's start.

`docker run` attaches, then waits, then starts. The streams of such clients are connected by the start itself, when the
monitor's socket listens and before the container's first instruction: no output is lost. A container that somebody else starts
(our CLI, a restart after a reboot) shows by its event, and is attached to then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from inception.errors import InceptionError
from inception.monitor import client

if TYPE_CHECKING:
    from inception.api.hub import Hub
    from inception.api.threads import Threads
    from inception.engine.container import Container
    from inception.monitor.client import AttachStream


class Wish:
    """The streams that one client wants."""

    def __init__(self, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.stream: asyncio.Future[AttachStream] = asyncio.get_running_loop().create_future()

    def connect(self, run_dir: str) -> AttachStream:
        # Whoever is connected from the start cleans up after the end: sooner than a new process could.
        return client.attach(
            run_dir, stdin=self.stdin, stdout=self.stdout, stderr=self.stderr, lossless=True, claim_release=True
        )


class Attachments:
    """All wishes of a server's clients, by container id. Used on the event loop only, but for `connect`."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._hub = hub
        self._threads = threads
        self._wishes: defaultdict[str, list[Wish]] = defaultdict(list)

    async def first_stream(self, container: Container, wish: Wish) -> AttachStream | None:
        """A stream of *container*, which does not run yet, as soon as it does; None when it is removed instead."""
        self._wishes[container.id].append(wish)
        try:
            with self._hub.subscribe(container.id) as events:
                while not wish.stream.done():
                    heard = asyncio.ensure_future(events.next())
                    either: set[asyncio.Future[Any]] = {heard, wish.stream}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if not heard.done():
                        heard.cancel()
                        break
                    event = heard.result()
                    if event is None or event.action == "destroy":
                        return None
                    if event.action == "start" and not wish.stream.done():
                        return await self._attach_late(container, wish)
            return wish.stream.result()
        finally:
            self._drop(container.id, wish)

    async def _attach_late(self, container: Container, wish: Wish) -> AttachStream | None:
        try:
            return await self._threads.call(
                container.attach, stdin=wish.stdin, stdout=wish.stdout, stderr=wish.stderr, lossless=True
            )
        except InceptionError:
            return None  # over already

    def _drop(self, container_id: str, wish: Wish) -> None:
        wishes = self._wishes[container_id]
        if wish in wishes:
            wishes.remove(wish)
        if not wishes:
            del self._wishes[container_id]

    async def start(self, container: Container) -> None:
        """Start *container* with everyone connected who has asked for it."""
        wishes = list(self._wishes.get(container.id, ()))
        if not wishes:
            await self._threads.call(container.start)
            return
        streams: list[AttachStream] = []
        try:
            await self._threads.call(
                container.start, connect=lambda run_dir: streams.extend(w.connect(run_dir) for w in wishes)
            )
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        for wish, stream in zip(wishes, streams, strict=True):
            if wish.stream.done() or wish not in self._wishes.get(container.id, ()):
                stream.close()  # the client left meanwhile
            else:
                wish.stream.set_result(stream)
