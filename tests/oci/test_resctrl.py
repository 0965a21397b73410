"""`linux.intelRdt` through the life of a container, on a folder in resctrl's place: no machine of ours has the hardware."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Runtime

pytestmark = pytest.mark.needs("root", "busybox")
_COMMAND = """
import os, shutil, sys
from inception.runtime import cli, resctrl
place, mkdir = sys.argv[1], resctrl._mkdir
def made(path, root):
    mkdir(path, root)
    if "mon_groups" not in path:
        os.mkdir(path + "/mon_groups")
resctrl.mounted, resctrl.rmdir, resctrl._mkdir = lambda: place, shutil.rmtree, made
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    (tmp_path / "resctrl").mkdir()
    yield runtime
    runtime.close()


def _command(rt: Runtime, *words: str) -> tuple[int, str]:
    argv = [sys.executable, "-c", _COMMAND, str(rt.folder / "resctrl"), "--root", str(rt.root), *words]
    with open(rt.folder / "err", "w+") as err:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err, cwd=rt.bundle, timeout=60)
        err.seek(0)
        return done.returncode, err.read()


def test_a_container_is_in_its_class_from_create_to_delete(rt: Runtime):
    rdt = {"l3CacheSchema": "L3:0=f", "enableMonitoring": True}
    id = rt.write({"process": {"args": ["sleep", "60"]}, "linux": {"intelRdt": rdt}})
    assert _command(rt, "create", id) == (0, "")
    place = rt.folder / "resctrl" / id
    pid = str(rt.state()["pid"])
    assert [(place / name).read_text() for name in ("tasks", f"mon_groups/{id}/tasks", "schemata")] == [pid, pid, "L3:0=f\n"]
    assert json.loads((rt.root / id / "state.json").read_text())["resctrl"] == [f"{place}/mon_groups/{id}", str(place)]
    assert _command(rt, "start", id) == (0, "")
    assert _command(rt, "update", "--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=20", id) == (0, "")
    assert (place / "schemata").read_text() == "L3:0=f\nL3:0=3\nMB:0=20\n"
    assert _command(rt, "delete", "--force", id) == (0, "")
    assert os.listdir(place.parent) == []


def test_a_create_that_fails_takes_its_class_along(rt: Runtime):
    hooks = {"createRuntime": [{"path": "/bin/false"}]}
    id = rt.write({"hooks": hooks, "linux": {"intelRdt": {"schemata": ["L3:0=f"]}}})
    code, err = _command(rt, "create", id)
    assert code == 1 and "createRuntime hook" in err
    assert os.listdir(rt.folder / "resctrl") == [] and rt.command("list", "-q").out == ""


def test_other_schemata_need_a_container_that_has_some(rt: Runtime):
    assert rt.create("sleep 60").code == 0
    failed = rt.command("update", "--l3-cache-schema", "L3:0=3", rt.id)
    assert failed.code == 1 and "was made without linux.intelRdt" in failed.err, failed
