"""`linux.resources` of a spec as writes to control files: pure, so that both hierarchies' values can be read in a test.

A v1 name and value where the controller lives in a v1 hierarchy, else the v2 ones, translated as the field does it.
Source: runtime-spec config-linux.md, "Control groups"; kernel admin-guide/cgroup-v2.rst; for the conversions runc's
libcontainer/cgroups (facts: formulae and ranges).
"""

from __future__ import annotations

from inception.errors import InvalidArgument
from inception.linux.cgroup import Cgroups, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.linux.bpf import DeviceRule
    from inception.oci.runtime import BlockIo, Cpu, Memory, Resources


def plan_resources(resources: Resources, cgroups: Cgroups) -> list[Write]:
    """The writes that put *resources* in force, in their order. Device rules are apart: `device_rules`.

    Raises InvalidArgument naming the JSON path when a limit is asked for whose controller this machine lacks.
    """
    writes = list(_writes(resources, cgroups.v1))
    available = cgroups.controllers()
    for write in writes:
        if write.controller not in available:
            raise InvalidArgument(
                f"linux.resources: {write.file}: cgroup controller {write.controller!r} is not available on this machine"
            )
    return writes


def limited_controllers(writes: list[Write]) -> list[str]:
    """The controllers that a process must have joined before it runs."""
    return list(dict.fromkeys(write.controller for write in writes))


def device_rules(resources: Resources) -> list[DeviceRule]:
    """`linux.resources.devices` for the cgroup. Raises InvalidArgument naming the JSON path."""
    from inception.linux.bpf import DeviceRule  # an exec has no rules of its own

    rules = []
    for index, rule in enumerate(resources.devices):
        where = f"linux.resources.devices[{index}]"
        kind = rule.type or "a"
        if kind not in ("a", "b", "c"):
            raise InvalidArgument(f"{where}.type: unknown device type {rule.type!r}")
        access = (rule.access or "rwm").replace("a", "rwm")  # files in use mean all of them by it
        if set(access) - set("rwm"):
            raise InvalidArgument(f"{where}.access: {rule.access!r} is not made of 'r', 'w' and 'm'")
        # -1 is the old spelling of "all".
        major = None if rule.major in (None, -1) else rule.major
        minor = None if rule.minor in (None, -1) else rule.minor
        if kind == "a":  # the specification: type `a` means all devices, whatever the numbers say
            major = minor = None
        rules.append(DeviceRule(allow=rule.allow, type=kind, major=major, minor=minor, access=access))
    return rules


