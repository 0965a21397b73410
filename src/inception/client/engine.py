"""The door to an engine elsewhere: the attributes and verbs of `inception.Engine`, spoken over HTTP.

with RemoteEngine("ssh://me@far") as engine:
    for container in engine.containers.list(all=True):
        print(container.name, container.status_text)
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from inception.client.address import Address, parse
from inception.client.transport import Transport
from inception.errors import InvalidArgument

if TYPE_CHECKING:
    from inception.client.containers import RemoteContainers
    from inception.client.images import RemoteImages
    from inception.client.networks import RemoteNetworks, RemoteVolumes
    from inception.client.system import RemoteEvents, RemoteSystem


class RemoteEngine:
    """An engine at an address: ours behind `inception serve`, or Docker's. Safe to share between threads."""

    def __init__(self, address: Address | str) -> None:
        self.address = parse(address) if isinstance(address, str) else address
        self.transport = Transport(self.address)

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def unsupported(self, what: str) -> InvalidArgument:
        """The error for what needs the engine's own machine."""
        return InvalidArgument(
            f"{what} is not possible on another engine ({self.address.text})", "run it on that machine, without --host"
        )

    @cached_property
    def containers(self) -> RemoteContainers:
        from inception.client.containers import RemoteContainers

        return RemoteContainers(self)

    @cached_property
    def images(self) -> RemoteImages:
        from inception.client.images import RemoteImages

        return RemoteImages(self)

    @cached_property
    def networks(self) -> RemoteNetworks:
        from inception.client.networks import RemoteNetworks

        return RemoteNetworks(self)

    @cached_property
    def volumes(self) -> RemoteVolumes:
        from inception.client.networks import RemoteVolumes

        return RemoteVolumes(self)

    @cached_property
    def system(self) -> RemoteSystem:
        from inception.client.system import RemoteSystem

        return RemoteSystem(self)

    @cached_property
    def events(self) -> RemoteEvents:
        from inception.client.system import RemoteEvents

        return RemoteEvents(self)
