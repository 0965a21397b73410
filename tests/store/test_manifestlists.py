"""Lists of manifests in the making: created from what lies on a registry, annotated, pushed, removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inception.errors import Conflict, InvalidArgument, NotFound
from inception.oci.image import MEDIA_INDEX, Platform, host_platform, parse_platform
from inception.store import Store
from inception.store.hosts import Host, Registries
from inception.store.manifestlists import ManifestLists
from inception.store.pull import fetch_document, pull
from inception.store.push import push

from .registries import DebianRegistry, free_port
from .test_indexes import make

pytestmark = pytest.mark.needs("root", "docker-registry")


@pytest.fixture
def sources(registry: DebianRegistry, tmp_path: Path) -> list[str]:
    """Two images in two repositories, which are not in the store of the tests."""
    other = Store(str(tmp_path / "other"))
    names = [f"{registry.host}/one:1", f"{registry.host}/two:1"]
    for name, platform in zip(names, ("linux/amd64", "linux/arm64/v8"), strict=True):
        make(other, platform, name)
        push(other, name)
    return names


def test_images_of_two_repositories_come_under_one_name(
    registry: DebianRegistry, sources: list[str], store: Store, tmp_path: Path
) -> None:
    lists, name = ManifestLists(store), f"{registry.host}/all:1"
    assert lists.create(name, sources).name == name
    told: list[str] = []
    pushed = lists.push(name, lambda news: told.append(news.status))
    assert [line.partition("@")[0] for line in told] == [f"Pushed ref {registry.host}/all"] * 2
    data, media_type = fetch_document(name)
    index = json.loads(data)
    assert (media_type, index["mediaType"]) == (MEDIA_INDEX, MEDIA_INDEX)
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for text in ("linux/amd64", "linux/arm64"):
        fresh = Store(str(tmp_path / text.replace("/", "-")))
        image = pull(fresh, name, platform=parse_platform(text))
        assert image.document.config.cmd in ([text], [f"{text}/v8"])
        assert image.repo_digests == [f"{name.removesuffix(':1')}@{pushed.digest}"]
    assert ManifestLists(store).get(name).entries[0].source == sources[0], "a list stays until it is removed"
    lists.remove(name)
    with pytest.raises(NotFound, match="No such manifest"):
        lists.push(name)


def test_blobs_are_carried_over_where_the_registry_mounts_none(
    registry: DebianRegistry, sources: list[str], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = "inception.store.registry.Repository._begin"
    from inception.store.registry import Repository

    plain = Repository._begin
    monkeypatch.setattr(begin, lambda self, digest, mount_from: plain(self, digest, ""))
    lists, name = ManifestLists(store), f"{registry.host}/all:1"
    lists.create(name, sources)
    lists.push(name)
    assert pull(Store(str(tmp_path / "fresh")), name, platform=host_platform()).names == [name]


def test_a_list_is_amended_and_annotated(sources: list[str], store: Store) -> None:
    lists = ManifestLists(store)
    lists.create("all", sources[:1])
    with pytest.raises(Conflict, match="refusing to amend an existing manifest list with no --amend flag"):
        lists.create("all", sources)
    lists.create("all", sources[1:], amend=True)
    lists.create("all", sources[1:], amend=True)
    assert [entry.source for entry in lists.get("all").entries] == sources
    lists.annotate("all", sources[1], Platform(os="", architecture="arm", variant="v7"))
    assert lists.get("all").entries[1].descriptor.platform == Platform(os="linux", architecture="arm", variant="v7")
    with pytest.raises(NotFound, match="manifest for image nothing does not exist in all"):
        lists.annotate("all", "nothing", Platform(os="linux", architecture="arm"))


def test_what_can_be_in_no_list(registry: DebianRegistry, sources: list[str], store: Store) -> None:
    settings = Registries(hosts={"elsewhere.example": Host(mirrors=[])})
    lists, name = ManifestLists(store, settings), f"{registry.host}/all:1"
    lists.create(name, sources)
    lists.push(name)
    with pytest.raises(InvalidArgument, match="is a manifest list"):
        lists.create("other", [name])
    lists.create(f"127.0.0.1:{free_port()}/all", sources)
    with pytest.raises(InvalidArgument, match="from a different registry than the target"):
        lists.push(next(each for each in _names(store) if each != name))
    with pytest.raises(InvalidArgument, match="a name with a tag, not a digest"):
        lists.create(f"app@sha256:{'0' * 64}", sources)


def _names(store: Store) -> list[str]:
    return [json.loads(path.read_bytes())["name"] for path in Path(f"{store.root}/manifests").iterdir()]
