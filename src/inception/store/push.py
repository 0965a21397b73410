"""Pushing an image.

    blobs: there already? (HEAD)  ──▶  mountable from a neighbour?  ──▶  uploaded          several at once
    then the manifest under the tag: whoever pulls sees all of it or nothing

An image that was pulled or loaded with its compressed layers goes up as it came, under the same digest. One that was made here
has a manifest over uncompressed layers; its layers are compressed for the way, gzip or zstd, and an OCI manifest is made of
them. The same layer compresses to the same bytes, and those are kept while the layer is (`layer_blobs`), so a second push of
it costs a HEAD. Layers that came from elsewhere are sent in the very form they came in, which their registry may have already.

A name that is an index of several platforms (indexes.py) goes up as that index when all of it is here, under the same digest.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import Conflict, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER,
    MEDIA_LAYER_GZIP,
    MEDIA_LAYER_ZSTD,
    MEDIA_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from inception.oci.reference import Reference
from inception.record import Record, encode, replace
from inception.store.archive_save import open_layer
from inception.store.content import copy_hashed
from inception.store.documents import decode_manifest
from inception.store.hosts import Registries, endpoint, full_name, load_registries
from inception.store.indexes import TYPES, platform_of
from inception.store.progress import Progress, silent
from inception.store.pull import open_repository, told_warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from inception.store import Store
    from inception.store.credentials import Credentials
    from inception.store.images import Image
    from inception.store.progress import OnProgress
    from inception.store.registry import Repository

_PARALLEL = 5
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 2  # isal's; about what gzip -6 packs, at five times its speed
_MEDIA = {"gzip": MEDIA_LAYER_GZIP, "zstd": MEDIA_LAYER_ZSTD}
#: What Docker's media types are in OCI's words; a manifest that is made here speaks only those.
_AS_OCI = {DOCKER_LAYER: MEDIA_LAYER, DOCKER_LAYER_GZIP: MEDIA_LAYER_GZIP, DOCKER_CONFIG: MEDIA_CONFIG}
_AS_DOCKER = {MEDIA_LAYER: DOCKER_LAYER, MEDIA_LAYER_GZIP: DOCKER_LAYER_GZIP, MEDIA_CONFIG: DOCKER_CONFIG}
_ELSEWHERE = "nondistributable", "rootfs.foreign"


class Pushed(Record):
    """What a name means on the registry now."""

    tag: str
    digest: str
    size_bytes: int


class Attached(Record):
    """A manifest that stands beside an image in an index, with the blobs that only it has, and how the index lists it."""

    descriptor: Descriptor
    manifest: bytes
    blobs: list[bytes]


if TYPE_CHECKING:
    Attach = Callable[[Image, Descriptor], Iterable[Attached]]


def push(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    compression: str = "gzip",
    platform: Platform | None = None,
    all_platforms: bool = False,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> Pushed:
    """Uploads the image called *name* to the registry that the name says; of several platforms all, when all are here, or the
    one for *platform*. With *all_platforms* less than all is an error.

    *compression* of layers that were made here is `gzip` or `zstd`. Raises NotFound (no such image here), Forbidden (the
    registry wants another login), Unavailable (it does not answer, or breaks).
    """
    if compression not in _MEDIA:
        raise InvalidArgument(f"push {name}: compression {compression!r}: must be gzip or zstd")
    reference = _target(name)
    if not store.db.row("SELECT 1 FROM image_names WHERE repository = ? AND tag = ?", (reference.repository, reference.tag)):
        registries = registries if registries is not None else load_registries()
        reference = _target(full_name(registries, name))
    image = _image(store, reference, platform)
    index = "" if platform else store.indexes.of(reference)
    whole = bool(index) and store.indexes.is_complete(index)
    if all_platforms and not whole:
        why = "only some of the platforms that it lists are here" if index else "it is an image of one platform"
        raise NotFound(
            f"push {reference.familiar}: {why}", f"inception pull --all-platforms {reference.familiar}" if index else ""
        )
    repository = _open(reference, credentials, registries)
    try:
        progress(Progress(status=f"The push refers to repository [{reference.repository}]"))
        with store.lease():
            work = _Push(store, repository, reference, progress)
            pushed = work.index(index, image.id) if whole else work.image(image, reference.tag, compression)
    finally:
        repository.close()
    for warning in told_warnings(repository):
        progress(warning)
    progress(Progress(status=f"{reference.tag}: digest: {pushed.digest} size: {pushed.size_bytes}"))
    if index and not whole:
        one = platform_of(image.document)
        progress(Progress(status=f"{reference.tag}: of several platforms only {one} is here whole, and was pushed alone"))
    return pushed


def push_index(
    store: Store,
    name: str,
    sources: Sequence[str],
    progress: OnProgress = silent,
    *,
    compression: str = "gzip",
    attach: Attach | None = None,
    annotations: Mapping[str, str] | None = None,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> Pushed:
    """Uploads local images as one name: an index of their manifests, each for its own platform.

    *attach* gives what belongs to an image, once its descriptor is known: documents beside it in the index. *annotations* are
    the index's own. Raises Conflict when two images are for the same platform, and as `push`.
    """
    reference = _target(name)
    images = [store.images.resolve(source) for source in sources]
    platforms = [_platform_of(image) for image in images]
    for position, platform in enumerate(platforms):
        if platform in platforms[:position]:
            raise Conflict(f"push {reference.familiar}: two images for {platform.os}/{platform.architecture}{platform.variant}")
    repository = _open(reference, credentials, registries)
    try:
        progress(Progress(status=f"The push refers to repository [{reference.repository}]"))
        with store.lease():
            work = _Push(store, repository, reference, progress)
            entries = []
            for image, platform in zip(images, platforms, strict=True):
                pushed = work.image(image, "", compression)
                entries.append(
                    Descriptor(media_type=work.media_type, digest=pushed.digest, size=pushed.size_bytes, platform=platform)
                )
            for image, entry in zip(images, list(entries), strict=True):
                for found in attach(image, entry) if attach is not None else ():
                    for data in found.blobs:
                        work.document(data)
                    repository.put_manifest(found.manifest, MEDIA_MANIFEST, found.descriptor.digest)
                    entries.append(found.descriptor)
            index = Index(media_type=MEDIA_INDEX, manifests=entries, annotations=dict(annotations or {}))
            data = jsontext.dumps({"schemaVersion": 2, **encode(index)}).encode()
            digest = repository.put_manifest(data, MEDIA_INDEX, reference.tag)
    finally:
        repository.close()
    progress(Progress(status=f"{reference.tag}: digest: {digest} size: {len(data)}"))
    return Pushed(tag=reference.tag, digest=digest, size_bytes=len(data))


def push_artifact(
    store: Store,
    name: str,
    config: bytes,
    media_type: str,
    layers: Sequence[tuple[str, int]],
    *,
    compression: str = "gzip",
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> Pushed:
    """Uploads *config* of a type of its own with layers (their diff_ids and numbers) as a manifest that is no image.

    The configuration is what says what the layers are for; they come in their order. Raises as `push`.
    """
    reference = _target(name)
    repository = _open(reference, credentials, registries)
    try:
        with store.lease():
            work = _Push(store, repository, reference, silent)
            sent = [
                work._layer(Descriptor(media_type=MEDIA_LAYER, digest=diff_id, size=0), number, compression)
                for diff_id, number in layers
            ]
            described = Descriptor(media_type=media_type, digest=work.document(config), size=len(config))
            data = _manifest_bytes(Manifest(media_type=MEDIA_MANIFEST, config=described, layers=sent))
            digest = repository.put_manifest(data, MEDIA_MANIFEST, reference.tag)
    finally:
        repository.close()
    return Pushed(tag=reference.tag, digest=digest, size_bytes=len(data))


def _target(name: str) -> Reference:
    reference = Reference.parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    return reference


def _image(store: Store, reference: Reference, platform: Platform | None) -> Image:
    try:
        return store.images.resolve(reference.familiar, platform)
    except NotFound:
        if platform is not None:
            raise
        if store.db.row("SELECT 1 FROM image_names WHERE repository = ?", (reference.repository,)):
            raise NotFound(f"tag does not exist: {reference.familiar}") from None
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}") from None


def _platform_of(image: Image) -> Platform:
    document = image.document
    return Platform(architecture=document.architecture, os=document.os, variant=document.variant)


def _open(reference: Reference, credentials: Credentials | None, registries: Registries | None) -> Repository:
    where = endpoint(registries if registries is not None else load_registries(), reference.domain)
    return open_repository(reference, where, f"push {reference.familiar}", credentials, "pull,push")


class _Push:
    """One repository that images go to."""

    def __init__(self, store: Store, repository: Repository, reference: Reference, progress: OnProgress) -> None:
        self._store = store
        self._repository = repository
        self._reference = reference
        self._progress = progress
        self.media_type = MEDIA_MANIFEST

    def image(self, image: Image, tag: str, compression: str) -> Pushed:
        from concurrent.futures import ThreadPoolExecutor

        stored = self._store.content.read(image.manifest_digest)
        manifest = decode_manifest(stored)
        whole = all(self._is_sendable(layer) for layer in manifest.layers)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            jobs = [
                pool.submit(self._layer, layer, number, "" if whole else compression)
                for layer, number in zip(manifest.layers, image.layer_ids, strict=True)
            ]
            config = pool.submit(self._blob, manifest.config, "")
            try:
                layers = [job.result() for job in jobs]
                config.result()
            except BaseException:
                for job in [*jobs, config]:
                    job.cancel()
                raise
        if whole:
            data, self.media_type = stored, manifest.media_type or MEDIA_MANIFEST
        else:
            made = Manifest(
                media_type=MEDIA_MANIFEST,
                config=_as_oci(manifest.config),
                layers=[_as_oci(each) for each in layers],
                annotations=manifest.annotations,
            )
            data, self.media_type = _manifest_bytes(made), MEDIA_MANIFEST
        data = self._name(data, tag or sha256(data), made=not whole)
        digest = sha256(data)
        _remember(self._store, self._reference.repository, [manifest.config, *layers], digest, image.id)
        return Pushed(tag=tag, digest=digest, size_bytes=len(data))

    def index(self, digest: str, image_id: str) -> Pushed:
        """All of an index: what it lists first, by digest, then itself under the tag."""
        from concurrent.futures import ThreadPoolExecutor

        content = self._store.content
        index = self._store.indexes.document(digest)
        blobs: dict[str, Descriptor] = {}
        for entry in self._store.indexes.entries(digest):
            manifest = decode_manifest(content.read(entry.digest))
            for blob in [manifest.config, *manifest.layers]:
                if not any(mark in blob.media_type for mark in _ELSEWHERE):
                    blobs.setdefault(blob.digest, blob)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            jobs = [pool.submit(self._stored, blob) for blob in blobs.values()]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
        self._documents(index)
        data = content.read(digest)
        self.media_type = index.media_type or MEDIA_INDEX
        self._repository.put_manifest(data, self.media_type, self._reference.tag)
        _remember(self._store, self._reference.repository, blobs.values(), digest, image_id)
        return Pushed(tag=self._reference.tag, digest=digest, size_bytes=len(data))

    def _documents(self, index: Index) -> None:
        """What an index lists, innermost first: a registry takes no document that refers to one it doesn't have."""
        for entry in index.manifests:
            if entry.media_type in TYPES:
                self._documents(self._store.indexes.document(entry.digest))
            data = self._store.content.read(entry.digest)
            self._repository.put_manifest(data, entry.media_type, entry.digest)

    def _stored(self, blob: Descriptor) -> Descriptor:
        """A blob as its manifest says; an uncompressed layer may be here as its folder alone."""
        if not self._store.content.exists(blob.digest):
            row = self._store.db.row("SELECT id FROM layers WHERE diff_id = ? AND packed > 0", (blob.digest,))
            if row is None:
                raise NotFound(f"push {self._reference.familiar}: blob {blob.digest} is not here")
            self._store.content.put(self._store.layers.tar(row[0]), blob.digest)
        return self._blob(blob, Digest(blob.digest).hex[:12])

    def _name(self, data: bytes, tag_or_digest: str, made: bool) -> bytes:
        try:
            self._repository.put_manifest(data, self.media_type, tag_or_digest)
        except Unavailable as error:
            # Registries from before OCI know Docker's form only.
            old = "answers 400" in str(error) or "answers 415" in str(error)
            if not made or not old or tag_or_digest.startswith("sha256:"):
                raise
            manifest = _as_docker(decode_manifest(data))
            if manifest is None:
                raise
            data, self.media_type = _manifest_bytes(manifest), DOCKER_MANIFEST
            self._repository.put_manifest(data, self.media_type, tag_or_digest)
        return data

    def _is_sendable(self, layer: Descriptor) -> bool:
        """Whether a layer goes as its manifest says: it lies here in that form, and was compressed by whoever made it, or
        it is one that isn't distributed."""
        if any(mark in layer.media_type for mark in _ELSEWHERE):
            return True
        return layer.media_type not in (MEDIA_LAYER, DOCKER_LAYER) and self._store.content.exists(layer.digest)

    def _layer(self, layer: Descriptor, number: int, compression: str) -> Descriptor:
        short = Digest(layer.digest).hex[:12]
        if any(mark in layer.media_type for mark in _ELSEWHERE) and layer.urls:
            self._progress(Progress(id=short, status="Skipped foreign layer"))
            return layer
        if not self._is_sendable(layer):
            say = lambda: self._progress(Progress(id=short, status="Compressing"))  # noqa: E731
            layer = compressed(self._store, layer, number, compression or "gzip", say)
        return self._blob(layer, short)

    def _blob(self, blob: Descriptor, short: str) -> Descriptor:
        def tell(status: str, done: int = 0) -> None:
            if short:
                self._progress(Progress(id=short, status=status, current=done, total=blob.size if done else 0))

        if self._repository.has_blob(blob.digest):
            tell("Layer already exists")
            return blob
        tell("Preparing")
        neighbour = self._neighbour(blob.digest) if short else ""
        try:
            how = self._repository.upload(
                blob.digest,
                blob.size,
                lambda: self._store.content.open(blob.digest),
                neighbour,
                lambda done: tell("Pushing", done),
            )
        except InceptionError:
            tell("Push failed")
            raise
        tell(f"Mounted from {neighbour}" if how == "mounted" else "Pushed")
        return blob

    def document(self, data: bytes) -> str:
        """A blob of a few kilobytes; its digest."""
        from io import BytesIO

        digest = str(sha256(data))
        if not self._repository.has_blob(digest):
            self._repository.upload(digest, len(data), lambda: BytesIO(data), "", lambda _done: None)
        return digest

    def _neighbour(self, digest: str) -> str:
        """Another repository of the same registry that has had the blob."""
        rows = self._store.db.rows("SELECT repository FROM blob_places WHERE digest = ? ORDER BY repository", (digest,))
        start = f"{self._reference.domain}/"
        own = self._reference.repository
        return next((name.removeprefix(start) for (name,) in rows if name.startswith(start) and name != own), "")


