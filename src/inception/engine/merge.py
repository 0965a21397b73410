"""A container's configuration completed with its image's. Pure: values in, a value out.

The rules are Docker's (`docker run` reference, "Overriding image defaults"): an entrypoint that is given drops the image's
command; environments are merged by name; an image's volumes become anonymous volumes unless something is mounted there.
"""

from __future__ import annotations

import posixpath

from inception.engine.config import ContainerConfig, MountConfig
from inception.errors import InvalidArgument
from inception.oci.health import Healthcheck
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.image import ImageConfig

#: Labels that only the engine may set: an image's own are dropped, since tools act on them (CVE-2026-53488).
RESERVED_LABELS = "inception."
#: Bounds for what an image may ask for; a hostile one shall not fill the engine's tables.
MAX_IMAGE_VOLUMES = 64
MAX_IMAGE_ENV = 4096


def merge(config: ContainerConfig, image: ImageConfig) -> ContainerConfig:
    """*config* with what it leaves open taken from *image*. Raises InvalidArgument when there is no command at all."""
    entrypoint, command = _process(config, image)
    if not entrypoint and not command:
        raise InvalidArgument("no command specified")
    labels = {key: value for key, value in image.labels.items() if not key.startswith(RESERVED_LABELS)}
    return replace(
        config,
        entrypoint=entrypoint,
        command=command,
        # A name without a value is kept: it takes PATH or HOSTNAME away too, which are added at the start.
        env=[*merge_env(image.env[:MAX_IMAGE_ENV], config.env), *(item for item in config.env if "=" not in item)],
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        labels={**labels, **config.labels},
        exposed_ports=_exposed(config, image),
        mounts=config.mounts + _image_volumes(config, image),
        healthcheck=_healthcheck(config.healthcheck, image.healthcheck),
        stop_signal=config.stop_signal or image.stop_signal,
        stop_timeout_s=config.stop_timeout_s if config.stop_timeout_s is not None else image.stop_timeout,
    )


def merge_env(base: list[str], changes: list[str]) -> list[str]:
    """*base* with *changes* by name; a change without `=` removes the name."""
    values = {item.partition("=")[0]: item for item in base if "=" in item}
    for item in changes:
        name, equals, _ = item.partition("=")
        if equals:
            values[name] = item
        else:
            values.pop(name, None)
    return list(values.values())


def arguments(config: ContainerConfig) -> list[str]:
    """The process's argv."""
    return [*(config.entrypoint or []), *(config.command or [])]


def _process(config: ContainerConfig, image: ImageConfig) -> tuple[list[str], list[str]]:
    entrypoint = config.entrypoint
    command = config.command or []
    if entrypoint == [""]:  # `--entrypoint ""`: nothing of the image's, also not its command
        return [], command
    if not entrypoint:
        command = command or image.cmd or []
        entrypoint = (image.entrypoint or []) if entrypoint is None else []
    return entrypoint, command


def _exposed(config: ContainerConfig, image: ImageConfig) -> list[str]:
    """All exposed ports as `80/tcp`; a published port is exposed."""
    asked = [*image.exposed_ports, *config.exposed_ports]
    named = [port if "/" in port else f"{port}/tcp" for port in asked]
    return list(dict.fromkeys([*named, *(f"{port.container_port}/{port.protocol}" for port in config.ports)]))


def _image_volumes(config: ContainerConfig, image: ImageConfig) -> list[MountConfig]:
    taken = {clean(mount.target) for mount in config.mounts}
    found: list[MountConfig] = []
    for path in list(image.volumes)[:MAX_IMAGE_VOLUMES]:
        target = clean(path)
        # The kernel's and the engine's own places are not an image's to cover: VOLUME /proc (CVE-2019-16884).
        if not target.startswith("/") or target == "/" or target.split("/")[1] in ("proc", "sys", "dev") or "\0" in target:
            raise InvalidArgument(f"image {config.image}: invalid volume path {path!r}")
        if target not in taken:
            found.append(MountConfig(type="volume", target=target, short=True))
            taken.add(target)
    return found


def _healthcheck(own: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    if own is None or image is None:
        return own or image
    if own.test == ["NONE"]:
        return own
    filled = {name: value for name, value in own.__dict__.items() if value}
    return Healthcheck(**{**image.__dict__, **filled})


def clean(path: str) -> str:
    """*path* without `.`, `..`, doubled and trailing slashes; for comparing mount targets, not for opening anything."""
    return posixpath.normpath("/" + path.lstrip("/")) if path.startswith("/") else path
