"""`kill`, `delete`, `pause`, `resume`, `update`: the commands that change a container."""

from __future__ import annotations

import os

from inception.errors import Conflict, InvalidArgument
from inception.runtime.lifecycle import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.oci.runtime import Linux
    from inception.runtime.cli import Call

# kill -l on Linux; `signal` makes enums of them, for 3 ms.
_SIGNALS = """
    HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ
    VTALRM PROF WINCH IO PWR SYS
"""
_NUMBERS = {name: number for number, name in enumerate(_SIGNALS.split(), 1)} | {"IOT": 6, "CLD": 17, "POLL": 29}
_RTMIN, _RTMAX = 34, 64
_MAX_BYTES = 1 << 20


def kill(call: Call) -> int:
    """`kill`"""
    signal = parse_signal(call.arguments[1] if len(call.arguments) > 1 else "TERM")
    for id in _ids(call):
        Container(call.root, id).kill(signal, all=call.on("all"))
    return 0


def _ids(call: Call) -> list[str]:
    """The container, or with --regex (of crun) all whose ids the pattern finds."""
    if not call.on("regex"):
        return [call.id]
    import re

    from inception.runtime.state import list_ids

    try:
        pattern = re.compile(call.id)
    except re.error as error:
        raise InvalidArgument(f"--regex {call.id!r}: {error}") from None
    return [id for id in list_ids(call.root) if pattern.search(id)]


def parse_signal(text: str) -> int:
    """`KILL`, `SIGKILL`, `kill`, `RTMIN+1`, `9`, or `0`, which only asks. Raises InvalidArgument."""
    if text.isascii() and text.isdigit() and int(text) <= _RTMAX:
        return int(text)
    name = text.upper().removeprefix("SIG")
    for base, number, sign in (("RTMIN", _RTMIN, "+"), ("RTMAX", _RTMAX, "-")):
        rest = name.removeprefix(base)
        if name.startswith(base) and (not rest or (rest[0] == sign and rest[1:].isdigit())):
            number += int(rest or "0")
            if _RTMIN <= number <= _RTMAX:
                return number
    if name not in _NUMBERS:
        raise InvalidArgument(f"unknown signal {text!r}")
    return _NUMBERS[name]


def delete(call: Call) -> int:
    """`delete`"""
    for id in _ids(call):
        for warning in Container(call.root, id).delete(force=call.on("force")):
            call.log.warn(warning)
    return 0


def pause(call: Call) -> int:
    """`pause`"""
    Container(call.root, call.id).pause()
    return 0


def resume(call: Call) -> int:
    """`resume`"""
    Container(call.root, call.id).resume()
    return 0


# option of `update` -> (object, field) of `linux.resources`
_LIMITS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS = ("cpuset-cpus", "cpuset-mems")
_SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def update(call: Call) -> int:
    """`update`"""
    from inception.oci.runtime import Resources
    from inception.record import decode, encode
    from inception.runtime import cgroups

    container = Container(call.root, call.id)
    values = _read_resources(call.text("resources")) if call.on("resources") else _from_options(call)
    resources = decode(Resources, _without_zeroes(values), unknown="fold")
    schemata = [call.text(name) for name in ("l3-cache-schema", "mem-bw-schema") if call.text(name)]
    with container.folder.lock():
        state, status = container.load()
        if status in ("stopped", "creating"):
            raise Conflict("container not running")
        spec = container.folder.load_spec()
        assert spec.linux is not None
        if schemata:
            _update_schemata(spec.linux, state.id, schemata)
        known = encode(spec.linux.resources) if spec.linux.resources else {}
        cgroup = cgroups.at(state.cgroup)
        cgroups.update(cgroup, state.pid, complete := _with_partners(resources, known))
        if state.unit:
            from inception.runtime.systemd import update_scope

            update_scope(state.unit, complete, v2="memory" not in cgroup.cgroups.v1)
        spec.linux.resources = decode(Resources, _merged(known, encode(resources)))
        container.folder.save_spec(spec)
    return 0


def _update_schemata(linux: Linux, id: str, schemata: list[str]) -> None:
    from inception.runtime import resctrl

    if linux.intel_rdt is None:
        raise Conflict("--l3-cache-schema, --mem-bw-schema: the container was made without linux.intelRdt")
    resctrl.update(linux.intel_rdt, id, schemata, resctrl.mounted())


def _read_resources(path: str) -> dict[str, Any]:
    from inception.jsontext import loads

    try:
        if path == "-":
            data = _read_all(0)
        else:
            with open(path, "rb") as file:
                data = file.read(_MAX_BYTES)
        found = loads(data)
    except OSError as error:
        raise InvalidArgument(f"--resources {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"--resources {path}: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"--resources {path}: expected an object")
    return found


def _read_all(fd: int) -> bytes:
    data = b""
    while len(data) < _MAX_BYTES and (chunk := os.read(fd, 65536)):
        data += chunk
    return data


def _from_options(call: Call) -> dict[str, Any]:
    found: dict[str, dict[str, int | str]] = {}
    for option, (section, field) in _LIMITS.items():
        if call.on(option):
            text = call.text(option)
            number: int | str = (
                text if option in _TEXTS else _parse_size(text, option) if section == "memory" else _parse(text, option)
            )
            found.setdefault(section, {})[field] = number
    return found


def _parse(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid value {text!r} for flag -{option}: expected a number") from None


def _parse_size(text: str, option: str) -> int:
    """Bytes; `64m` and `64MiB` too."""
    digits = text.lower().removesuffix("ib").removesuffix("b")
    suffix = digits[-1:] if digits[-1:].isalpha() else ""
    if suffix not in _SUFFIXES:
        raise InvalidArgument(f"invalid value {text!r} for flag -{option}: expected bytes")
    return _parse(digits.removesuffix(suffix), option) * _SUFFIXES[suffix]


_ZEROES = ("burst", "idle")


def _without_zeroes(values: dict[str, Any]) -> dict[str, Any]:
    """Engines send a whole document in which 0 and "" mean: leave it; but for what only those send who mean it."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _without_zeroes(value)
        if value not in (None, "", {}, []) and not (value == 0 and type(value) is int and key not in _ZEROES):
            kept[key] = value
    return kept


#: (section, what is given, the partner that it needs to make sense)
_PARTNERS = (("memory", "swap", "limit"), ("memory", "limit", "swap"), ("cpu", "quota", "period"), ("cpu", "period", "quota"))


def _with_partners(resources: Any, known: dict[str, Any]) -> Any:
    """Limits that only make sense together get the partner that the container has."""
    from inception.record import replace

    memory = resources.memory
    if memory is not None and memory.limit == -1 and memory.swap is None and known.get("memory", {}).get("swap"):
        # Else the limit of memory and swap together would stay, below that of memory.
        return replace(resources, memory=replace(memory, swap=-1))
    for section, field, partner in _PARTNERS:
        given = getattr(resources, section)
        value = known.get(section, {}).get(partner)
        if given is None or getattr(given, field) is None or getattr(given, partner) is not None or value is None:
            continue
        resources = replace(resources, **{section: replace(given, **{partner: value})})
    return resources


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        **old,
        **{k: _merged(old[k], v) if isinstance(v, dict) and isinstance(old.get(k), dict) else v for k, v in new.items()},
    }
