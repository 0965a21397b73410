"""The build cache: what a step made, by what it depended on.

A key is the digest of the step's definition, of the stack of layers it stood on (by content: their chain id) and of the files
it copied. It holds all that the outcome can depend on and nothing else, so equal keys mean equal layers, whatever Dockerfile
they come from; the image's configuration is never cached, always computed (CVE-2024-24557: a cached image whose HEALTHCHECK
or ONBUILD nobody had compared).

Cached layers are held (`layer_holds`), so they outlive the images that had them, until they haven't been used for a while.
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.build.wholebuilds import WholeBuilds
from inception.oci.digest import chain_id, sha256
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inception.store import Store

HOLDER = "build-cache"
_KEEP_S = 30 * 86400
_LIMIT_BYTES = 20 << 30
# A hit is written down at most this often: reading is free, every write takes the database's lock.
_NOTE_S = 3600

_TABLES = (
    """CREATE TABLE build_cache (
        key TEXT PRIMARY KEY,
        layer_id INTEGER REFERENCES layers (id),
        created TEXT NOT NULL,
        used_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX build_cache_by_use ON build_cache (used_at)",
    "CREATE INDEX build_cache_by_layer ON build_cache (layer_id)",
    """CREATE TABLE build_downloads (
        url TEXT PRIMARY KEY,
        etag TEXT NOT NULL,
        last_modified TEXT NOT NULL,
        digest TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE build_facts (
        place TEXT PRIMARY KEY,
        facts TEXT NOT NULL,
        made_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE build_results (
        key TEXT PRIMARY KEY,
        result TEXT NOT NULL,
        made_at INTEGER NOT NULL
    ) STRICT""",
    "DROP TABLE build_results",  # `wholebuilds.py` has them
)


class Cached(Record):
    """`layer_id` None: the step changed nothing. `created` is when it ran, RFC 3339."""

    layer_id: int | None
    created: str


REGULAR = "regular"
#: What else there is, by the folder that it lies in.
KINDS = {"exec.cachemount": "mounts", "source.local": "contexts"}
_AT_ONCE = 500  # parameters of one statement


class Kept(Record):
    """`kind` is BuildKit's word for what it is; `keys` lead to it; `shared`: an image has it too."""

    id: str
    kind: str = REGULAR
    keys: list[str] = []
    description: str = ""
    size_bytes: int
    used_at: int
    shared: bool = False


class Download(Record):
    """What a URL gave last time, and the server's words to ask whether it still does."""

    etag: str = ""
    last_modified: str = ""
    digest: str


