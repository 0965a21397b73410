"""A server of its own for each module of tests, on a root of its own, and Docker's own clients to judge it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import Dockerd, Host


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem: the static busybox, with its names in /bin."""
    tree = tmp_path_factory.mktemp("rootfs")
    tree.chmod(0o755)
    for folder in ("bin", "etc", "root", "var"):
        (tree / folder).mkdir()
    (tree / "tmp").mkdir(mode=0o1777)
    (tree / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", tree / "bin")
    for name in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    path = tree.parent / "busybox.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tree, ".", filter=_owned_by_root)
    return path


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Host]:
    """A running server whose image is `bb`. At the end it must stop by SIGTERM with nothing left."""
    folder = tmp_path_factory.mktemp("host")
    found = Host(folder)
    found.start()
    try:
        found.docker("import", "-c", 'CMD ["sh"]', "-c", "ENV PATH=/bin", str(busybox_tar), "bb:latest")
        yield found
    finally:
        found.clean()
        assert found.stop() == 0
        found.remove()
    log = found.log.read_text()
    assert "Traceback" not in log and "Error:" not in log, log


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Dockerd]:
    found = Dockerd(tmp_path_factory.mktemp("dockerd"))
    found.start()
    try:
        found.docker("import", "-c", 'CMD ["sh"]', "-c", "ENV PATH=/bin", str(busybox_tar), "bb:latest")
        yield found
        found.clean()
    finally:
        found.stop()


@pytest.fixture
def buildx(compose: str, tmp_path: Path) -> Path:
    """A folder for DOCKER_CONFIG with buildx and Compose as plugins: Compose then builds by `buildx bake`."""
    plugins = tmp_path / "config/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(Path(__file__).parents[2] / ".venv/plugins/docker-buildx")
    (plugins / "docker-compose").symlink_to(compose)
    return plugins.parent


@pytest.fixture(autouse=True)
def no_container_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "host" in request.fixturenames:
        request.getfixturevalue("host").clean()
