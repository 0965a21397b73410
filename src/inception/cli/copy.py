"""`cp`: files between a container and the host, by the rules of cp -a that Docker has.

    SRC is          DEST is           ends up as
    a file          not there         DEST (DEST/ is an error)
    a file          a file            DEST, replaced
    a file          a folder          DEST/file
    a folder        not there         DEST
    a folder        a file            an error
    a folder        a folder          DEST/folder
    a folder/.      not there         DEST
    a folder/.      a folder          its content in DEST

Everything travels as a tar stream whose entries start with one name; `plan_copy` says what that name must become and in
which folder the stream is unpacked. On the host it is unpacked by the store's extractor beneath that folder's descriptor,
so what a container put into its files can't write anywhere else.
"""

from __future__ import annotations

import os
import stat
import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import human_size
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from inception.engine.container import Container
    from inception.store.tar import Entry, TarReader


class Place:
    """One side of a copy, as it is found: `is_dir` means something only where it `exists`."""

    def __init__(self, path: str, *, exists: bool, is_dir: bool) -> None:
        self.path = path
        self.exists = exists
        self.is_dir = is_dir

    @property
    def name(self) -> str:
        return os.path.basename(os.path.normpath(self.path))

    @property
    def parent(self) -> str:
        return os.path.dirname(os.path.normpath(self.path)) or "."

    @property
    def contents(self) -> bool:
        """Whether it ends in `/.`: what is in it is meant, not it."""
        return self.path.endswith("/.") or self.path == "."

    @property
    def asserts_dir(self) -> bool:
        return self.path.endswith("/") or self.contents


def plan_copy(source: Place, target: Place) -> tuple[str, str]:
    """(folder to unpack in, first name of every entry); an empty name means straight into that folder."""
    if source.asserts_dir and not source.is_dir:
        raise InvalidArgument(f"{source.path}: not a directory")
    if target.exists and target.is_dir:
        return target.path, "" if source.contents else source.name
    if target.exists:
        if source.is_dir:
            raise InvalidArgument("cannot copy directory")
        if target.asserts_dir:
            raise InvalidArgument(f"{target.path}: not a directory")
        return target.parent, target.name
    if target.asserts_dir and not source.is_dir:
        raise NotFound(f"no such directory: {target.path}", "leave the trailing slash away to give the file that name")
    return target.parent, target.name


def cp(call: Call) -> int:
    source, target = call.arguments
    source_container, source_path = split(source)
    target_container, target_path = split(target)
    if source_container and target_container:
        raise InvalidArgument("copying between containers is not supported")
    if not source_container and not target_container:
        raise InvalidArgument("must specify at least one container source")
    if not source_path:
        raise InvalidArgument("source can not be empty")
    if not target_path:
        raise InvalidArgument("destination can not be empty")
    if source_container:
        size = _out_of(call, call.engine.containers.get(source_container), source_path, target_path)
        where = target_path
    else:
        size = _into(call, target_container, source_path, target_path)
        where = f"{target_container}:{target_path}"
    if sys.stderr.isatty() and not call.flags.on("quiet") and "-" not in (source, target):
        print(f"Successfully copied {human_size(size)} to {where}", file=sys.stderr)
    return 0


def split(text: str) -> tuple[str, str]:
    """(container, path); no container for a host path. A name with a colon is a host path when it starts with `.` or `/`."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or not container:
        return "", text
    return container, path


# -- out of a container


def _out_of(call: Call, container: Container, path: str, target: str) -> int:
    found = container.stat_path(path)
    if found.link_target and call.flags.on("follow-link"):
        path = _joined(path, found.link_target)
        found = container.stat_path(path)
    source = Place(path, exists=True, is_dir=stat.S_ISDIR(found.mode))
    _, chunks = container.get_archive(path.removesuffix("/.") if source.contents else path)
    counted = _Counted(chunks)
    if target == "-":
        from inception.cli.files import write_stream

        write_stream("", counted)
        return counted.size
    folder, name = plan_copy(source, host_place(target))
    unpack(counted, folder, name, archive=call.flags.on("archive"))
    return counted.size


def _joined(link: str, target: str) -> str:
    return target if target.startswith("/") else os.path.normpath(os.path.join(os.path.dirname(link) or "/", target))


def host_place(path: str) -> Place:
    try:
        return Place(path, exists=True, is_dir=os.path.isdir(path)) if os.path.lexists(path) else _missing(path)
    except ValueError as error:
        raise InvalidArgument(f"{path!r}: {error}") from None


def _missing(path: str) -> Place:
    return Place(path, exists=False, is_dir=False)


class _Counted:
    """Chunks, and how many bytes they were."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


