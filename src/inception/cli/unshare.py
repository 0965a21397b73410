"""`unshare`: a program in new namespaces, as unshare(1) of util-linux does it.

The order of the steps is what makes it work, and is the same as there:

    helper child (still in the old namespaces)   this process                        child (--fork)
    wait for the go-ahead                        unshare(2)
    write ranges of ids                     ◀──  go ahead
                                                 time offsets; fork             ──▶  pdeathsig
    bind the namespaces' files, if it has   ◀──  or bind them here                   single ids; propagation; chroot;
    the only mount namespace that stays          wait for the child                  /proc; uid and gid; execvp
"""

from __future__ import annotations

import errno
import os
import signal  # here, not where it is used: after chroot(2) there may be nothing left to import from

from inception.cli import idmap
from inception.cli.call import Call
from inception.cli.flags import Command
from inception.errors import Forbidden, InvalidArgument, StartFailed
from inception.linux import abi, mount
from inception.linux.call import syscall
from inception.linux.capabilities import held, last_cap
from inception.linux.namespaces import unshare as unshare_namespaces
from inception.linux.process import set_pdeathsig
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from inception.cli.flags import Flags

# flag, clone flag, file below /proc/PID/ns. A new pid or time namespace is the children's, so that is what persists.
_KINDS = (
    ("user", abi.CLONE_NEWUSER, "user"),
    ("cgroup", abi.CLONE_NEWCGROUP, "cgroup"),
    ("ipc", abi.CLONE_NEWIPC, "ipc"),
    ("uts", abi.CLONE_NEWUTS, "uts"),
    ("net", abi.CLONE_NEWNET, "net"),
    ("pid", abi.CLONE_NEWPID, "pid_for_children"),
    ("mount", abi.CLONE_NEWNS, "mnt"),
    ("time", abi.CLONE_NEWTIME, "time_for_children"),
)
_PROPAGATION = {
    "slave": abi.MS_REC | abi.MS_SLAVE,
    "private": abi.MS_REC | abi.MS_PRIVATE,
    "shared": abi.MS_REC | abi.MS_SHARED,
    "unchanged": 0,
}


class Request(Record):
    """What was asked for. `user_id` and `group_id` are the single ids inside; an absent one is None."""

    flags: int = 0
    persist: dict[str, str] = {}
    fork: bool = False
    kill_child: int = 0
    mount_proc: str = ""
    user_id: int | None = None
    group_id: int | None = None
    user_ranges: list[tuple[int, int, int]] = []
    group_ranges: list[tuple[int, int, int]] = []
    propagation: int = abi.MS_REC | abi.MS_PRIVATE
    setgroups: str = ""
    keep_caps: bool = False
    root: str = ""
    working_dir: str = ""
    set_uid: int | None = None
    set_gid: int | None = None
    clock_offsets: dict[str, int] = {}


def unshare(call: Call) -> int:
    request = request_of(call.flags)
    argv = call.arguments
    uid, gid = os.geteuid(), os.getegid()
    with _Helper(request) as helper:
        _named("unshare failed", lambda: unshare_namespaces(request.flags))
        helper.go_ahead()
        for clock, offset_s in request.clock_offsets.items():
            _write("/proc/self/timens_offsets", f"{clock} {offset_s} 0")
        child = _fork(request) if request.fork else 0
        if child or not request.fork:
            if not request.flags & abi.CLONE_NEWNS:
                _bind_files(request.persist, os.getpid())
            helper.finish()
        if child:
            return _wait(child)
    _enter(request, uid, gid)
    _exec(argv)


# -- the command line


