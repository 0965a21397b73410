"""What goes by itself, and that clean-up never takes what somebody is about to use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import inception
from inception.store import Store
from inception.store.archive_save import save
from inception.store.push import push
from inception.store.verify import verify

from .registries import DebianRegistry
from .support import archive, make_image, member

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """What store.json says under `gc`; a test fills it before it uses it."""

    class Policy(dict[str, float]):
        def __setitem__(self, key: str, value: float) -> None:
            super().__setitem__(key, value)
            (tmp_path / "store.json").write_text(json.dumps({"gc": dict(self)}))

    monkeypatch.setenv("INCEPTION_STORE", str(tmp_path / "store.json"))
    yield Policy()


@pytest.fixture
def engine(tmp_path: Path) -> inception.Engine:
    return inception.Engine(root=str(tmp_path / "root"), run_root=str(tmp_path / "run"))


def last_used(engine: inception.Engine, image_id: str, days_ago: float) -> None:
    when = time.time() - days_ago * 24 * 3600
    os.utime(engine.store.content.path(image_id), (when, when))


def arrive(engine: inception.Engine, name: str, size: int = 1) -> str:
    """An image that is loaded, as the engine's users do it."""
    with_it = Store(f"{engine.root}-source-{name}")
    image = make_image(with_it, archive(member(name, os.urandom(size))), name=name)
    path = Path(f"{engine.root}-{name}.tar")
    path.write_bytes(b"".join(save(with_it, [name])))
    with path.open("rb") as stream:
        engine.images.load(stream)
    return image.id


def names(engine: inception.Engine) -> list[str]:
    return sorted(name.partition(":")[0] for image in engine.images.list() for name in image.names)


def test_without_a_policy_nothing_goes(engine: inception.Engine, policy: dict[str, float]) -> None:
    last_used(engine, arrive(engine, "old"), 10_000)
    arrive(engine, "new")
    assert names(engine) == ["new", "old"]


def test_what_was_long_of_no_use_goes_when_something_comes(engine: inception.Engine, policy: dict[str, float]) -> None:
    for name, days in (("old", 31), ("young", 29), ("used", 400), ("held", 400)):
        last_used(engine, arrive(engine, name), days)
    engine.images.tag("old", "other/old")  # in two repositories, which `rmi` would want to be forced for
    container = engine.containers.create(inception.ContainerConfig(image="held", command=["x"]))
    last_used(engine, engine.images.get("held").id, 400)
    engine.store.images.touch(engine.images.get("used").id)
    policy["unused_days"] = 30
    arrive(engine, "new")
    assert names(engine) == ["held", "new", "used", "young"]
    container.remove()


def test_the_oldest_go_while_the_store_is_too_large(engine: inception.Engine, policy: dict[str, float]) -> None:
    for age, name in enumerate(("a", "b", "c")):
        last_used(engine, arrive(engine, name, 1 << 20), 10 - age)
    policy["max_bytes"] = engine.store.disk_usage(())[0]
    arrive(engine, "d", 1 << 20)
    assert names(engine) == ["b", "c", "d"]
    policy["max_bytes"] = 1
    arrive(engine, "e", 1 << 20)
    assert names(engine) == ["e"], "what has just come stays, however large"


def test_a_start_counts_as_use(engine: inception.Engine) -> None:
    image_id = arrive(engine, "app")
    last_used(engine, image_id, 100)
    engine.containers.create(inception.ContainerConfig(image="app", command=["x"])).remove()
    assert time.time() - engine.store.images.used_at(image_id) < 3600


WORKER = """
import sys
from inception.store import Store
from inception.store.archive import load
from inception.store.pull import pull
from inception.errors import Conflict, NotFound
kind, root, what = sys.argv[1:]
store = Store(root)
for turn in range(12):
    if kind == "pull":
        try:
            image = pull(store, what)
            with store.lease(), store.snapshots.open_layers(image.layer_ids) as view:
                assert view.exists("f"), "a layer went while its image was there"
        except NotFound:
            assert REMOVED  # by the remover, between its last transaction and our look at it
    elif kind == "load":
        with open(what, "rb") as stream:
            try:
                load(store, stream)
            except NotFound:
                assert REMOVED
    else:
        for _ in range(8):
            store.collect(everything=True)
        for image in store.images.list() if REMOVED else ():
            try:
                store.images.remove(image.id, force=True)
            except (Conflict, NotFound):
                pass
"""


@pytest.mark.needs("docker-registry")
@pytest.mark.parametrize("removes", [False, True])
def test_clean_up_takes_nothing_from_those_who_pull_and_load(
    removes: bool, registry: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    source = Store(str(tmp_path / "source"))
    name = f"{registry.host}/app:1"
    make_image(source, archive(member("f", os.urandom(200_000))), archive(member("g", b"g")), name=name)
    push(source, name)
    (tmp_path / "app.tar").write_bytes(b"".join(save(source, [name])))
    started = [
        subprocess.Popen([sys.executable, "-c", f"REMOVED = {removes}\n{WORKER}", *words], stderr=subprocess.PIPE, text=True)
        for words in (
            ("pull", store.root, name),
            ("pull", store.root, name),
            ("load", store.root, str(tmp_path / "app.tar")),
            ("collect", store.root, ""),
        )
    ]
    complaints = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], complaints
    assert verify(store).problems == []
