"""Kill at any point, a full disk: what was there is still there, what was half-made is gone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.errors import InceptionError, Unavailable
from inception.linux import abi, mount, namespaces
from inception.store import Store
from inception.store.archive import import_rootfs, load
from inception.store.archive_save import save
from inception.store.content import chunks_of

from .support import archive, folder, make_image, member, tree

pytestmark = pytest.mark.needs("root")

BIG = archive(folder("d"), *(member(f"d/{number}", os.urandom(20_000)) for number in range(300)))
OLD = archive(member("old", b"old"))


def whole(store: Store) -> None:
    """Everything that has a name is complete, and nothing else is there."""
    store.recover()
    store.db.check()
    known = {str(row[0]) for row in store.db.rows("SELECT id FROM layers")}
    assert set(os.listdir(f"{store.root}/layers")) == known | {"empty"}
    assert os.listdir(store.tmp) == []
    for image in store.images.list():
        sum(len(chunk) for chunk in save(store, [image.id]))  # verifies every layer that is made from its folder
        for number in image.layer_ids:
            assert tree(store.layers.path(number))
    for digest in store.content.list():
        with store.content.open(digest) as blob:
            assert store.content.put(chunks_of(blob), digest)[0] == digest


SCRIPT = """
import sys
from inception.store import Store
from inception.store.archive import import_rootfs, load
store = Store(sys.argv[2])
with open(sys.argv[3], "rb") as stream:
    if sys.argv[1] == "import":
        import_rootfs(store, stream, name="new:1")
    else:
        load(store, stream)
"""


@pytest.mark.parametrize("verb", ["import", "load"])
def test_a_kill_at_any_point_leaves_the_store_whole(verb: str, store: Store, tmp_path: Path) -> None:
    old = make_image(store, OLD, name="old:1")
    source = tmp_path / "source.tar"
    if verb == "import":
        source.write_bytes(BIG)
    else:
        maker = Store(str(tmp_path / "maker"))
        make_image(maker, OLD, BIG, name="new:1")
        source.write_bytes(b"".join(save(maker, ["new:1"])))
    command = [sys.executable, "-c", SCRIPT, verb, store.root, str(source)]
    started = time.monotonic()
    subprocess.run(command, check=True)
    duration = time.monotonic() - started
    finished = 0
    for turn in range(12):
        store.images.remove("new:1", force=True) if finished or turn == 0 else None
        finished = 0
        process = subprocess.Popen(command)
        time.sleep(random.Random(turn).uniform(0.05, duration * 1.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        whole(store)
        images = {name: image for image in store.images.list() for name in image.names}
        assert images["old:1"] == old
        finished = "new:1" in images
    store.images.remove("new:1") if finished else None
    subprocess.run(command, check=True)
    whole(store)
    assert store.images.resolve("new:1").size_bytes >= 300 * 20_000


def on_small_disk(test: Callable[[str], None], path: Path) -> None:
    """Runs *test* in a child with a mount namespace of its own, where *path* is a tmpfs of 6 MiB."""
    path.mkdir()
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.unshare(abi.CLONE_NEWNS)
            mount.mount(None, "/", None, abi.MS_REC | abi.MS_PRIVATE)
            mount.mount("tmpfs", str(path), "tmpfs", 0, "size=6m,mode=700")
            test(str(path))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_full_disk_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    on_small_disk(lambda disk: fill_up(disk, tmp_path), tmp_path / "disk")


def fill_up(small_disk: str, tmp_path: Path) -> None:
    store = Store(f"{small_disk}/root")
    old = make_image(store, OLD, name="old:1")
    maker = Store(str(tmp_path / "maker"))
    make_image(maker, BIG, name="new:1")
    for attempt in (lambda: import_rootfs(store, [BIG], name="new:1"), lambda: load(store, save(maker, ["new:1"]))):
        with pytest.raises((Unavailable, InceptionError), match=r"No space left|free on the disk"):
            attempt()
        store.collect()
        whole(store)
        assert store.images.resolve("old:1") == old
    filler = Path(small_disk) / "filler"
    with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(Unavailable, match="No space left"):
        for number in range(2000):
            store.snapshots.prepare(f"s{number}", image_id=old.id)
    filler.unlink()
    for snapshot in store.snapshots.list():
        store.snapshots.remove(snapshot)
    whole(store)
    assert store.images.resolve("old:1") == old


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not(store: Store) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with store.scratch() as scratch:
                Path(scratch.path, "half").write_text("x")
                os.write(writer, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.read(reader, 1)
    store.recover()
    assert len(os.listdir(store.tmp)) == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    store.recover()
    assert os.listdir(store.tmp) == []
    os.close(reader)
    os.close(writer)
