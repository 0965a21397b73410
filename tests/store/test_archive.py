"""Archives in and out: ours, Docker's classic form, OCI layouts; broken ones leave nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from inception.cli.layout import open_layout
from inception.errors import InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import sha256
from inception.store import Store
from inception.store.archive import import_rootfs, load, load_layout
from inception.store.archive_save import save
from inception.store.verify import verify

from .support import archive, folder, hard, link, make_image, member

pytestmark = pytest.mark.needs("root")

LAYER = archive(folder("d"), member("d/f", b"hello", mode=0o4755, uid=7), hard("h", "d/f"), link("l", "/x"))
OTHER = archive(member("d/.wh.f"), member("n", b"n"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "other"))


def test_a_saved_image_has_the_same_id_where_it_is_loaded(store: Store, other: Store) -> None:
    image = make_image(store, LAYER, OTHER, name="app:1", env=["A=b"])
    store.images.tag("app:1", "localhost:5000/x/y:2")
    [loaded] = load(other, save(store, ["app:1", "localhost:5000/x/y:2"]))
    assert (loaded.id, loaded.manifest_digest, loaded.document) == (image.id, image.manifest_digest, image.document)
    assert sorted(loaded.names) == ["app:1", "localhost:5000/x/y:2"]
    assert b"".join(save(other, ["app:1"])) == b"".join(save(store, ["app:1"]))


def test_layers_made_here_are_saved_from_their_folders(store: Store, other: Store) -> None:
    base = make_image(store, LAYER)
    store.snapshots.prepare("s", image_id=base.id)
    with store.snapshots.open("s", read_only=False) as root:
        root.write_bytes("new", b"new")
        root.unlink("d/f")
    with store.lease():
        number = store.snapshots.commit("s", consume=True)
        document = base.document
        document.rootfs.diff_ids.append(store.layers.get(number).diff_id)
        image = store.images.create(document, [*base.layer_ids, number], names=["made"])
    [loaded] = load(other, save(store, ["made"]))
    assert loaded.id == image.id
    Path(f"{store.layers.path(number)}/new").write_text("tampered")
    with pytest.raises(Unavailable, match="no longer what it was"):
        b"".join(save(store, ["made"]))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_what_is_made_upon_layers_that_came_compressed_is_saved(
    pack: Callable[[bytes], bytes], store: Store, other: Store, tmp_path: Path
) -> None:
    media = "application/vnd.oci.image.layer.v1.tar+" + ("gzip" if pack is gzip.compress else "zstd")
    layout(tmp_path / "layout", media=media, pack=pack, **{"org.opencontainers.image.ref.name": "base:1"})
    [base] = load_layout(store, str(tmp_path / "layout"), "base:1")
    document = base.document
    store.snapshots.prepare("s", image_id=base.id)
    with store.snapshots.open("s", read_only=False) as root:
        root.write_bytes("new", b"new")
    with store.lease():
        number = store.snapshots.commit("s", consume=True)
        document.rootfs.diff_ids.append(store.layers.get(number).diff_id)
        image = store.images.create(document, [*base.layer_ids, number], names=["made"])
    store.images.remove("base:1")  # the last name of the blobs that its layers came as
    [loaded] = load(other, save(store, ["made"]))
    assert loaded.id == image.id
    assert verify(store, repair=True).problems == [] and store.images.find("made") == image.id


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_a_classic_archive_is_saved_again_in_the_form_of_today(
    pack: Callable[[bytes], bytes], store: Store, other: Store
) -> None:
    [image] = load(store, [classic(pack(LAYER), tags=["app:1"])])
    [loaded] = load(other, save(store, ["app:1"]))
    assert loaded.id == image.id


def test_an_image_that_is_not_there_is_known_before_the_first_byte(store: Store) -> None:
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        save(store, ["nothing"])


def classic(*layers: bytes, tags: list[str] | None = None, links: bool = False) -> bytes:
    """What `docker save` wrote before it knew OCI."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(gzip.decompress(x) if x[:2] == b"\x1f\x8b" else x) for x in layers]},
    }
    data = json.dumps(config).encode()
    name = f"{sha256(data).hex}.json"
    members = [member(name, data)]
    paths = []
    for number, layer in enumerate(layers):
        members += [folder(f"{number}"), member(f"{number}/layer.tar", layer)]
        paths.append(f"{number}/layer.tar")
    if links:
        members.append(link("again/layer.tar", "../0/layer.tar"))
        paths[0] = "again/layer.tar"
    members.append(member("manifest.json", json.dumps([{"Config": name, "RepoTags": tags, "Layers": paths}]).encode()))
    return archive(*members)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_the_classic_form_is_loaded(pack: object, store: Store) -> None:
    [image] = load(store, io.BytesIO(pack(classic(LAYER, OTHER, tags=["app:1"], links=True))))  # type: ignore[operator]
    assert image.names == ["app:1"]
    store.snapshots.prepare("s", image_id=image.id)
    with store.snapshots.view("s") as root:
        assert sorted(root.listdir("/")) == ["d", "h", "l", "n"]
        assert root.listdir("d") == []


