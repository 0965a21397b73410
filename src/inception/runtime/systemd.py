"""systemd as the owner of a container's cgroup: a transient scope, made, changed and stopped over D-Bus.

    create      a helper that only waits; StartTransientUnit(UNIT.scope, PIDs=[helper], Delegate, limits); JobRemoved
                the cgroup is there, and ours to use (Delegate): limits are written to its files too, init is cloned into it
                the helper ends; the scope lives as long as something is in it
    update      SetUnitProperties, so that systemd, when it writes its own settings again, writes the new ones
    delete      StopUnit

Imported only for --systemd-cgroup. Names, properties and conversions are runc's, since engines and people look for them.
Source: systemd.resource-control(5), org.freedesktop.systemd1(5); runc's docs/systemd.md.
"""

from __future__ import annotations

import os
import re

from inception.errors import InvalidArgument, Unavailable
from inception.runtime.dbus import SYSTEM_BUS, Bus, BusError
from inception.runtime.resources import cpu_weight, io_weight, swap_max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from inception.oci.runtime import Resources

    #: Name and variant.
    Property = tuple[str, tuple[str, Any]]

_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_INFINITY = (1 << 64) - 1
_PREFIX = "inception-runc"
_JOB_TIMEOUT_S = 30.0
_ANNOTATION = "org.systemd.property."


class Scope:
    """Where a container's cgroup is in systemd's words."""

    def __init__(self, slice: str, unit: str) -> None:
        self.slice, self.unit = slice, unit

    @property
    def path(self) -> str:
        """From the root of the hierarchies; below the user's manager for an ordinary user."""
        own = _control_group() if os.geteuid() else ""
        return f"{own}{expand_slice(self.slice)}/{self.unit}"


def parse_scope(given: str, id: str) -> Scope:
    """`slice:prefix:name` of `linux.cgroupsPath`; the defaults when it is empty. Raises InvalidArgument."""
    parts = given.split(":") if given else ["", _PREFIX, id]
    if len(parts) != 3:
        raise InvalidArgument(
            'linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
            f'got "{given}" instead'
        )
    slice, prefix, name = parts
    slice = slice or ("user.slice" if os.geteuid() else "system.slice")
    if not slice.endswith(".slice") or not re.fullmatch(r"[A-Za-z0-9:_.\\-]+", slice):
        raise InvalidArgument(f"linux.cgroupsPath: {slice!r} is not the name of a slice")
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not name or not re.fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}", unit):
        raise InvalidArgument(f"linux.cgroupsPath: {unit!r} is not the name of a unit")
    if unit.endswith(".slice"):
        raise InvalidArgument(f"linux.cgroupsPath: {unit!r}: a slice holds no processes")
    return Scope(slice, unit)


def expand_slice(slice: str) -> str:
    """The path of a slice: each dash is a level. Raises InvalidArgument.

    >>> expand_slice("a-b.slice")
    '/a.slice/a-b.slice'
    """
    name = slice.removesuffix(".slice")
    if name == "-":
        return ""
    parts = name.split("-")
    if not all(parts):
        raise InvalidArgument(f"linux.cgroupsPath: invalid slice name: {slice}")
    return "".join(f"/{'-'.join(parts[: depth + 1])}.slice" for depth in range(len(parts)))


class Helper:
    """A process for a scope that has no other yet; it does nothing, and ends with `close` or with its parent."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._writer)
                os.read(reader, 1)
            finally:
                os._exit(0)
        os.close(reader)

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            os.waitpid(self.pid, 0)


def start_scope(
    scope: Scope, id: str, helper: Helper, resources: Resources | None, annotations: Mapping[str, str], *, v2: bool
) -> None:
    """Makes the unit with *helper* in it. Raises Unavailable with systemd's words."""
    properties: list[Property] = [
        ("Description", ("s", f"inception-runc container {id}")),
        ("Slice", ("s", scope.slice)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [helper.pid])),
        ("DefaultDependencies", ("b", False)),
        *((f"{kind}Accounting", ("b", True)) for kind in ("Memory", "CPU", "IO" if v2 else "BlockIO", "Tasks")),
        *(plan_properties(resources, v2=v2) if resources else []),
        *parse_annotations(annotations),
    ]
    with _bus() as bus:
        try:
            # Names of units that failed stay taken.
            _call(bus, "ResetFailedUnit", "s", [scope.unit])
        except BusError:
            pass
        _run_job(
            bus, f"start unit {scope.unit}", "StartTransientUnit", "ssa(sv)a(sa(sv))", [scope.unit, "fail", properties, []]
        )


def update_scope(unit: str, resources: Resources, *, v2: bool) -> None:
    """Other limits, until the unit ends. Raises Unavailable."""
    properties = plan_properties(resources, v2=v2)
    if not properties:
        return
    with _bus() as bus:
        try:
            _call(bus, "SetUnitProperties", "sba(sv)", [unit, True, properties])
        except BusError as error:
            raise Unavailable(f"update unit {unit}: {error}") from error


def stop_scope(unit: str) -> None:
    """Ends the unit and all that is in it. Nothing happens where there is none. Raises Unavailable."""
    with _bus() as bus:
        try:
            _run_job(bus, f"stop unit {unit}", "StopUnit", "ss", [unit, "replace"])
        except Unavailable as error:
            if not isinstance(error.__cause__, BusError) or not error.__cause__.name.endswith(".NoSuchUnit"):
                raise
        try:
            _call(bus, "ResetFailedUnit", "s", [unit])
        except BusError:
            pass  # it has not failed, or is gone


