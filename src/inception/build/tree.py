"""A folder that a build copies from: the context, a stage, an image. Walked through fds beneath its root, each folder at
most once, and only those that are asked for.

Whoever filled the folder may be hostile and may still be writing: names are resolved here, component by component, as if the
folder were `/`, and whatever is then opened is opened beneath the root fd with RESOLVE_NO_SYMLINKS, so a link that appears
in between is an error and never a way out.
"""

from __future__ import annotations

import os
import stat

from inception.build.ignore import IgnoreRules, clean, pattern_expression
from inception.errors import InvalidArgument, Unavailable
from inception.linux import abi
from inception.linux.path import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40
_MAX_DEPTH = 512
_BENEATH: int = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS


class Node:
    """One file or folder as it was found. `path` is relative to the root and goes through no link.

    `included` is False for an ignored folder that holds something which is not.
    """

    __slots__ = ("children", "included", "matched", "name", "path", "stat")

    def __init__(self, name: str, path: str, found: os.stat_result) -> None:
        self.name = name
        self.path = path
        self.stat = found
        self.included = True
        self.matched: tuple[bool, ...] = ()
        self.children: dict[str, Node] | None = None

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.stat.st_mode)


class Tree:
    """The folder *root_fd* (owned by the caller) without what *rules* ignore."""

    def __init__(self, root_fd: int, rules: IgnoreRules | None = None) -> None:
        self.root_fd = root_fd
        self.rules = rules if rules is not None and rules.patterns else None
        self.root = Node("", "", os.fstat(root_fd))

    def open(self, node: Node, flags: int = os.O_RDONLY) -> int:
        """An fd of *node*; the caller owns it. Raises Unavailable when it is not what was found any more."""
        if not flags & abi.O_PATH:
            flags |= os.O_NONBLOCK | os.O_NOCTTY  # a FIFO that took the place of a file must not hang us
        try:
            return openat2(self.root_fd, node.path or ".", flags, 0, _BENEATH)
        except OSError as error:
            raise Unavailable(f"read {node.path or '.'}: {error.strerror}") from error

    def open_file(self, node: Node) -> int:
        """`open` of a regular file that is still what was found: a file that changes while it is read would be cached under
        the digest of another. Raises Unavailable."""
        fd = self.open(node)
        now, then = os.fstat(fd), node.stat
        same = (now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        if same != (then.st_mode, then.st_size, then.st_mtime_ns, then.st_ctime_ns) or not stat.S_ISREG(now.st_mode):
            os.close(fd)
            raise Unavailable(f"read {node.path}: it changed while it was being copied")
        return fd

    def readlink(self, node: Node) -> str:
        fd = self.open(node, abi.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def children(self, folder: Node) -> dict[str, Node]:
        """What *folder* holds, by name, in the order of the names."""
        if folder.children is None:
            folder.children = self._read(folder)
        return folder.children

    def _read(self, folder: Node) -> dict[str, Node]:
        if folder.path.count("/") > _MAX_DEPTH:
            raise InvalidArgument(f"read {folder.path[:80]}...: folders nested too deeply")
        above = f"{folder.path}/" if folder.path else ""
        found: dict[str, Node] = {}
        fd = self.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                nodes = [Node(each.name, above + each.name, each.stat(follow_symlinks=False)) for each in entries]
        except FileNotFoundError as error:
            raise Unavailable(f"read {folder.path or '.'}: it changed meanwhile: {error.strerror}") from error
        finally:
            os.close(fd)
        for node in sorted(nodes, key=_by_name):
            if self.rules is not None:
                ignored, node.matched = self.rules.decide(node.path, folder.matched)
                if ignored:
                    if not node.is_dir or not self.rules.may_include_below(node.path):
                        continue
                    node.included = False
            found[node.name] = node
        return found

    def holds_something(self, node: Node) -> bool:
        """Whether *node* is part of the tree: not ignored, or holding what is not."""
        if node.included:
            return True
        return any(self.holds_something(child) for child in self.children(node).values())

    def walk(self, folder: Node) -> Iterator[Node]:
        """All beneath *folder*, a folder before what it holds."""
        for child in self.children(folder).values():
            if not child.is_dir:
                yield child
            elif self.holds_something(child):
                yield child
                yield from self.walk(child)

    def lookup(self, path: str) -> Node | None:
        """What *path* leads to, links followed inside the tree; None when there is nothing."""
        return self._follow([self.root], clean(path), [0])

    def _follow(self, way: list[Node], path: str, links: list[int]) -> Node | None:
        """From the last folder of *way*, which is where `..` leads back along."""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                if len(way) > 1:
                    way.pop()
                continue
            folder = way[-1]
            child = self.children(folder).get(part) if folder.is_dir else None
            if child is None:
                return None
            if child.is_link:
                links[0] += 1
                if links[0] > _MAX_LINKS:
                    raise InvalidArgument(f"{child.path}: Too many levels of symbolic links")
                target = self.readlink(child)
                if target.startswith("/"):
                    del way[1:]
                if self._follow(way, target, links) is None:
                    return None
                continue
            way.append(child)
        return way[-1] if self.holds_something(way[-1]) else None

    def glob(self, pattern: str, *, recursive: bool = False) -> list[tuple[str, Node]]:
        """The paths that *pattern* matches and what they lead to. `**` is any number of folders when *recursive*.

        Raises InvalidArgument for a pattern that can't be read.
        """
        pattern = clean(pattern)
        if not any(char in pattern for char in "*?[\\"):
            node = self.lookup(pattern)
            return [] if node is None else [("" if pattern == "." else pattern, node)]
        found: dict[str, Node] = {}
        self._match(self.root, "", pattern.split("/"), recursive, found)
        return sorted(found.items())

    def _match(self, folder: Node, above: str, parts: list[str], recursive: bool, found: dict[str, Node]) -> None:
        import re

        part, rest = parts[0], parts[1:]
        if part == "**" and recursive:
            if rest:
                self._match(folder, above, rest, recursive, found)
            for child in self.children(folder).values():
                if child.is_dir:
                    self._match(child, f"{above}{child.name}/", parts, recursive, found)
                elif not rest:
                    found[above + child.name] = child
            return
        try:
            expression = re.compile(pattern_expression(part.replace("**", "*")), re.DOTALL)
        except (ValueError, re.error) as error:
            raise InvalidArgument(f"syntax error in pattern {'/'.join(parts)!r}: {error}") from None
        for child in list(self.children(folder).values()):
            if not expression.fullmatch(child.name):
                continue
            target = self.lookup(child.path) if child.is_link else child
            if target is None or not self.holds_something(target):
                continue
            if not rest:
                found[above + child.name] = target
            elif target.is_dir:
                self._match(target, f"{above}{child.name}/", rest, recursive, found)


def _by_name(node: Node) -> str:
    return node.name
