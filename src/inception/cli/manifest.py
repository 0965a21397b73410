"""`manifest`: documents of registries as they are, and images of several platforms under one name."""

from __future__ import annotations

import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.progress import PullProgress


def inspect(call: Call) -> int:
    import json  # indented, as people read it

    from inception.store.pull import fetch_document

    data, media_type = fetch_document(call.arguments[0])
    if call.flags.on("verbose"):
        print(f"{media_type}, {len(data)} bytes", file=sys.stderr)
    print(json.dumps(json.loads(data), indent=4))
    return 0


def push(call: Call) -> int:
    name, *sources = call.arguments
    progress = PullProgress(sys.stdout, quiet=call.flags.on("quiet"))
    pushed = call.engine.images.push_index(name, sources, progress=progress, compression=call.flags.text("compression-format"))
    print(pushed.digest)
    return 0


INSPECT = Command(
    inspect,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Display an image manifest, or manifest list",
    "  -v, --verbose   Say media type and size, too\n",
    minimum=1,
    maximum=1,
    refused={"insecure": "say which hosts are in registries.json"},
)
PUSH = Command(
    push,
    "[OPTIONS] NAME[:TAG] IMAGE [IMAGE...]",
    "Upload images of several platforms under one name",
    """\
      --compression-format string   How layers made here are compressed ("gzip", "zstd") (default "gzip")
  -q, --quiet                       Suppress verbose output
""",
    minimum=2,
    refused={"insecure": "say which hosts are in registries.json", "purge": "nothing is kept here of a list"},
)