def plan_properties(resources: Resources, *, v2: bool) -> list[Property]:
    """What systemd shall know of *resources*; the rest is in the control files alone, as with runc."""
    found: list[Property] = []
    memory, cpu = resources.memory, resources.cpu
    if memory is not None:
        if memory.limit:
            found.append(("MemoryMax" if v2 else "MemoryLimit", ("t", _limit(memory.limit))))
        if v2 and memory.reservation:
            found.append(("MemoryLow", ("t", _limit(memory.reservation))))
        if v2 and memory.swap:
            text = swap_max(memory.limit or 0, memory.swap)
            found.append(("MemorySwapMax", ("t", _INFINITY if text == "max" else int(text))))
    if cpu is not None:
        if cpu.shares:
            found.append(("CPUWeight", ("t", cpu_weight(cpu.shares))) if v2 else ("CPUShares", ("t", cpu.shares)))
        if cpu.period:
            found.append(("CPUQuotaPeriodUSec", ("t", cpu.period)))
        if cpu.quota:
            found.append(("CPUQuotaPerSecUSec", ("t", quota_per_second(cpu.quota, cpu.period or 100000))))
        for name, cpus in (("AllowedCPUs", cpu.cpus), ("AllowedMemoryNodes", cpu.mems)):
            if v2 and cpus:
                found.append((name, ("ay", list(cpu_mask(cpus)))))
    if resources.pids is not None and resources.pids.limit is not None:
        limit = resources.pids.limit
        found.append(("TasksMax", ("t", limit if limit > 0 else _INFINITY)))
    if resources.block_io is not None and resources.block_io.weight:
        weight = resources.block_io.weight
        found.append(("IOWeight", ("t", io_weight(weight))) if v2 else ("BlockIOWeight", ("t", weight)))
    return found


def quota_per_second(quota_us: int, period_us: int) -> int:
    """Microseconds of a second; in steps of 10 ms, upwards, since systemd counts in percents.

    >>> quota_per_second(50000, 100000), quota_per_second(12345, 100000)
    (500000, 130000)
    """
    if quota_us < 0:
        return _INFINITY
    return -(-quota_us * 1_000_000 // period_us // 10_000) * 10_000


def cpu_mask(text: str) -> bytes:
    """The bits of a list of numbers and ranges, the lowest first. Raises InvalidArgument.

    >>> cpu_mask("0-1,9").hex()
    '0302'
    """
    mask = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InvalidArgument(f"linux.resources.cpu: {text!r} is not a list of numbers")
        start, end = int(first), int(last or first)
        if end < start or end > 8191:
            raise InvalidArgument(f"linux.resources.cpu: {text!r} is not a list of numbers")
        mask |= ((1 << (end - start + 1)) - 1) << start
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def parse_annotations(annotations: Mapping[str, str]) -> list[Property]:
    """`org.systemd.property.NAME: VALUE`, values as gdbus writes them. Raises InvalidArgument.

    A name that ends in `Sec` is in seconds, and systemd's property of microseconds is meant.
    """
    found: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(_ANNOTATION):
            continue
        name = key[len(_ANNOTATION) :]
        if not re.fullmatch(r"[A-Za-z]{3,}", name):
            raise InvalidArgument(f"annotations.{key}: {name!r} is not the name of a property")
        value = _parse_variant(key, text)
        if name.endswith("Sec") and not name.endswith("USec"):
            value = "t", int(value[1] * 1_000_000)
            name = f"{name[:-3]}USec"
        found.append((name, value))
    return found


_TYPES = {"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t", "double": "d"}


def _parse_variant(key: str, text: str) -> tuple[str, Any]:
    text = text.strip()
    if text in ("true", "false"):
        return "b", text == "true"
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] and text[0] not in text[1:-1]:
        return "s", text[1:-1]
    kind, _, number = text.rpartition(" ")
    try:
        signature = _TYPES[kind.strip() or ("double" if "." in number else "int32")]
        return signature, float(number) if signature == "d" else int(number, 0)
    except (KeyError, ValueError):
        raise InvalidArgument(
            f"annotations.{key}: {text!r} is no value that is understood: true, 'text', 7 or uint64 7"
        ) from None


def _run_job(bus: Bus, what: str, member: str, signature: str, body: list[Any]) -> None:
    """Calls what answers with a job, and waits for its end."""
    bus.call(
        *("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch"),
        "s",
        ["type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'"],
    )
    try:
        _call(bus, "Subscribe")
        (job,) = _call(bus, member, signature, body)
    except BusError as error:
        raise Unavailable(f"{what}: {error}") from error
    result = bus.wait_signal("JobRemoved", 1, job, _JOB_TIMEOUT_S)[3]
    if result not in ("done", "skipped"):
        raise Unavailable(f"{what}: the job's result is {result}")


def _call(bus: Bus, member: str, signature: str = "", body: list[Any] | None = None) -> list[Any]:
    return bus.call(*_MANAGER, member, signature, body or [])


def _control_group() -> str:
    """The cgroup that the user's manager is in charge of."""
    with _bus() as bus:
        try:
            path, interface = _MANAGER[1], "org.freedesktop.DBus.Properties"
            (value,) = bus.call(_MANAGER[0], path, interface, "Get", "ss", [_MANAGER[2], "ControlGroup"])
        except BusError as error:
            raise Unavailable(f"systemd: {error}") from error
    return str(value[1])


def _bus() -> Bus:
    """The system's, or for an ordinary user their own. Raises Unavailable."""
    if not os.path.isdir("/run/systemd/system"):
        raise Unavailable("--systemd-cgroup: systemd is not running as this machine's init", "use the cgroupfs driver")
    if os.geteuid() == 0:
        return Bus(SYSTEM_BUS)
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if address.startswith("unix:path="):
        return Bus(address.removeprefix("unix:path=").partition(",")[0])
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return Bus(f"{runtime_dir}/bus")


def _limit(value: int) -> int:
    return value if value >= 0 else _INFINITY
