"""The builder's events as BuildKit's vertexes, and who reads them.

A vertex is a step: it is told when it starts and again when it ends, with its whole self each time. What a step of the user's
prints are its logs; what the builder's own steps say of themselves ("transferring context: 2kB") are statuses.

Logs are kept until all who read have them, and bounded: the builder waits for a reader that is slow; while nobody reads, the
oldest go.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

from inception.build.progress import Event
from inception.buildkit.messages import STATUS_RESPONSE
from inception.buildkit.protobuf import Value
from inception.oci.digest import sha256

_MOST_BYTES = 4 << 20
_OWN = ("[internal] ", "exporting ", "importing ", "pushing ")


class Log:
    """What has been told of one build, encoded, for any number of readers."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._first = 0
        self._ended = False
        self._readers: dict[object, int] = {}
        self._news = asyncio.Condition()

    async def add(self, response: Value) -> None:
        """Waits while a reader is far behind."""
        data = STATUS_RESPONSE.encode(response)
        async with self._news:
            self._pieces.append(data)
            self._bytes += len(data)
            self._drop()
            self._news.notify_all()
            await self._news.wait_for(lambda: self._bytes <= _MOST_BYTES or not self._readers)
            self._drop()

    async def end(self) -> None:
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """From the first that is still there to the end."""
        key = object()
        self._readers[key] = self._first
        try:
            while True:
                async with self._news:
                    await self._news.wait_for(lambda: self._ended or self._readers[key] < self._first + len(self._pieces))
                    at = self._readers[key] - self._first
                    if at >= len(self._pieces):
                        return
                    data = self._pieces[at]
                yield data
                async with self._news:
                    self._readers[key] += 1
                    self._drop()
                    self._news.notify_all()
        finally:
            del self._readers[key]
            async with self._news:
                self._news.notify_all()

    def _drop(self) -> None:
        """The oldest, beyond the bound: what all readers have, or anything when there is none."""
        slowest = min(self._readers.values(), default=self._first + len(self._pieces))
        while self._bytes > _MOST_BYTES and self._first < slowest:
            self._bytes -= len(self._pieces.popleft())
            self._first += 1


class Vertexes:
    """Turns events into responses; one build's."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._known: dict[int, Value] = {}
        self._failed: list[tuple[int, str]] = []
        self._first = ""

    def response(self, event: Event) -> Value | None:
        """None for an event that is told later, or not at all."""
        if event.kind in ("plan", "making"):
            return None
        if event.kind == "warning":
            return {"warnings": [{"vertex": self._first, "level": 1, "short": event.name.encode()}]}
        if event.kind == "start":
            digest = str(sha256(f"{self._ref} {event.step} {event.name}".encode()))
            self._first = self._first or digest
            self._known[event.step] = {"digest": digest, "name": event.name, "started": stamp()}
            return {"vertexes": [self._known[event.step]]}
        vertex = self._known[event.step]
        if event.kind == "output":
            if vertex["name"].startswith(_OWN):
                return {"statuses": _statuses(vertex["digest"], event.data)}
            return {"logs": [{"vertex": vertex["digest"], "stream": event.stream, "timestamp": stamp(), "msg": event.data}]}
        vertex |= {"completed": stamp(), "cached": event.kind == "cached"}
        if event.kind == "failed":
            self._failed.append((event.step, event.data.decode("utf-8", "replace")))
            return None
        return {"vertexes": [vertex]}

    def failures(self, title: str = "", words: str = "") -> list[Value]:
        """The vertexes that failed, when it is known what that means for the build: *title* is why it failed, in *words*."""
        found = []
        for step, cause in self._failed:
            vertex = self._known[step]
            found.append({"vertexes": [{**vertex, "error": words if vertex["name"] == title else cause}]})
        return found


def _statuses(vertex: str, data: bytes) -> list[Value]:
    now = stamp()
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line]
    return [{"id": line, "vertex": vertex, "name": line, "timestamp": now, "started": now, "completed": now} for line in lines]


def stamp() -> Value:
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return {"seconds": seconds, "nanos": nanos}
