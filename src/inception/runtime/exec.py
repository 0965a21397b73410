"""`plan_exec`: another process in a running container.

    clone3(into its cgroup)       no new namespaces
    oom score, v1 cgroups         while the host's files are in sight
    setns(pidfd, everything)      one call: all of its namespaces at once
    fork(PARENT)                  a pid namespace is for children; ours has the caller as its parent, who waits for it
    terminal, directory, limits, user, capabilities, seccomp, execve

Between setns and execve the container's own processes can see this one. It holds nothing of the caller's: no memory, no
descriptor but those in the plan, and it cannot be traced (PR_SET_DUMPABLE; CVE-2016-9962).
"""

from __future__ import annotations

import struct

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.call import AT_FDCWD
from inception.linux.namespaces import KINDS
from inception.linux.path import IN_ROOT
from inception.runtime import process as process_steps
from inception.runtime.plan import Plan, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.oci.runtime import Linux, Namespace, Process, Seccomp
    from inception.runtime.container import Join

_ALL = ("mount", "pid", "uts", "ipc", "network", "cgroup")


def plan_exec(
    process: Process,
    *,
    namespaces: list[Namespace] | None = None,
    join: Join | None = None,
    seccomp: bytes | None = None,
    profile: Seccomp | None = None,
    die_with_parent: bool = False,
    preserve_fds: int = 0,
    absent_fds: Sequence[int] = (),
    rootless: bool = False,
    linux: Linux | None = None,
    termios: bytes | None = None,
    root: str = "",
) -> Plan:
    """The plan of *process* in the container whose init's pidfd is the slot `init`.

    *namespaces* are those of the container's spec (all but user and time when absent): the ones it shares with the host
    are joined too, which changes nothing. With a terminal the plan needs the socket `console`. *profile* is what *seccomp* was
    compiled from, for its flags and its listener. *root* is a path to its root, for a container that shares the host's mount
    namespace. The descriptors `preserve0`.. become 3.. of the program, but for those of
    *absent_fds*.
    """
    plan = Plan()
    preserved = [plan.inherit(f"preserve{number}") for number in range(preserve_fds)]
    init = plan.inherit("init")
    plan.source = "exec"
    plan.call("prctl", abi.PR_SET_NAME, "inception:exec", 0, 0, 0, why="Its name in ps until its program starts.")
    plan.call("prctl", abi.PR_SET_DUMPABLE, 0, 0, 0, 0, why="Processes of the container can't trace it or open its files.")
    if die_with_parent:
        process_steps.plan_die_with_parent(plan)
        plan.source = "exec"
    plan.call("umask", 0)
    process_steps.plan_oom_score(plan, process)
    if join is not None:
        plan.source = "linux.cgroupsPath"
        plan.cgroup_path = join.cgroup2_path or ""
        for path in join.tasks_files:
            plan.call("write", AT_FDCWD, path, "0", 1, 0, why="Enters the container's cgroup of this controller.")
    affinity = process.exec_cpu_affinity
    if affinity is not None and affinity.final:
        plan.source = "process.execCPUAffinity.final"
        cpus = process_steps.number_set(affinity.final, plan.source)
        plan.call("sched_setaffinity", 0, len(cpus), cpus, why="Where it runs, once it is in the container's cgroup.")
    elif linux is not None and affinity is None:
        process_steps.plan_affinity(plan)
    process_steps.plan_label(plan, process, None)
    kinds = _ALL if namespaces is None else tuple(namespace.type for namespace in namespaces)
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][1]
    plan.source = "linux.namespaces"
    within = Slot("root") if "mount" not in kinds else None
    if within is not None:
        plan.call("openat", AT_FDCWD, root, abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC, 0, out=within)
    plan.call("setns", init, flags, why="Enters the container's namespaces, all in one call.")
    if within is not None:
        plan.call("fchdir", within)
        plan.call("chroot", ".", why="Its mounts are the host's; its root is not.")
    if "user" in kinds:
        process_steps.plan_become_root(plan, linux)
    plan.call("fork", 0, why="The child is in its pid namespace; this process tells the caller and ends.")
    plan.call("prctl", abi.PR_SET_DUMPABLE, 0, 0, 0, 0)
    if die_with_parent:
        process_steps.plan_die_with_parent(plan)
    plan.source = "process"
    plan.call("setsid", why="A session of its own.")
    slave = _plan_terminal(plan, process, termios) if process.terminal else None
    plan.source = "process.cwd"
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"process.cwd: {process.cwd!r} is not an absolute path")
    cwd = Slot("cwd")
    how = struct.pack("=QQQ", abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC, 0, IN_ROOT)
    relative = process_steps.clean(process.cwd, "process.cwd").lstrip("/") or "."
    plan.call("chdir", "/")
    plan.call("openat2", AT_FDCWD, relative, how, 24, out=cwd, why="No magic link of /proc can lead it out (CVE-2024-21626).")
    plan.call("fchdir", cwd)
    if slave is not None:
        process_steps.plan_controlling_terminal(plan, slave)
    if linux is not None:
        process_steps.plan_personality(plan, linux)
    filter = process_steps.Filter.of(profile, seccomp)
    process_steps.plan_process(
        plan,
        process,
        filter=filter,
        die_with_parent=die_with_parent,
        preserved=preserved,
        absent=absent_fds,
        rootless=rootless,
    )
    return plan


def _plan_terminal(plan: Plan, process: Process, termios: bytes | None) -> Slot:
    plan.source = "process.terminal"
    devpts = Slot("devpts")
    how = struct.pack("=QQQ", abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC, 0, IN_ROOT)
    plan.call("chdir", "/")
    plan.call("openat2", AT_FDCWD, "dev/pts", how, 24, out=devpts, why="The container's own terminals.")
    return process_steps.plan_terminal(plan, process, devpts, plan.inherit("console"), termios)
