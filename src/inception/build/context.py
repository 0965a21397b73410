"""The build context: the folder (or the archive on standard input) that COPY and ADD copy from, and the Dockerfile in it.

Digests of files are remembered from build to build by inode, size, mtime and ctime, in a file of one line a file, so that a
context that didn't change is walked but not read. A file that was written within the clock's grain of its hashing is not
remembered: a second write in the same tick would be missed (git's "racy" entries).
"""

from __future__ import annotations

import os
import stat
import sys
import time
import zlib

from inception.build.config import DEFAULT_NAMES
from inception.build.ignore import IgnoreRules, parse_ignore
from inception.build.operations import hide_password
from inception.build.parse import MAX_BYTES
from inception.build.selection import Selection, hash_file, select
from inception.build.tree import Node, Tree
from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.linux.path import RootDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from inception.build.config import BuildConfig
    from inception.build.operations import Copy
    from inception.store import Store
    from inception.store.scratch import Scratch

# Kernel timestamps move with the tick, 1 to 10 ms; this is a wide margin.
_CLOCK_GRAIN_NS = 50_000_000
_MAX_REMEMBERED = 500_000
_PEEK = 1 << 16


class Context:
    """An opened context: `dockerfile` are the bytes to build, `name` how to call them in messages, `tree` what to copy from."""

    source = ""  # the address of a context that is not of this machine, with the commit where it has one

    def __init__(self, root: RootDir | None, dockerfile: bytes, name: str, rules: IgnoreRules, digests: Digests) -> None:
        self._root = root
        self.dockerfile = dockerfile
        self.name = name
        self.rules = rules
        self.digests = digests
        self.tree = Tree(root.fd, rules) if root is not None else None

    def fetch(self, paths: list[str]) -> None:
        """*paths* are what will be copied from here, none when nothing is: the time to bring them, where they are elsewhere."""

    def select(self, operation: Copy) -> Selection:
        """What *operation* takes from here. Raises InvalidArgument, NotFound."""
        if self.tree is None:
            raise InvalidArgument("there is no build context: only a Dockerfile came over standard input")
        return select(self.tree, operation, self.rules)

    def close(self) -> None:
        self.digests.save()
        if self._root is not None:
            self._root.close()


def open_context(store: Store, config: BuildConfig, scratch: Scratch, stdin: BinaryIO | None = None) -> Context:
    """Raises NotFound, InvalidArgument with Docker's words. *scratch* takes what comes over standard input."""
    stream = stdin or sys.stdin.buffer
    if config.context == "-" and config.dockerfile == "-":
        raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile")
    if config.context == "-":
        return _from_stream(config, scratch, stream)
    if is_remote(config.context):
        return _from_url(store, config, scratch)
    try:
        root = RootDir.open_host(config.context)
    except FileNotFoundError:
        raise NotFound(f'unable to prepare context: path "{config.context}" not found') from None
    except NotADirectoryError:
        raise InvalidArgument(f"unable to prepare context: context must be a directory: {config.context}") from None
    except OSError as error:
        raise Unavailable(f"unable to prepare context: {config.context}: {error.strerror}") from error
    try:
        text, name, ignore = _read_dockerfile(config, root, stream)
        path = os.path.realpath(config.context)
        return Context(root, text, name, ignore, Digests(f"{store.root}/build-cache", path))
    except BaseException:
        root.close()
        raise


def open_folder(store: Store, path: str) -> Context:
    """A named context: a folder with its own `.dockerignore`."""
    try:
        root = RootDir.open_host(path)
    except OSError as error:
        raise NotFound(f'unable to prepare context: path "{path}": {error.strerror}') from None
    try:
        return Context(root, b"", "", _read_rules(root, None), Digests(f"{store.root}/build-cache", os.path.realpath(path)))
    except BaseException:
        root.close()
        raise


def is_remote(text: str) -> bool:
    """Whether a context is an address and not a folder. What exists as a folder is one."""
    return text.startswith(("http://", "https://", "git://", "ssh://", "git@", "github.com/")) and not os.path.isdir(text)


def _from_url(store: Store, config: BuildConfig, scratch: Scratch) -> Context:
    """A git repository, an archive, or a lone Dockerfile."""
    from inception.build.git import checkout, parse_repository, resolve_commit

    repository = parse_repository(config.context)
    if repository is None:
        from inception.build.cache import BuildCache
        from inception.build.remote import check, fetch

        cache = BuildCache(store)
        remote = fetch(check(config.context, "", cache, scratch.path), "", cache, scratch.path)
        with open(remote.path, "rb") as stream:
            context = _from_stream(config, scratch, stream)
        context.source = hide_password(config.context)
        return context
    repository.keep_git_dir |= config.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in ("1", "true")
    path = f"{scratch.path}/context"
    commit = resolve_commit(repository)
    checkout(repository, commit, path)
    with RootDir.open_host(path) as top:
        try:
            root = top.open_root(repository.folder)
        except OSError as error:
            raise NotFound(f"{config.context}: {repository.folder}: {error.strerror}") from None
    try:
        text, name, ignore = _read_dockerfile(config, root, sys.stdin.buffer, inside=True)
        context = Context(root, text, name, ignore, Digests("", ""))
        context.source = f"{hide_password(config.context).partition('#')[0]}#{commit}"
        return context
    except BaseException:
        root.close()
        raise


