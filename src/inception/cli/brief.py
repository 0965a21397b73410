"""`inception images` without what most commands need: one query, and its lines.

The launcher of `make setup` comes here for it (`tools/launchers`). What is not plainly understood (a filter, a format, an
engine elsewhere, a store of another version, a failure) is left to the ordinary command, before anything was printed. It
asks the database as that does, so it can't say anything older. Figures: docs/decisions/0061-brief-listing.md.
"""

from __future__ import annotations

import gc
import sys
from time import time

from inception.cli.format import columns, human_size
from inception.duration import human_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import _exit, environb, geteuid
    from sqlite3 import Connection
    from typing import NoReturn
else:  # `os` is one millisecond
    from posix import _exit, geteuid
    from posix import environ as environb

#: The version of the store's tables that is understood here; `tests/unit/cli/test_brief.py` holds it to theirs.
STORE_VERSION = 32
_BROKEN_PIPE = 141
_ROOTS = ("--root", "--run-root")
_ELSEWHERE = (b"DOCKER_HOST", b"DOCKER_CONTEXT")
_FLAGS = {"-q": "q", "--quiet": "q", "-a": "a", "--all": "a", "-aq": "aq", "-qa": "aq", "--no-trunc": "n"}
_HEADINGS = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
_NONE = "<none>"
_HUB, _LIBRARY = "docker.io/", "library/"
_BUSY_TIMEOUT_S = 30.0
_ZERO = -62_135_596_800 + 31_536_000  # Go's zero time is in the year 1

_IMAGES = """SELECT id, (julianday(created) - 2440587.5) * 86400, size_bytes, parent FROM images
    ORDER BY created DESC, id"""
_NAMES = "SELECT image_id, repository, tag FROM image_names ORDER BY repository, tag"
_INDEXED = "SELECT image_id FROM index_images JOIN index_names USING (digest)"
_PULLED = "SELECT image_id FROM image_digests"
#: A listing of fewer lines is as soon made again as read.
_WORTH_KEEPING = 200


class _NotPlain(Exception):
    """Something for the ordinary command."""


def entry() -> NoReturn:
    """The command, when its words speak of images; any other is passed on."""
    gc.disable()  # a thousand rows are a thousand things to look at, for nothing
    try:
        sys.stdout.buffer.write(listing(sys.argv[1:]).encode())
        sys.stdout.flush()
        code = 0
    except BrokenPipeError:
        code = _BROKEN_PIPE
    except Exception:  # whatever it is, the ordinary command meets it too, and has words for it
        from inception.cli.main import entry as ordinary
        from inception.preload import preload

        preload("inception.cli.main")
        ordinary()
    _exit(code)


def listing(words: list[str]) -> str:
    """What `images` prints for the command line *words*. Raises an exception for anything out of the ordinary."""
    root, flags = _parsed(words)
    lines = _lines(_open(f"{root}/state.db"), "a" in flags)
    full = "n" in flags
    if "q" in flags:
        return "".join([(line[2] if full else line[2][7:19]) + "\n" for line in lines])
    now = time()
    for line in lines:
        moment = float(line[3] or 0)
        line[3] = f"{human_duration(now - moment)} ago" if moment and moment > _ZERO else "N/A"
        if not full:
            line[2] = line[2][7:19]
    return columns([_HEADINGS, *lines])


def _lines(connection: Connection, everything: bool) -> list[list[str]]:
    """Cells as they are shown, but for the id, which is whole, and the age, which is a moment in seconds since 1970."""
    connection.execute("BEGIN")  # all that is read is of one moment
    if connection.execute("SELECT version FROM schema_versions WHERE module = 'store'").fetchone() != (STORE_VERSION,):
        raise _NotPlain
    kept = connection.execute("SELECT lines FROM listing").fetchone()
    if kept:
        return [line.split("\t") for line in kept[0].split("\n")]
    images = connection.execute(_IMAGES).fetchall()
    names: dict[str, list[tuple[str, str]]] = {}
    for image_id, repository, tag in connection.execute(_NAMES):
        if repository.startswith(_HUB):
            repository = repository[len(_HUB) :]
            if repository.count("/") == 1:
                repository = repository.removeprefix(_LIBRARY)
        names.setdefault(image_id, []).append((repository, tag))
    all_have_names = len(names) == len(images)
    if not all_have_names:
        _add_nameless(connection, names, images, everything)
    lines = []
    for image_id, moment, size_bytes, _ in images:
        size = human_size(size_bytes)
        lines += [[repository, tag, image_id, f"{moment or ''}", size] for repository, tag in names.get(image_id, ())]
    if all_have_names and len(lines) >= _WORTH_KEEPING:
        _keep(connection, lines)
    return lines


def _add_nameless(
    connection: Connection, names: dict[str, list[tuple[str, str]]], images: list[tuple[str, ...]], everything: bool
) -> None:
    """A line for each image without a name, but for those that are a step of a build or a platform of a name. One with
    digests has a line for each of these, which is not done here."""
    indexed, pulled = ({row[0] for row in connection.execute(query)} for query in (_INDEXED, _PULLED))
    parents = {image[3] for image in images}
    for image_id, *_ in images:
        if image_id in names or (image_id in indexed and not everything):
            continue
        if image_id in indexed or image_id in pulled:
            raise _NotPlain
        if everything or image_id not in parents:
            names[image_id] = [(_NONE, _NONE)]


def _keep(connection: Connection, lines: list[list[str]]) -> None:
    """For the next one who asks, until a name or an image changes: `inception.store.schema` has triggers for that.

    It is written in the transaction that read the names: when anything has changed since, SQLite refuses it.
    """
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("INSERT INTO listing (lines) VALUES (?)", ("\n".join(["\t".join(line) for line in lines]),))
        connection.execute("COMMIT")
    except Exception:
        pass  # somebody else writes, the disk is full or may not be written to: it was worth a try


def _parsed(words: list[str]) -> tuple[str, str]:
    """The root, and one letter for each flag."""
    root = ""
    here = False
    position = 0
    while words[position] != "images":
        name, equals, value = words[position].partition("=")
        if name not in _ROOTS:
            raise _NotPlain
        if not equals:
            position += 1
            value = words[position]
        if name == "--root":
            root = value
        here = here or bool(value)
        position += 1
    if not here and any(name in environb for name in _ELSEWHERE):
        raise _NotPlain
    flags = "".join([_FLAGS[word] for word in words[position + 1 :]])
    if not root:
        root = environb.get(b"INCEPTION_ROOT", b"").decode()
    if not root and geteuid() == 0:
        root = "/var/lib/inception"
    if not root.startswith("/") or ".." in root or not {"?", "#", "%"}.isdisjoint(root):
        raise _NotPlain
    return root, flags


def _open(path: str) -> Connection:
    from inception import caching

    # As in inception/store/database.py, which brings `os` along.
    sys.modules["functools"] = caching
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]
    return _sqlite3.connect(f"file:{path}?mode=rw", timeout=_BUSY_TIMEOUT_S, isolation_level=None, uri=True)
