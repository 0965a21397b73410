"""OCI image-spec documents (and their Docker schema 2 twins) as records.

Source: image-spec descriptor.md, manifest.md, image-index.md, config.md. Unknown fields are ignored, as the specification
demands; whoever must keep a document's digest keeps its bytes.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument
from inception.oci.health import Healthcheck as Healthcheck
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


def parse_platform(text: str) -> Platform:
    """`os[/architecture[/variant]]`, or an architecture alone, as `--platform` takes it. Raises InvalidArgument.

    Source: containerd's platforms package, whose spellings Docker takes.
    """
    parts = text.lower().split("/")
    if not all(part and all(c.isalnum() or c in "_.-" for c in part) for part in parts) or len(parts) > 3:
        raise InvalidArgument(f'"{text}": invalid platform: expected os[/architecture[/variant]]')
    host = host_platform()
    if len(parts) == 1:
        if parts[0] in _SYSTEMS:
            return Platform(os=parts[0], architecture=host.architecture, variant=host.variant)
        if parts[0] not in _ARCHITECTURES and parts[0] not in _SPELLINGS:
            raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
        parts = [host.os, parts[0]]
    architecture, variant = parts[1], parts[2] if len(parts) == 3 else ""
    architecture, implied = _SPELLINGS.get(architecture, (architecture, ""))
    variant = variant or implied
    if architecture == "arm64" and variant in ("8", ""):
        variant = "v8"
    if architecture == "arm":
        variant = variant if not variant.isdigit() else f"v{variant}"
        variant = variant or "v7"
    if architecture == "amd64" and variant == "v1":
        variant = ""
    return Platform(os=parts[0], architecture=architecture, variant=variant)


def platform_text(platform: Platform) -> str:
    """`linux/arm64/v8`."""
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
# What Go is built for. Source: containerd's platforms package, isKnownArch.
_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "loong64",
        "ppc64",
        "ppc64le",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    ]
)
_SPELLINGS = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
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
    names={"os_version": "os.version", "os_features": "os.features", "build_cache": "inception.buildcache.v1"},
):
    """The image configuration; the digest of its bytes is Docker's image id. `build_cache` is what an inline cache says."""

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
    build_cache: dict[str, object] = {}
