"""What a container's configuration must satisfy before anything is made. Docker's wordings; pure but for the CPU count."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` builds enums, 5 ms
import os

from inception.engine.config import (
    ContainerConfig,
    EndpointConfig,
    MountConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
)
from inception.engine.limits import DEVICE_LIMITS, check_cpuset, check_device_limit
from inception.engine.logtags import OPTIONS, check_tags
from inception.engine.merge import clean
from inception.errors import InvalidArgument
from inception.network.address import is_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESTART_POLICIES = ("no", "always", "on-failure", "unless-stopped")
# By hand where regular expressions would say it: `re` costs 3 ms to import, and every start checks.
_HOST_NAME_SIGNS = str.maketrans("", "", "._-")
_MAX_HOST_NAME = 253
_PROPAGATIONS = ("", "private", "rprivate", "slave", "rslave", "shared", "rshared")
_MIN_MEMORY_BYTES = 6 << 20
# Source: mount(8), tmpfs(5).
_TMPFS_WORDS = """
    ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime diratime nodiratime relatime norelatime
    strictatime nostrictatime defaults size mode uid gid nr_inodes nr_blocks mpol huge inode32 inode64 noswap
"""
_TMPFS_OPTIONS = frozenset(_TMPFS_WORDS.split())


_LISTS = ("command", "entrypoint", "env", "cap_add", "cap_drop", "security_opt", "dns", "extra_hosts", "group_add")
_EXAMPLES = {
    "command": '["sleep", "60"]',
    "env": '["NAME=value"]',
    "mounts": '[inception.MountConfig(type="bind", source="/srv", target="/data")]',
    "ports": "[inception.PortBinding(container_port=80, host_port=8080)]",
}


def check_config(config: ContainerConfig) -> None:
    """Raises InvalidArgument for the first thing that makes no sense."""
    _check_process(config)
    _check_modes(config)
    _check_security(config)
    _check_mounts(config.mounts)
    check_resources(config.resources)
    check_restart(config.restart)
    if config.auto_remove and config.restart.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    if config.log.driver not in ("json-file", "none"):
        raise InvalidArgument(f"logger: no log driver named '{config.log.driver}' is registered")
    log_limits(config)
    if config.runtime not in ("", "inception", "runc"):
        raise InvalidArgument(f"unknown or invalid runtime name: {config.runtime}")
    check_platform(config.platform)


def _check_process(config: ContainerConfig) -> None:
    # What a person writes in Python; everybody else's lists come from code. A string would be a list of its letters.
    for name in _LISTS:
        _check_list(name, getattr(config, name), str, "strings")
    _check_list("ports", config.ports, PortBinding, "PortBinding")
    _check_list("mounts", config.mounts, MountConfig, "MountConfig")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for item in config.env:
        if not item.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: {item}")
    for text in [*config.env, *(config.command or []), *(config.entrypoint or []), config.user, config.working_dir]:
        if "\0" in text:
            raise InvalidArgument(f"{text!r} holds a zero byte")
    if config.hostname and not _is_host_name(config.hostname):
        raise InvalidArgument(f"invalid hostname format: {config.hostname}")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    health = config.healthcheck
    if health is not None:
        if health.test and health.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
            raise InvalidArgument(f"invalid health check: unknown type {health.test[0]!r}: expected NONE, CMD or CMD-SHELL")
        for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
            value = getattr(health, name.replace("Start", "start_").lower())
            if 0 < value < 1_000_000 or value < 0:
                raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
        if health.retries < 0:
            raise InvalidArgument("Retries in Healthcheck cannot be negative")


def _check_list(name: str, value: list[Any] | None, kind: type, called: str) -> None:
    if value is None or (isinstance(value, (list, tuple)) and all(isinstance(item, kind) for item in value)):
        return
    example = _EXAMPLES.get(name)
    raise InvalidArgument(
        f"{name}: expected a list of {called}, not {value!r}", f"for example {name}={example}" if example else ""
    )


def _is_host_name(text: str) -> bool:
    plain = text.translate(_HOST_NAME_SIGNS)
    return len(text) <= _MAX_HOST_NAME and text.isascii() and plain.isalnum() and text[0].isalnum()


def _check_modes(config: ContainerConfig) -> None:
    network = config.network_mode
    if network == "container" or network == "container:":
        raise InvalidArgument("invalid network mode: invalid container format container:<name|id>")
    if network.startswith("container:"):
        for given, what in (
            (config.ports or config.publish_all, "port publishing and the container type network mode"),
            (config.exposed_ports, "port exposing and the container type network mode"),
            (config.hostname, "hostname and the network mode"),
            (config.dns, "dns and the network mode"),
            (config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        ):
            if given:
                raise InvalidArgument(f"conflicting options: {what}")
    if network == "host" or network.startswith("container:"):
        _check_foreign(network, [*config.networks.values()], config.links)
    for name, endpoint in config.networks.items():
        if endpoint.aliases and name in ("bridge", "default", "host", "none"):
            raise InvalidArgument(
                "network-scoped aliases are only supported for user-defined networks", "inception network create NAME"
            )
        if (endpoint.ipv4_address or endpoint.ipv6_address) and (name in ("host", "none") or name.startswith("container:")):
            raise InvalidArgument("user specified IP address is supported on user defined networks only")
        if endpoint.mac_address and not is_mac(endpoint.mac_address):
            raise InvalidArgument(f"{endpoint.mac_address} is not a valid mac address")
    if config.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.uts_mode not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {config.uts_mode}")
    if config.userns_mode not in ("", "host"):
        raise InvalidArgument(
            f"invalid USER mode: {config.userns_mode}",
            "user namespaces of one's own are not supported; the only mode is host",
        )
    if config.cgroupns_mode not in ("", "host", "private"):
        raise InvalidArgument(f"invalid CGROUP mode: {config.cgroupns_mode}")
    if config.pid_mode not in ("", "host") and not _is_container_mode(config.pid_mode):
        raise InvalidArgument(f"invalid PID mode: {config.pid_mode}")
    if config.ipc_mode not in ("", "host", "none", "private", "shareable") and not _is_container_mode(config.ipc_mode):
        raise InvalidArgument(f"invalid IPC mode: {config.ipc_mode}")
    for entry in config.extra_hosts:
        name, _, address = entry.replace("=", ":", 1).partition(":")
        if not name or not address or any(c.isspace() for c in entry):
            raise InvalidArgument(f'bad format for add-host: "{entry}"')


def _check_foreign(mode: str, endpoints: list[EndpointConfig], links: list[str]) -> None:
    """What has no meaning in a network namespace that is the host's or another container's."""
    if any(endpoint.mac_address for endpoint in endpoints):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    if links or any(endpoint.links for endpoint in endpoints):
        what = "host type networking" if mode == "host" else "container type network"
        raise InvalidArgument(f"conflicting options: {what} can't be used with links. This would result in undefined behavior")


def _is_container_mode(mode: str) -> bool:
    return mode.startswith("container:") and len(mode) > len("container:")


def _check_security(config: ContainerConfig) -> None:
    if config.cap_add or config.cap_drop:
        from inception.linux.capabilities import NUMBERS

        for field, names in (("CapAdd", config.cap_add), ("CapDrop", config.cap_drop)):
            for name in names:
                full = "CAP_" + name.upper().removeprefix("CAP_")
                if full != "CAP_ALL" and full not in NUMBERS:
                    raise InvalidArgument(f'invalid {field}: unknown capability: "{full}"')
    for option in config.security_opt:
        key, separator, value = option.replace(":", "=", 1).partition("=") if "=" not in option else option.partition("=")
        if key == "no-new-privileges":
            if separator and value not in ("true", "false"):
                raise InvalidArgument(f"invalid --security-opt: {option!r}")
        elif key == "seccomp":
            if not value:
                raise InvalidArgument(f"invalid --security-opt: {option!r}")
        elif key == "apparmor":
            from inception.linux.labels import apparmor_enabled

            if not value:
                raise InvalidArgument(f"invalid --security-opt: {option!r}")
            if value != "unconfined" and not apparmor_enabled():
                raise InvalidArgument(f"apparmor profile {value!r}: AppArmor is not enabled on this kernel")
        elif key == "label":
            if value != "disable":
                raise InvalidArgument(f"invalid --security-opt {option!r}: SELinux labels are not supported")
        elif key == "systempaths":
            if value != "unconfined":
                raise InvalidArgument(f"invalid --security-opt: {option!r}")
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')


def _check_mounts(mounts: list[MountConfig]) -> None:
    seen: set[str] = set()
    for mount in mounts:
        where = f'invalid mount config for type "{mount.type}"'
        if mount.type not in ("bind", "volume", "tmpfs", "image"):
            raise InvalidArgument(f"{where}: mount type unknown: {mount.type!r}")
        if not mount.target:
            raise InvalidArgument(f"{where}: field Target must not be empty")
        if "\0" in mount.target or "\0" in mount.source:
            raise InvalidArgument(f"{where}: a path holds a zero byte")
        target = clean(mount.target)
        if not target.startswith("/"):
            raise InvalidArgument(f"{where}: invalid mount path: '{mount.target}' mount path must be absolute")
        if target == "/":
            raise InvalidArgument(f"{where}: invalid specification: destination can't be '/'")
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        if not mount.anonymous:  # any other mount takes its place
            seen.add(target)
        unknown = [option for option in mount.tmpfs_options if option.partition("=")[0] not in _TMPFS_OPTIONS]
        if unknown:
            raise InvalidArgument(f'invalid tmpfs option ["{unknown[0]}"]')
        if mount.type == "bind" and not mount.source.startswith("/"):
            raise InvalidArgument(f"{where}: invalid mount path: '{mount.source}' mount path must be absolute")
        if mount.type == "tmpfs" and mount.source:
            raise InvalidArgument(f"{where}: field Source must not be specified")
        if mount.type == "image" and not mount.source:
            raise InvalidArgument(f"{where}: field Source must not be empty")
        if not mount.recursive_read_only and not mount.read_only:
            raise InvalidArgument(
                f"{where}: mount source must be read-only: conflict between ReadOnlyNonRecursive and !ReadOnly"
            )
        if mount.force_recursive_read_only and not mount.read_only:
            raise InvalidArgument(f"{where}: conflict between ReadOnlyForceRecursive and !ReadOnly")
        if mount.propagation not in _PROPAGATIONS:
            raise InvalidArgument(f"{where}: invalid propagation mode: {mount.propagation}")
        if mount.subpath and (mount.subpath.startswith("/") or ".." in mount.subpath.split("/")):
            raise InvalidArgument(f"{where}: subpath must be a relative path within the {mount.type}")


def check_resources(resources: ResourceConfig) -> None:
    """Docker's checks of limits, as far as they need no kernel."""
    if resources.memory_bytes < 0 or resources.pids_limit < -1 or resources.cpu_shares < 0:
        raise InvalidArgument("limits can't be negative")
    if 0 < resources.memory_bytes < _MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if resources.memory_swap_bytes > 0:
        if not resources.memory_bytes:
            raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
        if resources.memory_swap_bytes < resources.memory_bytes:
            raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < resources.memory_reservation_bytes < _MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if resources.memory_bytes and resources.memory_reservation_bytes > resources.memory_bytes:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if resources.memory_swappiness is not None and not -1 <= resources.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {resources.memory_swappiness}, valid memory swappiness range is 0-100")
    if resources.nano_cpus:
        if resources.cpu_period_us or resources.cpu_quota_us:
            raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set.")
        count = os.cpu_count() or 1
        if not 10_000_000 <= resources.nano_cpus <= count * 10**9:
            raise InvalidArgument(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if resources.cpu_period_us and not 1000 <= resources.cpu_period_us <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < resources.cpu_quota_us < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if resources.cpuset_cpus:
        check_cpuset("cpuset cpus", "CPUs", resources.cpuset_cpus, "/sys/devices/system/cpu/online")
    if resources.cpuset_mems:
        check_cpuset("cpuset mems", "memory nodes", resources.cpuset_mems, "/sys/devices/system/node/online")
    for field, _flag, _document, _value in DEVICE_LIMITS:
        for limit in getattr(resources, field):
            check_device_limit(field, limit)
    if not -1000 <= resources.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {resources.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if resources.shm_size_bytes < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    for limit in resources.ulimits:
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}")


def check_restart(policy: RestartPolicy) -> None:
    """Raises InvalidArgument in Docker's words."""
    if policy.name not in ("", *RESTART_POLICIES):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retries and policy.name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retries < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")


def check_platform(platform: str) -> None:
    """Only this machine's own platform runs here."""
    if not platform:
        return
    system, _, architecture = platform.partition("/")
    if system != "linux" or (architecture and architecture.split("/")[0] not in _own_architectures()):
        raise InvalidArgument(f"platform {platform} does not match this machine (linux/{_own_architectures()[0]})")


def _own_architectures() -> tuple[str, ...]:
    machine = os.uname().machine
    return {"x86_64": ("amd64", "x86_64"), "aarch64": ("arm64", "aarch64")}.get(machine, (machine,))


def log_limits(config: ContainerConfig) -> tuple[int, int]:
    """`max-size` in bytes and `max-file` of the log. Bounded by default, unlike Docker's: five files of 20 MB."""
    size, files = 20_000_000, 5
    for key, value in config.log.options.items():
        if key == "max-size":
            size = _parse_log_size(value)
        elif key == "max-file":
            if not value.isdecimal() or int(value) < 1:
                raise InvalidArgument("max-file cannot be less than 1")
            files = int(value)
        elif key in OPTIONS:
            check_tags(config)
        else:
            raise InvalidArgument(f"unknown log opt '{key}' for {config.log.driver} log driver")
    return size, files


def _parse_log_size(text: str) -> int:
    """`10m`, in the decimal units that Docker counts logs in; 0 for no limit (`-1`)."""
    digits = text.lower().removesuffix("b")
    shift = "kmg".find(digits[-1:]) + 1 if digits else 0
    digits = digits[:-1] if shift else digits
    if digits == "-1":
        return 0
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(digits) * int(1000**shift)


def parse_signal(text: str) -> int:
    """A signal's number of its name, with or without SIG, or of its number. Raises InvalidArgument: `Invalid signal: x`."""
    name = text.upper().removeprefix("SIG")
    if text.isdecimal():
        number = int(text)
        if 0 < number <= 64:
            return number
    else:
        base, sign, offset = name.partition("+" if "+" in name else "-")
        if base in ("RTMIN", "RTMAX") and (not sign or offset.isdecimal()):
            number = int(getattr(_signal, f"SIG{base}")) + int(offset or 0) * (-1 if sign == "-" else 1)
            if 34 <= number <= 64:
                return number
        elif not sign and name.isalnum() and hasattr(_signal, f"SIG{name}"):  # not SIG_IGN and its like
            return int(getattr(_signal, f"SIG{name}"))
    raise InvalidArgument(f"Invalid signal: {text}")
