"""`artifact`: files under a name of a registry, and what refers to an image there."""

from __future__ import annotations

import os
import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import Listing, human_size, printable, write
from inception.cli.progress import PullProgress
from inception.errors import InvalidArgument

_LISTING = Listing(
    {"Digest": "DIGEST", "ArtifactType": "ARTIFACT TYPE", "Size": "SIZE", "MediaType": "MEDIA TYPE"},
    ("Digest", "ArtifactType", "Size"),
)


def push(call: Call) -> int:
    from inception.store.artifacts import split_type

    flags, (name, *paths) = call.flags, call.arguments
    files: dict[str, str] = {}
    for path in paths:
        title = os.path.basename(split_type(path)[0])
        if title in files:
            raise InvalidArgument(f"push {name}: two files are called {title!r}")
        files[title] = path
    pushed = call.engine.images.push_artifact(
        name,
        files,
        artifact_type=flags.text("artifact-type"),
        annotations=flags.map("annotation"),
        subject=flags.text("subject"),
        progress=PullProgress(sys.stderr, quiet=flags.on("quiet")),
    )
    print(pushed.digest)
    return 0


def pull(call: Call) -> int:
    progress = PullProgress(sys.stderr, quiet=call.flags.on("quiet"))
    for title in call.engine.images.pull_artifact(call.arguments[0], call.flags.text("output"), progress=progress):
        print(printable(title))
    return 0


def ls(call: Call) -> int:
    found = call.engine.images.referrers(call.arguments[0], call.flags.text("artifact-type"))
    if call.flags.on("quiet"):
        write("".join(f"{each.digest}\n" for each in found))
        return 0
    rows = [
        {
            "Digest": each.digest,
            "ArtifactType": printable(each.artifact_type),
            "Size": human_size(each.size),
            "MediaType": printable(each.media_type),
        }
        for each in found
    ]
    write(_LISTING.render(rows, call.flags.text("format")))
    return 0


PUSH = Command(
    push,
    "[OPTIONS] NAME[:TAG] [FILE[:MEDIA_TYPE]...]",
    "Upload files as an artifact",
    """\
      --annotation map         Add a note to the artifact (KEY=VALUE)
      --artifact-type string   What it is, as a media type
  -q, --quiet                  Suppress verbose output
      --subject string         The image in the same repository that it refers to: tag, digest or name
""",
    minimum=1,
)
PULL = Command(
    pull,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download the files of an artifact",
    """\
  -o, --output string   Folder that the files go to (default ".")
  -q, --quiet           Suppress verbose output
""",
    minimum=1,
    maximum=1,
)
LS = Command(
    ls,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "List what refers to an image on its registry",
    """\
      --artifact-type string   Only those of this type
      --format string          Format output: "table", "table TEMPLATE", "json", or a Go template
  -q, --quiet                  Only show digests
""",
    minimum=1,
    maximum=1,
)
