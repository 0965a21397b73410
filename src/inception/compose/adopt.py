"""A project without its file: what its containers, networks and volumes say of it by their labels."""

from __future__ import annotations

import os

from inception.compose import labels
from inception.compose.model import Dependency, Network, Project, Service, Volume
from inception.compose.observe import containers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine import Engine
    from inception.engine.container import Container


def project_of_labels(engine: Engine, name: str) -> Project:
    """The project called *name* as far as it exists: enough to look at it, stop, start and remove it, not to make it anew."""
    containers = [each for each in containers_of(engine, name) if each.labels.get(labels.ONEOFF) != "True"]
    first = containers[0].labels if containers else {}
    files = first.get(labels.CONFIG_FILES, "")
    return Project(
        name=name,
        directory=first.get(labels.WORKING_DIR, os.getcwd()),
        files=files.split(",") if files else [],
        environment=dict(os.environ),
        profiles=[],
        services={each.name: each for each in map(_service, containers)},
        networks={
            key: Network(key=key, name=each.name)
            for each in engine.networks.list()
            if each.labels.get(labels.PROJECT) == name and (key := each.labels.get(labels.NETWORK, each.name))
        },
        volumes={
            key: Volume(key=key, name=each.name)
            for each in engine.volumes.list()
            if each.labels.get(labels.PROJECT) == name and (key := each.labels.get(labels.VOLUME, each.name))
        },
        secrets={},
        configs={},
    )


def _service(container: Container) -> Service:
    depends_on: dict[str, Dependency] = {}
    for text in container.labels.get(labels.DEPENDS_ON, "").split(","):
        other, _, rest = text.partition(":")
        condition, _, restart = rest.partition(":")
        if other:
            depends_on[other] = Dependency(condition=condition or "service_started", restart=restart == "true", required=False)
    return Service(
        name=container.labels.get(labels.SERVICE, ""),
        image=container.config.image,
        depends_on=depends_on,
        labels=container.labels,
    )
