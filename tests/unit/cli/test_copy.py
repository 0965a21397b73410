"""The table in cli/copy.py, row by row."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from inception.cli.copy import Place, plan_copy, split, unpack
from inception.errors import InvalidArgument, NotFound

FILE = Place("/src/file", exists=True, is_dir=False)
FOLDER = Place("/src/folder", exists=True, is_dir=True)
CONTENTS = Place("/src/folder/.", exists=True, is_dir=True)


def nothing(path: str) -> Place:
    return Place(path, exists=False, is_dir=False)


def a_file(path: str) -> Place:
    return Place(path, exists=True, is_dir=False)


def a_folder(path: str) -> Place:
    return Place(path, exists=True, is_dir=True)


@pytest.mark.parametrize(
    ("source", "target", "plan"),
    [
        (FILE, nothing("/dst/new"), ("/dst", "new")),
        (FILE, a_file("/dst/old"), ("/dst", "old")),
        (FILE, a_folder("/dst"), ("/dst", "file")),
        (FOLDER, nothing("/dst/new"), ("/dst", "new")),
        (FOLDER, nothing("/dst/new/"), ("/dst", "new")),
        (FOLDER, a_folder("/dst"), ("/dst", "folder")),
        (CONTENTS, nothing("/dst/new"), ("/dst", "new")),
        (CONTENTS, a_folder("/dst"), ("/dst", "")),
        (FILE, nothing("new"), (".", "new")),
    ],
)
def test_where_a_copy_ends_up(source, target, plan):
    assert plan_copy(source, target) == plan


def test_what_can_not_be_copied():
    with pytest.raises(InvalidArgument, match="cannot copy directory"):
        plan_copy(FOLDER, a_file("/dst/old"))
    with pytest.raises(NotFound, match="no such directory"):
        plan_copy(FILE, nothing("/dst/new/"))
    with pytest.raises(InvalidArgument, match="not a directory"):
        plan_copy(FILE, a_file("/dst/old/"))
    with pytest.raises(InvalidArgument, match="not a directory"):
        plan_copy(Place("/src/file/.", exists=True, is_dir=False), a_folder("/dst"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [("web:/x", ("web", "/x")), ("/a:b", ("", "/a:b")), ("./a:b", ("", "./a:b")), ("a", ("", "a")), ("-", ("", "-"))],
)
def test_which_side_is_the_container(text, parts):
    assert split(text) == parts


def archive(*members: tuple[str, str, str]) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, value in members:
            info = tarfile.TarInfo(name)
            info.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[
                kind
            ]
            info.mode = 0o755 if kind == "dir" else 0o644
            if kind in ("link", "hard"):
                info.linkname = value
            data = value.encode() if kind == "file" else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return [buffer.getvalue()]


def test_a_stream_is_unpacked_under_its_new_name(tmp_path):
    chunks = archive(("old", "dir", ""), ("old/a", "file", "hello"), ("old/b", "hard", "old/a"))
    unpack(chunks, str(tmp_path), "new", archive=False)
    assert (tmp_path / "new" / "b").read_text() == "hello"
    assert os.stat(tmp_path / "new" / "a").st_ino == os.stat(tmp_path / "new" / "b").st_ino


def test_the_content_of_a_folder_lands_straight_in_the_target(tmp_path):
    unpack(archive(("old", "dir", ""), ("old/a", "file", "hello")), str(tmp_path), "", archive=False)
    assert (tmp_path / "a").read_text() == "hello"


def test_a_stream_from_a_container_can_not_leave_the_folder_it_is_unpacked_in(tmp_path):
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    chunks = archive(("x", "dir", ""), ("x/link", "link", str(outside)), ("x/link/evil", "file", "evil"))
    try:
        unpack(chunks, str(inside), "x", archive=False)
    except InvalidArgument:
        pass
    assert list(outside.iterdir()) == []
    with pytest.raises(InvalidArgument):
        unpack(archive(("x/../../evil", "file", "evil")), str(inside), "x", archive=False)
    assert not (tmp_path / "evil").exists()
