"""`rmi`: a name goes before the image that it means, an image before the layers that nobody else has. Wordings are Docker's."""

from __future__ import annotations

from inception.errors import Conflict
from inception.oci.digest import chain_ids
from inception.oci.reference import Reference
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.oci.image import Platform
    from inception.store import Store
    from inception.store.images import Image


class Usage(Record):
    """A container that uses an image, as `Images.remove` wants to know it."""

    container_id: str
    image_id: str
    running: bool = False
    image_name: str = ""


class Removal(Record):
    """One line of `rmi`, exactly one of these: a name, the id of an image, the chain id of a layer that nobody has any more."""

    untagged: str = ""
    deleted: str = ""
    layer: str = ""

    def __str__(self) -> str:
        return f"Untagged: {self.untagged}" if self.untagged else f"Deleted: {self.deleted or self.layer}"


class Removing:
    """One removal, inside of a transaction. *in_use* are all containers and their images."""

    def __init__(self, store: Store, force: bool, in_use: Sequence[Usage]) -> None:
        self._store = store
        self._db = store.db
        self._images = store.images
        self._force = force
        self._in_use = in_use

    def remove(self, text: str, platforms: Sequence[Platform]) -> list[Removal]:
        """See `Images.remove`."""
        image = self._images.resolve(text)
        if platforms and (left := self._without(text, platforms)):
            return self._remove_platforms(text, left)
        if self._images.is_name(text):
            return self._remove_last(image, Reference.parse(text))
        self._check(image)
        return [*self._untag_all(image), *([] if self._images.children(image.id) else self._delete(image))]

    def _remove_last(self, image: Image, reference: Reference) -> list[Removal]:
        """A name, and what it was the last of."""
        siblings = self._images.siblings(reference)
        lines = self._remove_name(image, reference)
        left = self._references(image.id) or self._indexed(image.id) or self._images.children(image.id)
        if not (left or self._users(image)):
            lines += self._delete(image)
        in_use_ids = {usage.image_id for usage in self._in_use}
        for other in siblings:
            if other != image.id and other not in in_use_ids and self._is_forgotten(other):
                lines += self._delete(self._images.load(other))
        return lines

    def _users(self, image: Image) -> list[Usage]:
        return [usage for usage in self._in_use if usage.image_id == image.id]

    def _references(self, image_id: str) -> int:
        row = self._db.row("SELECT count(*) FROM image_names WHERE image_id = ?", (image_id,))
        return row[0] if row else 0

    def _without(self, text: str, platforms: Sequence[Platform]) -> list[Image]:
        """What a name means beside the images for *platforms*. Raises NotFound when one of those is not here."""
        gone = {self._images.resolve(text, platform).id for platform in platforms}
        return [image for image in self._images.platforms(text) if image.id not in gone]

    def _remove_platforms(self, text: str, left: list[Image]) -> list[Removal]:
        """Takes from a name's index the images that are not *left*; all names of it then mean one that is."""
        lines: list[Removal] = []
        index, kept = self._store.indexes.of(Reference.parse(text)), {image.id for image in left}
        for image in self._images.platforms(text):
            if image.id in kept:
                continue
            self._check(replace(image, names=[]))
            self._db.execute(
                """UPDATE image_names SET image_id = ? WHERE image_id = ?
                   AND (repository, tag) IN (SELECT repository, tag FROM index_names WHERE digest = ?)""",
                (left[0].id, image.id, index),
            )
            self._db.execute(
                "UPDATE image_digests SET image_id = ? WHERE image_id = ? AND digest = ?", (left[0].id, image.id, index)
            )
            self._db.execute("DELETE FROM index_images WHERE digest = ? AND image_id = ?", (index, image.id))
            if not (self._references(image.id) or self._indexed(image.id)):
                lines += self._delete(image)
        return lines

    def _remove_name(self, image: Image, reference: Reference) -> list[Removal]:
        users = self._users(image)
        if self._references(image.id) <= 1 and users and not self._force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
                f"container {users[0].container_id[:12]} is using its referenced image {image.short_id}"
            )
        lines: list[Removal] = []
        if reference.digest:
            self._db.execute(
                "DELETE FROM image_digests WHERE repository = ? AND digest = ?", (reference.repository, reference.digest)
            )
        else:
            self._images.untag(str(reference))
        lines.append(Removal(untagged=reference.familiar))
        if not self._db.row(
            "SELECT 1 FROM image_names WHERE repository = ? AND image_id = ?", (reference.repository, image.id)
        ):
            for row in self._db.rows(
                "SELECT digest FROM image_digests WHERE repository = ? AND image_id = ?", (reference.repository, image.id)
            ):
                lines.append(Removal(untagged=f"{reference.familiar_repository}@{row[0]}"))
            self._db.execute(
                "DELETE FROM image_digests WHERE repository = ? AND image_id = ?", (reference.repository, image.id)
            )
        return lines

    def _check(self, image: Image) -> None:
        users = self._users(image)

        def conflict(how: str, why: str) -> Conflict:
            return Conflict(f"conflict: unable to delete {image.short_id} ({how}) - {why}")

        if self._images.children(image.id):
            raise conflict("cannot be forced", "image has dependent child images")
        for usage in users:
            if usage.running:
                raise conflict("cannot be forced", f"image is being used by running container {usage.container_id[:12]}")
        if self._force:
            return
        for usage in users:
            raise conflict("must be forced", f"image is being used by stopped container {usage.container_id[:12]}")
        if len({name.rpartition(":")[0] for name in image.names}) > 1:
            raise conflict("must be forced", "image is referenced in multiple repositories")

    def _untag_all(self, image: Image) -> list[Removal]:
        self._db.execute(
            """DELETE FROM index_names
               WHERE (repository, tag) IN (SELECT repository, tag FROM image_names WHERE image_id = ?)""",
            (image.id,),
        )
        self._db.execute("DELETE FROM image_names WHERE image_id = ?", (image.id,))
        self._db.execute("DELETE FROM image_digests WHERE image_id = ?", (image.id,))
        return [Removal(untagged=name) for name in [*image.names, *image.repo_digests]]

    def _delete(self, image: Image) -> list[Removal]:
        """Removes the row, and the rows of nameless ancestors that nothing else needs."""
        shared = self._shared_layers(image)
        self._db.execute("DELETE FROM images WHERE id = ?", (image.id,))
        lines = [Removal(deleted=image.id)]
        lines += [Removal(layer=chain) for chain in chain_ids(image.document.rootfs.diff_ids)[shared:][::-1]]
        parent = image.parent
        if parent and self._is_forgotten(parent):
            lines += self._delete(self._images.load(parent))
        return lines

    def _shared_layers(self, image: Image) -> int:
        """How many of an image's layers, from the lowest on, are those of another image or a container too, or kept by the
        build cache."""
        stack, shared = image.layer_ids, 0
        for table, owner in (("image_layers", "image_id"), ("snapshot_layers", "snapshot_id")):
            others: dict[str, list[int]] = {}
            for other, layer_id in self._db.rows(
                f"""SELECT {owner}, layer_id FROM {table} WHERE {owner} != ? AND {owner} IN
                    (SELECT {owner} FROM {table} WHERE position = 0 AND layer_id = ?) ORDER BY {owner}, position""",
                (image.id, stack[0] if stack else 0),
            ):
                others.setdefault(other, []).append(layer_id)
            for layers in others.values():
                same = [layer == mine for layer, mine in zip(layers, stack, strict=False)]
                shared = max(shared, same.index(False) if False in same else len(same))
        held = {layer for (layer,) in self._db.rows("SELECT DISTINCT layer_id FROM layer_holds")}
        return max([shared, *(position for position, layer in enumerate(stack, start=1) if layer in held)])

    def _is_forgotten(self, image_id: str) -> bool:
        if not self._db.row("SELECT 1 FROM images WHERE id = ?", (image_id,)):
            return False
        needed = (
            self._references(image_id) or self._images.children(image_id) or self._used(image_id) or self._indexed(image_id)
        )
        return not needed

    def _indexed(self, image_id: str) -> bool:
        return bool(self._db.row("SELECT 1 FROM index_images JOIN index_names USING (digest) WHERE image_id = ?", (image_id,)))

    def _used(self, image_id: str) -> bool:
        return self._db.row("SELECT 1 FROM snapshots WHERE image_id = ?", (image_id,)) is not None
