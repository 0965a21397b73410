"""Plans for containers that exist: stop, start, and `down`. Pure, like `reconcile`.

Who depends on others is stopped and removed before them, and started after them.
"""

from __future__ import annotations

from inception.compose.container import image_name
from inception.compose.plan import (
    AWAIT_SERVICE,
    REMOVE_CONTAINER,
    REMOVE_IMAGE,
    REMOVE_NETWORK,
    REMOVE_VOLUME,
    START_CONTAINER,
    STOP_CONTAINER,
    Operation,
    Plan,
)
from inception.errors import NotFound
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project
    from inception.compose.observe import Observed, ObservedContainer


class DownOptions(Record):
    """Flags of `down`. `rmi` is empty, `local` or `all`."""

    services: list[str] = []
    volumes: bool = False
    rmi: str = ""
    remove_orphans: bool = False


def plan_stop(observed: Observed, containers: list[ObservedContainer]) -> Plan:
    """Stops *containers*, those that depend on others first."""
    operations: dict[str, Operation] = {}
    for container in containers:
        if container.running:
            operations[container.id] = Operation(
                kind=STOP_CONTAINER,
                target=container.name,
                key=container.service,
                container_id=container.id,
                after=_dependents(container, containers, STOP_CONTAINER),
            )
    return Plan(operations=list(operations.values()))


def plan_start(project: Project, observed: Observed, names: list[str], *, wait: bool = False, again: bool = False) -> Plan:
    """Starts the existing containers of the services *names*, each after what it depends on.

    With *again* those that run now are started too: a plan that stops them comes first. Raises NotFound when there are none.
    """
    operations: dict[str, Operation] = {}
    starts: dict[str, list[str]] = {}

    def awaited(name: str, condition: str, required: bool) -> str:
        operation = Operation(
            kind=AWAIT_SERVICE, target=name, key=name, condition=condition, required=required, after=starts.get(name, [])
        )
        return operations.setdefault(operation.id, operation).id

    found = False
    for name in names:
        conditions: list[str] = []
        for other, each in sorted(project.services[name].depends_on.items()):
            if each.condition == "service_started":
                conditions += starts.get(other, [])
            elif other in starts:
                conditions.append(awaited(other, each.condition, each.required))
        starts[name] = []
        for container in observed.of(name):
            found = True
            if container.running and not again:
                continue
            operation = Operation(
                kind=START_CONTAINER,
                target=container.name,
                key=name,
                container_id=container.id,
                reason="" if again else f"is {container.status}",
                after=conditions,
            )
            operations[operation.id] = operation
            starts[name].append(operation.id)
    if names and not found:
        raise NotFound(f'service "{names[0]}" has no container to start')
    if wait:
        for name in names:
            awaited(name, "running_or_healthy", True)
    return Plan(operations=list(operations.values()))


def _dependents(container: ObservedContainer, containers: list[ObservedContainer], kind: str) -> list[str]:
    """The operations on the running containers whose services depend on that of *container*."""
    return [
        f"{kind} {other.name}"
        for other in containers
        if container.service in other.depends_on and other.running and other.service != container.service
    ]


def plan_down(project: Project, observed: Observed, options: DownOptions) -> Plan:
    """Removes containers, then networks, and with the flags volumes and images.

    Services whose profile is off are neither the project's to remove nor orphans: they stay, as with Docker Compose.
    """
    known = {*project.services, *project.disabled}
    chosen = set(options.services or project.services)
    for name in options.services:
        if name not in known:
            raise NotFound(f"no such service: {name}")
    containers = [
        each for each in observed.containers if each.service in chosen or (options.remove_orphans and each.service not in known)
    ]
    operations = [
        Operation(
            kind=REMOVE_CONTAINER,
            target=container.name,
            key=container.service,
            container_id=container.id,
            after=_dependents(container, containers, REMOVE_CONTAINER),
            volumes=options.volumes,
            inherited=container.volumes,
        )
        for container in containers
    ]
    gone = [operation.id for operation in operations]
    if not options.services:
        operations += [
            Operation(kind=REMOVE_NETWORK, target=network.name, key=network.key, after=gone)
            for network in project.networks.values()
            if not network.external and network.name in observed.networks
        ]
        if options.volumes:
            operations += [
                Operation(kind=REMOVE_VOLUME, target=volume.name, key=volume.key, after=gone)
                for volume in project.volumes.values()
                if not volume.external and volume.name in observed.volumes
            ]
    if options.rmi:
        images = {
            image_name(project, service)
            for name, service in project.services.items()
            if name in chosen and name in observed.images and (options.rmi == "all" or not service.image)
        }
        operations += [Operation(kind=REMOVE_IMAGE, target=image, after=gone) for image in sorted(images)]
    warnings = []
    orphans = sorted(each.name for each in observed.containers if each.service not in known and not each.oneoff)
    if orphans and not options.remove_orphans and not options.services:
        warnings.append(
            f"Found orphan containers ([{' '.join(orphans)}]) for this project. If you removed or renamed this service in your "
            "compose file, you can run this command with the --remove-orphans flag to clean it up."
        )
    return Plan(operations=_ordered(operations), warnings=warnings)


def _ordered(operations: list[Operation]) -> list[Operation]:
    """*operations* in an order in which each comes after those that it waits for."""
    ordered: dict[str, Operation] = {}
    waiting = {operation.id: operation for operation in operations}
    while waiting:
        ready = [each for each in waiting.values() if not any(other in waiting for other in each.after)]
        if not ready:  # containers whose labels depend on one another in a circle: any order is as good
            ready = [_freed(each, waiting) for each in waiting.values()]
        for each in ready:
            ordered[each.id] = each
            del waiting[each.id]
    return list(ordered.values())


def _freed(operation: Operation, waiting: dict[str, Operation]) -> Operation:
    return replace(operation, after=[each for each in operation.after if each not in waiting])
