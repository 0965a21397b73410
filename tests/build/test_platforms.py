"""Images for several platforms: what is built on this machine for another, and the index that holds them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.build import BuildFailed
from inception.build.output import parse_annotation, parse_output
from inception.errors import InvalidArgument
from inception.oci.digest import sha256

from ..store.registries import DebianRegistry
from .conftest import Builder
from .foreign import emulation, program

pytestmark = pytest.mark.needs("root")

BOTH = "linux/amd64,linux/arm64"
TEXT = """FROM scratch
ARG TARGETARCH TARGETPLATFORM BUILDPLATFORM
COPY write-$TARGETARCH /write
RUN ["/write"]
LABEL for=$TARGETPLATFORM on=$BUILDPLATFORM
"""


@pytest.fixture
def programs(builder: Builder) -> Builder:
    for architecture in ("amd64", "arm64"):
        path = builder.write(f"write-{architecture}", "", 0o755)
        path.write_bytes(program(architecture))
        path.chmod(0o755)
    return builder


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DebianRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    folder = tmp_path / "registry"
    folder.mkdir()
    server = DebianRegistry(folder)
    yield server
    server.close()


class Layout:
    """An OCI archive, read."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
        self.root = json.loads(self.files["index.json"])
        self.index = self.read(self.root["manifests"][0]["digest"])

    def blob(self, digest: str) -> bytes:
        data = self.files[f"blobs/sha256/{digest[7:]}"]
        assert sha256(data) == digest
        return data

    def read(self, digest: str) -> dict:
        return json.loads(self.blob(digest))

    def image(self, architecture: str) -> tuple[dict, dict]:
        """Manifest and configuration for one platform."""
        entry = next(each for each in self.index["manifests"] if each["platform"]["architecture"] == architecture)
        manifest = self.read(entry["digest"])
        return manifest, self.read(manifest["config"]["digest"])

    def names(self, manifest: dict) -> list[str]:
        return [
            name
            for layer in manifest["layers"]
            for name in tarfile.open(fileobj=io.BytesIO(self.blob(layer["digest"]))).getnames()
        ]


@pytest.mark.needs("qemu-aarch64-static")
def test_two_platforms_make_an_index_with_each_ones_own_files(programs: Builder, tmp_path: Path):
    out = tmp_path / "out.tar"
    with emulation(tmp_path / "binfmt"):
        result = programs.build(TEXT, platform=BOTH, outputs=[parse_output(f"type=oci,dest={out}")])
    layout = Layout(out)
    assert layout.root["manifests"][0]["digest"] == result.image_id
    for architecture in ("amd64", "arm64"):
        manifest, config = layout.image(architecture)
        assert (config["architecture"], config["os"]) == (architecture, "linux")
        assert config["config"]["Labels"] == {"for": f"linux/{architecture}", "on": "linux/amd64"}
        made = tarfile.open(fileobj=io.BytesIO(layout.blob(manifest["layers"][1]["digest"])))
        assert made.extractfile("made").read() == f"made by {architecture}\n".encode()  # type: ignore[union-attr]
    store = programs.engine.store
    from inception.oci.image import parse_platform

    for architecture in ("amd64", "arm64"):
        assert store.images.resolve("result", parse_platform(f"linux/{architecture}")).document.architecture == architecture
    assert store.images.resolve("result").document.architecture == "amd64"


def test_without_emulation_a_step_for_another_machine_says_what_is_missing(programs: Builder):
    with pytest.raises(BuildFailed, match="xec format error") as caught:
        programs.build(TEXT, platform="linux/arm64")
    assert caught.value.hint == "programs for linux/arm64 run where binfmt_misc knows qemu: install qemu-user-static"


def test_what_runs_nothing_is_built_for_any_platform(programs: Builder, tmp_path: Path):
    programs.write("x")
    text = "FROM scratch\nARG TARGETVARIANT\nCOPY x /$TARGETVARIANT\n"
    programs.build(text, platform="linux/arm/v6")
    document = programs.document()
    assert (document.architecture, document.variant) == ("arm", "v6")
    assert programs.tree() == ["-rw-r--r-- 0:0 v6"]


def test_stages_on_the_builders_platform_are_shared(programs: Builder, tmp_path: Path):
    text = (
        'FROM --platform=$BUILDPLATFORM scratch AS tools\nCOPY write-amd64 /write\nRUN ["/write"]\n'
        "FROM scratch\nCOPY --from=tools /made /made\nARG TARGETARCH\nCOPY write-$TARGETARCH /write\n"
    )
    programs.build(text, platform=BOTH, outputs=[parse_output(f"type=oci,dest={tmp_path}/out.tar")])
    ended = [(event.name, event.kind) for event in programs.events if "RUN" in event.name and event.kind in ("done", "cached")]
    assert ended == [
        ('[linux/amd64 tools 2/2] RUN ["/write"]', "done"),
        ('[linux/arm64 tools 2/2] RUN ["/write"]', "cached"),
    ]


