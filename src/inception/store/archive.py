"""Images as archives: `docker save` and `docker load`, OCI layouts as a tar or as a folder, `import` of a root filesystem.

What `save` writes is both: an OCI layout (oci-layout, index.json, blobs/) with a manifest.json for older Dockers. What `load`
reads is either, also the classic form (HEX.json, HEX/layer.tar). Members of an archive are written to numbered files in a
scratch folder and known by their names only in a dictionary, so a name can't lead anywhere.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import (
    DOCKER_INDEX,
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER,
    MEDIA_LAYER_GZIP,
    MEDIA_LAYER_ZSTD,
    MEDIA_MANIFEST,
    Descriptor,
    History,
    ImageConfig,
    ImageDocument,
    Index,
    Manifest,
    Platform,
    RootFs,
    host_platform,
    platform_text,
)
from inception.oci.reference import Reference
from inception.record import Record, decode, encode
from inception.store import tar
from inception.store.assemble import assemble
from inception.store.compression import decompress, detect
from inception.store.content import chunks_of, copy_hashed
from inception.store.images import decode_manifest, load_json
from inception.store.limits import Limits
from inception.store.progress import silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from inception.store import Store
    from inception.store.images import Image
    from inception.store.progress import OnProgress
    from inception.store.push import Attach
    from inception.store.scratch import Scratch

_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_MAX_MEMBERS = 100_000
_MAX_LINKS = 8


def save(store: Store, names: Sequence[str], platform: Platform | None = None) -> Iterator[bytes]:
    """The archive of the named images as chunks; a bare repository means all its tags. Raises NotFound before the first chunk
    when a name is unknown, or has no image for *platform*."""
    chosen: dict[str, tuple[Image, list[str]]] = {}
    for name in names:
        for each in _all_tags(store, name):
            image = store.images.resolve(each, platform)
            tags = chosen.setdefault(image.id, (image, []))[1]
            tags += [tag for tag in _tags_for(image, each) if tag not in tags]
    return _save(store, list(chosen.values()))


def _all_tags(store: Store, name: str) -> list[str]:
    """A bare repository as all its names, anything else as it is."""
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


def _save(store: Store, images: list[tuple[Image, list[str]]]) -> Iterator[bytes]:
    written: set[str] = set()
    index: list[Descriptor] = []
    legacy: list[dict[str, Any]] = []
    yield from _member("oci-layout", _LAYOUT)
    for folder in ("blobs/", "blobs/sha256/"):
        yield tar.header(tar.Entry(folder, tar.DIRECTORY, 0o755))
    for image, tags in images:
        data = store.content.read(image.manifest_digest)
        manifest = decode_manifest(data)
        yield from _blobs(store, image, manifest, written)
        media_type = manifest.media_type or MEDIA_MANIFEST
        entry = Descriptor(media_type=media_type, digest=image.manifest_digest, size=len(data))
        for tag in tags or [""]:
            notes = {_NAME: str(Reference.parse(tag)), _REF_NAME: Reference.parse(tag).tag} if tag else {}
            index.append(Descriptor(**{**entry.__dict__, "annotations": notes}))
        legacy.append(
            {
                "Config": _blob_name(manifest.config.digest),
                "RepoTags": tags or None,
                "Layers": [_blob_name(layer.digest) for layer in manifest.layers],
            }
        )
    value = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [encode(entry) for entry in index]}
    yield from _member("index.json", jsontext.dumps(value).encode())
    yield from _member("manifest.json", jsontext.dumps(legacy).encode())
    yield tar.END


def _blobs(store: Store, image: Image, manifest: Manifest, written: set[str]) -> Iterator[bytes]:
    """The manifest, configuration and layers of an image, but for what was *written* before."""
    for digest in (image.manifest_digest, manifest.config.digest):
        if digest not in written:
            written.add(digest)
            yield from _member(_blob_name(digest), store.content.read(digest))
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
        notes = {_NAME: str(Reference.parse(name)), _REF_NAME: Reference.parse(name).tag} if name else {}
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
        yield from _member(_blob_name(digest), data)
    value = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [encode(entry) for entry in places]}
    yield from _member("index.json", jsontext.dumps(value).encode())
    yield tar.END


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield tar.header(tar.Entry(name, tar.REGULAR, 0o644, size=len(data))) + data + tar.padding(len(data))


def _layer_member(store: Store, layer: Descriptor, number: int) -> Iterator[bytes]:
    yield tar.header(tar.Entry(_blob_name(layer.digest), tar.REGULAR, 0o644, size=layer.size))
    if store.content.exists(layer.digest):
        with store.content.open(layer.digest) as blob:
            yield from chunks_of(blob)
    else:
        yield from open_layer(store, layer, number)
    yield tar.padding(layer.size)


def open_layer(store: Store, layer: Descriptor, number: int) -> Iterator[bytes]:
    """A layer that was made here, as its tar; checked on the way, since it is made again from the folder."""
    import hashlib

    hasher = hashlib.sha256()
    for chunk in store.layers.tar(number):
        hasher.update(chunk)
        yield chunk
    if f"sha256:{hasher.hexdigest()}" != layer.digest:
        raise Unavailable(
            f"layer {layer.digest}: the unpacked folder has changed since it was stored",
            f"something wrote to {store.layers.path(number)}: remove the image and build it again",
        )


def _blob_name(digest: str) -> str:
    checked = Digest(digest)
    return f"blobs/{checked.algorithm}/{checked.hex}"


def load(
    store: Store,
    stream: BinaryIO | Iterable[bytes],
    progress: OnProgress = silent,
    limits: Limits | None = None,
    platform: Platform | None = None,
) -> list[Image]:
    """The images of an archive in any of the forms, compressed or not, with the names that it gives them."""
    from inception.store.settings import load_settings

    images = _load(store, stream, progress, limits or load_settings().limits, platform or host_platform())
    store.collect()  # blobs that their unpacked layers stand for
    return images


def _load(
    store: Store, stream: BinaryIO | Iterable[bytes], progress: OnProgress, limits: Limits, platform: Platform
) -> list[Image]:
    file: Any = stream
    chunks = chunks_of(file) if hasattr(stream, "read") else stream
    with store.lease(), store.scratch() as scratch:
        members = _Members(chunks, scratch, limits)
        source = _Source(store, members)
        if "index.json" in members.files:
            index = decode(Index, load_json(members.read("index.json"), "index.json"), "index.json")
            legacy = _legacy_names(members)
            return [
                assemble(
                    store, scratch, data, source.fetch, names=names or legacy.get(config, []), progress=progress, limits=limits
                )
                for data, config, names in _manifests(index, source, platform)
            ]
        if "manifest.json" in members.files:
            return _load_classic(store, scratch, members, progress, limits)
    raise InvalidArgument("load: neither manifest.json nor index.json in the archive: not an image archive")


def load_layout(
    store: Store, folder: str, name: str = "", progress: OnProgress = silent, platform: Platform | None = None
) -> list[Image]:
    """The images of an OCI layout in a folder of this machine; only the one that *name* (a tag) means, when given."""
    source = _FolderSource(store, folder)
    index = decode(Index, load_json(source.document("index.json"), "index.json"), "index.json")
    if name:
        index.manifests = [
            entry for entry in index.manifests if name in (entry.annotations.get(_REF_NAME), entry.annotations.get(_NAME))
        ]
        if not index.manifests:
            raise NotFound(f"{folder}: no image {name!r} in this OCI layout")
    with store.lease(), store.scratch() as scratch:
        return [
            assemble(store, scratch, data, source.fetch, names=names, progress=progress)
            for data, _, names in _manifests(index, source, platform or host_platform())
        ]


def import_rootfs(
    store: Store,
    stream: BinaryIO | Iterable[bytes],
    name: str = "",
    *,
    config: ImageConfig = ImageConfig(),
    message: str = "",
    created: str = "",
    platform: Platform | None = None,
    limits: Limits | None = None,
) -> Image:
    """`docker import`: a tar of a root filesystem, compressed or not, becomes an image of one layer."""
    import time

    created = created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    platform = platform or host_platform()
    with store.lease(), store.scratch() as scratch:
        unpacked = store.layers.stage(stream, scratch, limits=limits)
        # Its own tar is thrown away: the layer is the one that this folder packs to, whatever the tar's peculiarities were.
        staged = store.layers.stage_folder(unpacked.path)
        document = ImageDocument(
            created=created,
            architecture=platform.architecture,
            os=platform.os,
            variant=platform.variant,
            config=config,
            rootfs=RootFs(diff_ids=[staged.diff_id]),
            history=[History(created=created, comment=message or "Imported from -")],
        )
        return store.images.create(document, [staged], names=[name] if name else [])


class _Members:
    """The regular files of an archive, each in a numbered file of the scratch folder, with its digest."""

    def __init__(self, chunks: Iterable[bytes], scratch: Scratch, limits: Limits) -> None:
        self.files: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self._links: dict[str, str] = {}
        reader = tar.TarReader(decompress(chunks, limits.max_ratio))
        left = limits.max_bytes
        for count, entry in enumerate(reader):
            if count >= _MAX_MEMBERS:
                raise InvalidArgument(f"load: more than {_MAX_MEMBERS} members in the archive")
            name = entry.name.removeprefix("./")
            if entry.kind in (tar.SYMLINK, tar.HARD_LINK):
                base = os.path.dirname(name) if entry.kind == tar.SYMLINK else ""
                self._links[name] = os.path.normpath(os.path.join(base, entry.link))
            elif entry.kind == tar.REGULAR and entry.extents is None:
                left -= entry.size
                if left < 0:
                    raise InvalidArgument(f"load: the archive holds more than the allowed {limits.max_bytes} bytes")
                path = f"{scratch.path}/{count}"
                with open(path, "xb", buffering=0) as file:
                    self.digests[name] = copy_hashed((bytes(piece) for piece in reader.data(entry.size)), file)[0]
                self.files[name] = path

    def find(self, name: str) -> str:
        """The name that *name* leads to through the archive's own links. Raises InvalidArgument."""
        for _ in range(_MAX_LINKS):
            if name in self.files:
                return name
            if name not in self._links:
                break
            name = self._links[name]
        raise InvalidArgument(f"load: {name} is not in the archive")

    def read(self, name: str) -> bytes:
        with open(self.files[self.find(name)], "rb") as file:
            return file.read(64 << 20)


