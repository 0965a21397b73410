"""The tar format: header blocks to entries, entries to header blocks.

Reads what images and archives really hold: ustar, PAX (with global headers), GNU long names and base-256 numbers, sparse files
in all four shapes (old GNU, PAX 0.0, 0.1, 1.0), star extended attributes. Writes ustar, with PAX records where ustar can't say
it. Nothing here touches a file; names are text as `os.fsdecode` gives it, so bytes that are not UTF-8 survive.

Why not `tarfile`: it takes ten times as long a header, keeps every member in memory, and forgives what should be refused.

Source: pax(1), "Pax Interchange Format"; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files"; image-spec layer.md.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"

_ZERO_BLOCK = bytes(BLOCK)
_KINDS = {
    0: REGULAR, 0x30: REGULAR, 0x31: HARD_LINK, 0x32: SYMLINK, 0x33: CHARACTER, 0x34: BLOCK_DEVICE,
    0x35: DIRECTORY, 0x36: FIFO, 0x37: REGULAR, 0x53: REGULAR,
}  # fmt: skip
_MAX_EXTENSION = 1 << 20  # bytes of one PAX or long-name record, as Go's archive/tar has it
_MAX_EXTENTS = 1 << 20
_MAX_ID = (1 << 32) - 2  # chown(2) reads 2**32-1 as "leave it"
_XATTR = "SCHILY.xattr."


class Entry:
    """One member. `size` is the length of the file once it is written; `extents` is where data lies in a sparse one."""

    __slots__ = ("device", "extents", "gid", "kind", "link", "mode", "mtime_ns", "name", "size", "uid", "xattrs")

    def __init__(
        self,
        name: str,
        kind: str,
        mode: int = 0,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: str = "",
        device: tuple[int, int] = (0, 0),
        xattrs: dict[str, bytes] | None = None,
        extents: list[tuple[int, int]] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.link = link
        self.device = device
        self.xattrs = xattrs
        self.extents = extents


class TarReader:
    """Iterates over the entries of a stream of byte chunks; `data(n)` reads the body of the entry at hand.

    A body that nobody reads is skipped. Raises InvalidArgument for everything that is not a sound archive.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")
        self._at = 0
        self._body = 0  # bytes of the current body not read yet
        self._padding = 0
        self._globals: dict[str, bytes] = {}
        self._name = ""

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry

    def data(self, length: int) -> Iterator[memoryview]:
        """The next *length* bytes of the body, in pieces that are valid until the next call."""
        if length > self._body:
            self._fail("sparse map asks for more than the entry holds")
        self._body -= length
        while length:
            piece = self._chunk[self._at : self._at + length]
            if not piece:
                self._refill()
                continue
            self._at += len(piece)
            length -= len(piece)
            yield piece

    def drain(self) -> None:
        """Reads the stream to its end, so that its digest is the digest of all of it."""
        for _ in self._chunks:
            pass

    def _refill(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self._fail("unexpected end of archive")
        self._chunk, self._at = memoryview(chunk), 0

    def _take(self, length: int) -> bytes:
        """*length* bytes of headers, or b"" at a clean end."""
        if len(self._chunk) - self._at >= length:
            self._at += length
            return bytes(self._chunk[self._at - length : self._at])
        parts = bytes(self._chunk[self._at :])
        while len(parts) < length:
            chunk = next(self._chunks, None)
            if chunk is None:
                if parts:
                    self._fail("unexpected end of archive")
                return b""
            self._at = length - len(parts)
            parts += chunk[: self._at]
            self._chunk = memoryview(chunk)
        return parts

    def _skip(self, length: int) -> None:
        while length:
            step = min(length, len(self._chunk) - self._at)
            if not step:
                self._refill()
                continue
            self._at += step
            length -= step

    def _skip_padding(self) -> bool:
        """Skips what fills the last block of a body. False when the stream ends in it: so end the archives that Docker's client
        changes on their way (`build -f -`)."""
        length = self._padding
        while length:
            if self._at == len(self._chunk):
                chunk = next(self._chunks, None)
                if chunk is None:
                    return False
                self._chunk, self._at = memoryview(chunk), 0
            step = min(length, len(self._chunk) - self._at)
            self._at += step
            length -= step
        return True

    def _next(self) -> Entry | None:
        self._skip(self._body)
        if not self._skip_padding():
            return None
        self._body = self._padding = 0
        records: dict[str, bytes] = {}
        extents: list[tuple[int, int]] = []
        long_name = long_link = None
        while True:
            block = self._take(BLOCK)
            if not block:
                return None
            if block == _ZERO_BLOCK:
                second = self._take(BLOCK)
                if second and second != _ZERO_BLOCK:
                    self._fail("a lone zero block in the middle")
                return None
            self._check_sum(block)
            flag = block[156]
            if flag == 0x78:  # "x"
                self._parse_pax(self._extension(block), records, extents)
            elif flag == 0x67:  # "g"
                self._parse_pax(self._extension(block), self._globals, [])
            elif flag == 0x4C:  # "L", GNU long name
                long_name = self._extension(block).rstrip(b"\0")
            elif flag == 0x4B:  # "K", GNU long link name
                long_link = self._extension(block).rstrip(b"\0")
            elif flag == 0x56:  # "V", the label of a GNU tape
                continue
            else:
                return self._entry(block, {**self._globals, **records}, extents, long_name, long_link)

    def _extension(self, block: bytes) -> bytes:
        size = self._number(block[124:136])
        if size > _MAX_EXTENSION:
            self._fail(f"an extended header of {size} bytes")
        data = self._take(size) if size else b""
        if len(data) < size:
            self._fail("unexpected end of archive")
        self._skip(-size % BLOCK)
        return data

    def _entry(
        self,
        block: bytes,
        records: dict[str, bytes],
        extents: list[tuple[int, int]],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        name = records.get("GNU.sparse.name") or records.get("path") or long_name or _ustar_name(block)
        self._name = os.fsdecode(name)
        link = records.get("linkpath") or long_link or _until_nul(block[157:257])
        if b"\0" in name or b"\0" in link:
            self._fail("a NUL in a name")
        kind = _KINDS.get(block[156])
        if kind is None:
            self._fail(f"unsupported entry type {chr(block[156])!r}")
        if kind == REGULAR and name.endswith(b"/"):
            kind = DIRECTORY  # as tar before POSIX wrote it
        stored = self._decimal(records["size"]) if "size" in records else self._number(block[124:136])
        entry = Entry(
            self._name,
            kind,
            self._number(block[100:108]) & 0o7777,
            self._identity(records.get("uid"), block[108:116]),
            self._identity(records.get("gid"), block[116:124]),
            stored if kind == REGULAR else 0,
            self._time(records["mtime"]) if "mtime" in records else self._number(block[136:148]) * 1_000_000_000,
            os.fsdecode(link),
        )
        if kind == REGULAR:
            self._body, self._padding = stored, -stored % BLOCK
            if block[156] == 0x53 or any(key.startswith("GNU.sparse.") for key in records):
                self._sparse(entry, block, records, extents)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = (self._number(block[329:337]), self._number(block[337:345]))
        if records:
            attributes = {key[len(_XATTR) :]: value for key, value in records.items() if key.startswith(_XATTR)}
            entry.xattrs = attributes or None
        return entry

    def _sparse(self, entry: Entry, block: bytes, records: dict[str, bytes], extents: list[tuple[int, int]]) -> None:
        if block[156] == 0x53:
            extents, size = self._old_gnu_map(block), self._number(block[483:495])
        elif records.get("GNU.sparse.major") == b"1" and records.get("GNU.sparse.minor") == b"0":
            extents, size = self._map_in_body(), self._decimal(records.get("GNU.sparse.realsize", b""))
        elif "GNU.sparse.size" in records:
            if "GNU.sparse.map" in records:
                numbers = [self._decimal(part) for part in records["GNU.sparse.map"].split(b",") if part]
                extents = list(zip(numbers[::2], numbers[1::2], strict=False))
            size = self._decimal(records["GNU.sparse.size"])
        else:
            self._fail("unsupported sparse format")
        end = 0
        for offset, length in extents:
            if offset < end or offset + length > size:
                self._fail("a sparse map that overlaps or leaves the file")
            end = offset + length
        if sum(length for _, length in extents) != self._body:
            self._fail("a sparse map that doesn't match the data")
        entry.extents, entry.size = extents, size

    def _old_gnu_map(self, block: bytes) -> list[tuple[int, int]]:
        extents: list[tuple[int, int]] = []
        table, more = block[386:482], block[482]
        while True:
            for at in range(0, len(table), 24):
                if table[at] in (0, 0x20):
                    break
                extents.append((self._number(table[at : at + 12]), self._number(table[at + 12 : at + 24])))
            if not more:
                return extents
            if len(extents) > _MAX_EXTENTS:
                self._fail("a sparse map without end")
            following = self._take(BLOCK)
            if not following:
                self._fail("unexpected end of archive")
            table, more = following[:504], following[504]

    def _map_in_body(self) -> list[tuple[int, int]]:
        """PAX 1.0: decimal numbers, one a line, in blocks of their own before the data."""
        numbers: list[int] = []
        text, wanted = b"", 1
        while len(numbers) < wanted:
            line, newline, rest = text.partition(b"\n")
            if not newline:
                if len(text) > 32:
                    self._fail("a broken sparse map")
                text += b"".join(bytes(piece) for piece in self.data(BLOCK))
                continue
            text = rest
            numbers.append(self._decimal(line))
            if len(numbers) == 1:
                wanted = 1 + 2 * numbers[0]
                if wanted > 2 * _MAX_EXTENTS:
                    self._fail("a sparse map without end")
        return list(zip(numbers[1::2], numbers[2::2], strict=True))

    def _parse_pax(self, data: bytes, records: dict[str, bytes], extents: list[tuple[int, int]]) -> None:
        at, offset = 0, -1
        while at < len(data):
            space = data.find(b" ", at, at + 12)
            length = self._decimal(data[at:space]) if space > 0 else 0
            end = at + length
            equals = data.find(b"=", space, end)
            if length == 0 or end > len(data) or data[end - 1] != 0x0A or equals < 0:
                self._fail("a broken extended header")
            key, value = data[space + 1 : equals].decode("utf-8", "surrogateescape"), data[equals + 1 : end - 1]
            at = end
            if key == "GNU.sparse.offset":
                offset = self._decimal(value)
            elif key == "GNU.sparse.numbytes":
                extents.append((offset, self._decimal(value)))
            elif value or key.startswith(_XATTR):
                records[key] = value
            else:
                records.pop(key, None)  # an empty value takes a global record back

    def _check_sum(self, block: bytes) -> None:
        try:
            stored = int(_until_nul(block[148:156]).strip() or b"0", 8)
        except ValueError:
            stored = -1
        if sum(block) - sum(block[148:156]) + 256 != stored:
            self._fail("a header with a wrong checksum")

    def _number(self, field: bytes) -> int:
        """An octal number, or a GNU base-256 one."""
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            if field[0] & 0x40:  # two's complement
                value -= 1 << (8 * len(field) - 1)
            if value < 0 or value >= 1 << 63:
                self._fail("a number out of range")
            return value
        text = field.partition(b"\0")[0].strip()
        if not text:
            return 0
        if not text.isdigit():
            self._fail("a header field that is no number")
        try:
            return int(text, 8)
        except ValueError:
            self._fail("a header field that is no number")

    def _decimal(self, text: bytes) -> int:
        if not text.isdigit() or len(text) > 19:
            self._fail("an extended header field that is no number")
        return int(text)

    def _identity(self, record: bytes | None, field: bytes) -> int:
        value = self._number(field) if record is None else self._decimal(record)
        if value > _MAX_ID:
            self._fail(f"owner {value} out of range")
        return value

    def _time(self, text: bytes) -> int:
        negative = text.startswith(b"-")
        seconds, _, fraction = text.lstrip(b"-").partition(b".")
        if fraction and not fraction.isdigit():
            self._fail("a time that is no number")
        value = self._decimal(seconds or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0") or b"0")
        return -value if negative else value

    def _fail(self, cause: str) -> NoReturn:
        where = f" near {self._name!r}" if self._name else ""
        raise InvalidArgument(f"invalid tar archive{where}: {cause}")


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _ustar_name(block: bytes) -> bytes:
    name = _until_nul(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _until_nul(block[345:500]) + b"/" + name
    return name


def header(entry: Entry) -> bytes:
    """The blocks before *entry*'s data: a ustar header, with a PAX one in front where that can't hold it."""
    name, link = os.fsencode(entry.name), os.fsencode(entry.link)
    records: dict[str, bytes] = {}
    short, prefix = _split_name(name)
    if short is None or not name.isascii():
        records["path"] = name
        short, prefix = name[-100:], b""
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    numbers = (("uid", entry.uid, 0o7777777), ("gid", entry.gid, 0o7777777), ("size", entry.size, 0o77777777777))
    records.update({key: str(value).encode() for key, value, limit in numbers if value > limit})
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    if nanoseconds or not 0 <= seconds <= 0o77777777777:
        sign, whole = ("-", -entry.mtime_ns) if entry.mtime_ns < 0 else ("", entry.mtime_ns)
        text = f"{sign}{whole // 1_000_000_000}.{whole % 1_000_000_000:09d}".rstrip("0").rstrip(".")
        records["mtime"] = text.encode()
    records.update({_XATTR + key: value for key, value in (entry.xattrs or {}).items()})
    extended = b""
    if records:
        data = b"".join(_pax_record(key, value) for key, value in sorted(records.items()))
        pax_name = b"PaxHeaders.0/" + os.path.basename(name.rstrip(b"/"))[:80]
        extended = _ustar(pax_name, b"", "x", 0o644, 0, 0, len(data), 0, b"", (0, 0)) + data + bytes(-len(data) % BLOCK)
    return extended + _ustar(
        short,
        prefix,
        entry.kind,
        entry.mode,
        min(entry.uid, 0o7777777),
        min(entry.gid, 0o7777777),
        min(entry.size, 0o77777777777),
        min(max(seconds, 0), 0o77777777777),
        link[:100],
        entry.device,
    )


def padding(size: int) -> bytes:
    """The zeros after a body of *size* bytes."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)


def _split_name(name: bytes) -> tuple[bytes | None, bytes]:
    if len(name) <= 100:
        return name, b""
    slash = name.rfind(b"/", 0, 156)
    if slash > 0 and 0 < len(name) - slash - 1 <= 100:
        return name[slash + 1 :], name[:slash]
    return None, b""


def _pax_record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    length = len(body) + 1
    while len(body) + len(str(length)) != length:
        length = len(body) + len(str(length))
    return str(length).encode() + body


def _ustar(
    name: bytes,
    prefix: bytes,
    kind: str,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    fields = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000%s%07o\0%07o\0%s" % (
        name.ljust(100, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
        kind.encode(),
        link.ljust(100, b"\0"),
        bytes(64),
        device[0],
        device[1],
        prefix.ljust(155, b"\0"),
    )
    block = fields.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
