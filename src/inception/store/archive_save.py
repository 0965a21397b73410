"""Images as archives: what `docker save` writes, and OCI layouts of an index for `build -o`.

An archive is both an OCI layout (oci-layout, index.json, blobs/) and, for older Dockers, manifest.json and repositories over
the same blobs. What reads them is archive.py.
"""

from __future__ import annotations

from inception import jsontext
from inception.errors import InvalidArgument, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Index, Platform
from inception.oci.reference import Reference
from inception.record import Record, encode
from inception.store import tar
from inception.store.content import chunks_of
from inception.store.documents import decode_manifest
from inception.store.images import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from inception.oci.image import Manifest
    from inception.store import Store
    from inception.store.push import Attach

NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'


class _Saved(Record):
    """What a name is in an archive: the image that it means, its other platforms' if they come along, and their index."""

    images: list[Image]
    tags: list[str]
    index: Descriptor | None = None
    documents: dict[str, bytes] = {}


def save(store: Store, names: Sequence[str], platforms: Sequence[Platform] = ()) -> Iterator[bytes]:
    """The archive of the named images as chunks; a bare repository means all its tags. Of a name with several platforms all
    that are here go into it, under the index that they came with; or those of *platforms*, several under a new one.

    Raises NotFound before the first chunk when a name is unknown, or has no image for one of *platforms*.
    """
    chosen: dict[str, _Saved] = {}
    for name in names:
        for each in all_tags(store, name):
            found = _found(store, each, platforms)
            key = found.index.digest if found.index is not None else found.images[0].id
            tags = chosen.setdefault(key, found).tags
            tags += [tag for tag in _tags_for(found.images[0], each) if tag not in tags]
    return _save(store, list(chosen.values()))


def _found(store: Store, name: str, platforms: Sequence[Platform]) -> _Saved:
    if not platforms:
        images = store.images.platforms(name)
        digest = store.indexes.of(Reference.parse(name)) if len(images) > 1 else ""
        if not digest:
            return _Saved(images=images[:1], tags=[])
        media_type = store.indexes.document(digest).media_type or MEDIA_INDEX
        index = Descriptor(media_type=media_type, digest=digest, size=store.content.size(digest))
        return _Saved(images=images, tags=[], index=index)
    wanted = {image.id: image for image in [store.images.resolve(name, platform) for platform in platforms]}
    images = list(wanted.values())
    if len(images) == 1:
        return _Saved(images=images, tags=[])
    made = make_index(store, images)
    index = Descriptor(media_type=MEDIA_INDEX, digest=made.digest, size=made.size_bytes)
    return _Saved(images=images, tags=[], index=index, documents=made.documents)


def all_tags(store: Store, name: str) -> list[str]:
    """A bare repository as all the names that it has here, anything else as it is."""
    if ":" in name.rpartition("/")[2] or "@" in name:
        return [name]
    try:
        repository = Reference.parse(name).repository
    except InvalidArgument:
        return [name]
    rows = store.db.rows("SELECT tag FROM image_names WHERE repository = ? ORDER BY tag", (repository,))
    return [f"{repository}:{tag}" for (tag,) in rows] or [name]


def _tags_for(image: Image, name: str) -> list[str]:
    """A name means itself, an id or a digest none (as in `docker save`)."""
    try:
        reference = Reference.parse(name)
    except InvalidArgument:
        return []
    return [reference.familiar] if reference.familiar in image.names else []


def _save(store: Store, saved: list[_Saved]) -> Iterator[bytes]:
    written: set[str] = set()
    index: list[Descriptor] = []
    legacy: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    ids = {each.images[0].id for each in saved}
    yield from _member("oci-layout", _LAYOUT)
    for folder in ("blobs/", "blobs/sha256/"):
        yield tar.header(tar.Entry(folder, tar.DIRECTORY, 0o755))
    for each in saved:
        for image in each.images:
            manifest = decode_manifest(store.content.read(image.manifest_digest))
            yield from _blobs(store, image, manifest, written)
        image = each.images[0]
        data = store.content.read(image.manifest_digest)
        manifest = decode_manifest(data)
        entry = each.index or Descriptor(
            media_type=manifest.media_type or MEDIA_MANIFEST, digest=image.manifest_digest, size=len(data)
        )
        if each.index is not None:
            yield from _index_blobs(store, each, written)
        for tag in each.tags or [""]:
            notes = {NAME: str(Reference.parse(tag)), REF_NAME: Reference.parse(tag).tag} if tag else {}
            index.append(Descriptor(**{**entry.__dict__, "annotations": notes}))
            if tag and manifest.layers:
                repository, _, name = tag.rpartition(":")
                repositories.setdefault(repository, {})[name] = Digest(manifest.layers[-1].digest).hex
        legacy.append(
            {
                "Config": blob_name(manifest.config.digest),
                "RepoTags": each.tags or None,
                "Layers": [blob_name(layer.digest) for layer in manifest.layers],
                **({"Parent": image.parent} if image.parent in ids else {}),
            }
        )
    value = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [encode(entry) for entry in index]}
    yield from _member("index.json", jsontext.dumps(value).encode())
    yield from _member("manifest.json", jsontext.dumps(legacy).encode())
    if repositories:  # what is in it by name, as Docker's own archives say it since the first
        yield from _member("repositories", jsontext.dumps(repositories).encode())
    yield tar.END


def _index_blobs(store: Store, saved: _Saved, written: set[str]) -> Iterator[bytes]:
    """An index and what it lists that is no image's: attestations, indexes within it, as far as they are here."""
    for digest, data in saved.documents.items():
        if digest not in written:
            written.add(digest)
            yield from _member(blob_name(digest), data)
    if saved.index is None or saved.index.digest in saved.documents:
        return
    for (digest,) in store.db.rows("SELECT blob FROM index_blobs WHERE digest = ? ORDER BY blob", (saved.index.digest,)):
        if digest not in written and store.content.exists(digest):
            written.add(digest)
            yield from _stored_member(store, digest)


