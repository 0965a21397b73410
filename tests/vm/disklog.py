"""What could be on a disk after a cut, from the log of all that was sent to it.

A disk has a cache that forgets. What was complete before a flush is on the medium; of what came after the last flush each write
may have got there or not, in any order. QEMU's `blklogwrites` notes writes and flushes in the order of their completion.

Source: kernel admin-guide/device-mapper/log-writes.rst (the format).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4


class Entry(NamedTuple):
    """A write of *length* bytes to *offset*; its data lie at *position* of the log. A flush alone has none."""

    offset: int
    length: int
    position: int
    flush: bool
    durable: bool
    discard: bool


def read_log(log: Path) -> list[Entry]:
    """All entries that are complete. Raises ValueError for another format."""
    return list(_entries(log))


def _entries(log: Path) -> Iterator[Entry]:
    end = log.stat().st_size
    with open(log, "rb") as file:
        magic, _, _, sector = struct.unpack("<QQQI", file.read(28))
        if magic != _MAGIC:
            raise ValueError(f"{log}: no log of writes")
        position = sector
        while position + sector <= end:
            file.seek(position)
            start, count, flags, _ = struct.unpack("<QQQQ", file.read(32))
            if not count and not flags:
                return  # beyond what was written
            position += sector
            discard = bool(flags & _DISCARD)
            length = count * sector
            if not discard and position + length > end:
                return
            yield Entry(start * sector, length, position, bool(flags & _FLUSH), bool(flags & _FUA), discard)
            position += 0 if discard else length


def replay(image: Path, log: Path, entries: list[Entry], cut: int, choice: random.Random) -> int:
    """Brings *image*, as it was when the log began, to a state that a cut after *cut* entries can leave.

    Returns how many writes were lost.
    """
    flushed = max((index for index in range(cut) if entries[index].flush), default=-1)
    # Mostly half of the unflushed writes are lost; sometimes all or none.
    share = choice.choice([0.0, 0.5, 0.5, 0.5, 1.0])
    lost = 0
    with open(image, "r+b") as disk, open(log, "rb") as file:
        for index, entry in enumerate(entries[:cut]):
            if not entry.length or entry.discard:
                continue
            if index > flushed and not entry.durable and choice.random() < share:
                lost += 1
                continue
            file.seek(entry.position)
            disk.seek(entry.offset)
            disk.write(file.read(entry.length))
    return lost
