"""What a build says of its result: provenance and packages, as in-toto statements beside the image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inception.build.attest import parse_attestations
from inception.build.config import Attestations, SecretSource
from inception.build.output import parse_output
from inception.errors import InvalidArgument
from inception.oci.digest import sha256
from inception.store.pull import fetch_document, pull

from .conftest import Builder
from .test_platforms import BOTH, Layout, registry  # noqa: F401  # a fixture

pytestmark = pytest.mark.needs("root")

MAX = Attestations(provenance="max", sbom=True)
STATUS = "Package: hello\nStatus: install ok installed\nVersion: 2.10-3\nArchitecture: amd64\n\n" + (
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n"
)


def archive(builder: Builder, tmp_path: Path, text: str, **config: object) -> Layout:
    out = tmp_path / "out.tar"
    builder.build(text, outputs=[parse_output(f"type=oci,dest={out}")], **config)
    return Layout(out)


def statements(layout: Layout, image: int = 0) -> dict[str, dict]:
    """By predicate type, those about the image at that place of the index."""
    described = layout.index["manifests"][image]["digest"]
    found = {}
    for entry in layout.index["manifests"]:
        notes = entry.get("annotations", {})
        if notes.get("vnd.docker.reference.digest") == described:
            assert notes["vnd.docker.reference.type"] == "attestation-manifest"
            assert entry["platform"] == {"architecture": "unknown", "os": "unknown"}
            manifest = layout.read(entry["digest"])
            config = layout.read(manifest["config"]["digest"])
            assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
            for layer in manifest["layers"]:
                assert layer["mediaType"] == "application/vnd.in-toto+json"
                statement = layout.read(layer["digest"])
                assert statement["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
                assert {subject["digest"]["sha256"] for subject in statement["subject"]} == {described[7:]}
                found[statement["predicateType"]] = statement
    return found


def test_nothing_is_said_that_nobody_asked_for(builder: Builder, tmp_path: Path):
    builder.write("a")
    layout = archive(builder, tmp_path, "FROM scratch\nCOPY a /a\n")
    assert [entry["mediaType"].split(".")[3] for entry in layout.root["manifests"]] == ["manifest"]


def test_the_shorter_provenance_has_materials_and_no_arguments(busybox: Builder, tmp_path: Path):
    config = {"build_args": {"X": "CANARY"}, "attestations": Attestations(provenance="min", builder_id="https://me")}
    layout = archive(busybox, tmp_path, "FROM busybox\nARG X\nRUN true\n", **config)
    statement = statements(layout)["https://slsa.dev/provenance/v0.2"]
    assert statement["_type"] == "https://in-toto.io/Statement/v0.1"
    assert statement["subject"][0]["name"] == "pkg:docker/result@latest?platform=linux%2Famd64"
    predicate = statement["predicate"]
    assert predicate["builder"] == {"id": "https://me"}
    base = busybox.engine.images.get("busybox")
    assert predicate["materials"] == [
        {"uri": "pkg:docker/busybox@latest?platform=linux%2Famd64", "digest": {"sha256": base.manifest_digest[7:]}}
    ]
    assert predicate["metadata"]["completeness"]["parameters"] is False
    assert predicate["metadata"]["buildStartedOn"] <= predicate["metadata"]["buildFinishedOn"]
    assert "CANARY" not in json.dumps(statement)
    assert "buildConfig" not in predicate


@pytest.mark.parametrize("version", ["v0.2", "v1"])
def test_the_longer_one_has_arguments_steps_and_the_dockerfile(version: str, builder: Builder, tmp_path: Path):
    builder.write("a")
    config = {"build_args": {"X": "1"}, "attestations": Attestations(provenance="max", version=version)}
    layout = archive(builder, tmp_path, "FROM scratch AS one\nARG X\nCOPY a /a\n", **config)
    predicate = statements(layout)[f"https://slsa.dev/provenance/{version}"]["predicate"]
    text = json.dumps(predicate)
    assert '"build-arg:X": "1"' in text
    assert '"instruction": "COPY a /a # buildkit"' in text
    if version == "v1":
        assert set(predicate) == {"buildDefinition", "runDetails"}
    else:
        assert predicate["metadata"]["completeness"] == {"parameters": True, "environment": True, "materials": False}


def test_packages_of_all_managers_are_listed(builder: Builder, tmp_path: Path):
    builder.write("var/lib/dpkg/status", STATUS)
    builder.write("etc/os-release", 'ID="debian"\n')
    builder.write("lib/apk/db/installed", "P:musl\nV:1.2.4-r2\nA:x86_64\n\nP:broken\n")
    builder.write("usr/lib/python3/dist-packages/Flask_X-3.dist-info/METADATA", "Name: Flask_X\nVersion: 3.0\n\nName: not\n")
    builder.write("app/node_modules/express/package.json", '{"name": "express", "version": "4.19.2"}')
    builder.write("app/node_modules/@scope/part/package.json", '{"name": "@scope/part", "version": "1.0.0"}')
    builder.write("app/node_modules/bad/package.json", "not JSON")
    builder.write("app/package.json", '{"name": "own", "version": "1"}')
    os.symlink("/etc/passwd", builder.context / "usr/lib/python3/dist-packages/evil")
    builder.write(".dockerignore", "Dockerfile\n")
    layout = archive(builder, tmp_path, "FROM scratch\nCOPY . /\n", attestations=Attestations(sbom=True))
    document = statements(layout)["https://spdx.dev/Document"]["predicate"]
    assert (document["spdxVersion"], document["SPDXID"]) == ("SPDX-2.3", "SPDXRef-DOCUMENT")
    image, *packages = document["packages"]
    assert (image["SPDXID"], image["primaryPackagePurpose"]) == ("SPDXRef-Image", "CONTAINER")
    purls = [package["externalRefs"][0]["referenceLocator"] for package in packages]
    assert purls == [
        "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64",
        "pkg:deb/debian/hello@2.10-3?arch=amd64",
        "pkg:npm/%40scope%2Fpart@1.0.0",
        "pkg:npm/express@4.19.2",
        "pkg:pypi/flask-x@3.0",
    ]
    described, *contained = document["relationships"]
    assert (described["relationshipType"], described["relatedSpdxElement"]) == ("DESCRIBES", "SPDXRef-Image")
    assert [each["relatedSpdxElement"] for each in contained] == [package["SPDXID"] for package in packages]


@pytest.mark.needs("docker-registry")
def test_they_are_pushed_with_the_image_and_pulled_without(builder: Builder, registry, tmp_path: Path):  # noqa: F811
    builder.write("a")
    name = f"{registry.host}/team/app:1"
    built = builder.build(
        "FROM scratch\nCOPY a /a\n",
        tags=[name],
        outputs=[parse_output("type=registry")],
        attestations=MAX,
        metadata=True,
    )
    data, media_type = fetch_document(name)
    index = json.loads(data)
    assert media_type == "application/vnd.oci.image.index.v1+json"
    assert built.metadata["containerimage.digest"] == sha256(data)
    assert [entry["platform"]["os"] for entry in index["manifests"]] == ["linux", "unknown"]
    from inception.store import Store

    assert pull(Store(str(tmp_path / "other")), name).id == built.image_id
    assert builder.engine.images.get(name).id == built.image_id


def test_each_platform_has_its_own(builder: Builder, tmp_path: Path):
    builder.write("a")
    layout = archive(builder, tmp_path, "FROM scratch\nCOPY a /a\n", platform=BOTH, attestations=MAX)
    for place, platform in enumerate(("linux%2Famd64", "linux%2Farm64")):
        found = statements(layout, place)
        assert len(found) == 2
        assert all(platform in statement["subject"][0]["name"] for statement in found.values())


def test_beside_files_they_are_files(builder: Builder, tmp_path: Path):
    builder.write("a")
    builder.build("FROM scratch\nCOPY a /a\n", outputs=[parse_output(str(tmp_path / "out"))], attestations=MAX)
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "provenance.json", "sbom.spdx.json"]


def test_no_secret_proxy_or_password_is_in_what_is_said(busybox: Builder, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("CANARY-secret")
    text = "FROM busybox\nRUN --mount=type=secret,id=s,target=/s --mount=type=secret,id=s,env=S test -s /s\n"
    config = {
        "secrets": {"s": SecretSource(path=str(secret))},
        "build_args": {"HTTP_PROXY": "http://me:CANARY-proxy@proxy:1", "https_proxy": "http://CANARY-proxy"},
        "attestations": MAX,
        "metadata": True,
    }
    out = tmp_path / "out.tar"
    result = busybox.build(text, outputs=[parse_output(f"type=oci,dest={out}")], **config)
    assert b"CANARY" not in out.read_bytes()
    assert "CANARY" not in json.dumps(result.metadata)


@pytest.mark.needs("docker-registry")
def test_the_store_keeps_them_until_a_push(builder: Builder, registry):  # noqa: F811
    builder.write("a")
    name = f"{registry.host}/team/app:1"
    built = builder.build("FROM scratch\nCOPY a /a\n", tags=[name], attestations=MAX, metadata=True)
    builder.engine.store.collect()
    builder.engine.images.push(name)
    data, _ = fetch_document(name)
    assert sha256(data) == built.metadata["containerimage.digest"]
    assert [entry["platform"]["os"] for entry in json.loads(data)["manifests"]] == ["linux", "unknown"]


def test_a_docker_archive_has_no_place_for_them(builder: Builder):
    with pytest.raises(InvalidArgument, match="attestations stand in an index"):
        builder.build("FROM scratch\n", outputs=[parse_output("type=docker,dest=/nowhere")], attestations=MAX)


def test_the_three_flags_say_the_same():
    assert parse_attestations(["type=sbom", "type=provenance,mode=max"], [], []) == MAX
    assert parse_attestations([], ["mode=max"], ["true"]) == MAX
    assert parse_attestations(["type=sbom"], ["true"], ["false"]) == Attestations(provenance="min")
    assert parse_attestations(["type=provenance,disabled=true"], [], []) == Attestations()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=sbom,generator=some/image", "option generator is not supported"),
        ("type=provenance,mode=most", "invalid provenance mode"),
        ("type=provenance,version=v9", "invalid provenance version"),
        ("type=signature", "unknown attestation type"),
        ("type=provenance,colour=red", "attestation option colour is not supported"),
    ],
)
def test_what_is_not_known_is_refused_by_name(text: str, message: str):
    with pytest.raises(InvalidArgument, match=message):
        parse_attestations([text], [], [])
