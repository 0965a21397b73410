"""The merged tree completed and checked: names and defaults filled in, environment files read, references looked up.

After this the tree means the same whatever the files left out: it is what `config` prints, and what a `Project` is decoded
from.
"""

from __future__ import annotations

import os

from inception.compose.dotenv import load_dotenv, load_raw
from inception.compose.errors import ComposeFileError
from inception.compose.model import FileSource, Network, Project, Service, Volume
from inception.compose.yaml import Map, Seq
from inception.errors import InvalidArgument, NotFound
from inception.record import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.compose.yaml import Place

_INVALID = ": invalid compose project"
_SECTIONS: dict[str, type[Network | Volume | FileSource]] = {
    "networks": Network,
    "volumes": Volume,
    "secrets": FileSource,
    "configs": FileSource,
}


def normalise(
    tree: Map,
    *,
    name: str,
    directory: str,
    files: list[str],
    environment: dict[str, str],
    profiles: list[str],
    services: list[str],
    all_resources: bool,
    warn: Callable[[str], None],
) -> Project:
    """The `Project` of the merged *tree*. Raises ComposeFileError for what does not fit together."""
    for section in ("services", *_SECTIONS):
        tree.setdefault(section, Map())
    active, disabled = _select_profiles(tree["services"], profiles, services)
    tree["services"] = active
    for service_name, service in active.items():
        _complete_service(service, service_name, directory, environment, warn)
    for service_name, service in active.items():
        _check_service(service, service_name, tree)
    _check_container_names(active)
    _check_cycles(active)
    for section in _SECTIONS:
        _complete_resources(tree, section, name, environment)
        if not all_resources:
            _drop_unused(tree, section)
    decoded: dict[str, Any] = {
        section: {key: decode(kind, {**_plain(value), "key": key}, f"{section}.{key}") for key, value in tree[section].items()}
        for section, kind in _SECTIONS.items()
    }
    return Project(
        name=name,
        directory=directory,
        files=files,
        environment=environment,
        profiles=profiles,
        services={key: _decode_service(key, value, active) for key, value in sorted(active.items())},
        disabled=disabled,
        tree=tree,
        **decoded,
    )


def _plain(value: Any) -> Any:
    """As `record.decode` wants it: plain dicts and lists, nothing for null."""
    if isinstance(value, Map):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, Seq) else value


def _decode_service(name: str, tree: Map, services: Map) -> Service:
    plain = _plain(tree)
    plain["name"] = name
    plain["depends_on"] = {key: item for key, item in plain.get("depends_on", {}).items() if key in services}
    plain["networks"] = {key: _plain(item) or {} for key, item in tree.get("networks", {}).items()}
    for section in (plain, plain.get("build", {})):
        if "ulimits" in section:
            limits = section["ulimits"].items()
            section["ulimits"] = {key: {"soft": item, "hard": item} if isinstance(item, int) else item for key, item in limits}
    return decode(Service, plain, f"services.{name}")


# ---- which services -----------------------------------------------------------------------------------------------------


def _select_profiles(services: Map, profiles: list[str], named: list[str]) -> tuple[Map, list[str]]:
    """The services that the active profiles leave, and the names of the others. Naming a service activates its profiles."""
    wanted = set(profiles)
    for name in named:
        if name in services:
            wanted.update(services[name].get("profiles", ()))
    active, disabled = Map(services.place), []
    for name, service in services.items():
        own = service.get("profiles", ())
        if not own or "*" in wanted or wanted & set(own) or name in named:
            active.put(name, service, services.place_of(name))
        else:
            disabled.append(name)
    return active, disabled


# ---- one service --------------------------------------------------------------------------------------------------------


def _complete_service(
    service: Map, name: str, directory: str, environment: dict[str, str], warn: Callable[[str], None]
) -> None:
    if not service.get("network_mode") and not service.get("networks"):
        networks = Map(service.place)
        networks.put("default", None)
        service.put("networks", networks)
    _read_env_files(service, environment, warn)
    _read_label_files(service, environment, warn)
    build = service.get("build")
    if build is not None and "dockerfile_inline" not in build:
        build.setdefault("dockerfile", "Dockerfile")
    for reference, place in build["secrets"].items() if build is not None and "secrets" in build else ():
        if not reference.get("source"):
            raise ComposeFileError(f"services.{name}.build.secrets: source is missing", place)
    if service.get("pull_policy") == "if_not_present":
        service["pull_policy"] = "missing"
    for kind in ("secrets", "configs"):
        for reference, place in service[kind].items() if kind in service else ():
            if not reference.get("source"):
                raise ComposeFileError(f"services.{name}.{kind}: source is missing", place)
            if kind == "secrets" and not reference.get("target"):
                reference["target"] = f"/run/secrets/{reference['source']}"
    _imply_dependencies(service)


