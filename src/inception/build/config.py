"""What a build is told, and what it gives back."""

from __future__ import annotations

from inception.build.cacheplaces import CachePlace
from inception.build.output import Annotation, Attestations, Output
from inception.build.secrets import SecretSource
from inception.engine.config import ResourceConfig
from inception.record import Record

# The Dockerfile that is meant where none is named: the first of these that there is.
DEFAULT_NAMES = ("Dockerfile", "dockerfile")


class BuildConfig(Record):
    """`context` is a folder, or `-` for a tar archive or a Dockerfile on standard input.

    `dockerfile` is a path as the user wrote it, `-` for standard input, empty for `Dockerfile` in the context;
    `dockerfile_inline` is its text and wins. `network` is what RUN steps get: `default`, `none`, `host` or a network's name.
    `secrets` are what RUN --mount=type=secret may ask for, by id; `ssh` the sockets of agents, or key files
    by commas. `contexts` are named contexts (`--build-context`): a folder, `docker-image://REFERENCE`, `oci-layout://FOLDER`.
    `outputs` none is the image store. `no_cache_stages` are stages whose every step is done again. `cache_from` are caches
    that are asked after this store's own, `cache_to` where this build's goes. `platform` is one or several by commas.
    `allow` are what the build may give to its steps: `network.host`, `security.insecure`, `device`, `device=NAME`.
    `attestations` are what is said of the result; with `metadata` it is told what `--metadata-file` is to hold.
    `build_args` come from the command line; the host's own environment is never looked at.
    """

    context: str = "."
    dockerfile: str = ""
    dockerfile_inline: str = ""
    tags: list[str] = []
    target: str = ""
    build_args: dict[str, str] = {}
    labels: dict[str, str] = {}
    no_cache: bool = False
    pull: bool = False
    network: str = "default"
    extra_hosts: list[str] = []
    platform: str = ""
    resources: ResourceConfig = ResourceConfig()
    secrets: dict[str, SecretSource] = {}
    ssh: dict[str, str] = {}
    allow: list[str] = []
    contexts: dict[str, str] = {}
    outputs: list[Output] = []
    no_cache_stages: list[str] = []
    cache_from: list[CachePlace] = []
    cache_to: list[CachePlace] = []
    annotations: list[Annotation] = []
    attestations: Attestations = Attestations()
    metadata: bool = False


class BuildResult(Record):
    """`image_id` is the digest of the image configuration, empty when no image was asked for; `cached_steps` of
    `steps` file-changing steps were found; `reasons` says of each why, or why not; `metadata` has buildx's keys."""

    image_id: str
    steps: int = 0
    cached_steps: int = 0
    warnings: list[str] = []
    reasons: list[str] = []
    metadata: dict[str, object] = {}
