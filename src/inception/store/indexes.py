"""Images of several platforms under one name: the index (in Docker's words the manifest list) that a name is on its registry,
kept beside those of its images that are here.

    index_names    repository:tag  ──▶  index
    index_images   index           ──▶  image, by the digest of its manifest
    index_blobs    index           ──▶  the document itself, and what else of it is here that is no image for containers:
                                        attestations, systems that we can't run; whoever pushes the whole needs them

A name means one image at a time, the one that was pulled last, as in Docker; the others are asked for by platform. An index
lives as long as a name or a repository's digest says so (gc.py).
"""

from __future__ import annotations

from inception.oci.image import DOCKER_INDEX, MEDIA_INDEX, Index, platform_text
from inception.record import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inception.oci.image import Descriptor, ImageDocument, Platform
    from inception.oci.reference import Reference
    from inception.store.content import Content
    from inception.store.database import Database

TYPES = (MEDIA_INDEX, DOCKER_INDEX)
_DEPTH = 4  # an index of indexes is allowed; a longer chain is a joke


class Indexes:
    """The indexes of one store."""

    def __init__(self, db: Database, content: Content) -> None:
        self._db = db
        self._content = content

    def keep(self, reference: Reference, digest: str, images: Mapping[str, str], blobs: Sequence[str] = ()) -> None:
        """Notes that *reference* is the index *digest*, whose document is in the content store, and what of it is here:
        *images* by their manifests' digests, and other *blobs*. The caller holds a lease."""
        with self._db.transaction(durable=True) as tx:
            tx.execute("INSERT OR IGNORE INTO indexes (digest) VALUES (?)", (digest,))
            if reference.tag:
                tx.execute(
                    "INSERT OR REPLACE INTO index_names (repository, tag, digest) VALUES (?, ?, ?)",
                    (reference.repository, reference.tag, digest),
                )
            for manifest, image_id in images.items():
                tx.execute(
                    "INSERT OR REPLACE INTO index_images (digest, manifest_digest, image_id) VALUES (?, ?, ?)",
                    (digest, manifest, image_id),
                )
            for blob in (digest, *blobs):
                tx.execute("INSERT OR IGNORE INTO index_blobs (digest, blob) VALUES (?, ?)", (digest, blob))

    def of(self, reference: Reference) -> str:
        """The digest of the index that a name stands for, or an empty text."""
        if reference.digest:
            row = self._db.row("SELECT digest FROM indexes WHERE digest = ?", (reference.digest,))
        else:
            row = self._db.row(
                "SELECT digest FROM index_names WHERE repository = ? AND tag = ?", (reference.repository, reference.tag)
            )
        return row[0] if row else ""

    def images(self, digest: str) -> dict[str, str]:
        """Manifest digest -> image id, of those that are here."""
        return dict(self._db.rows("SELECT manifest_digest, image_id FROM index_images WHERE digest = ?", (digest,)))

    def document(self, digest: str) -> Index:
        """Raises NotFound when it is not here."""
        from inception.store.documents import load_json

        return decode(Index, load_json(self._content.read(digest), "index"), "index")

    def entries(self, digest: str, depth: int = _DEPTH) -> Iterator[Descriptor]:
        """What it lists, indexes within it taken apart where they are here."""
        for entry in self.document(digest).manifests:
            if entry.media_type in TYPES and depth and self._content.exists(entry.digest):
                yield from self.entries(entry.digest, depth - 1)
            else:
                yield entry

    def is_complete(self, digest: str) -> bool:
        """Whether all that it lists is here."""
        return self._content.exists(digest) and all(self._content.exists(entry.digest) for entry in self.entries(digest))


def fits(document: ImageDocument, platform: Platform) -> bool:
    """Whether an image is for *platform*. One that names no variant fits all of its architecture."""
    same = (document.os, document.architecture) == (platform.os, platform.architecture)
    return same and (not document.variant or not platform.variant or document.variant == platform.variant)


def misfit(text: str, document: ImageDocument, platform: Platform) -> str:
    """Docker's words for an image that is not for the *platform*."""
    wanted = platform_text(platform).replace("arm64/v8", "arm64")  # which is what arm64 means
    return (
        f"image with reference {text} was found but does not match the specified platform: wanted {wanted}, "
        f"actual: {platform_of(document)}"
    )


def platform_of(document: ImageDocument) -> str:
    """`linux/arm64/v8`."""
    from inception.oci.image import Platform

    return platform_text(Platform(architecture=document.architecture, os=document.os, variant=document.variant))
