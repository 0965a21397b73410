"""Docker's json-file log, written: one JSON object a line, split at 16 KiB, rotated by size.

    {"log":"hello\\n","stream":"stdout","time":"2026-11-23T18:08:55.123456789Z"}

A record without a newline at the end of its `log` is a part of a longer line. Whole chunks are turned into records by a
few calls into C instead of a call a line: a container that prints as fast as it can should wait for the disk, not for us.
"""

from __future__ import annotations

import _json
import os

from inception.monitor.times import timestamp

PART_BYTES = 16 << 10

_ESCAPED = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\r", b"\\r"), (b"\t", b"\\t"), (b"\x1b", b"\\u001b"))
# What most containers say: no control characters but those of lines and colours.
_COMMON = b"\t\n\r\x1b" + bytes(range(32, 256))
_quote = _json.encode_basestring


def encode_lines(data: bytes, stream: str, when: str, attributes: str = "") -> bytes:
    """Records for *data*, which ends at a line's end, every line at most PART_BYTES long.

    *attributes* are what `encode_attributes` makes.

    >>> encode_lines(b"a\\n", "stdout", "T")
    b'{"log":"a\\\\n","stream":"stdout","time":"T"}\\n'
    """
    end = f'","stream":"{stream}",{attributes}"time":"{when}"}}\n'
    if not data.translate(None, _COMMON) and _is_text(data):
        # In bytes: each replacement is one pass over memory, and most find nothing.
        text = data[:-1]
        for byte, escaped in _ESCAPED:
            text = text.replace(byte, escaped)
        whole = b"\\n" + end.encode()
        return b'{"log":"' + text.replace(b"\n", whole + b'{"log":"') + whole
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    return "".join([f'{{"log":{_quote(line)[:-1]}\\n{end}' for line in lines]).encode()


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def encode_part(data: bytes, stream: str, when: str, attributes: str = "") -> bytes:
    """One record for *data* as it is: a piece of a line, or a line with its end."""
    text = _quote(data.decode("utf-8", "replace"))
    return f'{{"log":{text},"stream":"{stream}",{attributes}"time":"{when}"}}\n'.encode()


def encode_attributes(attributes: dict[str, str]) -> str:
    """The member `attrs` of a record, with the comma after it; nothing without any."""
    pairs = ",".join(f"{_quote(name)}:{_quote(value)}" for name, value in attributes.items())
    return f'"attrs":{{{pairs}}},' if pairs else ""


def split_parts(data: bytes) -> list[bytes]:
    """*data* cut at line ends and after PART_BYTES; the last piece may be an unfinished line."""
    parts = []
    for line in _lines(data):
        while len(line.rstrip(b"\n")) > PART_BYTES:
            parts.append(line[:PART_BYTES])
            line = line[PART_BYTES:]
        parts.append(line)
    return parts


def _lines(data: bytes) -> list[bytes]:
    """As splitlines with kept ends, but `\\r` ends no line."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def has_long_line(data: bytes) -> bool:
    """Whether a line in *data* is longer than PART_BYTES; looks at few places only."""
    start = 0
    while len(data) - start > PART_BYTES:
        newline = data.rfind(b"\n", start, start + PART_BYTES + 1)
        if newline < 0:
            return True
        start = newline + 1
    return False


class JsonLog:
    """The log file of one container. An unfinished line waits here, at most PART_BYTES a stream, until it ends.

    A file that can't be written (full disk, quota) costs records, never the container's progress: the damaged record is cut
    off again, `error` says so, and the next write tries anew.
    """

    def __init__(
        self, path: str, max_size_bytes: int = 0, max_files: int = 1, attributes: dict[str, str] | None = None
    ) -> None:
        self.path = path
        self.error = ""
        self.dropped_bytes = 0
        self._max_size = max_size_bytes
        self._max_files = max(1, max_files)
        self._attributes = encode_attributes(attributes or {})
        self._fd: int | None = None
        self._size = 0
        self._rest: dict[str, bytes] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Logs what *stream* (`stdout` or `stderr`) said."""
        rest = self._rest.get(stream)
        if rest:
            data = rest + data
        end = data.rfind(b"\n") + 1
        whole, rest = (data[:end], data[end:]) if end < len(data) else (data, b"")
        when = timestamp()
        records = b""
        if whole:
            if has_long_line(whole):
                records = b"".join([encode_part(part, stream, when, self._attributes) for part in split_parts(whole)])
            else:
                records = encode_lines(whole, stream, when, self._attributes)
        if len(rest) >= PART_BYTES:
            parts = split_parts(rest)
            rest = parts.pop() if len(parts[-1]) < PART_BYTES else b""
            records += b"".join([encode_part(part, stream, when, self._attributes) for part in parts])
        self._rest[stream] = rest
        if records:
            self._append(records)

    def flush(self) -> None:
        """Logs unfinished lines: nothing more will come."""
        for stream, rest in self._rest.items():
            if rest:
                self._append(encode_part(rest, stream, timestamp(), self._attributes))
        self._rest.clear()

    def close(self) -> None:
        self.flush()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, records: bytes) -> None:
        try:
            if self._fd is None:
                self._open()
            elif self._max_size and self._size >= self._max_size:
                self._rotate()
            self._write_all(records)
            self.error = ""
        except OSError as error:
            self.dropped_bytes += len(records)
            self.error = f"write log {self.path}: {error.strerror}; {self.dropped_bytes} bytes dropped"

    def _write_all(self, records: bytes) -> None:
        assert self._fd is not None
        done = 0
        try:
            done = os.write(self._fd, records)
            while done < len(records):
                done += os.write(self._fd, memoryview(records)[done:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += done

    def _open(self) -> None:
        # O_NOFOLLOW: the folder is ours alone, so a link here can only be a mistake.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self.path, flags, 0o640)
        except FileNotFoundError:  # the container's first word
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            fd = os.open(self.path, flags, 0o640)
        self._fd, self._size = fd, os.fstat(fd).st_size
        if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
            self._write_all(b"\n")  # an earlier monitor was killed in the middle of a record

    def _rotate(self) -> None:
        """log -> log.1 -> log.2 ...; the oldest goes. With one file it starts anew."""
        assert self._fd is not None
        if self._max_files == 1:
            os.ftruncate(self._fd, 0)
            self._size = 0
            return
        for number in range(self._max_files - 1, 1, -1):
            _rename_if_there(f"{self.path}.{number - 1}", f"{self.path}.{number}")
        _rename_if_there(self.path, f"{self.path}.1")
        os.close(self._fd)
        self._fd = None
        self._open()


def _rename_if_there(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        pass