@pytest.mark.needs("docker-registry")
def test_a_base_of_several_platforms_comes_for_each_and_keeps_its_meaning_here(
    programs: Builder, registry: DebianRegistry, tmp_path: Path
):
    base = f"{registry.host}/team/base:1"
    text = "FROM scratch\nARG TARGETARCH\nCOPY write-$TARGETARCH /write\n"
    programs.build(text, platform=BOTH, tags=[base], outputs=[parse_output("type=registry")])
    programs.engine.images.pull(base)
    before = programs.engine.images.get(base).id
    out = tmp_path / "out.tar"
    programs.build(
        f"FROM {base}\nCOPY --from={base} /write /again\n", platform=BOTH, outputs=[parse_output(f"type=oci,dest={out}")]
    )
    layout = Layout(out)
    for architecture in ("amd64", "arm64"):
        manifest, config = layout.image(architecture)
        assert config["architecture"] == architecture
        files = [tarfile.open(fileobj=io.BytesIO(layout.blob(layer["digest"]))) for layer in manifest["layers"]]
        assert files[1].extractfile("again").read() == program(architecture)  # type: ignore[union-attr]
    assert programs.engine.images.get(base).id == before


def test_folders_of_several_platforms_lie_side_by_side(programs: Builder, tmp_path: Path):
    text = "FROM scratch\nARG TARGETARCH\nCOPY write-$TARGETARCH /write\n"
    programs.build(text, platform=BOTH, outputs=[parse_output(str(tmp_path / "out"))])
    for architecture in ("amd64", "arm64"):
        assert (tmp_path / "out" / f"linux_{architecture}" / "write").read_bytes() == program(architecture)


@pytest.mark.parametrize("output", ["type=docker,dest=/nowhere", "type=tar,dest=/nowhere"])
def test_an_index_goes_only_where_one_has_a_place(programs: Builder, output: str):
    with pytest.raises(InvalidArgument, match="several platforms make an index, and it has no place there"):
        programs.build(TEXT, platform=BOTH, outputs=[parse_output(output)])


def test_annotations_stand_where_they_were_meant_for(programs: Builder, tmp_path: Path):
    notes = [
        "a=b",
        "manifest[linux/arm64]:only=arm",
        "index:all=both",
        "manifest-descriptor[linux/amd64]:entry=amd",
        "index-descriptor:root=yes",
    ]
    out = tmp_path / "out.tar"
    programs.build(
        "FROM scratch\nARG TARGETARCH\nCOPY write-$TARGETARCH /w\n",
        platform=BOTH,
        outputs=[parse_output(f"type=oci,dest={out}")],
        annotations=[note for text in notes for note in parse_annotation(text)],
    )
    layout = Layout(out)
    assert layout.image("amd64")[0]["annotations"] == {"a": "b"}
    assert layout.image("arm64")[0]["annotations"] == {"a": "b", "only": "arm"}
    assert layout.index["annotations"] == {"all": "both"}
    assert [entry.get("annotations") for entry in layout.index["manifests"]] == [{"entry": "amd"}, None]
    assert layout.root["manifests"][0]["annotations"]["root"] == "yes"


@pytest.mark.needs("docker-registry")
def test_annotations_of_a_manifest_are_pushed_with_it(programs: Builder, registry: DebianRegistry):
    from inception.store.pull import fetch_document

    name = f"{registry.host}/team/app:1"
    text = "FROM scratch\nCOPY write-amd64 /w\n"
    programs.build(text, tags=[name], outputs=[parse_output("type=registry")], annotations=parse_annotation("a=b"))
    assert json.loads(fetch_document(name)[0])["annotations"] == {"a": "b"}
    # They are no part of the image's id: without them it is the same image, and its manifest another.
    programs.build(text, tags=[name], outputs=[parse_output("type=registry")])
    assert "annotations" not in json.loads(fetch_document(name)[0])


def test_annotations_of_an_index_need_one(programs: Builder):
    with pytest.raises(InvalidArgument, match="no index is made"):
        programs.build("FROM scratch\nCOPY write-amd64 /w\n", annotations=parse_annotation("index:a=b"))
    assert os.listdir(programs.engine.store.tmp) == []
