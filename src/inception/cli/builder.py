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
    from inception.build.pruning import parse_filters

    if call.is_remote:
        from inception.client.build import prune as prune_there

        limits = {name: flags.number(name) for name in ("reserved-space", "max-used-space", "min-free-space")}
        freed = prune_there(call.engine, flags.filters("filter"), flags.number("keep-storage"), limits)
        print("Total reclaimed space: " + human_size(freed, 4))
        return 0
    chosen = parse_filters(flags.filters("filter"))
    freed = BuildCache(call.engine.store).prune(
        unused_since=chosen.unused_since,
        keep_bytes=flags.number("keep-storage") or flags.number("reserved-space"),
        max_bytes=flags.number("max-used-space") or None,
        min_free_bytes=flags.number("min-free-space") or None,
        wanted=chosen.wants,
    )
    print("Total reclaimed space: " + human_size(freed, 4))
    return 0


PRUNE = Command(
    prune,
    "[OPTIONS]",
    "Remove build cache",
    """\
  -a, --all                    Remove all unused build cache, not just dangling ones
      --filter filter          Provide filter values (e.g. "until=24h")
  -f, --force                  Do not prompt for confirmation
      --keep-storage bytes     Amount of disk space to keep for cache
      --max-used-space bytes   Maximum amount of disk space allowed to keep for cache
      --min-free-space bytes   Target amount of free disk space after pruning
      --reserved-space bytes   Amount of disk space always allowed to keep for cache
""",
    maximum=0,
)