class _Source:
    """The blobs of an archive that holds an OCI layout."""

    def __init__(self, store: Store, members: _Members) -> None:
        self._store = store
        self._members = members

    def fetch(self, descriptor: Descriptor) -> None:
        name = self._members.find(_blob_name(descriptor.digest))
        if self._members.digests[name] != descriptor.digest:
            raise InvalidArgument(f"load: {name}: the bytes have digest {self._members.digests[name]}")
        if os.stat(self._members.files[name]).st_size != descriptor.size:
            raise InvalidArgument(f"load: {name}: not the {descriptor.size} bytes that the manifest says")
        self._store.content.adopt(self._members.files.pop(name), descriptor.digest)

    def document(self, name: str) -> bytes:
        return self._members.read(name)

    def blob(self, digest: str) -> bytes:
        name = self._members.find(_blob_name(digest))
        if self._members.digests[name] != digest:
            raise InvalidArgument(f"load: {name}: the bytes have digest {self._members.digests[name]}")
        return self._members.read(name)


class _FolderSource:
    """The blobs of an OCI layout in a folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder

    def fetch(self, descriptor: Descriptor) -> None:
        with self._open(_blob_name(descriptor.digest)) as file:
            self._store.content.put(chunks_of(file), descriptor.digest, descriptor.size)

    def document(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read(64 << 20)

    def blob(self, digest: str) -> bytes:
        from inception.oci.digest import sha256

        data = self.document(_blob_name(digest))
        if sha256(data) != digest:
            raise InvalidArgument(f"{self._folder}: {_blob_name(digest)}: the bytes have another digest")
        return data

    def _open(self, name: str) -> BinaryIO:
        try:
            return open(f"{self._folder}/{name}", "rb", buffering=0)
        except OSError as error:
            raise NotFound(f"{self._folder}/{name}: {error.strerror}", "is this folder an OCI layout?") from error


def _manifests(index: Index, source: Any, platform: Platform) -> Iterator[tuple[bytes, str, list[str]]]:
    """For each image of an index: the manifest's bytes, its config digest, its names. An image of several platforms counts
    once, as the one that fits *platform*."""
    grouped: dict[str, list[str]] = {}
    for entry in index.manifests:
        grouped.setdefault(entry.digest, []).extend(_names_of(entry))
    plain = [entry for entry in index.manifests if entry.platform and not _names_of(entry)]
    chosen = {choose_platform(plain, platform).digest} if plain and len(plain) == len(index.manifests) else set(grouped)
    for digest, names in grouped.items():
        if digest not in chosen:
            continue
        entry = next(each for each in index.manifests if each.digest == digest)
        data = source.blob(digest)
        for _ in range(4):
            if entry.media_type not in (MEDIA_INDEX, DOCKER_INDEX):
                break
            inner = decode(Index, load_json(data, "index"), "index")
            entry = choose_platform(inner.manifests, platform)
            data = source.blob(entry.digest)
        yield data, decode_manifest(data).config.digest, names


def _names_of(entry: Descriptor) -> list[str]:
    for key in (_NAME, _REF_NAME):
        text = entry.annotations.get(key, "")
        # The second is a bare tag as often as a name; a tag without its repository names nothing.
        if text and (key == _NAME or "/" in text or ":" in text):
            return [Reference.parse(text).familiar]
    return []


def choose_platform(entries: Sequence[Descriptor], platform: Platform) -> Descriptor:
    """The manifest of an index that runs on *platform*. Raises NotFound in Docker's words."""
    fitting = [
        entry
        for entry in entries
        if entry.platform is None or (entry.platform.os == platform.os and entry.platform.architecture == platform.architecture)
    ]
    fitting.sort(key=lambda entry: entry.platform is None or entry.platform.variant != platform.variant)
    if not fitting:
        raise NotFound(f"no matching manifest for {platform_text(platform)} in the manifest list entries")
    return fitting[0]


