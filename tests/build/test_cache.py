"""The layer cache: what is found again, what isn't, and that a hit is always right."""

from __future__ import annotations

import os

import pytest

from inception.build.cache import BuildCache

pytestmark = pytest.mark.needs("root")

TEXT = "FROM scratch\nCOPY a /a\nCOPY b /b\nLABEL x=1\n"


@pytest.fixture
def two(builder):
    builder.write("a", "a")
    builder.write("b", "b")
    return builder


def test_the_same_build_again_is_found_whole_and_gives_the_same_image(two):
    first = two.build(TEXT)
    again = two.build(TEXT)
    assert two.cached() == [True, True]
    assert (again.image_id, again.cached_steps) == (first.image_id, 2)


def test_a_changed_file_invalidates_from_its_step_on(two):
    two.build(TEXT)
    two.write("b", "B")
    two.build(TEXT)
    assert two.cached() == [True, False]
    two.write("a", "A")
    two.build(TEXT)
    assert two.cached() == [False, False]
    assert (two.read("a"), two.read("b")) == ("A", "B")


def test_a_touched_file_changes_nothing_but_mode_content_and_name_do(two):
    two.build(TEXT)
    os.utime(two.context / "a", ns=(1, 1))
    two.build(TEXT)
    assert two.cached() == [True, True]
    os.chmod(two.context / "a", 0o755)
    two.build(TEXT)
    assert two.cached() == [False, False]


def test_a_file_of_the_same_size_written_at_the_same_time_is_noticed(two):
    two.build(TEXT)
    before = os.stat(two.context / "a")
    two.write("a", "A")
    os.utime(two.context / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    two.build(TEXT)
    assert two.read("a") == "A"


def test_an_ignored_file_does_not_count(two):
    two.write("d/x", "1")
    two.write("d/log", "1")
    two.write(".dockerignore", "**/log\n")
    two.build("FROM scratch\nCOPY d /d\n")
    two.write("d/log", "2")
    two.build("FROM scratch\nCOPY d /d\n")
    assert two.cached() == [True]
    two.write("d/more", "")
    two.build("FROM scratch\nCOPY d /d\n")
    assert two.cached() == [False]


def test_no_cache_does_every_step_again_and_remembers_the_new_outcome(two):
    two.build(TEXT)
    two.build(TEXT, no_cache=True)
    assert two.cached() == [False, False]
    two.build(TEXT)
    assert two.cached() == [True, True]


def test_configuration_is_never_cached(two):
    ids = set()
    for line in ("", "HEALTHCHECK CMD a", "HEALTHCHECK CMD b", "ONBUILD COPY a /x", "ONBUILD COPY a /y", "LABEL a=b", "USER 1"):
        ids.add(two.build(f"FROM scratch\nCOPY a /a\n{line}\n").image_id)
    assert two.cached() == [True]
    assert len(ids) == 7


def test_another_base_never_shares_a_step_unless_its_files_are_the_same(two):
    two.build("FROM scratch\nCOPY a /one\n", tags=["one"])
    two.build("FROM scratch\nCOPY a /two\n", tags=["two"])
    two.build("FROM scratch\nCOPY a /one\nLABEL same=files\n", tags=["three"])
    two.build("FROM one\nCOPY b /b\n")
    two.build("FROM two\nCOPY b /b\n")
    assert two.cached() == [False]
    two.build("FROM three\nCOPY b /b\n")
    assert two.cached() == [True]


def test_a_stage_that_was_made_again_with_the_same_files_keeps_what_copies_from_it(two):
    text = "FROM scratch AS s\nCOPY a /a\nCOPY b /b\nFROM scratch\nCOPY --from=s /a /x\n"
    two.build(text)
    two.write("b", "changed")
    two.build(text)
    assert two.cached() == [True, False, True]
    two.build(text)
    assert two.cached() == [True, True, True]


def test_owners_count_between_stages(two):
    two.build("FROM scratch AS s\nCOPY --chown=5 a /a\nFROM scratch\nCOPY --from=s /a /x\n")
    assert two.stat("x").st_uid == 5
    two.build("FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY --from=s /a /x\n")
    assert two.stat("x").st_uid == 0


def test_cached_layers_outlive_their_image_until_they_are_pruned(two):
    two.build(TEXT)
    two.engine.images.remove("result")
    two.engine.store.collect()
    two.build(TEXT)
    assert two.cached() == [True, True]
    two.engine.images.remove("result")
    assert BuildCache(two.engine.store).prune() > 0
    two.build(TEXT)
    assert two.cached() == [False, False]


def test_what_was_not_used_for_a_month_is_forgotten(two):
    two.build(TEXT)
    two.engine.store.db.execute("UPDATE build_cache SET used_at = used_at - 40 * 86400 WHERE layer_id = 2")
    assert BuildCache(two.engine.store).expire()
    two.build(TEXT)
    assert two.cached() == [True, False]


def test_source_date_epoch_makes_builds_the_same_whenever_they_run(two):
    two.write("d/x")
    text = "FROM scratch\nWORKDIR /w\nCOPY d /deep/new/\nCOPY <<EOF /h\nx\nEOF\n"
    first = two.build(text, build_args={"SOURCE_DATE_EPOCH": "1600000000"})
    again = two.build(text, build_args={"SOURCE_DATE_EPOCH": "1600000000"}, no_cache=True)
    assert first.image_id == again.image_id
    assert two.document().created == "2020-09-13T12:26:40Z"
    assert two.stat("deep/new").st_mtime_ns == 1_600_000_000 * 10**9


def test_a_fixed_time_is_not_mixed_with_layers_of_another(two):
    two.write("d/x")
    text = "FROM scratch\nCOPY d /d/\n"
    two.build(text)
    late = two.build(text, build_args={"SOURCE_DATE_EPOCH": "1600000000"})
    assert two.cached() == [False]
    assert two.stat("d/x").st_mtime_ns == 1_600_000_000 * 10**9
    two.build(text, build_args={"SOURCE_DATE_EPOCH": "1600000001"})
    assert two.cached() == [False]
    assert two.build(text, build_args={"SOURCE_DATE_EPOCH": "1600000000"}).image_id == late.image_id
