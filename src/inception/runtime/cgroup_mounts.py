"""The `cgroup` mount of a container, on each layout of the host: v2, v1, hybrid. Source: cgroups(7), cgroup_namespaces(7)."""

from __future__ import annotations

import os

from inception.linux import abi
from inception.linux.files import read_file
from inception.runtime.mounts import MountOptions, plan_attach, plan_bind, plan_filesystem, plan_setattr
from inception.runtime.plan import Plan, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Linux, Mount
    from inception.runtime.container import Join

_CGROUPS = "/sys/fs/cgroup"
_EEXIST = 17
_hierarchies: list[str] = []


def hierarchies() -> list[str]:
    """The host's hierarchies as /proc/self/cgroup names them: `cpu,cpuacct`, `name=systemd`, and empty for v2."""
    if not _hierarchies:
        _hierarchies.extend(line.split(":", 2)[1] for line in os.fsdecode(read_file("/proc/self/cgroup")).splitlines())
    return _hierarchies


def plan_cgroup_mount(
    plan: Plan, root: Slot, mount: Mount, options: MountOptions, linux: Linux, where: str, join: Join | None
) -> None:
    """Show the container its cgroups: its own namespace's; without one only the folders that it joins, not the host's tree."""
    plan.source = where
    made = Slot("mount")
    own = any(namespace.type == "cgroup" for namespace in linux.namespaces)
    found = hierarchies()
    if not own:
        _plan_folders(plan, root, mount, options, where, join)
        return
    if found == [""]:
        options.data.clear()
        plan_filesystem(plan, "cgroup2", "", options, made, "The container's own part of the control groups.")
        plan_attach(plan, root, mount.destination, made, kind=abi.TARGET_DIRECTORY)
        return
    readonly = options.set & abi.MOUNT_ATTR_RDONLY
    folder = MountOptions(["nosuid", "nodev", "noexec", "mode=755", "size=64k"], where)
    base = Slot("cgroups")
    plan_filesystem(plan, "tmpfs", "", folder, base, "A folder for the hierarchies of control groups, version 1.")
    plan_attach(plan, root, mount.destination, base, kind=abi.TARGET_DIRECTORY)
    for names in found:
        one = MountOptions([], where)
        one.set = options.set
        if names:
            one.data = names.split(",")
            if names.startswith("name="):
                one.data.insert(0, "none")
        fstype = "cgroup" if names else "cgroup2"
        name = names.removeprefix("name=") or "unified"
        plan_filesystem(plan, fstype, "cgroup" if names else "", one, made, f"The container's own {name} control group.")
        _attach(plan, base, name, made)
        for alias in names.split(",") if "," in names else []:
            plan.call("symlinkat", names, base, alias)
    if readonly:
        plan_setattr(plan, base, abi.MOUNT_ATTR_RDONLY, 0, 0, recursive=False, why="")


def _plan_folders(plan: Plan, root: Slot, mount: Mount, options: MountOptions, where: str, join: Join | None) -> None:
    """Its own folder of each hierarchy, by bind mounts."""
    made, base = Slot("mount"), Slot("cgroups")
    joined = [] if join is None else join.v1_folders
    unified = None if join is None else join.cgroup2_path
    one = MountOptions([], where)
    one.set = options.set
    if unified is not None and not unified.startswith(f"{_CGROUPS}/unified/"):
        plan_bind(plan, unified, one, made)
        plan_attach(plan, root, mount.destination, made, kind=abi.TARGET_DIRECTORY)
        return
    folder = MountOptions(["nosuid", "nodev", "noexec", "mode=755", "size=64k"], where)
    plan_filesystem(plan, "tmpfs", "", folder, base, "A folder for the hierarchies of control groups, version 1.")
    plan_attach(plan, root, mount.destination, base, kind=abi.TARGET_DIRECTORY)
    for path in [*joined, *([unified] if unified else [])]:
        name = path.removeprefix(_CGROUPS).strip("/").partition("/")[0]
        plan_bind(plan, path, one, made)
        _attach(plan, base, name, made)
    if options.set & abi.MOUNT_ATTR_RDONLY:
        plan_setattr(plan, base, abi.MOUNT_ATTR_RDONLY, 0, 0, recursive=False, why="")


def _attach(plan: Plan, base: Slot, name: str, made: Slot) -> None:
    """In a folder that was just made and that nobody else can see: there is nothing to resolve."""
    plan.call("mkdirat", base, name, 0o755, tolerate=(_EEXIST,))
    plan.call("move_mount", made, "", base, name, abi.MOVE_MOUNT_F_EMPTY_PATH)
