"""What a container made of its files: diff, export, commit."""

from __future__ import annotations

import os

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import printable, write
from inception.engine.config import CommitConfig
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def diff(call: Call) -> int:
    changes = call.engine.containers.get(call.arguments[0]).diff()
    write("".join(f"{change.kind} {printable(change.path)}\n" for change in changes))
    return 0


def export(call: Call) -> int:
    write_stream(call.flags.text("output"), call.engine.containers.get(call.arguments[0]).export())
    return 0


def write_stream(path: str, chunks: Iterable[bytes]) -> None:
    """*chunks* to the file *path*, which gets its name when it is whole, or to standard output, which may be no terminal."""
    from inception.cli.streams import write_all

    if not path:
        if os.isatty(1):
            raise InvalidArgument("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        for chunk in chunks:
            write_all(1, chunk)
        return
    unfinished = f"{path}.{os.getpid()}.part"
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidArgument(f"invalid output path: {path}: {(error.strerror or '').lower()}") from error
    try:
        try:
            for chunk in chunks:
                write_all(fd, chunk)
        finally:
            os.close(fd)
        os.rename(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def commit(call: Call) -> int:
    flags = call.flags
    reference = call.arguments[1] if len(call.arguments) > 1 else ""
    image_id = call.engine.containers.get(call.arguments[0]).commit(
        CommitConfig(
            reference=reference,
            author=flags.text("author"),
            message=flags.text("message"),
            changes=flags.list("change"),
            pause=not flags.on("no-pause") and flags.on("pause"),
        )
    )
    print(image_id)
    return 0


DIFF = Command(diff, "CONTAINER", "Inspect changes to files or directories on a container's filesystem", minimum=1, maximum=1)
EXPORT = Command(
    export,
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
    "  -o, --output string   Write to a file, instead of STDOUT\n",
    minimum=1,
    maximum=1,
)
COMMIT = Command(
    commit,
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    """\
  -a, --author string    Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
  -c, --change list      Apply a Dockerfile instruction to the created image
  -m, --message string   Commit message
      --no-pause         Don't pause the container during the commit
""",
    minimum=1,
    maximum=2,
    hidden="  -p, --pause   Pause the container during the commit (default true)\n",
)
