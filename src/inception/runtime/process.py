"""The last part of every plan: from a root that is ready to the process that was asked for.

The order is the kernel's: limits while we may raise them; the bounding set while we hold CAP_SETPCAP; groups before the user,
the user before the last capabilities; the parent-death signal after the last change of credentials, which clears it; seccomp
as late as our privileges allow, so that as few of our own calls as possible have to pass the user's profile.
Source: runtime-spec config.md, "POSIX process"; capabilities(7); prctl(2).
"""

from __future__ import annotations

import os
import struct

from inception.errors import InvalidArgument
from inception.linux import abi, capabilities, rlimit
from inception.linux.files import read_file
from inception.record import Record
from inception.runtime.plan import Plan, Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.oci.runtime import Capabilities, Hook, IdMapping, Linux, Process, Seccomp

SIGKILL = 9
_F_SETFD, _FD_CLOEXEC = 2, 1
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYS_ADMIN = 1 << capabilities.NUMBERS["CAP_SYS_ADMIN"]
_last_cap: list[int] = []
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1,
    "SCHED_FLAG_RECLAIM": 2,
    "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}
SECCOMP_FLAGS: dict[str, int] = {
    name: getattr(abi, name)
    for name in (
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    )
}
_DOMAINS = {"LINUX": 0, "LINUX32": 8}
MEMORY_MODES: dict[str, int] = {
    f"MPOL_{name}": getattr(abi, f"MPOL_{name}")
    for name in ("DEFAULT", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE", "PREFERRED", "PREFERRED_MANY", "LOCAL")
}
MEMORY_FLAGS: dict[str, int] = {
    f"MPOL_F_{name}": getattr(abi, f"MPOL_F_{name}") for name in ("NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES")
}
_EPERM = 1
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PARENT = Slot("parent")


def last_cap() -> int:
    """The kernel's highest capability, read once."""
    if not _last_cap:
        _last_cap.append(capabilities.last_cap())
    return _last_cap[0]


def plan_die_with_parent(plan: Plan) -> None:
    """Init is killed when the thread that spawned it ends, also when that happened before the signal was set."""
    plan.source = "die_with_parent"
    plan.call("prctl", abi.PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, why="Whoever started this process takes it along when it ends.")
    plan.call("parent_alive", PARENT, why="The starter may have ended before the line above; then end here.")


def plan_terminal(plan: Plan, process: Process, devpts: Slot, console: Slot, termios: bytes | None) -> Slot:
    """A terminal of the container's own devpts; its master goes over the socket *console*. The slot holds the slave."""
    plan.source = "process.terminal"
    master, slave = Slot("master"), Slot("terminal")
    flags = abi.O_RDWR | abi.O_NOCTTY | abi.O_CLOEXEC
    plan.call("openat", devpts, "ptmx", flags, 0, out=master, why="A new terminal, in the container's own devpts.")
    # The name may be anything in an image that another container shares; the filesystem behind the fd cannot lie.
    plan.call("expect_fs", master, abi.DEVPTS_SUPER_MAGIC)
    plan.call("ioctl", master, abi.TIOCSPTLCK, struct.pack("i", 0), why="Unlocks the other end.")
    plan.call("ioctl", master, abi.TIOCGPTPEER, flags, out=slave, why="Opens it by descriptor, not by /dev/pts/N.")
    if process.console_size:
        size = struct.pack("HHHH", process.console_size.height, process.console_size.width, 0, 0)
        plan.call("ioctl", master, abi.TIOCSWINSZ, size, why="Its first size.")
    if termios is not None:
        plan.call("ioctl", slave, abi.TCSETS, termios, why="How it treats what passes, from the first byte on.")
    plan.call("send_fd", console, master, b"/dev/ptmx", 9, why="Hands the master to whoever shows the terminal.")
    return slave


def plan_controlling_terminal(plan: Plan, slave: Slot) -> None:
    """Make *slave* the controlling terminal and stdio; the process must lead its session."""
    plan.source = "process.terminal"
    plan.call("ioctl", slave, abi.TIOCSCTTY, 0, why="Keys like ^C now reach this session.")
    for fd in range(3):
        plan.call("dup3", slave, fd, 0)


class Filter(Record):
    """A compiled seccomp filter, and how it is installed."""

    program: bytes
    flags: int = 0
    listener: bool = False  # its descriptor goes to the caller, in a pause

    @staticmethod
    def of(seccomp: Seccomp | None, program: bytes | None) -> Filter | None:
        """The filter of a spec's `linux.seccomp`. Raises InvalidArgument."""
        if program is None:
            return None
        if seccomp is None:
            return Filter(program=program)
        flags = seccomp_flags(seccomp)
        actions = {seccomp.default_action, *(rule.action for rule in seccomp.syscalls)}
        listener = "SCMP_ACT_NOTIFY" in actions
        if listener and not seccomp.listener_path:
            raise InvalidArgument("linux.seccomp.listenerPath: is needed with SCMP_ACT_NOTIFY")
        return Filter(program=program, flags=flags, listener=listener)


def seccomp_flags(seccomp: Seccomp) -> int:
    """The flags of seccomp(2). Nothing said about them means what runc makes of it: that speculation is as it was. Raises
    InvalidArgument."""
    flags = 0
    for index, flag in enumerate(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"] if seccomp.flags is None else seccomp.flags):
        if flag not in SECCOMP_FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags[{index}]: unknown flag {flag!r}")
        flags |= SECCOMP_FLAGS[flag]
    return flags


def plan_process(
    plan: Plan,
    process: Process,
    *,
    filter: Filter | None,
    die_with_parent: bool,
    init: bool = False,
    start_hooks: list[Hook] | None = None,
    preserved: list[Slot] | None = None,
    absent: Sequence[int] = (),
    rootless: bool = False,
    keep_groups: bool = False,
) -> None:
    """Everything from rlimits to execve. With *start_hooks* (a list, if empty) the plan waits for `start` on the way; with
    *keep_groups* the supplementary groups stay the caller's. *absent* are those of *preserved* that hold nothing."""
    if not process.args:
        raise InvalidArgument("process.args: must name a program")
    plan_rlimits(plan, process)
    plan_scheduling(plan, process)
    privileged = filter is not None and not process.no_new_privileges
    _plan_credentials(plan, process, privileged=privileged, rootless=rootless, keep_groups=keep_groups)
    if die_with_parent:
        plan_die_with_parent(plan)
    if start_hooks is not None:
        _plan_wait(plan, process, start_hooks, [*(preserved or []), *([PARENT] if die_with_parent else [])])
    if start_hooks:  # programs of the image, in the container: they get no more than its process does
        _plan_lock(plan, process, filter)
        plan_hooks(plan, start_hooks, "startContainer", "state.created", process)
        _plan_preserve(plan, preserved, absent)
    else:
        _plan_preserve(plan, preserved, absent)
        _plan_lock(plan, process, filter)
    if init:
        plan.source = "init"
        plan.call("prctl", abi.PR_SET_NAME, "docker-init", 0, 0, 0)
        plan.call("reap", why="Stays as process 1: forwards signals, reaps orphans; the next line is its child's.")
    plan_exec_program(plan, process)


def _plan_wait(plan: Plan, process: Process, hooks: list[Hook], kept: list[Slot]) -> None:
    """Created: everything that can be known to fail has failed by now."""
    plan.source = "process.args"
    plan.call("find", candidates(process), list(process.args), why="A program that is not there is told now.")
    plan.source = "lifecycle"
    listener = plan.inherit("start")
    kept = [*kept, listener, *([plan.inherit("state.created"), plan.inherit("output")] if hooks else [])]
    plan.close_all_but(kept, why="Nothing of the host stays open while it waits, whoever may look at it.")
    plan.call("pause", 2, 0, why="The container is created.")
    plan.call("accept", listener, why="Waits for `start`.")


def _plan_preserve(plan: Plan, preserved: list[Slot] | None, absent: Sequence[int]) -> None:
    if preserved:
        plan.source = "preserve-fds"
        plan.call("preserve", preserved[0], len(preserved), why="What the caller passes on to the program.")
    for number in absent:
        plan.call("fcntl", 3 + number, _F_SETFD, _FD_CLOEXEC, why="The caller has none of this number.")


def plan_become_root(plan: Plan, linux: Linux | None = None) -> None:
    """The first process of a user namespace has all capabilities in it, whoever it is; files it can only make as an id that is
    mapped: root, or where the maps have no root, the first that they have."""
    gid = _first(linux.gid_mappings) if linux is not None else 0
    uid = _first(linux.uid_mappings) if linux is not None else 0
    plan.call("setresgid", gid, gid, gid)
    plan.call("setresuid", uid, uid, uid, why="Root in there, with all capabilities over what that namespace owns.")


def _first(maps: list[IdMapping]) -> int:
    return min((entry.container_id for entry in maps), default=0)


def plan_hooks(plan: Plan, hooks: list[Hook], kind: str, state: str, process: Process) -> None:
    """Hooks of the container's namespaces: run by its own process, with the state on stdin; without an environment of their
    own they have *process*'s."""
    for index, hook in enumerate(hooks):
        plan.source = f"hooks.{kind}[{index}]"
        timeout = -1 if hook.timeout is None else hook.timeout * 1000
        argv, env = list(hook.args or [hook.path]), list(process.env if hook.env is None else hook.env)
        plan.call("hook", plan.inherit(state), plan.inherit("output"), hook.path, argv, env, timeout)


def plan_personality(plan: Plan, linux: Linux) -> None:
    """Personality and memory policy: what the program inherits from this process."""
    if linux.personality is not None:
        plan.source = "linux.personality"
        if linux.personality.domain not in _DOMAINS:
            raise InvalidArgument(f"linux.personality.domain: unknown domain {linux.personality.domain!r}")
        plan.call("personality", _DOMAINS[linux.personality.domain], why="How the kernel looks to the program.")
    policy = linux.memory_policy
    if policy is not None and (policy.mode or policy.nodes or policy.flags):
        plan.source = "linux.memoryPolicy"
        if policy.mode not in MEMORY_MODES:
            raise InvalidArgument(f"linux.memoryPolicy.mode: invalid memory policy mode {policy.mode!r}")
        mode = MEMORY_MODES[policy.mode]
        for index, flag in enumerate(policy.flags):
            if flag not in MEMORY_FLAGS:
                raise InvalidArgument(f"linux.memoryPolicy.flags[{index}]: invalid memory policy flag {flag!r}")
            mode |= MEMORY_FLAGS[flag]
        nodes = number_set(policy.nodes, "linux.memoryPolicy.nodes: invalid memory policy node") if policy.nodes else None
        # The kernel reads one bit less than it is told.
        bits = len(nodes) * 8 + 1 if nodes else 0
        plan.call("set_mempolicy", mode, nodes, bits, why="Which memory of the machine it gets.")


def number_set(text: str, where: str) -> bytes:
    """A list like `0-3,7` as a bit set of whole longs. Raises InvalidArgument."""
    bits = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise InvalidArgument(f"{where}: {text!r} is not a list like 0-3,7")
        low, high = int(first), int(last or first)
        if high < low or high > 4095:
            raise InvalidArgument(f"{where}: {part.strip()!r} is not a range of numbers up to 4095")
        bits |= ((1 << (high - low + 1)) - 1) << low
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")


def plan_exec_program(plan: Plan, process: Process) -> None:
    """The execve, along PATH as a shell would."""
    plan.source = "process.args"
    plan.call(
        "exec",
        candidates(process),
        list(process.args),
        list(process.env),
        why="Becomes the program: the first of these paths that can be executed.",
    )


def candidates(process: Process) -> list[str]:
    """The paths to try for argv[0], by the container's own PATH."""
    name = process.args[0]
    if "/" in name or not name:  # no name is in no folder
        return [name]
    search = DEFAULT_PATH
    for variable in process.env:
        if variable.startswith("PATH="):
            search = variable[5:]
    return [f"{folder or '.'}/{name}" for folder in search.split(":")]


def plan_rlimits(plan: Plan, process: Process) -> None:
    """setrlimit, in the spec's order."""
    for index, limit in enumerate(process.rlimits):
        plan.source = f"process.rlimits[{index}]"
        number = rlimit.number(limit.type)
        if number is None:
            raise InvalidArgument(f"{plan.source}.type: unknown limit {limit.type!r}")
        values = struct.pack("=QQ", limit.soft & rlimit.INFINITY, limit.hard & rlimit.INFINITY)
        plan.call("prlimit64", 0, number, values, None, why="A limit for this process and its children.")


def plan_scheduling(plan: Plan, process: Process) -> None:
    """Scheduler policy, I/O priority and CPU affinity, where asked for."""
    if (scheduler := process.scheduler) is not None:
        plan.source = "process.scheduler"
        if scheduler.policy not in _POLICIES:
            raise InvalidArgument(f"process.scheduler.policy: unknown policy {scheduler.policy!r}")
        flags = 0
        for flag in scheduler.flags:
            if flag not in _SCHED_FLAGS:
                raise InvalidArgument(f"process.scheduler.flags: unknown flag {flag!r}")
            flags |= _SCHED_FLAGS[flag]
        # As wide as the kernel's fields; what is sensible is the kernel's to say.
        widths = {"nice": (-(1 << 31), 1 << 31), "priority": (0, 1 << 32)}
        for name in ("nice", "priority", "runtime", "deadline", "period"):
            low, high = widths.get(name, (0, 1 << 64))
            if not low <= getattr(scheduler, name) < high:
                raise InvalidArgument(f"process.scheduler.{name}: {getattr(scheduler, name)} is out of range")
        attr = struct.pack(
            "=IIQiIQQQ",
            48,
            _POLICIES[scheduler.policy],
            flags,
            scheduler.nice,
            scheduler.priority,
            scheduler.runtime,
            scheduler.deadline,
            scheduler.period,
        )
        plan.call("sched_setattr", 0, attr, 0, why="How the kernel schedules it.")
    if process.io_priority is not None:
        plan.source = "process.ioPriority"
        if process.io_priority.class_ not in _IO_CLASSES:
            raise InvalidArgument(f"process.ioPriority.class: unknown class {process.io_priority.class_!r}")
        value = _IO_CLASSES[process.io_priority.class_] << 13 | process.io_priority.priority
        plan.call("ioprio_set", 1, 0, value, why="Its priority for disks.")


def _plan_credentials(plan: Plan, process: Process, *, privileged: bool, rootless: bool, keep_groups: bool) -> None:
    """The user, and its capabilities; with *privileged* CAP_SYS_ADMIN stays until the filter is in."""
    caps = process.capabilities
    if caps is not None:
        bounding = capability_mask(caps.bounding, "process.capabilities.bounding")
        plan.source = "process.capabilities.bounding"
        for number in range(last_cap() + 1):
            if not bounding >> number & 1:
                name = capabilities.NAMES[number] if number < len(capabilities.NAMES) else number
                why = f"{name} can't come back, not even through a set-uid program."
                plan.call("prctl", abi.PR_CAPBSET_DROP, number, 0, 0, 0, why=why)
    user = process.user
    plan.source = "process.user"
    plan.call("chown_stdio", user.uid, why="Lets the user open /dev/stdout again when that is a pipe.")
    plan.call(
        "prctl", abi.PR_SET_KEEPCAPS, 1, 0, 0, 0, why="Keeps capabilities over the change of user, for the steps between."
    )
    groups = struct.pack(f"={len(user.additional_gids)}I", *user.additional_gids)
    # A map that a user wrote without help forbids setgroups: then the groups stay what they are.
    tolerate = (_EPERM,) if rootless and not user.additional_gids else ()
    why = "Exactly these supplementary groups."
    if not keep_groups:
        plan.call("setgroups", len(user.additional_gids), groups, why=why, tolerate=tolerate)
    plan.call("setresgid", user.gid, user.gid, user.gid)
    plan.call("setresuid", user.uid, user.uid, user.uid)
    plan.call("umask", 0o022 if user.umask is None else user.umask)
    if caps is not None:
        effective, permitted, inheritable = _final_sets(caps)
        extra = _SYS_ADMIN if privileged else 0
        plan.source = "process.capabilities"
        _plan_capset(plan, (effective | extra, permitted | extra, inheritable))


def _plan_lock(plan: Plan, process: Process, filter: Filter | None) -> None:
    """no_new_privs, the filter and the last capabilities. Without no_new_privs the kernel asks for CAP_SYS_ADMIN to filter."""
    caps = process.capabilities
    if process.no_new_privileges:
        plan.source = "process.noNewPrivileges"
        plan.call("prctl", abi.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, why="Set-uid programs give nothing more from here on.")
    else:
        _plan_seccomp(plan, filter)
        if caps is not None and filter is not None:
            plan.source = "process.capabilities"
            _plan_capset(plan, _final_sets(caps))
    if caps is not None and caps.ambient:
        plan.source = "process.capabilities.ambient"
        ambient = capability_mask(caps.ambient, plan.source)
        for number in range(last_cap() + 1):
            if ambient >> number & 1:
                plan.call("prctl", abi.PR_CAP_AMBIENT, abi.PR_CAP_AMBIENT_RAISE, number, 0, 0)
    if process.no_new_privileges:
        _plan_seccomp(plan, filter)


def _plan_seccomp(plan: Plan, filter: Filter | None) -> None:
    if filter is None:
        return
    plan.source = "linux.seccomp"
    why = "From here on only these system calls."
    if not filter.listener:
        plan.call("seccomp", abi.SECCOMP_SET_MODE_FILTER, filter.flags, Program(filter.program), why=why)
        return
    listener = Slot("notify")
    flags = filter.flags | abi.SECCOMP_FILTER_FLAG_NEW_LISTENER
    plan.call("seccomp", abi.SECCOMP_SET_MODE_FILTER, flags, Program(filter.program), out=listener, why=why)
    plan.call("pause", 3, 1, listener, why="The caller hands the listener to whoever answers for these calls.")


def _final_sets(caps: Capabilities | None) -> tuple[int, int, int]:
    if caps is None:
        return 0, 0, 0
    return (
        capability_mask(caps.effective, "process.capabilities.effective"),
        capability_mask(caps.permitted, "process.capabilities.permitted"),
        capability_mask(caps.inheritable, "process.capabilities.inheritable"),
    )


def _plan_capset(plan: Plan, sets: tuple[int, int, int]) -> None:
    effective, permitted, inheritable = sets
    header = struct.pack("=Ii", abi._LINUX_CAPABILITY_VERSION_3, 0)
    low = (effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF)
    high = (effective >> 32, permitted >> 32, inheritable >> 32)
    plan.call("capset", header, struct.pack("=6I", *low, *high), why="What the process may do beyond an ordinary one.")


def capability_mask(names: list[str], where: str) -> int:
    """The bit set of *names*, without those that the running kernel does not know."""
    value = 0
    for index, name in enumerate(names):
        number = capabilities.NUMBERS.get(name)
        if number is None:
            raise InvalidArgument(f"{where}[{index}]: unknown capability {name!r}")
        if number <= last_cap():
            value |= 1 << number
    return value


def plan_affinity(plan: Plan) -> None:
    """Every CPU that the cgroup has: where our own caller is pinned says nothing about the container."""
    if len(os.sched_getaffinity(0)) < (os.cpu_count() or 1):
        plan.source = "process.execCPUAffinity"
        plan.call("sched_setaffinity", 0, 128, b"\xff" * 128, why="Not only where the runtime itself may run.")


def plan_oom_score(plan: Plan, process: Process) -> None:
    """oom_score_adj, unless it is what we have: lowering it even to the same takes a privilege."""
    if process.oom_score_adj is None:
        return
    if int(read_file("/proc/self/oom_score_adj")) == process.oom_score_adj:
        return
    plan.source = "process.oomScoreAdj"
    text = str(process.oom_score_adj)
    plan.call("write", abi.AT_FDCWD, "/proc/self/oom_score_adj", text, len(text), 0, why="Who dies first when memory runs out.")


def plan_label(plan: Plan, process: Process, procfs: Slot | None) -> None:
    """AppArmor and SELinux labels, which take effect at the execve."""
    if process.apparmor_profile:
        plan.source = "process.apparmorProfile"
        from inception.linux.labels import apparmor_enabled  # a container without a profile needs no answer

        if not apparmor_enabled():
            raise InvalidArgument("process.apparmorProfile: the kernel has no AppArmor")
        _plan_attr(plan, procfs, "self/attr/apparmor/exec", f"exec {process.apparmor_profile}")
    if process.selinux_label:
        plan.source = "process.selinuxLabel"
        if not os.path.exists("/sys/fs/selinux/enforce"):
            raise InvalidArgument("process.selinuxLabel: the kernel has no SELinux")
        _plan_attr(plan, procfs, "self/attr/exec", process.selinux_label)


def _plan_attr(plan: Plan, procfs: Slot | None, path: str, value: str) -> None:
    resolve = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_XDEV | abi.RESOLVE_NO_MAGICLINKS if procfs else 0
    where: Slot | int = procfs if procfs else abi.AT_FDCWD
    size = len(value.encode())
    plan.call("write", where, path if procfs else f"/proc/{path}", value, size, resolve, why="The label of the new program.")


def clean(path: str, where: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes, as text: symbolic links are the kernel's business."""
    if not path.startswith("/"):
        raise InvalidArgument(f"{where}: {path!r} is not an absolute path")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
