"""Removes what nothing refers to: layers first, then blobs, one transaction before every file.

Only with the store to itself: a lease (a pull, a build, a load) means that something unreferenced is about to be used.

What could be made or fetched again is kept for a while: layers that were compressed for a push, a week since they were last
needed; parts of downloads, a day; store.json says otherwise. A `prune` that a user asks for takes those at once.
"""

from __future__ import annotations

import fcntl
import os
import time

from inception.store.downloads import remove_stale
from inception.store.settings import load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from inception.store.store import Store

_HOUR_S = 3600.0
REFERRED = "SELECT digest FROM image_blobs UNION SELECT digest FROM layer_blobs UNION SELECT blob FROM index_blobs"
_UNNAMED_INDEXES = """DELETE FROM indexes
    WHERE digest NOT IN (SELECT digest FROM index_names) AND digest NOT IN (SELECT digest FROM image_digests)"""


def collect(store: Store, *, everything: bool = False) -> int:
    """The bytes that were freed. *everything*: also what is kept only because it may save work."""
    from inception.store.store import Lease

    with Lease(store.root, fcntl.LOCK_EX | fcntl.LOCK_NB) as lease:
        if not lease.acquired:
            return 0
        policy = load_settings().gc
        freed = store.layers.remove_unused()
        with store.db.transaction(durable=True) as tx:
            tx.execute(_UNNAMED_INDEXES)
        _forget_compressed(store, 0 if everything else policy.compressed_days * 24 * _HOUR_S)
        known = {row[0] for row in store.db.rows(REFERRED)}
        for digest in store.content.list():
            if digest not in known:
                freed += store.content.delete(digest)
        store.db.execute(f"DELETE FROM blob_places WHERE digest NOT IN ({REFERRED})")
        return freed + remove_stale(store.root, 0 if everything else policy.partial_hours * _HOUR_S)


def _forget_compressed(store: Store, keep_s: float) -> None:
    for (digest,) in store.db.rows("SELECT digest FROM layer_blobs WHERE made = 1"):
        try:
            age_s = time.time() - os.stat(store.content.path(digest)).st_mtime
        except FileNotFoundError:
            age_s = keep_s
        if age_s >= keep_s:
            with store.db.transaction(durable=True) as tx:
                tx.execute("DELETE FROM layer_blobs WHERE digest = ? AND made = 1", (digest,))


def disk_usage(store: Store, used_images: Collection[str]) -> tuple[int, int]:
    """Bytes of all images, layers and blobs each counted once, and how many would go with those that are not used."""
    layers = dict(store.db.rows("SELECT id, size_bytes FROM layers WHERE id IN (SELECT layer_id FROM image_layers)"))
    needed = {layer for layer, image in store.db.rows("SELECT layer_id, image_id FROM image_layers") if image in used_images}
    held = {digest for digest, image in store.db.rows("SELECT digest, image_id FROM image_blobs") if image in used_images}
    held |= {
        digest for digest, layer in store.db.rows("SELECT digest, layer_id FROM layer_blobs WHERE made = 0") if layer in needed
    }
    held |= {
        digest
        for digest, image in store.db.rows("SELECT blob, image_id FROM index_blobs JOIN index_images USING (digest)")
        if image in used_images
    }
    blobs = {digest: _size(store, digest) for digest in store.content.list()}
    total = sum(layers.values()) + sum(blobs.values())
    return total, total - sum(layers[layer] for layer in needed) - sum(size for digest, size in blobs.items() if digest in held)


def _size(store: Store, digest: str) -> int:
    try:
        return os.stat(store.content.path(digest)).st_size
    except FileNotFoundError:
        return 0
