"""Images: a configuration document, a stack of layers, names.

The id of an image is the digest of its configuration's bytes, as in Docker. Bytes of documents lie in the content store, the
rows say what belongs together. An image that was made here has a manifest too, over its uncompressed layers, so that it can be
saved and pushed under a digest that never changes.

Names are rows (repository, tag); `debian:bookworm` is `docker.io/library/debian`, `bookworm`. Wordings are Docker's.
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.errors import InvalidArgument, NotFound
from inception.oci.digest import Digest
from inception.oci.image import (
    MEDIA_CONFIG,
    MEDIA_LAYER,
    MEDIA_MANIFEST,
    Descriptor,
    ImageDocument,
    Manifest,
)
from inception.oci.reference import Reference
from inception.record import Record, encode, replace
from inception.store.documents import decode_manifest, document_bytes, labels_of, parse_document
from inception.store.indexes import fits, misfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from inception.oci.image import History, Platform
    from inception.store import Store
    from inception.store.layers import Staged
    from inception.store.removal import Removal, Usage

_KEPT_DOCUMENTS = 256
_KEPT_LABELS = 10_000
#: Digests that repositories have an image under: its own, and those of indexes that list it.
_ALL_DIGESTS = """(SELECT repository, digest, image_id FROM image_digests
    UNION SELECT repository, digest, image_id FROM index_names JOIN index_images USING (digest))"""


class Image(Record):
    """`id` is `sha256:...`; `names` and `repo_digests` are in the short form (`debian:bookworm`)."""

    id: str
    names: list[str] = []
    repo_digests: list[str] = []
    manifest_digest: str
    document: ImageDocument
    size_bytes: int
    created: str
    layer_ids: list[int]
    parent: str = ""
    #: Of an index that has a name: one of its platforms, not an image that was forgotten.
    indexed: bool = False

    @property
    def short_id(self) -> str:
        return self.id[7:19]

    @property
    def labels(self) -> dict[str, str]:
        return self.document.config.labels


class Listed(Image):
    """An image of a list: its configuration and its layers are read when somebody asks for them, and then it is an Image like
    others. A listing shows a thousand and looks into none."""

    def __getattr__(self, name: str) -> Any:
        if name not in ("document", "layer_ids"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._whole(), name)

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.__dict__["_labels"](self.id)
        return found

    def _whole(self) -> Image:
        whole = self.__dict__.pop("_read")(self.id)
        del self.__dict__["_labels"]
        self.__dict__.update(document=whole.document, layer_ids=whole.layer_ids)
        self.__class__ = Image  # type: ignore[assignment]
        return self

    def __eq__(self, other: object) -> bool:
        return self._whole() == other

    def __hash__(self) -> int:
        return hash(self._whole())

    def __repr__(self) -> str:
        return repr(self._whole())


class Images:
    """The images of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.db
        self._documents: dict[str, ImageDocument] = {}
        self._labels: dict[str, dict[str, str]] = {}

    def resolve(self, text: str, platform: Platform | None = None) -> Image:
        """The image with a name, a digest, an id or an unambiguous start of one; of several platforms under one name the
        one for *platform*. Raises NotFound: `No such image: x`."""
        image = self.load(self.find(text))
        if platform is None or fits(image.document, platform):
            return image
        found = self._by_full_id(text) or not self._by_name(text)
        for other in [] if found else self.siblings(Reference.parse(text)):
            if fits(self._document(other), platform):
                return replace(self.load(other), names=image.names)
        raise NotFound(misfit(text, image.document, platform))

    def platforms(self, text: str) -> list[Image]:
        """All that is here under a name, each for a platform of its own; the one that the name means comes first."""
        image = self.resolve(text)
        others = self.siblings(Reference.parse(text)) if self.is_name(text) else []
        return [image, *(self.load(other) for other in others if other != image.id)]

    def siblings(self, reference: Reference) -> list[str]:
        """The ids of the images of the index that a name has."""
        digest = self._store.indexes.of(reference)
        return list(dict.fromkeys(self._store.indexes.images(digest).values())) if digest else []

    def is_name(self, text: str) -> bool:
        """Whether *text* means an image as a name, and not as an id."""
        return not self._by_full_id(text) and bool(self._by_name(text))

    def find(self, text: str) -> str:
        """The id that *text* means; see `resolve`."""
        found = self._by_full_id(text) or self._by_name(text) or self._by_prefix(text) or self._by_short_name(text)
        if not found:
            raise NotFound(f"No such image: {_with_tag(text)}")
        return found

    def put(
        self,
        document: bytes,
        stack: Sequence[Staged | int],
        *,
        manifest: bytes | None = None,
        names: Sequence[str] = (),
        repo_digest: str = "",
        parent: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> Image:
        """Stores an image: its configuration's bytes and its layers, bottom first. The caller holds a lease.

        Without a *manifest* one is made over the uncompressed layers, with *annotations*.
        *repo_digest* is `repository@digest` as it was pulled.
        Raises InvalidArgument when the document does not fit the layers.
        """
        config = parse_document(document)
        layers = self._store.layers
        diff_ids = [layers.get(item).diff_id if isinstance(item, int) else item.diff_id for item in stack]
        if config.rootfs.diff_ids != diff_ids:
            raise InvalidArgument("image configuration: rootfs.diff_ids don't match the layers")
        parsed = [_plain_name(name) for name in names]
        image_id = self._store.content.put_bytes(document)
        with self._db.transaction(durable=True) as tx:
            numbers = layers.register(stack)
            if manifest is None:
                manifest = self._make_manifest(image_id, len(document), numbers, annotations or {})
            manifest_digest = self._store.content.put_bytes(manifest)
            described = decode_manifest(manifest).layers
            blobs = {str(image_id), str(manifest_digest)}
            for layer, number in zip(described, numbers, strict=True):
                # A plain layer that is not here as such is made from its folder, or from the blob that it came as.
                if self._store.content.exists(layer.digest) and not self._packs_to(number, layer.digest):
                    blobs.add(layer.digest)
            size = sum(layers.get(number).size_bytes for number in numbers)
            tx.execute(
                """INSERT INTO images (id, manifest_digest, created, size_bytes, parent) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (id) DO UPDATE SET manifest_digest = excluded.manifest_digest""",
                (image_id, manifest_digest, config.created, size, parent),
            )
            for position, number in enumerate(numbers):
                tx.execute(
                    "INSERT OR REPLACE INTO image_layers (image_id, position, layer_id) VALUES (?, ?, ?)",
                    (image_id, position, number),
                )
            for digest in blobs:
                tx.execute("INSERT OR IGNORE INTO image_blobs (image_id, digest) VALUES (?, ?)", (image_id, digest))
            self._note_blobs(described, numbers, repo_digest.partition("@")[0])
            for reference in parsed:
                self._name(image_id, reference)
            if repo_digest:
                repository, _, digest = repo_digest.partition("@")
                tx.execute(
                    "INSERT OR REPLACE INTO image_digests (repository, digest, image_id) VALUES (?, ?, ?)",
                    (repository, Digest(digest), image_id),
                )
        self._db.keep_copy()
        return self.load(image_id)

    def _packs_to(self, number: int, digest: str) -> bool:
        layer = self._store.layers.get(number)
        return layer.packed and layer.diff_id == digest

    def create(
        self, document: ImageDocument, stack: Sequence[Staged | int], *, names: Sequence[str] = (), parent: str = ""
    ) -> Image:
        """`put` for a document that was made here; its bytes are this package's."""
        return self.put(document_bytes(document), stack, names=names, parent=parent)

    def tag(self, text: str, name: str) -> None:
        """Another name for an image. Raises NotFound, InvalidArgument."""
        reference = _plain_name(name)
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        with self._db.transaction(durable=True):
            image_id = self.find(text)
            index = self._store.indexes.of(Reference.parse(text)) if self.is_name(text) else ""
            self._name(image_id, reference)
            if index:
                self._store.indexes.keep(reference, index, {})
        self._db.keep_copy()

    def untag(self, name: str) -> None:
        """Takes a name away and leaves the image."""
        reference = Reference.parse(name)
        with self._db.transaction(durable=True):
            self._unname(reference)

    def remove(
        self,
        text: str,
        *,
        force: bool = False,
        in_use: Sequence[Usage] = (),
        prune: bool = True,
        platforms: Sequence[Platform] = (),
    ) -> list[Removal]:
        """`docker rmi`: what it has done. *in_use* are all containers and their images. With *platforms*: of what a name means
        only the images for those, while others are left.

        Raises Conflict in Docker's words when a container or another image is in the way.
        """
        from inception.store.removal import Removing

        with self._db.transaction(durable=True):
            lines = Removing(self._store, force, in_use).remove(text, platforms)
        self._db.keep_copy()
        if prune:
            self._store.collect()
        return lines

    def note_parents(self, parents: Mapping[str, str]) -> None:
        """Notes which image another was made from, where both are here and the one's layers begin with the other's."""
        with self._db.transaction() as tx:
            for image_id, parent in parents.items():
                if image_id == parent or not self._db.row("SELECT 1 FROM images WHERE id = ?", (parent,)):
                    continue
                above, below = self.load(image_id), self.load(parent)
                older = len(below.document.history) < len(above.document.history)  # so that there is no circle of parents
                if older and above.layer_ids[: len(below.layer_ids)] == below.layer_ids:
                    tx.execute("UPDATE images SET parent = ? WHERE id = ?", (parent, image_id))

    def children(self, image_id: str) -> list[str]:
        """The ids of images that were made from this one here."""
        return [row[0] for row in self._db.rows("SELECT id FROM images WHERE parent = ?", (image_id,))]

    def history(self, text: str) -> list[tuple[History, int]]:
        """The steps, newest first, each with the size of its layer."""
        image = self.resolve(text)
        sizes = [self._store.layers.get(number).size_bytes for number in image.layer_ids]
        steps: list[tuple[History, int]] = []
        for step in image.document.history:
            steps.append((step, 0 if step.empty_layer or not sizes else sizes.pop(0)))
        return steps[::-1]

    def touch(self, image_id: str) -> None:
        """Notes that an image is of use now: as the time of its configuration's file, which costs a start nothing."""
        try:
            os.utime(self._store.content.path(image_id))
        except OSError:
            pass  # removed meanwhile, or a file system that is read-only

    def used_at(self, image_id: str) -> float:
        """When it was of use last, in seconds since 1970: pulled, loaded, built, or taken for a container."""
        try:
            return os.stat(self._store.content.path(image_id)).st_mtime
        except OSError:
            return 0.0

    def named_at(self, image_id: str) -> str:
        """When the image got the newest of its names, RFC 3339; empty when it has none, or only old ones."""
        row = self._db.row("SELECT max(named_at) FROM image_names WHERE image_id = ?", (image_id,))
        return (row[0] if row else "") or ""

    def load(self, image_id: str) -> Image:
        """The image with this id. Raises NotFound."""
        row = self._db.row("SELECT manifest_digest, created, size_bytes, parent FROM images WHERE id = ?", (image_id,))
        if row is None:
            raise NotFound(f"No such image: {image_id}")
        names = self._db.rows(
            "SELECT repository, tag FROM image_names WHERE image_id = ? ORDER BY repository, tag", (image_id,)
        )
        digests = self._db.rows(
            f"SELECT repository, digest FROM {_ALL_DIGESTS} WHERE image_id = ? ORDER BY repository", (image_id,)
        )
        layers = self._db.rows("SELECT layer_id FROM image_layers WHERE image_id = ? ORDER BY position", (image_id,))
        return Image(
            id=image_id,
            names=[f"{_familiar(repository)}:{tag}" for repository, tag in names],
            repo_digests=[f"{_familiar(repository)}@{digest}" for repository, digest in digests],
            manifest_digest=row[0],
            document=self._document(image_id),
            size_bytes=row[2],
            created=row[1],
            layer_ids=[layer[0] for layer in layers],
            parent=row[3],
        )

    def _document(self, image_id: str) -> ImageDocument:
        """The configuration whose digest is *image_id*; parsed once, since content by digest never changes."""
        found = self._documents.get(image_id)
        if found is None:
            found = parse_document(self._store.content.read(image_id), trusted=True)
            if len(self._documents) < _KEPT_DOCUMENTS:
                self._documents[image_id] = found
        return found

    def _labels_of(self, image_id: str) -> dict[str, str]:
        found = self._labels.get(image_id)
        if found is None:
            try:
                found = labels_of(self._store.content.read(image_id))
            except NotFound:  # removed since it was listed, or lost, which `store verify` says; a list of all is still one
                return {}
            if len(self._labels) < _KEPT_LABELS:
                self._labels[image_id] = found
        return found

    def _by_full_id(self, text: str) -> str:
        digest = text if text.startswith("sha256:") else f"sha256:{text}"
        if len(digest) != 71:
            return ""
        row = self._db.row("SELECT id FROM images WHERE id = ? OR manifest_digest = ?", (digest, digest))
        return row[0] if row else ""

    def _by_name(self, text: str) -> str:
        try:
            reference = Reference.parse(text)
        except InvalidArgument:
            if _is_hex(text.removeprefix("sha256:")):
                return ""
            raise
        if reference.digest:
            row = self._db.row(
                """SELECT image_id FROM image_digests WHERE repository = ? AND digest = ?
                   UNION SELECT n.image_id FROM image_names AS n JOIN images AS i ON i.id = n.image_id
                   WHERE n.repository = ? AND ? IN (i.manifest_digest, i.id)""",
                (reference.repository, reference.digest, reference.repository, reference.digest),
            )
        else:
            row = self._db.row(
                "SELECT image_id FROM image_names WHERE repository = ? AND tag = ?", (reference.repository, reference.tag)
            )
        return row[0] if row else ""

    def _by_short_name(self, text: str) -> str:
        """By a name that the settings of this machine give a registry to."""
        from inception.store.hosts import full_name, load_registries  # only for what isn't here under its own name

        name = full_name(load_registries(), text)
        return self._by_name(name) if name != text else ""

    def _by_prefix(self, text: str) -> str:
        prefix = text.removeprefix("sha256:")
        if not _is_hex(prefix):
            return ""
        start = f"sha256:{prefix}"
        rows = self._db.rows("SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2", (start, start + "g"))
        if len(rows) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {text}")
        return rows[0][0] if rows else ""

    def _unname(self, reference: Reference) -> None:
        for table in ("index_names", "image_names"):
            self._db.execute(
                f"DELETE FROM {table} WHERE repository = ? AND tag = ?", (reference.repository, reference.tag or "latest")
            )

    def _name(self, image_id: str, reference: Reference) -> None:
        self._unname(reference)
        self._db.execute(
            "INSERT OR REPLACE INTO image_names (repository, tag, image_id, named_at) VALUES (?, ?, ?, ?)",
            (reference.repository, reference.tag or "latest", image_id, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
        )

    def _note_blobs(self, blobs: Sequence[Descriptor], numbers: Sequence[int], repository: str) -> None:
        """Remembers which blob unpacks to which layer, and who has it."""
        for blob, number in zip(blobs, numbers, strict=True):
            own = self._store.layers.get(number)
            if blob.digest != own.diff_id and self._store.content.exists(blob.digest):
                values = (number, blob.digest, blob.media_type, blob.size, 0)
                columns = "layer_id, digest, media_type, size_bytes, made"
                self._db.execute(f"INSERT OR REPLACE INTO layer_blobs ({columns}) VALUES (?, ?, ?, ?, ?)", values)
            if repository:
                self._db.execute(
                    "INSERT OR IGNORE INTO blob_places (digest, repository) VALUES (?, ?)", (blob.digest, repository)
                )

    def make_manifest(self, image_id: str) -> bytes:
        """The manifest over an image's uncompressed layers, as `put` makes it. Raises NotFound."""
        rows = self._db.rows("SELECT layer_id FROM image_layers WHERE image_id = ? ORDER BY position", (image_id,))
        return self._make_manifest(Digest(image_id), self._store.content.size(image_id), [row[0] for row in rows])

    def _make_manifest(
        self, image_id: str, config_bytes: int, numbers: Sequence[int], annotations: Mapping[str, str] | None = None
    ) -> bytes:
        layers = [self._store.layers.get(number) for number in numbers]
        manifest = Manifest(
            media_type=MEDIA_MANIFEST,
            config=Descriptor(media_type=MEDIA_CONFIG, digest=image_id, size=config_bytes),
            layers=[Descriptor(media_type=MEDIA_LAYER, digest=layer.diff_id, size=layer.tar_bytes) for layer in layers],
            annotations=dict(annotations or {}),
        )
        return jsontext.dumps({"schemaVersion": 2, **encode(manifest)}).encode()

    def _names_of(self, query: str, sign: str) -> dict[str, list[str]]:
        """Short names by image, of rows (image, repository, tag or digest)."""
        short: dict[str, str] = {}
        found: dict[str, list[str]] = {}
        for image_id, repository, rest in self._db.rows(query):
            name = short.get(repository) or short.setdefault(repository, _familiar(repository))
            found.setdefault(image_id, []).append(f"{name}{sign}{rest}")
        return found

    # Last, since its name hides the type's in the annotations of a class.

    def list(self) -> list[Image]:
        """All images, the newest first."""
        names = self._names_of("SELECT image_id, repository, tag FROM image_names ORDER BY repository, tag", ":")
        digests = self._names_of(f"SELECT image_id, repository, digest FROM {_ALL_DIGESTS} ORDER BY repository", "@")
        indexed = {row[0] for row in self._db.rows("SELECT image_id FROM index_images JOIN index_names USING (digest)")}
        rows = self._db.rows("SELECT id, manifest_digest, created, size_bytes, parent FROM images ORDER BY created DESC, id")
        images: list[Image] = []
        for image_id, manifest_digest, created, size_bytes, parent in rows:
            image = Listed.__new__(Listed)
            image.__dict__ = {
                "_read": self.load,
                "_labels": self._labels_of,
                "id": image_id,
                "names": names.get(image_id, []),
                "repo_digests": digests.get(image_id, []),
                "manifest_digest": manifest_digest,
                "size_bytes": size_bytes,
                "created": created,
                "parent": parent,
                "indexed": image_id in indexed,
            }
            images.append(image)
        return images


def _is_hex(text: str) -> bool:
    return bool(text) and len(text) <= 64 and set("0123456789abcdef").issuperset(text)


def _familiar(repository: str) -> str:
    domain, _, path = repository.partition("/")
    return Reference(domain=domain, path=path).familiar_repository


def _plain_name(text: str) -> Reference:
    """A name for an image: any but `sha256`, which would read like an id. Raises InvalidArgument."""
    reference = Reference.parse(text)
    if reference.familiar_repository == "sha256":
        raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")
    return reference


def _with_tag(text: str) -> str:
    """Docker names what it looked for: `No such image: nginx:latest`."""
    try:
        return Reference.parse(text).familiar
    except InvalidArgument:
        return text
