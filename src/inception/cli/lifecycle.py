"""The verbs that move containers from state to state: start, stop, restart, kill, pause, unpause, wait, rename, rm."""

from __future__ import annotations

import sys

from inception.cli.call import Call, complain, for_each
from inception.cli.flags import Command, UsageError
from inception.errors import InceptionError, NotFound, NotModified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.container import Container


def start(call: Call) -> int:
    flags = call.flags
    if flags.on("attach") or flags.on("interactive"):
        if len(call.arguments) > 1:
            raise UsageError("you cannot start and attach multiple containers at once", exit_code=1)
        return _start_attached(call, call.engine.containers.get(call.arguments[0]))
    failed: list[str] = []
    if flags.text("checkpoint") and len(call.arguments) > 1:
        raise UsageError("you cannot restore multiple containers at once", exit_code=1)

    def begin(name: str) -> None:
        try:
            start = call.engine.containers.get(name).start
            _once(lambda: start(checkpoint=flags.text("checkpoint"), checkpoint_dir=flags.text("checkpoint-dir")))
        except InceptionError:
            failed.append(name)
            raise

    code = for_each(call.arguments, begin)
    if failed:
        print(f"inception: failed to start containers: {', '.join(failed)}", file=sys.stderr)
    return code


def _once(act: object) -> None:
    """Call *act*; that it has been done already is no failure."""
    try:
        act()  # type: ignore[operator]
    except NotModified:
        pass


def _start_attached(call: Call, container: Container) -> int:
    from inception.cli.run import finish, new_session
    from inception.cli.terminal import check_terminal

    interactive = call.flags.on("interactive") and container.config.open_stdin
    check_terminal(container.config.tty, interactive)
    outputs = ("stdout", "stderr") if call.flags.on("attach") else ()
    session = new_session(call, container, interactive=interactive, outputs=outputs or ("stdout", "stderr"))
    try:
        try:
            flags = call.flags
            stream = container.start_attached(checkpoint=flags.text("checkpoint"), checkpoint_dir=flags.text("checkpoint-dir"))
        except NotModified:
            stream = container.attach()
        with stream:
            return finish(session, container, stream)
    finally:
        session.close()


def stop(call: Call) -> int:
    timeout_s = float(call.flags.number("timeout")) if call.flags.given("timeout") else None
    signal = call.flags.text("signal")
    return for_each(
        call.arguments,
        lambda name: _once(lambda: call.engine.containers.get(name).stop(timeout_s=timeout_s, signal=signal)),
    )


def restart(call: Call) -> int:
    timeout_s = float(call.flags.number("timeout")) if call.flags.given("timeout") else None
    signal = call.flags.text("signal")
    return for_each(call.arguments, lambda name: call.engine.containers.get(name).restart(timeout_s=timeout_s, signal=signal))


def kill(call: Call) -> int:
    signal = call.flags.text("signal") or "KILL"
    return for_each(call.arguments, lambda name: call.engine.containers.get(name).kill(signal))


def pause(call: Call) -> int:
    return for_each(call.arguments, lambda name: call.engine.containers.get(name).pause())


def unpause(call: Call) -> int:
    return for_each(call.arguments, lambda name: call.engine.containers.get(name).unpause())


def wait(call: Call) -> int:
    return for_each(call.arguments, lambda name: print(call.engine.containers.get(name).wait(), flush=True), say=False)


def rename(call: Call) -> int:
    old, new = call.arguments
    call.engine.containers.get(old).rename(new)
    return 0


def rm(call: Call) -> int:
    force, volumes = call.flags.on("force"), call.flags.on("volumes")
    failed = False
    for name in call.arguments:
        try:
            call.engine.containers.get(name).remove(force=force, volumes=volumes)
        except NotFound as error:
            print(f"inception: {error}", file=sys.stderr)
            failed = failed or not force
        except InceptionError as error:
            complain(error)
            failed = True
        else:
            print(name, flush=True)
    return int(failed)


_MANY = "CONTAINER [CONTAINER...]"
_STOPPING = """\
  -s, --signal string   Signal to send to the container
  -t, --timeout int     Seconds to wait before killing the container
"""

START = Command(
    start,
    f"[OPTIONS] {_MANY}",
    "Start one or more stopped containers",
    """\
  -a, --attach                  Attach STDOUT/STDERR and forward signals
      --checkpoint string       Restore from this checkpoint
      --checkpoint-dir string   Use a custom checkpoint storage directory
      --detach-keys string      Keys that detach from the container (default "ctrl-p,ctrl-q")
  -i, --interactive             Attach the container's STDIN
      --sig-proxy               Send signals on to the process (default true)
""",
    minimum=1,
    start_exit_codes=True,
)
STOP = Command(
    stop, f"[OPTIONS] {_MANY}", "Stop one or more running containers", _STOPPING, minimum=1, renamed={"time": "timeout"}
)
RESTART = Command(
    restart, f"[OPTIONS] {_MANY}", "Restart one or more containers", _STOPPING, minimum=1, renamed={"time": "timeout"}
)
KILL = Command(
    kill,
    f"[OPTIONS] {_MANY}",
    "Kill one or more running containers",
    '  -s, --signal string   Signal to send to the container (default "KILL")\n',
    minimum=1,
)
PAUSE = Command(pause, _MANY, "Pause all processes within one or more containers", minimum=1)
UNPAUSE = Command(unpause, _MANY, "Unpause all processes within one or more containers", minimum=1)
WAIT = Command(wait, _MANY, "Block until one or more containers stop, then print their exit codes", minimum=1)
RENAME = Command(rename, "CONTAINER NEW_NAME", "Rename a container", minimum=2, maximum=2)
RM = Command(
    rm,
    f"[OPTIONS] {_MANY}",
    "Remove one or more containers",
    """\
  -f, --force     Force the removal of a running container (uses SIGKILL)
  -v, --volumes   Remove anonymous volumes associated with the container
""",
    minimum=1,
    refused={"link": "links are not implemented"},
)
