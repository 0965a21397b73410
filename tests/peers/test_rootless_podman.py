"""podman as an ordinary user: the runtime is then root of a user namespace, and no cgroup is its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from .conftest import Box

pytestmark = pytest.mark.needs("root", "podman", "runc", "busybox", "newuidmap")
Podman = Callable[..., CompletedProcess[str]]
USER, NAME, RANGE = 54330, "itest-podman", 500000


def home_of(box: Box, runtime: str) -> Path:
    """By one letter: conmon's socket has a long name below it, and podman waits 20 s for one that is too long."""
    return box.folder / Path(runtime).name[0]


@pytest.fixture(scope="module")
def podman(box: Box, runtime: str, image: Path) -> Iterator[Podman]:
    box.folder.chmod(0o755)
    home = home_of(box, runtime)
    for folder in (home, home / "run"):
        folder.mkdir(mode=0o700)
        os.chown(folder, USER, USER)
    shutil.copy(image, box.folder / "root.tar")
    (box.folder / "root.tar").chmod(0o644)
    lines = {
        "passwd": f"{NAME}:x:{USER}:{USER}::{home}:/bin/sh\n",
        "group": f"{NAME}:x:{USER}:\n",
        "subuid": f"{NAME}:{RANGE}:65536\n",
        "subgid": f"{NAME}:{RANGE}:65536\n",
    }
    for name, line in lines.items():
        (box.folder / name).write_text(f"{Path('/etc', name).read_text()}{line}")
        (box.folder / name).chmod(0o644)
        box.run("mount", "--bind", str(box.folder / name), f"/etc/{name}")
    conf = box.folder / "containers.conf"
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]'
    conf.write_text(f'[containers]\n{limits}\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
    conf.chmod(0o644)
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i", "-C", str(home)]
    user += [f"HOME={home}", f"XDG_RUNTIME_DIR={home}/run", f"CONTAINERS_CONF={conf}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]

    def podman(*words: str, check: bool = True) -> CompletedProcess[str]:
        return box.run(*user, "podman", "--runtime", runtime, *words, check=check)

    podman("import", f"{box.folder}/root.tar", "busybox")
    yield podman
    podman("rm", "--force", "--all", "--time", "0", check=False)
    pause = home / "run/libpod/tmp/pause.pid"  # it holds the user's namespace, until the user's last container is gone
    for file in (pause, *(home / "run").rglob("pause.pid")):
        if file.exists():
            os.kill(int(file.read_text()), 9)
            file.unlink()


def run(podman: Podman, *words: str, check: bool = True) -> CompletedProcess[str]:
    return podman("run", "--rm", "--network", "none", *words, check=check)


def test_a_user_runs_a_container_as_its_root(podman: Podman):
    assert run(podman, "busybox", "sh", "-c", "id -u; exit 7", check=False).stdout == "0\n"
    assert run(podman, "busybox", "sh", "-c", "exit 7", check=False).returncode == 7
    assert run(podman, "-t", "busybox", "tty").stdout.strip() == "/dev/pts/0"


def test_ids_of_the_users_range_and_their_own(podman: Podman):
    assert run(podman, "--user", "5:6", "busybox", "id", "-u").stdout == "5\n"
    assert run(podman, "--userns", "keep-id", "busybox", "id", "-u").stdout == f"{USER}\n"
    shown = run(podman, "--uidmap", "0:1:10", "--gidmap", "0:1:10", "busybox", "cat", "/proc/self/uid_map").stdout
    assert shown.split() == ["0", "1", "10"]


def test_devices_are_the_hosts(podman: Podman):
    assert run(podman, "--device", "/dev/fuse", "busybox", "sh", "-c", "echo a >/dev/null && [ -c /dev/fuse ]").returncode == 0
    assert run(podman, "--privileged", "busybox", "sh", "-c", "[ -c /dev/zero ]").returncode == 0


def test_mounts_read_only_and_in_memory(podman: Podman, box: Box, runtime: str):
    home = home_of(box, runtime)
    script = "touch /x/a && ls /mnt >/dev/null && ! touch /mnt/a 2>/dev/null"
    mounts = ["--volume", f"{home}:/mnt:ro", "--tmpfs", "/x", "--read-only"]
    assert run(podman, *mounts, "busybox", "sh", "-c", script).returncode == 0
    assert run(podman, "--volume", "/run:/r:ro,exec,suid", "busybox", "true").returncode == 0  # flags that are locked
    assert podman("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class").returncode == 0


def test_the_life_of_a_container(podman: Podman):
    podman("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "100")
    assert podman("exec", "one", "sh", "-c", "exit 3", check=False).returncode == 3
    assert podman("exec", "-t", "one", "tty").stdout.strip() == "/dev/pts/0"
    podman("stop", "--time", "0", "one")
    podman("start", "one")
    podman("kill", "--signal", "KILL", "one")
    assert podman("wait", "one").stdout == "137\n"
    podman("rm", "--force", "--time", "0", "one")


def test_a_build(podman: Podman, box: Box, runtime: str):
    home = home_of(box, runtime)
    (home / "Containerfile").write_text("FROM busybox\nRUN id -u >/made\n")
    podman("build", "--network", "none", "--no-cache", "--tag", "built", str(home))
    assert run(podman, "built", "cat", "/made").stdout == "0\n"
