"""`create` and `run`: a container from a bundle."""

from __future__ import annotations

import os

from inception.errors import InceptionError, InvalidArgument
from inception.record import replace
from inception.runtime.bundle import load_bundle
from inception.runtime.cli_process import (
    absent_fds,
    console_socket,
    listen_fds_given,
    own_terminal,
    send_pidfd,
    wait,
    write_pid,
)
from inception.runtime.create import CreateOptions
from inception.runtime.create import create as create_container
from inception.runtime.environment import listen_env
from inception.runtime.lifecycle import Container
from inception.runtime.namespaces import has_mount_namespace, has_user_namespace
from inception.runtime.validate import grantable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.runtime import Spec
    from inception.runtime.child import Child
    from inception.runtime.cli import Call
    from inception.runtime.terminal import Terminal


def create(call: Call) -> int:
    """`create`"""
    container, spec, bundle = load(call)
    options = options_of(call, console_socket(call))
    child = create_container(container.folder, spec, bundle, options)
    _tell(call, container, child)
    _keep(call, options)
    return 0


def run(call: Call) -> int:
    """`run`"""
    container, spec, bundle = load(call)
    assert spec.process is not None
    terminal, console = None, console_socket(call)
    if console is None and spec.process.terminal and not call.on("detach"):
        terminal = own_terminal()
        console = terminal.socket
    options = replace(options_of(call, console), termios=terminal.mode if terminal else None)
    child = create_container(container.folder, spec, bundle, options)
    code = finish(call, container, child, terminal, container.start)
    _keep(call, options)
    return code


def finish(
    call: Call, container: Container, child: Child, terminal: Terminal | None, start: Callable[[], None] | None = None
) -> int:
    """Tell who asked, start it, and see it through unless it is detached: the exit code."""
    _tell(call, container, child)
    try:
        if start is not None:
            start()
        if call.on("detach"):
            return 0
        code = wait(child, terminal)
    except BaseException:
        container.delete(force=True)
        raise
    if not call.on("keep"):
        for warning in container.delete(force=True):
            call.log.warn(warning)
    return code


def load(call: Call) -> tuple[Container, Spec, str]:
    """The container to be, its spec and bundle."""
    container = Container(call.root, call.id)
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = load_bundle(bundle, call.text("config", "config.json"))
    assert spec.process is not None and spec.linux is not None
    value, warnings = grantable(spec.process, own_user_namespace=has_user_namespace(spec.linux))
    for warning in warnings:
        call.log.warn(warning)
    if not has_mount_namespace(spec.linux):
        call.log.warn("linux.namespaces: no mount namespace: its mounts are made on the host, and stay there")
    _explain_start(call, spec, bundle)
    return container, replace(spec, process=listen_env(value, listen_fds_given())), bundle


def _explain_start(call: Call, spec: Spec, bundle: str) -> None:
    """With runc's landmarks, for whoever searches logs for them."""
    assert spec.linux is not None
    counts = f"{len(spec.mounts)} mounts, {len(spec.linux.namespaces)} namespaces"
    call.log.debug(f"bundle {bundle}: nsexec container setup, {counts}")
    if call.log.debug_on and spec.linux.seccomp is not None:
        from inception.runtime.process import SECCOMP_FLAGS, seccomp_flags

        # runc leaves TSYNC out too: there is one thread.
        shown = seccomp_flags(spec.linux.seccomp) & ~SECCOMP_FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]
        call.log.debug(f"seccomp filter flags: {shown}")
    call.log.debug(
        "/proc/self/exe of the container is a sealed memfd that has nothing of the host's, where runc would say"
        ' "runc exeseal: using overlayfs for sealed /proc/self/exe", "runc exeseal: using /proc/self/exe clone"'
    )


def _keep(call: Call, options: CreateOptions) -> None:
    """Keep this for the next time, where `_shortcut.c` asks for it."""
    if call.kept:
        from inception.runtime.kept import Kept

        Kept(call.kept).keep_run(call.root, options)


def options_of(call: Call, console: int | None) -> CreateOptions:
    """What the command line adds to the bundle. Raises InvalidArgument."""
    preserve = call.number("preserve-fds") or 0
    if not 0 <= preserve <= 128:
        raise InvalidArgument(f"--preserve-fds: {preserve} is not between 0 and 128")
    return CreateOptions(
        console=console,
        pivot=not call.on("no-pivot"),
        keyring=not call.on("no-new-keyring"),
        preserve_fds=preserve,
        absent_fds=absent_fds(preserve + listen_fds_given()),
        listen_fds=listen_fds_given(),
        systemd=call.systemd,
        rootless=call.rootless,
    )


def _tell(call: Call, container: Container, child: Child) -> None:
    """Whoever asked where the container's process is."""
    # With runc's landmarks, for whoever searches logs for them.
    call.log.debug(f"container {container.folder.id} is created: child process in init() is {child.pid}")
    call.log.debug("init: closing the pipe to signal completion; from here on it waits for start")
    try:
        write_pid(call.text("pid-file"), child.pid)
        send_pidfd(call.text("pidfd-socket"), child.pidfd)
    except InceptionError:
        container.delete(force=True)
        raise
