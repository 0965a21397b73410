"""The rig of the attacks: an engine of its own, images made of hostile files, and a host that must be the same afterwards.

`host` is what an attack would change: a canary folder of the test's own, the host's files that containers get copies of, a
kernel setting that runs programs, and the mount table. Each test that takes an attack's fixture compares it at its end.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inception import ContainerConfig, Engine
from inception.engine.container import Container

_WATCHED = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/proc/sys/kernel/core_pattern")
_APPLETS = ("sh", "cat", "id", "ls", "mkdir", "mount", "pwd", "readlink", "sleep", "touch", "true", "unshare")

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", data: bytes = b"", mode: int = 0o755) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(data)
    return (info, data)


def symlink(name: str, target: str) -> Entry:
    return entry(name, tarfile.SYMTYPE, link=target)


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    base = tmp_path_factory.mktemp("sec")
    roots = (str(base / "root"), str(base / "run"))
    yield roots
    with Engine(*roots) as engine:
        for place in [*engine.cgroups.v1.values(), *([engine.cgroups.v2] if engine.cgroups.v2 else [])]:
            try:
                os.rmdir(f"{place}/inception")
            except OSError:
                pass  # not there, or another engine's containers are in it


@pytest.fixture
def engine(roots: tuple[str, str]) -> Iterator[Engine]:
    with Engine(*roots) as engine:
        yield engine
        for container in engine.containers.list(all=True):
            container.remove(force=True, volumes=True)
        for volume in engine.volumes.list():
            volume.remove()
        engine.networks.prune()


@pytest.fixture
def image(engine: Engine) -> Iterator[Callable[..., str]]:
    """`image(*entries, changes=[])`: an image of busybox and *entries*; its id."""
    made = []

    def make(*entries: Entry, changes: list[str] | None = None) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            with open("/bin/busybox", "rb") as file:
                program = file.read()
            first = [entry("bin", tarfile.DIRTYPE), entry("bin/busybox", data=program)]
            first += [symlink(f"bin/{name}", "busybox") for name in _APPLETS]
            for each in [*first, *entries]:
                info, data = each if isinstance(each, tuple) else (each, b"")
                tar.addfile(info, io.BytesIO(data))
        buffer.seek(0)
        made.append(engine.images.import_(buffer, changes=["ENV PATH=/bin", *(changes or [])]).id)
        return made[-1]

    yield make
    for container in engine.containers.list(all=True):
        container.remove(force=True, volumes=True)
    for found in dict.fromkeys(made):
        engine.images.remove(found, force=True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A canary folder; at the end it and what is watched of the host are as they were."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("untouched")
    before = _look(canary)
    yield canary
    assert _look(canary) == before


def _look(canary: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for path in [*sorted(canary.rglob("*")), *map(Path, _WATCHED)]:
        found[str(path)] = path.read_bytes() if path.is_file() else ""
    # The mounts of this test's own engine come and go with its containers; they are gone before `host` looks again.
    with open("/proc/self/mountinfo") as lines:
        found["mounts"] = "\n".join(sorted(line.split(" ")[4] for line in lines))
    return found


def make(engine: Engine, image: str, *command: str, **fields: object) -> Container:
    values = {"image": image, "command": list(command), "network_mode": "none", **fields}
    return engine.containers.create(ContainerConfig(**values))


def output(container: Container) -> tuple[int, str]:
    """Start, wait; exit code and everything it said."""
    container.start()
    code = container.wait(timeout_s=20)
    return code, b"".join(line.data for line in container.logs()).decode(errors="replace")


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`probe NAME`: makes one system call that an attack needs and prints its errno, or `0` when the kernel did it."""
    folder = tmp_path_factory.mktemp("probe")
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["cc", "-static", "-O1", "-o", str(folder / "probe"), str(source)], check=True)
    return folder / "probe"
