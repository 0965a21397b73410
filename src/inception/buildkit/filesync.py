"""Files of a client, brought into a folder here, and files from here, taken by a client: fsutil's protocol.

    receiver                                sender
                              ◀── STAT ──   each folder, file and link, numbered as it comes; one without a path ends it
    REQ number                ──▶           for files that aren't here as they are there
                              ◀── DATA ──   pieces under that number; an empty one ends the file
    FIN                       ──▶
                              ◀── FIN ───

A file is here already when its kind, size, mode and time of change say so; what the sender doesn't have is removed. So a folder
that is kept from build to build costs what has changed.

Names come from a stranger: a path is a list of plain names below a folder that was announced before, each is created, opened
and removed by its name in an open folder that was reached through no link, and whatever else is refused (the upload names of
GHSA-g2h8-2v44-5v6c and CVE-2026-33747).
Source: fsutil's `Send` and `Receive`; Go's io/fs.FileMode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import Protocol

from inception.build.tree import Node, Tree
from inception.buildkit import gomode
from inception.buildkit.gomode import go_mode, permissions
from inception.buildkit.protobuf import Value
from inception.errors import InvalidArgument, Unavailable
from inception.linux import abi
from inception.linux.path import openat2
from inception.store.scratch import remove_at

STAT, REQ, DATA, FIN, ERR = range(5)
_BENEATH: int = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A sender's queue takes 128; each is an open file here.
_REQUESTED = 64
_MAX_DEPTH = 512
_PIECE = 32 << 10


class Packets(Protocol):
    """The packets of one exchange, for a thread that may wait."""

    def some(self) -> list[Value]: ...
    def send_all(self, packets: list[Value]) -> None: ...
    def end(self) -> None: ...


class Incoming:
    """A regular file on its way, created when it was asked for."""

    def __init__(self, path: str, mode: int, mtime_ns: int) -> None:
        self.path = path
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.fd = -1


class Receiver:
    """Makes the folder *top* what the sender has; with *keep* what else is there stays. `size_bytes` is that of its files,
    `sent_bytes` what had to come."""

    def __init__(
        self, top: int, packets: Packets, progress: Callable[[int], None] | None = None, *, keep: bool = False
    ) -> None:
        self._top = top
        self._keep = keep
        self._packets = packets
        self._progress = progress
        self.size_bytes = self.sent_bytes = 0
        self._number = 0
        self._names: dict[str, set[str]] = {"": set()}
        self._folders: list[tuple[str, int, int]] = []
        self._files: set[str] = set()
        self._links: list[tuple[str, str]] = []
        self._wanted: list[tuple[int, Incoming]] = []
        self._asked: dict[int, Incoming] = {}
        self._announced = False
        self._finished = False
        self._parent = (-1, "")

    def run(self) -> None:
        """Raises InvalidArgument for a sender that breaks the rules, Unavailable for a disk that is full."""
        try:
            ended = False
            while not ended:
                packets = self._packets.some()
                for packet in packets:
                    ended = self._take(packet) or ended
                if not packets and not ended:
                    raise InvalidArgument("the client ended its files before their end")
                self._ask()
        except OSError as error:
            raise Unavailable(f"write the build context: {error.strerror or error}") from error
        finally:
            for incoming in self._asked.values():
                os.close(incoming.fd)
            self._leave()
        self._packets.end()

    # --- packets ---

    def _take(self, packet: Value) -> bool:
        kind = packet["type"]
        if kind == STAT and packet["stat"] is not None:
            self._announce(packet["stat"])
            self._number += 1
        elif kind == STAT:
            self._announced = True
            self._remove_rest()
        elif kind == DATA:
            self._write(packet["id"], packet["data"])
        elif kind == ERR:
            raise InvalidArgument(f"the client can't send its files: {packet['data'].decode('utf-8', 'replace')}")
        elif kind == FIN:
            return self._finished
        return False

    def _ask(self) -> None:
        """For as many files as may be under way; the end, when there is no more."""
        packets: list[Value] = []
        while self._wanted and len(self._asked) < _REQUESTED:
            number, incoming = self._wanted.pop()
            incoming.fd = self._create(incoming.path)
            self._asked[number] = incoming
            packets.append({"type": REQ, "id": number})
        if self._announced and not self._asked and not self._wanted and not self._finished:
            self._finish()
            packets.append({"type": FIN})
            self._finished = True
        if packets:
            self._packets.send_all(packets)

    def _write(self, number: int, data: bytes) -> None:
        incoming = self._asked.get(number)
        if incoming is None:
            raise InvalidArgument(f"the client sent a file that nobody asked for: {number}")
        if data:
            view = memoryview(data)
            while view:
                view = view[os.write(incoming.fd, view) :]
            self.sent_bytes += len(data)
            if self._progress is not None:
                self._progress(self.sent_bytes)
            return
        del self._asked[number]
        try:
            os.fchmod(incoming.fd, incoming.mode)
            os.utime(incoming.fd, ns=(incoming.mtime_ns, incoming.mtime_ns))
        finally:
            os.close(incoming.fd)

    # --- names ---

    def _announce(self, found: Value) -> None:
        path = os.fsdecode(found["path"])
        head, _, name = path.rpartition("/")
        if (
            path.startswith("/")
            or name in ("", ".", "..")
            or "\0" in name
            or head not in self._names
            or path.count("/") > _MAX_DEPTH
        ):
            raise InvalidArgument(f"the client sent a path that no folder of its has: {path[:200]!r}")
        if name in self._names[head]:
            raise InvalidArgument(f"the client sent a path twice: {path[:200]!r}")
        self._names[head].add(name)
        mode, kind = found["mode"], found["mode"] & gomode.KINDS
        parent = self._enter(head)
        there = _lstat(parent, name)
        mode = permissions(mode)
        if kind == gomode.DIR:
            self._folder(parent, name, path, there, mode, found["mtime_ns"])
        elif kind == 0:
            self._file(parent, name, path, there, mode, found)
        elif kind == gomode.LINK:
            _symlink(parent, name, there, os.fsdecode(found["linkname"]), found["mtime_ns"])
        elif kind == gomode.SOCKET:
            _clear(parent, name, there)  # a socket without its listener is nothing
        elif kind in (gomode.PIPE, gomode.DEVICE, gomode.DEVICE | gomode.CHAR):
            _special(parent, name, there, kind, mode, found)
        else:
            raise InvalidArgument(f"the client sent a file of an unknown kind: {path[:200]!r}")

    def _folder(self, parent: int, name: str, path: str, there: os.stat_result | None, mode: int, mtime_ns: int) -> None:
        if there is None or not stat.S_ISDIR(there.st_mode):
            _clear(parent, name, there)
            os.mkdir(name, 0o700, dir_fd=parent)
        elif there.st_mode & 0o700 != 0o700:
            os.chmod(name, 0o700, dir_fd=parent)
        self._names[path] = set()
        self._folders.append((path, mode, mtime_ns))

    def _file(self, parent: int, name: str, path: str, there: os.stat_result | None, mode: int, found: Value) -> None:
        if found["linkname"]:
            self._links.append((path, os.fsdecode(found["linkname"])))
            return
        self._files.add(path)
        self.size_bytes += found["size"]
        if there is not None and stat.S_ISREG(there.st_mode):
            now = (stat.S_IMODE(there.st_mode), there.st_size, there.st_mtime_ns)
            if now == (mode, found["size"], found["mtime_ns"]):
                return
        _clear(parent, name, there)
        self._wanted.append((self._number, Incoming(path, mode, found["mtime_ns"])))

    def _create(self, path: str) -> int:
        head, _, name = path.rpartition("/")
        return os.open(name, _NEW, 0o600, dir_fd=self._enter(head))

    def _enter(self, folder: str) -> int:
        """The open folder; what lies in one folder comes in a row."""
        if self._parent[0] < 0 or self._parent[1] != folder:
            self._leave()
            self._parent = openat2(self._top, folder or ".", os.O_RDONLY | os.O_DIRECTORY, 0, _BENEATH), folder
        return self._parent[0]

    def _leave(self) -> None:
        if self._parent[0] >= 0:
            os.close(self._parent[0])
        self._parent = (-1, "")

    def _remove_rest(self) -> None:
        """What is here and not there. Hard links are made anew."""
        links = {path for path, _ in self._links}
        for folder, names in self._names.items():
            parent = self._enter(folder)
            above = f"{folder}/" if folder else ""
            for name in os.listdir(parent):
                if (name not in names and not self._keep) or above + name in links:
                    remove_at(parent, name)

    def _finish(self) -> None:
        """Hard links, and then the folders' own modes and times, which all of this has changed."""
        for path, target in self._links:
            if target not in self._files:
                raise InvalidArgument(f"the client sent a hard link to what is no file of its: {target[:200]!r}")
            head, _, name = target.rpartition("/")
            source = openat2(self._top, head or ".", os.O_RDONLY | os.O_DIRECTORY, 0, _BENEATH)
            try:
                there, _, own = path.rpartition("/")
                os.link(name, own, src_dir_fd=source, dst_dir_fd=self._enter(there), follow_symlinks=False)
            finally:
                os.close(source)
        for path, mode, mtime_ns in reversed(self._folders):
            head, _, name = path.rpartition("/")
            parent = self._enter(head)
            os.chmod(name, mode, dir_fd=parent)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)


