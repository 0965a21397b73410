"""What is and what should be, compared: `Project` and `Observed` in, `Plan` out. Pure, so plans are tested as text.

    images     build or pull what is missing         first, by itself: whether a container is out of date
                                                      depends on the image that comes out
    up         networks, volumes ─▶ create ─▶ start   a start waits for its dependencies' conditions, nothing else

A container is made anew when its configuration hash or its image differs, when a network it is in is made anew, or when it
shares a namespace or volumes with one that is. Otherwise it is left alone, or started when it does not run. How things end is
in `teardown`.
"""

from __future__ import annotations

from inception.compose.container import container_name, image_name
from inception.compose.hashing import network_hash, service_hash, volume_hash
from inception.compose.normalise import select
from inception.compose.plan import (
    AWAIT_SERVICE,
    BUILD_IMAGE,
    CREATE_CONTAINER,
    CREATE_NETWORK,
    CREATE_VOLUME,
    PULL_IMAGE,
    RECREATE_CONTAINER,
    REMOVE_CONTAINER,
    REMOVE_NETWORK,
    START_CONTAINER,
    STOP_CONTAINER,
    Operation,
    Plan,
)
from inception.errors import Conflict, InvalidArgument, NotFound
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Network, Project, Service, Volume
    from inception.compose.observe import Observed, ObservedContainer


class UpOptions(Record):
    """Flags of `up` and `create`. `services` empty means all; `wait` adds an await for every service."""

    services: list[str] = []
    no_deps: bool = False
    start: bool = True
    wait: bool = False
    force_recreate: bool = False
    no_recreate: bool = False
    always_recreate_deps: bool = False
    renew_anonymous_volumes: bool = False
    remove_orphans: bool = False
    scale: dict[str, int] = {}


# ---- images -------------------------------------------------------------------------------------------------------------


def plan_images(project: Project, observed: Observed, names: list[str], *, build: bool = False, pull: str = "") -> Plan:
    """The images that the services *names* lack. *build* builds whatever can be built; *pull* overrides `pull_policy`."""
    plan: dict[str, Operation] = {}
    names = with_build_bases(project, names)
    built = {image_name(project, service) for service in project.services.values() if service.build is not None}
    for name in names:
        service = project.services[name]
        for mount in service.volumes:
            if mount.source in observed.absent and mount.source not in built:
                pulled = Operation(kind=PULL_IMAGE, target=mount.source, key=name, reason="no such image")
                plan.setdefault(mount.source, pulled)
        image = image_name(project, service)
        policy = service.pull_policy if service.pull_policy == "build" else pull or service.pull_policy
        present = name in observed.images
        if service.build is not None and (build or policy == "build" or not present):
            reason = "asked for" if build else "pull_policy is build" if policy == "build" else "no such image"
            operation = Operation(kind=BUILD_IMAGE, target=image, key=name, reason=reason)
        elif service.build is None and policy == "always":
            operation = Operation(kind=PULL_IMAGE, target=image, key=name, reason="pull policy is always")
        elif name in observed.stale and policy == service.pull_policy:
            operation = Operation(kind=PULL_IMAGE, target=image, key=name, reason=f"pull policy is {policy}")
        elif service.build is None and not present:
            if policy == "never":
                raise NotFound(f"No such image: {image}", f"service {name} has pull_policy never")
            operation = Operation(kind=PULL_IMAGE, target=image, key=name, reason="no such image")
        else:
            continue
        plan.setdefault(image, operation)
    return Plan(operations=order_builds(project, list(plan.values())))


def with_build_bases(project: Project, names: list[str]) -> list[str]:
    """*names* and before them the services whose images theirs are built upon. Raises InvalidArgument for a circle."""
    found: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise InvalidArgument(f"services {' -> '.join([*above, name])}: their builds wait for each other")
        build = project.services[name].build if name in project.services else None
        for base in build.services if build is not None else ():
            visit(base, (*above, name))
        if name in project.services and name not in found:
            found.append(name)

    for name in names:
        visit(name, ())
    return found


def order_builds(project: Project, operations: list[Operation]) -> list[Operation]:
    """A build is done after those that it is built upon."""
    ids = {operation.key: operation.id for operation in operations}
    for operation in operations:
        build = project.services[operation.key].build
        operation.after = [ids[base] for base in (build.services if build is not None else ()) if base in ids]
    return operations


# ---- up -----------------------------------------------------------------------------------------------------------------


def plan_up(project: Project, observed: Observed, options: UpOptions) -> Plan:
    """What makes the chosen services run as the file says."""
    return _Up(project, observed, options).plan()


