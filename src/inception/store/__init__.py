"""Images and filesystems: content by digest, layers, snapshots, archives, registries.

database.py   one SQLite file               content.py    blobs by digest
tar.py        the format                    extract.py    the one extractor;  worker.py   its confined process
layers.py     unpacked, shared              pack.py       a folder as tar;    diff.py     what changed
snapshots.py  roots of containers, as overlays; copies.py merge.py  without overlayfs
images.py     names, documents              settings.py limits.py  what the owner says
archive.py    docker save / load, OCI       pull.py push.py   to and from registries
registry.py   a repository's protocol       transport.py  HTTP with patience (http.py);  authorization.py  tokens
authorities.py whom TLS believes
hosts.py      this machine's settings       credentials.py   log-ins;   downloads.py   blobs on their way
indexes.py    images of several platforms   bootstrap.py  base images from packages
scratch.py    half-done work                gc.py         what nothing refers to;  verify.py  all of it, checked

Names below are imported when they are used: whoever wants the database alone must not pay for the rest.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store.database import Database
    from inception.store.progress import Progress
    from inception.store.store import Store

__all__ = ["Database", "Progress", "Store"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"inception.store.{name.lower()}", fromlist=[name]), name)
    globals()[name] = value
    return value
