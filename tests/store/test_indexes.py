"""Images of several platforms under one name: pulled, kept, listed, pushed, saved and removed as a whole or in part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.errors import Conflict, NotFound
from inception.oci.digest import sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_MANIFEST, ImageConfig, ImageDocument, RootFs, host_platform, parse_platform
from inception.oci.reference import Reference
from inception.record import encode
from inception.store import Store
from inception.store.archive import load
from inception.store.archive_save import save
from inception.store.images import Image
from inception.store.indexes import fits
from inception.store.progress import Progress
from inception.store.pull import fetch_document, open_repository, pull
from inception.store.push import push, push_index
from inception.store.removal import Usage

from .registries import DebianRegistry
from .support import archive, member
from .test_archive import assert_empty

pytestmark = pytest.mark.needs("root", "docker-registry")

ARM = parse_platform("linux/arm64")
OTHER = ARM if host_platform().architecture != "arm64" else parse_platform("linux/amd64")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DebianRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("INCEPTION_REGISTRIES", str(tmp_path / "registries.json"))
    (tmp_path / "data").mkdir()
    server = DebianRegistry(tmp_path / "data")
    yield server
    server.close()


def make(store: Store, platform: str, name: str) -> Image:
    wanted = parse_platform(platform)
    layer = archive(member("arch", platform.encode()))
    with store.lease(), store.scratch() as scratch:
        staged = store.layers.stage([layer], scratch)
        document = ImageDocument(
            architecture=wanted.architecture,
            os=wanted.os,
            variant=wanted.variant,
            config=ImageConfig(cmd=[platform]),
            rootfs=RootFs(diff_ids=[staged.diff_id]),
        )
        store.content.put([layer])
        return store.images.create(document, [staged], names=[name])


@pytest.fixture
def pushed(registry: DebianRegistry, tmp_path: Path) -> str:
    """The name of an index on the registry: two Linux platforms, and an attestation that is no image."""
    source = Store(str(tmp_path / "source"))
    make(source, "linux/amd64", "amd")
    make(source, "linux/arm64", "arm")
    name = f"{registry.host}/app:1"
    push_index(source, name, ["amd", "arm"])
    index = json.loads(fetch_document(name)[0])
    repository = open_to_write(name)
    statement = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
    config = json.dumps({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    for blob in (statement, config):
        repository.upload(sha256(blob), len(blob), lambda blob=blob: opened(tmp_path, blob), "", lambda _: None)  # type: ignore[misc]
    attestation = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": sha256(statement), "size": len(statement)}],
        }
    ).encode()
    repository.put_manifest(attestation, MEDIA_MANIFEST, sha256(attestation))
    index["manifests"].append(
        {
            "mediaType": MEDIA_MANIFEST,
            "digest": sha256(attestation),
            "size": len(attestation),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        }
    )
    repository.put_manifest(json.dumps(index).encode(), MEDIA_INDEX, "1")
    repository.close()
    return name


def open_to_write(name: str):  # type: ignore[no-untyped-def]
    from inception.store.hosts import Registries, endpoint

    reference = Reference.parse(name)
    return open_repository(reference, endpoint(Registries(), reference.domain), "test", None, "pull,push")


def opened(folder: Path, data: bytes):  # type: ignore[no-untyped-def]
    path = folder / sha256(data).partition(":")[2]
    path.write_bytes(data)
    return path.open("rb")


def index_digest(name: str) -> str:
    return sha256(fetch_document(name)[0])


def test_a_pull_takes_one_platform_and_goes_by_the_digest_of_the_index(pushed: str, store: Store) -> None:
    image = pull(store, pushed)
    assert image.document.architecture == host_platform().architecture
    assert image.repo_digests == [f"{pushed[:-2]}@{index_digest(pushed)}"]
    assert store.images.resolve(image.repo_digests[0]).id == image.id
    assert not store.indexes.is_complete(index_digest(pushed))
    with pytest.raises(NotFound, match=rf"does not match the specified platform: wanted linux/{OTHER.architecture}"):
        store.images.resolve(pushed, OTHER)


def test_a_second_pull_asks_for_the_digest_alone(pushed: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    from inception.store.transport import Transport

    plain = Transport.open
    monkeypatch.setattr(
        Transport, "open", lambda self, method, *rest, **more: asked.append(method) or plain(self, method, *rest, **more)
    )
    pull(store, pushed)
    assert asked[0] == "GET"
    asked.clear()
    news: list[Progress] = []
    pull(store, pushed, news.append)
    assert asked == ["HEAD"]
    assert news[-1].status == f"Status: Image is up to date for {pushed}"
    asked.clear()
    pull(store, pushed, platform=OTHER)
    assert asked[0] == "HEAD" and len(asked) > 2


def test_an_image_for_another_platform_than_asked_for_comes_with_a_warning(registry: DebianRegistry, store: Store) -> None:
    name = f"{registry.host}/lone:1"
    make(store, "linux/amd64", name)
    push(store, name)
    for wanted, told in ((parse_platform("linux/arm64"), True), (parse_platform("linux/amd64"), False), (None, False)):
        news: list[Progress] = []
        pull(store, name, news.append, platform=wanted)
        warnings = [each.status for each in news if each.status.startswith("WARNING")]
        text = f"WARNING: image with reference {name} was found but does not match the specified platform: "
        assert warnings == ([f"{text}wanted linux/arm64, actual: linux/amd64"] if told else [])


def test_a_second_platform_leaves_the_first_in_the_store(pushed: str, store: Store) -> None:
    own = pull(store, pushed)
    other = pull(store, pushed, platform=OTHER)
    assert store.images.resolve(pushed).id == other.id, "a name means what was pulled last, as in Docker"
    assert store.images.resolve(pushed, host_platform()).id == own.id
    assert {image.id for image in store.images.platforms(pushed)} == {own.id, other.id}
    assert [image.indexed for image in store.images.list()] == [True, True]
    assert pull(store, pushed).id == own.id


def test_all_platforms_come_and_go_up_again_under_the_same_digest(
    pushed: str, registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    pull(store, pushed, all_platforms=True)
    digest = index_digest(pushed)
    assert store.indexes.is_complete(digest)
    assert len(store.images.platforms(pushed)) == 2
    again = f"{registry.host}/elsewhere:2"
    store.images.tag(pushed, again)
    assert push(store, again).digest == digest == index_digest(again)
    third = Store(str(tmp_path / "third"))
    pull(third, again, all_platforms=True)
    assert third.indexes.is_complete(digest)
    store.collect(everything=True)
    assert store.indexes.is_complete(digest), "clean-up leaves what an index needs"


def test_what_is_not_here_whole_goes_up_as_one_image_and_says_so(pushed: str, registry: DebianRegistry, store: Store) -> None:
    image = pull(store, pushed)
    name = f"{registry.host}/one:1"
    store.images.tag(pushed, name)
    news: list[Progress] = []
    assert push(store, name, news.append).digest == image.manifest_digest
    assert "pushed alone" in news[-1].status
    with pytest.raises(NotFound, match="only some of the platforms that it lists are here"):
        push(store, name, all_platforms=True)


def test_one_platform_of_several_is_pushed_and_saved(
    pushed: str, registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    pull(store, pushed, all_platforms=True)
    wanted = store.images.resolve(pushed, OTHER)
    name = f"{registry.host}/one:1"
    store.images.tag(pushed, name)
    assert push(store, name, platform=OTHER).digest == wanted.manifest_digest
    fresh = Store(str(tmp_path / "fresh"))
    (loaded,) = load(fresh, save(store, [pushed], [OTHER]), platform=OTHER)
    assert (loaded.id, loaded.names) == (wanted.id, [pushed])


def test_an_archive_holds_all_platforms_and_comes_back_as_the_same_index(pushed: str, store: Store, tmp_path: Path) -> None:
    pull(store, pushed, all_platforms=True)
    index = store.indexes.of(Reference.parse(pushed))
    data = b"".join(save(store, [pushed]))
    fresh = Store(str(tmp_path / "fresh"))
    (loaded,) = load(fresh, [data])
    assert (loaded.id, loaded.names) == (store.images.resolve(pushed).id, [pushed])
    assert fresh.images.resolve(pushed, OTHER).id == store.images.resolve(pushed, OTHER).id
    assert fresh.indexes.of(Reference.parse(pushed)) == index
    fresh.collect(everything=True)
    assert fresh.indexes.is_complete(index)
    assert b"".join(save(fresh, [pushed])) == data
    (alone,) = load(Store(str(tmp_path / "alone")), [data], platform=OTHER)
    assert fits(alone.document, OTHER)


def test_what_of_an_index_is_here_is_saved_and_loaded_as_that(pushed: str, store: Store, tmp_path: Path) -> None:
    image = pull(store, pushed)
    other = pull(store, pushed, platform=OTHER)
    store.images.remove(pushed, platforms=[OTHER])
    fresh = Store(str(tmp_path / "fresh"))
    (loaded,) = load(fresh, save(store, [pushed]))
    assert loaded.id == image.id
    assert other.id not in [each.id for each in fresh.images.list()]


def test_several_platforms_are_saved_under_an_index_of_their_own(pushed: str, store: Store, tmp_path: Path) -> None:
    pull(store, pushed, all_platforms=True)
    fresh = Store(str(tmp_path / "fresh"))
    load(fresh, save(store, [pushed], [OTHER, host_platform()]))
    assert {each.id for each in fresh.images.platforms(pushed)} == {
        store.images.resolve(pushed, platform).id for platform in (OTHER, host_platform())
    }


def test_one_platform_of_several_goes_and_the_name_stays(pushed: str, store: Store) -> None:
    mine, other = pull(store, pushed), pull(store, pushed, platform=OTHER)
    assert store.images.resolve(pushed).id == other.id  # the one that was pulled last
    removals = store.images.remove(pushed, platforms=[OTHER])
    assert removals[0].deleted == other.id and not any(each.untagged for each in removals)
    assert store.images.resolve(pushed).id == mine.id
    with pytest.raises(NotFound, match="does not match the specified platform"):
        store.images.remove(pushed, platforms=[OTHER])
    assert pull(store, pushed, platform=OTHER).id == other.id


def test_the_last_platform_takes_the_name_along(pushed: str, store: Store) -> None:
    image = pull(store, pushed)
    removals = store.images.remove(pushed, platforms=[host_platform()])
    assert removals[0].untagged == pushed
    assert image.id in [each.deleted for each in removals]
    assert_empty(store)


def test_a_platform_that_a_container_has_stays(pushed: str, store: Store) -> None:
    pull(store, pushed)
    other = pull(store, pushed, platform=OTHER)
    with pytest.raises(Conflict, match="being used by stopped container"):
        store.images.remove(pushed, platforms=[OTHER], in_use=[Usage(container_id="c" * 64, image_id=other.id)])
    assert store.images.resolve(pushed, OTHER).id == other.id


def test_a_name_goes_with_all_its_platforms(pushed: str, store: Store) -> None:
    pull(store, pushed, all_platforms=True)
    ids = {image.id for image in store.images.list()}
    removals = store.images.remove(pushed)
    assert removals[0].untagged == pushed
    assert {each.deleted for each in removals if each.deleted} == ids
    assert_empty(store)


def test_two_names_of_one_index_keep_it_until_the_last_goes(pushed: str, store: Store) -> None:
    pull(store, pushed, all_platforms=True)
    store.images.tag(pushed, "mine")
    assert all(each.untagged for each in store.images.remove(pushed))
    store.collect(everything=True)
    assert store.indexes.is_complete(store.indexes.of(Reference.parse("mine")))
    store.images.tag("mine", "other")
    store.images.remove("other")
    store.images.remove("mine")
    assert store.images.list() == []


def test_a_name_that_moves_on_leaves_its_index_behind(pushed: str, store: Store) -> None:
    pull(store, pushed, all_platforms=True)
    make(store, "linux/amd64", pushed)
    assert store.indexes.of(Reference.parse(pushed)) == ""
    assert encode(store.images.resolve(pushed).document)["architecture"] == "amd64"