class _Up:
    def __init__(self, project: Project, observed: Observed, options: UpOptions) -> None:
        self.project, self.observed, self.options = project, observed, options
        self.chosen = select(project, options.services, with_dependencies=not options.no_deps)
        self.operations: list[Operation] = []
        self.warnings: list[str] = []
        self.recreated: set[str] = set()
        # Ids of the operations that create, start and await each service's containers.
        self.creates: dict[str, list[str]] = {}
        self.starts: dict[str, list[str]] = {}

    def add(self, operation: Operation) -> str:
        self.operations.append(operation)
        return operation.id

    def plan(self) -> Plan:
        self.orphans()
        self.resources()
        for name in self.chosen:
            self.service(self.project.services[name])
        if self.options.start:
            for name in self.chosen:
                self.start(self.project.services[name])
            if self.options.wait:
                for name in self.chosen:
                    self.awaited(name, "running_or_healthy", True)
        return Plan(operations=self.operations, warnings=self.warnings)

    # networks and volumes

    def resources(self) -> None:
        services = [self.project.services[name] for name in self.chosen]
        keys = dict.fromkeys(key for service in services for key in service.networks)
        self.network_operations = {key: each for key in keys for each in [self.network(self.project.networks[key])] if each}
        sources = dict.fromkeys(
            mount.source for service in services for mount in service.volumes if mount.type == "volume" and mount.source
        )
        self.volume_operations = {key: each for key in sources for each in [self.volume(self.project.volumes[key])] if each}

    def network(self, network: Network) -> str:
        found = self.observed.networks.get(network.name)
        if network.external:
            if found is None:
                raise NotFound(f"network {network.name} declared as external, but could not be found")
            return ""
        if found is None:
            return self.add(Operation(kind=CREATE_NETWORK, target=network.name, key=network.key, reason="no such network"))
        if found in ("", network_hash(network)):
            if not found:
                self.warnings.append(
                    f"a network with name {network.name} exists but was not created by compose. "
                    "Set `external: true` to use an existing network"
                )
            return ""
        return self.recreated_network(network)

    def recreated_network(self, network: Network) -> str:
        """Its configuration changed: whoever is in it goes first, and comes back with `service`."""
        removed = []
        for container in self.observed.containers:
            if network.name in container.networks:
                removed.append(self.removal(container, f"network {network.name} changed"))
        gone = self.add(
            Operation(kind=REMOVE_NETWORK, target=network.name, key=network.key, reason="configuration changed", after=removed)
        )
        return self.add(
            Operation(kind=CREATE_NETWORK, target=network.name, key=network.key, reason="configuration changed", after=[gone])
        )

    def volume(self, volume: Volume) -> str:
        found = self.observed.volumes.get(volume.name)
        if volume.external:
            if found is None:
                raise NotFound(f'external volume "{volume.name}" not found')
            return ""
        if found is None:
            return self.add(Operation(kind=CREATE_VOLUME, target=volume.name, key=volume.key, reason="no such volume"))
        if not found:
            self.warnings.append(
                f'volume "{volume.name}" already exists but was not created by Compose. '
                "Use `external: true` to use an existing volume"
            )
        elif found != volume_hash(volume):
            # Docker Compose asks whether it may delete the data. A plan has nobody to ask, and data is never deleted by `up`.
            raise Conflict(
                f'volume "{volume.name}" exists but doesn\'t match its configuration in the Compose file',
                "save what is in it, and remove it with `down -v` or `volume rm`",
            )
        return ""

    # containers

    def orphans(self) -> None:
        known = {*self.project.services, *self.project.disabled}
        found = [each for each in self.observed.containers if each.service not in known and not each.oneoff]
        if not found:
            return
        if self.options.remove_orphans:
            for container in found:
                self.removal(container, "orphan")
        else:
            names = " ".join(sorted(each.name for each in found))
            self.warnings.append(
                f"Found orphan containers ([{names}]) for this project. If you removed or renamed this service in your compose "
                "file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def removal(self, container: ObservedContainer, reason: str, *, volumes: bool = False) -> str:
        operation = Operation(
            kind=REMOVE_CONTAINER,
            target=container.name,
            key=container.service,
            reason=reason,
            container_id=container.id,
            volumes=volumes,
        )
        if operation.id not in (each.id for each in self.operations):
            self.add(operation)
        return operation.id

    def service(self, service: Service) -> None:
        """Creates, recreates and removes until there are as many containers as there should be, all of them current."""
        existing = self.observed.of(service.name)
        count = self.options.scale.get(service.name, service.replicas)
        if count > 1 and service.container_name:
            raise InvalidArgument(
                f'WARNING: The "{service.name}" service is using the custom container name "{service.container_name}". Docker '
                "requires each container to have a unique name. Remove the custom name to scale the service"
            )
        removed = [self.removal(each, f"{count} wanted") for each in existing[count:]]
        needs = self.needs(service)
        creates, self.starts[service.name] = [], []
        for container in existing[:count]:
            reason = self.divergence(service, container)
            if reason:
                self.recreated.add(service.name)
                creates.append(self.recreation(service, container, reason, [*needs, *removed]))
        numbers = [each.number for each in existing[:count]]
        for _ in range(count - len(numbers)):
            number = next(n for n in range(1, count + len(numbers) + 2) if n not in numbers)
            numbers.append(number)
            name = container_name(self.project, service, number)
            creates.append(
                self.add(
                    Operation(
                        kind=CREATE_CONTAINER,
                        target=name,
                        key=service.name,
                        number=number,
                        reason="no such container",
                        after=[*needs, *removed],
                    )
                )
            )
        self.creates[service.name] = creates

    def needs(self, service: Service) -> list[str]:
        """What has to be there before a container of *service* can be made."""
        found = [self.network_operations[key] for key in service.networks if key in self.network_operations]
        found += [self.volume_operations[mount.source] for mount in service.volumes if mount.source in self.volume_operations]
        for other in shared_services(service):
            found += self.creates.get(other, [])
        return list(dict.fromkeys(found))

    def recreation(self, service: Service, container: ObservedContainer, reason: str, needs: list[str]) -> str:
        inherited = {} if self.options.renew_anonymous_volumes else container.volumes
        gone = f"{REMOVE_CONTAINER} {container.name}"
        removed = gone in (each.id for each in self.operations)
        return self.add(
            Operation(
                kind=CREATE_CONTAINER if removed else RECREATE_CONTAINER,
                target=container_name(self.project, service, container.number or 1),
                key=service.name,
                number=container.number or 1,
                reason=reason,
                after=[*needs, *([gone] if removed else [])],
                container_id="" if removed else container.id,
                inherited=inherited,
            )
        )

    def divergence(self, service: Service, container: ObservedContainer) -> str:
        """Why *container* has to be made anew; empty when it has not."""
        if f"{REMOVE_CONTAINER} {container.name}" in (each.id for each in self.operations):
            return "network changed"
        if self.options.no_recreate:
            return ""
        named = not self.options.services or service.name in self.options.services
        if self.options.force_recreate if named else self.options.always_recreate_deps:
            return "asked for"
        if container.status in ("dead", "removing"):
            return f"is {container.status}"
        if container.name.endswith(f"_{container_name(self.project, service, container.number or 1)}"):
            return "its replacement was interrupted"  # it still has the name of half-way
        if container.config_hash != service_hash(self.project, service):
            return "configuration changed"
        image = self.observed.images.get(service.name, "")
        if image and image != container.image_id:
            return "image changed"
        for other in shared_services(service):
            if other in self.recreated:
                return f"shares with {other}, which is made anew"
        return ""

    # starting

    def start(self, service: Service) -> None:
        name = service.name
        count = self.options.scale.get(name, service.replicas)
        kept = {container_name(self.project, service, each.number): each for each in self.observed.of(name)[:count]}
        fresh = {each.target: each for each in self.operations if each.id in self.creates[name]}
        restarted = self.restarted_dependency(service)
        for target in [*fresh, *(name for name in kept if name not in fresh)]:
            container = None if target in fresh else kept[target]
            stopped: list[str] = []
            if container is not None and container.running:
                if not restarted:
                    continue
                stopped = [
                    self.add(
                        Operation(
                            kind=STOP_CONTAINER,
                            target=container.name,
                            key=name,
                            container_id=container.id,
                            reason=f"{restarted} is made anew",
                        )
                    )
                ]
            created = [fresh[target].id] if target in fresh else []
            self.starts[name].append(
                self.add(
                    Operation(
                        kind=START_CONTAINER,
                        target=target if container is None else container.name,
                        key=name,
                        reason="" if container is None or stopped else f"is {container.status}",
                        container_id="" if container is None else container.id,
                        after=[*created, *stopped, *self.conditions(service)],
                    )
                )
            )

    def restarted_dependency(self, service: Service) -> str:
        """A dependency marked `restart: true` whose containers are made anew."""
        for name, each in service.depends_on.items():
            if each.restart and name in self.recreated:
                return name
        return ""

    def conditions(self, service: Service) -> list[str]:
        """The operations after which the dependencies of *service* are as it wants them."""
        found: list[str] = []
        for name, each in sorted(service.depends_on.items()):
            if name not in self.chosen:
                continue
            if each.condition == "service_started":
                found += self.starts.get(name, [])
            else:
                found.append(self.awaited(name, each.condition, each.required))
        return found

    def awaited(self, name: str, condition: str, required: bool) -> str:
        operation = Operation(
            kind=AWAIT_SERVICE,
            target=name,
            key=name,
            condition=condition,
            required=required,
            after=list(self.starts.get(name, [])),
        )
        if operation.id not in (each.id for each in self.operations):
            self.add(operation)
        return operation.id


def shared_services(service: Service) -> list[str]:
    """The services whose namespaces or volumes *service* joins: their containers must exist when its own are made."""
    modes = (service.network_mode, service.ipc, service.pid, service.uts)
    found = [mode[len("service:") :] for mode in modes if mode.startswith("service:")]
    found += [entry.partition(":")[0] for entry in service.volumes_from if not entry.startswith("container:")]
    return list(dict.fromkeys(found))