def request_of(flags: Flags) -> Request:
    """The flags as a Request, with what each of them implies."""
    clone_flags, persist = 0, {}
    for name, bit, _ in _KINDS:
        if flags.given(name):
            clone_flags |= bit
            if flags.text(name):
                persist[name] = flags.text(name)
    user_id, group_id = _single_ids(flags)
    user_ranges, group_ranges = _ranges(flags, "users", "uid"), _ranges(flags, "groups", "gid")
    if user_id is not None or group_id is not None or user_ranges or group_ranges:
        clone_flags |= abi.CLONE_NEWUSER
    if flags.given("mount-proc"):
        clone_flags |= abi.CLONE_NEWNS
    offsets = {name: flags.number(name) for name in ("monotonic", "boottime") if flags.given(name)}
    if offsets and not clone_flags & abi.CLONE_NEWTIME:
        raise InvalidArgument("options --monotonic and --boottime require unsharing of a time namespace (-t)")
    setgroups = flags.text("setgroups")
    if setgroups not in ("", "allow", "deny"):
        raise InvalidArgument(f"unsupported --setgroups argument '{setgroups}'")
    if setgroups == "allow" and group_id is not None and not group_ranges:
        raise InvalidArgument("options --setgroups=allow and --map-group are mutually exclusive")
    propagation = flags.text("propagation") or "private"
    if propagation not in _PROPAGATION:
        raise InvalidArgument(f"unsupported propagation mode: {propagation}")
    return Request(
        flags=clone_flags,
        persist=persist,
        fork=flags.on("fork") or flags.given("kill-child"),
        kill_child=_signal(flags.text("kill-child") or "KILL") if flags.given("kill-child") else 0,
        mount_proc=(flags.text("mount-proc") or "/proc") if flags.given("mount-proc") else "",
        user_id=user_id,
        group_id=group_id,
        user_ranges=user_ranges,
        group_ranges=group_ranges,
        propagation=_PROPAGATION[propagation],
        setgroups=setgroups,
        keep_caps=flags.on("keep-caps"),
        root=flags.text("root"),
        working_dir=flags.text("wd") or ("/" if flags.given("root") else ""),
        set_uid=_id(flags, "setuid", "uid"),
        set_gid=_id(flags, "setgid", "gid"),
        clock_offsets=offsets,
    )


def _single_ids(flags: Flags) -> tuple[int | None, int | None]:
    if flags.on("map-root-user"):
        return 0, 0
    if flags.on("map-current-user"):
        return os.geteuid(), os.getegid()
    return _id(flags, "map-user", "uid"), _id(flags, "map-group", "gid")


def _id(flags: Flags, name: str, kind: str) -> int | None:
    if not flags.given(name):
        return None
    text = flags.text(name)
    if text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    import grp
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid if kind == "uid" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise InvalidArgument(f"failed to parse {kind} '{text}'") from None


def _ranges(flags: Flags, what: str, kind: str) -> list[tuple[int, int, int]]:
    text = flags.text(f"map-{what}")
    if flags.on("map-auto") or text == "auto":
        import pwd

        uid = os.geteuid()
        return [idmap.subordinate_range(f"/etc/sub{kind}", pwd.getpwuid(uid).pw_name, uid)]
    return [idmap.parse_range(text, what)] if text else []


def _signal(text: str) -> int:
    from inception.engine.validate import parse_signal

    try:
        return parse_signal(text)
    except InvalidArgument:
        raise InvalidArgument(f"unknown signal: {text}") from None


# -- the helper outside


