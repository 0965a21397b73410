"""A container's configuration as an OCI runtime spec: pure, values in and a value out, so that tests read it as JSON.

What the machine and the other containers contribute (users, files, namespaces to join, host devices) is decided by
`start.py` and comes as `Surroundings`.
"""

from __future__ import annotations

from inception.engine import cgroups
from inception.engine.config import ContainerConfig
from inception.engine.merge import arguments, merge_env
from inception.engine.records import MountPoint
from inception.errors import InvalidArgument
from inception.linux import capabilities
from inception.linux.labels import apparmor_enabled
from inception.oci.runtime import (
    Capabilities,
    Device,
    DeviceRule,
    Linux,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Spec,
    User,
)
from inception.record import Record, replace
from inception.runtime import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.linux.cgroup import Cgroups

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RLIMITS = (
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()  # noqa: SIM905
)
_DEVICE_RULE = r"([abc]) (\d+|\*):(\d+|\*) ([rwm]{1,3})"


class Surroundings(Record):
    """What the world outside of a configuration decides.

    `joined` maps a namespace kind to what is joined instead of a new one (`fd:NAME`); kinds in `shared` stay the host's.
    `link_env` are the variables of linked containers; `device_env` those of devices, which win, and `device_access` what may be
    done with their nodes.
    `files` maps places inside (`/etc/hosts`) to files of the engine's. `held` are the capabilities that we can give.
    """

    hostname: str = ""
    user: User = User()
    home: str = "/"
    mounts: list[Mount] = []
    files: dict[str, str] = {}
    joined: dict[str, str] = {}
    shared: list[str] = []
    held: list[str] = []
    devices: list[Device] = []
    cgroup_path: str = ""
    link_env: list[str] = []
    device_env: list[str] = []
    device_access: dict[str, str] = {}


def build_spec(config: ContainerConfig, around: Surroundings, layout: Cgroups) -> Spec:
    """Raises InvalidArgument for what only shows here: an unknown capability, ulimit or device rule."""
    return Spec(
        process=_process(config, around),
        root=Root(path="rootfs", readonly=config.read_only),
        hostname=around.hostname if "uts" not in around.shared else "",
        domainname=config.domainname if "uts" not in around.shared else "",
        mounts=_mounts(config, around),
        annotations=config.annotations,
        linux=_linux(config, around, layout),
    )


def _process(config: ContainerConfig, around: Surroundings) -> Process:
    chosen = plan_capabilities(config, around.held)
    options = security_options(config)
    return Process(
        args=arguments(config),
        cwd=config.working_dir or "/",
        env=plan_env(config, around),
        terminal=config.tty,
        user=around.user,
        capabilities=Capabilities(bounding=chosen, effective=chosen, permitted=chosen),
        rlimits=_rlimits(config),
        no_new_privileges=options.get("no-new-privileges", "false") != "false",
        oom_score_adj=config.resources.oom_score_adj or None,
        apparmor_profile=apparmor_profile(config),
    )


def plan_env(config: ContainerConfig, around: Surroundings) -> list[str]:
    """Docker's environment: PATH, HOSTNAME, TERM with a terminal, then the configuration's; HOME where nobody set it."""
    base = [f"PATH={PATH}", f"HOSTNAME={around.hostname}"]
    if config.tty:
        base.append("TERM=xterm")
    env = merge_env([*base, *around.link_env], config.env)
    if around.device_env:
        env = merge_env(env, around.device_env)
    return env if any(item.startswith("HOME=") for item in env) else [*env, f"HOME={around.home}"]


def held_capabilities() -> list[str]:
    """What this process can give away."""
    return capabilities.names(capabilities.held("CapBnd", "CapPrm"))


def plan_capabilities(config: ContainerConfig, held: list[str]) -> list[str]:
    """The capabilities of the first process, in the kernel's order. None is ever inheritable or ambient (CVE-2022-24769)."""
    if config.privileged:
        return held
    added = {_capability(name) for name in config.cap_add}
    dropped = {_capability(name) for name in config.cap_drop}
    if "CAP_ALL" in added:
        chosen = set(held)
    elif "CAP_ALL" in dropped:
        chosen = set()
    else:
        chosen = set(defaults.DEFAULT_CAPABILITIES)
    chosen |= added - {"CAP_ALL"}
    chosen -= dropped - added
    missing = sorted((added - {"CAP_ALL"}) - set(held))
    if missing:
        raise InvalidArgument(f"cannot add capability {missing[0]}: this process does not have it itself")
    return [name for name in capabilities.NUMBERS if name in chosen and name in held]


def _capability(name: str) -> str:
    full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
    if full != "CAP_ALL" and full not in capabilities.NUMBERS:
        raise InvalidArgument(f'invalid capability: "{name}"')
    return full


def _rlimits(config: ContainerConfig) -> list[Rlimit]:
    limits = []
    for limit in config.resources.ulimits:
        if limit.name.lower() not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        limits.append(Rlimit(type=f"RLIMIT_{limit.name.upper()}", soft=limit.soft, hard=limit.hard))
    return limits


def security_options(config: ContainerConfig) -> dict[str, str]:
    """`--security-opt` as key and value; `no-new-privileges` alone means true."""
    found: dict[str, str] = {}
    for option in config.security_opt:
        key, separator, value = option.partition("=" if "=" in option else ":")
        found[key] = value if separator else "true"
    return found


