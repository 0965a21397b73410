"""`builder prune`: forget what builds have cached."""

from __future__ import annotations

from inception.cli.call import Call, confirm
from inception.cli.flags import Command
from inception.cli.format import human_size
from inception.errors import InvalidArgument


def prune(call: Call) -> int:
    flags = call.flags
    what = "all build cache" if flags.on("all") else "all dangling build cache"
    if not flags.on("force") and not confirm(f"WARNING! This will remove {what}.\nAre you sure you want to continue?"):
        return 0
    from inception.build.cache import BuildCache

    if call.is_remote:
        from inception.client.build import prune as prune_there

        freed = prune_there(call.engine, flags.filters("filter"), flags.number("keep-storage"))
        print("Total reclaimed space: " + human_size(freed, 4))
        return 0
    freed = BuildCache(call.engine.store).prune(
        unused_since=_unused_since(flags.filters("filter")), keep_bytes=flags.number("keep-storage")
    )
    print("Total reclaimed space: " + human_size(freed, 4))
    return 0


def _unused_since(filters: dict[str, list[str]]) -> int | None:
    """`until=24h`, `unused-for=24h`: the moment, in seconds."""
    import time

    from inception.duration import parse_duration_ns

    moment = None
    for key, values in filters.items():
        if key not in ("until", "unused-for"):
            raise InvalidArgument(f"invalid filter '{key}'")
        for value in values:
            try:
                moment = int(time.time()) - parse_duration_ns(value) // 1_000_000_000
            except ValueError as error:
                raise InvalidArgument(f"invalid filter '{key}={value}': {error}") from None
    return moment


PRUNE = Command(
    prune,
    "[OPTIONS]",
    "Remove build cache",
    """\
  -a, --all                  Remove all unused build cache, not just dangling ones
      --filter filter        Provide filter values (e.g. "until=24h")
  -f, --force                Do not prompt for confirmation
      --keep-storage bytes   Amount of disk space to keep for cache
""",
    maximum=0,
)