def _stored_member(store: Store, digest: str) -> Iterator[bytes]:
    size = store.content.size(digest)
    yield tar.header(tar.Entry(blob_name(digest), tar.REGULAR, 0o644, size=size))
    with store.content.open(digest) as blob:
        yield from chunks_of(blob)
    yield tar.padding(size)


def _blobs(store: Store, image: Image, manifest: Manifest, written: set[str]) -> Iterator[bytes]:
    """The manifest, configuration and layers of an image, but for what was *written* before."""
    for digest in (image.manifest_digest, manifest.config.digest):
        if digest not in written:
            written.add(digest)
            yield from _member(blob_name(digest), store.content.read(digest))
    for layer, number in zip(manifest.layers, image.layer_ids, strict=True):
        if layer.digest not in written:
            written.add(layer.digest)
            yield from _layer_member(store, layer, number)


class MadeIndex(Record):
    """An index that was made here: the `images` that it lists, and by digest all documents that are no image's, its own too."""

    digest: str
    size_bytes: int
    images: list[Image]
    documents: dict[str, bytes]


def make_index(
    store: Store, images: Sequence[Image], *, attach: Attach | None = None, annotations: Mapping[str, str] | None = None
) -> MadeIndex:
    """An index of *images*, each for its own platform. *attach* gives what belongs to an image beside it."""
    entries = []
    for image in images:
        document = image.document
        platform = Platform(architecture=document.architecture, os=document.os, variant=document.variant)
        size = store.content.size(image.manifest_digest)
        entries.append(Descriptor(media_type=MEDIA_MANIFEST, digest=image.manifest_digest, size=size, platform=platform))
    documents: dict[str, bytes] = {}
    for image, entry in zip(images, list(entries), strict=True):
        for found in attach(image, entry) if attach is not None else ():
            documents |= {found.descriptor.digest: found.manifest, **{str(sha256(data)): data for data in found.blobs}}
            entries.append(found.descriptor)
    index = Index(media_type=MEDIA_INDEX, manifests=entries, annotations=dict(annotations or {}))
    data = jsontext.dumps({"schemaVersion": 2, **encode(index)}).encode()
    digest = str(sha256(data))
    documents[digest] = data
    return MadeIndex(digest=digest, size_bytes=len(data), images=list(images), documents=documents)


def save_index(
    store: Store, names: Sequence[str], index: MadeIndex, annotations: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    """An OCI layout of *index* under all *names*, as chunks; *annotations* are those of its place in the layout."""
    places = []
    for name in names or [""]:
        notes = {NAME: str(Reference.parse(name)), REF_NAME: Reference.parse(name).tag} if name else {}
        notes |= annotations or {}
        places.append(Descriptor(media_type=MEDIA_INDEX, digest=index.digest, size=index.size_bytes, annotations=notes))
    yield from _save_index(store, index.images, index.documents, places)


def _save_index(
    store: Store, images: Sequence[Image], documents: Mapping[str, bytes], places: Sequence[Descriptor]
) -> Iterator[bytes]:
    written: set[str] = set()
    yield from _member("oci-layout", _LAYOUT)
    for folder in ("blobs/", "blobs/sha256/"):
        yield tar.header(tar.Entry(folder, tar.DIRECTORY, 0o755))
    for image in images:
        yield from _blobs(store, image, decode_manifest(store.content.read(image.manifest_digest)), written)
    for digest, data in documents.items():
        yield from _member(blob_name(digest), data)
    value = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [encode(entry) for entry in places]}
    yield from _member("index.json", jsontext.dumps(value).encode())
    yield tar.END


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield tar.header(tar.Entry(name, tar.REGULAR, 0o644, size=len(data))) + data + tar.padding(len(data))


def _layer_member(store: Store, layer: Descriptor, number: int) -> Iterator[bytes]:
    yield tar.header(tar.Entry(blob_name(layer.digest), tar.REGULAR, 0o644, size=layer.size))
    yield from open_layer(store, layer, number)
    yield tar.padding(layer.size)


def open_layer(store: Store, layer: Descriptor, number: int) -> Iterator[bytes]:
    """The bytes that a manifest over plain layers says, also where the store has them in another form: as the folder that packs
    to them, or compressed as they came. Those are checked on the way."""
    import hashlib

    if store.content.exists(layer.digest):
        with store.content.open(layer.digest) as blob:
            yield from chunks_of(blob)
        return
    hasher = hashlib.sha256()
    for chunk in store.layers.tar(number) if store.layers.get(number).packed else _unpacked(store, number):
        hasher.update(chunk)
        yield chunk
    if f"sha256:{hasher.hexdigest()}" != layer.digest:
        raise Unavailable(
            f"layer {layer.digest}: what the store has of it is no longer what it was",
            "`inception store verify --repair` mends it, or says which images have to be pulled or built again",
        )


def _unpacked(store: Store, number: int) -> Iterator[bytes]:
    from inception.store.compression import decompress
    from inception.store.settings import load_settings

    blob = store.layers.blob(number)
    if not blob:
        raise Unavailable(f"layer {number}: none of its blobs is here", "pull or build its image again")
    with store.content.open(blob) as file:
        yield from decompress(chunks_of(file), load_settings().limits.max_ratio)


def blob_name(digest: str) -> str:
    checked = Digest(digest)
    return f"blobs/{checked.algorithm}/{checked.hex}"
