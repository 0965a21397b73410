"""A store without overlayfs shows what one with it shows, and is chosen where there is no other way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.mount import mount, umount2
from inception.store import Store
from inception.store.archive import load
from inception.store.archive_save import save
from inception.store.settings import load_settings

from .support import archive, folder, hard, link, make_image, member, tree

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return made(tmp_path, monkeypatch, "copy")


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> Store:
    path = folder / f"{kind}.json"
    path.write_text(json.dumps({"snapshotter": kind}))
    monkeypatch.setenv("INCEPTION_STORE", str(path))
    return Store(str(folder / kind))


LAYERS = [
    archive(
        folder("a", mode=0o1777),
        member("a/x", b"1", mode=0o4755, uid=7),
        hard("a/y", "a/x"),
        link("l", "/etc"),
        folder("gone"),
        member("gone/f", b"f"),
        folder("opaque"),
        member("opaque/old", b"o"),
        member("was-file", b"w"),
        folder("was-folder"),
        member("was-folder/in", b"i"),
    ),
    archive(
        member(".wh.gone", b""),
        member("opaque/.wh..wh..opq", b""),
        member("opaque/new", b"n"),
        folder("was-file"),
        member("was-file/in", b"i"),
        member("was-folder", b"now a file"),
        member("a/.wh.y", b""),
    ),
    archive(folder("gone", mode=0o700), member("gone/again", b"g"), member("a/z", b"z")),
]


def shown(store: Store, image_id: str) -> dict[str, tuple[int, int, int, str]]:
    with store.images._store.snapshots.open_layers(store.images.resolve(image_id).layer_ids) as root:
        return tree(f"/proc/self/fd/{root.fd}")


def test_a_stack_looks_as_overlayfs_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay, copying = (made(tmp_path, monkeypatch, kind) for kind in ("overlay", "copy"))
    assert (overlay.snapshots.driver, copying.snapshots.driver) == ("overlay2", "vfs")
    monkeypatch.delenv("INCEPTION_STORE")
    images = [make_image(store, *LAYERS, name="app") for store in (overlay, copying)]
    assert images[0].id == images[1].id
    assert shown(overlay, "app") == shown(copying, "app")
    copying.snapshots.prepare("c", image_id=images[1].id)
    with copying.snapshots.open("c") as root:
        assert tree(f"/proc/self/fd/{root.fd}") == shown(overlay, "app")
    assert os.listdir(copying.tmp) == []


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def layer(draw: st.DrawFn) -> bytes:
    """A layer as builders write them: every name once, a folder before what is in it, whiteouts of what may be beneath."""
    kinds: dict[str, str] = {}
    for path in draw(st.lists(PATHS, max_size=6)):
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        if any(kinds.get(each, "folder") != "folder" for each in above) or path in kinds:
            continue
        for each in above:
            kinds[each] = "folder"
        kinds[path] = draw(st.sampled_from(["file", "folder", "link", "whiteout", "opaque"]))
    members = []
    for path, kind in sorted(kinds.items()):
        head, _, name = path.rpartition("/")
        if kind == "whiteout":
            members.append(member(f"{head}/.wh.{name}".lstrip("/"), b""))
        elif kind == "file":
            members.append(member(path, draw(st.binary(max_size=3)), mode=draw(st.sampled_from([0o644, 0o4755]))))
        elif kind == "link":
            members.append(link(path, draw(st.sampled_from(["/a", "b", "../.."]))))
        else:
            members.append(folder(path, mode=draw(st.sampled_from([0o755, 0o1777]))))
            if kind == "opaque":
                members.append(member(f"{path}/.wh..wh..opq", b""))
    return archive(*members)


@given(stack=st.lists(layer(), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_stack_looks_as_overlayfs_shows_it(stack: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("stores")
        overlay, copying = (made(place, patch, kind) for kind in ("overlay", "copy"))
        patch.delenv("INCEPTION_STORE")
        for store in (overlay, copying):
            make_image(store, *stack, name="app")
        assert shown(overlay, "app") == shown(copying, "app")


def test_a_folder_that_another_layer_makes_a_link_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2026-17106 and its like, across layers: the file must not be written where the link leads."""
    outside = tmp_path / "outside"
    outside.mkdir()
    stack = [archive(folder("d"), member("d/x", b"x")), archive(link("d", str(outside))), archive(member("d/x", b"evil"))]
    for kind in ("overlay", "copy"):
        store = made(tmp_path, monkeypatch, kind)
        image = make_image(store, *stack, name="app")
        store.snapshots.prepare("c", image_id=image.id)
        with store.snapshots.open("c") as root:
            assert tree(f"/proc/self/fd/{root.fd}")["d/x"][3] == "evil"
    assert os.listdir(outside) == []


