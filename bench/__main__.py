"""`make bench`: ours beside whichever of crun, runc, podman and docker is installed, in turn in one run.

Everything happens in a folder of its own below /var/tmp, with another in memory for what belongs in /run, and is gone
afterwards, but for the results in bench/results/.
Arguments are names of cases; none means all but `infrastructure`, which builds images for minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

from bench.cases import CASES, DEFAULT_CASES, Peers
from bench.measure import report


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=15, help="timed runs of each competitor")
    parser.add_argument("--json", default="bench/results/latest.json", help="where the figures go")
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if os.geteuid() != 0:
        parser.error("must run as root, as the peers do")
    work = tempfile.mkdtemp(prefix="inception-bench-", dir="/var/tmp")
    memory = tempfile.mkdtemp(prefix="inception-bench-", dir=memory_folder())
    peers = Peers(work, memory)
    results = []
    try:
        peers.start()
        for case in options.cases or DEFAULT_CASES:
            print(f"measuring {case} ...", file=sys.stderr)
            results += CASES[case](peers, options.runs)
    finally:
        peers.stop()
        for folder in (work, memory):
            subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)
            shutil.rmtree(folder, ignore_errors=True)
    report(results, options.json)


def memory_folder() -> str:
    """Where /run is a folder of the disk, as in some virtual machines, other memory stands in for it."""
    with open("/proc/mounts") as mounts:
        kinds = {line.split(" ")[1]: line.split(" ")[2] for line in mounts}
    return "/run" if kinds.get("/run") == "tmpfs" else "/dev/shm"


if __name__ == "__main__":
    main()
