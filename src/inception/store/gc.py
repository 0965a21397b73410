"""Removes what nothing refers to: layers first, then blobs, one transaction before every file.

Only with the store to itself: a lease (a pull, a build, a load) means that something unreferenced is about to be used.
"""

from __future__ import annotations

import fcntl

from inception.store.downloads import remove_stale

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store.store import Store


def collect(store: Store) -> int:
    """The bytes that were freed."""
    from inception.store.store import Lease

    with Lease(store.root, fcntl.LOCK_EX | fcntl.LOCK_NB) as lease:
        if not lease.acquired:
            return 0
        freed = store.layers.remove_unused()
        known = {row[0] for row in store.db.rows("SELECT digest FROM image_blobs UNION SELECT digest FROM layer_blobs")}
        for digest in store.content.list():
            if digest not in known:
                freed += store.content.delete(digest)
        store.db.execute(
            "DELETE FROM blob_places WHERE digest NOT IN (SELECT digest FROM image_blobs UNION SELECT digest FROM layer_blobs)"
        )
        return freed + remove_stale(store.root)
