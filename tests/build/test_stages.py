"""Stages side by side, and what a failure in one means for the others. Commands are played by functions."""

from __future__ import annotations

import threading

import pytest

from inception.build import BuildFailed, steps
from inception.build.source import CommandFailed
from inception.errors import Unavailable

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def commands(monkeypatch):
    """`commands[text]` is called in place of the command *text*; what was run is in `commands.ran`."""

    class Commands(dict):
        ran: list[str] = []

    found = Commands()
    found.ran = []

    def run(build, step, snapshot_id, stack, on_output):
        text = step.args[-1]
        found.ran.append(text)
        found[text](on_output)
        with build.store.snapshots.open(snapshot_id, read_only=False) as root:
            root.write_bytes(f"/{text}", b"")

    monkeypatch.setattr(steps, "run", run)
    return found


def nothing(_on_output) -> None:
    pass


def test_stages_that_do_not_need_each_other_run_at_the_same_time(builder, commands):
    meeting = threading.Barrier(2, timeout=20)
    commands["one"] = commands["two"] = lambda _on_output: meeting.wait() and None
    builder.build(
        "FROM scratch AS a\nRUN one\nFROM scratch AS b\nRUN two\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    )
    assert [line.split(" ")[2] for line in builder.tree()] == ["one", "two"]


def test_a_stage_starts_before_what_it_copies_from_has_ended(builder, commands):
    meeting = threading.Barrier(2, timeout=20)
    commands["slow"] = commands["early"] = lambda _on_output: meeting.wait() and None
    builder.build("FROM scratch AS a\nRUN slow\nFROM scratch\nRUN early\nCOPY --from=a /slow /\n")
    assert [line.split(" ")[2] for line in builder.tree()] == ["early", "slow"]


def test_a_failure_stops_the_other_stages_and_is_the_one_that_is_told(builder, commands):
    failed = threading.Event()

    def fail(_on_output) -> None:
        failed.set()
        raise CommandFailed(["/bin/sh", "-c", "fail"], 3, b"why\n")

    commands["fail"] = fail
    commands["other"] = lambda _on_output: failed.wait(20) and None
    commands["never"] = nothing
    with pytest.raises(BuildFailed) as caught:
        builder.build(
            "FROM scratch AS a\nRUN fail\nFROM scratch AS b\nRUN other\nRUN other\nRUN never\nFROM b\nCOPY --from=a / /\n"
        )
    assert str(caught.value) == "Dockerfile:2: RUN: The command '/bin/sh -c fail' returned a non-zero code: 3"
    assert (caught.value.exit_code, caught.value.output) == (3, b"why\n")
    assert "never" not in commands.ran
    assert ">>> RUN fail" in caught.value.excerpt()


def test_steps_before_a_failure_are_cached_and_those_after_it_were_never_run(builder, commands):
    broken = [True]

    def sometimes(_on_output) -> None:
        if broken[0]:
            raise CommandFailed(["x"], 1, b"")

    commands.update({"first": nothing, "sometimes": sometimes, "last": nothing})
    text = "FROM scratch\nRUN first\nRUN sometimes\nRUN last\n"
    with pytest.raises(BuildFailed):
        builder.build(text)
    broken[0] = False
    builder.build(text)
    assert commands.ran == ["first", "sometimes", "sometimes", "last"]
    builder.build(text)
    assert builder.cached() == [True, True, True]


def test_every_kind_of_failure_names_the_step(builder, commands):
    def full(_on_output) -> None:
        raise Unavailable("write /x: No space left on device", "free some disk space")

    def kernel(_on_output) -> None:
        raise OSError(5, "Input/output error", "/x")

    commands.update({"full": full, "kernel": kernel})
    with pytest.raises(BuildFailed, match="Dockerfile:2: RUN: write /x: No space left on device") as caught:
        builder.build("FROM scratch\nRUN full\n")
    assert caught.value.hint == "free some disk space"
    with pytest.raises(BuildFailed, match=r"Dockerfile:2: RUN: .*Input/output error"):
        builder.build("FROM scratch\nRUN kernel\n")


def test_what_a_killed_build_left_is_removed_by_the_next(builder, commands):
    builder.engine.store.snapshots.prepare("build-4194304-1-abcdef")
    builder.write("a")
    builder.build("FROM scratch\nCOPY a /a\n")
    assert builder.engine.store.snapshots.list() == []


def test_the_triggers_of_a_base_run_in_the_build_that_uses_it(builder, commands):
    commands["compile"] = nothing
    builder.write("a", "x")
    builder.build(
        "FROM scratch\nONBUILD COPY a /app/\nONBUILD RUN compile\nONBUILD COPY --from=tools /tool /\n", tags=["parent"]
    )
    assert commands.ran == []
    commands["tool"] = nothing
    builder.build("FROM scratch AS tools\nRUN tool\nFROM parent\nLABEL mine=1\n")
    assert [line.split(" ")[2] for line in builder.tree()] == ["app/", "app/a", "compile", "tool"]
    assert builder.document().config.on_build == []
