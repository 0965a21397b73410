"""Round trips with skopeo, umoci, podman and docker, and the schemas of the specification on all that we write."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inception.oci.digest import sha256
from inception.oci.image import parse_platform
from inception.oci.reference import Reference
from inception.record import replace
from inception.store import Store
from inception.store.archive import load, load_layout
from inception.store.archive_save import save
from inception.store.artifacts import File
from inception.store.artifacts import push as push_artifact
from inception.store.images import Image
from inception.store.pull import fetch_document, pull
from inception.store.push import push, push_index

from .registries import DebianRegistry
from .support import archive, folder, hard, link, make_image, member, tree

pytestmark = pytest.mark.needs("root", "docker-registry")

#: Of Debian's golang-github-opencontainers-image-spec-dev.
SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
LAYERS = [
    archive(folder("d", mode=0o1777), member("d/f", b"hello", mode=0o4755, uid=7), hard("d/h", "d/f"), link("l", "/x")),
    archive(member("d/.wh.f"), member("ü", b"n")),
]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """podman's runroot may not be longer than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        yield Path(folder)


def run(*words: object) -> str:
    # Their log-ins are this machine's: the folder that the tests give us has none.
    env = {key: value for key, value in os.environ.items() if key != "DOCKER_CONFIG"}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(*words: object) -> str:
    return run("skopeo", "--insecure-policy", *words)


def made(store: Store, name: str) -> Image:
    return make_image(store, *LAYERS, name=name, env=["PATH=/bin"], cmd=["/bin/sh"], labels={"a": "b"})


def trees(store: Store, image: Image) -> list[dict[str, Any]]:
    return [tree(store.layers.path(number)) for number in image.layer_ids]


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_reads_what_we_push_and_we_what_it_writes(
    compression: str, registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/app:1"
    image = made(store, name)
    pushed = push(store, name, compression=compression)
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))
    assert seen["Digest"] == pushed.digest
    layout = tmp_path / "layout"
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:1")
    [loaded] = load_layout(Store(str(tmp_path / "a")), str(layout), "1")
    assert (loaded.id, loaded.manifest_digest) == (image.id, pushed.digest)
    skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", f"oci:{layout}:1", f"docker://{registry.host}/back:1") \
        if compression == "gzip" else None  # fmt: skip
    if compression == "gzip":  # schema 2 has no zstd
        back = Store(str(tmp_path / "b"))
        pulled = pull(back, f"{registry.host}/back:1")
        assert pulled.document.rootfs == image.document.rootfs
        assert trees(back, pulled) == trees(store, image)


@pytest.mark.needs("skopeo")
def test_an_index_goes_through_skopeo_and_comes_back_whole(registry: DebianRegistry, store: Store, tmp_path: Path) -> None:
    for platform in ("amd64", "arm64"):
        image = made(store, platform)
        document = replace(image.document, architecture=platform, variant="")
        with store.lease():
            store.images.create(document, image.layer_ids, names=[f"app:{platform}"])
    name, other = f"{registry.host}/app:1", f"{registry.host}/other:1"
    digest = push_index(store, name, ["app:amd64", "app:arm64"]).digest
    skopeo("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{name}", f"docker://{other}")
    assert json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{other}"))["manifests"][1]["platform"] == {
        "architecture": "arm64",
        "os": "linux",
    }
    fresh = Store(str(tmp_path / "fresh"))
    pulled = pull(fresh, other, all_platforms=True)
    assert pulled.repo_digests == [f"{registry.host}/other@{digest}"]
    assert {image.id for image in fresh.images.platforms(other)} == {
        store.images.resolve(f"app:{platform}").id for platform in ("amd64", "arm64")
    }
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{other}", f"oci:{tmp_path}/layout:x")
    (loaded,) = load_layout(Store(str(tmp_path / "third")), str(tmp_path / "layout"), platform=parse_platform("linux/arm64"))
    assert loaded.document.architecture == "arm64"


