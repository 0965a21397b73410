"""What the engine's verbs answer: plain values, in Docker's terms."""

from __future__ import annotations

from inception.record import Record


class ExecResult(Record):
    """A finished `exec`. `output` is both streams as they came, `stdout` and `stderr` each alone; bytes."""

    exit_code: int
    output: bytes
    stdout: bytes
    stderr: bytes


class TopResult(Record):
    """`top`: one row a process, as wide as `titles`."""

    titles: list[str]
    processes: list[list[str]]


class PathStat(Record):
    """What `cp` tells about a path inside a container. `mode` is st_mode; `link_target` of a symbolic link, else empty."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class CacheEntry(Record):
    """A layer in the builder's cache; `usage` is how many steps it answers for."""

    id: str
    size_bytes: int
    created: str
    used: str
    usage: int
    shared: bool


class PruneReport(Record):
    """What `prune` deleted. Images are entries `untagged: NAME` and `deleted: ID`, as `docker image prune` shows them."""

    containers: list[str] = []
    images: list[str] = []
    networks: list[str] = []
    volumes: list[str] = []
    space_reclaimed_bytes: int = 0


class ImageRemoval(Record):
    """One line of `rmi`; exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


class HistoryEntry(Record):
    """One line of `history`, newest first. `id` is `<missing>` for layers that no local image ends with."""

    id: str
    created: str
    created_by: str
    size_bytes: int
    comment: str = ""
    tags: list[str] = []


class Event(Record):
    """One event: `type` is container, image, network or volume; `attributes` hold name, image, labels, exitCode, signal."""

    type: str
    action: str
    id: str
    attributes: dict[str, str]
    time_ns: int


class ContainerStats(Record):
    """One sample of a running container. Counters only grow; rates are the difference of two samples."""

    id: str
    name: str
    time_ns: int
    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_percent: float = 0.0
    online_cpus: int = 1
    memory_usage_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_cache_bytes: int = 0
    network_receive_bytes: int = 0
    network_transmit_bytes: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0
    pids: int = 0
    pids_limit: int = 0


class DiskUsageRow(Record):
    """One row of `system df`: type is Images, Containers, Local Volumes or Build Cache."""

    type: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int
