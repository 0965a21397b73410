"""What the build cache keeps, and what it lets go of."""

from __future__ import annotations

import io
import json

import pytest

from inception.build import cache as build_cache
from inception.build.cache import BuildCache
from inception.build.progress import Event, open_progress
from inception.build.pruning import parse_filters
from inception.errors import InvalidArgument

pytestmark = pytest.mark.needs("root")


def made(builder, *sizes: int) -> BuildCache:
    """Steps of these sizes, the first one used the longest time ago."""
    for number, size in enumerate(sizes):
        builder.write("f", chr(65 + number) * size)
        builder.build("FROM scratch\nCOPY f /\n", tags=[])
        age = 1000 - number
        builder.engine.database.execute(
            "UPDATE build_cache SET used_at = used_at - ? WHERE used_at > unixepoch() - 500", (age,)
        )
    for image in builder.engine.images.list(all=True):
        builder.engine.images.remove(image.id, force=True)
    return BuildCache(builder.engine.store)


def left(builder) -> int:
    return builder.engine.database.row("SELECT count(*) FROM build_cache")[0]


def test_a_size_keeps_what_was_used_last(builder):
    cache = made(builder, 5000, 3000, 1000)
    assert left(builder) == 3
    assert cache.prune(keep_bytes=4500) == 5000
    assert left(builder) == 2
    assert cache.prune() == 4000
    assert left(builder) == 0


def test_an_age_keeps_what_is_younger(builder):
    cache = made(builder, 10, 20)
    used = builder.engine.database.row("SELECT max(used_at) FROM build_cache")[0]
    assert cache.prune(unused_since=used) == 10
    assert left(builder) == 1


def test_builds_keep_the_cache_below_its_limit(builder, monkeypatch):
    made(builder, 5000, 3000)
    monkeypatch.setattr(build_cache, "_LIMIT_BYTES", 4000)
    builder.build("FROM scratch\nWORKDIR /x\n")
    assert left(builder) == 2


def test_cache_mounts_are_pruned_unless_they_are_in_use(busybox):
    busybox.build("FROM busybox\nRUN --mount=type=cache,target=/c echo 12345 > /c/f\n")
    cache = BuildCache(busybox.engine.store)
    assert cache.prune(unused_since=0) == 0
    assert cache.prune() >= 6
    busybox.build("FROM busybox\nRUN --mount=type=cache,target=/c test ! -e /c/f\n")


def test_raw_progress_is_a_line_of_json_for_everything():
    stream = io.StringIO()
    with open_progress("rawjson", stream) as shown:
        for event in (
            Event(kind="start", step=1, name="RUN x"),
            Event(kind="output", step=1, name="RUN x", data=b"hi\n"),
            Event(kind="cached", step=1, name="RUN x"),
            Event(kind="warning", name="w"),
        ):
            shown(event)
    start, output, end, warning = map(json.loads, stream.getvalue().splitlines())
    assert start["vertexes"][0]["digest"] == output["logs"][0]["vertex"] == end["vertexes"][0]["digest"]
    assert output["logs"][0]["data"] == "aGkK" and end["vertexes"][0]["cached"]
    assert "warnings" in warning


def test_at_most_so_much_stays_and_never_less_than_what_is_reserved(builder):
    cache = made(builder, 5000, 3000, 1000)
    assert cache.prune(max_bytes=9000) == 0
    assert cache.prune(max_bytes=2000, keep_bytes=4000) == 5000
    assert left(builder) == 2
    assert cache.prune(min_free_bytes=1) == 0
    assert cache.prune(min_free_bytes=1 << 60) == 4000


def test_filters_choose(busybox):
    busybox.build("FROM busybox\nRUN --mount=type=cache,id=kept,target=/c echo 12345 >/c/f\nRUN echo 1 >/x\n")
    cache = BuildCache(busybox.engine.store)
    ids = {entry.kind: entry for entry in cache.entries()}
    assert ids["regular"].shared
    assert cache.prune(wanted=parse_filters({"shared": ["false"], "type": ["regular"]}).wants) == 0
    assert left(busybox) == 1  # the step that changed nothing is nobody else's
    assert cache.prune(wanted=parse_filters({"description": ["kept"]}).wants) >= 6
    assert cache.prune(wanted=parse_filters({"id": ["nothing"]}).wants) == 0
    cache.prune(wanted=parse_filters({"id": [ids["regular"].keys[0][:10]]}).wants)
    assert left(busybox) == 0


@pytest.mark.parametrize("name, value", [("colour", "red"), ("type", "frontend"), ("shared", "perhaps"), ("until", "soon")])
def test_filters_that_are_not_known_are_named(name: str, value: str):
    with pytest.raises(InvalidArgument, match=name):
        parse_filters({name: [value]})
