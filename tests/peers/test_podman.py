"""podman with `--runtime`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.conftest import CRIU

from .conftest import COUNTER, Box, counts_on

pytestmark = pytest.mark.needs("root", "podman", "runc", "busybox")
Podman = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def podman(box: Box, runtime: str, image: Path) -> Iterator[Podman]:
    conf = box.folder / "containers.conf"
    # cgroupfs, no limits raised: what works on a machine without systemd and CAP_SYS_RESOURCE.
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]'
    conf.write_text(f'[containers]\n{limits}\n[engine]\ncgroup_manager = "cgroupfs"\n')
    base = ["env", f"CONTAINERS_CONF={conf}", "podman", "--root", f"{box.folder}/root", "--runroot", f"{box.folder}/run"]
    base += ["--tmpdir", f"{box.folder}/tmp", "--events-backend", "file", "--runtime", runtime]

    def podman(*words: str, check: bool = True) -> CompletedProcess[str]:
        return box.run(*base, *words, check=check)

    podman("import", str(image), "busybox")
    yield podman
    podman("rm", "--force", "--all", "--time", "0", check=False)


def run(podman: Podman, *words: str, check: bool = True) -> CompletedProcess[str]:
    return podman("run", "--rm", "--network", "none", *words, check=check)


def test_run_gives_output_and_code(podman: Podman):
    assert run(podman, "busybox", "echo", "hello").stdout == "hello\n"
    assert run(podman, "busybox", "sh", "-c", "exit 7", check=False).returncode == 7


def test_a_missing_program_is_127_and_a_directory_126(podman: Podman):
    missing = run(podman, "busybox", "none-such", check=False)
    assert missing.returncode == 127 and "executable file not found" in missing.stderr
    assert run(podman, "busybox", "/bin", check=False).returncode == 126


def test_the_life_of_a_container(podman: Podman):
    podman("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "100")
    assert podman("exec", "one", "sh", "-c", "exit 3", check=False).returncode == 3
    assert podman("exec", "-t", "one", "tty").stdout.strip() == "/dev/pts/0"
    assert "sleep 100" in podman("top", "one").stdout
    podman("pause", "one")
    assert "Paused" in podman("ps", "--all", "--format", "{{.Status}}").stdout
    podman("unpause", "one")
    podman("stop", "--time", "0", "one")
    podman("start", "one")
    podman("rm", "--force", "--time", "0", "one")
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_limits_and_their_change(podman: Podman):
    show = ["cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
    podman("run", "-d", "--name", "limited", "--network", "none", "-m", "64m", "busybox", "sleep", "100")
    assert podman("exec", "limited", *show).stdout == "67108864\n"
    podman("update", "--memory", "96m", "limited")
    assert podman("exec", "limited", *show).stdout == "100663296\n"
    podman("rm", "--force", "--time", "0", "limited")


def test_users_terminals_and_read_only_roots(podman: Podman):
    assert run(podman, "--user", "1000:1000", "busybox", "id", "-u").stdout == "1000\n"
    assert run(podman, "-t", "busybox", "tty").stdout.strip() == "/dev/pts/0"
    assert run(podman, "--read-only", "--tmpfs", "/x", "busybox", "touch", "/x/y").returncode == 0
    assert run(podman, "--read-only", "busybox", "touch", "/y", check=False).returncode == 1


def test_a_user_namespace_with_ranges(podman: Podman):
    maps = ["--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000"]
    shown = run(podman, *maps, "busybox", "sh", "-c", "cat /proc/self/uid_map; touch /x; id -u")
    assert shown.stdout.split() == ["0", "100000", "1000", "0"]


def test_health_checks_and_pods(podman: Podman):
    podman("run", "-d", "--name", "healthy", "--network", "none", "--health-cmd", "true", "busybox", "sleep", "100")
    podman("healthcheck", "run", "healthy")
    podman("rm", "--force", "--time", "0", "healthy")
    pod = ["--name", "pod", "--network", "none", "--infra-image", "busybox", "--infra-command", "/bin/sleep"]
    podman("pod", "create", *pod)
    podman("pod", "rm", "--force", "pod")


@pytest.mark.needs("criu-works")
def test_a_checkpoint_is_gone_back_to_and_moves_to_another_container(podman: Podman, box: Box):
    def count(name: str) -> int:
        return int(podman("exec", name, "cat", "/count", check=False).stdout.strip() or 0)

    podman("run", "-d", "--name", "first", "--network", "none", "busybox", "sh", "-c", COUNTER)
    counts_on(lambda: count("first"))
    with_criu = ("--runtime-flag", f"criu={CRIU}", "container")  # podman gives a runtime no variables
    podman(*with_criu, "checkpoint", "first")
    assert "Exited (0)" in podman("ps", "--all", "--format", "{{.Status}}").stdout
    podman(*with_criu, "restore", "first")
    seen = counts_on(lambda: count("first"))
    podman(*with_criu, "checkpoint", "--export", f"{box.folder}/moved.tar.gz", "first")
    podman("rm", "--force", "--time", "0", "first")
    podman(*with_criu, "restore", "--import", f"{box.folder}/moved.tar.gz", "--name", "second")
    counts_on(lambda: count("second"), seen)
    podman("rm", "--force", "--time", "0", "second")
