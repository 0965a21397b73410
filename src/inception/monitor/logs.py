"""Reading a json-file log: its tail, a span of time, or on and on while the container runs.

A reader shares nothing with the monitor but the file, so it copes with what it may see: a record half written, a file
rotated or cut to nothing under its hands, a record broken by a crash (skipped).
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.monitor.status import read_status
from inception.monitor.times import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

BLOCK_BYTES = 64 << 10
# A record holds at most 16 KiB of output, each byte up to six characters of JSON.
RECORD_BYTES = 128 << 10
POLL_S = 0.05
MOST_FILES = 1000


class LogLine:
    """One record: what *stream* said at *time* (RFC 3339). Without a newline at its end, *data* is a piece of a longer line.

    *attributes* are what the log options `labels`, `env` and `tag` added, None for nothing.
    """

    __slots__ = ("attributes", "data", "stream", "time")

    def __init__(self, stream: str, time: str, data: bytes, attributes: dict[str, str] | None = None) -> None:
        self.stream = stream
        self.time = time
        self.data = data
        self.attributes = attributes

    @property
    def details(self) -> bytes:
        """The attributes as `logs --details` shows them before a line, with a space after them."""
        from urllib.parse import quote_plus

        pairs = [f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted((self.attributes or {}).items())]
        return f"{','.join(pairs)} ".encode()

    @property
    def time_ns(self) -> int:
        """Nanoseconds since the epoch; 0 when a damaged file does not tell."""
        try:
            return parse(self.time)
        except ValueError:
            return 0

    def __repr__(self) -> str:
        return f"LogLine({self.stream!r}, {self.time!r}, {self.data!r})"


def read_logs(
    path: str,
    *,
    tail: int | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    streams: frozenset[str] = frozenset(("stdout", "stderr")),
    follow: Callable[[], bool] | None = None,
) -> Iterator[LogLine]:
    """The records of the log at *path* and its rotated predecessors, oldest first.

    *tail* is the number of records from the end (None: all), found by reading backwards. *since_ns* and *until_ns* are
    nanoseconds since the epoch, both included. With *follow*, reading goes on for as long as it answers true (whether the
    container runs), and to the end of what was written until then.
    """
    for line in _lines(path, tail, follow):
        if line.stream in streams:
            when_ns = line.time_ns if since_ns is not None or until_ns is not None else 0
            if until_ns is not None and when_ns > until_ns:
                return
            if since_ns is None or when_ns >= since_ns:
                yield line


def while_running(run_dir: str) -> Callable[[], bool]:
    """What `follow` wants to be: whether the container of *run_dir* runs, or will again after its back-off."""

    def running() -> bool:
        status = read_status(run_dir)
        # Init may be dead already while its monitor still writes what it said; a monitor that was killed writes no more.
        return status is not None and status.phase != "exited" and os.path.exists(f"/proc/{status.monitor_pid}")

    return running


def _lines(path: str, tail: int | None, follow: Callable[[], bool] | None) -> Iterator[LogLine]:
    files = _open_all(path)
    try:
        if tail is not None:
            files = _seek_tail(files, tail)
        while len(files) > 1 or (files and not follow):
            yield from _records(files[0])
            files.pop(0).close()
        if follow:
            yield from _follow(path, files, follow)
    finally:
        for file in files:
            file.close()


def _open_all(path: str) -> list[BinaryIO]:
    """The log's files, oldest first."""
    files: list[BinaryIO] = []
    inodes: set[int] = set()
    for number in range(MOST_FILES):
        try:
            file = open(f"{path}.{number}" if number else path, "rb")
        except FileNotFoundError:
            if number == 0:
                continue  # in the middle of a rotation, or nothing was said yet
            break
        inode = os.fstat(file.fileno()).st_ino
        if inode in inodes:  # rotated between two opens: we have this one
            file.close()
        else:
            inodes.add(inode)
            files.insert(0, file)
    return files


def _seek_tail(files: list[BinaryIO], count: int) -> list[BinaryIO]:
    """Moves to the start of the last *count* records; older files are closed and left out."""
    kept: list[BinaryIO] = []
    for file in reversed(files):
        if kept and count <= 0:
            file.close()
        else:
            count -= _seek_last(file, count)
            kept.insert(0, file)
    return kept


def _seek_last(file: BinaryIO, count: int) -> int:
    """Moves to the start of the last *count* records of *file*, reading backwards; how many there are."""
    position = file.seek(0, os.SEEK_END)
    # The newline that ends the last record starts none; so *count* records need one newline more.
    newlines = 0
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        block = os.pread(file.fileno(), size, position)
        in_block = block.count(b"\n")
        if newlines + in_block <= count:
            newlines += in_block
            continue
        at = len(block)
        for _ in range(count + 1 - newlines):
            at = block.rfind(b"\n", 0, at)
        file.seek(position + at + 1)
        return count
    file.seek(0)
    return newlines


def _records(file: BinaryIO) -> Iterator[LogLine]:
    """The whole records from here on. A half-written one at the end is left unread; what is no record is skipped."""
    while line := file.readline(RECORD_BYTES):
        if line[-1:] != b"\n" and len(line) < RECORD_BYTES:
            file.seek(-len(line), os.SEEK_CUR)
            return
        try:
            record = jsontext.loads(line)
            yield LogLine(record["stream"], record["time"], record["log"].encode("utf-8", "replace"), record.get("attrs"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _follow(path: str, files: list[BinaryIO], running: Callable[[], bool]) -> Iterator[LogLine]:
    """Reads *files* and what comes after them. *files* always holds what is open."""
    while True:
        alive = running()  # asked before reading: what was written until its end is read
        while files:
            yield from _records(files[0])
            if len(files) == 1:
                break
            files.pop(0).close()
        if not _update(path, files):
            if not alive:
                return
            time.sleep(POLL_S)


def _update(path: str, files: list[BinaryIO]) -> bool:
    """Adds the files that came after the open one, or goes to the start of one that was cut. Whether there is news."""
    try:
        newest = os.stat(path).st_ino
    except FileNotFoundError:
        return False
    if not files:
        files += _open_all(path)
        return bool(files)
    ours = os.fstat(files[0].fileno())
    if ours.st_ino != newest:
        found = _open_all(path)
        inodes = [os.fstat(file.fileno()).st_ino for file in found]
        known = inodes.index(ours.st_ino) + 1 if ours.st_ino in inodes else 0
        for file in found[:known]:
            file.close()
        files += found[known:]
        return True
    if ours.st_size < files[0].tell():
        files[0].seek(0)
        return True
    return False
