"""Where the context and the Dockerfile come from."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from inception.build import BuildConfig, BuildFailed, DockerfileError, build
from inception.errors import InvalidArgument, NotFound

pytestmark = pytest.mark.needs("root")


def archive(files: dict[str, str], kind: str = "") -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{kind}" if kind else "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    data.seek(0)
    return data


def from_stdin(builder, stdin: io.BytesIO, **config):
    return build(builder.engine, BuildConfig(tags=["result"], **config), None, stdin)


def test_the_dockerfile_may_have_another_name_and_lie_elsewhere(builder, tmp_path):
    builder.write("a", "x")
    builder.write("docker/App", "FROM scratch\nCOPY a /app\n")
    config = {"context": str(builder.context), "tags": ["result"]}
    build(builder.engine, BuildConfig(dockerfile=str(builder.context / "docker/App"), **config))
    assert builder.read("app") == "x"
    outside = tmp_path / "Outside"
    outside.write_text("FROM scratch\nCOPY a /outside\n")
    build(builder.engine, BuildConfig(dockerfile=str(outside), **config))
    assert builder.read("outside") == "x"
    build(builder.engine, BuildConfig(dockerfile_inline="FROM scratch\nCOPY a /inline\n", **config))
    assert builder.read("inline") == "x"


def test_a_dockerfile_on_stdin_uses_the_folder(builder):
    builder.write("a", "x")
    from_stdin(builder, io.BytesIO(b"FROM scratch\nCOPY a /b\n"), context=str(builder.context), dockerfile="-")
    assert builder.read("b") == "x"


def test_a_dockerfile_alone_has_no_context(builder):
    from_stdin(builder, io.BytesIO(b"FROM scratch\nCOPY <<EOF /x\ny\nEOF\n"), context="-")
    assert builder.read("x") == "y\n"
    with pytest.raises(BuildFailed, match="there is no build context: only a Dockerfile came over standard input"):
        from_stdin(builder, io.BytesIO(b"FROM scratch\nCOPY a /x\n"), context="-")


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_an_archive_on_stdin_is_the_context(builder, kind):
    files = {"Dockerfile": "FROM scratch\nCOPY . /all/\n", "a/b": "x", "c": "", ".dockerignore": "c\n"}
    from_stdin(builder, archive(files, kind), context="-")
    assert [line.split(" ")[2] for line in builder.tree("all")] == [".dockerignore", "Dockerfile", "a/", "a/b"]
    files["other"] = "FROM scratch\nCOPY a/b /other\n"
    from_stdin(builder, archive(files, kind), context="-", dockerfile="other")
    assert builder.read("other") == "x"


def test_an_ignore_file_of_the_dockerfiles_own_wins(builder):
    for name in ("a", "b"):
        builder.write(name)
    builder.write(".dockerignore", "a\n")
    builder.write("Dockerfile.dockerignore", "b\n")
    builder.build("FROM scratch\nCOPY . /d\n")
    assert [line.split(" ")[2] for line in builder.tree("d")] == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a"]


def test_the_dockerfile_itself_may_be_ignored(builder):
    builder.write("a")
    builder.write(".dockerignore", "Dockerfile\n.dockerignore\n")
    builder.build("FROM scratch\nCOPY . /d\n")
    assert [line.split(" ")[2] for line in builder.tree("d")] == ["a"]


def test_what_is_brought_back_comes_with_the_folders_above_it(builder):
    for name in ("node_modules/x", "src/a.py", "src/deep/b.py", "src/deep/c.txt", "empty/y"):
        builder.write(name)
    builder.write(".dockerignore", "*\n!src/**/*.py\n")
    builder.build("FROM scratch\nCOPY . /d\n")
    assert [line.split(" ")[2] for line in builder.tree("d")] == ["src/", "src/a.py", "src/deep/", "src/deep/b.py"]


def test_a_missing_source_says_when_it_is_ignored(builder):
    builder.write("secret/key")
    builder.write(".dockerignore", "secret\n")
    with pytest.raises(BuildFailed) as caught:
        builder.build("FROM scratch\nCOPY secret/key /k\n")
    assert (str(caught.value), caught.value.hint) == (
        'Dockerfile:2: COPY: "/secret/key": not found',
        "it is excluded by .dockerignore",
    )


def test_only_what_is_copied_is_read(builder, monkeypatch):
    builder.write("used/a")
    builder.write("unused/b")
    os.mkfifo(builder.context / "unused/pipe")
    read = []
    from inception.build.tree import Tree

    original = Tree._read
    monkeypatch.setattr(Tree, "_read", lambda self, folder: (read.append(folder.path), original(self, folder))[1])
    builder.build("FROM scratch\nCOPY used /d\nCOPY used/a /e\n")
    assert read == ["", "used"]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"context": "/nowhere/at/all"}, NotFound, 'unable to prepare context: path "/nowhere/at/all" not found'),
        ({"context": "/etc/passwd"}, InvalidArgument, "unable to prepare context: context must be a directory: /etc/passwd"),
        ({"context": "https://x/y.git#-u"}, InvalidArgument, "invalid git ref '-u'"),
        ({"context": "-", "dockerfile": "-"}, InvalidArgument, "can't use stdin for both build context and dockerfile"),
        ({"tags": ["UPPER"]}, InvalidArgument, "must be lowercase"),
        ({"tags": ["a@sha256:" + "0" * 64]}, InvalidArgument, "a tag can't have a digest"),
        ({}, NotFound, "failed to read dockerfile: open Dockerfile: no such file or directory"),
    ],
)
def test_bad_contexts_are_named(builder, config, kind, message):
    with pytest.raises(kind) as caught:
        build(builder.engine, BuildConfig(**{"context": str(builder.context), **config}))
    assert message in str(caught.value)


def test_a_dockerfile_that_is_no_file_is_refused(builder):
    (builder.context / "Dockerfile").mkdir()
    with pytest.raises(InvalidArgument, match="failed to read dockerfile"):
        builder.build()
    (builder.context / "Dockerfile").rmdir()
    os.mkfifo(builder.context / "Dockerfile")
    with pytest.raises(InvalidArgument, match="failed to read dockerfile"):
        builder.build()


def test_a_bad_dockerfile_runs_nothing(builder):
    with pytest.raises(DockerfileError):
        builder.build("FROM scratch\nCOPY a /a\nNOPE\n")
    assert builder.events == []


def test_a_dockerfile_may_be_called_so_in_lower_case_and_the_upper_case_one_wins(builder):
    builder.write("dockerfile", "FROM scratch\nLABEL which=lower\n")
    for which in ("one", "two"):  # known as a whole build, it still counts what it says
        builder.write("dockerfile", f"FROM scratch\nLABEL which={which}\n")
        builder.build()
        assert builder.document().config.labels == {"which": which}
    builder.build("FROM scratch\nLABEL which=upper\n")
    assert builder.document().config.labels == {"which": "upper"}
