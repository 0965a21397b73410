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
from inception.errors import Unavailable

from .support import archive, folder, member

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


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_database_that_is_broken_or_gone_has_words_and_takes_nothing_along(
    damage: Callable[[str], None], copy: Callable[[], Path]
) -> None:
    root = copy()
    damage(str(root / "state.db"))
    before = of_the_store(root)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"state\.db") as caught, open_engine(root) as engine:
            engine.images.verify(repair=True)
        assert caught.value.hint
    with pytest.raises(Unavailable, match=r"state\.db"), open_engine(root) as engine:
        engine.volumes.create(VolumeConfig(name="data"))
    assert of_the_store(root) == before and (root / "volumes/data/_data/file").read_text() == "precious"


def test_a_folder_in_place_of_the_lock_has_words(copy: Callable[[], Path]) -> None:
    root = copy()
    make_folder(str(root / "gc.lock"))
    with pytest.raises(Unavailable, match=r"gc\.lock: Is a directory"), open_engine(root) as engine:
        engine.images.verify(repair=True)
