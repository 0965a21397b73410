"""Cuts a machine's power in the middle of pull, load, commit, build and rmi, and looks at what is left.

    prepare   a machine with a registry, archives and contexts in its memory, and a store on a disk; saved
    round     the saved machine goes on with the disk: the check; then a command is started and QEMU killed somewhere in it
    states    the disk as it is then; and from the log of writes others that a cut at another moment of the same command, with a
              disk cache that forgets what was not flushed, would have left
    check     each state in a fresh machine: `store verify` clean, every image that had a name whole and running

The next round goes on with one of these states, so that damage that nobody notices at once has time to show.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.vm.cut_jobs import IMAGES, PRELOAD, REGISTRY
from tests.vm.disklog import read_log, replay
from tests.vm.machine import Machine, MachineError, Saved
from tests.vm.root import make_disk

JOBS = "tests.vm.cut_jobs"
KINDS = ("pull", "load", "commit", "build", "rmi")
_FULL = 6  # names, from which on only removal is tried


class State:
    """A disk that a cut has left, and what must be on it."""

    def __init__(self, image: Path, names: dict[str, str], free: str, story: str) -> None:
        self.image, self.names, self.free, self.story = image, names, free, story


class Cuts:
    """All rounds; *report* gets a line for each state that was checked."""

    def __init__(self, folder: Path, saved: Saved, base: Path, seed: int, states: int, keep: Path | None) -> None:
        self.folder, self.saved, self.states, self.keep = folder, saved, states, keep
        self.choice = random.Random(seed)
        self.duration = dict.fromkeys(KINDS, 2.5)
        self.kills, self.checked, self.lost_writes = 0, 0, 0
        self.kinds: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.failures: list[str] = []
        self.base = base
        self.pending = [State(base, {}, "", "the first state")]
        self.round = 0

    def run(self, count: int) -> None:
        """Until *count* states that cuts left have been checked."""
        while self.checked < count:
            self.round += 1
            self._round()

    def _round(self) -> None:
        with Machine(saved=self.saved) as machine:
            entropy, now = os.urandom(64).hex(), time.time()
            _must(machine.call(f"{JOBS}:resume", boot_id=str(uuid.uuid4()), entropy=entropy, now=now))
            survivors = [(state, found) for state in self.pending if (found := self._check(machine, state)) is not None]
            if not survivors:
                self.pending = [State(self.base, {}, "", "the first state again")]
                return
            # The last one is mounted still, and the work goes on with it.
            state, names = survivors[-1]
            if survivors[-1][0] is not self.pending[-1]:
                self.pending = [State(state.image, state.names, state.free, state.story)]
                return
            self._cut(machine, names)

    def _check(self, machine: Machine, state: State) -> dict[str, str] | None:
        """The names that are there, or None when something is wrong."""
        last = state is self.pending[-1]
        name = "store" if last else f"s{self.pending.index(state)}"
        image = self.folder / f"{name}.img"
        _copy(state.image, image)
        log = self.folder / "log"
        if last:
            _copy(state.image, self.folder / "before.img")
            with open(log, "wb") as file:
                file.truncate(1 << 30)
        machine.attach(image, log if last else None)
        found = machine.call(
            f"{JOBS}:check", disk=name, names=state.names, free=state.free, seed=self.choice.randrange(1 << 30), timeout_s=180
        )
        if state.image is not self.base:
            self.checked += 1
        try:
            answer: dict[str, Any] = json.loads(found.output.splitlines()[-1])
        except (ValueError, IndexError):
            answer = {"wrong": [f"check: {found}"], "repaired": [], "names": {}}
        for line in answer["repaired"]:
            self.repaired[line] += 1
        wrong = answer["wrong"]
        if wrong:
            self.failures += [f"{state.story}: {line}" for line in wrong]
            if self.keep:
                self.keep.mkdir(exist_ok=True)
                shutil.copy(state.image, self.keep / f"{self.round}-{name}.img")
        told = "; ".join([*wrong, *(f"repaired: {line}" for line in answer["repaired"])]) or "whole"
        print(f"{self.checked:4} {state.story}: {told}", flush=True)
        if not last:
            _must(machine.call(f"{JOBS}:unmount"))
        return None if wrong else answer["names"]

    def _cut(self, machine: Machine, names: dict[str, str]) -> None:
        kind, name, number = self._choose(names)
        before = len(read_log(self.folder / "log"))
        # A cut during the work leaves what had reached the disk by then, so that work which ends has all of its cuts in its
        # log. A third is killed all the same: what the machine was about to write is then lost as in life.
        killed = self.choice.random() < 1 / 3
        delay_s = self.choice.uniform(0, self.duration[kind]) if killed else 120
        started = time.monotonic()
        machine.start_call(f"{JOBS}:work", kind=kind, name=name, number=number)
        try:
            done = machine.receive(timeout_s=delay_s)
            took = time.monotonic() - started
            self.duration[kind] = 0.5 * self.duration[kind] + 0.5 * took
            ended = f"ended with {done.code} after {took:.1f} s" + (f" ({done.output.strip()[-300:]})" if done.code else "")
        except MachineError:
            done = None
            ended = f"cut after {delay_s:.1f} s"
        machine.cut()
        self.kills += 1
        self.kinds[kind] += 1
        story = f"{kind} {name} {ended}"
        entries = read_log(self.folder / "log")
        # What the check itself wrote is over; a cut can be anywhere in the work.
        during = range(min(before, len(entries)), len(entries))
        moments = sorted(self.choice.sample(during, min(self.states - 1, len(during))))
        self.pending = []
        for index, moment in enumerate([*moments, len(entries)]):
            image = self.folder / f"cut{self.round % 2}-{index}.img"
            _copy(self.folder / "before.img", image)
            lost = replay(image, self.folder / "log", entries, moment, self.choice)
            self.lost_writes += lost
            free = name
            # Whoever has been told that it is done relies on it: then the name is as checked as any other.
            must = dict(names)
            told = f"{story}; {moment} of {len(entries)} writes, {lost} lost"
            if done is not None and not done.code and moment == len(entries):
                told += ", after its end"
                free = "" if kind != "rmi" else name
                if kind != "rmi":
                    must[name] = ""
                else:
                    must.pop(name)
            self.pending.append(State(image, must, free, told))

    def _choose(self, names: dict[str, str]) -> tuple[str, str, int]:
        """What to do next: a kind of work, the name that it is about, a number of its own."""
        number = self.choice.randrange(1 << 30)
        removable = sorted(name for name in names if name.partition(":")[0] not in ("busybox", "kept"))
        kind = self.choice.choice(KINDS if len(names) < _FULL else ("rmi",))
        if kind == "rmi" and removable:
            return kind, self.choice.choice(removable), number
        one = self.choice.randrange(IMAGES)
        if kind == "pull":
            return kind, f"{REGISTRY}/app{one}:latest", number
        if kind == "load" or kind == "rmi":
            return "load", f"loaded{one}:latest", number
        return kind, f"{kind}{self.choice.randrange(3)}:latest", number

    def summary(self) -> str:
        lines = [
            f"{self.checked} states checked after {self.kills} kills "
            f"({', '.join(f'{count} in {kind}' for kind, count in sorted(self.kinds.items()))}); "
            f"{self.lost_writes} unflushed writes lost; {len(self.failures)} failures",
        ]
        lines += [f"repaired {count} times: {line}" for line, count in self.repaired.most_common()]
        return "\n".join([*lines, *self.failures])


def cut_power(count: int, *, seed: int | None = None, states: int = 6, keep: Path | None = None) -> Cuts:
    """Checks *count* states. *states* are looked at for each kill; images of failures are kept in *keep*."""
    seed = random.randrange(1 << 30) if seed is None else seed
    print(f"seed {seed}", file=sys.stderr)
    with TemporaryDirectory(prefix="inception-cuts-") as name, Machine(volatile=True, memory_mb=1536) as machine:
        folder = Path(name)
        print(f"booted in {machine.boot_s:.1f} s", file=sys.stderr)
        base = folder / "store.img"
        make_disk(base, None, megabytes=768)
        machine.attach(base)
        machine.preload(*PRELOAD)
        _must(machine.call(f"{JOBS}:prepare"))
        machine.monitor("device_del", id="store")
        time.sleep(2)
        saved = machine.save()
        base = base.rename(folder / "base.img")
        print("prepared", file=sys.stderr)
        cuts = Cuts(folder, saved, base, seed, states, keep)
        try:
            cuts.run(count)
        finally:
            print(cuts.summary(), flush=True)
        return cuts


def _must(result: Any) -> None:
    if result.code:
        raise MachineError(str(result))


def _copy(source: Path, target: Path) -> None:
    """A copy that has the same holes."""
    target.unlink(missing_ok=True)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        for start, end in _extents(reader.fileno(), size):
            os.lseek(writer.fileno(), start, os.SEEK_SET)
            os.lseek(reader.fileno(), start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(writer.fileno(), reader.fileno(), None, min(end - start, 1 << 24))


def _extents(fd: int, size: int) -> Iterable[tuple[int, int]]:
    start = 0
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
        start = end
