"""Blocking work of the engine beside an event loop.

Two bounded sets of threads: calls (they come back by themselves) and streams (they last as long as a client listens, so they
must not keep calls waiting). A stream's thread is told to end through its `Stop` when its client goes away.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from inception.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="Closable")
_CALLS = 48
_STREAMS = 512
_AHEAD = 64


class Closable(Protocol):
    def close(self) -> None: ...


def _close_result(future: asyncio.Future[C]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


class Stop:
    """Whether the one who reads has gone; `wanted` is what a following read asks."""

    def __init__(self) -> None:
        self.stopped = False

    def wanted(self) -> bool:
        return not self.stopped


class Stopped(Exception):
    """Nobody wants what a thread is at."""


class Threads:
    def __init__(self) -> None:
        self._calls = ThreadPoolExecutor(_CALLS, "call")
        self._streams = ThreadPoolExecutor(_STREAMS, "stream")
        self._open_streams = 0
        self._stops: set[Stop] = set()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* on a thread for calls."""
        return await asyncio.get_running_loop().run_in_executor(self._calls, partial(function, *args, **kwargs))

    async def open(self, function: Callable[P, C], *args: P.args, **kwargs: P.kwargs) -> C:
        """As `call`, for what must be closed: when the client goes away meanwhile, it is."""
        future = asyncio.get_running_loop().run_in_executor(self._calls, partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_result)
            raise

    async def long(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that takes as long as a network or a build does, on a thread for streams."""
        self._enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._streams, partial(function, *args, **kwargs))
        finally:
            self._open_streams -= 1

    def iterate(self, items: Iterable[T], stop: Stop) -> AsyncIterator[T]:
        """*items*, which block, one after the other; the thread is at most a few ahead of the reader."""

        def work(tell: Callable[[T], None]) -> None:
            try:
                for item in items:
                    tell(item)
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()

        return self.told(work, stop)

    async def told(self, work: Callable[[Callable[[T], None]], object], stop: Stop) -> AsyncIterator[T]:
        """What *work*, which blocks, tells; to tell raises Stopped when nobody reads any more. Its error comes last."""
        self._enter()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        found: deque[T] = deque()
        room = threading.Semaphore(_AHEAD)
        failure: list[BaseException] = []
        ended = False

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(ready.set)
            except RuntimeError:
                pass  # the loop has been closed: nobody reads

        def tell(item: T) -> None:
            room.acquire()
            if stop.stopped:
                raise Stopped
            found.append(item)
            wake()

        def produce() -> None:
            nonlocal ended
            try:
                work(tell)
            except Stopped:
                pass
            except BaseException as error:
                failure.append(error)
            finally:
                ended = True
                wake()

        self._stops.add(stop)
        loop.run_in_executor(self._streams, produce)
        try:
            while True:
                while found:
                    room.release()
                    yield found.popleft()
                if ended and not found:
                    break
                await ready.wait()
                ready.clear()
            if failure:
                raise failure[0]
        finally:
            stop.stopped = True
            room.release(_AHEAD)
            self._stops.discard(stop)
            self._open_streams -= 1

    def _enter(self) -> None:
        if self._open_streams >= _STREAMS:
            raise Unavailable(f"too many streams are open: {_STREAMS}", "close some")
        self._open_streams += 1

    def close(self) -> None:
        """Let go: streams end, calls that run come to their end by themselves."""
        for stop in list(self._stops):
            stop.stopped = True
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)