def cpu_weight(shares: int) -> int:
    """cgroup v2 `cpu.weight` (1 to 10000) for v1 `cpu.shares` (2 to 262144), such that 1024 shares weigh 100.

    The quadratic in log2 that runc 1.3.2, crun 1.23 and Kubernetes use; the older linear one made 1024 shares weigh 39.

    >>> [cpu_weight(shares) for shares in (2, 1024, 262144)]
    [1, 100, 10000]
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math  # only for those who give shares

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def swap_max(limit: int, memory_and_swap: int) -> str:
    """cgroup v2 `memory.swap.max`: OCI `memory.swap` counts memory plus swap (the v1 meaning), v2 counts swap alone.

    >>> swap_max(256 << 20, 512 << 20) == str(256 << 20)
    True
    """
    if memory_and_swap < 0:
        return "max"
    if limit <= 0:
        raise InvalidArgument("linux.resources.memory.swap: needs memory.limit, since it counts memory plus swap")
    if memory_and_swap < limit:
        raise InvalidArgument("linux.resources.memory.swap: must not be below memory.limit")
    return str(memory_and_swap - limit)


def io_weight(weight: int) -> int:
    """cgroup v2 `io.weight` (1 to 10000) for v1 `blkio.weight` (10 to 1000).

    >>> [io_weight(weight) for weight in (10, 500, 1000)]
    [1, 4950, 10000]
    """
    return 1 + (weight - 10) * 9999 // 990


def _writes(resources: Resources, v1: dict[str, str]) -> Iterator[Write]:
    if resources.memory is not None:
        yield from (_memory1 if "memory" in v1 else _memory2)(resources.memory)
    if resources.cpu is not None:
        yield from (_cpu1 if "cpu" in v1 else _cpu2)(resources.cpu)
        for file, value in (("cpuset.cpus", resources.cpu.cpus), ("cpuset.mems", resources.cpu.mems)):
            if value:
                yield Write(controller="cpuset", file=file, value=value)
    if resources.pids is not None and resources.pids.limit is not None:
        limit = resources.pids.limit
        # 0 was once "unset" for engines; no process could exist under it.
        yield Write(controller="pids", file="pids.max", value=str(limit) if limit > 0 else "max")
    if resources.block_io is not None:
        yield from (_block_io1 if "blkio" in v1 else _block_io2)(resources.block_io)
    for page in resources.hugepage_limits:
        file = f"hugetlb.{page.page_size}.{'limit_in_bytes' if 'hugetlb' in v1 else 'max'}"
        yield Write(controller="hugetlb", file=file, value=str(page.limit))
    if resources.network is not None:
        if resources.network.class_id is not None:
            yield Write(controller="net_cls", file="net_cls.classid", value=str(resources.network.class_id))
        for priority in resources.network.priorities:
            yield Write(controller="net_prio", file="net_prio.ifpriomap", value=f"{priority.name} {priority.priority}")
    for device, rdma in resources.rdma.items():
        handles = "max" if rdma.hca_handles is None else rdma.hca_handles
        objects = "max" if rdma.hca_objects is None else rdma.hca_objects
        yield Write(controller="rdma", file="rdma.max", value=f"{device} hca_handle={handles} hca_object={objects}")
    for file, value in resources.unified.items():
        if "/" in file or "." not in file:
            raise InvalidArgument(f"linux.resources.unified.{file}: not the name of a control file")
        controller = file.partition(".")[0]
        if controller in v1:
            why = f"invalid configuration: {controller!r} is in a cgroup v1 hierarchy on this machine"
            raise InvalidArgument(f"linux.resources.unified.{file}: {why}")
        yield Write(controller=controller, file=file, value=value)


def _memory1(memory: Memory) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="memory", file=f"memory.{file}", value=str(value))

    # The kernel keeps limit <= memsw at every step: lifting goes from the outer to the inner, setting the other way.
    if memory.swap is not None and memory.swap < 0:
        yield write("memsw.limit_in_bytes", -1)
    if memory.limit is not None:
        yield write("limit_in_bytes", memory.limit if memory.limit >= 0 else -1)
    if memory.swap is not None and memory.swap >= 0:
        yield write("memsw.limit_in_bytes", memory.swap)
    if memory.reservation is not None:
        yield write("soft_limit_in_bytes", memory.reservation)
    if memory.kernel_tcp is not None:
        yield write("kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.swappiness is not None:
        if memory.swappiness > 100:
            raise InvalidArgument(f"linux.resources.memory.swappiness: {memory.swappiness} is not between 0 and 100")
        yield write("swappiness", memory.swappiness)
    if memory.disable_oom_killer:
        yield write("oom_control", 1)


def _memory2(memory: Memory) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="memory", file=f"memory.{file}", value=str(value))

    if memory.swap is not None:
        yield write("swap.max", swap_max(memory.limit or 0, memory.swap))
    if memory.limit is not None:
        yield write("max", memory.limit if memory.limit >= 0 else "max")
    if memory.reservation is not None:
        yield write("low", memory.reservation if memory.reservation >= 0 else "max")
    if memory.disable_oom_killer:
        raise InvalidArgument("linux.resources.memory.disableOOMKiller: cgroup v2 has no such switch")


def _cpu1(cpu: Cpu) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="cpu", file=f"cpu.{file}", value=str(value))

    if cpu.shares:
        yield write("shares", cpu.shares)
    if cpu.period:
        yield write("cfs_period_us", cpu.period)
    if cpu.burst is not None and not cpu.quota:
        yield write("cfs_burst_us", cpu.burst)
    if cpu.quota:
        yield write("cfs_quota_us", cpu.quota)
        if cpu.burst is not None:  # never above the quota, so after it
            yield write("cfs_burst_us", cpu.burst)
    if cpu.realtime_period:
        yield write("rt_period_us", cpu.realtime_period)
    if cpu.realtime_runtime:
        yield write("rt_runtime_us", cpu.realtime_runtime)
    if cpu.idle is not None:
        yield write("idle", cpu.idle)


def _cpu2(cpu: Cpu) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="cpu", file=f"cpu.{file}", value=str(value))

    if cpu.realtime_period or cpu.realtime_runtime:
        raise InvalidArgument("linux.resources.cpu.realtimeRuntime: cgroup v2 has no real-time limits")
    if cpu.idle is not None:
        yield write("idle", cpu.idle)
    if cpu.shares and not cpu.idle:  # an idle cgroup has no weight to set
        yield write("weight", cpu_weight(cpu.shares))
    if cpu.quota or cpu.period:
        quota = cpu.quota if cpu.quota and cpu.quota > 0 else "max"
        yield write("max", f"{quota} {cpu.period or 100000}")
    if cpu.burst is not None:
        yield write("max.burst", cpu.burst)


_THROTTLES = (
    ("throttle_read_bps_device", "read_bps_device", "rbps"),
    ("throttle_write_bps_device", "write_bps_device", "wbps"),
    ("throttle_read_iops_device", "read_iops_device", "riops"),
    ("throttle_write_iops_device", "write_iops_device", "wiops"),
)


def _block_io1(block_io: BlockIo) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="blkio", file=f"blkio.{file}", value=str(value))

    if block_io.weight:
        yield write("weight", block_io.weight)
    if block_io.leaf_weight:
        yield write("leaf_weight", block_io.leaf_weight)
    for device in block_io.weight_device:
        if device.weight is not None:
            yield write("weight_device", f"{device.major}:{device.minor} {device.weight}")
        if device.leaf_weight is not None:
            yield write("leaf_weight_device", f"{device.major}:{device.minor} {device.leaf_weight}")
    for field, file, _ in _THROTTLES:
        for throttle in getattr(block_io, field):
            yield write(f"throttle.{file}", f"{throttle.major}:{throttle.minor} {throttle.rate}")


def _block_io2(block_io: BlockIo) -> Iterator[Write]:
    def write(file: str, value: object) -> Write:
        return Write(controller="io", file=f"io.{file}", value=str(value))

    if block_io.leaf_weight:
        raise InvalidArgument("linux.resources.blockIO.leafWeight: cgroup v2 has no leaf weights")
    if block_io.weight:
        yield write("weight", io_weight(block_io.weight))
    for device in block_io.weight_device:
        if device.weight is not None:
            yield write("weight", f"{device.major}:{device.minor} {io_weight(device.weight)}")
    for field, _, key in _THROTTLES:
        for throttle in getattr(block_io, field):
            yield write("max", f"{throttle.major}:{throttle.minor} {key}={throttle.rate}")
