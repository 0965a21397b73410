"""`run` and `create`.

In the foreground the streams are attached before the first instruction of the container, so no output is lost, and signals
are caught before that, so none kills us with a container on the way.
"""

from __future__ import annotations

import os
import sys

from inception.cli import run_flags
from inception.cli.call import Call
from inception.cli.flags import Command, UsageError, more
from inception.cli.run_config import config_of
from inception.cli.terminal import check_terminal
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.cli.flags import Flags
    from inception.cli.streams import Session
    from inception.engine.config import ContainerConfig
    from inception.engine.container import Container
    from inception.monitor.client import AttachStream
    from inception.store.progress import Progress

_FAILED = 125


def run(call: Call) -> int:
    flags = call.flags
    _check_together(call)
    config = config_of(flags, call.arguments[0], call.arguments[1:], call.path)
    if flags.on("explain"):
        return _explain(call, config)
    if not flags.on("detach"):
        check_terminal(config.tty, "stdin" in config.attached)
    container = _create(call, config)
    if flags.on("detach"):
        print(container.id, flush=True)
        container.start()
        return 0
    return _foreground(call, container, config.attached)


def create(call: Call) -> int:
    config = config_of(call.flags, call.arguments[0], call.arguments[1:], call.path)
    print(_create(call, config).id)
    return 0


def _check_together(call: Call) -> None:
    flags = call.flags
    if flags.on("detach") and flags.given("attach"):
        raise UsageError("conflicting options: cannot specify both --attach and --detach", exit_code=1)
    if flags.on("rm") and flags.text("restart") not in ("", "no"):
        raise UsageError("inception: conflicting options: cannot specify both --restart and --rm", more(call.path))


def _explain(call: Call, config: ContainerConfig) -> int:
    from inception.cli.format import write

    plan = call.engine.containers.plan(config, pull=_pull(call.flags))
    write(plan.explain().rstrip("\n") + "\n")
    return 0


def _pull(flags: Flags) -> str:
    policy = flags.text("pull")
    if policy not in ("always", "missing", "never"):
        raise InvalidArgument(f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"')
    return policy


def _create(call: Call, config: ContainerConfig) -> Container:
    flags = call.flags
    if config.network_mode == "host" and (config.ports or config.publish_all):
        print("WARNING: Published ports are discarded when using host network mode", file=sys.stderr)
    for address in config.dns:
        if address.startswith("127.") or address == "::1":
            print(f"WARNING: Localhost DNS ({address}) may fail in containers.", file=sys.stderr)
    if config.resources.oom_kill_disable and not config.resources.memory_bytes:
        print("WARNING: OOM killer is disabled for the container, but no memory limit is set", file=sys.stderr)
    with _IdFile(flags.text("cidfile")) as id_file:
        container = call.engine.containers.create(config, pull=_pull(flags), progress=_Pulling(flags.on("quiet")))
        id_file.write(container.id)
    return container


class _Pulling:
    """How an image is fetched, on standard error. What shows it is imported at the first sign of it: most runs need no pull."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._show: Callable[[Progress], None] | None = None

    def __call__(self, progress: Progress) -> None:
        if self._show is None:
            from inception.cli.progress import PullProgress

            self._show = PullProgress(sys.stderr, quiet=self.quiet)
        self._show(progress)


class _IdFile:
    """`--cidfile`: claimed before the container is made, and removed again when that fails."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> _IdFile:
        if self.path:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raise InvalidArgument(
                    f"container ID file found, make sure the other container isn't running or delete {self.path}"
                ) from None
            except OSError as error:
                raise InvalidArgument(f"failed to create the container ID file: {error.strerror}: {self.path}") from None
        return self

    def write(self, container_id: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, container_id.encode())

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if error is not None:
                os.unlink(self.path)


# -- the foreground


def _foreground(call: Call, container: Container, attached: list[str]) -> int:
    outputs = tuple(stream for stream in attached if stream != "stdin")
    session = new_session(call, container, interactive="stdin" in attached, outputs=outputs)
    if not outputs:
        print(container.id, flush=True)
    try:
        return follow(session, container)
    finally:
        session.close()


def new_session(call: Call, container: Container, *, interactive: bool, outputs: tuple[str, ...]) -> Session:
    """A session with *container* by the flags that `run`, `start` and `attach` share."""
    from inception.cli.streams import Session
    from inception.cli.terminal import parse_detach_keys

    tty = container.config.tty
    keys = parse_detach_keys(call.flags.text("detach-keys"))
    # In raw mode Ctrl-C travels as a byte, so a terminal's signals are none of ours.
    proxy = call.flags.on("sig-proxy") and not tty
    forward = (lambda number: container.kill(str(number))) if proxy else None
    return Session(tty=tty, interactive=interactive, outputs=outputs, detach_keys=keys, forward=forward)


def follow(session: Session, container: Container) -> int:
    """Start *container* and stay with it; answers its exit code, or 0 when the user detached."""
    with container.start_attached() as stream:
        return finish(session, container, stream)


def finish(session: Session, container: Container, stream: AttachStream) -> int:
    """Pass the stream's data until its end; answers the container's exit code."""
    from inception.monitor.client import MonitorGone

    try:
        session.run(stream)
    except MonitorGone:
        pass
    return 0 if session.detached else container.settle(stream)


_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"

RUN = Command(
    run,
    _USAGE,
    "Create and run a new container from an image",
    run_flags.merged(run_flags.OPTIONS, run_flags.RUN_ONLY),
    minimum=1,
    interspersed=False,
    renamed=run_flags.RENAMED,
    refused=run_flags.REFUSED,
    error_exit_code=_FAILED,
    start_exit_codes=True,
)
CREATE = Command(
    create,
    _USAGE,
    "Create a new container",
    run_flags.OPTIONS,
    minimum=1,
    interspersed=False,
    renamed=run_flags.RENAMED,
    refused=run_flags.REFUSED,
)
