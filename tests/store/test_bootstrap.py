"""Base images made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inception.errors import NotFound
from inception.store import Store
from inception.store.bootstrap import Recipe, bootstrap, tidy
from inception.store.progress import Progress

pytestmark = pytest.mark.needs("root")


@pytest.mark.needs("busybox")
def test_busybox_is_the_same_image_every_time(store: Store, tmp_path: Path) -> None:
    news: list[Progress] = []
    image = bootstrap(store, "busybox", news.append)
    assert (image.names, image.document.config.cmd) == (["busybox:latest"], ["sh"])
    assert [line.status for line in news] == ["busybox:latest: made from this machine's static busybox"]
    assert bootstrap(Store(str(tmp_path / "again")), "busybox").id == image.id
    store.snapshots.prepare("s", image_id=image.id)
    with store.snapshots.view("s") as root:
        assert root.stat("bin/sh").st_ino == root.stat("bin/busybox").st_ino
        assert root.read_bytes("etc/passwd", 1000).startswith(b"root:x:0:0:")


def test_a_name_without_a_recipe_says_which_there_are(store: Store) -> None:
    with pytest.raises(NotFound, match="bootstrap nginx: no recipe for it") as caught:
        bootstrap(store, "nginx")
    assert "debian:SUITE" in caught.value.hint


def test_what_belongs_to_the_machine_is_taken_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("var/log/apt/history.log", "var/cache/debconf/config.dat-old", "var/lib/dpkg/status-old", "etc/machine-id",
                 "etc/passwd-", "etc/passwd", "etc/hostname", "var/lib/apt/lists/partial/x", "tmp/x/y",
                 "etc/apt/sources.list.d/0000x.sources", "dev/x"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("this machine")
    tidy(
        str(root), Recipe(distribution="debian", suite="bookworm"), "Types: deb\n", ['Acquire::http::Proxy "http://p.example"']
    )
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {"etc/passwd", "etc/hostname", "etc/apt/sources.list.d/debian.sources", "usr/sbin/policy-rc.d"} <= left
    assert not any("this machine" in (root / name).read_text() for name in left - {"etc/passwd"})
    assert (root / "etc/apt/apt.conf.d/99machine").read_text() == 'Acquire::http::Proxy "http://p.example";\n'
    assert os.listdir(root / "tmp") == os.listdir(root / "dev") == []
    assert (root / "var/log/apt").is_dir()
