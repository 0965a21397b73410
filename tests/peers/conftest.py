"""Engines in mount and network namespaces of their own, each with a store of its own and a busybox image.

What an engine mounts and configures goes with its namespaces; containers, daemons and the cgroups that engines leave are
removed by hand.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import CRIU

RUNTIMES = ["runc", "inception-runc"]
#: Engines and their runtimes look for criu there; ours is told by tests/conftest.py.
ENV = {**os.environ, "PATH": f"{Path(CRIU).parent}:{os.environ['PATH']}"}
#: Writes an ever larger number to /count.
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i >/count; echo $i; sleep 0.05; done"
APPLETS = ["sh", "true", "cat", "ls", "sleep", "echo", "id", "env", "touch", "tty", "grep", "pwd", "ps", "kill"]


class Box:
    """A process that holds a mount and a network namespace; `run` runs commands in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c"]
        script = "mount --make-rshared / && ip link set lo up && echo ready && exec sleep infinity"
        self.holder = subprocess.Popen([*words, script], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None and self.holder.stdout.readline() == "ready\n"
        self.enter = ["nsenter", "--target", str(self.holder.pid), "--mount", "--net", "--"]
        self.daemons: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        streams = {"stdin": subprocess.DEVNULL, "capture_output": True}
        done = subprocess.run([*self.enter, *words], **streams, text=True, timeout=60, check=False, env=ENV)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def daemon(self, *words: str) -> None:
        with open(self.folder / f"{Path(words[0]).name}.log", "wb") as log:
            self.daemons.append(
                subprocess.Popen([*self.enter, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV)
            )

    def close(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()
        self.holder.kill()
        self.holder.wait()
        for name in ("docker", "libpod_parent", "default"):
            for cgroup in Path("/sys/fs/cgroup").glob(f"*/{name}"):
                for below in [*(path for path in cgroup.iterdir() if path.is_dir()), cgroup]:
                    with contextlib.suppress(OSError):
                        below.rmdir()


def until(probe: list[str], box: Box, timeout_s: float = 30) -> None:
    """Wait until a command succeeds."""
    deadline = time.monotonic() + timeout_s
    while box.run(*probe, check=False).returncode:
        assert time.monotonic() < deadline, f"{probe} never succeeded; see the logs in {box.folder}"
        time.sleep(0.1)


def counts_on(count: Callable[[], int], above: int = 0, timeout_s: float = 20) -> int:
    """Wait until *count* has passed *above* and goes on; what it is then."""
    deadline = time.monotonic() + timeout_s
    last = max(above, count())
    while (now := count()) <= last:
        assert time.monotonic() < deadline, f"still at {now}"
        time.sleep(0.1)
    return now


@pytest.fixture(scope="session")
def launcher() -> Path:
    """Our runtime as `make setup` makes it."""
    return Path(sys.prefix) / "bin/inception-runc"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with busybox as a tar archive."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "root/bin").mkdir(parents=True)
    (folder / "root/tmp").mkdir()
    shutil.copy("/bin/busybox", folder / "root/bin/busybox")
    for applet in APPLETS:
        (folder / "root/bin" / applet).symlink_to("busybox")
    subprocess.run(["tar", "-C", folder / "root", "-cf", folder / "root.tar", "."], check=True)
    return folder / "root.tar"


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, launcher: Path) -> str:
    """The path of the runtime that the engine is told to use."""
    found = shutil.which("runc", path="/usr/sbin:/usr/bin") if request.param == "runc" else str(launcher)
    assert found
    return found


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    # Paths of unix sockets are short, so not below pytest's own long names.
    folder = Path("/tmp") / f"itest-peers-{os.getpid()}-{time.monotonic_ns() % 10**6}"
    folder.mkdir(mode=0o711)
    box = Box(folder)
    try:
        yield box
    finally:
        box.close()
        shutil.rmtree(folder, ignore_errors=True)
