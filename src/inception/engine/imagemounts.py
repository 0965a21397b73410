"""`--mount type=image`: the files of another image inside a container, read-only.

The container has a snapshot of that image beside its own, so that the layers stay for as long as it is there, whatever becomes
of the image's name. Nothing is ever written to it: the mount has no upper folder.
"""

from __future__ import annotations

import os
import stat

from inception.errors import NotFound
from inception.oci.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord, MountPoint

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def snapshots(record: ContainerRecord) -> list[str]:
    """The ids of the snapshots that its image mounts are."""
    return [point.snapshot for point in record.mounts if point.snapshot]


def prepare(engine: Engine, record: ContainerRecord) -> None:
    """Make them; in the transaction that makes the container."""
    for point in record.mounts:
        if point.snapshot:
            engine.store.snapshots.prepare(point.snapshot, image_id=engine.images.get(point.source).id, fill=False)


def plan_image_mount(engine: Engine, point: MountPoint) -> Mount:
    """The mount that brings the image, or the part of it that is asked for, into the container. Raises NotFound."""
    try:
        whole = engine.store.snapshots.mount(point.snapshot, read_only=True)
    except NotFound:  # a container that is only planned
        whole = engine.store.snapshots.planned_mount(point.snapshot, engine.images.get(point.source).layer_ids)
    if whole.type != "overlay":  # a copy of the image's files
        path = whole.source
        source = f"in:{os.path.normpath(path)}//{point.subpath}" if point.subpath else path
        return _bind(point, source)
    stack = dict(option.partition("=")[::2] for option in whole.options)["lowerdir"].split(":")
    if point.subpath:
        stack = [f"{folder}/{point.subpath}" for folder in _visible(stack, point.subpath)]
        if not stack:
            raise NotFound(f"mount {point.destination}: cannot access path {point.subpath} in image {point.source}")
    if len(stack) == 1:  # overlayfs wants two
        return _bind(point, stack[0])
    options = [f"lowerdir={':'.join(stack)}", "ro"]
    return Mount(destination=point.destination, type="overlay", source="overlay", options=options)


def _bind(point: MountPoint, source: str) -> Mount:
    return Mount(destination=point.destination, type="bind", source=source, options=["bind", "rprivate", "ro"])


def _visible(stack: list[str], path: str) -> list[str]:
    """Of layers, top first, those that have a part in what is at *path*: the rules of overlayfs, with a path in its place.

    A file hides all below it, and so do a whiteout and an opaque folder on the way. A link on the way leads nowhere: what it
    means depends on layers that may not have it.
    """
    found: list[str] = []
    for folder in stack:
        here, hidden = folder, False
        for part in [part for part in path.split("/") if part]:
            here = f"{here}/{part}"
            try:
                info = os.lstat(here)
            except FileNotFoundError:
                break
            except NotADirectoryError:
                return found
            if not stat.S_ISDIR(info.st_mode):
                whole = here == f"{folder}/{path}" and stat.S_ISREG(info.st_mode) and not found
                return [folder] if whole else found
            hidden = hidden or _is_opaque(here)
        else:
            found.append(folder)
        if hidden:
            break
    return found


def _is_opaque(folder: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(folder, name) == b"y":
                return True
        except OSError:
            continue
    return False
