"""`build:` of a service, handed to the builder."""

from __future__ import annotations

import os

from inception.compose import labels
from inception.compose.container import image_name
from inception.engine.engine import Engine
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.config import BuildConfig
    from inception.build.progress import Event
    from inception.compose.model import Project, Service
    from inception.compose.progress import Progress


def build_config(
    project: Project, service: Service, *, arguments: dict[str, str] | None = None, no_cache: bool = False, pull: bool = False
) -> BuildConfig:
    """What the builder is told. Raises InvalidArgument for a context that is no folder here."""
    from inception.build.config import BuildConfig
    from inception.engine.config import ResourceConfig

    build = service.build
    if build is None:
        raise InvalidArgument(f"service {service.name} has no build section")
    if "://" in build.context or build.context.startswith("git@"):
        raise InvalidArgument(f"services.{service.name}.build.context: {build.context}: remote contexts are not supported")
    if not os.path.isdir(build.context):
        raise InvalidArgument(f"unable to prepare context: path {build.context!r} not found")
    return BuildConfig(
        context=build.context,
        # Relative to the context, whatever the working directory is.
        dockerfile=os.path.join(build.context, build.dockerfile) if build.dockerfile else "",
        dockerfile_inline=build.dockerfile_inline,
        tags=list(dict.fromkeys([image_name(project, service), *build.tags])),
        target=build.target,
        build_args={**build.args, **(arguments or {})},
        labels={**build.labels, labels.PROJECT: project.name, labels.SERVICE: service.name},
        no_cache=no_cache or build.no_cache,
        pull=pull or build.pull,
        network=build.network or "default",
        extra_hosts=build.extra_hosts,
        platform=service.platform,
        resources=ResourceConfig(shm_size_bytes=build.shm_size) if build.shm_size else ResourceConfig(),
    )


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
