"""`python -m tests.vm`: boots the test machine and runs something in it. `make test-vm` runs all that it is for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.vm.machine import Machine, MachineError
from tests.vm.root import PROJECT

#: What pure cgroup v2 and full capabilities change most, within the time of an emulated processor.
SELECTION = [
    "tests/kernel",
    "tests/oci",
    # Hundreds of commands each, which show the same out here.
    "--ignore=tests/oci/test_faults.py",
    "--ignore=tests/oci/test_many.py",
]
SYSTEMD = ["tests/oci/test_systemd.py"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="pytest inside; its arguments follow, by default those of `all`")
    run.add_argument("--junit", type=Path, help="write the results as JUnit XML to this file out here")
    command = verbs.add_parser("exec", help="a command inside")
    for verb in (run, command):
        verb.add_argument("--systemd", action="store_true", help="boot systemd instead of a plain init")
        verb.add_argument("--timeout", type=float, default=3600, metavar="SECONDS")
        verb.add_argument("words", nargs=argparse.REMAINDER)
    cuts = verbs.add_parser("cuts", help="power cuts during pull, load, commit, build and rmi")
    cuts.add_argument("--count", type=int, default=200, help="how many disks that a cut has left are looked at")
    cuts.add_argument("--seed", type=int, help="the same kinds of work and moments again")
    cuts.add_argument("--keep", type=Path, help="a folder for the disks that were not well")
    verbs.add_parser("all", help="what `make test-vm` runs")
    given = parser.parse_args()
    try:
        if given.verb == "cuts":
            return cut(given.count, given.seed, given.keep)
        if given.verb == "all":
            codes = [run_pytest(False, SELECTION, None, 3600), run_pytest(True, SYSTEMD, None, 3600), cut(30, None, None)]
            return max(codes)
        words = given.words[1:] if given.words[:1] == ["--"] else given.words
        if given.verb == "run":
            return run_pytest(given.systemd, words or SELECTION, given.junit, given.timeout)
        with Machine(systemd=given.systemd) as machine:
            return machine.run(words, timeout_s=given.timeout, on_output=show).code
    except (MachineError, RuntimeError) as error:
        print(f"test machine: {error}", file=sys.stderr)
        return 1


def run_pytest(systemd: bool, words: list[str], junit: Path | None, timeout_s: float) -> int:
    results = "/tmp/junit.xml"
    argv = [f"{PROJECT}/.venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={results}", *words]
    with Machine(systemd=systemd) as machine:
        print(f"booted in {machine.boot_s:.1f} s", file=sys.stderr)
        done = machine.run(argv, timeout_s=timeout_s, on_output=show)
        if junit:
            junit.write_text(machine.run(["cat", results]).output)
        return done.code


def cut(count: int, seed: int | None, keep: Path | None) -> int:
    from tests.vm.cuts import cut_power

    return 1 if cut_power(count, seed=seed, keep=keep).failures else 0


def show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
