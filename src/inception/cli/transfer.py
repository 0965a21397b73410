"""Images in and out: pull, load, save, import, bootstrap; push says why not."""

from __future__ import annotations

import sys

from inception.cli.call import Call
from inception.cli.files import write_stream
from inception.cli.flags import Command
from inception.cli.progress import PullProgress, full_name
from inception.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_PLATFORM = "images are kept for this machine's platform only"


def pull(call: Call) -> int:
    quiet = call.flags.on("quiet")
    call.engine.images.pull(call.arguments[0], progress=PullProgress(sys.stdout, quiet=quiet))
    _say(call.arguments[0])
    return 0


def _say(name: str) -> None:
    """Docker's last word on an image that has arrived: its full name."""
    from inception.oci.reference import Reference

    print(Reference.parse(name))


def push(call: Call) -> int:
    call.engine.images.get(call.arguments[0])
    raise Unavailable(
        f"push {full_name(call.arguments[0])}: pushing to a registry is not supported yet",
        f"inception save -o image.tar {call.arguments[0]} writes it as an archive that other tools push",
    )


def load(call: Call) -> int:
    path = call.flags.text("input")
    if not path and sys.stdin.isatty():
        raise InvalidArgument("requested load from stdin, but stdin is empty")
    progress = PullProgress(sys.stderr, quiet=call.flags.on("quiet") or not sys.stderr.isatty())
    with _open(path) as stream:
        names = call.engine.images.load(stream, progress=progress)
    for name in names:
        print(f"Loaded image ID: {name}" if name.startswith("sha256:") else f"Loaded image: {name}")
    return 0


def _open(path: str) -> BinaryIO:
    return open(path, "rb") if path else open(0, "rb", closefd=False)


def save(call: Call) -> int:
    write_stream(call.flags.text("output"), call.engine.images.save(call.arguments), "save")
    return 0


def import_(call: Call) -> int:
    source = call.arguments[0]
    if "://" in source:
        raise InvalidArgument(
            f"import {source}: importing from a URL is not supported", "download it and import the file, or pipe it in with `-`"
        )
    reference = call.arguments[1] if len(call.arguments) > 1 else ""
    with _open("" if source == "-" else source) as stream:
        image = call.engine.images.import_(
            stream, reference, message=call.flags.text("message"), changes=call.flags.list("change")
        )
    print(image.id)
    return 0


def bootstrap(call: Call) -> int:
    for name in call.arguments:
        call.engine.images.bootstrap(name, progress=PullProgress(sys.stderr, quiet=call.flags.on("quiet")))
        _say(name)
    return 0


PULL = Command(
    pull,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    "  -q, --quiet   Suppress verbose output\n",
    minimum=1,
    maximum=1,
    refused={"all-tags": "name the tags that are wanted", "platform": _PLATFORM},
)
PUSH = Command(
    push,
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to a registry",
    "  -q, --quiet   Suppress verbose output\n",
    minimum=1,
    maximum=1,
    refused={"all-tags": "pushing is not supported yet", "platform": _PLATFORM},
)
LOAD = Command(
    load,
    "[OPTIONS]",
    "Load an image from a tar archive or STDIN",
    """\
  -i, --input string   Read from a tar archive, instead of STDIN
  -q, --quiet          Suppress the load output
""",
    maximum=0,
    refused={"platform": _PLATFORM},
)
SAVE = Command(
    save,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    "  -o, --output string   Write to a file, instead of STDOUT\n",
    minimum=1,
    refused={"platform": _PLATFORM},
)
IMPORT = Command(
    import_,
    "[OPTIONS] file|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    """\
  -c, --change list      Apply a Dockerfile instruction to the created image
  -m, --message string   Set a commit message for the imported image
""",
    minimum=1,
    maximum=2,
    refused={"platform": _PLATFORM},
)
BOOTSTRAP = Command(
    bootstrap,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Make a Debian or Ubuntu base image from the distribution's own packages",
    "  -q, --quiet   Suppress progress output\n",
    minimum=1,
)