def _read_env_files(service: Map, environment: dict[str, str], warn: Callable[[str], None]) -> None:
    written = service.place_of("env_file")
    files = service.pop("env_file", None)
    if files is None:
        return
    found: dict[str, str] = {}
    for file, place in files.items():
        path = file["path"]
        try:
            if file.get("format", "") == "raw":
                found.update(load_raw(path, environment))
            elif file.get("format", "") == "":
                found.update(load_dotenv(path, {**found, **environment}, warn))
            else:
                raise ComposeFileError(f"unsupported env_file format {file['format']!r}", place or written)
        except OSError as error:
            if os.path.lexists(path) or file["required"]:
                raise ComposeFileError(
                    f"env file {path} not found: stat {path}: {(error.strerror or 'error').lower()}", place or written
                ) from None
    merged = Map(service.place_of("environment"))
    own = service.get("environment", Map())
    for key, value in found.items():
        merged.put(key, value)
    for key, value in own.items():
        merged.put(key, value, own.place_of(key))
    service.put("environment", merged)


def _read_label_files(service: Map, environment: dict[str, str], warn: Callable[[str], None]) -> None:
    files = service.pop("label_file", None)
    if files is None:
        return
    merged = Map(service.place_of("labels"))
    for path, place in files.items():
        try:
            for key, value in load_dotenv(path, environment, warn).items():
                merged.put(key, value, place)
        except OSError as error:
            raise ComposeFileError(
                f"label file {path} not found: stat {path}: {(error.strerror or 'error').lower()}", place
            ) from None
    own = service.get("labels", Map())
    for key, value in own.items():
        merged.put(key, value, own.place_of(key))
    service.put("labels", merged)


def _imply_dependencies(service: Map) -> None:
    """Whoever uses another's namespaces, volumes or links starts after it."""
    implied: list[tuple[str, Place | None]] = []
    followed: set[str] = set()  # who starts again with them; what lies in a volume stays as it is
    for mode in ("network_mode", "ipc", "pid", "uts", "cgroup"):
        kind, _, other = str(service.get(mode, "")).partition(":")
        if kind == "service":
            implied.append((other, service.place_of(mode)))
    for link in service.get("links", ()):
        implied.append((link.partition(":")[0], service.place_of("links")))
    followed.update(other for other, _ in implied)
    for source in service.get("volumes_from", ()):
        if not source.startswith("container:"):
            implied.append((source.partition(":")[0], service.place_of("volumes_from")))
    if not implied:
        return
    dependencies = service.get("depends_on") or Map(service.place)
    service.put("depends_on", dependencies, service.place_of("depends_on"))
    for other, place in implied:
        if other not in dependencies:
            entry = Map(place)
            entry.put("condition", "service_started")
            if other in followed:
                entry.put("restart", True)
            entry.put("required", True)
            dependencies.put(other, entry, place)


def _check_service(service: Map, name: str, tree: Map) -> None:
    if not service.get("image") and service.get("build") is None:
        raise ComposeFileError(f'service "{name}" has neither an image nor a build context specified{_INVALID}', service.place)
    build = service.get("build") or Map()
    if build.get("dockerfile") and build.get("dockerfile_inline"):
        raise ComposeFileError(
            f"service {name} declares mutually exclusive dockerfile and dockerfile_inline{_INVALID}", build.place
        )
    if service.get("network_mode") and service.get("networks"):
        raise ComposeFileError(
            f"service {name} declares mutually exclusive `network_mode` and `networks`{_INVALID}",
            service.place_of("network_mode"),
        )
    for other, entry in (service.get("depends_on") or {}).items():
        if other not in tree["services"] and entry.get("required", True):
            raise ComposeFileError(f'service "{name}" depends on undefined service "{other}"{_INVALID}', entry.place)
    _check_references(service, name, tree)
    _check_distinct(service, name)
    for key in service.get("labels") or ():
        if key.startswith("com.docker.compose."):
            raise ComposeFileError(
                f"services.{name}.labels: {key}: the com.docker.compose label prefix is reserved",
                service["labels"].place_of(key),
            )


def _check_references(service: Map, name: str, tree: Map) -> None:
    for network in service.get("networks") or {}:
        if network not in tree["networks"] and network != "default":
            raise ComposeFileError(
                f'service "{name}" refers to undefined network {network}{_INVALID}', service["networks"].place_of(network)
            )
    for mount, place in service["volumes"].items() if service.get("volumes") else ():
        source = mount.get("source")
        if mount["type"] == "volume" and source and source not in tree["volumes"]:
            raise ComposeFileError(f'service "{name}" refers to undefined volume {source}{_INVALID}', place)
    for kind, owner in (("secrets", service), ("configs", service), ("secrets", service.get("build") or {})):
        for reference, place in owner[kind].items() if owner.get(kind) else ():
            if reference["source"] not in tree[kind]:
                raise ComposeFileError(
                    f'service "{name}" refers to undefined {kind[:-1]} {reference["source"]}{_INVALID}', place
                )


