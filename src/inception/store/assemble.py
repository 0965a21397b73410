"""From a manifest and its blobs to an image: what pull and load have in common.

The configuration first (it says how many layers there are and what they unpack to), then the layers, several at once: each is
fetched where it is missing, and unpacked as soon as its own bytes are complete and verified. Nothing is visible until all of
it is there: one transaction names it.
"""

from __future__ import annotations

from inception.errors import InvalidArgument
from inception.oci.digest import Digest
from inception.oci.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    MEDIA_CONFIG,
    MEDIA_LAYER,
    MEDIA_LAYER_GZIP,
    MEDIA_LAYER_ZSTD,
    Descriptor,
)
from inception.store.documents import decode_manifest, parse_document
from inception.store.progress import Progress, silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inception.store import Store
    from inception.store.images import Image
    from inception.store.layers import Staged
    from inception.store.limits import Limits
    from inception.store.progress import OnProgress
    from inception.store.scratch import Scratch

LAYER_TYPES = (
    MEDIA_LAYER,
    MEDIA_LAYER_GZIP,
    MEDIA_LAYER_ZSTD,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
)
_FETCHED_AT_ONCE = 3
_UNPACKED_AT_ONCE = 3


class NotAnImage(InvalidArgument):
    """Something that lies in registries beside images: a signature, an SBOM, a chart."""


def assemble(
    store: Store,
    scratch: Scratch,
    manifest: bytes,
    fetch: Callable[[Descriptor], None],
    *,
    names: Sequence[str] = (),
    repo_digest: str = "",
    progress: OnProgress = silent,
    limits: Limits | None = None,
) -> Image:
    """The image of *manifest*. *fetch* brings a blob into the content store, verified. The caller holds a lease.

    Raises InvalidArgument when manifest, configuration and layers don't fit each other, and what *fetch* raises.
    """
    parsed = decode_manifest(manifest)
    if parsed.config.media_type not in (MEDIA_CONFIG, DOCKER_CONFIG):
        kind = parsed.artifact_type or parsed.config.media_type
        raise NotAnImage(
            f"this is an artifact of type {kind!r}, not a container image",
            "`inception artifact pull` brings the files of one",
        )
    for position, layer in enumerate(parsed.layers):
        # Other formats are parsed by the kernel itself, or live elsewhere: not without being asked for.
        if layer.media_type not in LAYER_TYPES:
            raise InvalidArgument(f"manifest: layers[{position}].mediaType {layer.media_type!r}: unsupported layer format")
    if not store.content.exists(parsed.config.digest):
        fetch(parsed.config)
    document = store.content.read(parsed.config.digest)
    config = parse_document(document)
    if config.os != "linux":
        raise InvalidArgument(f"image configuration: os: operating system {config.os!r} cannot be used on this platform")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(parsed.layers):
        raise InvalidArgument(f"image configuration: {len(diff_ids)} diff_ids for {len(parsed.layers)} layers")
    stack = _stage_all(store, scratch, parsed.layers, diff_ids, fetch, progress, limits)
    return store.images.put(document, stack, manifest=manifest, names=names, repo_digest=repo_digest)


def _stage_all(
    store: Store,
    scratch: Scratch,
    layers: list[Descriptor],
    diff_ids: list[str],
    fetch: Callable[[Descriptor], None],
    progress: OnProgress,
    limits: Limits | None,
) -> list[Staged | int]:
    known = store.layers.find(diff_ids)
    if all(number is not None and _has_blob(store, layer, number) for layer, number in zip(layers, known, strict=True)):
        for layer in layers:
            progress(Progress(id=Digest(layer.digest).hex[:12], status="Already exists"))
        return [number for number in known if number is not None]
    for position, (layer, number) in enumerate(zip(layers, known, strict=True)):
        if diff_ids.index(diff_ids[position]) == position and not (number is not None and _has_blob(store, layer, number)):
            progress(Progress(id=Digest(layer.digest).hex[:12], status="Pulling fs layer"))
    from concurrent.futures import Future, ThreadPoolExecutor  # 12 ms, for whoever has something to do

    first: dict[str, int] = {}  # the same layer may come twice in a stack; it is unpacked once

    def bring(position: int) -> Staged | int | None:
        """The layer that is here already, or None when there is something to unpack."""
        layer, number = layers[position], known[position]
        short = Digest(layer.digest).hex[:12]
        if number is not None and _has_blob(store, layer, number):
            progress(Progress(id=short, status="Already exists"))
            return number
        if not store.content.exists(layer.digest):
            fetch(layer)
        return number

    def unpack(position: int) -> Staged:
        layer = layers[position]
        short = Digest(layer.digest).hex[:12]
        progress(Progress(id=short, status="Extracting", total=layer.size))
        with store.content.open(layer.digest) as blob:
            staged = store.layers.stage(
                blob,
                scratch,
                diff_ids[position],
                limits,
                lambda done: progress(Progress(id=short, status="Extracting", current=done, total=layer.size)),
            )
        if layer.digest == diff_ids[position] and not staged.implicit:
            # Uncompressed: where the folder packs to the very same bytes, keeping these too would be keeping them twice.
            staged.packed = store.layers.pack_digest(staged.path) == layer.digest
        progress(Progress(id=short, status="Pull complete"))
        return staged

    order = [first.setdefault(diff_id, position) for position, diff_id in enumerate(diff_ids)]
    # Two pools, so that a slow network goes on while what has come is unpacked.
    with ThreadPoolExecutor(_UNPACKED_AT_ONCE) as unpackers, ThreadPoolExecutor(_FETCHED_AT_ONCE) as fetchers:

        def stage(position: int) -> Staged | int | Future[Staged]:
            number = bring(position)
            return unpackers.submit(unpack, position) if number is None else number

        futures = {position: fetchers.submit(stage, position) for position in first.values()}
        try:
            brought = {position: future.result() for position, future in futures.items()}
            done = {position: each.result() if isinstance(each, Future) else each for position, each in brought.items()}
        except BaseException:
            for future in futures.values():
                future.cancel()
            unpackers.shutdown(wait=False, cancel_futures=True)
            raise
    return [done[position] for position in order]


def _has_blob(store: Store, layer: Descriptor, number: int) -> bool:
    own = store.layers.get(number)
    return store.content.exists(layer.digest) or (own.packed and own.diff_id == layer.digest)
