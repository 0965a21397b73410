"""Making a container: a row that says so, a snapshot, its volumes. In this order, so that what a kill leaves can be found.

check, image, merge         nothing is changed yet (but for an image that had to be fetched)
transaction                 the row `creating` with its name, the snapshot, the volumes it uses
fresh volumes               get what the image has at their place
row `created`               or, after an error, everything is taken back
"""

from __future__ import annotations

import os

from inception.engine import records
from inception.engine.config import ContainerConfig, ContainerState, MountConfig, VolumeConfig, wanted_networks
from inception.engine.lifecycle import check_name_free
from inception.engine.merge import clean, merge
from inception.engine.names import check_name, new_id, random_name
from inception.engine.owner import me
from inception.engine.records import ContainerRecord, MountPoint, event_attributes
from inception.engine.times import now
from inception.engine.validate import check_config
from inception.engine.volumes import ensure_volume
from inception.errors import Conflict, InvalidArgument, Unavailable
from inception.record import replace
from inception.store import reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.engine.engine import Engine
    from inception.engine.private_files import PrivateFile
    from inception.store.database import Transaction
    from inception.store.images import Image
    from inception.store.progress import Progress


def create(
    engine: Engine,
    config: ContainerConfig,
    *,
    pull: str = "missing",
    progress: Callable[[Progress], None] | None = None,
    files: list[PrivateFile] | None = None,
) -> ContainerRecord:
    """A container that is ready to start."""
    image = resolve(engine, config, pull=pull, progress=progress)
    record = insert(engine, complete(engine, config, image), image.id)
    try:
        if files:
            from inception.engine.private_files import keep

            keep(engine, record.id, files)
        fill_volumes(engine, record)
    except BaseException:
        take_back(engine, record)
        raise
    # Who is told an id finds it after a power cut, as with dockerd, which syncs the files of each new container; the snapshot's
    # folders are older than the row and reach the disk with it. Half a millisecond on a disk that needs no seek.
    with engine.database.transaction(durable=not records.is_fleeting(record)) as tx:
        tx.execute("UPDATE containers SET status = 'created', owner_pid = 0, owner_start = 0 WHERE id = ?", (record.id,))
    engine.events.emit("container", "create", record.id, event_attributes(record))
    return replace(record, status="created", owner_pid=0, owner_start=0)


def resolve(
    engine: Engine, config: ContainerConfig, *, pull: str = "missing", progress: Callable[[Progress], None] | None = None
) -> Image:
    """The image of a configuration that makes sense by itself."""
    check_config(config)
    if not config.image:
        raise InvalidArgument("no image specified")
    return engine.images.ensure(config.image, pull=pull, progress=progress)


def complete(engine: Engine, config: ContainerConfig, image: Image, *, dry: bool = False) -> ContainerConfig:
    """*config* with what the image and other containers say about it; checked against what is there.

    Host folders that `-v` asks for are made, unless *dry*.
    """
    merged = merge(config, image.document.config)
    check_config(replace(merged, exposed_ports=config.exposed_ports))
    merged = replace(merged, mounts=merged.mounts + _from_containers(engine, merged))
    for mount in merged.mounts:
        if mount.type == "image":
            engine.images.get(mount.source)
        _check_source(mount, dry)
    for mode in (merged.network_mode, merged.pid_mode, merged.ipc_mode):
        if mode.startswith("container:"):
            records.find(engine, mode.removeprefix("container:"))
    if merged.links:
        from inception.engine.links import check_links

        check_links(engine, merged)
    return merged


def insert(engine: Engine, config: ContainerConfig, image_id: str, kind: str = "container") -> ContainerRecord:
    """The row, the snapshot and the volumes of a new container, in one transaction; its owner is this process."""
    name = check_name(config.name) if config.name else ""
    pid, start = me()
    reserve.check(engine.database.reserve)
    with engine.database.transaction() as tx:
        _check_networks(engine, config)
        record = ContainerRecord(
            id=new_id(),
            name=name or _free_name(tx),
            kind=kind,
            image_id=image_id,
            created_at=now(),
            config=config,
            mounts=plan_mount_points(config),
            status="creating",
            state=ContainerState(),
            wanted=False,
            owner_pid=pid,
            owner_start=start,
        )
        check_name_free(engine, record.name)
        _claim_volumes(engine, tx, record)
        records.insert(tx, record)
        if kind != "step":
            engine.store.snapshots.prepare(record.id, image_id=image_id, fill=False)
            engine.store.images.touch(image_id)
            if any(point.snapshot for point in record.mounts):
                from inception.engine.imagemounts import prepare

                prepare(engine, record)
    if kind != "step":
        try:
            for snapshot in [record.id, *(point.snapshot for point in record.mounts if point.snapshot)]:
                engine.store.snapshots.fill(snapshot)
        except BaseException:
            take_back(engine, record)
            raise
    return record