def _remember(store: Store, repository: str, blobs: Iterable[Descriptor], digest: str, image_id: str) -> None:
    """What the registry has now: the name's digest, and the blobs that later pushes can mount."""
    with store.db.transaction() as tx:
        for blob in blobs:
            tx.execute("INSERT OR IGNORE INTO blob_places (digest, repository) VALUES (?, ?)", (blob.digest, repository))
        columns = "repository, digest, image_id"
        tx.execute(f"INSERT OR REPLACE INTO image_digests ({columns}) VALUES (?, ?, ?)", (repository, digest, image_id))


def compressed(
    store: Store, layer: Descriptor, number: int, compression: str, say: Callable[[], None] | None = None
) -> Descriptor:
    """A layer in a form for the way: one that came with some image, one that was made before, or a new one, of which *say*
    tells. The caller holds a lease."""
    content, db = store.content, store.db
    rows = db.rows(
        "SELECT digest, media_type, size_bytes, made FROM layer_blobs WHERE layer_id = ? ORDER BY made, digest", (number,)
    )
    for digest, media_type, size, made in rows:
        oci_type = _AS_OCI.get(media_type, media_type)
        fits = oci_type == _MEDIA[compression] or (not made and oci_type in _MEDIA.values())
        if fits and content.exists(digest):
            if made:
                os.utime(content.path(digest))  # clean-up goes by when it was last of use
            return Descriptor(media_type=oci_type, digest=digest, size=size)
    if say is not None:
        say()
    with store.scratch() as scratch:
        partial = f"{scratch.path}/blob"
        with open(partial, "xb", buffering=0) as file:
            digest, size = copy_hashed(compress(open_layer(store, layer, number), compression), file)
        content.adopt(partial, digest)
    db.execute(
        "INSERT OR REPLACE INTO layer_blobs (layer_id, digest, media_type, size_bytes, made) VALUES (?, ?, ?, ?, 1)",
        (number, digest, _MEDIA[compression], size),
    )
    return Descriptor(media_type=_MEDIA[compression], digest=digest, size=size)


def compress(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """*chunks* as gzip or zstd; the same bytes in give the same bytes out, on every machine with the same libraries."""
    if compression == "zstd":
        import zstandard

        packer: Any = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    else:
        from isal import isal_zlib

        packer = isal_zlib.compressobj(level=_GZIP_LEVEL, wbits=31)  # without a time or a name in the header
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def _as_oci(descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, media_type=_AS_OCI.get(descriptor.media_type, descriptor.media_type))


def _as_docker(manifest: Manifest) -> Manifest | None:
    """The manifest in Docker's schema 2, or None when it holds what that can't say (zstd)."""
    if any(layer.media_type not in _AS_DOCKER for layer in manifest.layers):
        return None

    def spelt(descriptor: Descriptor) -> Descriptor:
        return Descriptor(media_type=_AS_DOCKER[descriptor.media_type], digest=descriptor.digest, size=descriptor.size)

    return Manifest(media_type=DOCKER_MANIFEST, config=spelt(manifest.config), layers=[spelt(each) for each in manifest.layers])


def _manifest_bytes(manifest: Manifest) -> bytes:
    return jsontext.dumps({"schemaVersion": 2, **encode(manifest)}).encode()