class _Helper:
    """A child that stays in the old namespaces, for what only works from there: ranges of ids, and bind mounts of the
    namespaces' files when the mount namespace is a new one."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._child = 0

    def __enter__(self) -> _Helper:
        self._binds = bool(self.request.persist) and bool(self.request.flags & abi.CLONE_NEWNS)
        if self.request.user_ranges or self.request.group_ranges or self._binds:
            parent = os.getpid()
            self._go_read, self._go_write = os.pipe2(os.O_CLOEXEC)
            self._done_read, self._done_write = os.pipe2(os.O_CLOEXEC)
            self._child = os.fork()
            if self._child == 0:
                os._exit(self._serve(parent))
            os.close(self._go_read)
            os.close(self._done_write)
        return self

    def _serve(self, parent: int) -> int:
        from inception.cli.call import complain

        os.close(self._go_write)
        os.close(self._done_read)
        try:
            if os.read(self._go_read, 1):
                self._map(parent)
                os.write(self._done_write, b"m")
            if os.read(self._go_read, 1) and self._binds:
                _bind_files(self.request.persist, parent)
            return 0
        except Exception as error:
            complain(error)
            return 1

    def _map(self, pid: int) -> None:
        request = self.request
        for kind, ranges, single, own in (
            ("uid", request.user_ranges, request.user_id, os.geteuid()),
            ("gid", request.group_ranges, request.group_id, os.getegid()),
        ):
            if ranges:
                idmap.apply_ranges(pid, kind, ranges if single is None else idmap.with_single(ranges, single, own))

    def go_ahead(self) -> None:
        """The namespaces are there: let the child map, and wait until it has."""
        if self._child:
            os.write(self._go_write, b"u")
            if not os.read(self._done_read, 1):
                self._reap()

    def finish(self) -> None:
        """Let the child bind the files, and end."""
        if self._child:
            os.write(self._go_write, b"f")
            self._reap()

    def _reap(self) -> None:
        child, self._child = self._child, 0
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(1)  # the child has said why

    def __exit__(self, *_exc: object) -> None:
        if self._child:
            os.close(self._go_write)
            os.waitpid(self._child, 0)
            self._child = 0


def _bind(source: str, target: str) -> None:
    try:
        mount.mount(source, target, None, abi.MS_BIND)
    except OSError as error:
        # The kernel keeps a mount namespace in an older one only. 6.18 compares numbers that it hands out per processor, so
        # a newer namespace may look older; util-linux fails there as well (measured: half of all tries across two CPUs).
        mount_namespace = source.endswith("/mnt") and error.errno == errno.EINVAL
        hint = "the file must lie on a private mount; if it does, try again under `taskset -c 0`" if mount_namespace else ""
        raise Forbidden(f"mount {source} on {target} failed: {error.strerror}", hint) from None


def _bind_files(persist: dict[str, str], pid: int) -> None:
    """Bind the namespaces of *pid* that should persist to their files."""
    for name, _, file in _KINDS:
        if name in persist:
            _bind(f"/proc/{pid}/ns/{file}", persist[name])


# -- parent and child


def _fork(request: Request) -> int:
    blocked = {signal.SIGINT, signal.SIGTERM}
    if request.kill_child:
        # The child is what a terminal's Ctrl-C is for; we stay to pass its end on.
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child == 0:
        if request.kill_child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            set_pdeathsig(request.kill_child)
        else:
            # Python turns SIGINT into an exception; a program is to find it as it was.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    return child


def _wait(child: int) -> int:
    """The child's exit code; a signal that ended it ends us as well, as a shell would expect."""
    # Ctrl-C reaches the whole foreground group: the child decides what it means, and its end is ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


def _enter(request: Request, uid: int, gid: int) -> None:
    """What is done from inside of the new namespaces, before the program."""
    if request.user_id is not None and not request.user_ranges:
        idmap.write_single("self", "uid", request.user_id, uid)
    if request.group_id is not None and not request.group_ranges:
        # Without this anyone could drop a group that a file denies something to (user_namespaces(7)).
        _write("/proc/self/setgroups", "deny")
        idmap.write_single("self", "gid", request.group_id, gid)
    if request.setgroups:
        _write("/proc/self/setgroups", request.setgroups)
    if request.flags & abi.CLONE_NEWNS and request.propagation:
        _named("cannot change root filesystem propagation", lambda: mount.mount("none", "/", None, request.propagation))
    if request.root:
        _named(f"cannot change root directory to '{request.root}'", lambda: os.chroot(request.root))
    if request.working_dir:
        _named(f"cannot chdir to '{request.working_dir}'", lambda: os.chdir(request.working_dir))
    if request.mount_proc:
        _mount_proc(request)
    if request.set_gid is not None:
        _named("setgroups failed", lambda: os.setgroups([]))
        _named("setgid failed", lambda: os.setgid(request.set_gid or 0))
    if request.set_uid is not None:
        _named("setuid failed", lambda: os.setuid(request.set_uid or 0))
    if request.kill_child:
        set_pdeathsig(request.kill_child)  # setuid(2) has cleared it
    if request.keep_caps and request.flags & abi.CLONE_NEWUSER:
        _raise_ambient()


def _mount_proc(request: Request) -> None:
    target = request.mount_proc
    if not request.root and request.propagation != abi.MS_PRIVATE | abi.MS_REC:
        try:
            mount.mount("none", target, None, abi.MS_PRIVATE | abi.MS_REC)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is no mount point, so there is nothing to keep to ourselves
                raise Forbidden(f"cannot change {target} filesystem propagation: {error.strerror}") from None
    flags = abi.MS_NOSUID | abi.MS_NOEXEC | abi.MS_NODEV
    _named(f"mount {target} failed", lambda: mount.mount("proc", target, "proc", flags))


