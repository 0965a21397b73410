"""A folder a scenario: `compose.yaml`, files beside it, and `steps`: commands and what must be seen after each.

    $ compose up -d --wait            a command for the shell; `compose` and `inception` are ours, on a root of the scenario's
    db  running                       what it must print on stdout, line by line
    [0-9a-f]{12}  .* (re)             a line as a regular expression
    ...                               any number of lines
    [exit 1]                          the exit code, when it is not 0

Blank lines and lines that begin with `#` are for the reader. Each command runs in a copy of the folder, in one shell each.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.engine import Engine
from inception.engine.endpoints import take_down

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/steps"))
TIMEOUT_S = 90

Step = tuple[int, str, list[str], int]


def parse_steps(text: str) -> list[Step]:
    """(line number, command, expected lines, exit code) of each step."""
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("$ "):
            steps.append((number, line[2:], [], 0))
        elif match := re.fullmatch(r"\[exit (\d+)\]", line):
            steps[-1] = (*steps[-1][:3], int(match[1]))
        elif line.strip() and not line.startswith("#"):
            steps[-1][2].append(line)
    return steps


def fits(expected: list[str], found: list[str]) -> bool:
    """Whether the printed lines are the expected ones."""
    if not expected:
        return not found
    head, rest = expected[0], expected[1:]
    if head == "...":
        return any(fits(rest, found[skip:]) for skip in range(len(found) + 1))
    if not found:
        return False
    if head.endswith(" (re)"):
        return re.fullmatch(head[:-5], found[0]) is not None and fits(rest, found[1:])
    return head.rstrip() == found[0].rstrip() and fits(rest, found[1:])


class Machine:
    """An engine in a folder of its own, with busybox in it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        command = f"{sys.executable} -I -m inception.cli --root {folder}/root --run-root {folder}/run"
        for name, words in (("inception", command), ("compose", f"{command} compose")):
            (self.bin / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (self.bin / name).chmod(0o755)

    def shell(self, command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={"PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("compose")
    made = Machine(folder)
    done = made.shell("inception image bootstrap -q busybox", folder)
    assert done.returncode == 0, done.stderr
    yield made
    made.shell("inception rm -f -v $(inception ps -aq)", folder)
    made.shell("inception system prune -f --all --volumes", folder)
    with Engine(f"{folder}/root", f"{folder}/run") as engine:
        take_down(engine, engine.networks.get("bridge"))  # builds use it, and like Docker's it stays


@pytest.mark.needs("root", "nft")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(machine: Machine, scenario: str, tmp_path: Path) -> None:
    folder = tmp_path / scenario
    shutil.copytree(HERE / scenario, folder)
    try:
        for number, command, expected, exit_code in parse_steps((folder / "steps").read_text()):
            done = machine.shell(command, folder)
            place = f"{scenario}/steps:{number}: {command}"
            assert "Traceback" not in done.stderr and "internal error" not in done.stderr, f"{place}\n{done.stderr}"
            assert done.returncode == exit_code, f"{place}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
            assert fits(expected, done.stdout.splitlines()), f"{place}\n{done.stdout}\nstderr:\n{done.stderr}"
    finally:
        machine.shell(f"compose -p {scenario} --profile '*' down -v --remove-orphans -t 0", folder)
        left = machine.shell(
            f"inception ps -a --filter label=com.docker.compose.project={scenario} --format '{{{{.Names}}}}'", folder
        )
        assert left.stdout == "", left.stdout


def test_the_language_of_steps() -> None:
    steps = parse_steps("# a comment\n$ one\nline\n\n$ two\na.* (re)\n...\nz\n[exit 3]\n")
    assert steps == [(2, "one", ["line"], 0), (5, "two", ["a.* (re)", "...", "z"], 3)]
    assert fits(steps[1][2], ["abc", "x", "y", "z"])
    assert not fits(steps[1][2], ["abc", "x", "y"])
    assert not fits([], ["something"])
