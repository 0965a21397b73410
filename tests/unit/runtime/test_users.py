"""Users of an image: strict numbers, hostile files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inception.errors import InceptionError
from inception.linux.path import RootDir
from inception.runtime.users import resolve_user

PASSWD = """root:x:0:0:root:/root:/bin/sh
www:x:33:33::/var/www:
4242:x:7:7::/:
bad:x:0x0:0::/:
empty:x::0::/:
big:x:4294967296:0::/:
"""
GROUP = "root:x:0:\nwww:x:33:\nextra:x:50:www,root\nmore:x:51:www\n"


@pytest.fixture
def root(tmp_path: Path) -> RootDir:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return RootDir.open_host(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups"),
    [
        ("", 0, 0, [0, 50]),
        ("www", 33, 33, [33, 50, 51]),
        ("33", 33, 33, [33, 50, 51]),
        ("www:extra", 33, 50, [50]),
        ("1000", 1000, 0, [0]),
        ("1000:1001", 1000, 1001, [1001]),
        ("4242", 4242, 0, [0]),
        ("2147483647", 2147483647, 0, [0]),
    ],
)
def test_users_are_found_with_their_groups(root: RootDir, text: str, uid: int, gid: int, groups: list[int]):
    found = resolve_user(root, text)
    assert (found.uid, found.gid, found.additional_gids) == (uid, gid, groups)


def test_groups_can_be_added_by_name_and_number(root: RootDir):
    assert resolve_user(root, "1000", ["more", "99"]).additional_gids == [0, 51, 99]


@pytest.mark.parametrize(
    "text",
    ["1000:abc", "0x0", "-1", "2147483648", "4294967296", " 0", "+0", "bad", "empty", "big", "nobody", "www:4294967296", "٣"],
)
def test_nothing_turns_into_root_by_accident(root: RootDir, text: str):
    with pytest.raises(InceptionError):
        resolve_user(root, text)


@pytest.mark.parametrize("kind", ["fifo", "link to a device", "huge", "link out", "directory"])
def test_a_hostile_passwd_is_an_error_and_does_not_block(tmp_path: Path, kind: str):
    (tmp_path / "etc").mkdir()
    passwd = tmp_path / "etc/passwd"
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "link to a device":
        passwd.symlink_to("/dev/zero")
    elif kind == "huge":
        with open(passwd, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "directory":
        passwd.mkdir()
    else:
        passwd.symlink_to("/proc/self/root/etc/passwd")
    with pytest.raises(InceptionError):
        resolve_user(RootDir.open_host(str(tmp_path)), "root")
