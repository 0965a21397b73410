"""Images from archives: `docker load`, OCI layouts as a tar or as a folder, `import` of a root filesystem.

What `load` reads is what archive_save.py writes, also the classic form (HEX.json, HEX/layer.tar). Members of an archive are
written to numbered files in a scratch folder and known by their names only in a dictionary, so a name can't lead anywhere.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import InvalidArgument, NotFound
from inception.oci.digest import sha256
from inception.oci.image import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
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
from inception.record import Record, decode, encode, replace
from inception.store import tar
from inception.store.archive_save import NAME, REF_NAME, blob_name
from inception.store.assemble import assemble
from inception.store.compression import decompress, detect
from inception.store.content import chunks_of, copy_hashed
from inception.store.documents import decode_manifest, load_json
from inception.store.limits import Limits
from inception.store.progress import Progress, silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, BinaryIO

    from inception.store import Store
    from inception.store.images import Image
    from inception.store.progress import OnProgress
    from inception.store.scratch import Scratch

_LISTED = (MEDIA_MANIFEST, DOCKER_MANIFEST, MEDIA_INDEX, DOCKER_INDEX)
_MAX_MEMBERS = 100_000
_MAX_LINKS = 8
_MAX_DEPTH = 4  # an index of indexes is allowed; a longer chain is a joke


def load(
    store: Store,
    stream: BinaryIO | Iterable[bytes],
    progress: OnProgress = silent,
    limits: Limits | None = None,
    platform: Platform | None = None,
) -> list[Image]:
    """The images of an archive in any of the forms, compressed or not, each with the names that it gives them: others that
    they have here already are not in the answer."""
    from inception.store.settings import load_settings

    images = _load(store, stream, progress, limits or load_settings().limits, platform)
    store.collect()  # blobs that their unpacked layers stand for
    return images


def _load(
    store: Store, stream: BinaryIO | Iterable[bytes], progress: OnProgress, limits: Limits, platform: Platform | None
) -> list[Image]:
    file: Any = stream
    chunks = chunks_of(file) if hasattr(stream, "read") else stream
    with store.lease(), store.scratch() as scratch:
        members = _Members(chunks, scratch, limits)
        source = _Source(store, members)
        if "index.json" in members.files:
            _check_layout(members)
            index = decode(Index, load_json(members.read("index.json"), "index.json"), "index.json")
            legacy, parents = _legacy_names(members), _legacy_parents(members)
            images = []
            for found in _manifests(index, source, platform):
                names = found.names or legacy.get(found.config, [])
                if found.index and platform is None and names:
                    others, blobs = _load_others(store, scratch, source, found, progress, limits)
                _tell_renamed(store, names, found.config, progress)
                image = assemble(store, scratch, found.manifest, source.fetch, names=names, progress=progress, limits=limits)
                if found.index and platform is None:
                    for name in names:
                        reference = Reference.parse(name)
                        store.indexes.keep(reference, found.index, {**others, sha256(found.manifest): image.id}, blobs)
                images.append(replace(image, names=_familiar(names)))
            store.images.note_parents({image.id: parents[image.id] for image in images if image.id in parents})
            return images
        if "manifest.json" in members.files:
            return _load_classic(store, scratch, members, progress, limits)
    raise InvalidArgument("load: neither manifest.json nor index.json in the archive: not an image archive")


def load_layout(
    store: Store,
    folder: str,
    name: str = "",
    progress: OnProgress = silent,
    platform: Platform | None = None,
    *,
    named: bool = True,
) -> list[Image]:
    """The images of an OCI layout in a folder of this machine; only the one that *name* (a tag, or a digest) means, when given.
    They get the names that the layout has for them, unless *named* is off."""
    source = _FolderSource(store, folder)
    index = decode(Index, load_json(source.document("index.json"), "index.json"), "index.json")
    if name:
        index.manifests = [
            entry
            for entry in index.manifests
            if name in (entry.digest, entry.annotations.get(REF_NAME), entry.annotations.get(NAME))
        ]
        if not index.manifests:
            raise NotFound(f"{folder}: no image {name!r} in this OCI layout")
    with store.lease(), store.scratch() as scratch:
        return [
            assemble(store, scratch, found.manifest, source.fetch, names=found.names if named else [], progress=progress)
            for found in _manifests(index, source, platform)
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
        name = self._members.find(blob_name(descriptor.digest))
        if self._members.digests[name] != descriptor.digest:
            raise InvalidArgument(f"load: {name}: the bytes have digest {self._members.digests[name]}")
        if os.stat(self._members.files[name]).st_size != descriptor.size:
            raise InvalidArgument(f"load: {name}: not the {descriptor.size} bytes that the manifest says")
        self._store.content.adopt(self._members.files.pop(name), descriptor.digest)

    def document(self, name: str) -> bytes:
        return self._members.read(name)

    def has(self, digest: str) -> bool:
        return blob_name(digest) in self._members.files or self._store.content.exists(digest)

    def blob(self, digest: str) -> bytes:
        if blob_name(digest) not in self._members.files and self._store.content.exists(digest):
            return self._store.content.read(digest)  # two names of an archive may share it, and the first has taken it
        name = self._members.find(blob_name(digest))
        if self._members.digests[name] != digest:
            raise InvalidArgument(f"load: {name}: the bytes have digest {self._members.digests[name]}")
        return self._members.read(name)


class _FolderSource:
    """The blobs of an OCI layout in a folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder

    def fetch(self, descriptor: Descriptor) -> None:
        with self._open(blob_name(descriptor.digest)) as file:
            self._store.content.put(chunks_of(file), descriptor.digest, descriptor.size)

    def document(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read(64 << 20)

    def has(self, digest: str) -> bool:
        return os.path.exists(f"{self._folder}/{blob_name(digest)}")

    def blob(self, digest: str) -> bytes:
        from inception.oci.digest import sha256

        data = self.document(blob_name(digest))
        if sha256(data) != digest:
            raise InvalidArgument(f"{self._folder}: {blob_name(digest)}: the bytes have another digest")
        return data

    def _open(self, name: str) -> BinaryIO:
        try:
            return open(f"{self._folder}/{name}", "rb", buffering=0)
        except OSError as error:
            raise NotFound(f"{self._folder}/{name}: {error.strerror}", "is this folder an OCI layout?") from error


class _Found(Record):
    """An image of a layout: its manifest's bytes, its configuration's digest, its names; the *index* that it was chosen from,
    and the *documents* on the way to it."""

    manifest: bytes
    config: str
    names: list[str]
    index: str = ""
    documents: list[bytes] = []


def _manifests(index: Index, source: Any, wanted: Platform | None) -> Iterator[_Found]:
    """The images of a layout's index. One of several platforms counts once, as the one that fits the *wanted* one or this
    machine; where nobody has asked and none fits, the first that is there."""
    platform = wanted or host_platform()
    entries = known(index.manifests)
    if not entries:
        raise InvalidArgument("index.json: no image in it")
    grouped: dict[str, list[str]] = {}
    for entry in entries:
        grouped.setdefault(entry.digest, []).extend(_names_of(entry))
    plain = [entry for entry in entries if entry.platform and not _names_of(entry)]
    chosen = {choose_platform(plain, platform).digest} if plain and len(plain) == len(entries) else set(grouped)
    for digest, names in grouped.items():
        if digest not in chosen:
            continue
        entry = next(each for each in entries if each.digest == digest)
        data = source.blob(digest)
        documents = []
        for _ in range(_MAX_DEPTH):
            if entry.media_type not in (MEDIA_INDEX, DOCKER_INDEX):
                break
            documents.append(data)
            inner = known(decode(Index, load_json(data, "index"), "index").manifests)
            inner = [each for each in inner if source.has(each.digest)] or inner
            try:
                entry = choose_platform(inner, platform)
            except NotFound:
                if wanted is not None or not names or not inner:
                    raise
                entry = inner[0]
            data = source.blob(entry.digest)
        yield _Found(
            manifest=data,
            config=decode_manifest(data).config.digest,
            names=names,
            index=digest if documents else "",
            documents=documents,
        )


def _load_others(
    store: Store, scratch: Scratch, source: _Source, found: _Found, progress: OnProgress, limits: Limits
) -> tuple[dict[str, str], list[str]]:
    """The other platforms of an index as nameless images, by their manifests, and as blobs what else of it is there."""
    images: dict[str, str] = {}
    blobs: list[str] = []
    left = [(document, _MAX_DEPTH) for document in found.documents[:1]]
    while left:
        document, depth = left.pop()
        blobs.append(store.content.put_bytes(document))
        for entry in decode(Index, load_json(document, "index"), "index").manifests:
            if entry.digest == sha256(found.manifest) or not source.has(entry.digest):
                continue
            if not known([entry]):
                source.fetch(entry)
                blobs.append(entry.digest)
                continue
            data = source.blob(entry.digest)
            if entry.media_type in (MEDIA_INDEX, DOCKER_INDEX):
                if depth:
                    left.append((data, depth - 1))
                continue
            manifest = decode_manifest(data)
            if runs_here(entry, manifest):
                image = assemble(store, scratch, data, source.fetch, progress=progress, limits=limits)
                images[entry.digest] = image.id
                continue
            for blob in [manifest.config, *manifest.layers]:
                if not store.content.exists(blob.digest) and source.has(blob.digest):
                    source.fetch(blob)
                blobs.append(blob.digest)
            blobs.append(store.content.put_bytes(data))
    return images, [blob for blob in blobs if store.content.exists(blob)]


def runs_here(entry: Descriptor, manifest: Manifest) -> bool:
    """Whether what an index lists is an image for containers of this system: attestations and artifacts are not."""
    system = entry.platform is None or (entry.platform.os == "linux" and entry.platform.architecture != "unknown")
    return system and manifest.config.media_type in (MEDIA_CONFIG, DOCKER_CONFIG)


def _tell_renamed(store: Store, names: Sequence[str], image_id: str, progress: OnProgress) -> None:
    """Says, as Docker does, which images lose their names to what is being loaded."""
    for name in names:
        reference = Reference.parse(name)
        row = store.db.row(
            "SELECT image_id FROM image_names WHERE repository = ? AND tag = ?", (reference.repository, reference.tag)
        )
        if row and row[0] != image_id:
            told = f"The image {reference.familiar} already exists, renaming the old one with ID {row[0]} to empty string"
            progress(Progress(status=told))


def _check_layout(members: _Members) -> None:
    """Refuses a layout of another version. Some archives come without the file that says it."""
    if "oci-layout" in members.files:
        value = load_json(members.read("oci-layout"), "oci-layout")
        version = value.get("imageLayoutVersion") if isinstance(value, dict) else None
        if version != "1.0.0":
            raise InvalidArgument(f"oci-layout: imageLayoutVersion {version!r}: not supported")


def _names_of(entry: Descriptor) -> list[str]:
    for key in (NAME, REF_NAME):
        text = entry.annotations.get(key, "")
        # The second is a bare tag as often as a name; a tag without its repository names nothing.
        if text and (key == NAME or "/" in text or ":" in text):
            reference = Reference.parse(text)
            return [replace(reference, digest="").familiar] if reference.tag else []
    return []


def known(entries: Sequence[Descriptor]) -> list[Descriptor]:
    """Without what is neither image nor index: an index may list anything, and that is nobody's mistake."""
    return [entry for entry in entries if entry.media_type in _LISTED]


def choose_platform(entries: Sequence[Descriptor], platform: Platform) -> Descriptor:
    """The manifest of an index that runs on *platform*. Raises NotFound in Docker's words."""
    fitting = [
        entry
        for entry in known(entries)
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


def _legacy_parents(members: _Members) -> dict[str, str]:
    """Image -> the image in the archive that it was made from, as Docker notes it in manifest.json."""
    if "manifest.json" not in members.files:
        return {}
    return {members.digests[members.find(entry["Config"])]: entry["Parent"] for entry in _legacy(members) if entry["Parent"]}


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
        parent = entry.get("Parent") or ""
        if not isinstance(parent, str):
            raise InvalidArgument(f"manifest.json: [{place}].Parent: expected a string")
        found.append({"Config": entry["Config"], "Layers": entry["Layers"], "RepoTags": tags, "Parent": parent})
    return found


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _load_classic(store: Store, scratch: Scratch, members: _Members, progress: OnProgress, limits: Limits) -> list[Image]:
    images = []
    parents = _legacy_parents(members)
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
        _tell_renamed(store, entry["RepoTags"], image_id, progress)
        names = entry["RepoTags"]
        image = assemble(store, scratch, data, _nothing_to_fetch, names=names, progress=progress, limits=limits)
        images.append(replace(image, names=_familiar(names)))
    store.images.note_parents({image.id: parents[image.id] for image in images if image.id in parents})
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


def _familiar(names: Sequence[str]) -> list[str]:
    return [Reference.parse(name).familiar for name in names]


def _nothing_to_fetch(descriptor: Descriptor) -> None:
    raise InvalidArgument(f"load: {descriptor.digest} is not in the archive")
