"""A store in the test's own folder, archives from a few lines, and the canary: what lies beside the store never changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.store import Store

from .registries import DebianRegistry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree beside the store with the files that an escape would aim at; compared afterwards, times and all."""
    folder = tmp_path / "canary"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/passwd").write_text("canary")
    (folder / "etc/shadow").symlink_to("passwd")
    before = fingerprint(folder)
    yield folder
    assert fingerprint(folder) == before
    assert sorted(os.listdir(tmp_path)) == sorted({"canary", "root"} & set(os.listdir(tmp_path)))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DebianRegistry]:
    """A real registry on loopback, with log-ins and settings of its own."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("INCEPTION_REGISTRIES", str(tmp_path / "registries.json"))
    server = DebianRegistry(tmp_path)
    yield server
    server.close()


def fingerprint(folder: Path) -> str:
    lines = []
    for path in [folder, *sorted(folder.rglob("*"))]:
        found = path.lstat()
        lines.append(f"{path} {found.st_mode} {found.st_uid} {found.st_mtime_ns} {found.st_nlink}")
        if path.is_file() and not path.is_symlink():
            lines.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return "\n".join(lines)
