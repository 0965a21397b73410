"""--output: files, archives, names; and builds that come out the same twice."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from inception.build import BuildConfig, build
from inception.build.config import Output
from inception.build.output import parse_output
from inception.engine import Engine
from inception.errors import InceptionError, InvalidArgument

pytestmark = pytest.mark.needs("root")
FILES = "FROM scratch\nCOPY --chown=7:8 --chmod=640 <<EOF /d/f\ntext\nEOF\n"


def test_a_folder_gets_the_files_and_no_image_is_made(builder, tmp_path):
    target = tmp_path / "out"
    (tmp_path / "canary").mkdir()
    target.mkdir()
    os.symlink(tmp_path / "canary", target / "d")  # what is there already leads nowhere
    with pytest.raises(InceptionError):
        builder.build(FILES, outputs=[parse_output(str(target))])
    assert list((tmp_path / "canary").iterdir()) == []
    (target / "d").unlink()
    result = builder.build(outputs=[parse_output(str(target))])
    assert result.image_id == "" and builder.engine.images.list() == []
    assert (target / "d/f").read_text() == "text\n"
    found = (target / "d/f").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o640)


def test_an_archive_has_the_files_with_their_owners(builder, tmp_path):
    builder.build(FILES, outputs=[parse_output(f"type=tar,dest={tmp_path}/out.tar")])
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {entry.name: entry.uid for entry in tar} == {"d": 7, "d/f": 7}


def test_archives_of_images_can_be_loaded(builder, tmp_path):
    for kind in ("oci", "docker"):
        builder.build(FILES, tags=["one:1", "two"], outputs=[parse_output(f"type={kind},dest={tmp_path}/{kind}.tar")])
        builder.engine.images.remove("one:1")
        builder.engine.images.remove("two")
        with open(tmp_path / f"{kind}.tar", "rb") as file:
            builder.engine.images.load(file)
        assert builder.read("d/f", "one:1") == builder.read("d/f", "two") == "text\n"
        with tarfile.open(tmp_path / f"{kind}.tar") as tar:
            assert {"index.json", "oci-layout", "manifest.json"} <= set(tar.getnames())


def test_the_command_line_writes_files_ids_and_metadata(builder, tmp_path):
    builder.write("Dockerfile", FILES)
    base = [sys.executable, "-m", "inception.cli", "--root", builder.engine.root, "--run-root", builder.engine.run_root]

    def run(*words: str) -> bytes:
        return subprocess.run([*base, "build", *words, str(builder.context)], capture_output=True, check=True).stdout

    with tarfile.open(fileobj=io.BytesIO(run("-o", "-"))) as tar:
        assert tar.getnames() == ["d", "d/f"]
    run("-t", "a", "-t", "b:2", "--iidfile", f"{tmp_path}/id", "--metadata-file", f"{tmp_path}/meta")
    image = builder.engine.images.get("a")
    assert (tmp_path / "id").read_text() == image.id == builder.engine.images.get("b:2").id
    said = json.loads((tmp_path / "meta").read_text())
    assert said["containerimage.config.digest"] == image.id
    assert said["containerimage.digest"] == said["containerimage.descriptor"]["digest"] == image.manifest_digest
    assert said["image.name"] == "docker.io/library/a:latest,docker.io/library/b:2"
    assert {"buildx.build.ref", "buildx.build.provenance"} <= set(said)


def test_what_an_output_says():
    assert parse_output("-") == Output(type="tar", destination="-")
    assert parse_output('type=image,"name=a,b",push=true') == Output(type="image", names=["a", "b"], push=True)
    for wrong in ("type=local", "type=zip", "dest=x", "type=oci,tar=false", "type=image,unpack=true"):
        with pytest.raises(InvalidArgument):
            parse_output(wrong)


def test_a_build_with_a_fixed_time_gives_one_digest_anywhere(busybox, tmp_path, busybox_root):
    text = (
        "FROM busybox AS made\nRUN mkdir -p /a/b && echo x > /a/b/c && touch -d '2001-01-01 00:00:00' /a/old && touch /bin\n"
        "FROM busybox\nWORKDIR /w\nCOPY Dockerfile .\nADD files.tar /x/\nCOPY --from=made /a /a\nCOPY f /f\nRUN rm -r /a/b\n"
    )
    names = [f"f/{number}" for number in range(9)]
    with tarfile.open(busybox.context / "files.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    args = {"SOURCE_DATE_EPOCH": "1700000000"}
    for name in names:
        busybox.write(name, name)
    first = busybox.build(text, build_args=args, no_cache=True)
    # Another machine: the same words in files of another time, in another order on its disk.
    shutil.rmtree(busybox.context / "f")
    for name in reversed(names):
        os.utime(busybox.write(name, name), (1750000000, 1750000000))
    with Engine(str(tmp_path / "root2"), str(tmp_path / "run2")) as other, open(busybox_root, "rb") as file:
        other.images.load(file)
        second = build(other, BuildConfig(context=str(busybox.context), tags=["result"], build_args=args))
        from inception.engine.endpoints import take_down

        take_down(other, other.networks.get("bridge"))
    assert first.image_id == second.image_id
    assert busybox.stat("w/Dockerfile").st_mtime == 1700000000


def test_a_stage_can_be_left_out_of_the_cache(builder):
    text = "FROM scratch AS a\nWORKDIR /a\nFROM scratch AS b\nWORKDIR /b\nCOPY --from=a / /\n"
    builder.build(text)
    builder.build(no_cache_stages=["B"])
    assert sorted(builder.cached()) == [False, False, True]