def _check_distinct(service: Map, name: str) -> None:
    """Two spellings of one limit must say the same."""
    deploy = service.get("deploy") or {}
    resources = deploy.get("resources") or {}
    limits, reservations = resources.get("limits") or {}, resources.get("reservations") or {}
    for own, other, value in (
        ("mem_limit", "deploy.resources.limits.memory", limits.get("memory")),
        ("mem_reservation", "deploy.resources.reservations.memory", reservations.get("memory")),
        ("cpus", "deploy.resources.limits.cpus", limits.get("cpus")),
        ("pids_limit", "deploy.resources.limits.pids", limits.get("pids")),
        ("scale", "deploy.replicas", deploy.get("replicas")),
    ):
        if service.get(own) is not None and value is not None and service[own] != value:
            raise ComposeFileError(
                f"services.{name}: can't set distinct values on '{own}' and '{other}'{_INVALID}", service.place_of(own)
            )


def _check_container_names(services: Map) -> None:
    taken: dict[str, str] = {}
    for name, service in services.items():
        container = service.get("container_name")
        if not container:
            continue
        place = service.place_of("container_name")
        if container in taken:
            raise ComposeFileError(
                f'services.{name}: container name "{container}" is already in use by service {taken[container]}{_INVALID}',
                place,
            )
        taken[container] = name
        replicas = service.get("scale", (service.get("deploy") or {}).get("replicas", 1))
        if replicas is not None and replicas > 1:
            raise ComposeFileError(
                f"services.{name}: can't set container_name and scale to {replicas}: container names must be unique{_INVALID}",
                place,
            )


def _check_cycles(services: Map) -> None:
    done: set[str] = set()

    def visit(name: str, chain: list[str]) -> None:
        if name in chain:
            cycle = " -> ".join([*chain[chain.index(name) :], name])
            raise ComposeFileError(f"dependency cycle detected: {cycle}", services.place_of(name))
        if name in done:
            return
        for other in services[name].get("depends_on") or ():
            if other not in services:
                continue
            visit(other, [*chain, name])
        done.add(name)

    for name in services:
        visit(name, [])


# ---- networks, volumes, secrets, configs --------------------------------------------------------------------------------


def _complete_resources(tree: Map, section: str, project: str, environment: dict[str, str]) -> None:
    resources: Map = tree[section]
    if section == "networks" and "default" not in resources:
        resources.put("default", Map())
    for key, value in resources.items():
        place = resources.place_of(key)
        external = value.get("external")
        if isinstance(external, Map):
            value.setdefault("name", external.get("name", key))
            value["external"] = external = True
        if external:
            for other in value:
                if other not in ("external", "name") and not other.startswith("x-"):
                    raise ComposeFileError(f'{section}.{key}: conflicting parameters "external" and "{other}" specified', place)
        value.setdefault("name", key if external else f"{project}_{key}")
        if section in ("secrets", "configs"):
            _check_file_source(value, section, key, environment, place)


def _check_file_source(value: Map, section: str, key: str, environment: dict[str, str], place: Place | None) -> None:
    kinds = ("file", "environment") if section == "secrets" else ("file", "environment", "content")
    if value.get("external"):
        raise ComposeFileError(f"unsupported external {section[:-1]} {key}", place, f"set one of {'|'.join(kinds)}")
    found = [kind for kind in kinds if value.get(kind) is not None]
    if len(found) > 1:
        raise ComposeFileError(f"{section}.{key}: {'|'.join(found)} attributes are mutually exclusive", place)
    if not found:
        raise ComposeFileError(f"{section}.{key}: one of {'|'.join(kinds)} must be set", place)


def _drop_unused(tree: Map, section: str) -> None:
    used: set[str] = set()
    for service in tree["services"].values():
        if section == "networks":
            used.update(service.get("networks") or ())
        elif section == "volumes":
            used.update(
                mount["source"] for mount in service.get("volumes") or () if mount["type"] == "volume" and mount.get("source")
            )
        else:
            used.update(reference["source"] for reference in service.get(section) or ())
            used.update(reference["source"] for reference in (service.get("build") or {}).get(section) or ())
    for key in [key for key in tree[section] if key not in used]:
        del tree[section][key]


def select(project: Project, names: list[str], *, with_dependencies: bool = True) -> list[str]:
    """The services that a command was given, with what they depend on; all of them without names. Dependencies first.

    Raises NotFound for an unknown one: `no such service: web`.
    """
    chosen: list[str] = []

    def add(name: str) -> None:
        if name in chosen:
            return
        service = project.services[name]
        for other in sorted(service.depends_on) if with_dependencies else ():
            if other in project.services:
                add(other)
        chosen.append(name)

    for name in names or sorted(project.services):
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
        add(name)
    return chosen


def parse_scales(texts: list[str], project: Project) -> dict[str, int]:
    """`--scale web=3` flags. Raises InvalidArgument or NotFound."""
    scales: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not equals or not number.isdecimal():
            raise InvalidArgument(f"invalid --scale option {text!r}. Should be SERVICE=NUM")
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
        scales[name] = int(number)
    return scales
