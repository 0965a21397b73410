"""`builder prune`: forget what builds have cached."""

from __future__ import annotations

from inception.cli.call import Call, confirm
from inception.cli.flags import Command
from inception.cli.format import human_size


def prune(call: Call) -> int:
    flags = call.flags
    what = "all build cache" if flags.on("all") else "all dangling build cache"
    if not flags.on("force") and not confirm(f"WARNING! This will remove {what}.\nAre you sure you want to continue?"):
        return 0
    from inception.build.cache import BuildCache

    BuildCache(call.engine.store).prune()
    print("Total reclaimed space: " + human_size(call.engine.store.collect(), 4))
    return 0


PRUNE = Command(
    prune,
    "[OPTIONS]",
    "Remove build cache",
    """\
  -a, --all     Remove all unused build cache, not just dangling ones
  -f, --force   Do not prompt for confirmation
""",
    maximum=0,
    refused={
        "filter": "the build cache can't be filtered yet",
        "keep-storage": "the build cache has no size to keep to yet",
    },
)
