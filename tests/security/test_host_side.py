"""What other users of the host, and racing containers, can reach of ours."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.racing import swapping

from inception import Engine, MountConfig
from inception.errors import InceptionError

from .conftest import entry, make, output

pytestmark = pytest.mark.needs("root", "busybox")


def test_cve_2024_25621_nobody_else_can_enter_our_folders(engine: Engine, image: Callable[..., str]):
    container = make(engine, image(entry("bin/su2", data=b"x", mode=0o4755)), "sleep", "60")
    container.start()
    for folder in (engine.root, engine.run_root):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder
    for name in ("blobs", "layers", "snapshots", "tmp"):
        assert stat.S_IMODE(os.stat(f"{engine.root}/{name}").st_mode) & 0o077 == 0, name
    for name in ("state.db", "state.db-wal"):
        assert stat.S_IMODE(os.stat(f"{engine.root}/{name}").st_mode) & 0o077 == 0, name


def test_cve_2020_15257_there_is_no_abstract_socket_and_ours_are_for_root(engine: Engine, image: Callable[..., str]):
    before = _abstract()
    container = make(engine, image(), "cat", "/proc/net/unix", network_mode="host")
    container.start()
    container.wait(timeout_s=20)
    assert _abstract() <= before
    sleeper = make(engine, image(), "sleep", "60")
    sleeper.start()
    path = f"{engine.run_dir(sleeper.id)}/attach.sock"
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0 or stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def _abstract() -> set[str]:
    with open("/proc/net/unix") as lines:
        return {line.split()[-1] for line in lines if line.split()[-1].startswith("@")}


def _tar(name: str, data: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("running", [True, False])
def test_cve_2018_15664_a_copy_never_follows_what_takes_its_folders_place(
    engine: Engine, image: Callable[..., str], host: Path, tmp_path: Path, running: bool
):
    """cp both ways, 60 times each, while the folder becomes a link to the host's canary and back."""
    shared = tmp_path / "shared"
    (shared / "box").mkdir(parents=True)
    (shared / "box" / "file").write_text("inside")
    (shared / "link").symlink_to(host)
    container = make(engine, image(), "sleep", "60", mounts=[MountConfig(type="bind", source=str(shared), target="/s")])
    if running:
        container.start()
    got = set()
    with swapping(shared / "box", shared / "link"):
        for _ in range(60):
            try:
                container.put_archive("/s/box", _tar("planted", b"x"))
            except InceptionError:
                pass
            try:
                _, chunks = container.get_archive("/s/box/file")
                got.add(b"".join(chunks))
            except InceptionError:
                pass
    assert not any(b"untouched" in data for data in got)


def test_cve_2021_30465_a_mount_target_that_is_swapped_in_a_shared_volume(
    engine: Engine, image: Callable[..., str], host: Path, tmp_path: Path
):
    shared = tmp_path / "shared"
    (shared / "target").mkdir(parents=True)
    (shared / "link").symlink_to(host)
    found = image()
    mounts = [
        MountConfig(type="bind", source=str(shared), target="/s"),
        MountConfig(type="tmpfs", target="/s/target/made"),
    ]
    with swapping(shared / "target", shared / "link"):
        for _ in range(15):
            container = make(engine, found, "true", mounts=mounts)
            try:
                output(container)
            except InceptionError:
                pass
            container.remove(force=True)


def test_cve_2019_14271_nothing_of_the_image_is_executed_or_loaded_by_us(engine: Engine, image: Callable[..., str], host: Path):
    """Helpers that a host program might run or load, planted; each would leave a mark on a folder that both sides see."""
    script = b"#!/bin/sh\n/bin/touch /mark/ran\n"
    names = ["bin/tar", "bin/xz", "bin/unpigz", "bin/git", "usr/bin/ps", "bin/ps", "sbin/nft", "usr/sbin/nft"]
    planted = [entry(name, data=script) for name in names]
    planted += [entry(name, data=b"not a library") for name in ("lib/libnss_files.so.2", "encodings/__init__.py")]
    mark = host.parent / "mark"
    mark.mkdir()
    container = make(
        engine, image(*planted), "sleep", "60", mounts=[MountConfig(type="bind", source=str(mark), target="/mark")]
    )
    container.start()
    container.top()
    container.put_archive("/", _tar("copied", b"x"))
    _, chunks = container.get_archive("/bin")
    b"".join(chunks)
    container.diff()
    b"".join(container.export())
    container.stats()
    assert list(mark.iterdir()) == []


def test_planted_volumes_stay_volumes(engine: Engine, image: Callable[..., str], host: Path):
    """What a container leaves in a volume leads no later container, and no clean-up, out of it."""
    found = image()
    mounts = [MountConfig(type="volume", source="shared", target="/v")]
    output(
        make(
            engine,
            found,
            "sh",
            "-c",
            f"ln -s {host} /v/out; mkdir -p /v/deep/er; ln -s ../../../../../.. /v/deep/up",
            mounts=mounts,
        )
    )
    inner = [*mounts, MountConfig(type="tmpfs", target="/v/out/made")]
    try:
        output(make(engine, found, "true", mounts=inner))
    except InceptionError:
        pass
    for container in engine.containers.list(all=True):
        container.remove(force=True)
    engine.volumes.get("shared").remove()
