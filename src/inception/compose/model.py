"""The project as typed values: what the canonical, merged, complete tree says.

Names are those of the Compose Specification; sizes are bytes and durations nanoseconds. `Project.tree` is the tree itself,
from which `config` prints and a service's hash is made.
"""

from __future__ import annotations

from inception.record import Record

DURATIONS = {
    "interval_ns": "interval",
    "timeout_ns": "timeout",
    "start_period_ns": "start_period",
    "start_interval_ns": "start_interval",
}


# Of an additional context: the image of another service.
SERVICE = "service:"


class FileReference(Record):
    """A service's use of a secret or config; `mode` None is 0444."""

    source: str
    target: str = ""
    uid: str = ""
    gid: str = ""
    mode: int | None = None


class UlimitValue(Record):
    soft: int
    hard: int


class Build(Record):
    context: str
    dockerfile: str = ""
    dockerfile_inline: str = ""
    args: dict[str, str] = {}
    target: str = ""
    labels: dict[str, str] = {}
    no_cache: bool = False
    pull: bool = False
    network: str = ""
    extra_hosts: list[str] = []
    shm_size: int = 0
    tags: list[str] = []
    additional_contexts: dict[str, str] = {}
    cache_from: list[str] = []
    cache_to: list[str] = []
    entitlements: list[str] = []
    platforms: list[str] = []
    privileged: bool = False
    provenance: str = ""
    sbom: str = ""
    secrets: list[FileReference] = []
    ssh: dict[str, str] = {}
    ulimits: dict[str, UlimitValue] = {}

    @property
    def services(self) -> list[str]:
        """The services whose images it is built upon (`service:NAME` in `additional_contexts`)."""
        return [each.removeprefix(SERVICE) for each in self.additional_contexts.values() if each.startswith(SERVICE)]


class Dependency(Record):
    """`condition` is `service_started`, `service_healthy` or `service_completed_successfully`."""

    condition: str = "service_started"
    restart: bool = False
    required: bool = True


class Port(Record):
    """`published` is empty, a port or a range `8000-8010`, of which the engine takes a free one."""

    target: int
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"
    mode: str = "ingress"
    name: str = ""
    app_protocol: str = ""


class BindOptions(Record):
    propagation: str = ""
    create_host_path: bool = False
    selinux: str = ""
    recursive: str = ""


class VolumeOptions(Record):
    nocopy: bool = False
    subpath: str = ""
    labels: dict[str, str] = {}


class TmpfsOptions(Record):
    size: int = 0
    mode: int = 0o1777


class ImageOptions(Record):
    subpath: str = ""


class Mount(Record):
    type: str
    target: str
    source: str = ""
    read_only: bool = False
    bind: BindOptions = BindOptions()
    volume: VolumeOptions = VolumeOptions()
    tmpfs: TmpfsOptions = TmpfsOptions()
    image: ImageOptions = ImageOptions()


class ServiceNetwork(Record):
    aliases: list[str] = []
    ipv4_address: str = ""
    mac_address: str = ""
    priority: int = 0
    ipv6_address: str = ""
    gw_priority: int = 0
    interface_name: str = ""
    driver_opts: dict[str, str] = {}
    link_local_ips: list[str] = []


class Healthcheck(Record, names=DURATIONS):
    test: list[str] = []
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0
    disable: bool = False


class Logging(Record):
    driver: str = ""
    options: dict[str, str] = {}


class Device(Record):
    source: str
    target: str = ""
    permissions: str = "rwm"


class DeviceRequest(Record):
    """`count` is -1 for all of them."""

    capabilities: list[str] = []
    driver: str = ""
    count: int = 0
    device_ids: list[str] = []
    options: dict[str, str] = {}


class Resources(Record):
    cpus: float = 0.0
    memory: int = 0
    pids: int = 0
    devices: list[DeviceRequest] = []


class DeployResources(Record):
    limits: Resources = Resources()
    reservations: Resources = Resources()


class DeployRestartPolicy(Record):
    """`condition` is `none`, `on-failure` or `any`."""

    condition: str = "any"
    max_attempts: int = 0


class Deploy(Record):
    replicas: int | None = None
    labels: dict[str, str] = {}
    resources: DeployResources = DeployResources()
    restart_policy: DeployRestartPolicy | None = None


class DeviceWeight(Record):
    path: str
    weight: int


class DeviceRate(Record):
    path: str
    rate: int


class BlockIo(Record):
    weight: int = 0
    weight_device: list[DeviceWeight] = []
    device_read_bps: list[DeviceRate] = []
    device_write_bps: list[DeviceRate] = []
    device_read_iops: list[DeviceRate] = []
    device_write_iops: list[DeviceRate] = []


