"""The OCI runtime-spec 1.3 `config.json` and `state.json` for Linux, as records.

Field names follow the specification, snake_case here and camelCase in JSON. Source: runtime-spec config.md,
config-linux.md, runtime.md. Nothing here checks meaning; `runtime/validate.py` does.
"""

from __future__ import annotations

from inception.record import Record

SPEC_VERSION = "1.3.0"


class Root(Record, style="camel"):
    path: str
    readonly: bool = False


class IdMapping(Record, style="camel", names={"container_id": "containerID", "host_id": "hostID"}):
    container_id: int
    host_id: int
    size: int


class Mount(Record, style="camel"):
    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []


class User(Record, style="camel"):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: list[int] = []
    username: str = ""


class ConsoleSize(Record, style="camel"):
    height: int
    width: int


class Capabilities(Record, style="camel"):
    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Rlimit(Record, style="camel"):
    type: str
    soft: int
    hard: int


class Scheduler(Record, style="camel"):
    policy: str
    nice: int = 0
    priority: int = 0
    flags: list[str] = []
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IoPriority(Record, style="camel", names={"class_": "class"}):
    class_: str
    priority: int = 0


class ExecCpuAffinity(Record, style="camel"):
    initial: str = ""
    final: str = ""


class Process(
    Record,
    style="camel",
    names={"exec_cpu_affinity": "execCPUAffinity"},
):
    cwd: str
    terminal: bool = False
    console_size: ConsoleSize | None = None
    args: list[str] = []
    command_line: str = ""
    env: list[str] = []
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: ExecCpuAffinity | None = None


class Hook(Record, style="camel"):
    path: str
    args: list[str] = []
    env: list[str] | None = None  # absent: that of whoever runs it
    timeout: int | None = None


class Hooks(Record, style="camel"):
    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


class Namespace(Record, style="camel"):
    type: str
    path: str = ""


class TimeOffset(Record, style="camel"):
    secs: int = 0
    nanosecs: int = 0


class Device(Record, style="camel"):
    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class NetDevice(Record, style="camel"):
    name: str = ""


class DeviceRule(Record, style="camel"):
    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(
    Record,
    style="camel",
    names={"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"},
):
    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record, style="camel"):
    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Record, style="camel"):
    limit: int | None = None


class WeightDevice(Record, style="camel"):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Record, style="camel"):
    major: int
    minor: int
    rate: int


class BlockIo(
    Record,
    style="camel",
    names={
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    },
):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = []
    throttle_write_iops_device: list[ThrottleDevice] = []


class HugepageLimit(Record, style="camel"):
    page_size: str
    limit: int


class InterfacePriority(Record, style="camel"):
    name: str
    priority: int


class NetworkClass(Record, style="camel", names={"class_id": "classID"}):
    class_id: int | None = None
    priorities: list[InterfacePriority] = []


class Rdma(Record, style="camel"):
    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(Record, style="camel", names={"block_io": "blockIO"}):
    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = None
    hugepage_limits: list[HugepageLimit] = []
    network: NetworkClass | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}


class SeccompArg(Record, style="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscall(Record, style="camel"):
    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SeccompArg] = []


class Seccomp(Record, style="camel"):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = []
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SeccompSyscall] = []


class IntelRdt(Record, style="camel", names={"clos_id": "closID"}):
    clos_id: str = ""
    schemata: list[str] = []
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(Record, style="camel"):
    mode: str = ""
    nodes: str = ""
    flags: list[str] = []


class Personality(Record, style="camel"):
    domain: str
    flags: list[str] = []


class Linux(Record, style="camel"):
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []
    sysctl: dict[str, str] = {}
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: list[Namespace] = []
    devices: list[Device] = []
    net_devices: dict[str, NetDevice] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = {}


class Spec(Record, style="camel"):
    """`config.json`."""

    oci_version: str = SPEC_VERSION
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


class State(Record, style="camel"):
    """`state.json`, also what hooks read on stdin. Source: runtime.md, "State"."""

    oci_version: str = SPEC_VERSION
    id: str
    status: str
    pid: int = 0
    bundle: str
    annotations: dict[str, str] = {}
