"""Links: another container under a name of one's own choice, Docker's way from before networks had names.

On the default network, which answers no names, a link is a line of /etc/hosts and variables of the environment, as they are at
the start. On other networks it is an alias that only this container's resolver knows.
"""

from __future__ import annotations

from inception.engine import records
from inception.errors import Conflict, InvalidArgument, NotFound
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord

_NOT_PASSED_ON = ("HOME", "PATH")


def parse_link(text: str) -> tuple[str, str]:
    """`CONTAINER[:ALIAS]` as (container, alias). Raises InvalidArgument."""
    name, colon, alias = text.partition(":")
    name = name.removeprefix("/")
    # `docker run --link` of a running daemon's own listing: `/one:/two/alias`.
    alias = alias.rpartition("/")[2]
    if not name or (colon and not alias) or ":" in alias:
        raise InvalidArgument(f"bad format for links: {text}")
    return name, alias or name


def check_links(engine: Engine, config: ContainerConfig) -> None:
    """Raises InvalidArgument for one that leads nowhere."""
    for text in config.links:
        name, _ = parse_link(text)
        try:
            records.find(engine, name)
        except NotFound:
            raise InvalidArgument(f"could not get container for {name}: No such container: {name}") from None


def aliases(config: ContainerConfig) -> dict[str, str]:
    """What the container's resolver answers on top of its networks' names: alias to container."""
    found = {}
    for endpoint in config.networks.values():
        for text in endpoint.links:
            name, alias = parse_link(text)
            found[alias.lower()] = name.lower()
    return found


def hosts(engine: Engine, record: ContainerRecord) -> list[tuple[str, str]]:
    """Lines of /etc/hosts: names and an address. Raises Conflict when a linked container does not run."""
    found = []
    for other, alias in _linked(engine, record):
        names = dict.fromkeys([alias, other.id[:12], other.name])
        found.append((" ".join(names), _address(other)))
    return found


def environment(engine: Engine, record: ContainerRecord) -> list[str]:
    """What a linked container is, exposes and has in its own environment, as variables with the alias before them."""
    found: list[str] = []
    for other, alias in _linked(engine, record):
        prefix, address = alias.upper().replace("-", "_"), _address(other)
        for number, protocol in sorted(_exposed(other)):
            url = f"{protocol}://{address}:{number}"
            if not any(item.startswith(f"{prefix}_PORT=") for item in found):
                found.append(f"{prefix}_PORT={url}")
            name = f"{prefix}_PORT_{number}_{protocol.upper()}"
            found += [f"{name}={url}", f"{name}_ADDR={address}", f"{name}_PORT={number}", f"{name}_PROTO={protocol}"]
        found.append(f"{prefix}_NAME=/{record.name}/{alias}")
        for item in other.config.env:
            name, equals, _ = item.partition("=")
            if equals and name not in _NOT_PASSED_ON:
                found.append(f"{prefix}_ENV_{item}")
    return found


def texts(record: ContainerRecord) -> list[str]:
    """As `inspect` shows them: `/other:/this/alias`."""
    return [f"/{name}:/{record.name}/{alias}" for name, alias in map(parse_link, record.config.links)]


def names(engine: Engine) -> dict[str, list[str]]:
    """By container's name, what others call it: `/other/alias`."""
    found: dict[str, list[str]] = {}
    query = "SELECT name, config FROM containers WHERE kind != 'step' AND config LIKE '%\"links\"%'"
    for linking, config in engine.database.rows(query):
        for name, alias in map(parse_link, records.decode_config(config).links):
            try:
                found.setdefault(records.find(engine, name).name, []).append(f"/{linking}/{alias}")
            except (NotFound, InvalidArgument):
                continue  # the other has gone
    return found


def linked_name(engine: Engine, path: str) -> str:
    """The name of the container that `CONTAINER/ALIAS` leads to; empty for no link."""
    return next((name for name, paths in names(engine).items() if f"/{path.strip('/')}" in paths), "")


def remove_link(engine: Engine, path: str) -> None:
    """Forget the link `CONTAINER/ALIAS`; the containers stay."""
    name, _, alias = path.strip("/").partition("/")
    record = records.find(engine, name)
    left = [text for text in record.config.links if parse_link(text)[1] != alias]
    if not alias or len(left) == len(record.config.links):
        raise NotFound(f"No such link: /{name}/{alias}")
    config = replace(record.config, links=left)
    records.save_config(engine, record.id, config)


def _linked(engine: Engine, record: ContainerRecord) -> list[tuple[ContainerRecord, str]]:
    found = []
    for text in record.config.links:
        name, alias = parse_link(text)
        other = _in_network(engine, records.find(engine, name))
        if not _address(other):
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{record.name}/{alias}")
        found.append((other, alias))
    return found


def _in_network(engine: Engine, other: ContainerRecord) -> ContainerRecord:
    """The container whose addresses *other* has: itself, or that whose network it shares."""
    seen = {other.id}
    while other.config.network_mode.startswith("container:"):
        other = records.find(engine, other.config.network_mode.removeprefix("container:"))
        if other.id in seen:
            break
        seen.add(other.id)
    return other


def _address(other: ContainerRecord) -> str:
    state = other.state.endpoints.get("bridge")
    return state.ipv4_address if state is not None and other.state.status in ("running", "paused") else ""


def _exposed(other: ContainerRecord) -> list[tuple[int, str]]:
    ports = []
    for text in other.config.exposed_ports:
        number, _, protocol = text.partition("/")
        ports.append((int(number), protocol or "tcp"))
    return ports
