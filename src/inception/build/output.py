"""`--output`: where the result of a build goes.

image, docker   the image store (docker with dest=FILE: an archive)        registry   the store, and pushed
oci             an archive with an OCI layout; `docker load` reads it too
local, tar      the files of the target stage, in a folder or an archive; no image is made
"""

from __future__ import annotations

import os

from inception.build.config import Annotation, Output
from inception.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inception.linux.path import RootDir

_LEVELS = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_TYPES = ("local", "tar", "oci", "docker", "image", "registry")
_KEYS = {"local": ("dest",), "tar": ("dest",), "oci": ("dest", "name"), "docker": ("dest", "name")}
_STDOUT = "-"


def parse_annotation(text: str) -> list[Annotation]:
    """`[LEVEL[PLATFORM][,LEVEL...]:]KEY=VALUE`. Raises InvalidArgument."""
    from inception.build.plan import spell_platform
    from inception.oci.image import parse_platform

    head, equals, value = text.partition("=")
    levels, colon, key = head.rpartition(":")
    key = key if colon else head
    if not (equals and key):
        raise InvalidArgument(f"invalid annotation {text!r}: expected key=value")
    found = []
    for word in levels.split(",") if colon else ["manifest"]:
        level, bracket, platform = word.rstrip("]").partition("[")
        if level not in _LEVELS:
            raise InvalidArgument(f"invalid annotation {text!r}: unknown type {level!r}")
        spelt = spell_platform(parse_platform(platform)) if bracket else ""
        found.append(Annotation(level=level, platform=spelt, key=key, value=value))
    return found


def parse_output(text: str) -> Output:
    """`type=TYPE,dest=PATH,...`, a folder, or `-`. Raises InvalidArgument."""
    if text == _STDOUT:
        return Output(type="tar", destination=_STDOUT)
    if "=" not in text:
        return Output(type="local", destination=text)
    given: dict[str, str] = {}
    for word in split_words(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {word!r}: expected key=value")
        given[key.lower()] = value
    kind = given.pop("type", "")
    if kind not in _TYPES:
        raise InvalidArgument(f"invalid output {text!r}: type is required" if not kind else f"unsupported output type {kind!r}")
    if _truth(given.pop("rewrite-timestamp", "false"), "rewrite-timestamp") and kind == "local":
        raise InvalidArgument("output option rewrite-timestamp is not supported for type local: its files are new ones")
    for key in given:
        if key not in _KEYS.get(kind, ("name", "push")):
            raise InvalidArgument(f"output option {key}={given[key]} is not supported for type {kind}")
    destination = given.get("dest", "")
    if not destination and kind == "local":
        raise InvalidArgument(f"dest is required for {kind} output")
    names = [name for name in given.get("name", "").split(",") if name]
    push = kind == "registry" or given.get("push", "false").lower() in ("true", "1")
    return Output(type=kind, destination=destination or (_STDOUT if kind in ("tar", "oci") else ""), names=names, push=push)


def _truth(text: str, name: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise InvalidArgument(f"invalid value {text!r} for {name}: expected true or false")
    return text.lower() in ("true", "1")


def split_words(text: str) -> list[str]:
    """The `key=value` words of a flag; quotes hold one with a comma together."""
    import csv  # `"name=a,b"` is one word

    return next(csv.reader([text]), [])


def write_files(root: RootDir, output: Output, clamp_mtime_ns: int | None) -> None:
    """The files beneath *root* as `local` or `tar`. Raises Unavailable, InvalidArgument."""
    if output.type == "local":
        _copy(root, output.destination)
        return
    from inception.store.pack import pack

    fd = root.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        write_stream(pack(fd, root_entry=False, clamp_mtime_ns=clamp_mtime_ns), output.destination)
    finally:
        os.close(fd)


def _copy(root: RootDir, destination: str) -> None:
    """As Docker's client does it: everything belongs to the caller."""
    from inception.build.copy import Writer
    from inception.build.inputs import files_copy
    from inception.build.selection import select
    from inception.build.tree import Tree
    from inception.linux.path import RootDir

    step = files_copy(".", "/", "image:")
    try:
        os.makedirs(destination, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"output {destination}: {error.strerror}") from error
    with RootDir.open_host(destination) as target:
        writer = Writer(target, step, (os.geteuid(), os.getegid()))
        try:
            writer.copy(select(Tree(root.fd), step))
        finally:
            writer.close()


def write_stream(chunks: Iterable[bytes], destination: str) -> None:
    """*chunks* to a file, which appears when it is whole, or to standard output."""
    from inception.store.content import write_all

    if destination == _STDOUT:
        for chunk in chunks:
            write_all(1, chunk)
        return
    partial = f"{destination}.{os.urandom(4).hex()}.partial"
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            for chunk in chunks:
                write_all(fd, chunk)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(partial, destination)
    except OSError as error:
        raise Unavailable(f"output {destination}: {error.strerror}") from error
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)


def all_names(tags: Sequence[str], outputs: Sequence[Output]) -> list[str]:
    """The names that an image gets."""
    return list(dict.fromkeys([*tags, *(name for output in outputs for name in output.names)]))