def apparmor_profile(config: ContainerConfig) -> str:
    """The profile of its processes; empty for that of whoever starts it."""
    profile = "" if config.privileged else security_options(config).get("apparmor", "")
    return "" if profile == "unconfined" and not apparmor_enabled() else profile


def _mounts(config: ContainerConfig, around: Surroundings) -> list[Mount]:
    files = [_file_mount(place, source, config.read_only) for place, source in around.files.items()]
    own = [*around.mounts, *files]
    taken = {mount.destination for mount in own}
    standard = [_standard(mount, config) for mount in defaults.default_mounts() if mount.destination not in taken]
    if "ipc" in around.shared or config.ipc_mode.startswith("container:") or config.ipc_mode == "none":
        standard = [mount for mount in standard if mount.destination not in ("/dev/shm", "/dev/mqueue")]
    # A mount below another's place comes after it; among equals the order given.
    return standard + sorted(own, key=lambda mount: mount.destination.count("/"))


def _standard(mount: Mount, config: ContainerConfig) -> Mount:
    options = mount.options
    if mount.destination == "/dev/shm":
        options = [*(o for o in options if not o.startswith("size=")), f"size={config.resources.shm_size_bytes}"]
    elif config.privileged and mount.destination in ("/sys", "/sys/fs/cgroup"):
        options = [option for option in options if option != "ro"]
    return replace(mount, options=options)


def _file_mount(place: str, source: str, read_only: bool) -> Mount:
    options = ["bind", "rprivate", *(["ro"] if read_only else [])]
    return Mount(destination=place, type="bind", source=source, options=options)


def plan_mount(point: MountPoint, source: str) -> Mount:
    """One of the container's own mounts; *source* is a host path or an fd slot, empty for tmpfs."""
    if point.type == "tmpfs" or not source:
        options = [*point.tmpfs_options, *(["ro"] if point.read_only else [])]
        return Mount(destination=point.destination, type="tmpfs", source="tmpfs", options=options)
    access = ["ro" if not point.recursive_read_only else "rro"] if point.read_only else ["rw"]
    options = ["bind" if point.non_recursive else "rbind", point.propagation or "rprivate", *access]
    return Mount(destination=point.destination, type="bind", source=source, options=options)


def _linux(config: ContainerConfig, around: Surroundings, layout: Cgroups) -> Linux:
    unconfined = config.privileged or security_options(config).get("systempaths") == "unconfined"
    masked = defaults.MASKED_PATHS if config.masked_paths is None else config.masked_paths
    readonly = defaults.READONLY_PATHS if config.readonly_paths is None else config.readonly_paths
    return Linux(
        namespaces=_namespaces(around),
        resources=cgroups.plan_resources(config.resources, plan_device_rules(config, around), layout),
        cgroups_path=around.cgroup_path,
        sysctl=_sysctls(config, around),
        devices=around.devices,
        masked_paths=[] if unconfined else list(masked),
        readonly_paths=[] if unconfined else list(readonly),
        rootfs_propagation=_rootfs_propagation(around.mounts),
    )


def _namespaces(around: Surroundings) -> list[Namespace]:
    kinds = [kind for kind in ("mount", "uts", "ipc", "pid", "network", "cgroup") if kind not in around.shared]
    return [Namespace(type=kind, path=around.joined.get(kind, "")) for kind in kinds]


def _rootfs_propagation(mounts: list[Mount]) -> str:
    """A slave or shared bind mount needs a root that lets the events of the host's mounts in."""
    asked = {option for mount in mounts for option in mount.options}
    if asked & {"shared", "rshared"}:
        return "rshared"
    return "rslave" if asked & {"slave", "rslave"} else ""


def plan_device_rules(config: ContainerConfig, around: Surroundings) -> list[DeviceRule]:
    """What the container's processes may open and make: the last rule that matches wins."""
    if config.privileged:
        return [DeviceRule(allow=True, type="a", access="rwm")]
    rules = list(defaults.default_device_rules())
    permissions = {device.container_path: device.permissions for device in config.resources.devices} | around.device_access
    for device in around.devices:
        rules.append(
            DeviceRule(
                allow=True,
                type="c" if device.type == "u" else device.type,
                major=device.major,
                minor=device.minor,
                access=next((p for path, p in permissions.items() if device.path.startswith(path)), "rwm"),
            )
        )
    for text in config.resources.device_cgroup_rules:
        import re  # 3 ms, for the few who give such a rule

        match = re.fullmatch(_DEVICE_RULE, text)
        if match is None:
            raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
        major, minor = (None if number == "*" else int(number) for number in match.groups()[1:3])
        rules.append(DeviceRule(allow=True, type=match[1], major=major, minor=minor, access=match[4]))
    return rules


def _sysctls(config: ContainerConfig, around: Surroundings) -> dict[str, str]:
    """Docker's two defaults for a network of its own: ports from 0 and ping need no privilege. Then the configuration's."""
    for name in config.sysctls:
        if name.startswith("net.") and "network" in around.shared:
            raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
        if name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")) and "ipc" in around.shared:
            raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")
        if not name.startswith(("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")):
            raise InvalidArgument(
                f"sysctl '{name}' is not allowed", "allowed are net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*"
            )
    if "network" in around.shared or around.joined.get("network") == "fd:joined-network":
        return config.sysctls
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647", **config.sysctls}