def test_what_was_changed_is_told_and_committed(copying: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_image(copying, *LAYERS, name="app")
    copying.snapshots.prepare("c", image_id=image.id)
    root = Path(copying.snapshots.writable("c"))
    (root / "a/x").chmod(0o755)
    (root / "a/z").write_text("Z")  # as long as before, and with its old time
    os.utime(root / "a/z", ns=(0, 0))
    (root / "a/same").write_text("s")
    (root / "a/same").rename(root / "a/other")
    os.utime(root / "gone/again", ns=(os.stat(root / "gone/again").st_mtime_ns,) * 2)  # nothing, though its status changed
    (root / "was-folder").unlink()
    (root / "was-folder").mkdir()
    (root / "was-folder/in").symlink_to("/etc/passwd")
    os.link(root / "was-folder/in", root / "was-folder/in2", follow_symlinks=False)
    changes = [(change.kind, change.path) for change in copying.snapshots.changes("c")]
    assert changes == [
        ("C", "/a"), ("A", "/a/other"), ("C", "/a/x"), ("C", "/a/z"), ("C", "/was-folder"), ("A", "/was-folder/in"),
        ("A", "/was-folder/in2"),
    ]  # fmt: skip
    assert copying.snapshots.usage("c") == len("s1Z")
    expected = tree(str(root))
    with copying.lease():
        number = copying.snapshots.commit("c")
        with copying.snapshots.open_layers([*image.layer_ids, number]) as view:
            assert tree(f"/proc/self/fd/{view.fd}") == expected
            found = os.stat(f"/proc/self/fd/{view.fd}/was-folder/in", follow_symlinks=False)
            assert stat.S_ISLNK(found.st_mode)


def test_nothing_changed_is_nothing(copying: Store) -> None:
    image = make_image(copying, *LAYERS, name="app")
    copying.snapshots.prepare("c", image_id=image.id)
    before = os.stat(copying.snapshots.writable("c"))
    assert not copying.snapshots.is_changed("c", before)
    assert copying.snapshots.changes("c") == []
    Path(copying.snapshots.writable("c"), "new").write_text("n")
    assert copying.snapshots.is_changed("c", before)


def test_a_commit_goes_to_a_store_with_overlayfs_and_back(
    copying: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(copying, *LAYERS, name="app")
    copying.snapshots.prepare("c", image_id=image.id)
    root = Path(copying.snapshots.writable("c"))
    (root / "opaque/new").unlink()
    (root / "was-file/in").rename(root / "moved")
    expected = tree(str(root))
    with copying.lease():
        number = copying.snapshots.commit("c", consume=True)
        document = image.document
        document.rootfs.diff_ids.append(copying.layers.get(number).diff_id)
        copying.images.create(document, [*image.layer_ids, number], names=["mine"])
    overlay = made(tmp_path, monkeypatch, "overlay")
    monkeypatch.delenv("INCEPTION_STORE")
    load(overlay, save(copying, ["mine"]))
    assert shown(overlay, "mine") == expected == shown(copying, "mine")
    assert copying.snapshots.list() == [] and os.listdir(f"{copying.root}/snapshots") == []


def test_sparse_files_and_attributes_are_copied(copying: Store) -> None:
    image = make_image(copying, archive(member("f", b"x")), name="app")
    path = Path(copying.layers.path(image.layer_ids[0]))
    with (path / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"data")
    os.setxattr(path / "f", "user.k", b"v")
    copying.snapshots.prepare("c", image_id=image.id)
    copy = Path(copying.snapshots.writable("c"))
    assert (copy / "sparse").read_bytes() == (path / "sparse").read_bytes()
    assert (copy / "sparse").stat().st_blocks * 512 < 1 << 20
    assert os.getxattr(copy / "f", "user.k") == b"v"


def test_on_another_overlayfs_it_is_chosen_by_itself(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount("overlay", str(tmp_path / "merged"), "overlay", 0, options)
    try:
        store = Store(str(tmp_path / "merged/root"))
        assert store.snapshots.driver == "vfs"
        image = make_image(store, *LAYERS, name="app")
        store.snapshots.prepare("c", image_id=image.id)
        assert "again" in os.listdir(f"{store.snapshots.writable('c')}/gone")
        store.db.close()
        assert Store(str(tmp_path / "merged/root")).snapshots.driver == "vfs", "what it was made as"
    finally:
        umount2(str(tmp_path / "merged"), abi.MNT_DETACH)


def test_a_store_stays_of_the_kind_it_was_made_as(copying: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.json").write_text('{"snapshotter": "overlay"}')
    monkeypatch.setenv("INCEPTION_STORE", str(tmp_path / "other.json"))
    again = Store(copying.root)
    assert again.snapshots.driver == "vfs"
    with pytest.raises(InvalidArgument, match="was not made for snapshotter 'overlay'"):
        make_image(again, archive(member("f", b"")), name="app")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"snapshotter": "zfs"}', "snapshotter: 'zfs' is none of auto, overlay, copy"),
        ('{"limits": {"max_bytes": -1}}', "max_bytes: must not be negative"),
        ('{"limit": {}}', "limit"),
        ("[]", "object"),
    ],
)
def test_a_settings_file_that_says_nonsense_is_an_error(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=words):
        load_settings(str(path))


class Cli:
    def __init__(self, folder: Path) -> None:
        (folder / "store.json").write_text('{"snapshotter": "copy"}')
        self.env = {**os.environ, "INCEPTION_STORE": str(folder / "store.json")}
        self.words = [sys.executable, "-I", "-m", "inception.cli", "--root", f"{folder}/root", "--run-root", f"{folder}/run"]

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, env=self.env, timeout=60, check=False)
        assert done.returncode == 0, (words, done)
        return done.stdout


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    found = Cli(tmp_path)
    found("image", "bootstrap", "-q", "busybox")
    yield found
    if ids := found("ps", "-aq").split():
        found("rm", "-f", *ids)


