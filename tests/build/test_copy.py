"""COPY and ADD: what lands where, with which mode and owner."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from inception.build import BuildFailed, DockerfileError

pytestmark = pytest.mark.needs("root")


def fails(builder, dockerfile: str) -> str:
    with pytest.raises((BuildFailed, DockerfileError)) as caught:
        builder.build(dockerfile)
    return str(caught.value)


def test_a_folders_contents_are_copied_with_modes_and_links_and_belong_to_root(builder):
    builder.write("src/run.sh", "#!", 0o755)
    builder.write("src/deep/secret", "x", 0o600)
    os.symlink("run.sh", builder.context / "src/link")
    os.symlink("/nowhere", builder.context / "src/dangling")
    os.chown(builder.context / "src/run.sh", 1234, 1234)
    os.chmod(builder.context / "src/deep", 0o711)
    builder.build("FROM scratch\nCOPY src /app/\n")
    assert builder.tree() == [
        "drwxr-xr-x 0:0 app/",
        "lrwxrwxrwx 0:0 app/dangling -> /nowhere",
        "drwx--x--x 0:0 app/deep/",
        "-rw------- 0:0 app/deep/secret",
        "lrwxrwxrwx 0:0 app/link -> run.sh",
        "-rwxr-xr-x 0:0 app/run.sh",
    ]


def test_a_trailing_slash_decides_between_file_and_folder(builder):
    builder.write("a", "x")
    builder.build("FROM scratch\nWORKDIR /w\nCOPY a one\nCOPY a two/\nCOPY a /three/four\nCOPY a ./\nCOPY a .\n")
    assert [line.split(" ")[2] for line in builder.tree()] == [
        "three/",
        "three/four",
        "w/",
        "w/a",
        "w/one",
        "w/two/",
        "w/two/a",
    ]


def test_a_file_copied_onto_a_folder_goes_inside_and_replaces_what_has_its_name(builder):
    builder.write("a", "new")
    builder.write("d/a", "old")
    builder.build("FROM scratch\nCOPY d /d\nCOPY a /d\n")
    assert builder.read("/d/a") == "new"


def test_a_folder_is_merged_and_its_modes_win_below_the_destination(builder):
    builder.write("one/sub/kept", "1")
    builder.write("two/sub/added", "2")
    os.chmod(builder.context / "one", 0o700)
    os.chmod(builder.context / "one/sub", 0o700)
    os.chmod(builder.context / "two", 0o755)
    os.chmod(builder.context / "two/sub", 0o751)
    builder.build("FROM scratch\nCOPY one /d\nCOPY two /d\n")
    assert builder.tree() == [
        "drwxr-xr-x 0:0 d/",
        "drwxr-x--x 0:0 d/sub/",
        "-rw-r--r-- 0:0 d/sub/added",
        "-rw-r--r-- 0:0 d/sub/kept",
    ]


def test_a_new_destination_has_nothing_of_the_folder_whose_contents_it_takes(builder):
    builder.write("d/sub/f", "1")
    os.chmod(builder.context / "d", 0o711)
    os.chmod(builder.context / "d/sub", 0o711)
    os.setxattr(builder.context / "d", "user.note", b"top")
    builder.build(
        "FROM scratch AS one\nCOPY --chown=3:4 d /o/\n"
        "FROM scratch\nCOPY --from=one /o /kept\nCOPY --from=one --chown=5:6 /o /given\nCOPY --chmod=0750 d /mode\n"
    )
    assert [line for line in builder.tree() if "/f" not in line] == [
        "drwxr-xr-x 5:6 given/",
        "drwx--x--x 5:6 given/sub/",
        "drwxr-xr-x 0:0 kept/",
        "drwx--x--x 3:4 kept/sub/",
        "drwxr-x--- 0:0 mode/",
        "drwxr-x--- 0:0 mode/sub/",
    ]


def test_a_folder_that_workdir_makes_belongs_to_the_user_of_the_steps(builder):
    builder.write("etc/passwd", "app:x:7:8::/:/bin/sh\n")
    builder.write("etc/group", "app:x:8:\n")
    builder.build(
        "FROM scratch\nCOPY . /\nWORKDIR /before\nUSER app\nWORKDIR /by/name\nWORKDIR /before\nUSER 9\nWORKDIR /by/number\n"
    )
    found = [line for line in builder.tree() if "by" in line or "before" in line]
    assert found == ["drwxr-xr-x 0:0 before/", "drwxr-xr-x 7:8 by/", "drwxr-xr-x 7:8 by/name/", "drwxr-xr-x 9:9 by/number/"]
    with pytest.raises(BuildFailed, match="nobody-knows"):
        builder.build("FROM scratch\nUSER nobody-knows\nWORKDIR /x\n")


def test_wildcards_match_names_and_may_match_nothing(builder):
    for name in ("a1.txt", "a2.txt", "b1.txt", "arr[0].txt", "sub/a3.txt"):
        builder.write(name, name)
    builder.build("FROM scratch\nCOPY a?.txt none* /d/\nCOPY arr[[]0].txt /e/\nCOPY */a*.txt /f/\n")
    assert [line.split(" ")[2] for line in builder.tree() if not line.endswith("/")] == [
        "d/a1.txt",
        "d/a2.txt",
        "e/arr[0].txt",
        "f/a3.txt",
    ]


def test_paths_can_not_lead_out_of_the_context(builder):
    builder.write("a", "inside")
    builder.build("FROM scratch\nCOPY ../../a /one\nCOPY /a /two\nCOPY x/../a /three\n")
    assert [builder.read(path) for path in ("one", "two", "three")] == ["inside"] * 3


def test_a_link_named_as_source_is_followed_inside_the_context(builder):
    builder.write("real/file", "x")
    os.symlink("real", builder.context / "link")
    os.symlink("/real/file", builder.context / "absolute")
    builder.build("FROM scratch\nCOPY link /d\nCOPY absolute /f\nCOPY link/file /g\n")
    assert [line.split(" ")[2] for line in builder.tree()] == ["d/", "d/file", "f", "g"]


def test_links_in_the_destination_are_followed_inside_the_image(builder, tmp_path):
    builder.write("a", "x")
    builder.write("root/real/keep", "")
    os.symlink("/real", builder.context / "root/absolute")
    os.symlink(str(tmp_path), builder.context / "root/host")
    os.symlink("../../../../made", builder.context / "root/dangling")
    os.symlink("real/keep", builder.context / "root/to-file")
    builder.build(
        "FROM scratch\nCOPY root /\nCOPY a /absolute/one\nCOPY a /host/two\nCOPY a /dangling/three\nCOPY a /to-file\n"
    )
    files = [line.split(" ", 2)[2] for line in builder.tree()]
    assert "real/one" in files and "made/three" in files and f"{tmp_path}/two"[1:] in files
    assert "to-file -> real/keep" in files and builder.read("real/keep") == "x"
    assert not (tmp_path / "two").exists()


def test_chown_and_chmod(builder):
    builder.write("d/x", "", 0o644)
    builder.write("d/run", "", 0o755)
    builder.build(
        "FROM scratch\nCOPY --chown=10:11 d /one/new/\nCOPY --chown=7 --chmod=750 d/x /two\nCOPY --chmod=u=rwX,go=rX d /three\n"
        "COPY --chmod=+x d/x /four\nCOPY --chmod=g=u,o-r d/x /five\nCOPY --chmod=4755 d/x /six\n"
    )
    assert builder.tree() == [
        "-rw-rw---- 0:0 five",
        "-rwxr-xr-x 0:0 four",
        "drwxr-xr-x 10:11 one/",
        "drwxr-xr-x 10:11 one/new/",
        "-rwxr-xr-x 10:11 one/new/run",
        "-rw-r--r-- 10:11 one/new/x",
        "-rwsr-xr-x 0:0 six",
        "drwxr-xr-x 0:0 three/",
        "-rwxr-xr-x 0:0 three/run",
        "-rw-r--r-- 0:0 three/x",
        "-rwxr-x--- 7:7 two",
    ]


def test_chown_by_name_reads_the_images_own_files(builder):
    builder.write("etc/passwd", "root:x:0:0::/:\napp:x:1500:1600::/:\n")
    builder.write("etc/group", "root:x:0:\nweb:x:1700:\n")
    builder.write("a")
    builder.build("FROM scratch\nCOPY etc /etc\nCOPY --chown=app a /1\nCOPY --chown=app:web a /2\nCOPY --chown=5:web a /3\n")
    assert [(builder.stat(f"/{n}").st_uid, builder.stat(f"/{n}").st_gid) for n in (1, 2, 3)] == [
        (1500, 1600),
        (1500, 1700),
        (5, 1700),
    ]
    assert "nobody-here" in fails(builder, "FROM scratch\nCOPY etc /etc\nCOPY --chown=nobody-here a /1\n")


def test_copies_between_stages_keep_owners_hard_links_and_capabilities(builder):
    builder.write("a", "x")
    archive = builder.context / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link in (
            ("one", tarfile.REGTYPE, ""),
            ("two", tarfile.LNKTYPE, "d/one"),
            ("fifo", tarfile.FIFOTYPE, ""),
        ):
            entry = tarfile.TarInfo(f"d/{name}")
            entry.type, entry.linkname, entry.uid, entry.gid, entry.mode = kind, link, 7, 8, 0o640
            entry.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            tar.addfile(entry, io.BytesIO())
    builder.build("FROM scratch AS s\nADD a.tar /\nFROM scratch\nCOPY --from=s /d /copied\n")
    assert builder.tree("copied") == ["prw-r----- 7:8 fifo", "-rw-r----- 7:8 one", "-rw-r----- 7:8 two"]
    assert builder.stat("copied/one").st_ino == builder.stat("copied/two").st_ino
    with builder.engine.store.snapshots.open_layers(builder.engine.images.get("result").layer_ids) as root:
        fd = root.open("copied/one", os.O_RDONLY)
        assert os.getxattr(fd, "user.note") == b"kept"
        os.close(fd)


def test_an_image_can_be_copied_from(builder):
    builder.write("a", "x")
    builder.build("FROM scratch\nCOPY a /deep/a\n", tags=["other:1"])
    builder.build("FROM scratch\nCOPY --from=other:1 /deep /b\n")
    assert builder.tree() == ["drwxr-xr-x 0:0 b/", "-rw-r--r-- 0:0 b/a"]


def test_exclude_and_parents(builder):
    for name in ("x/a.txt", "x/a.md", "y/a.txt", "y/z/b.txt"):
        builder.write(name)
    builder.build(
        "FROM scratch\nCOPY --exclude=*.md x /one\nCOPY --parents ./x/a.txt y/a.txt /two/\nCOPY --parents y/./z/*.txt /three/\n"
        "COPY --parents ./**/*.txt /four/\n"
    )
    assert [line.split(" ")[2] for line in builder.tree() if not line.endswith("/")] == [
        "four/x/a.txt",
        "four/y/a.txt",
        "four/y/z/b.txt",
        "one/a.txt",
        "three/z/b.txt",
        "two/x/a.txt",
        "two/y/a.txt",
    ]


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_add_unpacks_local_archives_by_their_content_and_copy_does_not(builder, kind):
    with tarfile.open(builder.context / "any.name", f"w:{kind}" if kind else "w") as tar:
        entry = tarfile.TarInfo("d/file")
        entry.size, entry.uid = 1, 5
        tar.addfile(entry, io.BytesIO(b"x"))
    builder.write("empty.tar.gz", "")
    builder.build(
        "FROM scratch\nADD any.name /one\nADD --chown=3:4 any.name /two/\nCOPY any.name /three\nADD empty.tar.gz /\n"
        "ADD --unpack=false any.name /four\n"
    )
    assert builder.tree() == [
        "-rw-r--r-- 0:0 empty.tar.gz",
        "-rw-r--r-- 0:0 four",
        "drwxr-xr-x 0:0 one/",
        "drwxr-xr-x 0:0 one/d/",
        "-rw-r--r-- 5:0 one/d/file",
        "-rw-r--r-- 0:0 three",
        "drwxr-xr-x 3:4 two/",
        "drwxr-xr-x 3:4 two/d/",
        "-rw-r--r-- 3:4 two/d/file",
    ]


def test_here_documents_become_files(builder):
    builder.build('FROM scratch\nARG WHO=you\nCOPY <<EOF <<-"X" /d/\nhello $WHO\nEOF\n\thello $WHO\nX\nCOPY <<EOF /f\nx\nEOF\n')
    assert (builder.read("d/EOF"), builder.read("d/X"), builder.read("f")) == ("hello you\n", "hello $WHO\n", "x\n")


def test_times_of_files_are_kept(builder):
    file = builder.write("d/a")
    os.utime(file, ns=(10**18, 1_600_000_000_123_456_789))
    builder.build("FROM scratch\nCOPY d /d\n")
    assert builder.stat("d/a").st_mtime_ns == 1_600_000_000_123_456_789


def test_workdir_makes_folders_once(builder):
    result = builder.build("FROM scratch\nWORKDIR /a\nWORKDIR b\nWORKDIR /a\n")
    assert builder.tree() == ["drwxr-xr-x 0:0 a/", "drwxr-xr-x 0:0 a/b/"]
    assert [step.empty_layer for step in builder.document().history] == [False, False, True]
    assert result.steps == 3


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("COPY nope /x", 'Dockerfile:2: COPY: "/nope": not found'),
        ("COPY d /f/x", "Dockerfile:2: COPY: cannot copy to non-directory"),
        ("COPY f /d", "Dockerfile:2: COPY: cannot replace to directory /d with file f"),
        ("WORKDIR /f/x", "Dockerfile:2: WORKDIR: /f/x: a part of it is not a directory"),
        ("COPY --chmod=9 f /x", "Dockerfile:2: COPY: invalid chmod parameter: '9'"),
        ("COPY loop /x", "Dockerfile:2: COPY: loop: Too many levels of symbolic links"),
    ],
)
def test_what_is_in_the_way_is_named(builder, dockerfile, message):
    builder.write("base/f", "")
    builder.write("base/d/f/x", "")
    builder.write("f", "")
    builder.write("d/x", "")
    os.symlink("loop", builder.context / "loop")
    builder.build("FROM scratch\nCOPY base /\n", tags=["base"])
    assert fails(builder, f"FROM base\n{dockerfile}\n").startswith(message)


def test_names_of_one_file_stay_names_of_one_file_wherever_they_come_from(builder):
    for folder in ("a", "b"):
        builder.write(f"{folder}/own", folder)
    builder.write("a/one", "x")
    os.link(builder.context / "a/one", builder.context / "a/two")
    os.makedirs(builder.context / "a/below")
    os.link(builder.context / "a/one", builder.context / "a/below/three")
    os.link(builder.context / "a/one", builder.context / "b/four")
    builder.build("FROM scratch\nCOPY a b /d/\nCOPY a/one a/two /e/\n")
    assert len({builder.stat(f"d/{name}").st_ino for name in ("one", "two", "below/three", "four")}) == 1
    assert builder.stat("d/one").st_nlink == 4
    assert builder.stat("e/two").st_nlink == 2


def test_a_second_name_of_a_file_that_was_written_over_meanwhile_has_its_own_content(builder):
    builder.write("a/one", "of both")
    builder.write("b/one", "another")
    os.link(builder.context / "a/one", builder.context / "b/two")
    builder.build("FROM scratch\nCOPY a b /d/\n")
    assert (builder.read("d/one"), builder.read("d/two")) == ("another", "of both")


def test_chmod_is_for_what_parents_brings_too(builder):
    builder.write("d/e/f/x", "x", 0o640)
    builder.build(
        "FROM scratch\nCOPY --parents --chmod=751 d/e/f/x /o/\nCOPY --parents --chmod=u=rwX,go=rX d/./e /p/\n", tags=["result"]
    )
    modes = {path: oct(builder.stat(path).st_mode & 0o7777) for path in ("o/d", "o/d/e/f", "o/d/e/f/x", "p/e", "p/e/f/x")}
    assert modes == {"o/d": "0o751", "o/d/e/f": "0o751", "o/d/e/f/x": "0o751", "p/e": "0o755", "p/e/f/x": "0o644"}
