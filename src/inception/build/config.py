"""What a build is told, and what it gives back: values alone, so that a build that is known as a whole loads no more."""

from __future__ import annotations

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ResourceConfig

# The Dockerfile that is meant where none is named: the first of these that there is.
DEFAULT_NAMES = ("Dockerfile", "dockerfile")


class Output(Record):
    """`destination` is a path, or `-` for standard output; `names` are added to the build's tags. `to_caller`: whoever asked
    for the build takes it, and `destination` says nothing."""

    type: str
    destination: str = ""
    names: list[str] = []
    push: bool = False
    to_caller: bool = False

    @property
    def needs_image(self) -> bool:
        return self.type not in ("local", "tar")

    @property
    def holds_index(self) -> bool:
        """Whether images of several platforms, and attestations, have a place where it goes."""
        if self.type == "docker":
            return not self.destination
        return self.type != "tar"


class Annotation(Record):
    """`level` is `manifest`, `index`, `manifest-descriptor` or `index-descriptor`; `platform` empty means all."""

    level: str = "manifest"
    platform: str = ""
    key: str
    value: str


class Attestations(Record):
    """What is to be said of the result. `provenance` is empty, `min` or `max`."""

    provenance: str = ""
    version: str = "v0.2"
    builder_id: str = ""
    reproducible: bool = False
    sbom: bool = False

    def __bool__(self) -> bool:
        return bool(self.provenance) or self.sbom


class CachePlace(Record):
    """`place` is a reference or a folder. `whole`: all stages and not the result's alone (mode=max)."""

    type: str
    place: str = ""
    tag: str = "latest"
    digest: str = ""
    whole: bool = False
    compression: str = "gzip"
    optional: bool = False


class SecretSource(Record):
    """A file of the caller's (`path`), a variable of its environment (`env`), or the value itself (`data`, in hex)."""

    path: str = ""
    env: str = ""
    data: str | None = None


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
    resources: ResourceConfig | None = None  # of the steps; a hundred values that most builds say nothing of
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
