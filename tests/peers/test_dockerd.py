"""dockerd with `--add-runtime`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from .conftest import COUNTER, Box, counts_on, until

pytestmark = pytest.mark.needs("root", "dockerd", "docker", "runc", "busybox")
Docker = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def docker(box: Box, runtime: str, image: Path) -> Iterator[Docker]:
    folder = box.folder
    base = ["docker", "--host", f"unix://{folder}/sock"]
    box.daemon(
        "dockerd",
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--host", f"unix://{folder}/sock"),
        *("--pidfile", f"{folder}/pid", "--storage-driver", "overlay2", "--bridge", "none", "--iptables=false"),
        "--experimental",  # for `docker checkpoint`
        *("--add-runtime", f"tested={runtime}", "--default-runtime", "tested"),
    )
    until([*base, "version"], box)

    def docker(*words: str, check: bool = True) -> CompletedProcess[str]:
        return box.run(*base, *words, check=check)

    docker("import", str(image), "busybox")
    yield docker
    for id in docker("ps", "--all", "--quiet", check=False).stdout.split():
        docker("rm", "--force", id, check=False)


def run(docker: Docker, *words: str, check: bool = True) -> CompletedProcess[str]:
    return docker("run", "--rm", "--network", "none", *words, check=check)


def test_run_gives_output_and_dockers_codes(docker: Docker):
    assert run(docker, "busybox", "echo", "hello").stdout == "hello\n"
    assert run(docker, "busybox", "sh", "-c", "exit 9", check=False).returncode == 9
    assert run(docker, "busybox", "none-such", check=False).returncode == 127
    assert run(docker, "busybox", "/bin", check=False).returncode == 126


def test_the_life_of_a_container(docker: Docker):
    docker("run", "-d", "--name", "one", "--network", "none", "-m", "64m", "busybox", "sleep", "100")
    assert docker("exec", "one", "sh", "-c", "exit 4", check=False).returncode == 4
    assert (
        docker("exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", "one", "sh", "-c", "id -u; pwd; echo $A").stdout
        == "1000\n/tmp\nb\n"
    )
    assert docker("exec", "one", "none-such", check=False).returncode == 126 + (docker("version").returncode != 0)
    assert "sleep 100" in docker("top", "one").stdout
    docker("pause", "one")
    assert docker("exec", "one", "true", check=False).returncode != 0
    docker("unpause", "one")
    docker("update", "-m", "32m", "--memory-swap", "32m", "one")
    assert "/ 32MiB" in docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "one").stdout
    docker("restart", "-t", "0", "one")
    docker("kill", "one")
    docker("rm", "-f", "one")


def test_what_a_container_is_given(docker: Docker):
    assert run(docker, "-t", "busybox", "tty").stdout.strip() == "/dev/pts/0"
    assert run(docker, "--user", "1000:1000", "--group-add", "7", "busybox", "id", "-G").stdout.split() == ["1000", "7"]
    caps = run(docker, "--cap-drop", "ALL", "--cap-add", "NET_RAW", "busybox", "grep", "CapEff", "/proc/self/status").stdout
    assert int(caps.split()[1], 16) == 1 << 13
    assert run(docker, "--sysctl", "net.ipv4.ip_forward=1", "busybox", "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
    assert run(docker, "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n").stdout == "100\n"
    assert run(docker, "--read-only", "busybox", "touch", "/x", check=False).returncode == 1
    assert (
        run(docker, "--security-opt", "no-new-privileges", "busybox", "grep", "NoNew", "/proc/self/status").stdout.split()[1]
        == "1"
    )
    assert run(docker, "busybox", "grep", "Seccomp:", "/proc/self/status").stdout.split()[1] == "2"
    assert run(docker, "--pid", "host", "--ipc", "host", "--uts", "host", "busybox", "true").returncode == 0


@pytest.mark.needs("criu-works")
def test_a_checkpoint_is_gone_back_to_by_name(docker: Docker):
    def count() -> int:
        return int(docker("exec", "saved", "cat", "/count", check=False).stdout.strip() or 0)

    docker("run", "-d", "--network", "none", "--name", "saved", "busybox", "sh", "-c", COUNTER)
    seen = counts_on(count)
    docker("checkpoint", "create", "--leave-running", "saved", "one")
    seen = counts_on(count, seen)
    docker("checkpoint", "create", "saved", "two")
    assert set(docker("checkpoint", "ls", "saved").stdout.split()[2:]) == {"one", "two"}
    docker("wait", "saved")
    # It copies the checkpoint to containerd, and gives up when what `create` left there has not been collected yet.
    deadline = time.monotonic() + 30
    while (started := docker("start", "--checkpoint", "two", "saved", check=False)).returncode:
        assert "already exists" in started.stderr and time.monotonic() < deadline, started
        time.sleep(0.5)
    counts_on(count, seen)
    docker("rm", "--force", "saved")
