"""How much one archive may bring; in a module of its own, since settings name them without extracting anything."""

from __future__ import annotations

from inception.record import Record


class Limits(Record):
    """What one archive may use. `max_bytes` counts the length of files as they will be, holes included; `max_ratio` is that of
    what comes out of a decompressor to what goes in, beyond a free allowance; with `keep_free` the last fiftieth of the disk
    is not touched."""

    max_bytes: int = 64 << 30
    max_entries: int = 5_000_000
    max_name_bytes: int = 4095
    max_depth: int = 512
    max_ratio: int = 2000
    keep_free: bool = True
