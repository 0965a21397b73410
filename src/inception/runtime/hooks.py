"""Hooks of the runtime's own namespaces: programs that get the container's state on stdin.

A hook's environment is exactly what the spec says; it runs from /, in a session of its own, and is killed after its timeout.
Source: runtime-spec config.md, "POSIX-platform Hooks".
"""

from __future__ import annotations

import os
import signal

from inception.errors import InceptionError, Unavailable
from inception.jsontext import dumps
from inception.linux import process
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Hook, State


def run_hooks(hooks: list[Hook], state: State, where: str, *, warn: bool = False) -> list[str]:
    """Run *hooks* in order. The first failure is raised as Unavailable; with *warn* all run, and failures are returned."""
    failures = []
    for index, hook in enumerate(hooks):
        try:
            _run(hook, dumps(encode(state, keep_defaults=True)).encode(), f"hooks.{where}[{index}]")
        except InceptionError as error:
            if not warn:
                raise
            failures.append(str(error))
    return failures


def _run(hook: Hook, state: bytes, where: str) -> None:
    stdin = process.memfd("state", state)
    argv = hook.args or [hook.path]
    env = dict(variable.partition("=")[::2] for variable in hook.env)
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    try:
        pid = os.posix_spawn(
            hook.path,
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        raise Unavailable(f"{where}: {hook.path}: {error.strerror}") from error
    finally:
        os.close(stdin)
    pidfd = process.pidfd_open(pid)
    try:
        if not process.wait_pidfd(pidfd, hook.timeout):
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
            process.reap(pidfd)
            raise Unavailable(f"{where}: {hook.path}: did not end within {hook.timeout} s")
        code = process.reap(pidfd)
    finally:
        os.close(pidfd)
    if code:
        raise Unavailable(f"{where}: {hook.path}: exit status {code}")
