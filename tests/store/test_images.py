"""Images, snapshots and clean-up."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from inception.errors import Conflict, InvalidArgument, NotFound
from inception.oci.digest import chain_id
from inception.oci.image import ImageDocument, RootFs
from inception.store import Store
from inception.store.documents import load_json
from inception.store.removal import Removal, Usage
from inception.store.snapshots import Change

from .support import archive, folder, hard, link, make_image, member, tree

pytestmark = pytest.mark.needs("root")

BASE = archive(
    folder(".", mode=0o711),
    folder("etc", mode=0o750, uid=3),
    member("etc/a", b"a"),
    member("etc/b", b"b"),
    folder("d"),
    member("d/x", b"x"),
)
TOP = archive(member("etc/.wh.a"), member("etc/c", b"c"), member("d/.wh..wh..opq"), member("d/y", b"y"))


def test_an_image_is_found_by_name_id_prefix_and_digest(store: Store) -> None:
    image = make_image(store, BASE, name="app:1")
    by_id = (image.id, image.id[7:], image.id[7:19], image.id[:20], image.manifest_digest)
    for text in ("app:1", "docker.io/library/app:1", f"app@{image.manifest_digest}", *by_id):
        assert store.images.resolve(text) == image
    for text in ("app", "app:2", "f" * 64, "other/app:1"):
        with pytest.raises(NotFound, match="No such image: "):
            store.images.resolve(text)
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        store.images.resolve("App!")


def test_a_name_that_looks_like_an_id_is_a_name_first(store: Store) -> None:
    first = make_image(store, BASE)
    second = make_image(store, TOP)
    store.images.tag(second.id, first.id[7:13])
    assert store.images.resolve(first.id[7:13]).id == second.id


def test_layers_are_shared_and_kept_while_anything_needs_them(store: Store) -> None:
    one = make_image(store, BASE, name="one", cmd=["1"])
    two = make_image(store, BASE, name="two", cmd=["2"])
    assert one.layer_ids == two.layer_ids
    store.snapshots.prepare("s", image_id=one.id)
    assert lines(store.images.remove("one")) == ["Untagged: one:latest", f"Deleted: {one.id}"]
    store.images.remove("two")
    assert os.path.isdir(store.layers.path(one.layer_ids[0]))
    store.snapshots.remove("s")
    store.collect()
    assert os.listdir(f"{store.root}/layers") == ["empty"]
    assert os.listdir(f"{store.root}/blobs/sha256") == []


def test_nothing_is_collected_under_a_lease(store: Store) -> None:
    with store.lease(), store.scratch() as scratch:
        store.layers.register([store.layers.stage([BASE], scratch)])
        assert store.collect() == 0
    assert store.collect() > 0


def test_folders_without_an_entry_look_as_they_do_beneath(store: Store) -> None:
    image = make_image(store, BASE, archive(member("etc/new", b"n")))
    layer = store.layers.path(image.layer_ids[1])
    found = os.stat(f"{layer}/etc")
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o750, 3)
    alone = make_image(store, archive(member("etc/new", b"n")))  # the same layer with nothing beneath is another folder
    assert alone.layer_ids != image.layer_ids[1:]
    assert stat.S_IMODE(os.stat(f"{store.layers.path(alone.layer_ids[0])}/etc").st_mode) == 0o755


def test_a_snapshot_shows_the_stack_and_its_own_changes(store: Store) -> None:
    image = make_image(store, BASE, TOP)
    store.snapshots.prepare("s", image_id=image.id)
    with store.snapshots.view("s") as root:
        assert sorted(root.listdir("etc")) == ["b", "c"]
        assert root.listdir("d") == ["y"]
        assert stat.S_IMODE(root.stat("/").st_mode) == 0o711
    with store.snapshots.open("s", read_only=False) as root:
        root.unlink("etc/b")
        root.write_bytes("etc/c", b"changed")
        os.close(root.mkdirs("new/deep"))
    assert store.snapshots.changes("s") == [
        Change(kind="C", path="/etc"),
        Change(kind="D", path="/etc/b"),
        Change(kind="C", path="/etc/c"),
        Change(kind="A", path="/new"),
        Change(kind="A", path="/new/deep"),
    ]
    assert store.snapshots.usage("s") == len("changed")


def test_a_layer_that_comes_twice_is_mounted_once(store: Store) -> None:
    """Images from before 2016 have the empty layer for each instruction that changes no file."""
    one, two = archive(member("a", b"1")), archive(member("a", b"2"), member("b", b"b"))
    image = make_image(store, one, two, one, name="app")
    store.snapshots.prepare("c", image_id=image.id)
    with store.snapshots.open("c", read_only=False) as root, store.snapshots.open_layers(image.layer_ids) as layers:
        for view in (root, layers):
            assert {name: content for name, (_, _, _, content) in tree(f"/proc/self/fd/{view.fd}").items()} == {
                "a": "1",
                "b": "b",
            }


def test_a_snapshot_of_nothing_is_an_empty_root(store: Store) -> None:
    store.snapshots.prepare("s")
    with store.snapshots.open("s", read_only=False) as root:
        assert root.listdir("/") == []
        root.write_bytes("f", b"x")
    with store.snapshots.view("s") as root:
        assert root.read_bytes("f", 10) == b"x"


@pytest.mark.parametrize("consume", [False, True])
def test_a_commit_is_the_same_layer_however_it_is_made(consume: bool, store: Store) -> None:
    image = make_image(store, BASE)
    store.snapshots.prepare("s", image_id=image.id)
    with store.snapshots.open("s", read_only=False) as root:
        root.write_bytes("suid", b"x", 0o755)
        fd = root.open("suid", os.O_RDONLY)
        os.fchown(fd, 10, 20)
        os.fchmod(fd, 0o4711)
        os.setxattr(fd, "user.note", b"n")
        os.utime(fd, ns=(1, 1_234_567_890_123_456_789))
        os.close(fd)
        top = root.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.link("suid", "twin", src_dir_fd=top, dst_dir_fd=top)
        os.symlink("nowhere", "link", dir_fd=top)
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3), dir_fd=top)
        os.utime("link", ns=(1, 5), dir_fd=top, follow_symlinks=False)
        os.unlink("etc/a", dir_fd=top)
        for name in ("suid", "null", "etc"):
            os.utime(name, ns=(7, 7), dir_fd=top)
        os.close(top)
    os.utime(f"{store.root}/snapshots/s/upper", ns=(9, 9))
    with store.lease():
        number = store.snapshots.commit("s", consume=consume)
        layer = store.layers.get(number)
        packed = hashlib.sha256(b"".join(store.layers.tar(number))).hexdigest()
        assert layer.diff_id == f"sha256:{packed}"
        assert (store.snapshots.list() == []) is consume
        document = ImageDocument(
            architecture="amd64",
            os="linux",
            rootfs=RootFs(diff_ids=[store.layers.get(image.layer_ids[0]).diff_id, layer.diff_id]),
        )
        made = store.images.create(document, [*image.layer_ids, number], parent=image.id)
    store.snapshots.prepare("again", image_id=made.id)
    with store.snapshots.view("again") as root:
        found = root.stat("twin")
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_nlink) == (0o4711, 10, 20, 2)
        assert (root.readlink("link"), root.listdir("etc")) == ("nowhere", ["b"])
        assert root.stat("null").st_rdev == os.makedev(1, 3)


def test_the_same_tree_has_the_same_digest_in_another_order(tmp_path: Path) -> None:
    digests = []
    for turn in (1, -1):
        store = Store(str(tmp_path / f"root{turn}"))
        with store.scratch() as scratch:
            path = Path(scratch.path) / "tree"
            path.mkdir()
            for name in ("b", "a", "ä", "A")[::turn]:
                (path / name).write_text(name)
                os.utime(path / name, ns=(0, 0))
            os.utime(path, ns=(0, 0))
            digests.append(store.layers.stage_folder(str(path)).diff_id)
    assert digests[0] == digests[1]


def lines(removals: list[Removal]) -> list[str]:
    return [str(each) for each in removals]


def test_a_name_that_reads_as_a_digest_is_refused(store: Store) -> None:
    make_image(store, BASE, name="app")
    with pytest.raises(InvalidArgument, match="ambiguous tag using digest algorithm as name"):
        store.images.tag("app", "sha256:app")


class TestRemove:
    """Docker's words for what is in the way."""

    def test_a_name_goes_before_the_image(self, store: Store) -> None:
        image = make_image(store, BASE, name="app:1")
        store.images.tag("app:1", "app:2")
        assert lines(store.images.remove("app:1")) == ["Untagged: app:1"]
        layer = f"Deleted: {image.document.rootfs.diff_ids[0]}"
        assert lines(store.images.remove("app:2")) == ["Untagged: app:2", f"Deleted: {image.id}", layer]

    def test_layers_that_nobody_has_any_more_are_told_by_their_chains_from_the_top(self, store: Store) -> None:
        other = archive(member("other", b"o"))
        upper = archive(member("upper", b"u"))
        make_image(store, BASE, other, name="base")
        image = make_image(store, BASE, other, upper, other, name="app")
        diff_ids = image.document.rootfs.diff_ids
        chains = [f"Deleted: {chain_id(diff_ids[:count])}" for count in (4, 3)]
        assert lines(store.images.remove("app")) == ["Untagged: app:latest", f"Deleted: {image.id}", *chains]

    def test_layers_of_a_container_or_the_build_cache_are_not_gone(self, store: Store) -> None:
        image = make_image(store, BASE, archive(member("other", b"o")), name="app")
        store.snapshots.prepare("s", image_id=image.id)
        assert lines(store.images.remove(image.id, force=True))[1:] == [f"Deleted: {image.id}"]
        store.snapshots.remove("s")
        image = make_image(store, BASE, archive(member("other", b"o")), name="app")
        store.db.execute("INSERT INTO layer_holds VALUES ('cache', ?)", (image.layer_ids[0],))
        chain = chain_id(image.document.rootfs.diff_ids)
        assert lines(store.images.remove("app"))[1:] == [f"Deleted: {image.id}", f"Deleted: {chain}"]

    def test_an_id_with_names_in_two_repositories_must_be_forced(self, store: Store) -> None:
        image = make_image(store, BASE, name="app:1")
        store.images.tag("app:1", "other:1")
        with pytest.raises(
            Conflict, match=rf"unable to delete {image.short_id} \(must be forced\) - image is referenced in mult"
        ):
            store.images.remove(image.id)
        assert len(store.images.remove(image.id, force=True)) == 4

    def test_a_container_is_in_the_way(self, store: Store) -> None:
        image = make_image(store, BASE, name="app:1")
        stopped = [Usage(container_id="c" * 64, image_id=image.id)]
        running = [Usage(container_id="c" * 64, image_id=image.id, running=True)]
        with pytest.raises(
            Conflict, match=r'unable to remove repository reference "app:1" \(must force\) - container c{12} is using'
        ):
            store.images.remove("app:1", in_use=stopped)
        with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container c{12}$"):
            store.images.remove(image.id, in_use=stopped)
        with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container c{12}$"):
            store.images.remove(image.id, in_use=running, force=True)

    def test_an_image_with_children_stays(self, store: Store) -> None:
        image = make_image(store, BASE, name="app:1")
        document = ImageDocument(architecture="a", os="linux", rootfs=RootFs(diff_ids=image.document.rootfs.diff_ids))
        with store.lease():
            child = store.images.create(document, image.layer_ids, parent=image.id, names=["child"])
        with pytest.raises(Conflict, match="image has dependent child images"):
            store.images.remove(image.id, force=True)
        assert lines(store.images.remove("app:1")) == ["Untagged: app:1"]
        gone = [f"Deleted: {each}" for each in (child.id, image.id, *image.document.rootfs.diff_ids)]
        assert lines(store.images.remove("child")) == ["Untagged: child:latest", *gone]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (5 << 20), "larger than"),
        (b"\xff", "not JSON"),
        (b"{", "not JSON"),
    ],
)
def test_hostile_documents_are_errors(data: bytes, cause: str) -> None:
    with pytest.raises(InvalidArgument, match=cause):
        load_json(data, "document")


