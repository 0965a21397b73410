"""OCI image-spec documents (and their Docker schema 2 twins) as records.

Source: image-spec descriptor.md, manifest.md, image-index.md, config.md. Unknown fields are ignored, as the specification
demands; whoever must keep a document's digest keeps its bytes.
"""

from __future__ import annotations

import os

from inception.record import Record

MEDIA_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar"
MEDIA_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
MEDIA_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Platform(
    Record,
    names={"os_version": "os.version", "os_features": "os.features"},
):
    architecture: str
    os: str
    os_version: str = ""
    os_features: list[str] = []
    variant: str = ""


def host_platform() -> Platform:
    """This machine in the words of images (Go's GOARCH). Source: image-spec image-index.md, "Platform Variants"."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, os="linux", variant=variant)


_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}


class Descriptor(Record, style="camel"):
    media_type: str
    digest: str
    size: int
    urls: list[str] = []
    annotations: dict[str, str] = {}
    data: str = ""
    artifact_type: str = ""
    platform: Platform | None = None


class Manifest(Record, style="camel"):
    schema_version: int = 2
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(Record, style="camel"):
    schema_version: int = 2
    media_type: str = ""
    artifact_type: str = ""
    manifests: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Healthcheck(Record, style="pascal"):
    """Durations are nanoseconds; 0 means the default (30 s, 30 s, 0 s, 5 s, 3)."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ImageConfig(Record, style="pascal"):
    """The `config` object of an image configuration: defaults for containers."""

    user: str = ""
    exposed_ports: dict[str, dict[str, object]] = {}
    env: list[str] = []
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, object]] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None
    healthcheck: Healthcheck | None = None
    on_build: list[str] = []


class RootFs(Record):
    type: str = "layers"
    diff_ids: list[str]


class History(Record):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageDocument(
    Record,
    names={"os_version": "os.version", "os_features": "os.features"},
):
    """The image configuration; the digest of its bytes is Docker's image id."""

    created: str = ""
    author: str = ""
    architecture: str
    os: str
    os_version: str = ""
    os_features: list[str] = []
    variant: str = ""
    config: ImageConfig = ImageConfig()
    rootfs: RootFs
    history: list[History] = []
