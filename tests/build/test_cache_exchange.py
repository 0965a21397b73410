"""`--cache-to` and `--cache-from`: what one machine has made another need not make again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inception.build.cacheplaces import parse_source, parse_target
from inception.build.config import CachePlace
from inception.engine import Engine
from inception.engine.endpoints import take_down
from inception.errors import InvalidArgument, Unavailable

from ..store.registries import DebianRegistry
from .conftest import Builder

pytestmark = pytest.mark.needs("root", "busybox")

TEXT = """FROM busybox AS tools
COPY tool /tool
RUN cp /tool /made && date +%N >/when
FROM busybox
WORKDIR /srv
COPY --from=tools /made /srv/made
RUN rm /srv/made && mkdir /srv/d && date +%N >/srv/d/when
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DebianRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    folder = tmp_path / "registry"
    folder.mkdir()
    server = DebianRegistry(folder)
    yield server
    server.close()


@pytest.fixture
def here(busybox: Builder) -> Builder:
    busybox.write("tool", "#!/bin/sh\n")
    return busybox


@pytest.fixture
def there(here: Builder, busybox_root: Path, tmp_path: Path) -> Iterator[Builder]:
    """Another machine with the same files."""
    with Engine(str(tmp_path / "root2"), str(tmp_path / "run2")) as engine, open(busybox_root, "rb") as file:
        engine.images.load(file)
        yield Builder(engine, here.context)
        take_down(engine, engine.networks.get("bridge"))
        assert os.listdir(engine.store.tmp) == []


def places(kind: str, registry: DebianRegistry, tmp_path: Path, mode: str) -> tuple[CachePlace, CachePlace]:
    if kind == "local":
        return parse_target(f"type=local,dest={tmp_path}/cache,mode={mode}"), parse_source(f"type=local,src={tmp_path}/cache")
    name = f"{registry.host}/team/app:cache"
    return parse_target(f"type=registry,ref={name},mode={mode}"), parse_source(name)


@pytest.mark.needs("docker-registry")
@pytest.mark.parametrize("kind", ["local", "registry"])
def test_another_machine_finds_every_step(kind: str, here: Builder, there: Builder, registry: DebianRegistry, tmp_path: Path):
    target, source = places(kind, registry, tmp_path, "max")
    first = here.build(TEXT, cache_to=[target])
    second = there.build(TEXT, cache_from=[source])
    assert there.cached() == [True] * 5
    assert second.image_id == first.image_id
    assert there.read("srv/d/when") == here.read("srv/d/when")
    # From then on it is that machine's own, and its image can be saved as if it had been made there.
    assert there.build(TEXT).cached_steps == 5
    assert sum(len(chunk) for chunk in there.engine.images.save(["result"])) > 1 << 20


@pytest.mark.needs("docker-registry")
def test_the_smaller_mode_has_the_results_own_steps(here: Builder, there: Builder, registry: DebianRegistry, tmp_path: Path):
    target, source = places("local", registry, tmp_path, "min")
    here.build(TEXT, cache_to=[target])
    there.build(TEXT, cache_from=[source])
    by_name = {event.name: event.kind for event in there.events if event.kind in ("cached", "done") and "]" in event.name}
    assert [kind for name, kind in by_name.items() if "COPY tool" in name or "cp /tool" in name] == ["done", "done"]
    assert [kind for name, kind in by_name.items() if "WORKDIR" in name] == ["cached"]


@pytest.mark.needs("docker-registry")
@pytest.mark.parametrize("how", ["option", "argument"])
def test_an_image_carries_its_own_cache(how: str, here: Builder, there: Builder, registry: DebianRegistry):
    text = "FROM busybox\nCOPY tool /tool\nRUN date +%N >/when\nWORKDIR /\n"
    name = f"{registry.host}/team/app:1"
    asked = {"cache_to": [parse_target("inline")]} if how == "option" else {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}
    here.build(text, tags=[name], **asked)
    here.engine.images.push(name)
    there.build(text, cache_from=[parse_source(name)])
    assert there.cached() == [True, True]
    assert there.read("when") == here.read("when", name)


@pytest.mark.needs("docker-registry")
def test_only_what_is_hit_is_fetched_and_a_changed_step_is_made(
    here: Builder, there: Builder, registry: DebianRegistry, tmp_path: Path
):
    target, source = places("local", registry, tmp_path, "max")
    here.build("FROM busybox\nRUN echo 1 >/1\nRUN echo 2 >/2\n", cache_to=[target])
    index = json.loads((tmp_path / "cache/index.json").read_text())
    blobs = tmp_path / "cache/blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    assert [layer["mediaType"].endswith("tar+gzip") for layer in manifest["layers"]] == [True, True]
    (blobs / manifest["layers"][1]["digest"][7:]).unlink()
    there.build("FROM busybox\nRUN echo 1 >/1\nRUN echo 3 >/2\n", cache_from=[source])
    assert there.cached() == [True, False]


def test_two_caches_live_in_one_folder_by_their_tags(here: Builder, there: Builder, tmp_path: Path):
    for tag in ("one", "two"):
        here.build(f"FROM busybox\nRUN echo {tag} >/x\n", cache_to=[parse_target(f"type=local,dest={tmp_path}/c,tag={tag}")])
    source = parse_source(f"type=local,src={tmp_path}/c,tag=one")
    there.build("FROM busybox\nRUN echo one >/x\n", cache_from=[source])
    assert there.cached() == [True]
    there.build("FROM busybox\nRUN echo two >/x\n", cache_from=[source])
    assert there.cached() == [False]


def test_a_cache_that_can_not_be_read_costs_a_warning_alone(here: Builder, tmp_path: Path):
    here.build("FROM busybox\nRUN true\n", cache_from=[parse_source(f"type=local,src={tmp_path}/nowhere")])
    assert any("failed to import cache" in event.name for event in here.events if event.kind == "warning")


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"x", lambda data: data[:-20], lambda _data: b""])
def test_a_damaged_layer_is_never_taken(damage: Callable[[bytes], bytes], here: Builder, there: Builder, tmp_path: Path):
    here.build("FROM busybox\nRUN echo 1 >/1\n", cache_to=[parse_target(f"type=local,dest={tmp_path}/cache")])
    blobs = tmp_path / "cache/blobs/sha256"
    layer = next(path for path in blobs.iterdir() if path.read_bytes()[:2] == b"\x1f\x8b")
    layer.write_bytes(damage(layer.read_bytes()))
    there.build("FROM busybox\nRUN echo 1 >/1\n", cache_from=[parse_source(f"type=local,src={tmp_path}/cache")])
    assert there.cached() == [False]
    assert there.read("1") == "1\n"


def test_an_export_that_fails_fails_the_build_unless_told_otherwise(here: Builder, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="Not a directory"):
        here.build("FROM busybox\nRUN true\n", cache_to=[parse_target(f"type=local,dest={tmp_path}/file/x")])
    here.build("FROM busybox\nRUN true\n", cache_to=[parse_target(f"type=local,dest={tmp_path}/file/x,ignore-error=true")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=gha", "cache type gha is not supported"),
        ("type=local", "dest is required"),
        ("type=registry,ref=x,mode=most", "invalid cache mode"),
        ("type=inline,mode=max", "mode=max needs another type"),
        ("type=local,dest=x,colour=red", "cache option colour is not supported"),
    ],
)
def test_what_is_not_known_is_refused_by_name(text: str, message: str):
    with pytest.raises(InvalidArgument, match=message):
        parse_target(text)
