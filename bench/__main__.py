"""`make bench`: ours beside whichever of crun, runc, podman and docker is installed, in turn in one run.

Everything happens in a folder of its own below /var/tmp and is gone afterwards, but for the results in bench/results/.
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
    peers = Peers(work)
    results = []
    try:
        peers.start()
        for case in options.cases or DEFAULT_CASES:
            print(f"measuring {case} ...", file=sys.stderr)
            results += CASES[case](peers, options.runs)
    finally:
        peers.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", work], check=False)
        shutil.rmtree(work, ignore_errors=True)
    report(results, options.json)


if __name__ == "__main__":
    main()