def _from_stream(config: BuildConfig, scratch: Scratch, stream: BinaryIO) -> Context:
    start = stream.read(_PEEK)
    if not _is_archive(start):
        data = start + stream.read(MAX_BYTES + 1 - len(start))
        return Context(None, data, "Dockerfile", IgnoreRules([]), Digests("", ""))
    from inception.store.extract import ExtractOptions
    from inception.store.worker import unpack

    path = f"{scratch.path}/context"
    os.mkdir(path, 0o700)
    root = RootDir.open_host(path)
    try:
        unpack(_chunks(start, stream), root.fd, ExtractOptions(whiteouts="literal"))
        text, name, ignore = _read_dockerfile(config, root, stream, inside=True)
        return Context(root, text, name, ignore, Digests("", ""))
    except BaseException:
        root.close()
        raise


def _chunks(start: bytes, stream: BinaryIO) -> Iterable[bytes]:
    yield start
    while chunk := stream.read(1 << 20):
        yield chunk


def _is_archive(start: bytes) -> bool:
    from inception.store.compression import detect

    return bool(detect(start)) or start[257:262] == b"ustar"


def _read_dockerfile(
    config: BuildConfig, root: RootDir, stream: BinaryIO, *, inside: bool = False
) -> tuple[bytes, str, IgnoreRules]:
    """The Dockerfile's bytes, its name for messages, and the ignore rules that go with it."""
    if config.dockerfile_inline:
        return config.dockerfile_inline.encode(), "Dockerfile", _read_rules(root, None)
    if config.dockerfile == "-":
        return stream.read(MAX_BYTES + 1), "Dockerfile", _read_rules(root, None)
    name = config.dockerfile or DEFAULT_NAMES[0]
    # From an archive the name is one inside it; otherwise it is the user's own path, which may lie outside.
    inside = inside or not config.dockerfile

    def read(path: str) -> bytes | None:
        try:
            return root.read_bytes(path, MAX_BYTES) if inside else _read_host(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidArgument(f"failed to read dockerfile: open {path}: {error.strerror}") from error

    data = read(name)
    if data is None and not config.dockerfile:
        name = DEFAULT_NAMES[1]
        data = read(name)
    if data is None:
        name = config.dockerfile or DEFAULT_NAMES[0]
        raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory")
    return data, name, _read_rules(root, read(f"{name}.dockerignore"), f"{name}.dockerignore")


def _read_host(path: str) -> bytes:
    with open(path, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(22, "not a regular file", path)
        return file.read(MAX_BYTES + 1)


def _read_rules(root: RootDir, own: bytes | None, name: str = ".dockerignore") -> IgnoreRules:
    """A `NAME.dockerignore` beside the Dockerfile is used instead of the context's `.dockerignore`."""
    if own is not None:
        return parse_ignore(own, name)
    try:
        return parse_ignore(root.read_bytes(".dockerignore", MAX_BYTES))
    except FileNotFoundError:
        return IgnoreRules([])
    except OSError as error:
        raise InvalidArgument(f"failed to read .dockerignore: {error.strerror}") from error


class Digests:
    """The digests of a folder's files, remembered in *folder* (nowhere when it is empty)."""

    def __init__(self, folder: str, context_path: str) -> None:
        name = f"{zlib.crc32(os.fsencode(context_path)):08x}-{len(context_path)}"
        self._path = f"{folder}/{name}" if folder else ""
        self._context = context_path
        self._known: dict[str, tuple[str, str]] | None = None
        self._changed = False

    def of(self, tree: Tree, node: Node) -> str:
        """The digest of a file's bytes, from memory when nothing says that it changed."""
        if not self._path:
            return hash_file(tree, node)
        if self._known is None:
            self._known = self._load()
        found = node.stat
        mark = f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        known = self._known.get(node.path)
        if known is not None and known[0] == mark:
            return known[1]
        started = time.time_ns()
        digest = hash_file(tree, node)
        if max(found.st_mtime_ns, found.st_ctime_ns) < started - _CLOCK_GRAIN_NS:
            self._known[node.path] = (mark, digest)
            self._changed = True
        return digest

    def _load(self) -> dict[str, tuple[str, str]]:
        known: dict[str, tuple[str, str]] = {}
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                if file.readline() != f"{self._context!r}\n":
                    return {}  # another folder with the same checksum, or an older form
                for line in file:
                    digest, mark, path = line.rstrip("\n").split("\t", 2)
                    known[path] = (mark, digest)
        except (OSError, ValueError):
            return {}  # nothing is lost but time
        return known

    def save(self) -> None:
        """Written whole under another name and renamed; a failure costs the next build some reading."""
        if not self._changed or not self._known or len(self._known) > _MAX_REMEMBERED:
            return
        partial = f"{self._path}.{os.getpid()}.{time.time_ns()}"
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with open(partial, "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{self._context!r}\n")
                for path, (mark, digest) in self._known.items():
                    if "\n" not in path:
                        file.write(f"{digest}\t{mark}\t{path}\n")
            os.replace(partial, self._path)
        except OSError:
            try:
                os.unlink(partial)
            except OSError:
                pass
