"""`run --explain`: the plan of a container that is never made. Nothing is created, started or changed."""

from __future__ import annotations

from inception.engine.cgroups import cgroup_path
from inception.engine.config import ContainerState, network_mode, wanted_networks
from inception.engine.create import complete, plan_mount_points, resolve
from inception.engine.files import places, planned_marks
from inception.engine.names import new_id, random_name
from inception.engine.records import ContainerRecord
from inception.engine.seccomp import filter_of
from inception.engine.spec import Surroundings, build_spec, held_capabilities, plan_mount
from inception.engine.surroundings import hostname, plan_devices, resolve_user_of
from inception.engine.times import now
from inception.linux.cgroup import JoinPlan
from inception.oci.runtime import Mount
from inception.runtime import plan_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.engine import Engine
    from inception.runtime import Plan
    from inception.store.images import Image


def explain_plan(engine: Engine, config: ContainerConfig, *, pull: str) -> Plan:
    """What `start` would run, with the paths that it would have."""
    image = resolve(engine, config, pull=pull)
    record = _imagine(complete(engine, config, image, dry=True), image)
    spec = build_spec(record.config, _surroundings(engine, record, image), engine.cgroups)
    assert spec.process is not None and spec.process.capabilities is not None
    return plan_container(
        spec,
        rootfs=_rootfs(engine, record, image),
        join=JoinPlan(cgroup2_path=_cgroup2_path(engine, record)),
        die_with_parent=True,
        init=record.config.init,
        seccomp=filter_of(engine, record.config, spec.process.capabilities.bounding),
    )


def _imagine(config: ContainerConfig, image: Image) -> ContainerRecord:
    return ContainerRecord(
        id=new_id(),
        name=config.name or random_name(),
        kind="container",
        image_id=image.id,
        created_at=now(),
        config=config,
        mounts=plan_mount_points(config),
        status="created",
        state=ContainerState(),
        wanted=False,
        owner_pid=0,
        owner_start=0,
    )


def _surroundings(engine: Engine, record: ContainerRecord, image: Image) -> Surroundings:
    config = record.config
    modes = {
        "network": network_mode(config),
        "pid": config.pid_mode,
        "ipc": config.ipc_mode,
        "uts": config.uts_mode,
        "cgroup": config.cgroupns_mode,
    }
    joined = {kind: f"fd:joined-{kind}" for kind, mode in modes.items() if mode.startswith("container:")}
    if wanted_networks(config):  # otherwise the clone makes one with nothing but a loopback
        joined["network"] = "fd:netns"
    with engine.store.lease(), engine.store.snapshots.open_layers(image.layer_ids) as root:
        user = resolve_user_of(root, config.user, config.group_add)
    volumes = f"{engine.root}/volumes"
    found = Surroundings(
        hostname=hostname(engine, record),
        user=user.user,
        home=user.home,
        mounts=[
            plan_mount(point, f"{volumes}/{point.source}/_data" if point.type == "volume" else point.source)
            for point in record.mounts
        ],
        files=places(engine, record.id),
        joined=joined,
        shared=[kind for kind, mode in modes.items() if mode == "host"],
        held=held_capabilities(),
        devices=plan_devices(config),
        cgroup_path=cgroup_path(config.cgroup_parent, record.id),
    )
    if config.resources.cdi_devices:
        from inception.engine.cdi import inject

        inject(config.resources.cdi_devices, found)
    return found


def _rootfs(engine: Engine, record: ContainerRecord, image: Image) -> Mount:
    return engine.store.snapshots.planned_mount(record.id, image.layer_ids, planned_marks(engine))


def _cgroup2_path(engine: Engine, record: ContainerRecord) -> str | None:
    mount_point = engine.cgroups.v2
    return None if mount_point is None else mount_point + cgroup_path(record.config.cgroup_parent, record.id)
