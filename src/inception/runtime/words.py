"""Plans and their failures in words: lines like strace's, a sentence a step, error messages with hints."""

from __future__ import annotations

import os
import struct

from inception.errors import StartFailed
from inception.linux import abi
from inception.runtime.plan import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.runtime.plan import Argument, Plan, Step

# How the arguments of a call are shown: a prefix means flags of that family, "oct" a mode, "at" a directory descriptor.
_SHOWN: dict[str, tuple[str, ...]] = {
    "fsopen": ("", "FSOPEN_"),
    "fsconfig": ("", "fsconfig", "", "", ""),
    "fsmount": ("", "FSMOUNT_", "MOUNT_ATTR_"),
    "move_mount": ("at", "", "at", "", "MOVE_MOUNT_"),
    "open_tree": ("at", "", "OPEN_TREE_|AT_"),
    "mount_setattr": ("at", "", "AT_", "mount_attr", "drop"),
    "mount": ("", "", "", "MS_", ""),
    "umount2": ("", "MNT_"),
    "openat": ("at", "", "O_", "oct"),
    "openat2": ("at", "", "open_how", "drop"),
    "mkdirat": ("at", "", "oct"),
    "mknodat": ("at", "", "node", "device"),
    "symlinkat": ("", "at", ""),
    "unshare": ("CLONE_",),
    "setns": ("", "CLONE_"),
    "fork": ("CLONE_",),
    "prctl": ("prctl",),
    "target": ("", "", "kind", "", "oct", "RESOLVE_"),
    "write": ("at", "", "", "drop", "RESOLVE_"),
    "mask": ("", "", "", "", "RESOLVE_"),
    "mode_of": ("", "", "", "RESOLVE_"),
    "expect_fs": ("", "magic"),
    "expect_dev": ("", "node", "device"),
    "umask": ("oct",),
    "fchmod": ("", "oct"),
    "dup3": ("", "", "O_"),
    "ioctl": ("", "ioctl", ""),
    "seccomp": ("seccomp", "SECCOMP_FILTER_FLAG_", ""),
    "capset": ("drop", "capset"),
    "setgroups": ("drop", "gids"),
    "setresuid": ("id", "id", "id"),
    "setresgid": ("id", "id", "id"),
    "sethostname": ("", "drop"),
    "setdomainname": ("", "drop"),
    "prlimit64": ("", "RLIMIT", "rlimit", ""),
    "fcntl": ("", "F_"),
}
_MAGICS = {"PROC_SUPER_MAGIC", "SYSFS_MAGIC", "DEVPTS_SUPER_MAGIC", "TMPFS_MAGIC", "CGROUP2_SUPER_MAGIC"}


def show_step(step: Step) -> str:
    """`call(arguments) = <slot>`."""
    families = _SHOWN.get(step.name, ())
    shown = [
        text
        for position, arg in enumerate(step.args)
        if (text := _show(arg, families[position] if position < len(families) else "")) is not None
    ]
    result = f"{step.name}({', '.join(shown)})"
    return f"{result} = <{step.out}>" if step.out is not None else result


def show_plan(plan: Plan) -> str:
    """The whole plan, a line a step."""
    return "\n".join(f"{line:<88}  # {source}" if source else line for line, source, _ in _lines(plan)) + "\n"


def explain_plan(plan: Plan) -> str:
    """The whole plan, each step with its number, what asked for it and why."""
    lines = []
    for number, (line, source, why) in enumerate(_lines(plan)):
        lines.append(f"{number:3}  {line}" + (f"  # {source}" if source else ""))
        if why:
            lines.append(f"     {why}")
    return "\n".join(lines) + "\n"


def _lines(plan: Plan) -> list[tuple[str, str, str]]:
    flags = abi.names("CLONE_", plan.clone_flags).replace("CLONE_", "")
    where = f", cgroup={plan.cgroup_path!r}" if plan.cgroup_path else ""
    first = f"clone3({flags}{where})"
    why = "A new process; from here on each line happens in it, in this order, before its own program starts."
    return [(first, plan.clone_source, why), *((show_step(step), step.source, step.why) for step in plan.steps)]


