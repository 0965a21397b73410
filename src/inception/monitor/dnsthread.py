"""The resolver of a network namespace without a monitor: a thread of the process that runs a build's step."""

from __future__ import annotations

import os
from threading import Thread

from inception.monitor.dns import Resolver
from inception.monitor.handover import dns_sockets
from inception.monitor.loop import EPOLLIN, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.monitor.config import DnsConfig


class ResolverThread:
    """Answers at 127.0.0.11 in the network namespace *netns_fd* until it is closed."""

    def __init__(self, config: DnsConfig, netns_fd: int) -> None:
        udp, tcp = dns_sockets(netns_fd)
        self._loop = Loop()
        self._resolver = Resolver(self._loop, config, udp, tcp)
        self._end, self._closing = os.pipe2(os.O_CLOEXEC)
        self._ended = False
        self._loop.watch(self._end, EPOLLIN, self._stop)
        self._thread = Thread(target=self._serve, name="resolver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when nothing is served and held any more."""
        os.write(self._closing, b"\0")
        self._thread.join()
        os.close(self._closing)
        os.close(self._end)

    def _stop(self, _events: int) -> None:
        self._ended = True

    def _serve(self) -> None:
        try:
            while not self._ended:
                self._loop.run_once()
        finally:
            self._resolver.close()
            self._loop.close()
