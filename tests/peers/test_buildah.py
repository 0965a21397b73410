"""buildah with `--runtime`: RUN of a Dockerfile, and `buildah run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from .conftest import Box

pytestmark = pytest.mark.needs("root", "buildah", "runc", "busybox")
Buildah = Callable[..., CompletedProcess[str]]
_OCI = ["--isolation", "oci", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]


@pytest.fixture(scope="module")
def buildah(box: Box, image: Path) -> Buildah:
    conf = box.folder / "containers.conf"
    conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n[engine]\ncgroup_manager = "cgroupfs"\n'
    )
    base = ["env", f"CONTAINERS_CONF={conf}", "buildah", "--root", f"{box.folder}/root", "--runroot", f"{box.folder}/run"]
    base += ["--storage-driver", "vfs"]

    def buildah(*words: str, check: bool = True) -> CompletedProcess[str]:
        return box.run(*base, *words, check=check)

    return buildah


def test_the_steps_of_a_dockerfile_run_in_containers_of_ours(buildah: Buildah, runtime: str, box: Box, image: Path):
    context = box.folder / "context"
    context.mkdir(exist_ok=True)
    (context / "root.tar").write_bytes(image.read_bytes())
    (context / "Dockerfile").write_text(
        "FROM scratch\nADD root.tar /\nENV A=b\nRUN busybox mkdir -m 777 /w\nUSER 1000\nWORKDIR /w\n"
        'RUN id -u >who && echo "$A $PWD" >>who\n'
        'USER 0\nRUN grep -qx 1000 who && grep -qx "b /w" who\nRUN ["/bin/sh", "-c", "exit 0"]\n'
    )
    built = buildah("bud", *_OCI, "--runtime", runtime, "--tag", "itest", str(context))
    assert "COMMIT itest" in built.stdout + built.stderr
    (context / "Dockerfile").write_text("FROM itest\nRUN exit 7\n")
    failed = buildah("bud", *_OCI, "--runtime", runtime, str(context), check=False)
    assert failed.returncode == 7 or "exit status 7" in failed.stderr


def test_run_in_a_working_container(buildah: Buildah, runtime: str, image: Path):
    name = buildah("from", "scratch").stdout.strip()
    buildah("add", name, str(image), "/")
    words = ["run", "--isolation", "oci", "--network", "none", "--runtime", runtime]
    assert buildah(*words, name, "--", "echo", "hello").stdout == "hello\n"
    assert buildah(*words, "--user", "1000", name, "--", "id", "-u").stdout == "1000\n"
    assert buildah(*words, name, "--", "sh", "-c", "exit 5", check=False).returncode == 5
    buildah("rm", name)