def test_a_document_that_does_not_fit_its_layers_is_refused(store: Store) -> None:
    document = ImageDocument(architecture="amd64", os="linux", rootfs=RootFs(diff_ids=["sha256:" + "0" * 64]))
    with store.lease(), store.scratch() as scratch, pytest.raises(InvalidArgument, match="don't match"):
        store.images.create(document, [store.layers.stage([BASE], scratch)])
    with store.scratch() as scratch, pytest.raises(InvalidArgument, match="the unpacked bytes have digest"):
        store.layers.stage([BASE], scratch, diff_id="sha256:" + "0" * 64)


def test_names_of_snapshots_cannot_lead_anywhere(store: Store, canary: Path) -> None:
    for name in ("", ".", "..", "../canary", "a/b", "a\0b"):
        with pytest.raises(InvalidArgument, match="invalid snapshot id"):
            store.snapshots.prepare(name)


def test_only_the_owner_gets_into_the_store(store: Store) -> None:
    make_image(store, archive(member("su", b"", mode=0o4755), link("l", "/"), hard("h", "su")))
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
    for name in ("layers", "snapshots", "blobs", "tmp"):
        assert stat.S_IMODE(os.stat(f"{store.root}/{name}").st_mode) == 0o700


def test_an_image_that_goes_while_a_list_is_read_does_not_spoil_it(store: Store) -> None:
    make_image(store, BASE, name="stays", labels={"a": "1", "inception.x": "of a stranger"})
    make_image(store, TOP, name="goes", labels={"a": "2"})
    listed = {image.names[0]: image for image in store.images.list()}
    store.images.remove("goes")
    assert {name: image.labels for name, image in listed.items()} == {"goes:latest": {}, "stays:latest": {"a": "1"}}
    assert listed["stays:latest"] == store.images.resolve("stays")
    assert listed["stays:latest"].labels == {"a": "1"}
