"""`engine.images` as a library: files of images, news as an iterator, and an ordinary user."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

import inception
from inception.errors import InvalidArgument, NotFound
from inception.oci.image import History
from inception.record import replace
from inception.store.progress import follow
from inception.store.push import push

from .registries import DebianRegistry
from .support import archive, folder, link, make_image, member

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def engine(tmp_path: Path) -> inception.Engine:
    return inception.Engine(root=str(tmp_path / "root"), run_root=str(tmp_path / "run"))


def test_a_file_of_an_image_is_opened_without_a_container(engine: inception.Engine) -> None:
    layers = [
        archive(
            folder("etc"),
            member("etc/os-release", b"old"),
            member("etc/gone", b"g"),
            member("dev-null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        ),
        archive(
            member("etc/os-release", b"new"),
            member("etc/.wh.gone", b""),
            link("out", "/etc/os-release"),
            link("loop", "loop"),
            link("host", "/../../../../etc/hostname"),
        ),
    ]
    make_image(engine.store, *layers, name="app")
    with engine.images.open("app", "/etc/os-release") as file:
        assert file.read() == b"new"
    with engine.images.open("app", "out") as file:
        engine.images.remove("app")
        assert file.read() == b"new", "an open file outlives its image"
    make_image(engine.store, *layers, name="app")
    for path in ("/etc/gone", "loop", "host", "nothing"):
        with pytest.raises(NotFound, match=f"open {path} of app:latest: "):
            engine.images.open("app", path)
    for path in ("/etc", "dev-null", "/"):
        with pytest.raises(InvalidArgument, match="not a regular file"):
            engine.images.open("app", path)


@pytest.mark.needs("docker-registry")
def test_news_come_to_who_loops_and_the_result_after_them(engine: inception.Engine, registry: DebianRegistry) -> None:
    name = f"{registry.host}/app:1"
    make_image(engine.store, archive(member("f", os.urandom(1 << 20))), name=name)
    push(engine.store, name)
    engine.images.remove(name)
    work = follow(engine.images.pull, name)
    statuses = [news.status for news in work]
    assert statuses[0] == "Pulling from app" and statuses[-1].startswith("Status: Downloaded newer image")
    assert {"Download complete", "Extracting", "Pull complete"} <= set(statuses)
    assert work.result().names == [name]
    assert list(work) == []
    with pytest.raises(NotFound):
        follow(engine.images.pull, f"{registry.host}/nothing:1").result()


AS_USER = """
import sys
import inception
root, name = sys.argv[1:]
engine = inception.Engine(root=root + "/root", run_root=root + "/run")
image = engine.images.pull(name)
print(engine.system.info()["Driver"], image.names, engine.images.open(name, "d/f").read())
with open(root + "/saved.tar", "wb") as out:
    out.writelines(engine.images.save([name]))
engine.images.remove(name)
print(engine.images.list())
with open(root + "/saved.tar", "rb") as saved:
    print(engine.images.load(saved) == [name], engine.images.get(name).id == image.id)
