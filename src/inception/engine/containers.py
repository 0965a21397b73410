"""All containers of an engine: create, find, list, prune, and `run` in this process."""

from __future__ import annotations

import os

from inception.engine import records
from inception.engine.config import ContainerConfig
from inception.engine.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.engine.engine import Engine
    from inception.engine.private_files import PrivateFile
    from inception.engine.results import PruneReport
    from inception.engine.supervisor import Supervisor
    from inception.monitor.handover import MonitorThread
    from inception.runtime import Plan
    from inception.store import Progress


class Containers:
    """`engine.containers`. Every entry first looks whether a process of ours died and left something to put right."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.supervisor: Supervisor | None = None

    def create(
        self,
        config: ContainerConfig,
        *,
        pull: str = "missing",
        progress: Callable[[Progress], None] | None = None,
        files: list[PrivateFile] | None = None,
    ) -> Container:
        """Make a container; it does not run yet.

        *pull* is `missing`, `always` or `never`; *files* are secrets and configs that it alone gets to see. Raises
        InvalidArgument for a config that makes no sense, Conflict for a name in use, NotFound for an image that is nowhere.
        Nothing is left behind when it fails.
        """
        from inception.engine.create import create

        self._recover()
        return Container(self.engine, create(self.engine, config, pull=pull, progress=progress, files=files))

    def get(self, reference: str) -> Container:
        """The container with this name, id or unique id prefix. Raises NotFound."""
        self._recover()
        return Container(self.engine, records.find(self.engine, reference))

    def prune(self, filters: dict[str, list[str]] | None = None) -> PruneReport:
        """Remove all containers that do not run. Filters: label, label!, until."""
        from inception.engine.prune import prune_containers

        self._recover()
        return prune_containers(self.engine, filters or {})

    def run(self, image: str, command: list[str] | None = None, **fields: Any) -> Container:
        """Create and start a container whose monitor is this process.

        *fields* are those of ContainerConfig. Its life is bound to this process; as a context manager it is removed at the
        end of the block. Raises like `create` and `Container.start`.
        """
        from inception.engine.supervisor import run

        self._recover()
        return run(self.engine, ContainerConfig(image=image, command=command, **fields))

    def plan(self, config: ContainerConfig, *, pull: str = "missing") -> Plan:
        """The plan that starting such a container would walk. Nothing is created, started or changed."""
        from inception.engine.start import explain

        return explain(self.engine, config, pull=pull)

    def thread_of(self, container_id: str) -> MonitorThread | None:
        """The monitor of a container of this process; None for others, and once it has been released."""
        supervisor = self.supervisor
        return supervisor.threads.get(container_id) if supervisor is not None and supervisor.pid == os.getpid() else None

    def close(self) -> None:
        """End the containers that run in this process, and forget them."""
        if self.supervisor is not None:
            self.supervisor.close()
            self.supervisor = None

    def _recover(self) -> None:
        from inception.engine.recover import recover

        recover(self.engine)

    # Last, since its name hides the type's in the annotations of a class.

    def list(self, *, all: bool = False, filters: dict[str, list[str]] | None = None, limit: int = 0) -> list[Container]:
        """Containers, newest first: running ones, or *all*. *limit* counts from the newest and implies *all*.

        Filters as `docker ps`: id, name, label, status, exited, ancestor, before, since, volume, network, publish, expose,
        health, is-task. Raises InvalidArgument for others.
        """
        from inception.engine.filters import select_containers

        self._recover()
        wanted = filters or {}
        everything = all or limit > 0 or bool({"status", "exited"} & wanted.keys())
        found = records.listed(self.engine, running_only=not everything)
        if not everything:
            found = [record for record in found if record.state.status in ("running", "paused", "restarting")]
        selected = select_containers(self.engine, found, wanted)
        return [Container(self.engine, record) for record in (selected[:limit] if limit > 0 else selected)]
