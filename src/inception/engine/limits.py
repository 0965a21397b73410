"""Which field is which: a limit's name in our configuration, as a flag, and in Docker's documents.

Whoever translates one into another (the command line, the API in both directions, the client) reads it here.
"""

from __future__ import annotations

from inception.engine.config import DeviceLimit
from inception.errors import InvalidArgument

#: Numbers and texts that say nothing when they are 0 or empty: (field of ResourceConfig, flag, field of Docker's HostConfig).
LIMITS = (
    ("memory_bytes", "memory", "Memory"),
    ("memory_swap_bytes", "memory-swap", "MemorySwap"),
    ("memory_reservation_bytes", "memory-reservation", "MemoryReservation"),
    ("nano_cpus", "cpus", "NanoCpus"),
    ("cpu_shares", "cpu-shares", "CpuShares"),
    ("cpu_quota_us", "cpu-quota", "CpuQuota"),
    ("cpu_period_us", "cpu-period", "CpuPeriod"),
    ("cpuset_cpus", "cpuset-cpus", "CpusetCpus"),
    ("cpuset_mems", "cpuset-mems", "CpusetMems"),
    ("blkio_weight", "blkio-weight", "BlkioWeight"),
    ("pids_limit", "pids-limit", "PidsLimit"),
)
TEXTS = ("cpuset_cpus", "cpuset_mems")

#: Limits of single block devices: (field, flag, field of HostConfig, what its value is called there).
DEVICE_LIMITS = (
    ("blkio_weight_device", "blkio-weight-device", "BlkioWeightDevice", "Weight"),
    ("device_read_bps", "device-read-bps", "BlkioDeviceReadBps", "Rate"),
    ("device_write_bps", "device-write-bps", "BlkioDeviceWriteBps", "Rate"),
    ("device_read_iops", "device-read-iops", "BlkioDeviceReadIOps", "Rate"),
    ("device_write_iops", "device-write-iops", "BlkioDeviceWriteIOps", "Rate"),
)


def check_device_limit(field: str, limit: DeviceLimit) -> None:
    """Raises InvalidArgument."""
    if not limit.path.startswith("/dev/"):
        raise InvalidArgument(f"bad format for device path: {limit.path}:{limit.value}")
    if field == "blkio_weight_device" and limit.value and not 10 <= limit.value <= 1000:
        raise InvalidArgument(f"invalid weight for device: {limit.path}:{limit.value}")
    if limit.value < 0:
        raise InvalidArgument(f"invalid rate for device: {limit.path}:{limit.value}")


def check_cpuset(what: str, units: str, text: str, online_path: str) -> None:
    """Raises InvalidArgument for what is no list like `0-2,5`, or names more than the machine has."""
    try:
        wanted = parse_cpuset(text)
    except ValueError:
        raise InvalidArgument(f"Invalid value {text} for {what}: invalid format: {text}") from None
    try:
        with open(online_path, encoding="ascii") as file:
            online = file.read().strip()
    except OSError:  # a kernel that has them all in one place says nothing of places
        return
    if not wanted <= parse_cpuset(online):
        raise InvalidArgument(f"Requested {units} are not available - requested {text}, available: {online}")


def parse_cpuset(text: str) -> set[int]:
    """Numbers of `0-2,5`. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high <= 8192:
            raise ValueError(part)
        numbers.update(range(low, high + 1))
    return numbers
