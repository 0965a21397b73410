"""Tags and deletions on a registry: one that deletes by digest alone, one that deletes tags, one that deletes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from inception.errors import Conflict, InvalidArgument, NotFound
from inception.store import Store, login
from inception.store.artifacts import push as push_artifact
from inception.store.artifacts import referrers
from inception.store.push import push
from inception.store.remote import delete, tags

from .registries import DebianRegistry
from .support import archive, make_image, member
from .test_artifacts import SBOM, file
from .test_registry import Registry, manifest, send

pytestmark = pytest.mark.needs("root", "docker-registry")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("INCEPTION_REGISTRIES", str(tmp_path / "registries.json"))


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[DebianRegistry]:
    server = DebianRegistry(tmp_path)
    yield server
    server.close()


@pytest.fixture
def tests_own() -> Iterator[Registry]:
    server = Registry()
    server.put("1", manifest())
    yield server
    server.close()


def pushed(store: Store, registry: DebianRegistry, *names: str) -> str:
    make_image(store, archive(member("f", b"f")), name=f"{registry.host}/{names[0]}")
    for name in names:
        store.images.tag(f"{registry.host}/{names[0]}", f"{registry.host}/{name}")
        digest = push(store, f"{registry.host}/{name}").digest
    return digest


def test_tags_are_listed(debian: DebianRegistry, store: Store) -> None:
    pushed(store, debian, "team/app:1", "team/app:2")
    assert sorted(tags(f"{debian.host}/team/app")) == ["1", "2"]
    with pytest.raises(NotFound):
        tags(f"{debian.host}/team/none")


def test_a_manifest_goes_by_its_digest_with_all_tags(debian: DebianRegistry, store: Store) -> None:
    digest = pushed(store, debian, "app:1", "app:2")
    assert delete(f"{debian.host}/app@{digest}") == f"{debian.host}/app@{digest}"
    for tag in ("1", "2"):
        with pytest.raises(NotFound):
            delete(f"{debian.host}/app:{tag}") if tag == "1" else delete(f"{debian.host}/app@{digest}")


def test_a_registry_that_deletes_no_tags_says_what_it_would_delete(debian: DebianRegistry, store: Store) -> None:
    digest = pushed(store, debian, "app:1", "app:2")
    with pytest.raises(Conflict, match="it deletes no tags") as raised:
        delete(f"{debian.host}/app:1")
    assert f"inception registry rm {debian.host}/app@{digest}" in raised.value.hint
    assert sorted(tags(f"{debian.host}/app")) == ["1", "2"]


def test_a_blob_goes_by_its_digest(debian: DebianRegistry, store: Store) -> None:
    pushed(store, debian, "app:1")
    layer = store.images.resolve(f"{debian.host}/app:1").id
    delete(f"{debian.host}/app@{layer}", blob=True)
    with pytest.raises(NotFound, match="no such blob"):
        delete(f"{debian.host}/app@{layer}", blob=True)


def test_a_name_alone_is_no_wish_to_delete_latest() -> None:
    with pytest.raises(InvalidArgument, match="which: a tag, or a digest"):
        delete("registry.example/app")
    with pytest.raises(InvalidArgument, match="a blob has a digest"):
        delete("registry.example/app:1", blob=True)


def test_a_referrer_that_goes_is_taken_off_the_list_of_its_subject(
    debian: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    pushed(store, debian, "app:1")
    name = f"{debian.host}/app"
    one = push_artifact(name, [file(tmp_path, "sbom", b"sbom")], artifact_type=SBOM, subject="1")
    two = push_artifact(name, [file(tmp_path, "other", os.urandom(9))], artifact_type=SBOM, subject="1")
    assert {each.digest for each in referrers(f"{name}:1")} == {one.digest, two.digest}
    delete(f"{name}@{one.digest}")
    assert [each.digest for each in referrers(f"{name}:1")] == [two.digest]


@pytest.mark.parametrize("status", [202, 204])
def test_a_tag_goes_alone_where_the_registry_can(status: int, tests_own: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        gone.append(request.path)
        send(request, b"", "text/plain", status)

    monkeypatch.setattr(tests_own.server.RequestHandlerClass, "do_DELETE", answer, raising=False)
    assert delete(f"{tests_own.name}:1") == f"{tests_own.name}:1"
    assert gone == ["/v2/app/manifests/1"]


def test_a_registry_that_deletes_nothing_is_named(tests_own: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        send(request, b'{"errors": [{"code": "UNSUPPORTED"}]}', "application/json", 405)

    monkeypatch.setattr(tests_own.server.RequestHandlerClass, "do_DELETE", answer, raising=False)
    digest = next(key for key in tests_own.documents if ":" in key)
    with pytest.raises(Conflict, match="does not delete this") as raised:
        delete(f"{tests_own.name}@{digest}")
    assert "forbid deletion" in raised.value.hint


@pytest.mark.parametrize("words", ["stars=many", "is-official=perhaps", "color=red"])
def test_a_filter_of_search_is_judged_before_anybody_is_asked(words: str, tests_own: Registry) -> None:
    key, _, value = words.partition("=")
    with pytest.raises(InvalidArgument, match=f"invalid filter '{key}"):
        login.search(tests_own.name, filters={key: [value]})
    assert tests_own.requests == []
