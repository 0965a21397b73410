"""What a container should be: the values that the CLI, Compose, the library and the API fill in.

`ContainerConfig` is stored whole in the database when a container is created; what it became (pid, addresses, exit code) is
kept apart, in `ContainerState`. Units are in the names: bytes, microseconds, nanoseconds (health checks, as in OCI images),
seconds. Docker's defaults everywhere.
"""

from __future__ import annotations

from inception.network.binding import PortBinding as PortBinding
from inception.oci.health import Healthcheck as Healthcheck
from inception.record import Record


class MountConfig(Record):
    """One `-v`, `--mount` or `--tmpfs`.

    `type` is `bind`, `volume`, `tmpfs` or `image`; an empty volume source is an anonymous volume. A bind mount brings what is
    mounted below along, unless `non_recursive`, and is read-only with it, where the kernel can (`force_recursive_read_only`
    only says that this was asked for: ours always can). `create_host_path`: `-v` makes a
    missing host folder, `--mount` refuses it. `no_copy` keeps a fresh volume empty instead of copying what the image has.
    `short` is one of `-v` or `--tmpfs`, which Docker lists apart from those of `--mount` (`Binds`, `Tmpfs`).
    """

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    recursive_read_only: bool = True
    create_host_path: bool = False
    subpath: str = ""
    no_copy: bool = False
    driver: str = ""
    driver_options: dict[str, str] = {}
    labels: dict[str, str] = {}
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0o1777
    tmpfs_options: list[str] = []
    short: bool = False
    non_recursive: bool = False
    force_recursive_read_only: bool = False

    @property
    def anonymous(self) -> bool:
        return self.type == "volume" and not self.source


# Docker's option of an endpoint for the name of its link.
INTERFACE_NAME = "com.docker.network.endpoint.ifname"


class EndpointConfig(Record):
    """A container's place in one network. `links` are other containers under names that only this one knows: `db:base`.

    The default route leads through the network with the highest `gateway_priority`, the first of those alike.
    """

    aliases: list[str] = []
    ipv4_address: str = ""
    mac_address: str = ""
    links: list[str] = []
    driver_options: dict[str, str] = {}
    ipv6_address: str = ""
    gateway_priority: int = 0
    interface_name: str = ""
    link_local_addresses: list[str] = []

    @property
    def asked_addresses(self) -> dict[str, object]:
        """As Docker's `IPAMConfig`."""
        asked = {"IPv4Address": self.ipv4_address, "IPv6Address": self.ipv6_address, "LinkLocalIPs": self.link_local_addresses}
        return {key: addresses for key, addresses in asked.items() if addresses}


class RestartPolicy(Record):
    """`name` is `no`, `on-failure`, `always` or `unless-stopped`; `maximum_retries` goes with on-failure, 0 is no limit."""

    name: str = "no"
    maximum_retries: int = 0


class DeviceConfig(Record):
    host_path: str
    container_path: str
    permissions: str = "rwm"


class Ulimit(Record):
    name: str
    soft: int
    hard: int


class DeviceLimit(Record):
    """A block device's share: a weight (10 to 1000), bytes or operations a second."""

    path: str
    value: int


class DeviceRequest(Record):
    """`--gpus`: `count` devices (-1 for all) or those of `device_ids`, of a `driver` (any, when empty) with `capabilities`,
    one of whose groups it must have whole."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] = []
    capabilities: list[list[str]] = []
    options: dict[str, str] = {}


class ResourceConfig(Record):
    """Limits; 0 or empty means none."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_weight_device: list[DeviceLimit] = []
    device_read_bps: list[DeviceLimit] = []
    device_write_bps: list[DeviceLimit] = []
    device_read_iops: list[DeviceLimit] = []
    device_write_iops: list[DeviceLimit] = []
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    shm_size_bytes: int = 64 << 20
    ulimits: list[Ulimit] = []
    devices: list[DeviceConfig] = []
    cdi_devices: list[str] = []
    device_cgroup_rules: list[str] = []
    device_requests: list[DeviceRequest] = []


class LogConfig(Record):
    """`driver` is `json-file` or `none`. Options `max-size` and `max-file` (logs are bounded by default), and those of
    `logtags.py`."""

    driver: str = "json-file"
    options: dict[str, str] = {}