def test_compressed_layers_of_the_classic_form_are_loaded(store: Store) -> None:
    [image] = load(store, [classic(gzip.compress(LAYER))])
    assert image.names == []
    assert len(image.layer_ids) == 1


def layout(
    path: Path,
    *,
    media: str = "application/vnd.oci.image.layer.v1.tar",
    pack: Callable[[bytes], bytes] = bytes,
    **notes: str,
) -> str:
    """An OCI layout in a folder; the digest of its manifest."""
    (path / "blobs/sha256").mkdir(parents=True)

    def blob(data: bytes) -> dict[str, object]:
        (path / "blobs/sha256" / sha256(data).hex).write_bytes(data)
        return {"digest": sha256(data), "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(LAYER)]}}
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())},
        "layers": [{"mediaType": media, **blob(pack(LAYER))}],
    }
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        **blob(json.dumps(manifest).encode()),
        "annotations": notes,
    }
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(entry["digest"])


def test_an_oci_layout_in_a_folder_is_loaded(store: Store, tmp_path: Path) -> None:
    digest = layout(tmp_path / "layout", **{"org.opencontainers.image.ref.name": "app:3"})
    [image] = load_layout(store, str(tmp_path / "layout"), "app:3")
    assert (image.names, image.manifest_digest) == (["app:3"], digest)
    with pytest.raises(NotFound, match="no image 'other'"):
        load_layout(store, str(tmp_path / "layout"), "other")
    with pytest.raises(NotFound, match="No such file"):
        load_layout(store, str(tmp_path / "nowhere"))


