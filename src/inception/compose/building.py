"""`build:` of a service, handed to the builder."""

from __future__ import annotations

import os

from inception.compose import labels
from inception.compose.container import image_name
from inception.compose.model import SERVICE
from inception.engine.engine import Engine
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.build.config import BuildConfig
    from inception.build.progress import Event
    from inception.compose.model import Build, Project, Service
    from inception.compose.progress import Progress

# What `privileged: true` asks for, as BuildKit calls it.
_INSECURE = ["security.insecure"]


def build_config(
    project: Project, service: Service, *, arguments: dict[str, str] | None = None, no_cache: bool = False, pull: bool = False
) -> BuildConfig:
    """What the builder is told. Raises InvalidArgument for a context that is no folder here."""
    from inception.build.config import BuildConfig
    from inception.engine.config import ResourceConfig, Ulimit

    build = service.build
    if build is None:
        raise InvalidArgument(f"service {service.name} has no build section")
    remote = "://" in build.context or build.context.startswith("git@")
    if not remote and not os.path.isdir(build.context):
        raise InvalidArgument(f"unable to prepare context: path {build.context!r} not found")
    limits = ResourceConfig(
        shm_size_bytes=build.shm_size,
        ulimits=[Ulimit(name=name, soft=each.soft, hard=each.hard) for name, each in build.ulimits.items()],
    )
    return BuildConfig(
        context=build.context,
        # Relative to the context, whatever the working directory is.
        dockerfile=os.path.join("" if remote else build.context, build.dockerfile) if build.dockerfile else "",
        dockerfile_inline=build.dockerfile_inline,
        tags=list(dict.fromkeys([image_name(project, service), *build.tags])),
        target=build.target,
        build_args={**build.args, **(arguments or {})},
        labels={**build.labels, labels.PROJECT: project.name, labels.SERVICE: service.name},
        no_cache=no_cache or build.no_cache,
        pull=pull or build.pull,
        network=build.network or "default",
        extra_hosts=build.extra_hosts,
        platform=service.platform or ",".join(build.platforms),
        resources=limits,
        **_extras(project, service, build),
    )


def _extras(project: Project, service: Service, build: Build) -> dict[str, Any]:
    """What few builds have, so that its modules are not loaded for the others."""
    found: dict[str, Any] = {}
    if build.additional_contexts:
        found["contexts"] = {name: _named_context(project, service, at) for name, at in build.additional_contexts.items()}
    if build.cache_from or build.cache_to:
        from inception.build.cacheplaces import parse_source, parse_target

        found["cache_from"] = [parse_source(text) for text in build.cache_from]
        found["cache_to"] = [parse_target(text) for text in build.cache_to]
    if build.entitlements or build.privileged:
        from inception.build.devices import parse_allow

        found["allow"] = [parse_allow(text) for text in [*build.entitlements, *_INSECURE[: int(build.privileged)]]]
    if build.provenance or build.sbom:
        from inception.build.attest import parse_attestations

        found["attestations"] = parse_attestations([], *([text] if text else [] for text in (build.provenance, build.sbom)))
    if build.secrets:
        from inception.build.config import SecretSource
        from inception.compose.files import build_secrets

        found["secrets"] = {name: SecretSource(data=data) for name, data in build_secrets(project, build.secrets).items()}
    if build.ssh:
        from inception.build.agent import parse_ssh

        agents = (f"{name}={os.path.expanduser(path)}" if path else name for name, path in build.ssh.items())
        found["ssh"] = dict(parse_ssh(text) for text in agents)
    return found


def _named_context(project: Project, service: Service, place: str) -> str:
    if not place.startswith(SERVICE):
        return place
    other = project.services.get(place.removeprefix(SERVICE))
    if other is None:
        raise InvalidArgument(f"services.{service.name}.build.additional_contexts: {place}: no such service")
    return f"docker-image://{image_name(project, other)}"


def build_image(
    engine: Engine,
    project: Project,
    service: Service,
    *,
    progress: Progress,
    arguments: dict[str, str] | None = None,
    no_cache: bool = False,
    pull: bool = False,
    quiet: bool = False,
) -> str:
    """Builds the image of *service*; its id."""
    config = build_config(project, service, arguments=arguments, no_cache=no_cache, pull=pull)
    told = None if quiet else _Told(f"Image {image_name(project, service)}", progress)
    if not isinstance(engine, Engine):
        from inception.client.build import build as build_there

        return build_there(engine, config, told).image_id
    from inception.build import build

    return build(engine, config, told).image_id


class _Told:
    """A build's events, passed on to the progress of the whole."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name, self.progress = name, progress

    def __call__(self, event: Event) -> None:
        from inception.build.progress import printable_lines

        if event.kind == "start":
            self.progress.update(self.name, f"Building {printable_lines(event.name.encode())[0]}")
        elif event.kind == "warning":
            self.progress.output(self.name, f"WARNING: {event.name}")
        elif event.kind == "output":
            for line in printable_lines(event.data):
                self.progress.output(self.name, line)
