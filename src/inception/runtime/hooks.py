"""Hooks of the runtime's own namespaces: programs that get the container's state on stdin.

A hook's environment is what the spec says, or our own where it says nothing; it runs in a session of its own, and is killed
after its timeout. What it writes is shown when it fails. Those of the container's namespaces are steps of the plan
(process.py).
Source: runtime-spec config.md, "POSIX-platform Hooks".
"""

from __future__ import annotations

import os

from inception.errors import InceptionError, Unavailable
from inception.jsontext import dumps
from inception.linux import process
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Hook, State

_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25  # `signal` costs 3 ms to import
_SHOWN_BYTES = 1024


def run_hooks(hooks: list[Hook], state: State, kind: str, *, warn: bool = False) -> list[str]:
    """Run *hooks* in order. The first failure is raised as Unavailable; with *warn* all run, and failures are returned."""
    failures = []
    for index, hook in enumerate(hooks):
        try:
            _run(hook, encode_state(state), f"error running {kind} hook #{index}: {hook.path}")
        except InceptionError as error:
            if not warn:
                raise
            failures.append(str(error))
    return failures


def encode_state(state: State) -> bytes:
    """What a hook reads."""
    return dumps({"pid": state.pid, **encode(state), "ociVersion": state.oci_version}).encode()


def tail(fd: int) -> str:
    """The end of what was written to a memory file, to be appended to an error."""
    size = os.fstat(fd).st_size
    text = os.pread(fd, _SHOWN_BYTES, max(0, size - _SHOWN_BYTES)).decode(errors="replace").strip()
    return f": {text}" if text else ""


def _run(hook: Hook, state: bytes, what: str) -> None:
    stdin = process.memfd("state", state)
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        code = _wait(_start(hook, stdin, output, what), hook.timeout)
        if code is None:
            raise Unavailable(f"{what}: did not end within {hook.timeout} s{tail(output)}")
        if code:
            raise Unavailable(f"{what}: exit status {code}{tail(output)}")
    finally:
        os.close(stdin)
        os.close(output)


def _start(hook: Hook, stdin: int, output: int, what: str) -> int:
    env = dict(os.environ if hook.env is None else (variable.partition("=")[::2] for variable in hook.env))
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    try:
        return os.posix_spawn(
            hook.path,
            hook.args or [hook.path],
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[_SIGPIPE, _SIGXFSZ],
        )
    except OSError as error:
        raise Unavailable(f"{what}: {(error.strerror or '').lower()}") from error


def _wait(pid: int, timeout_s: int | None) -> int | None:
    """The exit code; None when it was killed after its time."""
    pidfd = process.pidfd_open(pid)
    try:
        ended = process.wait_pidfd(pidfd, timeout_s)
        if not ended:
            process.pidfd_send_signal(pidfd, _SIGKILL)
        code = process.reap(pidfd)
        return code if ended else None
    finally:
        os.close(pidfd)