def take_back(engine: Engine, record: ContainerRecord) -> None:
    """Undo `insert`."""
    from inception.engine.live import ContainerLock
    from inception.engine.remove import remove_locked

    with ContainerLock(engine, record.id):
        remove_locked(engine, record, volumes=True)


def fill_volumes(engine: Engine, record: ContainerRecord) -> None:
    """Copy what the image has at their places into volumes that were never filled."""
    fresh = [mount for mount in record.mounts if mount.type == "volume" and not mount.no_copy]
    fresh = [mount for mount in fresh if not engine.volumes.get(mount.source).filled]
    if fresh:
        from inception.engine.copyup import copy_up

        copy_up(engine, record, fresh)


def _free_name(tx: Transaction) -> str:
    for attempt in range(100):
        name = random_name(attempt)
        if tx.row("SELECT 1 FROM containers WHERE name = ?", (name,)) is None:
            return name
    raise Conflict("no free name was found", "give one with --name")


def _check_networks(engine: Engine, config: ContainerConfig) -> None:
    wanted = wanted_networks(config)
    if wanted:
        found = [engine.networks.get(name) for name in wanted]
        if len({network.id for network in found}) < len(found):
            raise InvalidArgument("a network is given twice")


def _check_source(mount: MountConfig, dry: bool) -> None:
    if mount.type != "bind" or os.path.lexists(mount.source):
        return
    if not mount.create_host_path:
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')
    if dry:
        return
    try:
        os.makedirs(mount.source, mode=0o755, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"create bind source {mount.source}: {error.strerror}") from error


def _from_containers(engine: Engine, config: ContainerConfig) -> list[MountConfig]:
    """The mounts of `--volumes-from NAME[:ro]`, where nothing of the container's own is in their place."""
    taken = {clean(mount.target) for mount in config.mounts if mount.type != "volume" or mount.source}
    found: dict[str, MountConfig] = {}
    for entry in config.volumes_from:
        reference, _, mode = entry.partition(":")
        if mode not in ("", "ro", "rw"):
            raise InvalidArgument(f"invalid mode: {mode}")
        for mount in records.find(engine, reference).mounts:
            if mount.type in ("bind", "volume") and mount.destination not in taken:
                found[mount.destination] = MountConfig(
                    type=mount.type,
                    target=mount.destination,
                    source=mount.source,
                    read_only=mount.read_only or mode == "ro",
                    propagation=mount.propagation,
                    subpath=mount.subpath,
                    no_copy=True,
                )
    return list(found.values())


def plan_mount_points(config: ContainerConfig) -> list[MountPoint]:
    """All mounts decided, anonymous volumes with fresh names."""
    points: dict[str, MountPoint] = {}
    for target, mount in _by_place(config).items():
        anonymous = mount.anonymous
        points[target] = MountPoint(
            type=mount.type,
            destination=target,
            source=new_id() if anonymous else mount.source,
            read_only=mount.read_only or mount.type == "image",
            propagation=mount.propagation,
            recursive_read_only=mount.recursive_read_only,
            subpath=mount.subpath,
            no_copy=mount.no_copy or bool(mount.subpath),
            anonymous=anonymous,
            tmpfs_options=_tmpfs_options(mount),
            non_recursive=mount.non_recursive,
            snapshot=new_id() if mount.type == "image" else "",
        )
    return list(points.values())


def _by_place(config: ContainerConfig) -> dict[str, MountConfig]:
    """What is mounted where: another container's mount covers an image's volume, everything covers an anonymous volume."""
    found: dict[str, MountConfig] = {}
    for mount in config.mounts:
        target = clean(mount.target)
        if target not in found or found[target].anonymous or not mount.anonymous:
            found[target] = mount
    return found


def _claim_volumes(engine: Engine, tx: Transaction, record: ContainerRecord) -> None:
    """Make the volumes of *record* that are missing, and note that it has them."""
    asked = _by_place(record.config)
    for point in record.mounts:
        if point.type == "volume":
            mount = asked[point.destination]
            config = VolumeConfig(
                name=point.source,
                driver=mount.driver or "local",
                driver_options=mount.driver_options,
                labels=mount.labels,
            )
            ensure_volume(engine, config, anonymous=point.anonymous)
            tx.execute("INSERT OR IGNORE INTO volume_uses (volume, container_id) VALUES (?, ?)", (point.source, record.id))


def _tmpfs_options(mount: MountConfig) -> list[str]:
    """Docker's defaults, then what was asked for."""
    if mount.type != "tmpfs":
        return []
    size = [f"size={mount.tmpfs_size_bytes}"] if mount.tmpfs_size_bytes else []
    given = {option.partition("=")[0] for option in mount.tmpfs_options}
    opposites = {"noexec": "exec", "nosuid": "suid", "nodev": "dev"}
    defaults = [option for option, opposite in opposites.items() if option not in given and opposite not in given]
    mode = [] if "mode" in given else [f"mode={mount.tmpfs_mode:o}"]
    return [*defaults, *mode, *size, *mount.tmpfs_options]
