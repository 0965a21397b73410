"""What a published port is: a value, apart from the sockets that hold it, which not every verb needs."""

from __future__ import annotations

from inception.record import Record


class PortBinding(Record):
    """One published port; `host_port` 0 lets the engine choose, an empty `host_ip` is all addresses.

    With `host_port_end` the engine chooses the first free one of `host_port`..`host_port_end` (`-p 8000-8010:80`).
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0

    @property
    def addresses(self) -> list[str]:
        """Where the host listens; on all addresses that is once for IPv4 and once for IPv6."""
        return [self.host_ip] if self.host_ip else ["0.0.0.0", "::"]

    @property
    def places(self) -> list[str]:
        """`0.0.0.0:8080` and `[::]:8080`, as people and URLs write them."""
        return [
            f"[{address}]:{self.host_port}" if ":" in address else f"{address}:{self.host_port}" for address in self.addresses
        ]
