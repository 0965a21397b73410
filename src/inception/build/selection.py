"""What a COPY copies: its sources found in a tree, and the digest of what they hold.

The digest covers what ends up in the image: names below the source, types, modes, contents, link texts; owners and extended
attributes too where they are kept (copies between stages; what comes from the context belongs to root). Times are not in it, so
a touched file changes nothing.
"""

from __future__ import annotations

import os
import stat

from inception.build.ignore import IgnoreRules, Pattern, clean
from inception.build.operations import holds_layers
from inception.build.tree import Node, Tree
from inception.errors import NotFound
from inception.oci.digest import small_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.operations import Copy

_CHUNK = 1 << 20
# What an image may carry over; `trusted.*` is overlayfs's own.
_KEPT_XATTRS = ("security.capability", "user.", "system.posix_acl_")


class Source:
    """One match. `is_dir`: the `entries` are merged into the destination, under their paths; else there is one entry, the
    file, and `name` is what it is called in a destination that is a folder."""

    def __init__(self, name: str, node: Node, is_dir: bool, entries: list[tuple[str, Node]]) -> None:
        self.name = name
        self.node = node
        self.is_dir = is_dir
        self.entries = entries


class Selection:
    """The sources of one COPY in *tree*. `kept_owners`: owners and extended attributes are copied too."""

    def __init__(self, tree: Tree, sources: list[Source], kept_owners: bool) -> None:
        self.tree = tree
        self.sources = sources
        self.kept_owners = kept_owners

    def digest(self, content: Callable[[Tree, Node], str]) -> str:
        """*content* gives the digest of a file's bytes."""
        hasher = small_sha256()
        for source in self.sources:
            hasher.update(f"{'d' if source.is_dir else 'f'}\0{source.name}\0".encode("utf-8", "surrogateescape"))
            if source.is_dir:  # a destination that isn't there is made like it
                hasher.update(_line(self, "", source.node, content))
            for path, node in source.entries:
                hasher.update(_line(self, path, node, content))
        return hasher.hexdigest()


def select(tree: Tree, operation: Copy, ignored: IgnoreRules | None = None) -> Selection:
    """Finds *operation*'s sources. Raises NotFound with Docker's words, and a hint when `.dockerignore` is why."""
    exclude = IgnoreRules([Pattern(clean(text), False) for text in operation.exclude])
    found: list[Source] = []
    for pattern in operation.sources:
        matches = tree.glob(pattern, recursive=operation.parents)
        if not matches and not _has_wildcard(pattern):
            hint = "it is excluded by .dockerignore" if ignored is not None and ignored.ignored(clean(pattern)) else ""
            raise NotFound(f'"/{clean(pattern).removeprefix(".")}": not found', hint)
        for path, node in matches:
            if operation.parents:
                found.append(_with_parents(tree, pattern, path, node, exclude))
            elif node.is_dir:
                found.append(Source("", node, True, _entries(tree, node, "", exclude)))
            elif not exclude.ignored(path.rpartition("/")[2]):
                found.append(Source(path.rpartition("/")[2], node, False, [("", node)]))
    return Selection(tree, found, kept_owners=holds_layers(operation.origin))


def _has_wildcard(pattern: str) -> bool:
    return any(char in pattern for char in "*?[")


def _entries(tree: Tree, folder: Node, prefix: str, exclude: IgnoreRules) -> list[tuple[str, Node]]:
    cut = len(folder.path) + 1 if folder.path else 0
    found = []
    for node in tree.walk(folder):
        path = node.path[cut:]
        if exclude.patterns and exclude.ignored(path):
            continue
        found.append((prefix + path, node))
    return found


def _with_parents(tree: Tree, pattern: str, path: str, node: Node, exclude: IgnoreRules) -> Source:
    """--parents: the folders above are kept, those after a `/./` where there is one."""
    before, pivot, _ = pattern.lstrip("/").removeprefix("./").partition("/./")
    cut = len(clean(before).split("/")) if pivot else 0
    parts = path.split("/")[cut:]
    entries: list[tuple[str, Node]] = []
    for end in range(1, len(parts)):
        parent = tree.lookup("/".join(path.split("/")[: cut + end]))
        if parent is not None:
            entries.append(("/".join(parts[:end]), parent))
    name = "/".join(parts)
    if name and not exclude.ignored(name):
        entries.append((name, node))
    if node.is_dir:
        entries += _entries(tree, node, f"{name}/" if name else "", exclude)
    return Source("", node, True, entries)


def _line(selection: Selection, path: str, node: Node, content: Callable[[Tree, Node], str]) -> bytes:
    found, tree = node.stat, selection.tree
    mode = found.st_mode
    if stat.S_ISREG(mode):
        value = content(tree, node)
    elif stat.S_ISLNK(mode):
        value = tree.readlink(node)
        mode = stat.S_IFLNK
    else:
        value = str(found.st_rdev) if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else ""
    line = f"{path}\0{mode:o}\0{value}\0"
    if selection.kept_owners:
        line += f"{found.st_uid}:{found.st_gid}\0"
        if not stat.S_ISLNK(mode):
            line += "".join(f"{name}={data.hex()}\0" for name, data in read_xattrs(tree, node))
    return line.encode("utf-8", "surrogateescape")


def read_xattrs(tree: Tree, node: Node) -> list[tuple[str, bytes]]:
    """The extended attributes that are copied between stages."""
    if not (node.is_dir or stat.S_ISREG(node.stat.st_mode)):
        return []
    fd = tree.open(node)
    try:
        return [(name, os.getxattr(fd, name)) for name in sorted(os.listxattr(fd)) if name.startswith(_KEPT_XATTRS)]
    except OSError:
        return []  # the file system has none
    finally:
        os.close(fd)


def hash_file(tree: Tree, node: Node) -> str:
    """The digest of a file's bytes. Raises Unavailable when it changes meanwhile."""
    import hashlib

    fd = tree.open_file(node)
    try:
        # hashlib.file_digest makes a buffer of 256 KiB for each file; most files are far smaller.
        size = min(node.stat.st_size + 1, _CHUNK)
        hasher = hashlib.sha256()
        while chunk := os.read(fd, size):
            hasher.update(chunk)
        return hasher.hexdigest()
    finally:
        os.close(fd)
