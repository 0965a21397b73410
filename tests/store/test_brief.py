"""`images` in brief says what the ordinary command says, whatever has happened before and meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inception.cli import brief
from inception.cli.main import main
from inception.oci.image import ImageConfig, ImageDocument, RootFs
from inception.store import Store
from inception.store.schema import STEPS

from .support import archive, make_image, member

pytestmark = pytest.mark.needs("root")

LAYER = archive(member("file", b"x"))


def says(store: Store, capfdbinary: pytest.CaptureFixture[bytes], *flags: str) -> str:
    """What both say; fails when they differ."""
    words = ["--root", store.root, "--run-root", f"{store.root}-run", "images", *flags]
    assert main(words) == 0
    ordinary = capfdbinary.readouterr().out.decode()
    assert brief.listing(words) == ordinary
    return ordinary


def named(store: Store, name: str, created: str, parent: str = "") -> str:
    with store.lease(), store.scratch() as scratch:
        staged = store.layers.stage([LAYER], scratch)
        document = ImageDocument(
            architecture="amd64",
            os="linux",
            created=created,
            config=ImageConfig(labels={"name": name}),
            rootfs=RootFs(diff_ids=[staged.diff_id]),
        )
        store.content.put([LAYER])
        return store.images.create(document, [staged], names=[name] if name else [], parent=parent).id


def kept(store: Store) -> int:
    return len(store.db.rows("SELECT lines FROM listing"))


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brief, "_WORTH_KEEPING", 1)


def test_it_knows_the_tables_as_they_are() -> None:
    assert len(STEPS) == brief.STORE_VERSION


@pytest.mark.parametrize("flags", [[], ["-q"], ["-a"], ["-aq"], ["--no-trunc"], ["-q", "--no-trunc"]])
def test_names_ages_and_sizes_are_those_of_the_ordinary_command(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes], flags: list[str]
) -> None:
    for name, created in (
        ("app:1", "2026-01-02T03:04:05.123456789Z"),
        ("user/app:1", "2026-01-02T03:04:05.123456789+02:00"),
        ("library/deep/name:1", "2020-12-31T23:59:59Z"),
        ("localhost:5000/a/b:v1", "2019-12-31T23:59:59Z"),
        ("library:1", "0001-01-01T00:00:00Z"),
        ("nobody/knows:when", ""),
        ("zero:1", "1970-01-01T00:00:00Z"),
        ("", "2026-03-01T00:00:00Z"),
    ):
        named(store, name, created)
    store.images.tag("app:1", "zz.example/app:2")
    base = named(store, "", "2026-02-01T00:00:00Z")
    named(store, "child:1", "2026-02-02T00:00:00Z", parent=base)
    shown = says(store, capfdbinary, *flags)
    heading, step = "-q" not in flags and "-aq" not in flags, any("a" in flag[1:2] for flag in flags)
    assert shown.count("\n") == heading + 9 + 1 + step


@pytest.mark.parametrize(
    "words",
    [
        ["images", "app"],
        ["images", "--filter", "dangling=true"],
        ["images", "--format", "json"],
        ["images", "--digests"],
        ["images", "--help"],
        ["run", "images"],
        ["image", "ls"],
        ["--debug", "images"],
        ["-H", "ssh://images", "images"],
    ],
)
def test_what_is_not_plain_is_left_to_the_ordinary_command(words: list[str], store: Store) -> None:
    named(store, "app:1", "2026-01-02T03:04:05Z")
    with pytest.raises(Exception):  # noqa: B017 - whichever
        brief.listing(["--root", store.root, *words])


def test_an_engine_elsewhere_is_not_this_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brief, "environb", {b"INCEPTION_ROOT": os.fsencode(store.root), b"DOCKER_HOST": b"tcp://there:2375"})
    with pytest.raises(brief._NotPlain):
        brief.listing(["images"])
    monkeypatch.setattr(brief, "environb", {b"INCEPTION_ROOT": os.fsencode(store.root)})
    assert brief.listing(["images"]).startswith("REPOSITORY")


def test_a_store_of_another_version_and_none_at_all_are_not_read(store: Store, tmp_path: Path) -> None:
    named(store, "app:1", "2026-01-02T03:04:05Z")
    store.db.execute("UPDATE schema_versions SET version = version + 1 WHERE module = 'store'")
    with pytest.raises(brief._NotPlain):
        brief.listing(["--root", store.root, "images"])
    with pytest.raises(Exception, match="unable to open"):
        brief.listing(["--root", str(tmp_path / "nowhere"), "images"])
    assert not os.path.exists(tmp_path / "nowhere")


def test_what_is_kept_goes_with_every_change(store: Store, capfdbinary: pytest.CaptureFixture[bytes], keeping: None) -> None:
    first = named(store, "app:1", "2026-01-02T03:04:05Z")
    changes = [
        lambda: store.images.tag("app:1", "app:2"),
        lambda: store.images.untag("app:2"),
        lambda: named(store, "other:1", "2026-01-03T00:00:00Z"),
        lambda: store.images.tag("other:1", "app:1"),  # the first has lost its name
        lambda: store.images.tag(first, "app:1"),
        lambda: named(store, "", "2026-01-04T00:00:00Z"),
        lambda: store.images.remove(store.images.list()[0].id),
        lambda: store.images.remove("app:1", force=True),
        lambda: store.db.execute("DELETE FROM images"),
        lambda: make_image(store, LAYER, name="again:1"),
    ]
    for change in changes:
        before = says(store, capfdbinary)
        assert says(store, capfdbinary) == before
        assert kept(store) == ("<none>" not in before and before.count("\n") > 1)
        change()
        assert kept(store) == 0
        assert says(store, capfdbinary) != before


def test_a_listing_is_not_kept_when_a_name_came_after_it_was_read(store: Store, keeping: None) -> None:
    named(store, "app:1", "2026-01-02T03:04:05Z")
    connection = brief._open(f"{store.root}/state.db")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM image_names").fetchall()
    store.images.tag("app:1", "app:2")
    brief._keep(connection, [["app", "1", "old", "", "1B"]])
    assert kept(store) == 0
    assert brief.listing(["--root", store.root, "images", "-q"]).count("\n") == 2


def test_a_writer_is_never_waited_for(store: Store, keeping: None) -> None:
    named(store, "app:1", "2026-01-02T03:04:05Z")
    with store.db.transaction() as tx:
        tx.execute("DELETE FROM image_names")
        assert "app" in brief.listing(["--root", store.root, "images"])
    assert "<none>" in brief.listing(["--root", store.root, "images"])


def test_readers_among_writers_that_are_killed_see_every_name_that_was_given(store: Store, keeping: None) -> None:
    """Each round: a process tags, says so and is killed at once; whoever asks after it has said so sees the tag."""
    named(store, "app:0", "2026-01-02T03:04:05Z")
    tag = """
import sys
from inception.store import Store
store = Store(sys.argv[1])
for number in range(1, 1000):
    store.images.tag("app:0", f"app:{number}")
    print(number, flush=True)
"""
    read = """
import sys
from inception.cli import brief
brief._WORTH_KEEPING = 1
while True:
    brief.listing(["--root", sys.argv[1], "images"])
"""
    reader = subprocess.Popen([sys.executable, "-c", read, store.root])
    try:
        for _ in range(4):
            writer = subprocess.Popen([sys.executable, "-c", tag, store.root], stdout=subprocess.PIPE, text=True)
            assert writer.stdout is not None
            for _ in range(25):
                number = int(writer.stdout.readline())
                assert f"app          {number} " in brief.listing(["--root", store.root, "images"])
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
            names = {f"{row[0]}" for row in store.db.rows("SELECT tag FROM image_names")}
            assert {line.split()[1] for line in brief.listing(["--root", store.root, "images"]).splitlines()[1:]} == names
            for name in sorted(names - {"0"}):
                store.images.untag(f"app:{name}")
    finally:
        reader.kill()
        reader.wait()
