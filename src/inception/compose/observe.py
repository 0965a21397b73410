"""What there is: a project's containers, networks, volumes and images as the engine has them, in plain values."""

from __future__ import annotations

import time

from inception.compose import labels
from inception.compose.values import refresh_after_s
from inception.engine.times import parse
from inception.errors import NotFound
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project, Service
    from inception.engine import Engine
    from inception.engine.container import Container

RUNNING = ("running", "paused", "restarting")


class ObservedContainer(Record):
    """`volumes` are its anonymous volumes, name by target; `depends_on` the services that it was made to start after."""

    id: str
    name: str
    service: str
    number: int = 0
    oneoff: bool = False
    config_hash: str = ""
    image_id: str = ""
    status: str = "created"
    health: str = "none"
    exit_code: int = 0
    networks: list[str] = []
    volumes: dict[str, str] = {}
    depends_on: list[str] = []

    @property
    def running(self) -> bool:
        return self.status in RUNNING


class Observed(Record):
    """`networks` and `volumes` hold the configuration hash of what exists by name (empty when another tool made it).

    `images` has the id of each service's image; a service whose image is not in the store is missing. `stale` are those whose
    `pull_policy` wants it pulled anew after a time that is over; `absent` are images that services mount and that are not
    here.
    """

    containers: list[ObservedContainer] = []
    networks: dict[str, str] = {}
    volumes: dict[str, str] = {}
    images: dict[str, str] = {}
    stale: list[str] = []
    absent: list[str] = []

    def of(self, service: str) -> list[ObservedContainer]:
        """The containers of *service* without those of `run`, in the order of their numbers."""
        found = [each for each in self.containers if each.service == service and not each.oneoff]
        # Of two with one number the shorter name is the real one: the other was to replace it, and somebody was killed.
        return sorted(found, key=lambda each: (each.number, len(each.name)))


def observe(engine: Engine, project: Project) -> Observed:
    """The state of everything that *project* names."""
    images = observe_images(engine, project)
    return Observed(
        containers=observe_containers(engine, project.name),
        networks=_hashes(engine, project, "networks"),
        volumes=_hashes(engine, project, "volumes"),
        images=images,
        absent=_absent_mounts(engine, project),
        stale=[name for name, service in project.services.items() if name in images and _is_stale(engine, service)],
    )


def observe_containers(engine: Engine, project: str) -> list[ObservedContainer]:
    """All containers of the project called *project*, running or not."""
    return [_observed(engine, container) for container in containers_of(engine, project)]


def containers_of(engine: Engine, project: str) -> list[Container]:
    return engine.containers.list(all=True, filters={"label": [f"{labels.PROJECT}={project}"]})


def _observed(engine: Engine, container: Container) -> ObservedContainer:
    own = container.labels
    state = container.record.state
    number = own.get(labels.NUMBER, "")
    return ObservedContainer(
        id=container.id,
        name=container.name,
        service=own.get(labels.SERVICE, ""),
        number=int(number) if number.isdecimal() else 0,
        oneoff=own.get(labels.ONEOFF) == "True",
        config_hash=own.get(labels.CONFIG_HASH, ""),
        image_id=container.image_id,
        status=state.status,
        health=state.health.status,
        exit_code=state.exit_code,
        networks=list(container.config.networks),
        volumes=_anonymous_volumes(engine, container),
        depends_on=[each.partition(":")[0] for each in own.get(labels.DEPENDS_ON, "").split(",") if each],
    )


def _anonymous_volumes(engine: Engine, container: Container) -> dict[str, str]:
    """Volumes that nobody named. One taken over from an earlier container is mounted by its name, and still anonymous."""
    found: dict[str, str] = {}
    for mount in container.record.mounts:
        if mount.type == "volume":
            try:
                if mount.anonymous or engine.volumes.get(mount.source).anonymous:
                    found[mount.destination] = mount.source
            except NotFound:
                continue
    return found


def _hashes(engine: Engine, project: Project, section: str) -> dict[str, str]:
    manager = engine.networks if section == "networks" else engine.volumes
    found: dict[str, str] = {}
    for each in (project.networks if section == "networks" else project.volumes).values():
        try:
            found[each.name] = manager.get(each.name).labels.get(labels.CONFIG_HASH, "")
        except NotFound:
            continue
    return found


def observe_images(engine: Engine, project: Project) -> dict[str, str]:
    """The id of every service's image, as far as it is in the store."""
    from inception.compose.container import image_name

    found: dict[str, str] = {}
    known: dict[str, str] = {}
    for name, service in project.services.items():
        reference = image_name(project, service)
        if reference not in known:
            try:
                known[reference] = engine.images.get(reference).id
            except NotFound:
                known[reference] = ""
        if known[reference]:
            found[name] = known[reference]
    return found


def _absent_mounts(engine: Engine, project: Project) -> list[str]:
    """Images that services mount and that are not in the store."""
    wanted = dict.fromkeys(
        mount.source for service in project.services.values() for mount in service.volumes if mount.type == "image"
    )
    absent = []
    for reference in wanted:
        try:
            engine.images.get(reference)
        except NotFound:
            absent.append(reference)
    return absent


def _is_stale(engine: Engine, service: Service) -> bool:
    """Whether its image got its name longer ago than its `pull_policy` allows."""
    after_s = refresh_after_s(service.pull_policy)
    if after_s is None or service.build is not None:
        return False
    named_at = engine.images.inspect(service.image)["Metadata"]["LastTagTime"]
    return named_at.startswith("0001-") or time.time() - parse(named_at) / 1e9 >= after_s
