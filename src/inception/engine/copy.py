"""`cp`: tar streams out of a container and into it, from outside, by descriptors beneath its root.

A path is looked up as the container would see it, links included, but resolved by the kernel beneath the root (openat2), so
no race and no link leads to the host. Streams that come in are unpacked by the confined extractor.
"""

from __future__ import annotations

import os
import stat

from inception.engine import records
from inception.engine.records import event_attributes
from inception.engine.results import PathStat
from inception.engine.rootview import ContainerRoot
from inception.errors import Forbidden, InvalidArgument, NotFound, Unavailable
from inception.linux.namespaces import is_rootless
from inception.linux.path import RootDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from inception.engine.engine import Engine

_LINKS_MAX = 40
_CHUNK_BYTES = 1 << 20


def stat_path(engine: Engine, container_id: str, path: str) -> PathStat:
    """What is at *path*; a trailing slash follows a link and asks for a folder. Raises NotFound."""
    with ContainerRoot(engine, container_id, writable=False) as root:
        return _stat(engine, container_id, root, path)


def _stat(engine: Engine, container_id: str, root: RootDir, path: str) -> PathStat:
    follow = path.endswith(("/", "/.")) or path in ("", ".")
    try:
        found = root.stat(path or "/", follow=follow)
        link = root.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
    except OSError as error:
        raise _explain(engine, error, path, container_id) from error
    if path.endswith("/") and not stat.S_ISDIR(found.st_mode):
        raise InvalidArgument(f"not a directory: {path}")
    name = path.rstrip("/").rpartition("/")[2] or "/"
    return PathStat(name=name, size=found.st_size, mode=found.st_mode, mtime_ns=found.st_mtime_ns, link_target=link)


def get_archive(engine: Engine, container_id: str, path: str) -> tuple[PathStat, Iterator[bytes]]:
    """What is at *path* as a tar; of `FOLDER/.` the content without the folder's name."""
    stream = _archive(engine, container_id, path)
    found = next(stream)
    assert isinstance(found, PathStat)
    record = records.load_row(engine, container_id)
    engine.events.emit("container", "archive-path", container_id, event_attributes(record))
    return found, (piece for piece in stream if isinstance(piece, bytes))


def _archive(engine: Engine, container_id: str, path: str) -> Iterator[PathStat | bytes]:
    """First what it is, then the stream: the root stays open in between."""
    from inception.store.pack import pack, pack_entry

    with ContainerRoot(engine, container_id, writable=False) as root:
        found = _stat(engine, container_id, root, path)
        yield found
        try:
            if path.endswith(("/.", "/")) or found.name == "/":
                folder = root.open(path or "/", os.O_RDONLY | os.O_DIRECTORY)
                # Behind a slash a link to a folder counts as that folder, under the link's name.
                try:
                    yield from pack(folder, prefix="" if path.endswith("/.") else found.name)
                finally:
                    os.close(folder)
                return
            parent, name = root.open_parent(path)
            try:
                parent_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
            finally:
                os.close(parent)
            try:
                yield from pack_entry(parent_fd, name)
            finally:
                os.close(parent_fd)
        except OSError as error:
            raise _explain(engine, error, path, container_id) from error


def put_archive(
    engine: Engine, container_id: str, path: str, stream: BinaryIO, copy_uid_gid: bool, no_overwrite_dir_non_dir: bool
) -> None:
    """Unpack a tar into the folder *path*."""
    from inception.store.extract import ExtractOptions
    from inception.store.worker import unpack

    record = records.load(engine, container_id)
    with ContainerRoot(engine, container_id, writable=True) as root:
        try:
            place = canonical(root, path)
            if not stat.S_ISDIR(root.stat(place).st_mode):
                raise InvalidArgument(f"extraction point is not a directory: {path}")
        except OSError as error:
            raise _explain(engine, error, path, container_id) from error
        covering = _mount_over(record.mounts, place)
        if covering is not None and covering.read_only:
            raise Forbidden("mounted volume is marked read-only")
        if record.config.read_only and covering is None:
            raise Forbidden("container rootfs is marked read-only")
        uid, gid = _owner(root, record.config.user, copy_uid_gid)
        options = ExtractOptions(destination=place.lstrip("/"), uid=uid, gid=gid, keep_directories=no_overwrite_dir_non_dir)
        unpack(iter(lambda: stream.read(_CHUNK_BYTES), b""), root.fd, options)
    engine.events.emit("container", "extract-to-dir", container_id, event_attributes(record))


def _owner(root: RootDir, user: str, copy_uid_gid: bool) -> tuple[int | None, int | None]:
    """Who owns what comes in: as the archive says, or, with *copy_uid_gid*, the container's user if it has one (as dockerd)."""
    if copy_uid_gid and user:
        from inception.engine.surroundings import resolve_user_of

        found = resolve_user_of(root, user, []).user
        return found.uid, found.gid
    # An ordinary user may have no ids but one.
    return (None, None) if copy_uid_gid or not is_rootless() else (0, 0)


def _mount_over(mounts: list[records.MountPoint], place: str) -> records.MountPoint | None:
    """The mount that *place* is in, the innermost."""
    over = [point for point in mounts if place == point.destination or place.startswith(f"{point.destination}/")]
    return max(over, key=lambda point: len(point.destination), default=None)


def canonical(root: RootDir, path: str) -> str:
    """*path* without links, as seen inside *root*. For names only: whatever is opened by it is resolved beneath the root."""
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        here = "/".join([*done, part])
        if not stat.S_ISLNK(root.stat(here, follow=False).st_mode):
            done.append(part)
            continue
        links += 1
        if links > _LINKS_MAX:
            raise OSError(40, os.strerror(40), path)
        target = root.readlink(here)
        if target.startswith("/"):
            done = []
        todo.extend(part for part in target.split("/")[::-1] if part not in ("", "."))
    return "/" + "/".join(done)


def _explain(engine: Engine, error: OSError, path: str, container_id: str) -> Exception:
    name = records.load(engine, container_id).name
    if isinstance(error, NotADirectoryError) and path.endswith("/"):
        return InvalidArgument(f"not a directory: {path}")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotFound(f"Could not find the file {path} in container {name}")
    return Unavailable(f"{path} in container {name}: {error.strerror or error}")
