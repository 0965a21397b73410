"""The extractor: what it makes of good archives, and that hostile ones reach nothing outside."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from tests.racing import swapping

from inception.errors import Conflict, InceptionError, InvalidArgument, Unavailable
from inception.linux.path import RootDir
from inception.store import worker
from inception.store.extract import Extracted, ExtractOptions, Extractor, Limits
from inception.store.tar import TarReader
from inception.store.worker import unpack

from .support import archive, folder, hard, link, member, tree

pytestmark = pytest.mark.needs("root")


def extract(data: bytes, root: Path, limits: Limits = Limits(), **options: object) -> Extracted:
    root.mkdir(exist_ok=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return unpack([data], fd, ExtractOptions(**options), limits)
    finally:
        os.close(fd)


def test_modes_owners_and_set_id_bits_arrive(tmp_path: Path) -> None:
    data = archive(
        folder("d", mode=0o1777, uid=1, gid=2, mtime=1000),
        member("d/suid", b"x", mode=0o6755, uid=1000, gid=1000, mtime=2000),
        hard("d/again", "d/suid"),
        link("d/link", "/etc/passwd"),
        member("d/pipe", type=tarfile.FIFOTYPE, mode=0o622),
        member("d/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
    )
    result = extract(data, tmp_path / "root")
    root = tmp_path / "root"
    found = tree(str(root))
    assert found["d"][:3] == (stat.S_IFDIR | 0o1777, 1, 2)
    assert found["d/suid"] == (stat.S_IFREG | 0o6755, 1000, 1000, "x")
    assert os.stat(root / "d/suid").st_nlink == 2
    assert found["d/link"][3] == "-> /etc/passwd"
    assert found["d/pipe"][0] == stat.S_IFIFO | 0o622
    assert (found["d/null"][0], os.stat(root / "d/null").st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (os.stat(root / "d").st_mtime, os.stat(root / "d/suid").st_mtime) == (1000, 2000)
    assert (result.entries, result.implicit) == (6, [])


def test_capabilities_arrive_and_overlay_notes_do_not(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    names = {"security.capability": capability.decode("latin-1"), "user.note": "n", "trusted.overlay.redirect": "/etc"}
    info, data = member("ping", b"x", mode=0o755)
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in names.items()}
    extract(archive((info, data), folder("d")), tmp_path / "root", whiteouts="overlay")
    path = tmp_path / "root/ping"
    assert set(os.listxattr(path)) == {"security.capability", "user.note"}
    assert os.getxattr(path, "security.capability") == capability


def test_whiteouts_take_overlayfs_form(tmp_path: Path) -> None:
    data = archive(
        folder("a"), member("a/.wh.gone"), folder("b"), member("b/.wh..wh..opq"), member("b/new", b"n"), member(".wh..wh.plnk")
    )
    extract(data, tmp_path / "root", whiteouts="overlay")
    found = tree(str(tmp_path / "root"))
    assert sorted(found) == ["a", "a/gone", "b", "b/new"]
    assert (stat.S_IFMT(found["a/gone"][0]), found["a/gone"][3]) == (stat.S_IFCHR, "dev 0")
    assert os.getxattr(tmp_path / "root/b", "trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("name", [".wh.", "a/.wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_nothing_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="a whiteout of"):
        extract(archive(folder("a"), member(name)), tmp_path / "root", whiteouts="overlay")


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_and_a_new_folder_of_one_layer_make_an_opaque_folder(order: int, tmp_path: Path) -> None:
    pieces = [[member(".wh.d")], [folder("d"), member("d/new", b"n")]][::order]
    extract(archive(*pieces[0], *pieces[1]), tmp_path / "root", whiteouts="overlay")
    assert os.getxattr(tmp_path / "root/d", "trusted.overlay.opaque") == b"y"
    assert (tmp_path / "root/d/new").read_text() == "n"


def test_a_file_under_a_whiteout_makes_an_opaque_folder_without_an_entry(tmp_path: Path) -> None:
    result = extract(archive(member(".wh.d"), member("d/new", b"n")), tmp_path / "root", whiteouts="overlay")
    assert os.getxattr(tmp_path / "root/d", "trusted.overlay.opaque") == b"y"
    assert result.implicit == ["d"]


def test_whiteouts_can_be_applied_in_place(tmp_path: Path) -> None:
    root = tmp_path / "root"
    extract(archive(folder("a"), member("a/x"), member("a/y"), folder("b"), member("b/z")), root)
    extract(archive(member("a/.wh.x"), member("b/new"), member("b/.wh..wh..opq")), root, whiteouts="apply")
    assert sorted(tree(str(root))) == ["a", "a/y", "b", "b/new"]


def test_an_archive_that_is_no_layer_keeps_whiteout_names(tmp_path: Path) -> None:
    extract(archive(member(".wh.x", b"literal")), tmp_path / "root")
    assert (tmp_path / "root/.wh.x").read_text() == "literal"


def test_a_link_leads_to_a_place_inside(tmp_path: Path, canary: Path) -> None:
    extract(archive(folder("etc"), link("abs", "/etc"), member("abs/new", b"in")), tmp_path / "root")
    assert (tmp_path / "root/etc/new").read_text() == "in"


def test_files_land_in_a_destination_with_another_owner(tmp_path: Path) -> None:
    root = tmp_path / "root"
    extract(archive(link("srv", "/data"), folder("data")), root)
    extract(archive(member("f", b"x", uid=5, gid=5)), root, destination="/srv/new/deep", uid=7, gid=8)
    assert tree(str(root))["data/new/deep/f"][1:] == (7, 8, "x")
    assert tree(str(root))["data/new/deep"][1:3] == (7, 8)


def test_copies_never_turn_a_folder_into_a_file_or_back(tmp_path: Path) -> None:
    root = tmp_path / "root"
    extract(archive(folder("d"), member("f")), root)
    with pytest.raises(Conflict, match='cannot overwrite directory "/d" with non-directory'):
        extract(archive(member("d")), root, keep_directories=True)
    with pytest.raises(Conflict, match='cannot overwrite non-directory "/f" with directory'):
        extract(archive(folder("f")), root, keep_directories=True)


def test_what_is_there_is_replaced_and_not_followed(tmp_path: Path, canary: Path) -> None:
    root = tmp_path / "root"
    extract(archive(link("f", str(canary / "etc/passwd")), link("d", str(canary / "etc")), folder("x"), member("x/y")), root)
    extract(archive(member("f", b"new"), folder("d"), member("d/passwd", b"in"), link("x", "f")), root)
    found = tree(str(root))
    assert (found["f"][3], found["d/passwd"][3], found["x"][3]) == ("new", "in", "-> f")


def test_names_that_are_not_utf8_arrive_as_bytes(tmp_path: Path) -> None:
    extract(archive(member("caf\udce9"), format=tarfile.GNU_FORMAT), tmp_path / "root")
    assert os.listdir(os.fsencode(tmp_path / "root")) == [b"caf\xe9"]


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    content = pax_sparse(size=100 << 20, data=b"end", offset=(100 << 20) - 3)
    extract(content, tmp_path / "root")
    found = os.stat(tmp_path / "root/s")
    assert (found.st_size, found.st_blocks < 1000) == (100 << 20, True)


def pax_sparse(size: int, data: bytes, offset: int) -> bytes:
    info, _ = member("ignored")
    info.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.map": f"{offset},{len(data)}", "GNU.sparse.name": "s"}
    info.size = len(data)
    return archive((info, data))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_every_compression_works_where_nothing_can_be_imported_any_more(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    extract(pack(archive(member("a", b"x"))), tmp_path / "root")
    assert (tmp_path / "root/a").read_text() == "x"
    with pytest.raises(InvalidArgument, match=r"stream|end of archive"):
        extract(pack(archive(member("b", os.urandom(100_000))))[:-5000], tmp_path / "root")


HOSTILE = {
    "dots": [member("../canary/etc/passwd", b"evil")],
    "dots in the middle": [folder("a"), member("a/../../canary/etc/passwd", b"evil")],
    "absolute": [member("/canary/etc/passwd", b"evil")],
    "link then file": [link("x", "../canary/etc"), member("x/passwd", b"evil")],
    "absolute link then file": [link("x", "CANARY/etc"), member("x/passwd", b"evil")],
    "link to link": [link("a", "b"), link("b", "../canary"), member("a/etc/passwd", b"evil")],
    "hard link out": [hard("x", "../canary/etc/passwd"), member("x", b"evil")],
    "absolute hard link": [hard("x", "CANARY/etc/passwd")],
    "hard link to link": [link("a", "CANARY/etc/passwd"), hard("b", "a"), member("b", b"evil")],
    "hard link through link": [link("a", "CANARY/etc"), hard("b", "a/passwd"), member("b", b"evil", mode=0o777)],
    "folder becomes link": [folder("d"), member("d/x"), link("d", "CANARY/etc"), member("d/passwd", b"evil")],
    "mode through link": [link("x", "CANARY/etc/passwd"), folder("x", mode=0o777)],
    "whiteout of dots": [member(".wh...", b"")],
    "whiteout of dot": [folder("a"), member("a/.wh..", b"")],
    "whiteout beyond": [member("../canary/.wh.etc")],
    "opaque on link": [link("x", "CANARY/etc"), member("x/.wh..wh..opq")],
    "whiteout through link": [link("x", "CANARY/etc"), member("x/.wh.passwd")],
    "root is a file": [member(".", b"evil")],
    "root is a link": [link("./", "CANARY")],
    "long component": [member("n" * 300)],
    "long name": [member("n/" * 32_000)],
    "deep": [member("d/" * 1000 + "f")],
    "link to itself": [link("x", "x"), member("x/y")],
    "hard link to itself": [hard("x", "x")],
    "hard link to a folder": [folder("d"), hard("x", "d")],
    "file as folder": [member("f"), member("f/x")],
    "proc": [link("x", "/proc/self/root/CANARY/etc"), member("x/passwd", b"evil")],
}


def hostile(case: str, canary: Path) -> bytes:
    for info, _ in HOSTILE[case]:
        info.linkname = info.linkname.replace("CANARY", str(canary))
    return archive(*HOSTILE[case])


@pytest.mark.parametrize("whiteouts", ["overlay", "kept", "apply", "literal"])
@pytest.mark.parametrize("case", HOSTILE)
def test_the_extractor_alone_reaches_nothing_outside(case: str, whiteouts: str, tmp_path: Path, canary: Path) -> None:
    """Without the process around it: no chroot catches what its own rules let through."""
    (tmp_path / "root").mkdir()
    with RootDir.open_host(str(tmp_path / "root")) as root:
        try:
            Extractor(root, ExtractOptions(whiteouts=whiteouts)).run(TarReader([hostile(case, canary)]))
        except InceptionError:
            pass


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_gives_an_error_or_a_tree_inside(case: str, tmp_path: Path, canary: Path) -> None:
    try:
        extract(hostile(case, canary), tmp_path / "root", whiteouts="overlay")
    except InceptionError as error:
        assert "Traceback" not in str(error)
        assert "process that unpacks" not in str(error)


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    info, data = member("ignored")
    info.pax_headers = {"path": "a\0b"}
    with pytest.raises(InvalidArgument, match="NUL"):
        extract(archive((info, data)), tmp_path / "root")


def test_a_tree_that_is_renamed_meanwhile_leads_nowhere(tmp_path: Path, canary: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "evil").symlink_to(canary / "etc")
    with swapping(root / "d", root / "evil"):
        for _ in range(5):
            try:
                extract(archive(*(member(f"d/passwd{'' if number % 2 else number}", b"evil") for number in range(300))), root)
            except InceptionError:
                pass


@pytest.mark.parametrize(
    ("data", "limits", "error", "cause"),
    [
        (archive(member("a", b"x" * 100)), Limits(max_bytes=99), InvalidArgument, "more than the allowed 99 bytes"),
        (archive(*(member(f"{n}") for n in range(11))), Limits(max_entries=10), InvalidArgument, "more than 10 entries"),
        (pax_sparse(1 << 50, b"x", 0), Limits(), (InvalidArgument, Unavailable), "bytes|MiB"),
    ],
)
def test_limits_hold(data: bytes, limits: Limits, error: type[Exception], cause: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=cause):
        extract(data, tmp_path / "root", limits)


def test_a_bomb_is_stopped_before_it_fills_anything(tmp_path: Path) -> None:
    huge = io.BytesIO()
    info, _ = member("zeros")
    info.size = 1 << 40
    packer = zstandard.ZstdCompressor().compressobj()
    huge.write(packer.compress(info.tobuf(tarfile.GNU_FORMAT)))
    for _ in range(64):
        huge.write(packer.compress(bytes(16 << 20)))
    huge.write(packer.flush())
    started = time.monotonic()
    with pytest.raises(InceptionError):
        extract(huge.getvalue(), tmp_path / "root", Limits(max_bytes=64 << 20))
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "root").iterdir()) <= 65 << 20
    assert time.monotonic() - started < 60  # a bound on hanging, not on speed


def _squeezed(compression: str) -> bytes:
    """A file that is said to be of a terabyte, and the first gigabyte of its zeros, in a few kilobytes to a megabyte."""
    info, _ = member("zeros")
    info.size = 1 << 40
    packers = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
        "bzip2": bz2.BZ2Compressor,
        "xz": lambda: lzma.LZMACompressor(preset=0),
    }
    packer = packers[compression]()
    data = packer.compress(info.tobuf(tarfile.GNU_FORMAT))
    zeros = bytes(16 << 20)
    for _ in range(20):
        data += packer.compress(zeros)
    return data + packer.flush()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_of_any_kind_is_stopped_by_its_ratio_and_by_what_it_would_write(compression: str, tmp_path: Path) -> None:
    data = _squeezed(compression)
    assert len(data) < 2 << 20
    for limits in (Limits(max_ratio=100, max_bytes=1 << 50, keep_free=False), Limits(max_bytes=1 << 20)):
        with pytest.raises(InceptionError, match=r"bomb|bytes|MiB"):
            extract(data, tmp_path / "root", limits)
        assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "root").iterdir()) <= 300 << 20
        shutil.rmtree(tmp_path / "root")


def test_compression_within_compression_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="invalid tar archive"):
        extract(gzip.compress(gzip.compress(archive(member("a", b"x")))), tmp_path / "root")


def test_the_process_that_unpacks_sees_one_folder_only(tmp_path: Path) -> None:
    """/proc is not there after the chroot, so the process can't even name the host's files."""
    root = tmp_path / "root"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    seen: dict[str, str] = {}

    def slowly() -> object:
        yield archive(member("a", b"x"))[:512]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and "root" not in seen:
            for pid in children():
                if os.readlink(f"/proc/{pid}/root") == str(root):
                    seen["root"] = str(root)
                    seen["status"] = Path(f"/proc/{pid}/status").read_text()
            time.sleep(0.01)
        yield archive(member("a", b"x"))[512:]

    try:
        unpack(slowly(), fd)  # type: ignore[arg-type]
    finally:
        os.close(fd)
    fields = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) & ~0x8820001B == 0
    assert fields["NoNewPrivs"].strip() == "1"


def children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        found += [int(pid) for pid in Path(f"/proc/self/task/{task}/children").read_text().split()]
    return found


def test_the_worker_has_no_other_system_calls_than_it_needs(tmp_path: Path) -> None:
    """After its filter is in, the process can't open a socket, start a program or mount anything, whatever runs in it."""
    import subprocess
    import sys

    script = f"""
import errno, os, socket, sys
from inception.store import worker
from inception.linux import abi, mount, process
process.set_no_new_privs()
worker._filter_system_calls(bytes.fromhex({worker._filter()!r}))
def refused(call):
    try:
        call()
    except OSError as error:
        return error.errno == errno.ENOSYS
    return False
sys.exit(not all(refused(call) for call in (
    lambda: socket.socket(),
    lambda: os.fork(),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: os.kill(1, 0),
    lambda: os.chroot("/"),
    lambda: mount.mount("tmpfs", "/mnt", "tmpfs", 0, ""),
)) or os.open("/", os.O_RDONLY) < 0)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
