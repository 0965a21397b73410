"""Whatever happens to any one file of a store: `store verify --repair` ends without a traceback, and then all is well.

A store with an image of two platforms that was loaded in compressed layers, one that was made here upon it, and a container;
each of its files is removed, cut short, changed in one byte, and replaced by a folder, each time in a fresh copy.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import inception
from inception.engine.config import CommitConfig, ContainerConfig, VolumeConfig
from inception.errors import Conflict, Unavailable

from .support import archive, folder, make_image, member

pytestmark = pytest.mark.needs("root")


def remove(path: str) -> None:
    os.unlink(path)


def cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def flip(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(size // 2)
        byte = file.read(1) or b"\0"
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 0x41]))


def make_folder(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


DAMAGE: list[Callable[[str], None]] = [remove, cut, flip, make_folder]


def compressed_image(name: str, *layers: bytes) -> bytes:
    """An OCI archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(path: str, data: bytes) -> None:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        def blob(data: bytes, media_type: str) -> dict[str, object]:
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

        diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
        blobs = [blob(gzip.compress(layer, mtime=0), "layer.v1.tar+gzip") for layer in layers]
        entries = []
        for architecture in ("amd64", "arm64"):
            rootfs = {"type": "layers", "diff_ids": diff_ids}
            config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}
            manifest = {"schemaVersion": 2, "config": blob(json.dumps(config).encode(), "config.v1+json"), "layers": blobs}
            entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
            entries.append(entry | {"platform": {"architecture": architecture, "os": "linux"}})
        entry = blob(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), "index.v1+json")
        entry["annotations"] = {"io.containerd.image.name": f"docker.io/library/{name}"}
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    return out.getvalue()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damage") / "root"
    patched = pytest.MonkeyPatch()
    patched.setattr("inception.store.database._COPY_INTERVAL_S", 0)
    with inception.Engine(root=str(root), run_root=str(root.with_name("run"))) as engine:
        layers = archive(folder("d"), member("d/f", b"hello" * 100)), archive(member("top", b"on top"))
        engine.images.load(io.BytesIO(compressed_image("loaded:1", *layers)))
        maker = engine.containers.create(ContainerConfig(image="loaded:1", command=["/top"]))
        with engine.store.snapshots.open(maker.id, read_only=False) as opened:
            opened.write_bytes("new", b"new" * 50)
        maker.commit(CommitConfig(reference="made:1"))
        maker.remove(force=True)
        engine.containers.create(ContainerConfig(image="made:1", command=["/top"], name="box"))
        engine.volumes.create(VolumeConfig(name="data"))
        assert engine.images.verify().problems == []
    patched.undo()
    (root / "volumes/data/_data/file").write_text("precious")
    return root


@pytest.fixture
def copy(template: Path, tmp_path: Path) -> Callable[[], Path]:
    def fresh() -> Path:
        shutil.rmtree(tmp_path, ignore_errors=True)
        tmp_path.mkdir()
        subprocess.run(["cp", "-a", str(template), str(tmp_path / "root")], check=True)
        return tmp_path / "root"

    return fresh


def open_engine(root: Path) -> inception.Engine:
    return inception.Engine(root=str(root), run_root=str(root.with_name("run")))


def of_the_store(root: Path) -> list[str]:
    names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(name for name in names if name.startswith(("blobs/", "layers/")))


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_one_repair_makes_a_store_whole_whichever_file_was_hit(
    damage: Callable[[str], None], template: Path, copy: Callable[[], Path]
) -> None:
    for name in of_the_store(template):
        root = copy()
        damage(str(root / name))
        with open_engine(root) as engine:
            found = engine.images.verify()
            assert found.problems, name
            mended = engine.images.verify(repair=True)
            assert [problem for problem in mended.problems if not problem.mended] == [], name
            assert engine.images.verify().problems == [], name
            for image in engine.images.list(all=True):  # what is still listed is whole
                for _ in engine.images.save([image.id]):
                    pass
            assert engine.containers.get("box").record.name == "box"


def test_a_strangers_file_among_the_blobs_goes(copy: Callable[[], Path]) -> None:
    root = copy()
    (root / "blobs/sha256/README").write_text("not a blob")
    (root / "blobs/sha256/folder").mkdir()
    with open_engine(root) as engine:
        assert [problem.mended for problem in engine.images.verify(repair=True).problems] == ["removed", "removed"]
        assert engine.images.verify().problems == []


def no_bytes(path: str) -> None:
    os.truncate(path, 0)


def zero(path: str) -> None:
    size = os.path.getsize(path)
    os.truncate(path, 0)
    os.truncate(path, size)


def pages(path: str) -> None:
    """All but the first page of the database, one byte in each."""
    with open(path, "r+b") as file:
        for place in range(4096 * 2, os.path.getsize(path), 4096 * 3):
            file.seek(place)
            file.write(b"\x77" * 8)


