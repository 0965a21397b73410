"""What a power cut leaves half done, made by hand; real cuts are those of `python -m tests.vm cuts`."""

from __future__ import annotations

import os

import pytest

from inception import Engine, VolumeConfig

from .conftest import make

pytestmark = pytest.mark.needs("root")


def test_the_first_command_after_a_reboot_clears_what_was_half_done_and_verify_is_clean(engine: Engine):
    store = engine.store
    kept = make(engine, "true")
    image = engine.images.get("busybox")
    store.snapshots.prepare("build-cut", image_id=image.id)
    store.snapshots.prepare("build-lost", image_id=image.id)
    os.rename(store.snapshots.path("build-lost"), f"{engine.root}/snapshots/a-stray")
    os.mkdir(f"{engine.root}/layers/4711")
    os.mkdir(f"{engine.root}/tmp/half")
    os.unlink(f"{engine.run_root}/boot-id")
    with Engine(engine.root, engine.run_root) as other:
        assert other.images.verify().problems == []
        assert other.store.snapshots.list() == [kept.id]
        assert set(os.listdir(f"{engine.root}/snapshots")) == {kept.id}
        assert os.listdir(f"{engine.root}/tmp") == [] and not os.path.exists(f"{engine.root}/layers/4711")


def test_what_somebody_was_told_of_is_on_the_disk(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a power cut could take back the row of a volume whose data are there, or the name of a pulled image."""
    synced: list[int] = []
    monkeypatch.setattr(type(engine.database), "sync", lambda database: synced.append(1))
    container = make(engine, "true")
    for work in (
        lambda: make(engine, "true"),
        lambda: engine.volumes.create(VolumeConfig(name="kept")),
        lambda: engine.images.tag("busybox", "another:name"),
        lambda: container.commit(),
        lambda: engine.images.remove("another:name"),
        lambda: engine.volumes.get("kept").remove(),
    ):
        synced.clear()
        work()
        assert synced
    synced.clear()
    make(engine, "true", auto_remove=True)
    assert not synced, "nobody looks for a container that is removed when it ends"
