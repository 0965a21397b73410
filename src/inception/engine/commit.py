"""What a container changed, and images and archives made of it: `diff`, `export`, `commit`."""

from __future__ import annotations

from contextlib import suppress

from inception.engine import records
from inception.engine.changes import apply_changes
from inception.engine.lifecycle import pause, unpause
from inception.engine.records import event_attributes
from inception.engine.times import now
from inception.errors import Conflict
from inception.oci.image import History, ImageConfig
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.engine.config import CommitConfig, ContainerConfig
    from inception.engine.engine import Engine
    from inception.store.snapshots import Change

_OUR_MOUNT_POINTS = ("/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/.dockerenv")


def diff(engine: Engine, container_id: str) -> list[Change]:
    """What differs from its image, by path."""
    records.load(engine, container_id)
    found = engine.store.snapshots.changes(container_id)
    kept = [change for change in found if change.kind != "A" or change.path not in _OUR_MOUNT_POINTS]
    # The empty files that we mount on count as no change, nor does their folder for them alone.
    if len(kept) < len(found) and not any(change.path.startswith("/etc/") for change in kept):
        kept = [change for change in kept if change.path != "/etc"]
    return kept


def export(engine: Engine, container_id: str) -> Iterator[bytes]:
    """Its filesystem as a tar; mounts are not in it."""
    record = records.load(engine, container_id)
    engine.events.emit("container", "export", container_id, event_attributes(record))
    return _export(engine, container_id)


def _export(engine: Engine, container_id: str) -> Iterator[bytes]:
    import os

    from inception.store.pack import pack

    with engine.store.snapshots.view(container_id) as root:
        fd = root.open("/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield from pack(fd, root_entry=False)
        finally:
            os.close(fd)


def commit(engine: Engine, container_id: str, config: CommitConfig) -> str:
    """A new image; its id. A running container is paused meanwhile, unless told otherwise."""
    record = records.load(engine, container_id)
    image_config = apply_changes(image_config_of(record.config), config.changes)
    frozen = config.pause and record.state.status == "running"
    if frozen:
        with suppress(Conflict):  # it has ended meanwhile
            pause(engine, container_id)
    try:
        with engine.store.lease():
            number = engine.store.snapshots.commit(container_id)
            base = engine.images.get(record.image_id)
            layer = engine.store.layers.get(number)
            created = now()
            step = History(
                created=created,
                created_by=" ".join([*(record.config.entrypoint or []), *(record.config.command or [])]),
                author=config.author,
                comment=config.message,
            )
            document = replace(
                base.document,
                created=created,
                author=config.author or base.document.author,
                config=image_config,
                rootfs=replace(base.document.rootfs, diff_ids=[*base.document.rootfs.diff_ids, layer.diff_id]),
                history=[*base.document.history, step],
            )
            names = [config.reference] if config.reference else []
            image = engine.store.images.create(document, [*base.layer_ids, number], names=names, parent=base.id)
    finally:
        if frozen:
            with suppress(Conflict):
                unpause(engine, container_id)
    attributes = {**event_attributes(record), "comment": config.message, "imageID": image.id, "imageRef": config.reference}
    engine.events.emit("container", "commit", container_id, attributes)
    return image.id


def image_config_of(config: ContainerConfig) -> ImageConfig:
    """What of a container's configuration an image can keep."""
    return ImageConfig(
        user=config.user,
        exposed_ports={port: {} for port in config.exposed_ports},
        env=config.env,
        entrypoint=config.entrypoint or None,
        cmd=config.command or None,
        volumes={mount.target: {} for mount in config.mounts if mount.type == "volume" and not mount.source},
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal,
        stop_timeout=config.stop_timeout_s,
        healthcheck=config.healthcheck,
    )