def _show(arg: Argument, family: str) -> str | None:
    if family == "drop":
        return None
    if isinstance(arg, Slot):
        return f"<{arg}>"
    if arg is None:
        return "NULL"
    if isinstance(arg, str):
        return '"' + arg.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(arg, Program):
        return f"<filter of {len(arg) // 8} instructions>"
    if isinstance(arg, bytes):
        return _show_struct(arg, family)
    if not isinstance(arg, int):
        return "[" + ", ".join(_show(item, "") or "" for item in arg) + "]"
    return _show_int(arg, family)


def _show_int(arg: int, family: str) -> str:
    if arg == abi.AT_FDCWD:
        return "AT_FDCWD"
    if family == "oct":
        return f"0{arg:o}"
    if family == "node":
        kind = _one_of("S_IF", arg & 0o170000)
        return f"{kind}|0{arg & 0o7777:o}" if arg & 0o7777 else kind
    if family == "device":
        return f"{os.major(arg)}:{os.minor(arg)}"
    if family == "id":
        return str(arg)
    if family == "kind":
        return ("directory", "file", "like")[arg]
    if family == "magic":
        return next((name for name in _MAGICS if getattr(abi, name) == arg), hex(arg))
    if family == "fsconfig":
        return _one_of("FSCONFIG_", arg)
    if family == "prctl":
        return _one_of("PR_", arg)
    if family == "ioctl":
        return _one_of("TIOC", arg)
    if family == "seccomp":
        return _one_of("SECCOMP_SET_", arg)
    if family == "RLIMIT":
        return _one_of("RLIMIT_", arg)
    if "|" in family:
        first, _, second = family.partition("|")
        known = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC
        parts = [abi.names(first, arg & known, zero=""), abi.names(second, arg & ~known, zero="")]
        return "|".join(part for part in parts if part) or "0"
    if family.endswith("_"):
        return abi.names(family, arg)
    return str(arg)


def _show_struct(raw: bytes, family: str) -> str:
    if family == "mount_attr":
        attr_set, clear, propagation, userns = struct.unpack("=QQQQ", raw)
        parts = []
        if attr_set:
            parts.append("set=" + abi.names("MOUNT_ATTR_", attr_set))
        if clear:
            parts.append("clear=" + abi.names("MOUNT_ATTR_", clear))
        if propagation:
            parts.append("propagation=" + abi.names("MS_", propagation))
        if userns:
            parts.append(f"userns={userns}")
        return "{" + ", ".join(parts) + "}"
    if family == "open_how":
        flags, mode, resolve = struct.unpack("=QQQ", raw)
        parts = [abi.names("O_", flags, zero="O_RDONLY")]
        if mode:
            parts.append(f"0{mode:o}")
        if resolve:
            parts.append(abi.names("RESOLVE_", resolve))
        return "{" + ", ".join(parts) + "}"
    if family == "capset":
        from inception.linux import capabilities

        effective, permitted, inheritable, effective1, permitted1, inheritable1 = struct.unpack("=6I", raw)
        sets = {
            "effective": effective | effective1 << 32,
            "permitted": permitted | permitted1 << 32,
            "inheritable": inheritable | inheritable1 << 32,
        }
        words = [f"{key}={'|'.join(name[4:] for name in capabilities.names(value)) or '0'}" for key, value in sets.items()]
        return "{" + ", ".join(words) + "}"
    if family == "gids":
        return "[" + ", ".join(str(gid) for gid in struct.unpack(f"={len(raw) // 4}I", raw)) + "]"
    if family == "rlimit":
        soft, hard = (("infinity" if value == (1 << 64) - 1 else str(value)) for value in struct.unpack("=QQ", raw))
        return f"{{soft={soft}, hard={hard}}}"
    if raw.isascii() and raw.decode().isprintable():
        return '"' + raw.decode() + '"'
    return f"<{len(raw)} bytes>"


def _one_of(prefix: str, value: int) -> str:
    for name, number in vars(abi).items():
        if number == value and name.startswith(prefix):
            return name
    return str(value)


# ---- failures -----------------------------------------------------------------------------------------------------------