class Hook(Record):
    """A command inside the container: `post_start`, `pre_stop`."""

    command: list[str]
    user: str = ""
    privileged: bool = False
    working_dir: str = ""
    environment: dict[str, str] = {}


class WatchRule(Record):
    """What is done about changes below `path`, which is absolute: `rebuild`, `restart`, `sync`, `sync+restart`, `sync+exec`."""

    path: str
    action: str
    target: str = ""
    exec: Hook = Hook(command=[])
    include: list[str] = []
    ignore: list[str] = []
    initial_sync: bool = False


class Develop(Record):
    watch: list[WatchRule] = []


class Service(Record, names={"stop_grace_period_ns": "stop_grace_period"}):
    """One service. `tree_name` fields are as in the specification; `environment` has `env_file` in it already."""

    name: str
    image: str = ""
    build: Build | None = None
    annotations: dict[str, str] = {}
    attach: bool = True
    blkio_config: BlockIo = BlockIo()
    cap_add: list[str] = []
    cap_drop: list[str] = []
    cgroup: str = ""
    cgroup_parent: str = ""
    command: list[str] | None = None
    configs: list[FileReference] = []
    container_name: str = ""
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    cpus: float = 0.0
    cpuset: str = ""
    depends_on: dict[str, Dependency] = {}
    develop: Develop = Develop()
    deploy: Deploy = Deploy()
    device_cgroup_rules: list[str] = []
    devices: list[Device] = []
    dns: list[str] = []
    dns_opt: list[str] = []
    dns_search: list[str] = []
    domainname: str = ""
    entrypoint: list[str] | None = None
    environment: dict[str, str] = {}
    expose: list[str] = []
    external_links: list[str] = []
    extra_hosts: list[str] = []
    gpus: list[DeviceRequest] = []
    group_add: list[str] = []
    healthcheck: Healthcheck | None = None
    hostname: str = ""
    init: bool = False
    ipc: str = ""
    labels: dict[str, str] = {}
    links: list[str] = []
    logging: Logging = Logging()
    mac_address: str = ""
    mem_limit: int = 0
    mem_reservation: int = 0
    mem_swappiness: int | None = None
    memswap_limit: int = 0
    network_mode: str = ""
    networks: dict[str, ServiceNetwork] = {}
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    pid: str = ""
    pids_limit: int = 0
    platform: str = ""
    ports: list[Port] = []
    post_start: list[Hook] = []
    pre_stop: list[Hook] = []
    privileged: bool = False
    profiles: list[str] = []
    pull_policy: str = ""
    read_only: bool = False
    restart: str = ""
    runtime: str = ""
    scale: int | None = None
    secrets: list[FileReference] = []
    security_opt: list[str] = []
    shm_size: int = 0
    stdin_open: bool = False
    stop_grace_period_ns: int | None = None
    stop_signal: str = ""
    sysctls: dict[str, str] = {}
    tmpfs: list[str] = []
    tty: bool = False
    ulimits: dict[str, UlimitValue] = {}
    user: str = ""
    userns_mode: str = ""
    uts: str = ""
    volumes: list[Mount] = []
    volumes_from: list[str] = []
    working_dir: str = ""

    @property
    def replicas(self) -> int:
        """How many containers it should have."""
        if self.scale is not None:
            return self.scale
        return 1 if self.deploy.replicas is None else self.deploy.replicas


class IpamConfig(Record):
    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""


class Ipam(Record):
    driver: str = ""
    config: list[IpamConfig] = []


class Network(Record):
    key: str
    name: str
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    internal: bool = False
    attachable: bool = False
    ipam: Ipam = Ipam()
    labels: dict[str, str] = {}
    enable_ipv4: bool = True
    enable_ipv6: bool = False


class Volume(Record):
    key: str
    name: str
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    labels: dict[str, str] = {}


class FileSource(Record):
    """A secret or a config: exactly one of `file`, `environment` (a variable's name) and `content` is set."""

    key: str
    name: str
    file: str = ""
    environment: str = ""
    content: str = ""
    external: bool = False
    labels: dict[str, str] = {}


class Project(Record):
    """`services` are the active ones, `disabled` the names of those whose profiles are not."""

    name: str
    directory: str
    files: list[str]
    environment: dict[str, str]
    profiles: list[str]
    services: dict[str, Service]
    networks: dict[str, Network]
    volumes: dict[str, Volume]
    secrets: dict[str, FileSource]
    configs: dict[str, FileSource]
    disabled: list[str] = []
    tree: dict[str, object] = {}

    def __repr__(self) -> str:
        # Not the environment nor the contents of secrets: a repr ends up in logs.
        return f"Project({self.name!r}, services={list(self.services)})"
