"""A root on a file system that a container fills: it can be emptied again with our own verbs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "busybox", "unshare")

# In a mount namespace of its own, so that the file system goes with it.
_SCRIPT = """
set -eu
mount -t tmpfs -o size=24m tmpfs {folder}
i="{python} -I -m inception.cli --root {folder}/root --run-root {run}"
$i image bootstrap -q busybox >/dev/null
$i run --name full --network none busybox sh -c 'dd if=/dev/zero of=/f bs=1M 2>/dev/null; true'
$i ps -a --format '{{{{.Names}}}}'
$i rm full
$i run --rm --network none busybox echo fine
$i rm $($i ps -aq) >/dev/null 2>&1 || true
ls {folder}/root/snapshots {folder}/root/tmp
"""


def test_what_filled_the_disk_can_be_removed_and_the_next_one_runs(tmp_path: Path):
    folder = tmp_path / "disk"
    folder.mkdir()
    script = _SCRIPT.format(folder=folder, run=tmp_path / "run", python=sys.executable)
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.split("\n")
    assert lines[0] == "full" and "fine" in lines and "Traceback" not in done.stdout
    assert done.stdout.endswith(f"{folder}/root/snapshots:\n\n{folder}/root/tmp:\n")
