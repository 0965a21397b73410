"""Where the containers' cgroups lie, and what of a configuration they limit."""

from __future__ import annotations

import os

from inception.errors import NotFound
from inception.oci.runtime import BlockIo, Cpu, DeviceRule, Memory, Pids, Resources, ThrottleDevice, WeightDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import DeviceLimit, ResourceConfig
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.linux.cgroup import Cgroup, Cgroups

PARENT = "/inception"
_NANO_CPU_PERIOD_US = 100_000


def cgroup_of(engine: Engine, record: ContainerRecord) -> Cgroup:
    """The container's cgroup, existing or not."""
    return engine.cgroups.at(cgroup_path(record.config.cgroup_parent, record.id))


def cgroup_path(parent: str, container_id: str) -> str:
    return f"{'/' + parent.strip('/') if parent else PARENT}/{container_id}"


def plan_resources(config: ResourceConfig, devices: list[DeviceRule], cgroups: Cgroups) -> Resources:
    """The OCI resources of *config*. Where nothing is limited, nothing is said."""
    return Resources(
        devices=devices, memory=_memory(config, cgroups), cpu=_cpu(config), pids=_pids(config), block_io=_block_io(config)
    )


def _memory(config: ResourceConfig, cgroups: Cgroups) -> Memory | None:
    memory = Memory(
        limit=config.memory_bytes or None,
        reservation=config.memory_reservation_bytes or None,
        swap=_swap(config, cgroups),
        swappiness=config.memory_swappiness if config.memory_swappiness != -1 else None,
        disable_oom_killer=config.oom_kill_disable or None,
    )
    return memory if memory != Memory() else None


def _swap(config: ResourceConfig, cgroups: Cgroups) -> int | None:
    """Memory plus swap; Docker's default is as much swap as memory. None where the kernel does not count swap."""
    if not config.memory_bytes:
        return None
    mount_point = cgroups.v1.get("memory")
    if mount_point is not None and not os.path.exists(f"{mount_point}/memory.memsw.limit_in_bytes"):
        return None
    return config.memory_swap_bytes or 2 * config.memory_bytes


def _cpu(config: ResourceConfig) -> Cpu | None:
    cpu = Cpu(
        shares=config.cpu_shares or None,
        quota=config.cpu_quota_us or None,
        period=config.cpu_period_us or None,
        cpus=config.cpuset_cpus,
        mems=config.cpuset_mems,
    )
    if config.nano_cpus:
        cpu.period = _NANO_CPU_PERIOD_US
        cpu.quota = config.nano_cpus * _NANO_CPU_PERIOD_US // 10**9
    return cpu if cpu != Cpu() else None


def _pids(config: ResourceConfig) -> Pids | None:
    return Pids(limit=config.pids_limit) if config.pids_limit > 0 else None


def _block_io(config: ResourceConfig) -> BlockIo | None:
    block_io = BlockIo(
        weight=config.blkio_weight or None,
        weight_device=[
            WeightDevice(major=major, minor=minor, weight=value) for major, minor, value in _devices(config.blkio_weight_device)
        ],
        throttle_read_bps_device=_throttles(config.device_read_bps),
        throttle_write_bps_device=_throttles(config.device_write_bps),
        throttle_read_iops_device=_throttles(config.device_read_iops),
        throttle_write_iops_device=_throttles(config.device_write_iops),
    )
    return block_io if block_io != BlockIo() else None


def _throttles(limits: list[DeviceLimit]) -> list[ThrottleDevice]:
    return [ThrottleDevice(major=major, minor=minor, rate=rate) for major, minor, rate in _devices(limits)]


def _devices(limits: list[DeviceLimit]) -> list[tuple[int, int, int]]:
    """Major and minor number of each device, and its value. Raises NotFound."""
    found = []
    for limit in limits:
        try:
            number = os.stat(limit.path).st_rdev
        except OSError as error:
            raise NotFound(f"limit block device {limit.path}: {error.strerror}") from error
        found.append((os.major(number), os.minor(number), limit.value))
    return found
