"""`attach`: join the streams of a container that runs."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.run import finish, new_session
from inception.cli.terminal import check_terminal


def attach(call: Call) -> int:
    container = call.engine.containers.get(call.arguments[0])
    interactive = container.config.open_stdin and not call.flags.on("no-stdin")
    check_terminal(container.config.tty, interactive)
    session = new_session(call, container, interactive=interactive, outputs=("stdout", "stderr"))
    try:
        with container.attach() as stream:
            return finish(session, container, stream)
    finally:
        session.close()


ATTACH = Command(
    attach,
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    """\
      --detach-keys string   Keys that detach from the container (default "ctrl-p,ctrl-q")
      --no-stdin             Do not attach STDIN
      --sig-proxy            Send signals on to the process (default true)
""",
    minimum=1,
    maximum=1,
)