class ContainerConfig(Record):
    """Everything `create` can be told. `command` and `entrypoint` None mean the image's own. `links` are the default network's;
    `isolation` says nothing on Linux, but is shown as it was given. So are `volume_driver`, which each mount has of its own,
    and `attached`, the streams that the creator means to join (of `stdin`, `stdout`, `stderr`). `annotations` are the runtime's
    to read.
    """

    image: str
    name: str = ""
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    env: list[str] = []
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attached: list[str] = []
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    healthcheck: Healthcheck | None = None
    mounts: list[MountConfig] = []
    volumes_from: list[str] = []
    network_mode: str = "bridge"
    networks: dict[str, EndpointConfig] = {}
    ports: list[PortBinding] = []
    exposed_ports: list[str] = []
    publish_all: bool = False
    restart: RestartPolicy = RestartPolicy()
    resources: ResourceConfig = ResourceConfig()
    cap_add: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    userns_mode: str = ""
    cgroup_parent: str = ""
    extra_hosts: list[str] = []
    dns: list[str] = []
    dns_search: list[str] = []
    dns_options: list[str] = []
    sysctls: dict[str, str] = {}
    group_add: list[str] = []
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    auto_remove: bool = False
    log: LogConfig = LogConfig()
    platform: str = ""
    runtime: str = ""
    links: list[str] = []
    isolation: str = ""
    volume_driver: str = ""
    annotations: dict[str, str] = {}


class HealthState(Record):
    """`status` is `none`, `starting`, `healthy` or `unhealthy`; `log` holds the last five probes, newest last."""

    status: str = "none"
    failing_streak: int = 0
    log: list[dict[str, object]] = []


class EndpointState(Record):
    """What a container got in one network. `interface` is the link's name inside, `default_route` whether it leads out.

    Addresses are empty for the family that the network doesn't have.
    """

    network_id: str
    endpoint_id: str
    ipv4_address: str
    prefix_length: int
    gateway: str
    mac_address: str
    interface: str = "eth0"
    default_route: bool = False
    aliases: list[str] = []
    ipv6_address: str = ""
    ipv6_prefix_length: int = 0
    ipv6_gateway: str = ""
    default_route6: bool = False

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.ipv4_address, self.ipv6_address) if address]


class ContainerState(Record):
    """`status` is `created`, `running`, `paused`, `restarting`, `exited`, `removing` or `dead`. Times are RFC 3339, UTC."""

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = "0001-01-01T00:00:00Z"
    finished_at: str = "0001-01-01T00:00:00Z"
    restart_count: int = 0
    health: HealthState = HealthState()
    endpoints: dict[str, EndpointState] = {}
    ports: list[PortBinding] = []


class ExecConfig(Record):
    """`exec`: another process in a running container. `env` adds to the container's own.

    With an `id` whoever gave it tells the world of its making and its end; else the engine does.
    """

    command: list[str]
    env: list[str] = []
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    open_stdin: bool = False
    privileged: bool = False
    detach_keys: str = ""
    id: str = ""


class NetworkConfig(Record):
    """`network create`. An empty `subnet` lets the engine choose one that overlaps nothing on this host; `auxiliary_addresses`
    are kept free, for what is no container. The fields ending in 6 are the same for IPv6, which a network has with `ipv6`."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    auxiliary_addresses: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    mtu: int = 0
    bridge_name: str = ""
    inter_container: bool = True
    masquerade: bool = True
    default_host_ip: str = ""
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    ipv4: bool = True
    ipv6: bool = False
    subnet6: str = ""
    gateway6: str = ""
    ip_range6: str = ""


class VolumeConfig(Record):
    """`volume create`. `driver_options` of the local driver: `type`, `o`, `device`. An empty name is an anonymous volume."""

    name: str = ""
    driver: str = "local"
    driver_options: dict[str, str] = {}
    labels: dict[str, str] = {}


class CommitConfig(Record):
    """`commit`: what the new image gets. `changes` are Dockerfile instructions (CMD, ENV, …)."""

    reference: str = ""
    author: str = ""
    message: str = ""
    changes: list[str] = []
    pause: bool = True


class UpdateConfig(Record):
    """`update`: fields that are None stay as they are."""

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    blkio_weight: int | None = None
    restart: RestartPolicy | None = None


def wanted_networks(config: ContainerConfig) -> dict[str, EndpointConfig]:
    """The networks that a container joins, by the names it was given; its network mode's first. Empty for host and none."""
    mode = network_mode(config)
    if mode in ("host", "none") or mode.startswith("container:"):
        return {}
    return {mode: config.networks.get(mode, EndpointConfig()), **config.networks}


def network_mode(config: ContainerConfig) -> str:
    return "bridge" if config.network_mode in ("", "default") else config.network_mode


def has_own_network(config: ContainerConfig) -> bool:
    """Whether it has a network namespace of its own: not the host's, nor another container's."""
    mode = network_mode(config)
    return mode != "host" and not mode.startswith("container:")
