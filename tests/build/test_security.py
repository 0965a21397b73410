"""Hostile contexts, archives and Dockerfiles: nothing outside is read or written."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from tests.racing import swapping

from inception.build import BuildConfig, BuildFailed, build
from inception.errors import InceptionError

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def canary(tmp_path):
    """A file outside of context and store that must be neither read nor changed."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "secret").write_text("CANARY")
    yield folder
    assert sorted(os.listdir(folder)) == ["secret"]
    assert (folder / "secret").read_text() == "CANARY"


def hostile_tar(path, entries) -> None:
    with tarfile.open(path, "w") as tar:
        for name, kind, link, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_a_link_out_of_the_context_leads_nowhere(builder, canary):
    os.symlink(canary, builder.context / "absolute")
    os.symlink("../canary", builder.context / "relative")
    os.symlink("/proc/self/root", builder.context / "magic")
    for source in ("absolute", "absolute/secret", "relative/secret", f"magic{canary}/secret"):
        with pytest.raises(BuildFailed, match="not found"):
            builder.build(f"FROM scratch\nCOPY {source} /x\n")


def test_a_link_out_of_a_stage_leads_nowhere(builder, canary):
    builder.write("a")
    os.symlink(canary, builder.context / "out")
    builder.build("FROM scratch\nCOPY . /\n", tags=["base"])
    with pytest.raises(BuildFailed, match="not found"):
        builder.build("FROM scratch\nCOPY --from=base /out/secret /x\n")


def test_writing_through_links_of_the_image_stays_in_the_image(builder, canary):
    builder.write("evil", "evil")
    os.makedirs(builder.context / "root")
    os.symlink(canary, builder.context / "root/out")
    os.symlink(canary / "secret", builder.context / "root/file")
    os.symlink("../" * 40 + str(canary)[1:], builder.context / "root/up")
    builder.build(
        "FROM scratch\nCOPY root /\nCOPY evil /out/secret\nCOPY evil /file\nCOPY evil /up/\nWORKDIR /out/deeper\n"
        "ADD evil /up/more/\n"
    )
    assert builder.read(f"{canary}/evil") == "evil"


def test_an_archive_can_not_write_outside(builder, canary):
    hostile_tar(
        builder.context / "a.tar",
        [
            ("link", tarfile.SYMTYPE, str(canary), b""),
            ("link/secret", tarfile.REGTYPE, "", b"evil"),
            ("up", tarfile.SYMTYPE, "../" * 20 + str(canary)[1:], b""),
            ("up/made", tarfile.REGTYPE, "", b"evil"),
        ],
    )
    with pytest.raises(BuildFailed, match="link/secret"):
        builder.build("FROM scratch\nADD a.tar /d/\n")
    for name in ("../../../../escape", f"{canary}/made"):
        hostile_tar(builder.context / "b.tar", [(name, tarfile.REGTYPE, "", b"evil")])
        try:
            builder.build("FROM scratch\nADD b.tar /d/\n")
        except InceptionError:
            continue
        assert all(line.split(" ")[2].startswith("d/") for line in builder.tree())
    hostile_tar(builder.context / "c.tar", [("hard", tarfile.LNKTYPE, f"{canary}/secret", b"")])
    with pytest.raises(BuildFailed):
        builder.build("FROM scratch\nADD c.tar /d/\n")


def test_a_context_archive_with_links_out_reads_nothing_outside(builder, canary):
    path = builder.context / "c.tar"
    text = b"FROM scratch\nCOPY out /x\n"
    hostile_tar(path, [("Dockerfile", tarfile.REGTYPE, "", text), ("out", tarfile.SYMTYPE, f"{canary}/secret", b"")])
    with open(path, "rb") as file, pytest.raises(BuildFailed, match="not found"):
        build(builder.engine, BuildConfig(context="-"), None, file)
    hostile_tar(path, [("Dockerfile", tarfile.SYMTYPE, f"{canary}/secret", b"")])
    with open(path, "rb") as file, pytest.raises(InceptionError):
        build(builder.engine, BuildConfig(context="-"), None, file)


def test_a_link_that_takes_a_files_place_while_it_is_copied_is_never_followed(builder, canary):
    builder.write("d/file", "inside")
    os.symlink(canary / "secret", builder.context / "other")
    with swapping(builder.context / "d/file", builder.context / "other"):
        for _ in range(40):
            try:
                builder.build("FROM scratch\nCOPY d /d\n", no_cache=True)
            except InceptionError:
                continue
            entry = builder.tree("d")[0]
            assert entry.endswith("file -> " + str(canary / "secret")) or builder.read("d/file") == "inside"


def test_a_workdir_in_proc_is_a_folder_of_the_image(builder):
    builder.build("FROM scratch\nWORKDIR /proc/self/fd/8\nCOPY <<EOF ../7/x\ny\nEOF\n")
    assert "drwxr-xr-x 0:0 proc/self/fd/8/" in builder.tree()
    assert builder.read("proc/self/fd/7/x") == "y\n"


def test_passwords_of_urls_are_in_no_history_and_no_event(builder):
    with pytest.raises(InceptionError) as caught:
        builder.build("FROM scratch\nADD http://me:CANARY@127.0.0.1:9/x /x\n")
    assert "CANARY" not in str(caught.value)
    assert not any("CANARY" in event.name or b"CANARY" in event.data for event in builder.events)


def test_a_fifo_in_the_context_does_not_hang(builder):
    os.mkfifo(builder.context / "pipe")
    builder.build("FROM scratch\nCOPY pipe /pipe\n")
    assert builder.tree() == ["prw-r--r-- 0:0 pipe"]
