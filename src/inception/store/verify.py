"""Checks everything that the store holds against what it should be, and mends it.

    database    its own check, references between tables
    blobs       every byte hashed again
    layers      a folder made here must pack to its diff_id; one that came from outside is unpacked again and compared
    images      documents readable, layers and configuration agree
    snapshots   a folder for each row and a row for each folder

Mending, in this order: make it again from what is here (a manifest, a layer from its blob), fetch it again from a registry
that is known to have it, and last, when nothing has it any more, remove what can't be whole: an image is then gone, never half
there. Done with the store to itself: no pull and no build is at work meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import time
from functools import partial

from inception.errors import Conflict, InceptionError, NotFound
from inception.oci.digest import Digest, is_digest
from inception.oci.image import Descriptor
from inception.record import Record
from inception.store import pack
from inception.store.content import CHUNK
from inception.store.documents import decode_manifest, parse_document
from inception.store.gc import REFERRED
from inception.store.layers import COPIED, EMPTY
from inception.store.progress import Progress, silent
from inception.store.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from inception.store import Store
    from inception.store.progress import OnProgress

    #: Brings a blob (digest, size) back from one of the repositories. Raises InceptionError.
    Refetch = Callable[[Descriptor, list[str]], None]


class Problem(Record):
    """Something that is not as it should be: `where` (`layer 7`), `what`, and how it was `mended` or an empty text."""

    where: str
    what: str
    mended: str = ""


class Report(Record):
    """What was looked at, and what was found."""

    images: int = 0
    layers: int = 0
    blobs: int = 0
    snapshots: int = 0
    problems: list[Problem] = []


def verify(
    store: Store,
    *,
    repair: bool = False,
    owners: Collection[str] | None = None,
    running: Collection[str] = (),
    grace_s: float = 600,
    refetch: Refetch | None = None,
    progress: OnProgress = silent,
) -> Report:
    """Checks, and with *repair* mends. Reads everything.

    *owners* are the snapshots that belong to someone: others that are older than *grace_s* are orphans (None: not asked).
    Layers beneath the *running* ones are left alone. Raises Conflict while a pull or a build is at work, Unavailable for a
    damaged database.
    """
    from inception.store.store import Lease

    with Lease(store.root, fcntl.LOCK_EX | fcntl.LOCK_NB) as lease:
        if not lease.acquired:
            raise Conflict("store verify: a pull, a load or a build is at work", "try again when it is done")
        report = _Check(store, repair, owners, running, grace_s, refetch, progress).run()
    if repair:
        store.collect()  # what images that are gone have left
    return report


class _Check:
    def __init__(
        self,
        store: Store,
        repair: bool,
        owners: Collection[str] | None,
        running: Collection[str],
        grace_s: float,
        refetch: Refetch | None,
        progress: OnProgress,
    ) -> None:
        self._store = store
        self._db = store.db
        self._repair = repair
        self._owners = owners
        self._running = running
        self._grace_s = grace_s
        self._refetch = refetch
        self._progress = progress
        self._bad_blobs: dict[str, Problem] = {}
        self._bad_layers: dict[int, Problem] = {}
        self.report = Report()

    def run(self) -> Report:
        self._database()
        self._strays()
        self._blobs()
        self._layers()
        self._images()
        self._snapshots()
        if self._repair:
            self._settle()
        return self.report

    def _found(self, where: str, what: str, mend: Callable[[], str] | None = None) -> Problem:
        """Notes a problem and mends it."""
        problem = Problem(where=where, what=what)
        self.report.problems.append(problem)
        if self._repair and mend is not None:
            try:
                problem.mended = mend()
            except (InceptionError, OSError) as error:
                problem.what += f" (repair failed: {error})"
        return problem

    def _database(self) -> None:
        self._db.check()
        for table, key, parent, _ in self._db.rows("PRAGMA foreign_key_check"):
            self._found(
                f"table {table}",
                f"row {key} refers to nothing in {parent}",
                partial(self._delete_row, str(table), int(key)),
            )

    def _delete_row(self, table: str, key: int) -> str:
        self._db.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (key,))
        return "removed"

    def _strays(self) -> None:
        known = {str(row[0]) for row in self._db.rows("SELECT id FROM layers")} | {EMPTY, COPIED}
        for name in sorted(set(os.listdir(f"{self._store.root}/layers")) - known):
            self._found(f"layers/{name}", "a folder without a record", partial(self._remove, f"layers/{name}"))
        snapshots = {row[0] for row in self._db.rows("SELECT id FROM snapshots")}
        for name in sorted(set(os.listdir(f"{self._store.root}/snapshots")) - snapshots):
            self._found(f"snapshots/{name}", "a folder without a record", partial(self._remove, f"snapshots/{name}"))
        for name in sorted(self._store.content.names()):
            if not is_digest(name):
                path = f"blobs/{name.replace(':', '/', 1)}"
                self._found(path, "not a blob", partial(self._remove, path))

    def _remove(self, path: str) -> str:
        with Scratch(self._store.tmp) as scratch:
            os.rename(f"{self._store.root}/{path}", f"{scratch.path}/gone")
        return "removed"

    # Blobs

    def _blobs(self) -> None:
        wanted = {row[0] for row in self._db.rows(REFERRED)}
        # These are made from their folders, or from the blobs that they came as, when asked for.
        plain = """SELECT diff_id FROM layers WHERE packed > 0 OR id IN (SELECT layer_id FROM layer_blobs)"""
        made = {row[0] for row in self._db.rows(plain)}
        there = set(self._store.content.list())
        for digest in sorted(wanted | there):
            if digest not in there:
                if digest not in made:
                    self._blob_problem(digest, "missing")
                continue
            self.report.blobs += 1
            self._progress(Progress(id=digest[7:19], status="Checking"))
            try:
                found, length = self._hash(digest)
                what = f"damaged: its {length} bytes have digest {found}" if found != digest else ""
            except (InceptionError, OSError) as error:
                what = f"can't be read: {getattr(error, 'strerror', error)}"
            if what and digest in wanted:
                self._blob_problem(digest, what)
            elif what:
                self._found(f"blob {digest}", f"{what}; nothing uses it", partial(self._drop, digest))

    def _hash(self, digest: str) -> tuple[str, int]:
        import hashlib

        hasher = hashlib.new(Digest(digest).algorithm)
        length = 0
        with self._store.content.open(digest) as blob:
            while chunk := blob.read(CHUNK):
                hasher.update(chunk)
                length += len(chunk)
        return f"{Digest(digest).algorithm}:{hasher.hexdigest()}", length

    def _blob_problem(self, digest: str, what: str) -> None:
        problem = self._found(f"blob {digest}", what, lambda: self._mend_blob(digest))
        if not problem.mended:
            self._bad_blobs[digest] = problem

    def _mend_blob(self, digest: str) -> str:
        self._store.content.delete(digest)
        layer = self._db.row(
            """SELECT b.size_bytes, l.packed OR (SELECT count(*) FROM layer_blobs WHERE layer_id = l.id) > 1
               FROM layer_blobs AS b JOIN layers AS l ON l.id = b.layer_id WHERE digest = ?""",
            (digest,),
        )
        needed = self._db.row("SELECT image_id FROM image_blobs WHERE digest = ?", (digest,))
        if layer and layer[1] and not needed:
            self._db.execute("DELETE FROM layer_blobs WHERE digest = ?", (digest,))
            return "forgotten: it is made again when it is pushed"
        if self._pack_is(digest):
            return "its layer's folder packs to it"
        image = self._db.row("SELECT id FROM images WHERE manifest_digest = ?", (digest,))
        if image and self._rebuild_manifest(str(image[0]), digest):
            return "made again"
        return self._fetch_again(digest, layer[0] if layer else 0)

    def _pack_is(self, digest: str) -> bool:
        row = self._db.row("SELECT id FROM layers WHERE diff_id = ?", (digest,))
        if row is None or self._store.layers.pack_digest(self._store.layers.path(row[0])) != digest:
            return False
        self._db.execute("UPDATE layers SET packed = ? WHERE id = ?", (pack.VERSION, row[0]))
        return True

    def _rebuild_manifest(self, image_id: str, digest: str) -> bool:
        """A manifest that was made here is the same whenever it is made."""
        try:
            data = self._store.images.make_manifest(image_id)
            self._store.content.put([data], digest)
        except InceptionError:
            return False
        return True

    def _fetch_again(self, digest: str, size: int) -> str:
        places = [row[0] for row in self._db.rows("SELECT repository FROM blob_places WHERE digest = ?", (digest,))]
        places += [
            row[0]
            for row in self._db.rows(
                """SELECT DISTINCT repository FROM image_digests AS d JOIN image_blobs AS b ON b.image_id = d.image_id
                   WHERE b.digest = ?
                   UNION SELECT repository FROM index_names JOIN index_blobs USING (digest) WHERE blob = ?""",
                (digest, digest),
            )
        ]
        if self._refetch is None or not places:
            raise NotFound("no registry is known to have it")
        self._refetch(Descriptor(media_type="", digest=digest, size=size), list(dict.fromkeys(places)))
        return f"fetched again from {places[0]}"

    def _drop(self, digest: str) -> str:
        self._store.content.delete(digest)
        return "removed"

    # Layers

    def _layers(self) -> None:
        rows = self._db.rows("SELECT id, diff_id, packed, size_bytes FROM layers ORDER BY id")
        for number, diff_id, packed, _ in rows:
            self.report.layers += 1
            self._progress(Progress(id=diff_id[7:19], status="Checking layer"))
            what = self._layer_fault(number, diff_id, packed)
            if not what:
                continue
            problem = self._found(f"layer {number} ({diff_id[:19]})", what, partial(self._mend_layer, number))
            if not problem.mended:
                self._bad_layers[number] = problem

    def _layer_fault(self, number: int, diff_id: str, packed: int) -> str:
        path = self._store.layers.path(number)
        if not os.path.isdir(path):
            return "its folder is missing"
        try:
            found = self._store.layers.pack_digest(path)
        except (InceptionError, OSError) as error:
            return f"can't be read: {error}"
        if packed:
            return "" if found == diff_id else f"its folder packs to {found[:19]}"
        with Scratch(self._store.tmp) as scratch:
            try:
                fresh = self._store.layers.stage_again(number, scratch)
            except NotFound:
                return "" if found == diff_id else "can't be checked: its blob is gone"
            except InceptionError as error:
                return f"can't be checked: {error}"
            return "" if self._store.layers.pack_digest(fresh.path) == found else "its folder is not what its blob unpacks to"

    def _mend_layer(self, number: int) -> str:
        users = {row[0] for row in self._db.rows("SELECT snapshot_id FROM snapshot_layers WHERE layer_id = ?", (number,))}
        busy = sorted(users & set(self._running))
        if busy:
            raise Conflict(f"container {busy[0][:12]} is running on it: stop it first")
        with Scratch(self._store.tmp) as scratch:
            fresh = self._store.layers.stage_again(number, scratch)
            path = self._store.layers.path(number)
            if os.path.lexists(path):
                os.rename(path, f"{scratch.path}/damaged")
            os.rename(fresh.path, path)
            self._store.layers.sync()
        return "unpacked again from its blob"

    # Images and snapshots

    def _images(self) -> None:
        for image_id, manifest_digest in self._db.rows("SELECT id, manifest_digest FROM images ORDER BY id"):
            self.report.images += 1
            what = self._image_fault(image_id, manifest_digest)
            if what:
                self._found(
                    f"image {image_id[:19]}",
                    what,
                    partial(self._remove_image, image_id),
                )

    def _image_fault(self, image_id: str, manifest_digest: str) -> str:
        own = {row[0] for row in self._db.rows("SELECT digest FROM image_blobs WHERE image_id = ?", (image_id,))}
        numbers = [
            row[0]
            for row in self._db.rows("SELECT layer_id FROM image_layers WHERE image_id = ? ORDER BY position", (image_id,))
        ]
        lost = sorted((own | {image_id, manifest_digest}) & {*self._bad_blobs})
        if lost:
            return f"it has lost blob {lost[0][:19]}"
        if self._bad_layers.keys() & set(numbers):
            return "it has lost a layer"
        try:
            diff_ids = parse_document(self._store.content.read(image_id)).rootfs.diff_ids
            layers = decode_manifest(self._store.content.read(manifest_digest)).layers
        except InceptionError as error:
            return str(error)
        if [self._store.layers.get(number).diff_id for number in numbers] != diff_ids or len(layers) != len(numbers):
            return "half a record: its layers are not those of its configuration"
        return ""

    def _remove_image(self, image_id: str) -> str:
        names = [f"{repository}:{tag}" for repository, tag in self._db.rows(
            "SELECT repository, tag FROM image_names WHERE image_id = ?", (image_id,))]  # fmt: skip
        with self._db.transaction(durable=True) as tx:
            tx.execute("DELETE FROM images WHERE id = ?", (image_id,))
        return "removed; pull or build it again" + (f": {', '.join(names)}" if names else "")

    def _settle(self) -> None:
        """What could not be mended has gone with the images that had it; a container may still stand on a layer of theirs."""
        gone = "gone with the images that had it"
        for number, problem in self._bad_layers.items():
            if self._db.row("SELECT 1 FROM image_layers WHERE layer_id = ?", (number,)):
                continue
            self._db.execute("DELETE FROM layer_blobs WHERE layer_id = ?", (number,))
            if self._db.row("SELECT 1 FROM snapshot_layers WHERE layer_id = ?", (number,)):
                self._keep_as_it_is(number, problem)
            else:
                problem.mended = gone
        for digest, problem in self._bad_blobs.items():
            indexes = "DELETE FROM indexes WHERE digest IN (SELECT digest FROM index_blobs WHERE blob = ?)"
            if self._db.execute(indexes, (digest,)).rowcount:
                problem.mended = "given up: the name means one image now, and no index"
            elif not self._db.row(f"SELECT 1 FROM ({REFERRED}) WHERE digest = ?", (digest,)):
                problem.mended = gone

    def _keep_as_it_is(self, number: int, problem: Problem) -> None:
        try:
            now = self._store.layers.pack_digest(self._store.layers.path(number))
            self._db.execute("UPDATE layers SET diff_id = ?, packed = ? WHERE id = ?", (now, pack.VERSION, number))
        except (InceptionError, OSError) as error:
            problem.what += f" (a container stands on it, and can only be removed: {error})"
        else:
            problem.mended = "its containers keep what is there"

    def _snapshots(self) -> None:
        for (snapshot,) in self._db.rows("SELECT id FROM snapshots ORDER BY id"):
            self.report.snapshots += 1
            path = self._store.snapshots.path(snapshot)
            lost = [name for name in self._store.snapshots.folders if not os.path.isdir(f"{path}/{name}")]
            if self._owners is not None and snapshot not in self._owners and self._is_old(path):
                self._found(f"snapshot {snapshot}", "belongs to nothing", partial(self._remove_snapshot, snapshot))
            elif lost:
                what = "its work folder is missing" if lost == ["work"] else "its folder is missing"
                self._found(f"snapshot {snapshot}", what, partial(self._remake, path, lost))

    def _is_old(self, path: str) -> bool:
        try:
            return time.time() - os.stat(path).st_mtime >= self._grace_s
        except FileNotFoundError:
            return True

    def _remove_snapshot(self, snapshot: str) -> str:
        self._store.snapshots.remove(snapshot)
        return "removed"

    def _remake(self, path: str, lost: list[str]) -> str:
        if "root" in lost:
            raise NotFound("all of it was its own: remove the container")
        for folder, mode in ((path, 0o700), (f"{path}/work", 0o700), (f"{path}/upper", 0o755)):
            os.makedirs(folder, mode=mode, exist_ok=True)
        return "made again; what the container had written is lost" if "upper" in lost else "made again"