def test_a_layout_of_another_version_is_refused(store: Store, tmp_path: Path) -> None:
    layout(tmp_path / "layout", **{"org.opencontainers.image.ref.name": "app:3"})
    (tmp_path / "layout/oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(InvalidArgument, match=r"imageLayoutVersion '2\.0\.0': not supported"):
        load(store, open_layout(str(tmp_path / "layout")))
    assert_empty(store)


def test_what_a_layout_lists_beside_images_is_left_alone(store: Store, tmp_path: Path) -> None:
    digest = layout(tmp_path / "layout", **{"org.opencontainers.image.ref.name": "app:3"})
    path = tmp_path / "layout/index.json"
    value = json.loads(path.read_text())
    strange = {"mediaType": "application/vnd.example+json", "digest": sha256(b"{}"), "size": 2}
    path.write_text(json.dumps({**value, "manifests": [strange, *value["manifests"]]}))
    assert [image.manifest_digest for image in load(store, open_layout(str(tmp_path / "layout")))] == [digest]
    path.write_text(json.dumps({**value, "manifests": [strange]}))
    with pytest.raises(InvalidArgument, match=r"index\.json: no image in it"):
        load(store, open_layout(str(tmp_path / "layout")))


def test_a_digest_in_the_name_of_a_layout_is_no_name(store: Store, tmp_path: Path) -> None:
    name = f"app:1@sha256:{'0' * 64}"
    layout(tmp_path / "layout", **{"org.opencontainers.image.ref.name": name})
    assert [image.names for image in load(store, open_layout(str(tmp_path / "layout")))] == [["app:1"]]
    layout(tmp_path / "other", **{"org.opencontainers.image.ref.name": f"app@sha256:{'0' * 64}"})
    assert [image.names for image in load(store, open_layout(str(tmp_path / "other")))] == [[]]


def test_a_folder_is_loaded_as_the_archive_that_it_would_be(store: Store, tmp_path: Path) -> None:
    digest = layout(tmp_path / "layout", **{"org.opencontainers.image.ref.name": "app:3"})
    (tmp_path / "layout/blobs/sha256/README").write_text("no blob")
    (tmp_path / "layout/notes").write_text("not of the layout")
    with open_layout(str(tmp_path / "layout")) as stream:
        [image] = load(store, stream)
    assert (image.names, image.manifest_digest) == (["app:3"], digest)


def test_a_layer_format_that_we_do_not_know_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    layout(tmp_path / "layout", media="application/vnd.erofs.layer.v1")
    with pytest.raises(InvalidArgument, match=r"layers\[0\].mediaType 'application/vnd.erofs.layer.v1'"):
        load_layout(store, str(tmp_path / "layout"))


def test_bytes_that_are_not_their_digest_are_refused(store: Store, tmp_path: Path) -> None:
    layout(tmp_path / "layout")
    (tmp_path / "layout/blobs/sha256" / sha256(LAYER).hex).write_bytes(OTHER.ljust(len(LAYER), b"\0")[: len(LAYER)])
    with pytest.raises(InvalidArgument, match="the bytes have digest"):
        load_layout(store, str(tmp_path / "layout"))
    assert_empty(store)


BROKEN = {
    "nothing": archive(),
    "no tar": b"x" * 5000,
    "cut off": classic(LAYER)[:3000],
    "no layer": archive(member("manifest.json", b'[{"Config": "c", "RepoTags": [], "Layers": ["x"]}]')),
    "wrong types": archive(member("manifest.json", b'[{"Config": 1, "Layers": {}}]')),
    "no list": archive(member("manifest.json", b"{}")),
    "path": archive(member("manifest.json", b'[{"Config": "../../../etc/passwd", "Layers": ["/etc/passwd"]}]')),
    "link out": archive(
        link("c", "/etc/passwd"), member("manifest.json", b'[{"Config": "c", "RepoTags": null, "Layers": []}]')
    ),
    "link circle": archive(
        link("a", "b"), link("b", "a"), member("manifest.json", b'[{"Config": "a", "RepoTags": null, "Layers": []}]')
    ),
    "bad tag": classic(LAYER, tags=["BAD NAME"]),
    "index of nonsense": archive(member("index.json", b'{"manifests": [{"digest": "../x", "size": 1, "mediaType": "m"}]}')),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_archive_leaves_nothing(case: str, store: Store, canary: Path) -> None:
    with pytest.raises(InceptionError) as caught:
        load(store, [BROKEN[case]])
    assert "\n" not in str(caught.value)
    assert_empty(store)


def assert_empty(store: Store) -> None:
    store.recover()
    assert store.images.list() == []
    assert os.listdir(f"{store.root}/layers") == ["empty"]
    assert os.listdir(f"{store.root}/blobs/sha256") == []
    assert os.listdir(store.tmp) == []


def test_a_root_filesystem_is_imported(store: Store) -> None:
    image = import_rootfs(store, [gzip.compress(LAYER)], name="rootfs:1", message="hello")
    assert image.document.history[0].comment == "hello"
    again = import_rootfs(store, [LAYER], name="rootfs:2", created=image.created, message="hello")
    assert again.id == image.id
    [(step, size)] = store.images.history("rootfs:1")
    assert (step.comment, size) == ("hello", 5)


def test_what_we_save_is_what_skopeo_and_docker_expect_to_find(store: Store) -> None:
    make_image(store, LAYER, name="app:1")
    with tarfile.open(fileobj=io.BytesIO(b"".join(save(store, ["app:1"])))) as saved:
        names = saved.getnames()
        [legacy] = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]
        index = json.load(saved.extractfile("index.json"))  # type: ignore[arg-type]
    assert legacy["RepoTags"] == ["app:1"]
    assert {legacy["Config"], *legacy["Layers"]} <= set(names)
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