_EPERM, _ENOENT, _ENOEXEC, _EACCES, _EBUSY, _EXDEV, _ENODEV, _ENOTDIR, _EISDIR, _EINVAL = 1, 2, 8, 13, 16, 18, 19, 20, 21, 22
_EPROTO = 71
_ECHILD, _ETIMEDOUT = 10, 110
_ENOSPC, _ELOOP, _ENOSYS, _ETXTBSY, _EUSERS, _ENAMETOOLONG, _E2BIG = 28, 40, 38, 26, 87, 36, 7

# What to do about a pair that surprises people.
_HINTS: dict[tuple[str, int], str] = {
    ("clone3", _EPERM): "making namespaces needs root, or a user namespace",
    ("clone3", _ENOSPC): "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces",
    ("clone3", _ENOENT): "the cgroup is gone or has no processes' file",
    ("clone3", _EBUSY): "the cgroup has controllers enabled for its children, so no process may be in it",
    ("clone3", 95): "the cgroup is a threaded one",
    ("clone3", 11): "a limit on processes is reached (ulimit -u, or pids.max of our cgroup)",
    ("fork", 11): "a limit on processes is reached: --pids-limit of the container, or ulimit -u",
    ("unshare", _ENOSPC): "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces",
    (
        "unshare",
        _EPERM,
    ): "the machine forbids user namespaces: see kernel.unprivileged_userns_clone, apparmor_restrict_unprivileged_userns",
    ("move_mount", _ENOSPC): "too many mounts in this namespace: raise fs.mount-max",
    ("open_tree", _ENOENT): "the source of the mount does not exist on the host",
    ("fsconfig", _EPERM): "overlayfs in a user namespace needs Linux 5.11",
    ("fsconfig", _EBUSY): "another container uses the same upper or work folder",
    ("fsconfig", _EINVAL): "the kernel's log (dmesg) says which option it did not take",
    ("fsopen", _ENODEV): "the kernel has no such filesystem; see /proc/filesystems",
    ("mount_setattr", _ENOSYS): "needs Linux 5.12",
    ("mount_setattr", _EPERM): "a mount that came from another user namespace keeps its flags",
    ("target", _ELOOP): "it must be mounted on ordinary directory, and is a symbolic link in the image",
    ("target", _ENOTDIR): "a directory is mounted onto a file, or a parent of the target is a file in the image",
    ("set_mempolicy", _EINVAL): "invalid argument: a mode that takes no nodes, or flags that exclude each other",
    ("pivot_root", _EINVAL): "the host's root is a ramdisk (initramfs), which cannot be exchanged",
    ("write", _EACCES): "the kernel refuses the value, or lowering it needs CAP_SYS_RESOURCE",
    ("expect_fs", _EXDEV): "something else is mounted where the kernel's own filesystem should be",
    ("expect_dev", _ENODEV): "a device node is not the device it should be",
    ("setgroups", _EPERM): "a user namespace without mapped groups forbids supplementary groups",
    ("setresuid", _EINVAL): "the user id is not mapped in the user namespace",
    ("seccomp", _EINVAL): "the kernel does not take the filter (too long, or a flag it does not know)",
    (
        "sched_setattr",
        _EPERM,
    ): "it needs CAP_SYS_NICE, and a deadline process scheduler can't be used together with AllowedCPUs",
    ("prlimit64", _EPERM): "raising a hard limit needs CAP_SYS_RESOURCE, which this machine withholds",
}
_PROFILE_HINT = "is the profile loaded? apparmor_parser loads one, aa-status lists them"