LOSSES = [*DAMAGE, no_bytes, zero, pages]


@pytest.mark.parametrize("damage", LOSSES, ids=lambda damage: damage.__name__)
def test_a_database_that_is_broken_or_gone_has_words_and_takes_nothing_along(
    damage: Callable[[str], None], copy: Callable[[], Path]
) -> None:
    root = copy()
    damage(str(root / "state.db"))
    before = of_the_store(root)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"state\.db") as caught, open_engine(root) as engine:
            engine.images.verify()
        assert "verify --repair" in caught.value.hint
    with pytest.raises(Unavailable, match=r"state\.db"), open_engine(root) as engine:
        engine.volumes.create(VolumeConfig(name="data"))
    assert of_the_store(root) == before and (root / "volumes/data/_data/file").read_text() == "precious"


def images_of(engine: inception.Engine) -> dict[str, list[str]]:
    return {image.id: image.names for image in engine.images.list(all=True)}


@pytest.mark.parametrize("damage", LOSSES, ids=lambda damage: damage.__name__)
def test_a_repair_puts_a_database_together_from_what_is_left(damage: Callable[[str], None], copy: Callable[[], Path]) -> None:
    root = copy()
    with open_engine(root) as engine:
        before = images_of(engine)
    damage(str(root / "state.db"))
    with open_engine(root) as engine:
        report = engine.images.verify(repair=True)
        assert report.problems[0].where == "state.db"
        assert [problem for problem in report.problems if not problem.mended] == []
        assert engine.images.verify().problems == []
        assert images_of(engine) == before
        assert [volume.name for volume in engine.volumes.list()] == ["data"]
        assert engine.containers.create(ContainerConfig(image="made:1", command=["/top"], name="new")).name == "new"
        engine.containers.get("new").remove(force=True)
        found = [container.record.name for container in engine.containers.list(all=True)]
    assert (root / "volumes/data/_data/file").read_text() == "precious"
    if "box" not in found:  # what it has written is not lost
        assert list(root.glob("rescued-*/snapshots/*/upper"))
    assert damage is remove or list(root.glob("state.db.damaged-*"))


def test_a_head_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    with open_engine(tmp_path / "root") as engine:
        make_image(engine.store, archive(member("f", b"f")), name="a:1")
        engine.images.tag("a:1", "b:1")  # the copy doesn't know it
    with open(tmp_path / "root/state.db", "r+b") as file:
        file.write(bytes(50))
    with open_engine(tmp_path / "root") as engine:
        assert "records are saved;" in engine.images.verify(repair=True).problems[0].mended
        assert [image.names for image in engine.images.list()] == [["a:1", "b:1"]]


@pytest.mark.parametrize("damage", [remove, zero], ids=lambda damage: damage.__name__)
def test_without_a_copy_the_images_are_here_and_have_no_names(damage: Callable[[str], None], copy: Callable[[], Path]) -> None:
    root = copy()
    (root / "state.db.copy").unlink()
    with open_engine(root) as engine:
        before = images_of(engine)
    damage(str(root / "state.db"))
    with open_engine(root) as engine:
        assert [problem for problem in engine.images.verify(repair=True).problems if not problem.mended] == []
        assert engine.images.verify().problems == []
        assert images_of(engine) == {image: [] for image in before}
        for image in before:
            engine.images.tag(image, "again:1")
            assert b"".join(engine.images.save(["again:1"]))


def test_a_database_that_somebody_uses_is_not_replaced(copy: Callable[[], Path]) -> None:
    root = copy()
    with open_engine(root) as engine:
        engine.images.list()
    pages(str(root / "state.db"))
    user = subprocess.Popen(["sleep", "60"], stdin=open(root / "state.db"))
    try:
        with pytest.raises(Conflict, match=f"process {user.pid} has it open"), open_engine(root) as engine:
            engine.images.verify(repair=True)
    finally:
        user.kill()
        user.wait()
    with open_engine(root) as engine:
        assert engine.images.verify(repair=True).problems


def test_a_copy_is_kept_of_each_minute_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "root/state.db.copy"
    with open_engine(tmp_path / "root") as engine:
        layer = archive(member("f", b"f"))
        made = make_image(engine.store, layer, name="a:1")
        before = kept.read_bytes()
        engine.images.tag("a:1", "b:1")
        assert kept.read_bytes() == before
        os.utime(kept, (0, 0))
        engine.images.tag("a:1", "c:1")
        assert kept.read_bytes() != before
        assert kept.stat().st_mode & 0o777 == 0o600
        assert made.id.encode() in kept.read_bytes()


def test_a_folder_in_place_of_the_lock_has_words(copy: Callable[[], Path]) -> None:
    root = copy()
    make_folder(str(root / "gc.lock"))
    with pytest.raises(Unavailable, match=r"gc\.lock: Is a directory"), open_engine(root) as engine:
        engine.images.verify(repair=True)
