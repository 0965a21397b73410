"""`store verify`: every kind of damage is found, and mended or cleared away; afterwards all is well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.errors import Conflict, NotFound
from inception.oci.image import Descriptor
from inception.store import Store
from inception.store.archive import load
from inception.store.archive_save import save
from inception.store.pull import pull
from inception.store.push import push
from inception.store.refetch import refetch_from_registry
from inception.store.verify import Report, verify

from .registries import DebianRegistry
from .support import archive, folder, make_image, member, tree

pytestmark = pytest.mark.needs("root")

LAYERS = [archive(folder("d"), member("d/f", b"hello" * 1000)), archive(member("top", b"on top"))]


def made_here(store: Store) -> str:
    """An image whose layers are made from their folders."""
    base = make_image(store, LAYERS[0], name="base:1")
    store.snapshots.prepare("work", image_id=base.id)
    with store.snapshots.open("work", read_only=False) as root:
        root.write_bytes("new", b"new")
    with store.lease():
        number = store.snapshots.commit("work", consume=True)
        document = base.document
        document.rootfs.diff_ids.append(store.layers.get(number).diff_id)
        return store.images.create(document, [*base.layer_ids, number], names=["made:1"]).id


def problems(report: Report) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in report.problems]


def check_mends(store: Store, words: str, **options: object) -> Report:
    """Found, not touched without repair, mended with it, gone afterwards."""
    found = problems(verify(store, **options))  # type: ignore[arg-type]
    assert any(words in line for line in found), found
    assert problems(verify(store, **options)) == found  # type: ignore[arg-type]
    report = verify(store, repair=True, **options)  # type: ignore[arg-type]
    assert all(problem.mended for problem in report.problems), report.problems
    assert problems(verify(store, **options)) == []  # type: ignore[arg-type]
    return report


def overwrite(path: str, data: bytes = b"damaged") -> None:
    os.chmod(path, 0o600)
    Path(path).write_bytes(data)


def test_a_whole_store_is_whole(store: Store) -> None:
    made_here(store)
    report = verify(store)
    assert (report.problems, report.images, report.layers) == ([], 2, 2)


@pytest.mark.parametrize("damage", [lambda path: overwrite(path, b"x"), os.unlink], ids=["truncated", "missing"])
def test_a_layers_blob_that_is_gone_is_removed_with_its_image_when_nothing_has_it(
    damage: Callable[[str], None], store: Store
) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    other = make_image(store, LAYERS[1], name="other:1")
    damage(store.content.path(image.document.rootfs.diff_ids[0]))
    report = check_mends_all_but_blob(store)
    assert any(problem.mended.startswith("removed; pull or build it again: ") for problem in report.problems)
    with pytest.raises(NotFound):
        store.images.resolve("app:1")
    assert store.images.resolve("other:1") == other


def check_mends_all_but_blob(store: Store) -> Report:
    report = verify(store, repair=True)
    assert report.problems
    store.collect()
    assert problems(verify(store)) == []
    return report


def test_a_manifest_that_was_made_here_is_made_again(store: Store) -> None:
    image = store.images.resolve(made_here(store))
    overwrite(store.content.path(image.manifest_digest))
    check_mends(store, "damaged: its 7 bytes have digest")
    assert b"".join(save(store, ["made:1"]))


def test_a_folder_that_was_changed_is_unpacked_again_from_its_blob(store: Store) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    path = store.layers.path(image.layer_ids[0])
    before = tree(path)
    Path(path, "d/f").write_text("tampered")
    check_mends(store, "its folder is not what its blob unpacks to")
    assert tree(path) == before
    shutil.rmtree(path)
    check_mends(store, "its folder is missing")
    assert tree(path) == before


def test_a_layer_beneath_a_running_container_is_left_alone(store: Store) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    store.snapshots.prepare("c", image_id=image.id)
    Path(store.layers.path(image.layer_ids[0]), "d/f").write_text("tampered")
    report = verify(store, repair=True, running={"c"})
    assert "container c is running on it: stop it first" in report.problems[0].what
    assert Path(store.layers.path(image.layer_ids[0]), "d/f").read_text() == "tampered"


def test_a_changed_layer_that_was_made_here_takes_its_images_along(store: Store) -> None:
    image = store.images.resolve(made_here(store))
    Path(store.layers.path(image.layer_ids[-1]), "new").write_text("tampered")
    report = verify(store, repair=True)
    assert "its folder packs to" in report.problems[0].what
    assert [image.names for image in store.images.list()] == [["base:1"]]
    store.collect()
    assert problems(verify(store)) == []


def test_folders_without_a_record_go_and_records_without_a_folder_get_one(store: Store) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    os.mkdir(f"{store.root}/layers/99")
    os.makedirs(f"{store.root}/snapshots/stray/upper")
    store.snapshots.prepare("c", image_id=image.id)
    shutil.rmtree(f"{store.snapshots.path('c')}/work")
    report = check_mends(store, "a folder without a record")
    assert len(report.problems) == 3
    shutil.rmtree(store.snapshots.path("c"))
    assert "what the container had written is lost" in check_mends(store, "its folder is missing").problems[0].mended


def test_a_snapshot_that_belongs_to_nothing_is_removed_after_a_while(store: Store) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    store.snapshots.prepare("mine", image_id=image.id)
    store.snapshots.prepare("orphan", image_id=image.id)
    assert verify(store, owners={"mine"}).problems == []  # it may just be in the making
    check_mends(store, "snapshot orphan: belongs to nothing", owners={"mine"}, grace_s=0)
    assert store.snapshots.list() == ["mine"]


def test_half_a_record_is_removed(store: Store) -> None:
    image = make_image(store, *LAYERS, name="app:1")
    store.db.execute("DELETE FROM image_layers WHERE image_id = ? AND position = 1", (image.id,))
    check_mends(store, "half a record: its layers are not those of its configuration")
    assert store.images.list() == []


def test_nothing_is_judged_while_a_pull_is_at_work(store: Store) -> None:
    with store.lease(), pytest.raises(Conflict, match="a pull, a load or a build is at work"):
        verify(store)


@pytest.mark.needs("docker-registry")
def test_what_a_registry_has_is_fetched_again(registry: DebianRegistry, store: Store, tmp_path: Path) -> None:
    name = f"{registry.host}/app:1"
    maker = Store(str(tmp_path / "maker"))
    make_image(maker, *LAYERS, name=name)
    push(maker, name)
    image = pull(store, name)
    manifest = store.content.read(image.manifest_digest)
    for digest in store.content.list():
        overwrite(store.content.path(digest))
    report = verify(store, repair=True, refetch=refetch_from_registry(store))
    assert [problem.what for problem in report.problems if not problem.mended] == []
    assert {problem.mended for problem in report.problems} == {f"fetched again from {registry.host}/app"}
    assert verify(store).problems == []
    assert store.content.read(image.manifest_digest) == manifest


def test_a_blob_that_can_not_be_had_again_says_so(store: Store) -> None:
    image = make_image(store, LAYERS[0], name="app:1")
    os.unlink(store.content.path(image.document.rootfs.diff_ids[0]))

    def nobody(blob: Descriptor, repositories: list[str]) -> None:
        raise NotFound("nobody has it")

    report = verify(store, repair=True, refetch=nobody)
    assert "repair failed: no registry is known to have it" in report.problems[0].what


def test_a_loaded_image_that_packs_to_itself_keeps_no_blob_beside_its_folder(store: Store, tmp_path: Path) -> None:
    maker = Store(str(tmp_path / "maker"))
    made_here(maker)
    load(store, save(maker, ["made:1"]))
    made = store.images.resolve("made:1").document.rootfs.diff_ids[-1]
    assert not store.content.exists(made)
    assert verify(store).problems == []
    assert b"".join(save(store, ["made:1"])) == b"".join(save(maker, ["made:1"]))