engine.images.tag(name, name + "-mine")
print(engine.images.push(name + "-mine").digest == image.manifest_digest)
print(engine.images.verify().problems)
"""


@pytest.mark.needs("docker-registry")
def test_an_ordinary_user_pulls_looks_saves_loads_and_pushes(engine: inception.Engine, registry: DebianRegistry) -> None:
    """Owners of files are the user's own then, since the kernel lets nobody else give files away."""
    name = f"{registry.host}/app:1"
    layers = [
        archive(folder("d", mode=0o755), member("d/f", b"hello", uid=7, mode=0o4755), member("d/g", b"g")),
        archive(member("d/.wh.g", b"")),
    ]
    make_image(engine.store, *layers, name=name)
    push(engine.store, name)
    with tempfile.TemporaryDirectory(prefix="inception-user-", dir="/tmp") as home:
        os.chown(home, 65534, 65534)
        env = {"PATH": "/usr/bin:/bin", "HOME": home, "INCEPTION_REGISTRIES": f"{home}/registries.json"}
        source = str(Path(inception.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", AS_USER, home, name],
            user=65534, group=65534, extra_groups=[], cwd="/",
            env={**env, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"vfs ['{name}'] b'hello'", "[]", "True True", "True", "[]"]


def test_images_that_do_not_say_when_they_were_made_are_filtered_by_time(engine: inception.Engine) -> None:
    make_image(engine.store, archive(member("f", b"f")), name="timeless")
    stream = io.BytesIO(archive(member("g", b"g")))
    younger = engine.images.import_(stream, "younger")
    assert [image.id for image in engine.images.list(filters={"since": ["timeless"]})] == [younger.id]
    assert [image.names for image in engine.images.list(filters={"before": ["younger"]})] == [["timeless:latest"]]
    assert [image.names for image in engine.images.list(filters={"until": ["1h"]})] == [["timeless:latest"]]
    assert engine.images.prune({"until": ["2001-01-01"]}, all=True).images[0] == "untagged: timeless:latest"


def test_the_same_tar_is_imported_twice_as_two_images(engine: inception.Engine) -> None:
    data = archive(member("g", b"g"))
    assert engine.images.import_(io.BytesIO(data)).id != engine.images.import_(io.BytesIO(data)).id


def test_a_load_tells_which_image_has_lost_its_name_and_keeps_parents(engine: inception.Engine, tmp_path: Path) -> None:
    base = make_image(engine.store, archive(member("f", b"f")), name="base")
    document = replace(base.document, history=[History(created_by="child")])
    with engine.store.lease():
        child = engine.store.images.create(document, base.layer_ids, names=["child"], parent=base.id)
    data = b"".join(engine.images.save(["base", "child"]))
    with tarfile.open(fileobj=io.BytesIO(data)) as saved:
        repositories = json.load(saved.extractfile("repositories"))  # type: ignore[arg-type]
    layer = base.document.rootfs.diff_ids[0].removeprefix("sha256:")
    assert repositories == {"base": {"latest": layer}, "child": {"latest": layer}}
    engine.images.remove("child")
    engine.images.tag("base", "child")
    told: list[str] = []
    engine.images.load(io.BytesIO(data), lambda news: told.append("" if news.id else news.status))
    assert f"The image child:latest already exists, renaming the old one with ID {base.id} to empty string" in told
    assert engine.images.get("child").parent == base.id

    other = inception.Engine(root=str(tmp_path / "other"), run_root=str(tmp_path / "other-run"))
    other.images.load(io.BytesIO(data))
    assert other.images.get("child").parent == base.id
    assert [each.deleted for each in other.images.remove("child")][1] == child.id


def test_a_bare_repository_is_saved_with_all_its_tags(engine: inception.Engine, tmp_path: Path) -> None:
    image = make_image(engine.store, archive(member("f", b"f")), name="app:1")
    engine.images.tag("app:1", "app:2")
    engine.images.tag("app:1", "other")
    data = b"".join(engine.images.save(["app"]))
    assert engine.images.load(io.BytesIO(data)) == ["app:1", "app:2"]
    assert engine.images.load(io.BytesIO(b"".join(engine.images.save([image.id])))) == [image.id]
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        engine.images.save(["nothing"])


def test_a_listing_by_name_shows_no_other_names_of_an_image(engine: inception.Engine) -> None:
    image = make_image(engine.store, archive(member("f", b"f")), name="app:1")
    for name in ("app:2", "other:1", "a/b/app:1"):
        engine.images.tag("app:1", name)

    def listed(pattern: str) -> list[str]:
        return [name for each in engine.images.list(filters={"reference": [pattern]}) for name in each.names]

    assert listed("app") == ["app:1", "app:2"]
    assert listed("app:2") == ["app:2"]
    assert listed("*:1") == ["app:1", "other:1"]
    assert listed("*/*/app") == ["a/b/app:1"]
    assert listed("nothing") == []
    assert engine.images.list(filters={"reference": ["app"]})[0].document == image.document


def as_user(uid: int, home: str) -> subprocess.CompletedProcess[str]:
    """`images` by an ordinary user without a session: nobody has set XDG_RUNTIME_DIR, or made /run/user/UID."""
    words = "import sys; from inception.cli.main import main; sys.exit(main(['images', '-q']))"
    return subprocess.run(
        [sys.executable, "-c", words],
        user=uid, group=uid, extra_groups=[], cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": home, "PYTHONPATH": str(Path(inception.__file__).parents[1])},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_user_without_a_session_has_a_folder_for_what_is_of_this_boot() -> None:
    uid = 61_237
    assert not os.path.exists(f"/run/user/{uid}") and not os.path.lexists(f"/tmp/inception-{uid}")
    with tempfile.TemporaryDirectory(prefix="inception-user-", dir="/tmp") as home:
        os.chown(home, uid, uid)
        try:
            assert [as_user(uid, home).returncode for _ in range(2)] == [0, 0]
            found = os.lstat(f"/tmp/inception-{uid}")
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, uid)
        finally:
            shutil.rmtree(f"/tmp/inception-{uid}", ignore_errors=True)
        os.symlink(home, f"/tmp/inception-{uid}")  # what another user may have put there
        try:
            done = as_user(uid, home)
        finally:
            os.unlink(f"/tmp/inception-{uid}")
    assert done.returncode != 0 and f"/tmp/inception-{uid}: it is not yours" in done.stderr