def unpack(chunks: Iterable[bytes], folder: str, name: str, *, archive: bool) -> None:
    """Unpack a stream in the host's *folder*, the first name of each entry replaced by *name*.

    Owners become the user who runs this, unless *archive* keeps them.
    """
    from inception.linux.path import RootDir
    from inception.store.extract import ExtractOptions, Extractor
    from inception.store.tar import TarReader

    if not os.path.isdir(folder):
        raise NotFound(f'invalid output path: directory "{folder}" does not exist')
    uid, gid = (None, None) if archive else (os.geteuid(), os.getegid())
    with RootDir.open_host(folder) as root:
        reader: Any = _Renamed(TarReader(chunks), name)
        Extractor(root, ExtractOptions(uid=uid, gid=gid, keep_directories=True)).run(reader)


class _Renamed:
    """A reader whose entries, and the hard links among them, start with *name* instead of their first name."""

    def __init__(self, reader: TarReader, name: str) -> None:
        self._reader = reader
        self._name = name
        self.data = reader.data

    def __iter__(self) -> Iterator[Entry]:
        from inception.store.tar import HARD_LINK

        for entry in self._reader:
            entry.name = self._rename(entry.name)
            if entry.kind == HARD_LINK:
                entry.link = self._rename(entry.link)
            if entry.name:
                yield entry

    def _rename(self, path: str) -> str:
        _first, _, rest = path.strip("/").partition("/")
        return f"{self._name}/{rest}".strip("/")


# -- into a container


def _into(call: Call, name: str, path: str, target: str) -> int:
    container = call.engine.containers.get(name)
    archive = call.flags.on("archive")
    place = _container_place(container, target)
    if path == "-":
        if not place.is_dir:
            raise InvalidArgument(f'destination "{name}:{target}" must be a directory')
        with open(0, "rb", closefd=False) as stream:
            container.put_archive(place.path, stream, copy_uid_gid=archive, no_overwrite_dir_non_dir=True)
        return 0
    if call.flags.on("follow-link") and os.path.islink(path):
        path = os.path.realpath(path)
    if not os.path.lexists(path):
        if path.endswith("/") and os.path.lexists(path.rstrip("/")):
            raise InvalidArgument(f"{path}: not a directory")
        raise NotFound(f"lstat {os.path.abspath(path)}: no such file or directory")
    source = Place(path, exists=True, is_dir=os.path.isdir(path) and (path.endswith("/") or not os.path.islink(path)))
    folder, first = plan_copy(source, place)
    counted = _Counted(_packed(path, first, source.is_dir))
    readable: Any = _Readable(counted)
    container.put_archive(folder, readable, copy_uid_gid=archive, no_overwrite_dir_non_dir=True)
    return counted.size


def _container_place(container: Container, path: str) -> Place:
    """Where *path* leads inside, one link resolved as Docker does."""
    try:
        found = container.stat_path(path)
        if found.link_target:
            path = _joined(path, found.link_target)
            found = container.stat_path(path)
    except NotFound:
        return _missing(path)
    return Place(path, exists=True, is_dir=stat.S_ISDIR(found.mode))


def _packed(path: str, name: str, is_dir: bool) -> Iterator[bytes]:
    from inception.store.pack import pack, pack_entry

    if is_dir:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from pack(fd, prefix=name, root_entry=bool(name))
        finally:
            os.close(fd)
        return
    parent_fd = os.open(os.path.dirname(os.path.normpath(path)) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from pack_entry(parent_fd, os.path.basename(os.path.normpath(path)), name)
    finally:
        os.close(parent_fd)


class _Readable:
    """Chunks as a file that can only be read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(1 << 20):
            yield data

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data


CP = Command(
    cp,
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tinception cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    """\
  -a, --archive       Archive mode (copy all uid/gid information)
  -L, --follow-link   Always follow symlinks in SRC_PATH
  -q, --quiet         Suppress the line about what was copied
""",
    minimum=2,
    maximum=2,
)
