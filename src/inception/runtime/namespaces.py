"""Namespaces of a container as steps: made by the clone where that does it, else joined or made one after the other.

    joined by path          setns, with the runtime's own rights, while the host's paths are in sight
    a new user namespace    unshare; the caller writes its id maps while the plan pauses (value 0); become root in there
    then all other new ones unshare, so that the new user namespace owns them; clocks are set before anyone is in them
    pid and time            are for children: fork, and the child goes on as the container's process

Without a user or time namespace the clone makes the new ones itself. Source: namespaces(7), user_namespaces(7),
time_namespaces(7); runtime-spec config-linux.md, "Namespaces".
"""

from __future__ import annotations

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.namespaces import KINDS
from inception.runtime.plan import Plan, Slot
from inception.runtime.process import plan_become_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Linux, TimeOffset

PAUSE_MAPS = 0  # the value of the pause in which the caller writes the id maps
_AT_CLONE = ("mount", "pid", "uts", "ipc", "network")
_FOR_CHILDREN = {"pid", "time"}
_CLOCKS = ("monotonic", "boottime")


def check_namespaces(linux: Linux) -> None:
    """Raises InvalidArgument for an unknown kind, or one that is there twice."""
    kinds: set[str] = set()
    for index, namespace in enumerate(linux.namespaces):
        place = f"linux.namespaces[{index}]"
        if namespace.type not in KINDS:
            raise InvalidArgument(f"{place}.type: unknown namespace {namespace.type!r}")
        if namespace.type in kinds:
            raise InvalidArgument(f"{place}.type: {namespace.type!r} is there twice")
        if namespace.path and not namespace.path.startswith(("/", "fd:")):
            raise InvalidArgument(f"{place}.path: {namespace.path!r} is not an absolute path")
        kinds.add(namespace.type)


def has_mount_namespace(linux: Linux) -> bool:
    """Whether its mounts are not the host's."""
    return any(namespace.type == "mount" for namespace in linux.namespaces)


def has_user_namespace(linux: Linux) -> bool:
    """Whether the container's user namespace is another than the runtime's."""
    return any(namespace.type == "user" for namespace in linux.namespaces)


def has_new_user_namespace(linux: Linux) -> bool:
    """Whether its id maps are ours to write."""
    return any(namespace.type == "user" and not namespace.path for namespace in linux.namespaces)


def plan_namespaces(plan: Plan, linux: Linux, *, rootless: bool = False) -> None:
    """The steps from the clone to a process that is in all of its namespaces."""
    check_namespaces(linux)
    plan.clone_source = "linux.namespaces"
    new = {namespace.type: index for index, namespace in enumerate(linux.namespaces) if not namespace.path}
    in_steps = "time" in new or has_user_namespace(linux)  # a user namespace, new or joined, is to own the others
    if not in_steps:
        for kind in _AT_CLONE:
            plan.clone_flags |= KINDS[kind][1] if kind in new else 0
    _plan_joins(plan, linux, rootless=rootless)
    if "user" in new:
        _plan_user_namespace(plan, new["user"], linux)
    rest = [kind for kind in new if kind != "user" and (in_steps or kind not in _AT_CLONE)]
    if rest:
        plan.source = "linux.namespaces"
        flags = 0
        for kind in rest:
            flags |= KINDS[kind][1]
        plan.call("unshare", flags, why="The container's own: what it sees of the machine.")
    if "time" in new:
        _plan_clocks(plan, linux.time_offsets)
    joined = {namespace.type for namespace in linux.namespaces if namespace.path}
    if _FOR_CHILDREN & (joined | set(rest)):
        plan.source = "linux.namespaces"
        plan.call("fork", 0, why="A pid or time namespace is for children; this one is the container's process.")


def _plan_joins(plan: Plan, linux: Linux, *, rootless: bool) -> None:
    """Enter those that have a path. All are opened first: the mount namespace changes what paths mean.

    The user namespace comes last: with the rights of the host's root every other can be entered, whoever owns it. Without
    them it comes first, since it is where our rights come from.
    """
    joined = [(index, namespace) for index, namespace in enumerate(linux.namespaces) if namespace.path]
    slots = []
    for index, namespace in joined:
        plan.source = f"linux.namespaces[{index}]"
        if namespace.path.startswith("fd:"):
            slots.append(plan.inherit(namespace.path[3:]))
        else:
            slots.append(Slot(f"{namespace.type}-namespace"))
            plan.call("openat", abi.AT_FDCWD, namespace.path, abi.O_RDONLY | abi.O_CLOEXEC, 0, out=slots[-1])
    order = sorted(zip(joined, slots, strict=True), key=lambda item: (item[0][1].type == "user") != rootless)
    for (index, namespace), slot in order:
        plan.source = f"linux.namespaces[{index}]"
        plan.call("setns", slot, KINDS[namespace.type][1], why=f"Enters a {namespace.type} namespace that exists already.")
        if namespace.type == "user":
            plan_become_root(plan, linux)


def _plan_user_namespace(plan: Plan, index: int, linux: Linux) -> None:
    plan.source = f"linux.namespaces[{index}]"
    plan.call("unshare", abi.CLONE_NEWUSER, why="Users and groups of its own; its root is an ordinary user outside.")
    # The files of /proc that take the maps belong to whoever may trace this process; it may not while it is undumpable.
    plan.source = "linux.uidMappings"
    plan.call("pause", PAUSE_MAPS, 1, why="The caller writes which ids inside are which outside.")
    plan_become_root(plan, linux)


def _plan_clocks(plan: Plan, offsets: dict[str, TimeOffset]) -> None:
    lines = ""
    for clock, offset in offsets.items():
        if clock not in _CLOCKS:
            raise InvalidArgument(f"linux.timeOffsets.{clock}: unknown clock, not one of {', '.join(_CLOCKS)}")
        lines += f"{clock} {offset.secs} {offset.nanosecs}\n"
    if lines:
        plan.source = "linux.timeOffsets"
        path = "/proc/self/timens_offsets"
        plan.call("prctl", abi.PR_SET_DUMPABLE, 1, 0, 0, 0, why="The next file is its own only while it is dumpable.")
        plan.call("write", abi.AT_FDCWD, path, lines, len(lines), 0, why="Its clocks, before anyone reads them.")
        plan.call("prctl", abi.PR_SET_DUMPABLE, 0, 0, 0, 0)
