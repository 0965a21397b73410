"""Artifacts and referrers, on a registry that lists them and on one that doesn't."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from inception.errors import Conflict, InvalidArgument, NotFound
from inception.oci.digest import sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_MANIFEST
from inception.store import Store
from inception.store.artifacts import EMPTY_TYPE, TITLE, File, check_title, pull, push, referrers
from inception.store.documents import decode_manifest
from inception.store.pull import fetch_document
from inception.store.push import push as push_image

from .registries import DebianRegistry
from .support import archive, make_image, member
from .test_registry import Registry, send

pytestmark = pytest.mark.needs("root", "docker-registry")

SBOM = "application/spdx+json"


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    monkeypatch.setenv("INCEPTION_REGISTRIES", "/nonexistent")
    server = Registry()
    yield server
    server.close()


def file(folder: Path, name: str, data: bytes, media_type: str = SBOM) -> File:
    (folder / name).write_bytes(data)
    return File(path=str(folder / name), title=name, media_type=media_type)


def test_files_go_up_and_come_back(registry: DebianRegistry, tmp_path: Path) -> None:
    name = f"{registry.host}/things:1"
    files = [file(tmp_path, "a.json", b"{}" * 10), file(tmp_path, "b.bin", os.urandom(6 << 20), "application/x-b")]
    pushed = push(name, files, artifact_type="application/x-things", annotations={"k": "v"})
    data, media_type = fetch_document(name)
    manifest = decode_manifest(data)
    assert (sha256(data), media_type) == (pushed.digest, MEDIA_MANIFEST)
    assert (manifest.artifact_type, manifest.config.media_type) == ("application/x-things", EMPTY_TYPE)
    assert manifest.annotations == {"k": "v"}
    assert [(layer.media_type, layer.annotations[TITLE]) for layer in manifest.layers] == [
        (SBOM, "a.json"),
        ("application/x-b", "b.bin"),
    ]
    assert pull(name, str(tmp_path / "got")) == ["a.json", "b.bin"]
    for each in files:
        assert (tmp_path / "got" / each.title).read_bytes() == Path(each.path).read_bytes()
    with pytest.raises(Conflict, match="file exists"):
        pull(name, str(tmp_path / "got"))
    assert sorted(os.listdir(tmp_path / "got")) == ["a.json", "b.bin"]


def test_referrers_are_noted_where_the_registry_does_not_list_them(
    registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/app:1"
    make_image(store, archive(member("f", b"f")), name=name)
    digest = push_image(store, name).digest
    assert referrers(name) == []
    pushed = push(f"{registry.host}/app", [file(tmp_path, "sbom", b"sbom")], artifact_type=SBOM, subject="1")
    other = push(f"{registry.host}/app", [], artifact_type="application/x-signature", subject=digest, annotations={"by": "me"})
    again = push(f"{registry.host}/app", [file(tmp_path, "sbom", b"sbom")], artifact_type=SBOM, subject=name)
    assert again.digest == pushed.digest
    found = referrers(name)
    assert {each.digest for each in found} == {pushed.digest, other.digest}
    assert [each.digest for each in referrers(f"{registry.host}/app@{digest}", SBOM)] == [pushed.digest]
    assert referrers(name, "application/x-signature")[0].annotations == {"by": "me"}
    document = json.loads(fetch_document(f"{registry.host}/app:{digest.replace(':', '-')}")[0])
    assert (document["mediaType"], len(document["manifests"])) == (MEDIA_INDEX, 2)
    assert pull(f"{registry.host}/app@{pushed.digest}", str(tmp_path / "got")) == ["sbom"]
    for nothing in ("nothing", f"{registry.host}/app:nothing"):
        with pytest.raises(NotFound, match=f"subject {nothing} not found in {registry.host}/app"):
            push(f"{registry.host}/app", [], subject=nothing)
    with pytest.raises(InvalidArgument, match="not in the repository"):
        push(f"{registry.host}/app", [], subject=f"{registry.host}/other:1")


def test_a_registry_that_lists_referrers_is_asked_page_by_page(hostile: Registry) -> None:
    subject = hostile.put("1", {"schemaVersion": 2, "config": {}, "layers": []}, MEDIA_MANIFEST)
    asked: list[str] = []

    def entry(number: int) -> dict[str, object]:
        return {"mediaType": MEDIA_MANIFEST, "digest": sha256(bytes([number])), "size": 1, "artifactType": f"t/{number % 2}"}

    def hook(request: BaseHTTPRequestHandler) -> bool:
        if "/referrers/" not in request.path:
            return False
        asked.append(request.path)
        last = "page=2" in request.path
        index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [entry(3)] if last else [entry(1), entry(2)]}
        more = {} if last else {"Link": f'</v2/app/referrers/{sha256(subject)}?page=2>; rel="next"'}
        send(request, json.dumps(index).encode(), MEDIA_INDEX, **more)
        return True

    hostile.hook = hook
    name = f"{hostile.name}:1"
    assert [each.artifact_type for each in referrers(name)] == ["t/1", "t/0", "t/1"]
    assert [each.digest for each in referrers(name, "t/0")] == [sha256(bytes([2]))], "a filter that is ignored is applied here"
    assert asked[2].endswith("?artifactType=t%2F0")


@pytest.mark.parametrize(
    "title",
    ["../x", "/etc/x", "a/../../x", "a//b", "", ".", "..", "a/.", "a\0b", "a\nb", "a\\..\\b", "x" * 2000, "./x"],
)
def test_cve_2025_62725_a_title_that_leads_out_is_refused(title: str, hostile: Registry, tmp_path: Path, canary: Path) -> None:
    data = b"owned"
    hostile.blobs[sha256(data)] = data
    layer = {"mediaType": SBOM, "digest": sha256(data), "size": len(data), "annotations": {TITLE: title}}
    config = {"mediaType": EMPTY_TYPE, "digest": sha256(b"{}"), "size": 2}
    hostile.put("1", {"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": config, "layers": [layer]})
    target = tmp_path / "root"
    if not title:
        assert pull(f"{hostile.name}:1", str(target)) == [sha256(data).partition(":")[2]], "without a name its digest is one"
        return
    with pytest.raises(InvalidArgument, match="is no name for a file"):
        pull(f"{hostile.name}:1", str(target))
    with pytest.raises(InvalidArgument):
        check_title(title)
    assert not target.exists()


def test_a_link_in_the_folder_is_not_followed_out(hostile: Registry, tmp_path: Path, canary: Path) -> None:
    data = b"owned"
    hostile.blobs[sha256(data)] = data
    layers = [
        {"mediaType": SBOM, "digest": sha256(data), "size": len(data), "annotations": {TITLE: title}}
        for title in ("out/x", "passwd")
    ]
    config = {"mediaType": EMPTY_TYPE, "digest": sha256(b"{}"), "size": 2}
    target = tmp_path / "root"
    target.mkdir()
    (target / "out").symlink_to("../canary")
    (target / "passwd").symlink_to("../canary/etc/passwd")
    hostile.put("1", {"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": config, "layers": layers})
    with pytest.raises(Conflict, match="pull passwd: file exists"):
        pull(f"{hostile.name}:1", str(target))
    assert (target / "canary/x").read_bytes() == data, "the link leads to a place beneath the folder, as in a root of its own"


def test_wrong_bytes_leave_no_file(hostile: Registry, tmp_path: Path) -> None:
    promised = b"promised"
    hostile.blobs[sha256(promised)] = b"deliverd"
    layer = {"mediaType": SBOM, "digest": sha256(promised), "size": 8, "annotations": {TITLE: "f"}}
    config = {"mediaType": EMPTY_TYPE, "digest": sha256(b"{}"), "size": 2}
    hostile.put("1", {"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": config, "layers": [layer]})
    with pytest.raises(InvalidArgument, match="the bytes have digest"):
        pull(f"{hostile.name}:1", str(tmp_path / "got"))
    assert os.listdir(tmp_path / "got") == []


def test_a_tag_that_only_looks_like_a_list_of_referrers_is_left_alone(
    registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/app:1"
    make_image(store, archive(member("f", b"f")), name=name)
    digest = push_image(store, name).digest
    taken = f"{registry.host}/app:{digest.replace(':', '-')}"
    store.images.tag(name, taken)
    push_image(store, taken)
    assert referrers(name) == []
    with pytest.raises(Conflict, match="is not a list of referrers"):
        push(f"{registry.host}/app", [], subject="1")
    assert sha256(fetch_document(taken)[0]) == digest
