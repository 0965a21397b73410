"""Whole builds that are known: found when nothing changed, and never when something did."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.build import BuildConfig, build
from inception.build.cache import BuildCache
from inception.engine import Engine

from .conftest import Builder

pytestmark = pytest.mark.needs("root")

TEXT = "FROM scratch AS one\nCOPY d /d\nFROM scratch\nARG X\nCOPY --from=one /d /e\nCOPY top /\n"
#: Older than the kernel's clock can blur.
_SETTLED_S = 0.06


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for every build that went the long way."""
    import inception.build.execute as execute

    found: list[str] = []
    whole = execute.make

    def make(*given: object) -> object:
        found.append("planned")
        return whole(*given)

    monkeypatch.setattr(execute, "make", make)
    return found


@pytest.fixture
def built(builder: Builder) -> Builder:
    builder.write("d/a", "a")
    builder.write("d/sub/b", "b")
    builder.write("top", "top")
    builder.write("Dockerfile", TEXT)
    builder.write(".dockerignore", "**/ignored\n")
    time.sleep(_SETTLED_S)
    builder.build()
    return builder


def test_the_same_again_is_not_planned_and_told_as_cached(built: Builder, planned: list[str]):
    titles = {event.name for event in built.events if event.kind != "plan"}
    before = built.document()
    result = built.build(tags=["other"])
    assert planned == []
    assert built.cached() == [True, True, True]
    assert {event.name for event in built.events} == titles
    assert (result.steps, result.cached_steps) == (3, 3)
    assert built.document("other") == before


CHANGES: dict[str, Callable[[Builder], object]] = {
    "content": lambda built: built.write("d/a", "A"),
    "a file below": lambda built: built.write("d/sub/b", "B"),
    "a new file": lambda built: built.write("d/sub/c", ""),
    "a new folder": lambda built: (built.context / "d/new").mkdir(),
    "a file less": lambda built: (built.context / "d/a").unlink(),
    "a mode": lambda built: (built.context / "d/a").chmod(0o600),
    "a folder's mode": lambda built: (built.context / "d").chmod(0o700),
    "a link instead": lambda built: ((built.context / "d/a").unlink(), os.symlink("x", built.context / "d/a")),
    "the Dockerfile": lambda built: built.write("Dockerfile", TEXT + "LABEL a=b\n"),
    "the ignore rules": lambda built: built.write(".dockerignore", "d/sub\n"),
    "the Dockerfile's own rules": lambda built: built.write("Dockerfile.dockerignore", "d/sub\n"),
    "a file of the same size and time": lambda built: same_times(built.context / "d/a", "b"),
}


def same_times(path: os.PathLike[str], text: str) -> None:
    before = os.stat(path)
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_noticed(what: str, built: Builder, planned: list[str]):
    CHANGES[what](built)
    built.build()
    assert planned == ["planned"]
    built.build(no_cache=True, tags=["whole"])  # what a build without a cache comes to
    assert built.tree() == built.tree(image="whole")
    for line in built.tree():
        if line.startswith("-"):
            path = line.split(" ", 2)[2]
            assert built.read(path) == built.read(path, "whole")


@pytest.mark.parametrize(
    "config",
    [
        {"build_args": {"X": "1"}},
        {"labels": {"a": "b"}},
        {"target": "one"},
        {"network": "none"},
        {"no_cache": True},
        {"pull": True},
    ],
)
def test_whatever_is_asked_otherwise_is_another_build(config: dict[str, object], built: Builder, planned: list[str]):
    built.build(**config)
    assert planned == ["planned"]


def test_what_was_ignored_or_never_looked_into_does_not_count(built: Builder, planned: list[str]):
    built.write("elsewhere/file")  # a folder more in the context's own
    time.sleep(_SETTLED_S)
    built.build()
    built.write("elsewhere/file", "other")
    built.build()
    assert planned == ["planned"]


def test_another_base_under_the_same_name_is_noticed(built: Builder, planned: list[str]):
    text = "FROM base\nCOPY top /t\n"
    built.build("FROM scratch\nCOPY d /d\n", tags=["base"])
    time.sleep(_SETTLED_S)
    built.build(text)
    planned.clear()
    built.build(text)
    assert planned == ["planned"]  # the Dockerfile was just written again
    built.build("FROM scratch\nCOPY top /d\n", tags=["base"])
    built.build(text)
    assert built.read("d") == "top"


@pytest.fixture
def recalled(built: Builder, planned: list[str]) -> Builder:
    """One whose next build wants nothing of the database."""
    text = (built.context / "Dockerfile").read_text()
    built.write("Dockerfile", text.replace("FROM scratch\n", "FROM below\n"))
    built.build("FROM scratch\nCOPY d /d\n", tags=["below"])
    built.write("Dockerfile", text.replace("FROM scratch\n", "FROM below\n"))
    time.sleep(_SETTLED_S)
    for _ in range(3):
        built.build()
    planned.clear()
    return built


def test_without_a_commit_since_the_database_stays_closed(recalled: Builder, planned: list[str]):
    with Engine(recalled.engine.root, recalled.engine.run_root) as engine:
        again = build(engine, BuildConfig(context=str(recalled.context), tags=["result"]))
        assert planned == [] and "database" not in engine.__dict__
        assert again.image_id == recalled.engine.images.get("result").id


def test_a_name_that_was_given_to_another_image_is_given_back(recalled: Builder, planned: list[str]):
    image_id = recalled.engine.images.get("result").id
    recalled.engine.images.tag("below", "result")
    recalled.build()
    assert recalled.engine.images.get("result").id == image_id
    recalled.build(tags=["result", "more"])
    assert recalled.engine.images.get("more").id == image_id
    assert planned == []


def test_a_base_that_has_changed_hands_is_noticed(recalled: Builder, planned: list[str]):
    recalled.engine.images.tag("result", "below")
    recalled.build()
    assert planned == ["planned"]
    assert recalled.build(no_cache=True, tags=["whole"]).image_id != ""
    assert recalled.tree() == recalled.tree(image="whole")


def test_a_pruned_cache_or_a_removed_image_is_made_again(built: Builder, planned: list[str]):
    built.engine.images.remove("result")
    built.build()
    assert planned == ["planned"]
    BuildCache(built.engine.store).prune()
    built.build()
    assert built.cached() == [False, False, False]


def test_a_file_that_was_written_just_before_is_not_trusted(built: Builder, planned: list[str]):
    built.write("d/a", "1")
    built.build()
    same_times(built.context / "d/a", "2")
    built.build()
    assert built.read("e/a") == "2"
    assert planned == ["planned", "planned"]


def test_after_an_hour_the_long_way_is_gone_again(built: Builder, planned: list[str]):
    for path in (Path(built.engine.root) / "build-cache/whole").iterdir():
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    built.build()
    assert planned == ["planned"]
    assert built.cached() == [True, True, True]


def test_a_download_is_asked_for_each_time(builder: Builder, planned: list[str]):
    for _ in range(2):
        with pytest.raises(Exception, match="x"):
            builder.build("FROM scratch\nADD http://127.0.0.1:9/x /x\n")
    assert planned == ["planned", "planned"]
