"""Downloads that several share, that were cut off, that were killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.errors import InvalidArgument, Unavailable
from inception.oci.digest import sha256
from inception.oci.image import Descriptor
from inception.store import Store
from inception.store.downloads import download, remove_stale
from inception.store.push import push

from .registries import DebianRegistry
from .support import archive, folder, make_image, member
from .test_faults import whole

pytestmark = pytest.mark.needs("root")

DATA = os.urandom(3 << 20)
BLOB = Descriptor(media_type="application/octet-stream", digest=sha256(DATA), size=len(DATA))
NOISE = [archive(folder(f"d{n}"), *(member(f"d{n}/{i}", os.urandom(20_000)) for i in range(100))) for n in range(3)]


def nothing(_status: str, _done: int) -> None:
    pass


def part(store: Store) -> Path:
    return Path(store.root, "partial", BLOB.digest.replace(":", "-"))


def test_a_blob_that_several_want_at_once_is_fetched_once(store: Store) -> None:
    asked: list[int] = []
    waiting = threading.Event()

    def slow(offset: int) -> Iterator[bytes]:
        asked.append(offset)
        yield DATA[:1000]
        assert waiting.wait(10)
        yield DATA[1000:]

    def tell(status: str, _done: int) -> None:
        if status == "Waiting":
            waiting.set()

    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(download(store, BLOB, slow, tell))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (asked, sorted(results)) == ([0], [False, False, True])
    assert store.content.read(BLOB.digest) == DATA
    assert os.listdir(f"{store.root}/partial") == []


def test_what_a_cut_transfer_left_is_taken_up(store: Store) -> None:
    def cut(offset: int) -> Iterator[bytes]:
        yield DATA[offset : offset + (1 << 20)]
        raise Unavailable("cable")

    for _ in range(2):
        with pytest.raises(Unavailable, match="cable"):
            download(store, BLOB, cut, nothing)
    assert part(store).stat().st_size == 2 << 20
    offsets: list[int] = []

    def rest(offset: int) -> Iterator[bytes]:
        offsets.append(offset)
        yield DATA[offset:]

    assert download(store, BLOB, rest, nothing)
    assert offsets == [2 << 20]


def test_a_part_that_went_bad_is_fetched_anew(store: Store) -> None:
    part(store).parent.mkdir()
    part(store).write_bytes(b"x" * 1000)
    offsets: list[int] = []

    def good(offset: int) -> Iterator[bytes]:
        offsets.append(offset)
        yield DATA[offset:]

    assert download(store, BLOB, good, nothing)
    assert offsets == [1000, 0]


def test_bytes_that_are_wrong_leave_nothing_behind(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="the bytes have digest"):
        download(store, BLOB, lambda offset: iter([bytes(len(DATA))]), nothing)
    with pytest.raises(InvalidArgument, match="longer than"):
        download(store, BLOB, lambda offset: iter([DATA, b"x"]), nothing)
    assert os.listdir(f"{store.root}/partial") == []
    assert not store.content.exists(BLOB.digest)


def test_parts_that_nobody_comes_back_for_are_removed(store: Store) -> None:
    part(store).parent.mkdir()
    part(store).write_bytes(b"x" * 1000)
    assert remove_stale(store.root) == 0
    os.utime(part(store), (0, 0))
    assert remove_stale(store.root) == 1000
    assert not part(store).exists()


SCRIPT = """
import sys
from inception.store import Store
from inception.store.pull import pull
pull(Store(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.needs("docker-registry")
def test_a_pull_that_is_killed_anywhere_does_not_poison_the_next_three(
    registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/app:1"
    maker = Store(str(tmp_path / "maker"))
    image = make_image(maker, *NOISE, name=name)
    push(maker, name)
    old = make_image(store, archive(member("old", b"old")), name="old:1")
    command = [sys.executable, "-c", SCRIPT, store.root, name]
    started = time.monotonic()
    subprocess.run(command, check=True)
    duration = time.monotonic() - started
    for turn in range(10):
        if any(name in found.names for found in store.images.list()):
            store.images.remove(name)
        process = subprocess.Popen(command)
        time.sleep(random.Random(turn).uniform(duration / 3, duration * 1.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if turn % 3 == 0:
            whole(store)
        assert store.images.resolve("old:1") == old
    if any(name in found.names for found in store.images.list()):
        store.images.remove(name)
    at_once = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in at_once] == [0, 0, 0]
    assert store.images.resolve(name).id == image.id
    whole(store)
    assert len(os.listdir(f"{store.root}/layers")) == len(NOISE) + 2
