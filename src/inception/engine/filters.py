"""`--filter`: which containers, images, networks, volumes and events a list shows. Several values of one key are alternatives
(of labels: all must match), several keys must all match, as in Docker."""

from __future__ import annotations

from inception.engine.times import parse, parse_when_ns
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.engine.records import ContainerRecord
    from inception.engine.results import Event
    from inception.engine.volumes import Volume
    from inception.store.images import Image

    Filters = dict[str, list[str]]


def check_keys(filters: Filters, known: Iterable[str]) -> None:
    """Raises InvalidArgument for a filter that does not exist."""
    for key in filters:
        if key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")


def labels_match(filters: Filters, labels: dict[str, str]) -> bool:
    """`label=key`, `label=key=value`: all of them; `label!` none of them."""
    return all(_has_label(labels, text) for text in filters.get("label", [])) and not any(
        _has_label(labels, text) for text in filters.get("label!", [])
    )


def _has_label(labels: dict[str, str], text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _boolean(filters: Filters, key: str) -> bool | None:
    values = [value.lower() for value in filters.get(key, [])]
    for value in values:
        if value not in ("1", "0", "true", "false", "t", "f"):
            raise InvalidArgument(f"invalid filter '{key}={value}'")
    return None if not values else values[-1] in ("1", "true", "t")


def _name_matches(name: str, patterns: list[str]) -> bool:
    """A regular expression searched for, as Docker does; text that is none is taken as it is."""
    import re  # 3 ms; the filters of most listings are none, or labels

    for pattern in patterns:
        try:
            if re.search(pattern, name) or re.search(pattern, f"/{name}"):
                return True
        except re.error:
            if pattern in name:
                return True
    return False


# Containers

_CONTAINER_KEYS = (
    "id name label status exited ancestor before since volume network publish expose health is-task isolation".split()  # noqa: SIM905
)
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def select_containers(engine: Engine, found: list[ContainerRecord], filters: Filters) -> list[ContainerRecord]:
    """Those of *found*, which are ordered from the newest, that match."""
    if not filters:
        return found
    check_keys(filters, _CONTAINER_KEYS)
    for status in filters.get("status", []):
        if status not in _STATUSES:
            raise InvalidArgument(f"invalid filter 'status={status}'")
    for health in filters.get("health", []):
        if health not in _HEALTHS:
            raise InvalidArgument(f"unrecognised filter value for health: {health}")
    tests = [_CONTAINER_TESTS[key](engine, values) for key, values in filters.items() if key in _CONTAINER_TESTS]
    return [record for record in found if labels_match(filters, record.config.labels) and all(test(record) for test in tests)]


def _by_age(engine: Engine, reference: str, *, before: bool) -> Callable[[ContainerRecord], bool]:
    from inception.engine.records import find

    query = "SELECT sequence FROM containers WHERE id = ?"
    limit = engine.database.rows(query, (find(engine, reference).id,))[0][0]

    def matches(record: ContainerRecord) -> bool:
        row = engine.database.row(query, (record.id,))
        return row is not None and (row[0] < limit if before else row[0] > limit)

    return matches


def _ancestors(engine: Engine, values: list[str]) -> Callable[[ContainerRecord], bool]:
    ids = set()
    for value in values:
        try:
            ids.add(engine.images.get(value).id)
        except (InvalidArgument, NotFound):
            pass  # containers may still bear the name of an image that is gone
    return lambda record: record.image_id in ids or record.config.image in values


def _ports(values: list[str], of: Callable[[ContainerRecord], list[tuple[int, str]]]) -> Callable[[ContainerRecord], bool]:
    wanted: set[tuple[int, str]] = set()
    for value in values:
        numbers, _, protocol = value.partition("/")
        first, _, last = numbers.partition("-")
        if not (first.isdecimal() and (not last or last.isdecimal())):
            raise InvalidArgument(f"invalid port filter: {value}")
        wanted |= {(port, protocol or "tcp") for port in range(int(first), int(last or first) + 1)}
    return lambda record: bool(wanted & set(of(record)))


def _published(record: ContainerRecord) -> list[tuple[int, str]]:
    return [
        pair
        for port in [*record.config.ports, *record.state.ports]
        for pair in ((port.container_port, port.protocol), (port.host_port, port.protocol))
    ]


def _exposed(record: ContainerRecord) -> list[tuple[int, str]]:
    split = [port.partition("/") for port in record.config.exposed_ports]
    return [(int(number), protocol or "tcp") for number, _, protocol in split]


def _networks(engine: Engine, values: list[str]) -> Callable[[ContainerRecord], bool]:
    from inception.engine.config import network_mode, wanted_networks

    known = {network.name: network.id for network in engine.networks.list()}

    def matches(record: ContainerRecord) -> bool:
        names = {*wanted_networks(record.config), network_mode(record.config)}
        ids = {known[name] for name in names if name in known}
        return any(value in names or any(id.startswith(value) for id in ids) for value in values)

    return matches


def _is_no_task(values: list[str]) -> Callable[[ContainerRecord], bool]:
    """No container is a task of Swarm's."""
    for value in values:
        if value not in ("0", "1", "false", "true"):
            raise InvalidArgument(f"invalid filter 'is-task={value}'")
    return lambda record: not {"1", "true"} & {*values}


def _exit_codes(values: list[str]) -> Callable[[ContainerRecord], bool]:
    for value in values:
        if not value.lstrip("-").isdecimal():
            raise InvalidArgument(f"invalid filter 'exited={value}'")
    codes = {int(value) for value in values}
    return lambda record: record.state.status == "exited" and record.state.exit_code in codes


_CONTAINER_TESTS: dict[str, Callable[[Engine, list[str]], Callable[[ContainerRecord], bool]]] = {
    "id": lambda engine, values: lambda record: any(record.id.startswith(value) for value in values),
    "name": lambda engine, values: lambda record: _name_matches(record.name, values),
    "status": lambda engine, values: lambda record: record.state.status in values,
    "exited": lambda engine, values: _exit_codes(values),
    "ancestor": _ancestors,
    "before": lambda engine, values: _by_age(engine, values[-1], before=True),
    "since": lambda engine, values: _by_age(engine, values[-1], before=False),
    "volume": lambda engine, values: (
        lambda record: any(value in (point.source, point.destination) for point in record.mounts for value in values)
    ),
    "network": _networks,
    "publish": lambda engine, values: _ports(values, _published),
    "expose": lambda engine, values: _ports(values, _exposed),
    "health": lambda engine, values: lambda record: record.state.health.status in values,
    "is-task": lambda engine, values: _is_no_task(values),
    "isolation": lambda engine, values: lambda record: "default" in values,
}


# Images


def select_images(engine: Engine, images: list[Image], filters: Filters) -> list[Image]:
    """Those of *images* that match."""
    if not filters:
        return images
    check_keys(filters, ("reference", "label", "label!", "dangling", "before", "since", "until"))
    dangling = _boolean(filters, "dangling")
    if dangling is not None:
        images = [image for image in images if bool(image.names) != dangling]
    if "reference" in filters:
        images = [shown for image in images for shown in _called(image, filters["reference"])]
    for key, sign in (("before", 1), ("since", -1)):
        for reference in filters.get(key, []):
            limit = created_ns(engine.images.get(reference))
            images = [image for image in images if sign * (limit - created_ns(image)) > 0]
    for text in filters.get("until", []):
        limit = parse_when_ns(text)
        images = [image for image in images if created_ns(image) < limit]
    return [image for image in images if labels_match(filters, image.labels)]


def created_ns(image: Image) -> int:
    """Nanoseconds since 1970; 0 for an image that doesn't say."""
    return parse(image.created) if image.created else 0


def _called(image: Image, patterns: list[str]) -> list[Image]:
    """An image with those of its names that a pattern means, or nothing; digests go with the names of their repository."""

    def meant(name: str) -> bool:
        return any(reference_matches(name, pattern) for pattern in patterns)

    names = [name for name in image.names if meant(name)]
    repositories = {name.rpartition(":")[0] for name in names}
    digests = [name for name in image.repo_digests if name.partition("@")[0] in repositories or meant(name)]
    if not names and not digests:
        return []
    shown = type(image).__new__(type(image))  # its configuration is not read for that
    shown.__dict__.update(image.__dict__, names=names, repo_digests=digests)
    return [shown]


def reference_matches(name: str, pattern: str) -> bool:
    """Whether the pattern of a `reference` filter means the name `repository:tag` or `repository@digest`."""
    repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    return _path_matches(name, pattern) or _path_matches(repository, pattern)


def _path_matches(text: str, pattern: str) -> bool:
    """Go's path.Match: no wildcard means a slash."""
    from fnmatch import fnmatchcase  # brings `re`

    parts, patterns = text.split("/"), pattern.replace("[^", "[!").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


# Networks and volumes


def select_networks(engine: Engine, networks: list[Network], filters: Filters) -> list[Network]:
    """Those of *networks* that match."""
    from inception.engine.networks import PREDEFINED

    if not filters:
        return networks
    check_keys(filters, ("id", "name", "label", "driver", "type", "scope", "dangling"))
    for kind in filters.get("type", []):
        if kind not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    dangling = _boolean(filters, "dangling")
    used = (
        {row[0] for row in engine.database.rows("SELECT DISTINCT network_id FROM endpoints")} if dangling is not None else set()
    )
    selected = []
    for network in networks:
        builtin = network.name in PREDEFINED
        if (
            labels_match(filters, network.labels)
            and ("id" not in filters or any(network.id.startswith(value) for value in filters["id"]))
            and ("name" not in filters or _name_matches(network.name, filters["name"]))
            and ("driver" not in filters or network.config.driver in filters["driver"])
            and ("type" not in filters or ("builtin" if builtin else "custom") in filters["type"])
            and ("scope" not in filters or "local" in filters["scope"])
            and (dangling is None or dangling == (not builtin and network.id not in used))
        ):
            selected.append(network)
    return selected


def select_volumes(engine: Engine, volumes: list[Volume], filters: Filters) -> list[Volume]:
    """Those of *volumes* that match."""
    if not filters:
        return volumes
    check_keys(filters, ("name", "label", "driver", "dangling"))
    dangling = _boolean(filters, "dangling")
    used = (
        {row[0] for row in engine.database.rows("SELECT DISTINCT volume FROM volume_uses")} if dangling is not None else set()
    )
    return [
        volume
        for volume in volumes
        if labels_match(filters, volume.labels)
        and ("name" not in filters or any(value in volume.name for value in filters["name"]))
        and ("driver" not in filters or volume.config.driver in filters["driver"])
        and (dangling is None or dangling == (volume.name not in used))
    ]


# Events


def event_matches(filters: Filters) -> Callable[[Event], bool]:
    """Whether an event is wanted. An object is named by its id, the start of it, or its name."""
    objects = ("container", "image", "network", "volume")
    check_keys(filters, (*objects, "type", "event", "label", "scope"))

    def matches(event: Event) -> bool:
        for key in objects:
            if key in filters and not (event.type == key and _is_about(event, filters[key])):
                return False
        return (
            ("type" not in filters or event.type in filters["type"])
            and ("event" not in filters or any(_is_action(event.action, value) for value in filters["event"]))
            and labels_match(filters, event.attributes)
        )

    return matches


def _is_action(action: str, wanted: str) -> bool:
    return action == wanted or action.startswith(f"{wanted}:")


def _is_about(event: Event, values: list[str]) -> bool:
    name = event.attributes.get("name", "")
    return any(event.id.startswith(value) or value == name or value == name.rpartition(":")[0] for value in values)