def _lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _clear(parent: int, name: str, there: os.stat_result | None) -> None:
    if there is not None:
        remove_at(parent, name)


def _symlink(parent: int, name: str, there: os.stat_result | None, target: str, mtime_ns: int) -> None:
    if there is None or not stat.S_ISLNK(there.st_mode) or os.readlink(name, dir_fd=parent) != target:
        _clear(parent, name, there)
        os.symlink(target, name, dir_fd=parent)
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)


def _special(parent: int, name: str, there: os.stat_result | None, kind: int, mode: int, found: Value) -> None:
    _clear(parent, name, there)
    if kind == gomode.PIPE:
        os.mkfifo(name, 0o600, dir_fd=parent)
    else:
        device = os.makedev(found["devmajor"], found["devminor"])
        os.mknod(name, (stat.S_IFCHR if kind & gomode.CHAR else stat.S_IFBLK) | 0o600, device, dir_fd=parent)
    os.chmod(name, mode, dir_fd=parent)
    os.utime(name, ns=(found["mtime_ns"], found["mtime_ns"]), dir_fd=parent, follow_symlinks=False)


def send(tree: Tree, packets: Packets, clamp_mtime_ns: int | None, *, as_root: bool = False) -> None:
    """All of *tree* to somebody who writes it to a folder of its own; with *as_root* it belongs to root there, whoever has it
    here. Raises InvalidArgument for what can't be taken."""
    owner = {"uid": 0, "gid": 0} if as_root else {}
    files: dict[int, Node] = {}
    batch: list[Value] = []
    for number, node in enumerate(tree.walk(tree.root)):
        if stat.S_ISREG(node.stat.st_mode):
            files[number] = node
        batch.append({"type": STAT, "stat": {**stat_of(tree, node, clamp_mtime_ns), **owner}})
        if len(batch) == 128:
            packets.send_all(batch)
            batch = []
    packets.send_all([*batch, {"type": STAT}])
    while True:
        found = packets.some()
        if not found:
            raise InvalidArgument("the client broke off its output")
        for packet in found:
            if packet["type"] == FIN:
                packets.send_all([{"type": FIN}])
                packets.end()
                return
            if packet["type"] == ERR:
                raise Unavailable(f"the client can't write its output: {packet['data'].decode('utf-8', 'replace')}")
            if packet["type"] == REQ:
                node_asked = files.pop(packet["id"], None)
                if node_asked is None:
                    raise InvalidArgument(f"the client asked for a file that is none: {packet['id']}")
                for piece in _pieces(tree, node_asked):
                    packets.send_all([{"type": DATA, "id": packet["id"], "data": piece}])
                packets.send_all([{"type": DATA, "id": packet["id"]}])


def _pieces(tree: Tree, node: Node) -> Iterable[bytes]:
    fd = tree.open_file(node)
    try:
        while piece := os.read(fd, _PIECE):
            yield piece
    finally:
        os.close(fd)


def stat_of(tree: Tree, node: Node, clamp_mtime_ns: int | None = None) -> Value:
    found = node.stat
    mtime_ns = found.st_mtime_ns if clamp_mtime_ns is None else min(found.st_mtime_ns, clamp_mtime_ns)
    is_device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    return {
        "path": os.fsencode(node.path),
        "mode": go_mode(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size": found.st_size if stat.S_ISREG(found.st_mode) else 0,
        "mtime_ns": mtime_ns,
        "linkname": os.fsencode(tree.readlink(node)) if node.is_link else b"",
        "devmajor": os.major(found.st_rdev) if is_device else 0,
        "devminor": os.minor(found.st_rdev) if is_device else 0,
    }