@pytest.mark.needs("busybox")
def test_containers_builds_commits_and_copies_work_on_it(cli: Cli, tmp_path: Path) -> None:
    assert " Storage Driver: vfs\n" in cli("info")
    script = "echo hi >/x; rm /bin/vi; mkdir -p /d/e; ln -s /etc /d/l; chmod 700 /tmp"
    cli("run", "--name", "cc", "--network", "none", "busybox", "sh", "-c", script)
    lines = ["C /bin", "D /bin/vi", "A /d", "A /d/e", "A /d/l", "C /tmp", "A /x"]
    assert cli("diff", "cc").splitlines() == lines
    (tmp_path / "foo").write_text("foo\n")
    cli("cp", str(tmp_path / "foo"), "cc:/d/foo")
    cli("commit", "cc", "mine")
    assert cli("run", "--rm", "--network", "none", "mine", "sh", "-c", "cat /x /d/foo; ls /bin/vi || true") == "hi\nfoo\n"
    (tmp_path / "Dockerfile").write_text("FROM mine\nRUN rm -rf /d && mkdir /d && echo n >/d/n\nCOPY foo /foo\n")
    cli("build", "-q", "--network", "none", "-t", "built", str(tmp_path))
    assert cli("run", "--rm", "--network", "none", "--read-only", "built", "sh", "-c", "ls /d; cat /foo; >/y || echo no") == (
        "n\nfoo\nno\n"
    )
    assert "all is well" in cli("store", "verify")
    assert cli("inspect", "-f", "{{.Driver}} {{.GraphDriver.Name}}", "cc") == "vfs vfs\n"
