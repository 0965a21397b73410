"""The engine's events for everyone who waits: the file is read once, as soon as it grows (inotify), whoever wrote.

`/events` and `/containers/ID/wait` live on it. No thread and no polling a client: a thousand of them cost as many queues.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from typing import TYPE_CHECKING

from inception.engine.engine import make_private
from inception.engine.events import Tail
from inception.engine.results import Event
from inception.errors import Unavailable
from inception.jsontext import loads
from inception.linux import inotify
from inception.record import decode

if TYPE_CHECKING:
    from inception.engine import Engine

_QUEUE = 10_000


class Subscription:
    """Events of one container, or of everything; a context manager. What nobody fetches is bounded: then it is `lost`."""

    def __init__(self, hub: Hub, container_id: str) -> None:
        self._hub = hub
        self._id = container_id
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        self.lost = False

    async def next(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None when the time is up. Raises Unavailable when too much was left unread."""
        if self.lost and self._queue.empty():
            raise Unavailable("events came faster than they were read")
        if timeout_s is None or not self._queue.empty():
            return await self._queue.get()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None

    def put(self, event: Event) -> None:
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost = True

    def __enter__(self) -> Subscription:
        self._hub.subscribers[self._id].add(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        left = self._hub.subscribers[self._id]
        left.discard(self)
        if not left:
            del self._hub.subscribers[self._id]


class Hub:
    """One of a server; `start` it on the loop."""

    def __init__(self, engine: Engine) -> None:
        self._path = engine.events.path
        self._folder = engine.run_root
        self._fd = -1
        self.subscribers: defaultdict[str, set[Subscription]] = defaultdict(set)

    def subscribe(self, container_id: str = "") -> Subscription:
        """To events of one object by its id, or to all. What happens after entering it is heard."""
        return Subscription(self, container_id)

    def start(self) -> None:
        make_private(self._folder)
        self._fd = inotify.watch(self._folder, inotify.IN_MODIFY | inotify.IN_MOVED_FROM | inotify.IN_CREATE)
        self._tail = Tail(self._path, from_start=False)
        asyncio.get_running_loop().add_reader(self._fd, self._grown)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _grown(self) -> None:
        inotify.drain(self._fd)
        for line in self._tail.lines():
            try:
                event = decode(Event, loads(line))
            except ValueError:
                continue
            for key in (event.id, ""):
                for subscriber in list(self.subscribers.get(key, ())):
                    subscriber.put(event)