class BuildCache:
    """The cache of one store; opened per build."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.db
        self._db.migrate("build", _TABLES)

    def find(self, key: str) -> Cached | None:
        row = self._db.row("SELECT layer_id, created, used_at FROM build_cache WHERE key = ?", (key,))
        if row is None:
            return None
        now = int(time.time())
        if now - row[2] > _NOTE_S:
            self._db.execute("UPDATE build_cache SET used_at = ? WHERE key = ?", (now, key))
        return Cached(layer_id=row[0], created=row[1])

    def add(self, keys: Sequence[str], layer_id: int | None, created: str) -> None:
        """The outcome under all of its *keys*. The caller holds a lease."""
        with self._db.transaction() as tx:
            for key in keys:
                tx.execute(
                    "REPLACE INTO build_cache (key, layer_id, created, used_at) VALUES (?, ?, ?, ?)",
                    (key, layer_id, created, int(time.time())),
                )
            if layer_id is not None:
                tx.execute("INSERT OR IGNORE INTO layer_holds (holder, layer_id) VALUES (?, ?)", (HOLDER, layer_id))

    def keys_of(self, layer_id: int) -> list[str]:
        """All the keys that lead to a layer."""
        return [row[0] for row in self._db.rows("SELECT key FROM build_cache WHERE layer_id = ?", (layer_id,))]

    def download(self, url: str) -> Download | None:
        row = self._db.row("SELECT etag, last_modified, digest FROM build_downloads WHERE url = ?", (url,))
        return None if row is None else Download(etag=row[0], last_modified=row[1], digest=row[2])

    def note_download(self, url: str, download: Download) -> None:
        self._db.execute(
            "REPLACE INTO build_downloads (url, etag, last_modified, digest) VALUES (?, ?, ?, ?)",
            (url, download.etag, download.last_modified, download.digest),
        )

    def facts(self, place: str) -> str | None:
        """What the step at *place* was made of the last time."""
        row = self._db.row("SELECT facts FROM build_facts WHERE place = ?", (place,))
        return None if row is None else str(row[0])

    def note_facts(self, place: str, facts: str) -> None:
        self._db.execute("REPLACE INTO build_facts (place, facts, made_at) VALUES (?, ?, ?)", (place, facts, int(time.time())))

    def entries(self) -> list[Kept]:
        """What is kept, for people: layers, cache mounts, contexts."""
        from inception.build.folders import CacheFolders

        rows = self._db.rows(
            """SELECT layer_id, max(used_at), size_bytes, EXISTS (SELECT 1 FROM image_layers WHERE image_layers.layer_id = id),
                   group_concat(key)
               FROM build_cache JOIN layers ON id = layer_id GROUP BY layer_id"""
        )
        found = [
            Kept(id=f"layer-{number}", size_bytes=size or 0, used_at=used_at, shared=bool(shared), keys=keys.split(","))
            for number, used_at, size, shared, keys in rows
        ]
        for kind, name in KINDS.items():
            found += [
                Kept(id=f"{name}-{number}", kind=kind, description=words, size_bytes=size, used_at=used_at)
                for number, words, size, used_at in CacheFolders(self._store.root, name).entries()
            ]
        return found

    def expire(self) -> bool:
        """Forgets what hasn't been used for a month, and the oldest of what is more than the limit; whether there was any."""
        forgotten = self._forget_before(int(time.time()) - _KEEP_S)
        if self.size() > _LIMIT_BYTES:
            forgotten += self._shrink(_LIMIT_BYTES)
        return forgotten > 0

    def prune(
        self,
        *,
        unused_since: int | None = None,
        keep_bytes: int = 0,
        max_bytes: int | None = None,
        min_free_bytes: int | None = None,
        wanted: Callable[[Kept], bool] | None = None,
    ) -> int:
        """Forgets what hasn't been used since *unused_since* (None: everything) and is *wanted*, cache mounts of RUN included,
        the oldest first: until no more than *max_bytes* are used and *min_free_bytes* are free on the disk, where these are
        given, and never below *keep_bytes*. The bytes that were freed: those of layers that nothing else has."""
        from inception.build.folders import CacheFolders

        kept = sorted([*self.entries(), *self._without_layers()], key=lambda entry: (entry.used_at, entry.id))
        used = sum(entry.size_bytes for entry in kept)
        disk = os.statvfs(self._store.root)
        free, freed, keys = disk.f_bavail * disk.f_frsize, 0, list[str]()
        limited = max_bytes is not None or min_free_bytes is not None
        for entry in kept:
            enough = used <= (max_bytes if max_bytes is not None else used) and free >= (min_free_bytes or 0)
            if (limited and enough) or (keep_bytes and used <= keep_bytes):
                break
            if (wanted is not None and not wanted(entry)) or (unused_since is not None and entry.used_at >= unused_since):
                continue
            if entry.kind in KINDS:
                name, _, number = entry.id.partition("-")
                gone = CacheFolders(self._store.root, name).remove(number)
                if gone is None:
                    continue  # somebody is using it
                freed += gone
            keys += entry.keys
            used, free = used - entry.size_bytes, free + entry.size_bytes
        self.forget(keys)
        self._db.execute("DELETE FROM build_facts WHERE made_at < ?", (int(time.time()) - _KEEP_S,))
        return freed + self._store.collect()

    def _without_layers(self) -> list[Kept]:
        """The steps that changed nothing."""
        rows = self._db.rows("SELECT key, used_at FROM build_cache WHERE layer_id IS NULL")
        return [Kept(id=key, keys=[key], size_bytes=0, used_at=used_at) for key, used_at in rows]

    def keys(self) -> set[str]:
        """Of all that is remembered."""
        return {str(row[0]) for row in self._db.rows("SELECT key FROM build_cache")}

    def remove(self, keys: Sequence[str]) -> int:
        """Forgets these; answers the bytes that were freed."""
        self.forget(keys)
        return self._store.collect()

    def forget(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            self._forget(f"key IN ({', '.join('?' * len(some))})", some)
        WholeBuilds(self._store.root).forget()

    def size(self) -> int:
        """Bytes of the layers that are held."""
        row = self._db.row("SELECT sum(size_bytes) FROM layers WHERE id IN (SELECT layer_id FROM build_cache)")
        return (row[0] or 0) if row is not None else 0

    def _forget_before(self, time_s: int) -> int:
        if self._db.row("SELECT 1 FROM build_cache WHERE used_at < ?", (time_s,)) is None:
            return 0
        return self._forget("used_at < ?", [time_s])

    def _shrink(self, keep_bytes: int) -> int:
        """Forgets the least recently used entries until no more than *keep_bytes* are held."""
        rows = self._db.rows(
            """SELECT key, layer_id, coalesce(size_bytes, 0) FROM build_cache LEFT JOIN layers ON id = layer_id
               ORDER BY used_at DESC, key"""
        )
        left, kept, gone = keep_bytes, set[int | None](), []
        for key, layer_id, size in rows:
            needed = 0 if layer_id in kept else size
            if keep_bytes == 0 or needed > left:
                left = 0 if needed else left
                gone.append(key)
            else:
                left -= needed
                kept.add(layer_id)
        marks = ", ".join("?" * len(gone))
        return self._forget(f"key IN ({marks})", gone) if gone else 0

    def _forget(self, condition: str, values: Sequence[object]) -> int:
        with self._db.transaction(durable=True) as tx:
            WholeBuilds(self._store.root).forget()
            count = tx.execute(f"DELETE FROM build_cache WHERE {condition}", values).rowcount
            tx.execute(
                """DELETE FROM layer_holds WHERE holder = ?
                   AND layer_id NOT IN (SELECT layer_id FROM build_cache WHERE layer_id IS NOT NULL)""",
                (HOLDER,),
            )
            return count


def key_of(definition: Sequence[object], diff_ids: Sequence[str], content: Sequence[str] = ()) -> str:
    """The key of a step on a stack of layers (bottom first) that copies files with these digests."""
    below = str(chain_id(list(diff_ids))) if diff_ids else ""
    text = jsontext.dumps([2, below, list(definition), list(content)])
    return sha256(text.encode()).hex
