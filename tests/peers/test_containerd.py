"""containerd with its runc shim, told another binary by `ctr --runc-binary`."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from .conftest import COUNTER, Box, counts_on, until

pytestmark = pytest.mark.needs("root", "containerd", "ctr", "runc", "busybox")
Ctr = Callable[..., CompletedProcess[str]]
IMAGE = "localhost/busybox:1"
_CONFIG = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/sock"
"""


@pytest.fixture(scope="module")
def ctr(box: Box, image: Path) -> Iterator[Ctr]:
    (box.folder / "config.toml").write_text(_CONFIG.format(box.folder))
    base = ["ctr", "--address", f"{box.folder}/sock"]
    box.daemon("containerd", "--config", f"{box.folder}/config.toml")
    until([*base, "version"], box)

    def ctr(*words: str, check: bool = True) -> CompletedProcess[str]:
        return box.run(*base, *words, check=check)

    ctr("images", "import", str(_layout(image, box.folder / "layout")))
    yield ctr


def _layout(root: Path, folder: Path) -> Path:
    """An OCI layout of one layer as an archive."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layer = put(root.read_bytes(), "layer.v1.tar")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {"schemaVersion": 2, "config": put(json.dumps(config).encode(), "config.v1+json"), "layers": [layer]}
    entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": IMAGE}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    subprocess.run(["tar", "-C", folder, "-cf", f"{folder}.tar", "."], check=True)
    return Path(f"{folder}.tar")


def test_run_gives_output_and_code(ctr: Ctr, runtime: str):
    run = ["run", "--rm", "--runc-binary", runtime, IMAGE]
    assert ctr(*run, "out", "echo", "hello").stdout == "hello\n"
    assert ctr(*run, "code", "sh", "-c", "exit 9", check=False).returncode == 9
    missing = ctr(*run, "missing", "none-such", check=False)
    assert missing.returncode == 1 and "executable file not found" in missing.stderr
    seccomp = ctr("run", "--rm", "--seccomp", "--runc-binary", runtime, IMAGE, "sec", "grep", "Seccomp:", "/proc/self/status")
    assert seccomp.stdout.split() == ["Seccomp:", "2"]


def test_the_life_of_a_task(ctr: Ctr, runtime: str):
    ctr("run", "--detach", "--runc-binary", runtime, "--memory-limit", "67108864", IMAGE, "task", "sleep", "100")
    try:
        assert "RUNNING" in ctr("task", "ls").stdout
        assert ctr("task", "exec", "--exec-id", "e1", "task", "sh", "-c", "exit 4", check=False).returncode == 4
        assert len(ctr("task", "ps", "task").stdout.splitlines()) == 2
        metrics = dict(line.split(None, 1) for line in ctr("task", "metrics", "task").stdout.splitlines() if line.strip())
        assert metrics["memory.limit_in_bytes"].strip() == "67108864" and metrics["pids.current"].strip() == "1"
        ctr("task", "pause", "task")
        assert "PAUSED" in ctr("task", "ls").stdout
        ctr("task", "resume", "task")
    finally:
        ctr("task", "rm", "--force", "task", check=False)
        ctr("containers", "rm", "task", check=False)
    assert "task" not in ctr("task", "ls").stdout.split()


@pytest.mark.needs("criu-works")
def test_a_checkpoint_as_an_image_runs_again(ctr: Ctr, runtime: str):
    def count(task: str) -> int:
        return int(ctr("task", "exec", "--exec-id", "count", task, "cat", "/count", check=False).stdout.strip() or 0)

    def remove(task: str) -> None:
        ctr("task", "rm", "--force", task, check=False)
        ctr("containers", "rm", task, check=False)

    try:
        ctr("run", "--detach", "--null-io", "--runc-binary", runtime, IMAGE, "before", "sh", "-c", COUNTER)
        seen = counts_on(lambda: count("before"))
        ctr("containers", "checkpoint", "--task", "--rw", "--image", "before", "localhost/saved:1")
        remove("before")
        ctr("containers", "restore", "--rw", "--live", "after", "localhost/saved:1")
        counts_on(lambda: count("after"), seen)
    finally:
        remove("before")
        remove("after")
        ctr("images", "rm", "localhost/saved:1", check=False)
