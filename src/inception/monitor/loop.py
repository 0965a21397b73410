"""One epoll set and a few timers: everything a monitor waits for.

Handlers are called with the ready events and must not block. `selectors` and `asyncio` would cost 2 to 48 ms of import
and a megabyte or more in every monitor.
"""

from __future__ import annotations

import time
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EPOLLERR", "EPOLLHUP", "EPOLLIN", "EPOLLOUT", "Loop", "Timer"]


class Timer:
    """A call that is due at a time of the loop's clock."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback


class Loop:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._fresh: set[int] = set()  # watched since the last round was asked for
        self._timers: list[Timer] = []

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Calls *handler* when *fd* is ready; watching a watched fd changes its events and handler."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._fresh.add(fd)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stops watching *fd*, if it was watched. Call it before closing: a copy of the fd would keep it in the set."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.clock() + delay_s, callback)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Forgets *timer*; None and a timer that has fired are fine."""
        if timer in self._timers:
            self._timers.remove(timer)

    def run_once(self, longest_wait_s: float | None = None) -> None:
        """Waits for the next event or timer, at most *longest_wait_s*, and serves everything that is due."""
        wait_s = longest_wait_s
        if self._timers:
            due_s = max(0.0, min(timer.when for timer in self._timers) - self.clock())
            wait_s = due_s if wait_s is None else min(wait_s, due_s)
        ready = self._epoll.poll(wait_s)
        self._fresh.clear()
        for fd, events in ready:
            # An earlier handler of this round may have closed it, and what has its number by now was not asked.
            handler = self._handlers.get(fd)
            if handler is not None and fd not in self._fresh:
                handler(events)
        if self._timers:
            self.run_timers()

    def run_timers(self) -> None:
        now = self.clock()
        for timer in sorted((timer for timer in self._timers if timer.when <= now), key=lambda timer: timer.when):
            if timer in self._timers:  # an earlier one may have cancelled it
                self._timers.remove(timer)
                timer.callback()

    def close(self) -> None:
        self._handlers.clear()
        self._timers.clear()
        self._epoll.close()
