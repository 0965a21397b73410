"""`exec`: another process in a running container."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command, UsageError
from inception.cli.terminal import check_terminal, parse_detach_keys
from inception.cli.values import environment
from inception.engine.config import ExecConfig


def exec(call: Call) -> int:
    flags = call.flags
    detach, tty, interactive = flags.on("detach"), flags.on("tty"), flags.on("interactive")
    try:
        env = environment(flags.list("env-file"), flags.list("env"))
    except OSError as error:
        raise UsageError(f"open {error.filename}: {(error.strerror or '').lower()}", exit_code=1) from None
    except ValueError as error:
        raise UsageError(str(error), exit_code=1) from None
    config = ExecConfig(
        command=call.arguments[1:],
        env=env,
        user=flags.text("user"),
        working_dir=flags.text("workdir"),
        tty=tty,
        open_stdin=interactive and not detach,
        privileged=flags.on("privileged"),
        detach_keys=flags.text("detach-keys"),
    )
    if not detach:
        check_terminal(tty, interactive)
    container = call.engine.containers.get(call.arguments[0])
    if detach:
        container.exec_detached(config)
        return 0
    from inception.cli.streams import Session

    keys = parse_detach_keys(flags.text("detach-keys"))
    session = Session(tty=tty, interactive=interactive, detach_keys=keys)
    try:
        with container.exec_start(config) as process:
            session.run(process)
            return 0 if session.detached else process.wait()
    finally:
        session.close()


EXEC = Command(
    exec,
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    """\
  -d, --detach               Detached mode: run the command in the background
      --detach-keys string   Keys that detach from the command (default "ctrl-p,ctrl-q")
  -e, --env list             Set environment variables
      --env-file list        Read in a file of environment variables
  -i, --interactive          Keep STDIN open even if not attached
      --privileged           Give extended privileges to the command
  -t, --tty                  Allocate a terminal
  -u, --user string          User and group (<name|uid>[:<group|gid>])
  -w, --workdir string       Working directory inside the container
""",
    minimum=2,
    interspersed=False,
    start_exit_codes=True,
)
