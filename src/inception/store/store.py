"""The store as one object, and what keeps it clean.

Making and removing exclude each other by one lock file: whoever stores an image, a layer or a blob holds it shared (a lease)
until a row refers to what it stored; clean-up takes it alone, and without waiting: while a pull runs, what is unused stays
until the next time. The kernel drops both with their process, so a kill leaves no lease behind.
"""

from __future__ import annotations

import fcntl
import os

from inception.caching import cached_property
from inception.errors import InvalidArgument, Unavailable
from inception.store.content import Content
from inception.store.database import Database
from inception.store.folders import COPIED, EMPTY
from inception.store.images import Images
from inception.store.indexes import Indexes
from inception.store.schema import STEPS
from inception.store.scratch import Scratch, sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from inception.store.layers import Layers
    from inception.store.snapshots import Snapshots


class Store:
    """Everything beneath *root* that is about images and filesystems; cheap to make, safe from threads and processes."""

    def __init__(self, root: str, db: Database | None = None) -> None:
        if any(character in root for character in ":,\\\n") or not root.startswith("/"):
            raise InvalidArgument(
                f"root {root!r}: must be an absolute path without ':', ',' or '\\' (overlayfs can't take them)"
            )
        self.root = root.rstrip("/") or "/"
        self.tmp = f"{self.root}/tmp"
        self.db = db or Database(f"{self.root}/state.db")
        self._copied = self._make_folders()
        self.db.migrate("store", STEPS)
        self.content = Content(f"{self.root}/blobs", self.tmp)
        self.indexes = Indexes(self.db, self.content)
        self.images = Images(self)

    # What lists images, or pulls what is here already, has no use for these two, nor for the system calls that they import.

    @cached_property
    def layers(self) -> Layers:
        from inception.store.layers import Layers

        return Layers(f"{self.root}/layers", self.tmp, self.db, "kept" if self._copied else "overlay")

    @cached_property
    def snapshots(self) -> Snapshots:
        if self._copied:
            from inception.store.copies import Copies

            return Copies(f"{self.root}/snapshots", self.tmp, self.db, self.layers)
        from inception.store.snapshots import Snapshots

        return Snapshots(f"{self.root}/snapshots", self.tmp, self.db, self.layers)

    def scratch(self) -> Scratch:
        """A folder for half-done work on the store's file system."""
        return Scratch(self.tmp)

    def lease(self) -> Lease:
        """`with store.lease():` nothing that is stored meanwhile is cleaned up before a row refers to it."""
        return Lease(self.root, fcntl.LOCK_SH)

    def collect(self, *, everything: bool = False) -> int:
        """Removes layers and blobs that nothing refers to, with *everything* also those that are kept only to save work; the
        bytes freed. 0 while someone holds a lease."""
        from inception.store.gc import collect

        return collect(self, everything=everything)

    def disk_usage(self, used_images: Collection[str]) -> tuple[int, int]:
        """Bytes of all images, and of those that are not in *used_images*. Looks at every blob."""
        from inception.store.gc import disk_usage

        return disk_usage(self, used_images)

    def recover(self, owners: Collection[str] | None = None) -> None:
        """After a crash: empties the scratch folders of dead owners, removes folders without a row and unused content; after
        a reboot also the snapshots that belong to none of *owners*, as those of builds do."""
        sweep(self.tmp)
        if owners is not None:
            with Lease(self.root, fcntl.LOCK_EX | fcntl.LOCK_NB) as lease:
                for snapshot_id in self.snapshots.list() if lease.acquired else []:
                    if snapshot_id not in owners:
                        self.snapshots.remove(snapshot_id)
        self.layers.remove_strays()
        self.snapshots.remove_strays()
        self.collect()

    def _make_folders(self) -> bool:
        """Whether the store copies instead of using overlayfs; decided when it is made."""
        if os.path.isdir(f"{self.root}/layers/{EMPTY}"):
            return os.path.isdir(f"{self.root}/layers/{COPIED}")
        from inception.store.settings import load_settings

        wanted = load_settings().snapshotter
        try:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            os.chmod(self.root, 0o700)  # set-uid files of images lie beneath: no other user may get at them
            for name in ("tmp", "blobs", "blobs/sha256", "snapshots", "layers"):
                os.makedirs(f"{self.root}/{name}", mode=0o700, exist_ok=True)
            copied = wanted == "copy" or (wanted == "auto" and not _overlay_works(self.root))
            if copied:
                os.makedirs(f"{self.root}/layers/{COPIED}", mode=0o700, exist_ok=True)
            os.makedirs(f"{self.root}/layers/{EMPTY}", mode=0o755, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"create {error.filename}: {error.strerror}") from error
        return copied


def _overlay_works(root: str) -> bool:
    from inception.store.copies import overlay_works

    return overlay_works(root)


class Lease:
    """The store's lock file, held in a `with` block; `acquired` is False when someone else is in the way."""

    def __init__(self, root: str, mode: int) -> None:
        self._path = f"{root}/gc.lock"
        self._mode = mode
        self._fd = -1
        self.acquired = False

    def __enter__(self) -> Lease:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"lock {self._path}: {error.strerror}", "it is an empty file, and made when it is missing"
            ) from error
        try:
            fcntl.flock(self._fd, self._mode)
            self.acquired = True
        except BlockingIOError:
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)