def explain_failure(plan: Plan, step: int, errno: int, value: int = 0, head: bytes = b"") -> StartFailed:
    """The error for a plan that failed at *step* (see `_spawn.SpawnError`), with Docker's exit codes."""
    if step == -2:
        cause = "it was killed before it ran" if errno == _EPROTO else os.strerror(errno)
        return StartFailed(f"start of the monitor: {cause}", exit_code=128)
    if step < 0:
        hint = _HINTS.get(("clone3", errno), "")
        flags = abi.names("CLONE_", plan.clone_flags).replace("CLONE_", "")
        if errno == _EBUSY:
            return StartFailed(f"clone3({flags}): adding pid 0 to cgroups: device or resource busy", hint, exit_code=128)
        return StartFailed(f"clone3({flags}): {os.strerror(errno)}", hint, exit_code=128)
    failed = plan.steps[step]
    if failed.name in ("exec", "find"):
        return _explain_exec(failed, errno, value, head)
    if failed.source == "process.cwd" and errno in (_ENOENT, _ENOTDIR, _EACCES):
        return _explain_cwd(plan, errno)
    if failed.name == "hook":
        return _explain_hook(failed, errno, value)
    shown = str(failed)
    if len(shown) > 200:
        shown = shown[:197] + "..."
    source = f", from {failed.source}" if failed.source else ""
    return StartFailed(
        f"{shown}: {os.strerror(errno)} (step {plan.before + step + 1} of {plan.before + len(plan.steps)}{source})",
        _PROFILE_HINT if failed.source == "process.apparmorProfile" else _HINTS.get((failed.name, errno), ""),
        exit_code=128,
    )


def _explain_cwd(plan: Plan, errno: int) -> StartFailed:
    opened = next(step for step in plan.steps if step.source == "process.cwd" and step.name in ("target", "openat2"))
    path = "/" + str(opened.args[1]).lstrip("/")
    return StartFailed(
        f'chdir to the working directory "{path}": {os.strerror(errno).lower()}', exit_code=127 if errno == _ENOENT else 126
    )


def _explain_exec(step: Step, errno: int, value: int, head: bytes) -> StartFailed:
    paths, argv = step.args[0], step.args[1]
    assert isinstance(paths, (list, tuple)) and isinstance(argv, (list, tuple))
    name = argv[0]
    path = paths[value] if value < len(paths) else name
    if errno == _ENOENT and not head:
        if "/" in name:
            return StartFailed(f'exec: "{name}": stat {name}: no such file or directory', exit_code=127)
        return StartFailed(f'exec: "{name}": executable file not found in $PATH', exit_code=127)
    if errno == _ENOENT:
        return StartFailed(f"exec {path}: no such file or directory", _interpreter_hint(head), exit_code=127)
    if errno == _EACCES:
        hint = "" if not head.startswith((b"#!", b"\x7fELF")) else "the file is not executable for this user: chmod +x it"
        return StartFailed(f'exec: "{name}": permission denied', hint, exit_code=126)
    if errno == _ENOEXEC:
        hint = "the file has no #! line and is no program for this machine"
        if head.startswith(b"\x7fELF"):
            hint = "the program is for another architecture"
        return StartFailed(f"exec {path}: exec format error", hint, exit_code=126)
    return StartFailed(f"exec {path}: {os.strerror(errno).lower()}", exit_code=126)


def _explain_hook(step: Step, errno: int, status: int) -> StartFailed:
    path, timeout_ms = step.args[2], step.args[5]
    assert isinstance(path, str) and isinstance(timeout_ms, int)
    kind, _, number = step.source.removeprefix("hooks.").rstrip("]").partition("[")
    what = f"error running {kind} hook #{number}: {path}"
    if errno == _ETIMEDOUT:
        return StartFailed(f"{what}: did not end within {timeout_ms // 1000} s")
    if errno != _ECHILD:
        return StartFailed(f"{what}: {os.strerror(errno)}")
    if status > 128:
        from signal import strsignal

        if name := strsignal(status - 128):
            return StartFailed(f"{what}: exit status {status}, signal: {name.lower()}")
    hint = "127 also means that the file could not be executed" if status == 127 else ""
    return StartFailed(f"{what}: exit status {status}", hint)


def _interpreter_hint(head: bytes) -> str:
    """Why the kernel says ENOENT about a file that is there: what it names on its first line is not."""
    if not head.startswith(b"#!"):
        return "the program's own loader (its ELF interpreter) is missing in the image"
    line = head[2:].split(b"\n", 1)[0]
    words = line.split()
    shown = words[0].decode("utf-8", "backslashreplace") if words else ""
    if line.endswith(b"\r"):
        return f"its first line ends with a carriage return (Windows line ends), so the interpreter is {shown + chr(13)!r}"
    return f"its interpreter {shown!r} is missing in the image"
