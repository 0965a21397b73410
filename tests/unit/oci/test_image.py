"""Image documents as records."""

from __future__ import annotations

from inception.oci.image import Descriptor, ImageDocument, Index, host_platform
from inception.record import decode, encode


def test_a_document_survives_decoding_and_encoding() -> None:
    value = {
        "architecture": "amd64",
        "os": "linux",
        "os.version": "1",
        "config": {"Env": ["A=b"], "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"diff_ids": ["sha256:" + "0" * 64]},
        "history": [{"created_by": "x", "empty_layer": True}],
    }
    assert encode(decode(ImageDocument, value)) == value


def test_an_index_names_platforms() -> None:
    index = decode(
        Index,
        {
            "schemaVersion": 2,
            "manifests": [{"mediaType": "m", "digest": "d", "size": 1, "platform": {"architecture": "arm64", "os": "linux"}}],
        },
    )
    assert isinstance(index.manifests[0], Descriptor)
    assert index.manifests[0].platform is not None
    assert index.manifests[0].platform.architecture == "arm64"


def test_this_machine_is_named_as_images_name_it() -> None:
    platform = host_platform()
    assert platform.os == "linux"
    assert platform.architecture not in ("x86_64", "aarch64")