@pytest.mark.needs("skopeo")
def test_skopeo_reads_what_we_save_as_docker_and_as_oci_archive(store: Store, tmp_path: Path) -> None:
    image = made(store, "app:1")
    path = tmp_path / "saved.tar"
    path.write_bytes(b"".join(save(store, ["app:1"])))
    for kind in ("docker-archive", "oci-archive"):
        config = json.loads(skopeo("inspect", "--config", f"{kind}:{path}"))
        assert config["rootfs"]["diff_ids"] == image.document.rootfs.diff_ids
    again = tmp_path / "again.tar"
    skopeo("copy", f"docker-archive:{path}", f"docker-archive:{again}:app:1")
    with again.open("rb") as stream:
        [loaded] = load(Store(str(tmp_path / "other")), stream)
    assert loaded.id == image.id


@pytest.mark.needs("skopeo", "umoci")
def test_umoci_unpacks_and_repacks_what_we_push(registry: DebianRegistry, store: Store, tmp_path: Path) -> None:
    name = f"{registry.host}/app:1"
    made(store, name)
    push(store, name)
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:1")
    run("umoci", "unpack", "--image", f"{layout}:1", bundle)
    assert sorted(os.listdir(bundle / "rootfs")) == ["d", "l", "ü"]
    assert os.listdir(bundle / "rootfs/d") == ["h"]
    (bundle / "rootfs/new").write_text("from umoci")
    run("umoci", "repack", "--image", f"{layout}:2", bundle)
    other = Store(str(tmp_path / "other"))
    [image] = load_layout(other, str(layout), "2")
    other.snapshots.prepare("s", image_id=image.id)
    with other.snapshots.view("s") as root:
        assert root.read_bytes("new", 100) == b"from umoci"


@pytest.mark.needs("podman")
def test_podman_loads_what_we_save_under_the_same_id_and_back(
    registry: DebianRegistry, store: Store, tmp_path: Path, short_folder: Path
) -> None:
    image = made(store, "localhost/app:1")
    path, back = tmp_path / "saved.tar", tmp_path / "back.tar"
    path.write_bytes(b"".join(save(store, ["localhost/app:1"])))
    podman = ["podman", "--root", tmp_path / "p", "--runroot", short_folder / "r", "--tmpdir", short_folder / "t",
              "--storage-driver", "vfs", "--events-backend", "file"]  # fmt: skip
    run(*podman, "load", "-i", path)
    assert run(*podman, "images", "-q", "--no-trunc").split() == [image.id]
    run(*podman, "save", "-o", back, "localhost/app:1")
    with back.open("rb") as stream:
        [loaded] = load(Store(str(tmp_path / "other")), stream)
    assert loaded.id == image.id
    name = f"{registry.host}/app:2"
    push_name = f"{registry.host}/app:1"
    run(*podman, "push", "--tls-verify=false", "localhost/app:1", name)
    assert pull(Store(str(tmp_path / "third")), name).document.rootfs == image.document.rootfs
    store.images.tag("localhost/app:1", push_name)
    push(store, push_name)
    run(*podman, "rmi", "-f", "localhost/app:1")
    run(*podman, "pull", "--tls-verify=false", push_name)
    assert run(*podman, "images", "-q", "--no-trunc").split() == [image.id]


@pytest.mark.needs("dockerd", "docker")
def test_docker_loads_what_we_save_under_the_same_id_and_back(store: Store, tmp_path: Path, short_folder: Path) -> None:
    image = made(store, "app:1")
    path, back = tmp_path / "saved.tar", tmp_path / "back.tar"
    path.write_bytes(b"".join(save(store, ["app:1"])))
    dockerd = Path(__file__).parents[2] / "bench/dockerd"
    run_loose(dockerd, "start", short_folder)
    try:
        docker = ["docker", "-H", f"unix://{short_folder}/docker.sock"]
        run(*docker, "load", "-i", path)
        assert run(*docker, "images", "-q", "--no-trunc").split() == [image.id]
        run(*docker, "tag", "app:1", "app:2")
        run(*docker, "save", "-o", back, "app:1", "app:2")
    finally:
        run_loose(dockerd, "stop", short_folder)
    other = Store(str(tmp_path / "other"))
    with back.open("rb") as stream:
        loaded = load(other, stream)
    assert {each.id for each in loaded} == {image.id}
    assert other.images.resolve("app:2").names == ["app:1", "app:2"]
    assert trees(other, loaded[0]) == trees(store, image)