def _raise_ambient() -> None:
    """Every permitted capability made inheritable and ambient, so that execve keeps it without uid 0."""
    permitted, inheritable = held("CapPrm"), held("CapPrm")
    effective = held("CapEff")
    header = (0x20080522).to_bytes(4, "little") + bytes(4)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = b"".join(
        (value >> shift & 0xFFFFFFFF).to_bytes(4, "little")
        for shift in (0, 32)
        for value in (effective, permitted, inheritable)
    )
    _named("capset failed", lambda: syscall(abi.SYS_capset, header, data))
    for number in range(last_cap() + 1):
        if permitted >> number & 1:
            syscall(abi.SYS_prctl, abi.PR_CAP_AMBIENT, abi.PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        raise Forbidden(f"write failed {path}: {error.strerror}") from None


def _named(what: str, act: Callable[[], object]) -> None:
    """Do *act*; an error of the kernel's comes back as `WHAT: reason`."""
    try:
        act()
    except OSError as error:
        raise Forbidden(f"{what}: {error.strerror}", _hint(what, error.errno or 0)) from None


def _hint(what: str, code: int) -> str:
    if what != "unshare failed":
        return ""
    if code == errno.EPERM and os.geteuid():
        return "without root add --user, or --map-root-user; user namespaces may be turned off by a sysctl"
    if code == errno.ENOSPC:
        return "a limit in /proc/sys/user/ is reached"
    return ""


def _exec(argv: list[str]) -> NoReturn:
    """Become the program; without one, a log-in shell, as unshare(1) does."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two, and execve would pass that on
        signal.signal(number, signal.SIG_DFL)
    program = argv[0] if argv else os.environ.get("SHELL") or "/bin/sh"
    try:
        _execute(program, argv or ["-" + os.path.basename(program)])
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else 126
        raise StartFailed(f"failed to execute {program}: {error.strerror}", exit_code=code) from None
    except ValueError as error:  # a zero byte, or an empty name
        raise StartFailed(f"failed to execute {program!r}: {error}", exit_code=126) from None


def _execute(program: str, argv: list[str]) -> NoReturn:
    """execvp(3). Not os.execvp, which imports a module: after chroot(2) it would come from the new root, or from nowhere."""
    if "/" in program:
        os.execv(program, argv)
    refused: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        try:
            os.execv(f"{folder or '.'}/{program}", argv)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused


UNSHARE = Command(
    unshare,
    "[OPTIONS] [PROGRAM [ARGUMENT...]]",
    "Run a program in new namespaces",
    """\
  -m, --mount[=file]        New mount namespace, kept by a bind mount on file
  -u, --uts[=file]          New UTS namespace (hostname)
  -i, --ipc[=file]          New System V IPC namespace
  -n, --net[=file]          New network namespace
  -p, --pid[=file]          New pid namespace
  -U, --user[=file]         New user namespace
  -C, --cgroup[=file]       New cgroup namespace
  -T, --time[=file]         New time namespace
  -f, --fork                Fork before the program is run
      --map-user string     Map the current user to this uid or name (implies --user)
      --map-group string    Map the current group to this gid or name (implies --user)
  -r, --map-root-user       Map the current user to root (implies --user)
  -c, --map-current-user    Map the current user to itself (implies --user)
      --map-auto            Map the ranges of /etc/subuid and /etc/subgid (implies --user)
      --map-users string    Map a range of users: inside:outside:count, or "auto" (implies --user)
      --map-groups string   Map a range of groups: inside:outside:count, or "auto" (implies --user)
      --kill-child[=sig]    When we die, send the forked child this signal (implies --fork; KILL without one)
      --mount-proc[=dir]    Mount proc first (implies --mount)
      --propagation string  Propagation of mounts: "slave", "shared", "private" or "unchanged"
      --setgroups string    "allow" or "deny" setgroups(2) in the user namespace
      --keep-caps           Keep the capabilities that the user namespace gives
  -R, --root string         Run the program with this folder as its root
  -w, --wd string           Change the working directory
  -S, --setuid string       Set the uid in the entered namespaces
  -G, --setgid string       Set the gid in the entered namespaces
      --monotonic int       Offset of the monotonic clock in seconds (with --time)
      --boottime int        Offset of the boot clock in seconds (with --time)
""",
    interspersed=False,
    start_exit_codes=True,
)
