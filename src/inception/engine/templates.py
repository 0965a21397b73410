"""Compiled plans kept by a process that starts many containers alike.

Two containers of the same configuration have plans that differ in nothing but the container's id, which has always the same
length: in paths, the host name, the environment. So the bytes compiled for one become another's by putting its id in the place
of the first one's, which costs a tenth of planning and compiling anew (0.2 of 2.5 ms). What decides a plan is in the key;
a mistake there would start a container that nobody asked for, so the key is everything: configuration, surroundings, root.
"""

from __future__ import annotations

import os

from inception.engine.cgroups import cgroup_of
from inception.errors import Unavailable
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.engine.spec import Surroundings
    from inception.errors import StartFailed
    from inception.linux.bpf import DeviceRule
    from inception.linux.cgroup import JoinPlan, Write
    from inception.oci.runtime import Mount, Resources
    from inception.runtime import Plan, SpawnError

_SHORT = 12
_KEPT = 64
_MARK = "<id>"


class Limits(Record):
    """What a container's cgroup gets before anyone joins it."""

    writes: list[Write]
    controllers: list[str]
    devices: list[DeviceRule]


class Prepared:
    """A plan that is compiled already. *again* makes it anew, for the words of a failure."""

    def __init__(self, compiled: bytes, limits: Limits, again: Callable[[], Plan]) -> None:
        self.limits = limits
        self._compiled = compiled
        self._again = again

    def compile(self) -> bytes:
        return self._compiled

    def failure(self, error: SpawnError) -> StartFailed:
        return self._again().failure(error)


class Templates:
    """The plans of one engine in one process, the oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, bytes, Limits]] = {}

    def find(self, key: str, container_id: str, again: Callable[[], Plan]) -> Prepared | None:
        """The plan that *key* had, made this container's."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        other, compiled, limits = kept
        compiled = compiled.replace(other.encode(), container_id.encode())
        compiled = compiled.replace(other[:_SHORT].encode(), container_id[:_SHORT].encode())
        return Prepared(compiled, limits, again)

    def keep(self, key: str, container_id: str, compiled: bytes, limits: Limits) -> None:
        if len(self._kept) >= _KEPT:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = (container_id, compiled, limits)


def key_of(record: ContainerRecord, config: str, around: Surroundings, rootfs: Mount) -> str:
    """Everything that decides the plan of *record*, with its id left open. *config* is its configuration as JSON."""
    text = "\0".join((record.image_id, record.kind, config, repr(around), repr(rootfs)))
    return text.replace(record.id, _MARK).replace(record.id[:_SHORT], _MARK)


def plan_limits(engine: Engine, resources: Resources) -> Limits:
    """Raises InvalidArgument for what this machine can't limit."""
    from inception.runtime.resources import device_rules, limited_controllers, plan_resources

    writes = plan_resources(resources, engine.cgroups)
    return Limits(writes=writes, controllers=limited_controllers(writes), devices=device_rules(resources))


def open_cgroup(engine: Engine, record: ContainerRecord, limits: Limits) -> JoinPlan:
    """Make the container's cgroup and put its limits in force."""
    cgroup = cgroup_of(engine, record)
    try:
        join = cgroup.create(limits.controllers, limits.devices)
        cgroup.apply(limits.writes)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename and os.path.isdir(os.path.dirname(error.filename)):
            raise Unavailable(f"this kernel has no limit {os.path.basename(error.filename)}") from error
        hint = "containers need root; images can be pulled, loaded and saved without" if os.geteuid() else ""
        raise Unavailable(f"create cgroup {cgroup.path}: {(error.strerror or str(error)).lower()}", hint) from error
    return join