def run_loose(*words: object) -> None:
    """Something that leaves a daemon behind, which would hold our pipes."""
    assert subprocess.run([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def check(value: Any, schema: str) -> None:
    """*value* against a schema of the specification, which refer to each other by name."""
    import fastjsonschema

    def load_schema(uri: str) -> Any:
        # fastjsonschema takes every `$` of a pattern for its end, also one in a class.
        return json.loads((SCHEMAS / uri.rpartition("/")[2]).read_text().replace("#$&", r"#\\x24&"))

    handlers = {"https": load_schema, "http": load_schema, "": load_schema, "file": load_schema}
    document = load_schema(schema)
    document["id"] = document["$id"] = f"https://opencontainers.org/schema/{schema}"
    fastjsonschema.compile(document, handlers=handlers)(value)


@pytest.mark.needs("oci-schemas")
def test_all_documents_that_we_write_follow_the_schemas(registry: DebianRegistry, store: Store, tmp_path: Path) -> None:
    name = f"{registry.host}/app:1"
    image = made(store, name)
    check(json.loads(store.content.read(image.id)), "config-schema.json")
    check(json.loads(store.content.read(image.manifest_digest)), "image-manifest-schema.json")
    push(store, name)
    check(json.loads(fetch_document(name)[0]), "image-manifest-schema.json")
    push_index(store, name, [name])
    check(json.loads(fetch_document(name)[0]), "image-index-schema.json")
    (tmp_path / "bill").write_text("of materials")
    artifact = f"{registry.host}/app:bill"
    push_artifact(artifact, [File(path=str(tmp_path / "bill"), title="bill")], annotations={"a": "b"}, subject="1")
    check(json.loads(fetch_document(artifact)[0]), "image-manifest-schema.json")
    path = tmp_path / "saved.tar"
    path.write_bytes(b"".join(save(store, [name])))
    with tarfile.open(path) as saved:
        index, layout = (json.load(saved.extractfile(each)) for each in ("index.json", "oci-layout"))  # type: ignore[arg-type]
    check(index, "image-index-schema.json")
    check(layout, "image-layout-schema.json")


@pytest.mark.needs("skopeo")
def test_skopeo_reads_all_platforms_of_an_archive_of_ours_and_we_its(
    registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    names = []
    for position, text in enumerate(("linux/amd64", "linux/arm64/v8")):
        wanted = parse_platform(text)
        image = make_image(store, *LAYERS, archive(member("arch", text.encode())), name=f"{registry.host}/app:{position}")
        document = replace(image.document, architecture=wanted.architecture, variant=wanted.variant)
        names.append(f"{registry.host}/app:{position}")
        with store.lease():
            store.images.create(document, image.layer_ids, names=[names[-1]])
    both = f"{registry.host}/app:both"
    pushed = push_index(store, both, names)
    pull(store, both, all_platforms=True)
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(b"".join(save(store, [both])))
    assert json.loads(skopeo("inspect", "--raw", f"oci-archive:{ours}"))["manifests"][1]["platform"]["architecture"] == "arm64"
    skopeo("copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci-archive:{ours}", f"docker://{registry.host}/back:1")
    skopeo("copy", "--quiet", "--all", f"oci-archive:{ours}", f"oci-archive:{theirs}:{both}")
    assert sha256(fetch_document(f"{registry.host}/back:1")[0]) == pushed.digest
    fresh = Store(str(tmp_path / "fresh"))
    with open(theirs, "rb") as stream:
        (loaded,) = load(fresh, stream)
    assert {each.id for each in fresh.images.platforms(both)} == {each.id for each in store.images.platforms(both)}
    assert fresh.indexes.of(Reference.parse(both)) == pushed.digest
    assert loaded.names == [both]
