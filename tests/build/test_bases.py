"""Base images: several builds that miss the same one."""

from __future__ import annotations

import threading

import pytest

from inception.build import BuildConfig, build
from inception.engine.images import Images

pytestmark = pytest.mark.needs("root", "busybox")


def test_builds_that_miss_the_same_base_at_once_fetch_it_once(builder, monkeypatch):
    fetched: list[str] = []

    def fetch(self: Images, reference: str, *_rest: object) -> object:
        fetched.append(reference)
        return self.bootstrap(reference)

    monkeypatch.setattr(Images, "_fetch", fetch)
    builder.write("Dockerfile", "FROM busybox:latest\nLABEL a=1\n")
    configs = [BuildConfig(context=str(builder.context), tags=[f"r{number}"]) for number in range(4)]
    threads = [threading.Thread(target=build, args=(builder.engine, config)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == ["busybox:latest"]
    assert len({builder.engine.images.get(f"r{number}").id for number in range(4)}) == 1


def test_a_base_that_is_nowhere_is_named(builder):
    from inception.errors import InceptionError

    with pytest.raises(InceptionError, match="no-such-image-anywhere"):
        builder.build("FROM 127.0.0.1:9/no-such-image-anywhere\n")
