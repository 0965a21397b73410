"""`start` and `exec`, and what every command that begins a process does: descriptors that it is given, signals, the wait."""

from __future__ import annotations

import os

from inception.errors import InvalidArgument
from inception.linux import abi, process, socket
from inception.record import replace
from inception.runtime.bundle import load_process, parse_process
from inception.runtime.environment import complete, listen_env
from inception.runtime.lifecycle import Container
from inception.runtime.namespaces import has_user_namespace
from inception.runtime.validate import grantable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Process
    from inception.runtime.child import Child
    from inception.runtime.cli import Call
    from inception.runtime.terminal import Terminal

_MAX_ID = (1 << 32) - 2
_FORWARDED = (1, 2, 3, 10, 12, 15, 18, 20, 21, 22)  # HUP INT QUIT USR1 USR2 TERM CONT TSTP TTIN TTOU


def start(call: Call) -> int:
    """`start`"""
    container = Container(call.root, call.id)
    if call.started is None:
        container.start()
    else:
        container.go_on(*call.started)
    return 0


def exec_(call: Call) -> int:
    """`exec`"""
    container = Container(call.root, call.id)
    state = container.folder.load()
    listen_fds = listen_fds_given()
    value, warnings = _exec_process(call, container)
    for warning in warnings:
        call.log.warn(warning)
    value = listen_env(complete(value, f"/proc/{state.pid}/root"), listen_fds)
    if value.terminal and call.on("detach") and not call.on("console-socket"):
        raise InvalidArgument("cannot allocate tty if it will detach without setting console socket")
    terminal, console = None, console_socket(call)
    if console is None and value.terminal:
        terminal = own_terminal()
        console = terminal.socket
    call.log.debug(f"nsexec container setup for {container.folder.id}; setns_init: about to exec {value.args}")
    if call.log.debug_on and value.exec_cpu_affinity is not None and value.exec_cpu_affinity.initial:
        from inception.runtime.process import number_set

        mask = int.from_bytes(number_set(value.exec_cpu_affinity.initial, "process.execCPUAffinity.initial"), "little")
        call.log.debug(f"nsexec: affinity: {mask:#x}")
    preserve_fds = listen_fds + (call.number("preserve-fds") or 0)
    child = container.exec(
        value,
        console=console,
        termios=terminal.mode if terminal else None,
        preserve_fds=preserve_fds,
        absent_fds=absent_fds(preserve_fds),
        ignore_paused=call.on("ignore-paused"),
        below=call.values.get("cgroup", []),
    )
    call.log.debug(f"child process in init() is {child.pid}")
    write_pid(call.text("pid-file"), child.pid)
    send_pidfd(call.text("pidfd-socket"), child.pidfd)
    code = 0 if call.on("detach") else wait(child, terminal)
    if call.kept:
        from inception.runtime.kept import Kept

        Kept(call.kept).keep_exec(container, lambda text: _exec_process(call, container, text))
    return code


# ---- from the command line to values ------------------------------------------------------------------------------------


def listen_fds_given() -> int:
    """Descriptors that a service manager gave us, to be passed on. Source: sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") not in (None, str(os.getpid())):
        return 0
    text = os.environ.get("LISTEN_FDS", "0")
    return int(text) if text.isascii() and text.isdigit() and int(text) < 100 else 0


def absent_fds(count: int) -> list[int]:
    """Which of *count* descriptors from 3 on nobody gave us, counted from 3. What we opened ourselves is closed on exec. Raises
    InvalidArgument when there is none at all."""
    absent = [number for number in range(count) if not _is_given(3 + number)]
    if count and len(absent) == count:
        raise InvalidArgument(f"unable to stat preserved-fd 0 (of {count}): descriptor 3 is not open, nor any after it")
    return absent


def _is_given(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def console_socket(call: Call) -> int | None:
    """A connection to --console-socket."""
    path = call.text("console-socket")
    if not path:
        return None
    try:
        return socket.connect(path, abi.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(f"--console-socket {path}: {error.strerror}") from error


def own_terminal() -> Terminal:
    from inception.runtime.terminal import Terminal

    return Terminal()


def _exec_process(call: Call, container: Container, text: str | None = None) -> tuple[Process, list[str]]:
    """The process of --process, or the container's own with what the flags change; and what there is to warn of.

    *text* is what the file of --process holds, or the words of the command, with a NUL behind each, if not as they were given.
    """
    own = container.folder.load_spec()
    assert own.process is not None and own.linux is not None
    if call.on("process"):
        value = load_process(call.text("process")) if text is None else parse_process(text)
    else:
        asked = call if text is None else call.again(text.split("\0")[:-1])
        if len(asked.arguments) < 2:
            raise InvalidArgument("process args cannot be empty")
        value = _changed(asked, own.process)
    return grantable(value, own_user_namespace=has_user_namespace(own.linux))


def _changed(call: Call, own: Process) -> Process:
    user = own.user
    if call.on("user"):
        uid, colon, gid = call.text("user").partition(":")
        user = replace(user, uid=_id("user", uid), gid=_id("user", gid) if colon else user.gid)
    if call.on("additional-gids"):
        user = replace(user, additional_gids=[_id("additional-gids", gid) for gid in call.values["additional-gids"]])
    caps = own.capabilities
    if call.on("cap") and caps is not None:
        extra = call.values["cap"]
        caps = replace(
            caps,
            bounding=caps.bounding + extra,
            effective=caps.effective + extra,
            permitted=caps.permitted + extra,
            ambient=caps.ambient + [name for name in extra if name in caps.inheritable],
        )
    return replace(
        own,
        args=call.arguments[1:],
        terminal=call.on("tty"),
        console_size=None,
        cwd=call.text("cwd") or own.cwd,
        env=own.env + call.values.get("env", []),
        user=user,
        capabilities=caps,
        no_new_privileges=own.no_new_privileges or call.on("no-new-privs"),
        apparmor_profile=call.text("apparmor") or own.apparmor_profile,
    )


def _id(flag: str, text: str) -> int:
    """A user's or group's number, strictly: what is no number must never become one."""
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_ID):
        raise InvalidArgument(f"--{flag}: {text!r} is not a number of a user or group")
    return int(text)


# ---- while it runs ------------------------------------------------------------------------------------------------------


def write_pid(path: str, pid: int) -> None:
    if not path:
        return
    folder, _, name = path.rpartition("/")
    scratch = f"{folder or '.'}/.{name}.{os.getpid()}"
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(str(pid))
        os.rename(scratch, path)
    except OSError as error:
        raise InvalidArgument(f"--pid-file {path}: {error.strerror}") from error


def send_pidfd(path: str, pidfd: int) -> None:
    if not path:
        return
    import socket as sockets  # for the one option

    try:
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
            connection.connect(path)
            sockets.send_fds(connection, [b"pidfd"], [pidfd])
    except OSError as error:
        raise InvalidArgument(f"--pidfd-socket {path}: {error.strerror}") from error


def wait(child: Child, terminal: Terminal | None) -> int:
    """Forward signals and the terminal until the process ends; its exit code."""
    import _signal  # type: ignore[import-not-found]  # `signal` makes enums of them, for 3 ms

    def forward(number: int, _frame: object) -> None:
        try:
            process.pidfd_send_signal(child.pidfd, number)
        except ProcessLookupError:
            pass

    for number in _FORWARDED:
        _signal.signal(number, forward)
    if terminal is not None:
        terminal.relay(child.pidfd)
    try:
        return process.reap(child.pidfd)
    finally:
        os.close(child.pidfd)
