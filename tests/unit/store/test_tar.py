"""The tar format: what others write is read right, what is broken is refused, what we write others read."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inception.errors import InvalidArgument
from inception.store import tar
from inception.store.tar import Entry, TarReader

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def written(*members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def read(data: bytes, step: int = 700) -> list[tuple[Entry, bytes]]:
    reader = TarReader(data[at : at + step] for at in range(0, len(data), step))
    found = []
    for entry in reader:
        length = sum(size for _, size in entry.extents) if entry.extents is not None else entry.size
        found.append((entry, b"".join(bytes(piece) for piece in reader.data(length))))
    return found


def one(data: bytes) -> Entry:
    return read(data)[0][0]


@pytest.mark.parametrize("format", FORMATS)
def test_names_owners_times_and_data_are_read(format: int) -> None:
    info = member("some/file", mode=0o4755, uid=1000, gid=2000, mtime=1_600_000_000)
    [(entry, data)] = read(written(info, format=format, data=b"x" * 1500))
    assert (entry.name, entry.kind, entry.mode, entry.uid, entry.gid) == ("some/file", tar.REGULAR, 0o4755, 1000, 2000)
    assert (entry.mtime_ns, entry.size, data) == (1_600_000_000 * 10**9, 1500, b"x" * 1500)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_long_links_and_large_owners_are_read(format: int) -> None:
    name, link = "d/" * 120 + "file", "l/" * 130 + "target"
    entry = one(written(member(name, type=tarfile.SYMTYPE, linkname=link, uid=4_000_000_000), format=format))
    assert (entry.name, entry.link, entry.uid) == (name, link, 4_000_000_000)


def test_a_ustar_prefix_is_part_of_the_name() -> None:
    name = "p" * 90 + "/" + "n" * 90
    assert one(written(member(name), format=tarfile.USTAR_FORMAT)).name == name


def test_bytes_that_are_not_utf8_survive_in_names() -> None:
    entry = Entry("caf\udce9", tar.REGULAR)
    assert one(tar.header(entry) + tar.END).name == "caf\udce9"


def test_fractions_of_seconds_and_times_before_1970_are_kept() -> None:
    for mtime_ns in (1_234_567_890_123_456_789, -1_500_000_000, -1, 5 * 10**8):
        assert one(tar.header(Entry("a", tar.REGULAR, mtime_ns=mtime_ns)) + tar.END).mtime_ns == mtime_ns


def test_extended_attributes_are_read_as_bytes() -> None:
    entry = Entry("a", tar.REGULAR, xattrs={"security.capability": b"\x01\n=\0"})
    assert one(tar.header(entry) + tar.END).xattrs == {"security.capability": b"\x01\n=\0"}


def test_global_headers_hold_until_a_header_of_its_own() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "7"}) as archive:
        archive.addfile(member("a", uid=0))
        archive.addfile(member("b", pax_headers={"uid": "8"}))
    assert [entry.uid for entry, _ in read(buffer.getvalue())] == [7, 8]


SPARSE = [["--format=gnu"], *(["--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))]


@pytest.mark.needs("tar")
@pytest.mark.parametrize("options", SPARSE)
def test_sparse_files_of_gnu_tar_are_read(options: list[str], tmp_path: Path) -> None:
    content = bytearray(40 << 20)
    for position in range(0, 40, 2):  # more extents than one header block holds
        content[position << 20 : (position << 20) + 4096] = bytes([position + 1]) * 4096
    with open(tmp_path / "s", "wb") as file:
        file.truncate(len(content))
        for position in range(0, 40, 2):
            file.seek(position << 20)
            file.write(bytes([position + 1]) * 4096)
    archive = subprocess.run(["tar", "-cS", *options, "-C", tmp_path, "s"], stdout=subprocess.PIPE, check=True).stdout
    [(entry, data)] = read(archive, step=1 << 20)
    assert entry.name == "s"
    assert entry.extents is not None
    rebuilt, at = bytearray(entry.size), 0
    for offset, length in entry.extents:
        rebuilt[offset : offset + length] = data[at : at + length]
        at += length
    assert rebuilt == content


@pytest.mark.parametrize(
    "entry",
    [
        Entry("plain", tar.REGULAR, 0o644, 1, 2, 0, 10**18),
        Entry("d/", tar.DIRECTORY, 0o1777),
        Entry("x" * 300, tar.SYMLINK, link="y" * 300),
        Entry("umläut", tar.HARD_LINK, link="ä"),
        Entry("dev", tar.CHARACTER, 0o600, device=(10, 200)),
        Entry("big", tar.REGULAR, size=0, uid=3_000_000, gid=2**32 - 2),
        Entry("p" * 100 + "/" + "q" * 100, tar.FIFO),
    ],
)
def test_what_we_write_python_and_we_read_back(entry: Entry) -> None:
    data = tar.header(entry) + tar.END
    back = one(data)
    for field in ("name", "kind", "mode", "uid", "gid", "size", "mtime_ns", "link", "device"):
        assert getattr(back, field) == getattr(entry, field), field
    [info] = tarfile.open(fileobj=io.BytesIO(data)).getmembers()
    assert (info.name, info.uid, info.linkname) == (entry.name.rstrip("/"), entry.uid, entry.link)


def changed(data: bytes, at: int, value: bytes) -> bytes:
    """*data* with bytes of its first header replaced and the checksum made right again."""
    block = bytearray(data[:512])
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


GOOD = written(member("a"), format=tarfile.USTAR_FORMAT, data=b"x")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (GOOD[:300], "unexpected end"),
        (GOOD[:512], "unexpected end"),
        (b"x" * 1024, "checksum"),
        (b"\0" * 512 + GOOD, "lone zero block"),
        (changed(GOOD, 124, b"99999999999\0"), "no number"),
        (changed(GOOD, 124, b"-0000000001\0"), "no number"),
        (changed(GOOD, 124, b"\xff" * 12), "out of range"),
        (changed(GOOD, 156, b"M"), "unsupported entry type 'M'"),
        (changed(GOOD, 156, b"x"), "broken extended header"),
        (changed(GOOD, 108, b"\x80\0\0\0\xff\xff\xff\xff"), "owner 4294967295 out of range"),
        (changed(changed(GOOD, 156, b"L"), 124, b"00010000000\0"), "an extended header of"),
    ],
)
def test_a_broken_archive_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(InvalidArgument, match=cause):
        read(data)


@pytest.mark.parametrize("length", [513, 700, 1024, 1536])
@pytest.mark.parametrize("step", [1, 512, 700])
def test_an_archive_may_end_with_its_last_byte_of_data(length: int, step: int) -> None:
    # Docker's client leaves out what fills the last block, and the end marker, once it has put a Dockerfile into a context.
    assert [(entry.name, data) for entry, data in read(GOOD[:length], step)] == [("a", b"x")]


def pax(*records: bytes) -> bytes:
    body = b"".join(records)
    first = tar._ustar(b"x", b"", "x", 0, 0, 0, len(body), 0, b"", (0, 0))
    return first + body + tar.padding(len(body)) + GOOD


@pytest.mark.parametrize(
    "records",
    [
        b"999 path=a\n", b"0 path=a\n", b"path=a\n", b"9 path=abc", b"9 path=a\0\n", b"-1 a=b\n", b"11 size=-1\n",
        b"26 GNU.sparse.size=999999\n29 GNU.sparse.map=0,10,5,10\n",
        b"26 GNU.sparse.size=999999\n26 GNU.sparse.map=0,999999\n",
        b"20 GNU.sparse.size=1\n24 GNU.sparse.map=5,500\n",
    ],
)  # fmt: skip
def test_broken_extended_headers_are_refused(records: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read(pax(records))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_gives_an_archive_or_an_error_and_nothing_else(data: st.DataObject) -> None:
    good = bytearray(pax(b"13 mtime=1.50\n") + tar.END)
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    for start in (0, 1024):  # make checksums right, so that the damage gets past them
        block = good[start : start + 512]
        block[148:156] = b" " * 8
        good[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        read(bytes(good))
    except InvalidArgument:
        pass
