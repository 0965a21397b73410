"""Git repositories as contexts and sources, from a daemon on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

import pytest

from inception.build import BuildFailed
from inception.build.git import Repository, parse_repository
from inception.errors import InceptionError, InvalidArgument

pytestmark = [
    pytest.mark.needs("root"),
    pytest.mark.skipif(not os.path.exists("/usr/lib/git-core/git-daemon"), reason="git daemon is not installed"),
]


def git(folder, *words: str) -> str:
    settings = (
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "protocol.file.allow=always",
    )
    return subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def served(tmp_path):
    """The address of a repository, and its folder."""
    folder = tmp_path / "served/a.git"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "sub/Dockerfile").write_text("FROM scratch\nCOPY tool /\n")
    (folder / "sub/tool").write_text("one")
    (folder / "sub/tool").chmod(0o775)
    os.symlink("/", folder / "up")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    (folder / "sub/tool").write_text("two")
    git(folder, "commit", "-qam", "two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={tmp_path}/served", "--reuseaddr"]
    with subprocess.Popen(["/usr/lib/git-core/git-daemon", *words], stderr=subprocess.DEVNULL) as daemon:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/a.git", folder
        daemon.terminate()


def test_a_repository_is_a_context(builder, served):
    address, _ = served
    builder.build(context=address)
    assert builder.read("sub/tool") == "two"
    assert "-rwxr-xr-x 0:0 sub/tool" in builder.tree() and ".git" not in str(builder.tree())
    builder.build(context=f"{address}#v1:sub")
    assert builder.tree() == ["-rwxr-xr-x 0:0 tool"]
    assert builder.read("tool") == "one"
    with pytest.raises(InceptionError, match="does not contain ref nothing"):
        builder.build(context=f"{address}#nothing")
    with pytest.raises(InceptionError, match="No such file"):
        builder.build(context=f"{address}#main:up/etc")


def test_add_takes_a_repository_and_asks_for_it_only_when_it_moved(builder, served):
    address, folder = served
    builder.build(f"FROM scratch\nADD --chown=3:4 {address}#main:sub /src\nADD --keep-git-dir=true {address}#v1 /whole\n")
    assert builder.read("src/tool") == "two" and builder.stat("src/tool").st_uid == 3
    assert "ref" in builder.read("whole/.git/HEAD") or len(builder.read("whole/.git/HEAD")) == 41
    builder.build()
    assert builder.cached() == [True, True]
    (folder / "sub/tool").write_text("three")
    git(folder, "commit", "-qam", "three")
    builder.build()
    assert builder.read("src/tool") == "three"
    with pytest.raises(BuildFailed, match=r"expected checksum to match 0123456789, got [0-9a-f]{40}"):
        builder.build(f"FROM scratch\nADD --checksum=0123456789 {address} /src\n")
    commit = git(folder, "rev-parse", "HEAD")
    builder.build(f"FROM scratch\nADD --checksum={commit} {address} /src\n")
    builder.build(f"FROM scratch\nADD {address}?tag=v1&subdir=sub /src\n")
    assert builder.read("src/tool") == "one"


def add_submodule(folder, path, name: str, url: str) -> None:
    """As `git submodule add` does, whatever the address is."""
    (folder / ".gitmodules").write_text(f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n')
    git(folder, "add", ".gitmodules")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{git(path, 'rev-parse', 'HEAD')},{name}")
    git(folder, "commit", "-qm", "sub")


@pytest.fixture
def other(served):
    """Two more repositories beside the one that is served: `b.git`, which has `c.git` in it."""
    beside = served[1].parent
    for name in ("c", "b"):
        folder = beside / f"{name}.git"
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / name).write_text(f"file {name}")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "one")
    add_submodule(beside / "b.git", beside / "c.git", "inner", "../c.git")
    return beside / "b.git"


def test_submodules_come_along_with_theirs(builder, served, other):
    address, folder = served
    add_submodule(folder, other, "x", f"{address.removesuffix('a.git')}b.git")
    builder.build(context=address)
    assert (builder.read("x/b"), builder.read("x/inner/c")) == ("file b", "file c")
    assert not any(line.endswith("/.git") or ".git/" in line for line in builder.tree())
    builder.build(f"FROM scratch\nADD --keep-git-dir {address} /src\n")
    assert (builder.read("src/x/inner/c"), "gitdir:" in builder.read("src/x/.git")) == ("file c", True)


@pytest.mark.parametrize("url", ["{folder}", "file://{folder}", "ext::sh -c 'touch {folder}/../canary'", "-u./canary"])
def test_a_submodule_is_no_way_to_other_transports(builder, served, other, url):
    address, folder = served
    add_submodule(folder, other, "x", url.format(folder=other))
    with pytest.raises(InceptionError):
        builder.build(context=address)
    assert not (other.parent / "canary").exists()


def test_addresses_and_what_they_mean():
    assert parse_repository("https://h/a.git#v1:d/e") == Repository(url="https://h/a.git", ref="v1", folder="d/e")
    assert parse_repository("github.com/a/b") == Repository(url="https://github.com/a/b")
    assert parse_repository("git@h:a/b.git#x") == Repository(url="git@h:a/b.git", ref="x")
    assert parse_repository("https://h/a.git?tag=v1&subdir=/d/e&keep-git-dir=1&submodules=false") == Repository(
        url="https://h/a.git", ref="refs/tags/v1", folder="d/e", keep_git_dir=True, submodules=False
    )
    assert parse_repository("git://h/a?branch=x&commit=0123456") == Repository(
        url="git://h/a", ref="refs/heads/x", checksum="0123456"
    )
    commit = "0123456789" * 4
    assert parse_repository(f"https://h/a.git?checksum={commit}") == Repository(
        url="https://h/a.git", ref=commit, checksum=commit
    )
    assert parse_repository("https://h/a.tar") is None
    assert parse_repository("https://h/a?ref=x.git") is None
    assert parse_repository("ext::sh -c x") is None
    for wrong in (
        "https://h/a.git#-u",
        "https://h/a.git#--upload-pack=x",
        "https://h/a.git#x:../../etc",
        "https://h/a.git#x:.git",
        "https://h/a.git#a..b",
        "ssh://-oProxyCommand=x/a.git",
        "ssh://me@-oProxyCommand=x/a.git",
        "https://h/a.git#x y",
        "https://h/a.git?ref=-u",
        "https://h/a.git?tag=a&branch=b",
        "https://h/a.git?ref=a#b",
        "https://h/a.git?subdir=../x",
        "https://h/a.git?checksum=nothex",
        "https://h/a.git?x=y",
    ):
        with pytest.raises(InvalidArgument):
            parse_repository(wrong)


def test_git_runs_from_a_fixed_place_with_an_environment_of_its_own(builder, served, tmp_path, monkeypatch):
    address, _ = served
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {tmp_path}/ran")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"touch {tmp_path}/ran")
    builder.build(context=address)
    assert not (tmp_path / "ran").exists()
    assert shutil.which("git") == str(fake)
