"""`update`: other limits and another restart policy, at once when the container runs."""

from __future__ import annotations

from inception.engine import records
from inception.engine.cgroups import cgroup_of, plan_resources
from inception.engine.live import ContainerLock
from inception.engine.records import event_attributes
from inception.engine.validate import check_resources, check_restart
from inception.errors import Conflict, InvalidArgument, Unavailable
from inception.record import replace
from inception.runtime import resources as runtime_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ResourceConfig, UpdateConfig
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.linux.cgroup import Write


def update(engine: Engine, container_id: str, changes: UpdateConfig) -> None:
    """Raises InvalidArgument for limits that make no sense, Conflict for what others forbid; then nothing has changed."""
    with ContainerLock(engine, container_id):
        record = records.load(engine, container_id)
        given = {name: value for name, value in changes.__dict__.items() if value is not None and name != "restart"}
        limits = replace(record.config.resources, **given)
        if "memory_swap_bytes" not in given and 0 < limits.memory_swap_bytes < limits.memory_bytes:
            raise Conflict(
                f"Cannot update container {record.name}: Memory limit should be smaller than already set memoryswap limit, "
                "update the memoryswap at the same time"
            )
        check_resources(limits)
        restart = changes.restart or record.config.restart
        check_restart(restart)
        if changes.restart is not None and record.config.auto_remove and restart.name not in ("", "no"):
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
        if given and record.state.status in ("running", "paused"):
            _apply(engine, record, limits)
        if changes.restart is not None and record.state.status in ("running", "paused", "restarting"):
            from inception.monitor import client

            client.set_restart(engine.run_dir(container_id), restart.name or "no", restart.maximum_retries)
        config = replace(record.config, resources=limits, restart=restart)
        records.save_config(engine, container_id, config)
    engine.events.emit("container", "update", container_id, event_attributes(record))


def _apply(engine: Engine, record: ContainerRecord, limits: ResourceConfig) -> None:
    layout = engine.cgroups
    before = runtime_resources.plan_resources(plan_resources(record.config.resources, [], layout), layout)
    writes = runtime_resources.plan_resources(plan_resources(limits, [], layout), layout)
    cgroup = cgroup_of(engine, record)
    fresh = [c for c in runtime_resources.limited_controllers(writes) if c not in runtime_resources.limited_controllers(before)]
    try:
        cgroup.join(record.state.pid, fresh)
        cgroup.apply(_in_order(writes, before))
    except OSError as error:
        if error.errno == 16:
            raise InvalidArgument(f"update {record.name}: it uses more memory than that now") from error
        raise Unavailable(f"update {record.name}: {error}") from error


def _in_order(writes: list[Write], before: list[Write]) -> list[Write]:
    """v1 keeps memory <= memory+swap at every step: raising starts with the latter, lowering with the former."""
    swap = next((write for write in writes if write.file == "memory.memsw.limit_in_bytes"), None)
    old = next((write for write in before if write.file == "memory.memsw.limit_in_bytes"), None)
    if swap is None or old is None or int(swap.value) <= int(old.value):
        return writes
    return [swap, *(write for write in writes if write is not swap)]
