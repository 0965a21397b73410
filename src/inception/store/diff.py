"""What a container changed: `docker diff` from the upper folder and the layers beneath, without mounting anything."""

from __future__ import annotations

import os
import stat

from inception.linux.path import RootDir
from inception.store.snapshots import Change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def changes(upper: str, lowers: Sequence[str]) -> list[Change]:
    """Changes in *upper* over *lowers* (top first), sorted by path."""
    roots = [RootDir.open_host(path) for path in lowers]
    found: list[Change] = []
    try:
        for folder, folders, files, fd in os.fwalk(upper, follow_symlinks=False):
            above = folder[len(upper) :]
            for name in [*folders, *files]:
                path = f"{above}/{name}"
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    found.append(Change(kind="D", path=path))
                else:
                    found.append(Change(kind="C" if _is_beneath(roots, path) else "A", path=path))
    finally:
        for root in roots:
            root.close()
    return sorted(found, key=lambda change: os.fsencode(change.path))


def _is_beneath(roots: list[RootDir], path: str) -> bool:
    """Whether the layers show something at *path*: the topmost that says anything about it or about a folder above it
    decides (a whiteout, a file in a folder's place, an opaque folder)."""
    for root in roots:
        verdict = _says(root, path)
        if verdict is not None:
            return verdict
    return False


def _says(root: RootDir, path: str) -> bool | None:
    from inception.store.extract import OPAQUE

    parts = path.strip("/").split("/")
    opaque = False
    for depth in range(1, len(parts) + 1):
        try:
            fd = root.open("/".join(parts[:depth]), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return False if opaque else None
        try:
            status = os.fstat(fd)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                return False
            if depth == len(parts):
                return True
            if not stat.S_ISDIR(status.st_mode):
                return False
            try:
                opaque = opaque or os.getxattr(f"/proc/self/fd/{fd}", OPAQUE) == b"y"
            except OSError:
                pass
        finally:
            os.close(fd)
    return None
