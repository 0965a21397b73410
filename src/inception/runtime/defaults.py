"""Docker's defaults: what a container gets when nobody says otherwise.

Source: the behaviour of Docker 28 (`docker run` and `docker inspect`), runtime-spec config-linux.md, "Default Filesystems".
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.oci.runtime import DeviceRule, Mount, Seccomp, SeccompArg, SeccompSyscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_CAPABILITIES: list[str] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]

MASKED_PATHS: list[str] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]

READONLY_PATHS: list[str] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
]

_thermal: list[str] | None = None


def masked_paths() -> list[str]:
    """MASKED_PATHS and the thermal counters of each processor that this machine has (Docker 28)."""
    global _thermal
    if _thermal is None:
        folder = "/sys/devices/system/cpu"
        _thermal = [
            f"{folder}/{name}/thermal_throttle"
            for name in sorted(os.listdir(folder))
            if name[:3] == "cpu" and name[3:].isdigit() and os.path.isdir(f"{folder}/{name}/thermal_throttle")
        ]
    return MASKED_PATHS + _thermal


def default_mounts() -> list[Mount]:
    """/proc, /dev and its parts, /sys, the control groups, in the order in which they must be mounted."""
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        Mount(destination="/proc", type="proc", source="proc", options=quiet),
        Mount(destination="/dev", type="tmpfs", source="tmpfs", options=["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=[*quiet, "ro"]),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=["ro", *quiet]),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=quiet),
        Mount(destination="/dev/shm", type="tmpfs", source="shm", options=[*quiet, "mode=1777", "size=67108864"]),
    ]


def default_device_rules() -> list[DeviceRule]:
    """Nothing, then: making any node, and using those that every container has."""

    def allow(type: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
        return DeviceRule(allow=True, type=type, major=major, minor=minor, access=access)

    return [
        DeviceRule(allow=False, access="rwm"),
        allow("c", None, None, "m"),
        allow("b", None, None, "m"),
        *(allow("c", major, minor) for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))),
        allow("c", 136, None),
    ]


def default_seccomp(capabilities: list[str]) -> Seccomp:
    """Docker's default profile for a process that may hold *capabilities*."""
    import json  # only where a filter is compiled, which is kept

    with open(os.path.join(os.path.dirname(__file__), "seccomp.json"), "rb") as file:
        return load_seccomp(json.load(file), capabilities)


_GO_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_KNOWN_KEYS = {"defaultAction", "defaultErrnoRet", "architectures", "archMap", "flags", "syscalls", "listenerPath"}


def load_seccomp(document: Any, capabilities: list[str]) -> Seccomp:
    """A profile in Docker's format (also plain OCI), for this machine and *capabilities*. Raises InvalidArgument."""
    if not isinstance(document, dict):
        raise InvalidArgument("seccomp profile: expected an object")
    for key in document:
        if key not in _KNOWN_KEYS and key != "listenerMetadata":
            raise InvalidArgument(f"seccomp profile: {key}: unknown property")
    if document.get("architectures") and document.get("archMap"):
        raise InvalidArgument("seccomp profile: use either 'architectures' or 'archMap'")
    native = _NATIVE[abi.ARCHITECTURE]
    architectures = list(document.get("architectures") or [])
    for entry in document.get("archMap") or []:
        if entry.get("architecture") == native:
            architectures += [native, *(entry.get("subArchitectures") or [])]
    if not isinstance(document.get("defaultAction"), str):
        raise InvalidArgument("seccomp profile: defaultAction: missing")
    rules = []
    for index, rule in enumerate(document.get("syscalls") or []):
        where = f"seccomp profile: syscalls[{index}]"
        if not isinstance(rule, dict) or not isinstance(rule.get("action"), str):
            raise InvalidArgument(f"{where}: expected an object with an action")
        names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
        if not names or not all(isinstance(name, str) for name in names):
            raise InvalidArgument(f"{where}: names no system call")
        if not _applies(rule, set(capabilities)):
            continue
        args = [_argument(arg, where) for arg in rule.get("args") or []]
        rules.append(SeccompSyscall(names=list(names), action=rule["action"], errno_ret=rule.get("errnoRet"), args=args))
    return Seccomp(
        default_action=document["defaultAction"],
        default_errno_ret=document.get("defaultErrnoRet"),
        architectures=architectures,
        flags=list(document.get("flags") or []),
        listener_path=document.get("listenerPath") or "",
        syscalls=rules,
    )


def _argument(arg: Any, where: str) -> SeccompArg:
    if not isinstance(arg, dict) or type(arg.get("index")) is not int or type(arg.get("value")) is not int:
        raise InvalidArgument(f"{where}.args: expected objects with index and value")
    return SeccompArg(index=arg["index"], value=arg["value"], value_two=arg.get("valueTwo") or 0, op=str(arg.get("op")))


def _applies(rule: dict[str, Any], capabilities: set[str]) -> bool:
    include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
    arch = _GO_ARCHES[abi.ARCHITECTURE]
    if include.get("arches") and arch not in include["arches"]:
        return False
    if include.get("caps") and not set(include["caps"]) <= capabilities:
        return False
    if include.get("minKernel") and not _kernel_is_at_least(include["minKernel"]):
        return False
    if arch in (exclude.get("arches") or []) or capabilities & set(exclude.get("caps") or []):
        return False
    return not (exclude.get("minKernel") and _kernel_is_at_least(exclude["minKernel"]))


def _kernel_is_at_least(version: str) -> bool:
    def numbers(text: str) -> list[int]:
        parts = []
        for part in text.split(".")[:2]:
            digits = part[: len(part) - len(part.lstrip("0123456789"))]
            parts.append(int(digits or 0))
        return parts

    return numbers(os.uname().release) >= numbers(version)