def _legacy_names(members: _Members) -> dict[str, list[str]]:
    """Config digest -> tags, from the manifest.json beside an index."""
    if "manifest.json" not in members.files:
        return {}
    found: dict[str, list[str]] = {}
    for entry in _legacy(members):
        found[members.digests[members.find(entry["Config"])]] = entry["RepoTags"]
    return found


def _legacy(members: _Members) -> list[dict[str, Any]]:
    value = load_json(members.read("manifest.json"), "manifest.json")
    if not isinstance(value, list):
        raise InvalidArgument("manifest.json: expected an array")
    found = []
    for place, entry in enumerate(value):
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str) or not _all_text(entry.get("Layers")):
            raise InvalidArgument(f"manifest.json: [{place}]: expected an object with Config and Layers")
        tags = entry.get("RepoTags") or []
        if not _all_text(tags):
            raise InvalidArgument(f"manifest.json: [{place}].RepoTags: expected an array of strings")
        found.append({"Config": entry["Config"], "Layers": entry["Layers"], "RepoTags": tags})
    return found


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _load_classic(store: Store, scratch: Scratch, members: _Members, progress: OnProgress, limits: Limits) -> list[Image]:
    images = []
    for entry in _legacy(members):
        config = members.read(entry["Config"])
        layers = []
        for name in entry["Layers"]:
            found = members.find(name)
            layers.append(_classic_layer(store, members.files[found], members.digests[found]))
        image_id = store.content.put_bytes(config)
        manifest = Manifest(
            media_type=MEDIA_MANIFEST,
            config=Descriptor(media_type=MEDIA_CONFIG, digest=image_id, size=len(config)),
            layers=layers,
        )
        data = jsontext.dumps({"schemaVersion": 2, **encode(manifest)}).encode()
        images.append(
            assemble(store, scratch, data, _nothing_to_fetch, names=entry["RepoTags"], progress=progress, limits=limits)
        )
    return images


def _classic_layer(store: Store, path: str, digest: str) -> Descriptor:
    if os.path.exists(path):  # two images of an archive may share it, and the first has taken it
        with open(path, "rb") as file:
            kind = detect(file.read(6))
        size = os.stat(path).st_size
        store.content.adopt(path, digest)
    else:
        with store.content.open(digest) as blob:
            kind = detect(blob.read(6))
        size = store.content.size(digest)
    media_type = {"": MEDIA_LAYER, "gzip": MEDIA_LAYER_GZIP, "zstd": MEDIA_LAYER_ZSTD}.get(kind)
    if media_type is None:
        raise InvalidArgument(f"load: layer {digest}: {kind} compression is not one of images")
    return Descriptor(media_type=media_type, digest=digest, size=size)


def _nothing_to_fetch(descriptor: Descriptor) -> None:
    raise InvalidArgument(f"load: {descriptor.digest} is not in the archive")
