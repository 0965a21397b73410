"""A builder on a root of its own, and ways to look at what it built."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.build import BuildConfig, BuildResult, build
from inception.build.progress import Event
from inception.engine import Engine
from inception.engine.endpoints import take_down
from inception.oci.image import ImageDocument


class Builder:
    """Builds what was written into `context`; `events` are those of the last build."""

    def __init__(self, engine: Engine, context: Path) -> None:
        self.engine = engine
        self.context = context
        self.events: list[Event] = []

    def write(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def build(self, dockerfile: str | None = None, **config: object) -> BuildResult:
        self.events.clear()
        if dockerfile is not None:
            self.write("Dockerfile", dockerfile)
        settings = {"context": str(self.context), "tags": ["result"], **config}
        return build(self.engine, BuildConfig(**settings), self.events.append)

    def cached(self) -> list[bool]:
        """For each step of the last build that changes files, whether it was found in the cache."""
        ended = [event for event in self.events if event.kind in ("cached", "done") and "]" in event.name]
        return [event.kind == "cached" for event in ended if not event.name.split("] ", 1)[1].startswith(("FROM", "load"))]

    def document(self, image: str = "result") -> ImageDocument:
        return self.engine.images.get(image).document

    def tree(self, below: str = "", image: str = "result") -> list[str]:
        """The files of an image: `-rw-r--r-- 0:0 a/b`, links with their text, folders with a slash."""
        found = []
        with self.engine.store.snapshots.open_layers(self.engine.images.get(image).layer_ids) as root:
            fd = root.open(below, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for folder, folders, files, folder_fd in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
                    for name in sorted(folders + files):
                        entry = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
                        line = f"{stat.filemode(entry.st_mode)} {entry.st_uid}:{entry.st_gid} {folder}/{name}".replace(
                            " ./", " "
                        )
                        if stat.S_ISLNK(entry.st_mode):
                            line += f" -> {os.readlink(name, dir_fd=folder_fd)}"
                        found.append(line + ("/" if stat.S_ISDIR(entry.st_mode) else ""))
            finally:
                os.close(fd)
        return sorted(found, key=lambda line: line.split(" ", 2)[2])

    def read(self, path: str, image: str = "result") -> str:
        with self.engine.store.snapshots.open_layers(self.engine.images.get(image).layer_ids) as root:
            return root.read_bytes(path, 1 << 20).decode()

    def stat(self, path: str, image: str = "result") -> os.stat_result:
        with self.engine.store.snapshots.open_layers(self.engine.images.get(image).layer_ids) as root:
            return root.stat(path, follow=False)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(str(tmp_path / "root"), str(tmp_path / "run")) as found:
        yield found


@pytest.fixture
def builder(engine: Engine, tmp_path: Path) -> Iterator[Builder]:
    context = tmp_path / "context"
    context.mkdir()
    yield Builder(engine, context)
    take_down(engine, engine.networks.get("bridge"))
    # Whatever a build met, nothing half-made stays.
    assert engine.store.snapshots.list() == []
    assert os.listdir(engine.store.tmp) == []
    with open("/proc/self/mountinfo") as mounts:
        assert str(tmp_path) not in mounts.read()


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds `busybox:latest`, made once; tests copy from it by `busybox`."""
    root = tmp_path_factory.mktemp("busybox")
    with Engine(str(root / "root"), str(root / "run")) as engine, open(root / "image.tar", "wb") as file:
        engine.images.bootstrap("busybox:latest")
        for chunk in engine.images.save(["busybox:latest"]):
            file.write(chunk)
    return root / "image.tar"


@pytest.fixture
def busybox(builder: Builder, busybox_root: Path) -> Builder:
    """A builder whose store has `busybox:latest`."""
    with open(busybox_root, "rb") as file:
        builder.engine.images.load(file)
    return builder
