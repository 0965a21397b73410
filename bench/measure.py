"""Timing of competitors in turn: one run of each, again and again, so that the machine's moods hit all alike."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection

from inception.linux import abi
from inception.linux.mount import mount, umount2
from inception.linux.namespaces import unshare


@dataclass
class Result:
    """One row: medians in *unit* by competitor; `reach` is the largest ratio ours/peer that we promise, if any."""

    name: str
    unit: str
    medians: dict[str, float] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    runs: int = 0
    peer: str = ""
    reach: float | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        if "inception" in self.medians and self.peer in self.medians and self.medians[self.peer]:
            return self.medians["inception"] / self.medians[self.peer]
        return None


def command(*words: str, env: dict[str, str] | None = None, check: bool = True, cwd: str | None = None) -> Callable[[], None]:
    """A competitor that runs *words* as a whole process, its output thrown away; fails loudly when they fail."""

    def run() -> None:
        with tempfile.TemporaryFile() as errors:  # no pipe: a container that goes on would hold it open
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                check=False,
            )
            if check and done.returncode != 0:
                errors.seek(0)
                text = errors.read().decode(errors="replace")
                raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {text[-500:]}")

    return run


class Apart:
    """A process in a mount namespace of its own that runs and times commands there.

    For OCI runtimes: an unproven one can unmount or chown what is the host's, and crun refuses a machine whose v2 hierarchy
    holds a controller beside v1, so here that hierarchy is out of sight. No wrapper command is timed.
    """

    def __init__(self) -> None:
        self._ask, asked = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._serve, args=(asked,), daemon=True)
        self._process.start()

    def command(self, *words: str, env: dict[str, str] | None = None) -> Callable[[], float]:
        def run() -> float:
            self._ask.send((words, env))
            elapsed_s, error = self._ask.recv()
            if error:
                raise RuntimeError(error)
            return float(elapsed_s)

        return run

    def close(self) -> None:
        self._ask.send(None)
        self._process.join(10)

    @staticmethod
    def _serve(asked: Connection) -> None:
        unshare(abi.CLONE_NEWNS)
        mount("none", "/", None, abi.MS_REC | abi.MS_PRIVATE)
        if os.path.ismount("/sys/fs/cgroup/unified"):
            umount2("/sys/fs/cgroup/unified", abi.MNT_DETACH)
        while (task := asked.recv()) is not None:
            words, env = task
            start = time.perf_counter()
            try:
                command(*words, env=env)()
                asked.send((time.perf_counter() - start, ""))
            except RuntimeError as error:
                asked.send((0.0, str(error)))


def measure(
    name: str,
    competitors: dict[str, Callable[[], object]],
    *,
    runs: int,
    peer: str,
    reach: float | None = None,
    before: dict[str, Callable[[], object]] | None = None,
    warm: int = 1,
) -> Result:
    """Milliseconds of each competitor, medians over *runs*. `before` is done ahead of each run and not timed."""
    result = Result(name=name, unit="ms", runs=runs, peer=peer, reach=reach)
    samples: dict[str, list[float]] = {who: [] for who in competitors}
    for turn in range(-warm, runs):
        for who, run in competitors.items():
            if who in result.missing:
                continue
            try:
                if before and who in before:
                    before[who]()
                start = time.perf_counter()
                elapsed_s = run()  # a competitor that runs elsewhere says itself how long it took
                if not isinstance(elapsed_s, float):
                    elapsed_s = time.perf_counter() - start
                if turn >= 0:
                    samples[who].append(elapsed_s * 1000)
            except (RuntimeError, OSError) as error:
                result.missing[who] = str(error)
    for who, values in samples.items():
        if values:
            result.medians[who] = statistics.median(values)
            result.spread[who] = (min(values), max(values))
    return result


def report(results: list[Result], path: str | None) -> None:
    """A table for people on stdout, and JSON in *path*."""
    columns = list(dict.fromkeys(who for result in results for who in [*result.medians, *result.missing]))
    rows = [["", *columns, "ratio", "promised"]]
    for result in results:
        cells = [f"{result.medians[who]:.1f}" if who in result.medians else "-" for who in columns]
        ratio = f"{result.ratio:.2f} x {result.peer}" if result.ratio is not None else ""
        promised = f"<= {result.reach:.2f}" if result.reach is not None else ""
        rows.append([f"{result.name} ({result.unit})", *cells, ratio, promised])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    for result in results:
        for who, why in result.missing.items():
            print(f"{result.name}: {who} left out: {why}", file=sys.stderr)
    if path:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            json.dump([{**asdict(result), "ratio": result.ratio} for result in results], file, indent=2)


def pss_kib(pids: list[int]) -> int:
    """Proportional set size of *pids*, in KiB. Source: proc(5), smaps_rollup."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def processes(matches: Callable[[list[str]], bool]) -> list[int]:
    """Pids whose command line *matches*."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if matches(words):
            found.append(int(pid))
    return found
