"""Several builds in one store at the same time, and what comes in between: kills, interrupts, prunes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from inception.build import BuildConfig, build
from inception.build.cache import BuildCache
from inception.engine import Engine

pytestmark = pytest.mark.needs("root", "busybox")

# Steps tell of themselves in a cache mount, which is no part of any layer.
NOTE = "RUN --mount=type=cache,id=notes,target=/notes"


@pytest.fixture
def shared(busybox, tmp_path):
    """What starts builds as processes of their own in the store of *busybox*, each with a context of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, dockerfile: str) -> subprocess.Popen[bytes]:
        folder = tmp_path / f"context-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        base = [sys.executable, "-m", "inception.cli", "--root", busybox.engine.root, "--run-root", busybox.engine.run_root]
        process = subprocess.Popen(
            [*base, "build", "--progress=plain", "-t", name, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def notes(builder) -> list[str]:
    """What the steps have told so far, in order."""
    builder.build(f"FROM busybox\n{NOTE} cat /notes/all >/all || true\n", no_cache=True, tags=["notes"])
    return builder.read("all", image="notes").split()


def finish(process: subprocess.Popen[bytes]) -> str:
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, said
    return said


def await_note(builder, note: str) -> None:
    folder = f"{builder.engine.root}/build-cache/mounts"
    for _ in range(1200):
        for home, _folders, files in os.walk(folder):
            if "all" in files:
                with open(f"{home}/all") as file:
                    if note in file.read().split():
                        return
        time.sleep(0.05)
    pytest.fail(f"no step has said {note}")


def test_a_step_that_several_builds_want_is_made_once(busybox, shared):
    common = f"FROM busybox\n{NOTE} echo common >>/notes/all; sleep 1; head -c 8 /dev/urandom >/random\n"
    builds = [shared(f"b{number}", f"{common}{NOTE} echo own{number} >>/notes/all\n") for number in range(3)]
    for process in builds:
        finish(process)
    assert sorted(notes(busybox)) == ["common", "own0", "own1", "own2"]
    layers = {busybox.engine.images.get(f"b{number}").document.rootfs.diff_ids[1] for number in range(3)}
    assert len(layers) == 1


def test_nobody_waits_for_a_step_that_he_does_not_want(busybox, shared):
    slow = shared("slow", f"FROM busybox\n{NOTE} echo slow >>/notes/all; while [ ! -e /notes/go ]; do sleep 0.1; done\n")
    await_note(busybox, "slow")
    for number in range(3):
        finish(shared(f"quick{number}", f"FROM busybox\nRUN echo {number} >/x\n"))
    assert slow.poll() is None
    busybox.build(f"FROM busybox\n{NOTE} touch /notes/go\n", tags=["go"])
    finish(slow)


def test_a_killed_build_leaves_its_step_to_the_one_that_waits(busybox, shared):
    text = f"FROM busybox\n{NOTE} echo turn >>/notes/all; [ -e /notes/second ] || {{ touch /notes/second; sleep 600; }}\n"
    first = shared("first", text)
    await_note(busybox, "turn")
    second = shared("second", text)
    time.sleep(1)
    assert second.poll() is None and notes_so_far(busybox) == ["turn"]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    finish(second)
    assert notes_so_far(busybox) == ["turn", "turn"]
    finish(shared("after", "FROM busybox\nRUN true\n"))  # takes away what the killed one left; the fixture looks
    assert busybox.engine.database.rows("SELECT id FROM containers") == []


def notes_so_far(builder) -> list[str]:
    folder = f"{builder.engine.root}/build-cache/mounts"
    found = [f"{home}/all" for home, _folders, files in os.walk(folder) if "all" in files]
    with open(found[0]) as file:
        return file.read().split()


def test_a_failing_step_fails_for_each_that_wants_it(shared):
    builds = [shared(f"f{number}", "FROM busybox\nRUN sleep 0.5; echo why >&2; exit 3\n") for number in range(2)]
    for process in builds:
        said = process.communicate(timeout=60)[0].decode()
        assert process.returncode == 1 and "why" in said


def test_an_interrupt_ends_all_stages_that_run_side_by_side(busybox, shared):
    stages = "".join(f"FROM busybox AS s{n}\n{NOTE} echo s{n} >>/notes/all; sleep 600\n" for n in range(3))
    copies = "".join(f"COPY --from=s{n} /etc /{n}\n" for n in range(3))
    process = shared("many", f"{stages}FROM busybox\n{copies}")
    for number in range(3):
        await_note(busybox, f"s{number}")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - started < 30  # the steps had ten minutes to go
    assert busybox.engine.database.rows("SELECT id FROM containers") == []


def test_a_prune_in_the_middle_of_a_build_takes_nothing_from_it(busybox):
    over = threading.Event()
    freed: list[int] = []

    def prune() -> None:
        with Engine(busybox.engine.root, busybox.engine.run_root) as engine:
            while not over.is_set():
                freed.append(BuildCache(engine.store).prune())
                time.sleep(0.02)

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for number in range(4):
            steps = "".join(f"RUN echo {number}{step} >/f{step}; sleep 0.1\n" for step in range(4))
            text = f"FROM busybox AS one\n{steps}FROM busybox AS two\nRUN echo two{number} >/t; sleep 0.3\n"
            busybox.write("Dockerfile", f"{text}FROM busybox\nCOPY --from=one /f3 /\nCOPY --from=two /t /\n")
            build(busybox.engine, BuildConfig(context=str(busybox.context), tags=[f"pruned{number}"]))
            assert busybox.read("f3", image=f"pruned{number}") == f"{number}3\n"
            assert busybox.read("t", image=f"pruned{number}") == f"two{number}\n"
    finally:
        over.set()
        thread.join()
    assert freed
