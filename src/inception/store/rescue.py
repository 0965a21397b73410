"""A damaged `state.db` put together again.

    read       all rows that can still be read, from both ends of each table, the log included
    copy       what can't be read comes from `state.db.copy`, which is some minutes old (Database.keep_copy)
    swap       the new file is whole and synced before it gets the name; the damaged one stays beside it
    adopt      images whose blobs are here and which no row knows come back without a name

Nothing of the damaged file is written to, and nothing beside it is removed: layers and snapshots without a record are put aside
into `rescued-TIME/`, where a person may look for what a container had written. What the rows say is checked by verify.py
afterwards, as ever.
"""

from __future__ import annotations

import _sqlite3
import os
import shutil
import time

from inception.errors import Conflict, InceptionError, NotFound
from inception.oci.digest import sha256
from inception.record import Record
from inception.store.content import sync_folder
from inception.store.database import make_safe
from inception.store.documents import decode_manifest, parse_document
from inception.store.layers import COPIED, EMPTY
from inception.store.verify import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from sqlite3 import Connection
    from typing import Any

    from inception.oci.image import Descriptor, Manifest
    from inception.store import Store
    from inception.store.images import Image
    from inception.store.scratch import Scratch

_MAX_DOCUMENT = 4 << 20
#: What means nothing without the tables of modules above: they begin anew.
_OF_OTHERS = ("listing", "schema_versions", "layer_holds")


class Rescued(Record):
    """What came of it: `kept` is where the damaged file lies now, `aside` where folders without a record were put."""

    rows: int = 0
    copied: int = 0
    kept: str = ""
    aside: str = ""


def damage(path: str) -> str:
    """What is wrong with the database *path*; empty when it is whole. Reads all of it."""
    if not os.path.exists(path):
        return "it is gone"
    if not os.path.getsize(path) and not _size(f"{path}-wal"):
        return "it is empty"
    try:
        connection = _sqlite3.connect(f"file:{_quoted(path)}?mode=rw", timeout=30, isolation_level=None, uri=True)
        try:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found == "ok":
                connection.execute("SELECT module, version FROM schema_versions").fetchall()
        finally:
            connection.close()
    except _sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else str(found).partition("\n")[2] or str(found)


def rescue(path: str, make: Callable[[str], None]) -> Rescued:
    """Replaces the database *path* by one of what can be read of it and of its copy. *make* makes an empty one with all tables
    of this version. Raises Conflict while others use it."""
    if os.path.exists(path) and (pid := _user(path)):
        raise Conflict(f"repair {path}: process {pid} has it open", "stop what runs there first, `inception serve` for one")
    root, stamp = os.path.dirname(path), time.strftime("%Y%m%d-%H%M%S")
    work = f"{root}/tmp/rescue-{stamp}-{os.getpid()}"
    os.makedirs(work, mode=0o700)
    try:
        for end in ("", "-wal"):
            if os.path.isfile(path + end):
                shutil.copyfile(path + end, f"{work}/old{end}")
        copy = f"{path}.copy"
        done = Rescued(kept=f"{path}.damaged-{stamp}", aside=f"{root}/rescued-{stamp}")
        make(f"{work}/new")
        _give_head(f"{work}/old", f"{work}/new")
        sources = [_reading(f"{work}/old"), _reading(copy) if os.path.exists(copy) and not damage(copy) else None]
        _fill(f"{work}/new", sources, _highest_layer(root), done)
        _swap(path, f"{work}/new", done.kept)
        return done
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _swap(path: str, new: str, kept: str) -> None:
    make_safe(new)
    if os.path.isfile(path):
        os.link(path, kept)
    elif os.path.exists(path):
        os.rename(path, kept)
    # The log goes first: it is the old file's, and would be played into the new one.
    for end in ("-wal", "-shm"):
        if os.path.exists(path + end):
            os.rename(path + end, kept + end)
    os.rename(new, path)
    sync_folder(os.path.dirname(path))


def _give_head(old: str, new: str) -> None:
    """The first hundred bytes, which are alike in all our databases, where they are gone."""
    if not os.path.exists(old):
        return
    with open(old, "r+b") as damaged, open(new, "rb") as whole:
        head, pages = whole.read(100), os.path.getsize(old) // 4096
        if damaged.read(16) != head[:16]:
            damaged.seek(0)
            damaged.write(head[:28] + pages.to_bytes(4, "big") + bytes(8) + head[40:])


def _reading(path: str) -> Connection | None:
    if not os.path.exists(path):
        return None
    connection = _sqlite3.connect(path, isolation_level=None)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    try:
        connection.execute("PRAGMA writable_schema = ON")  # a file that is shorter than it says is read as far as it goes
        connection.execute("SELECT name FROM sqlite_schema").fetchall()
    except _sqlite3.Error:
        return None
    return connection


def _fill(path: str, sources: list[Connection | None], highest_layer: int, done: Rescued) -> None:
    """Puts what the *sources* have into the tables of a new database."""
    new = _sqlite3.connect(path, isolation_level=None)
    try:
        new.execute("BEGIN")
        left_out = ("listing",) if any(_add_tables(new, source) for source in sources if source) else _OF_OTHERS
        for table in _tables(new):
            if table not in left_out:
                _fill_table(new, table, sources, done)
        _count_on(new, highest_layer)
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        new.close()


def _tables(connection: Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [row[0] for row in connection.execute(query)]


def _add_tables(new: Connection, source: Connection) -> bool:
    """Tables that only a module above knows: the builder's."""
    new.execute("SAVEPOINT tables")
    try:
        known = set(_tables(new))
        for name, sql in source.execute(
            "SELECT tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'index'"
        ):
            if name not in known and not name.startswith("sqlite_"):
                new.execute(sql)
        new.execute("RELEASE tables")
        return True
    except _sqlite3.Error:
        new.execute("ROLLBACK TO tables")
        return False


def _fill_table(new: Connection, table: str, sources: list[Connection | None], done: Rescued) -> None:
    own = {row[1] for row in new.execute(f'PRAGMA table_info("{table}")')}
    for number, source in enumerate(sources):
        if source is None:
            continue
        try:
            columns = [(row[1], row[5]) for row in source.execute(f'PRAGMA table_info("{table}")') if row[1] in own]
        except _sqlite3.Error:
            continue
        rows, whole = _rows(source, table, columns) if columns else ([], False)
        names, slots = ", ".join(f'"{name}"' for name, _ in columns), ", ".join("?" * len(columns))
        for row in rows:
            try:
                added = new.execute(f'INSERT OR IGNORE INTO "{table}" ({names}) VALUES ({slots})', row).rowcount
            except _sqlite3.Error:
                continue  # of another type than its column's
            done.rows += added
            done.copied += added if number else 0
        if whole:
            return


def _rows(source: Connection, table: str, columns: list[tuple[str, int]]) -> tuple[list[tuple[Any, ...]], bool]:
    """What can be read of a table from its beginning, and where that fails from its end; and whether it is all."""
    names = ", ".join(f'"{name}"' for name, _ in columns)
    key = [f'"{name}"' for name, position in sorted(columns, key=lambda column: column[1]) if position]
    found: list[tuple[Any, ...]] = []
    for order in (" ASC", " DESC"):
        for by in (", ".join(name + order for name in key), f"rowid{order}"):
            # A table with rows of its own is walked by their numbers, another by its key: never by way of an index.
            try:
                cursor = source.execute(f'SELECT {names} FROM "{table}" NOT INDEXED ORDER BY {by}')
                while (row := cursor.fetchone()) is not None:
                    found.append(row)
                return found, True
            except _sqlite3.Error:
                continue
    return found, False


def _count_on(new: Connection, highest_layer: int) -> None:
    """No number of a layer is given again while a folder has it."""
    last = new.execute("SELECT max(id) FROM layers").fetchone()[0] or 0
    new.execute("DELETE FROM sqlite_sequence WHERE name = 'layers'")
    new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('layers', ?)", (max(last, highest_layer),))


def _highest_layer(root: str) -> int:
    return max((int(name) for name in _names(f"{root}/layers") if name.isdecimal()), default=0)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _user(path: str) -> int:
    """Another process that has the file open, or 0."""
    wanted = os.stat(path)
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                found = os.stat(f"/proc/{pid}/fd/{fd}")
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return int(pid)
        except OSError:
            continue
    return 0


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


# Images that no row knows


def adopt(store: Store, aside: str) -> list[Problem]:
    """Brings back images of which everything is here but a row, and puts folders without a row into *aside*."""
    known = {row[0] for row in store.db.rows("SELECT id FROM images UNION SELECT manifest_digest FROM images")}
    unknown = {digest: data for digest, data in _documents(store).items() if digest not in known}
    problems = []
    with store.lease(), store.scratch() as scratch:
        wanted = _wanted_layers(unknown)
        rows = {str(row[0]) for row in store.db.rows("SELECT id FROM layers")} | {EMPTY, COPIED}
        for name in _names(f"{store.root}/layers"):
            if name in rows:
                continue
            staged = store.layers.stage_folder(store.layers.path(name))
            if staged.diff_id in wanted and store.layers.find([staged.diff_id]) == [None]:
                (number,) = store.layers.register([staged])
                problems.append(
                    Problem(where=f"layers/{name}", what="a folder without a record", mended=f"it is layer {number}")
                )
        # What was made here stands on layers that another image has the blobs of, which may come later in the list.
        before = -1
        while before != len(problems):
            before = len(problems)
            for digest, data in unknown.items():
                manifest = _manifest(data)
                if manifest is None or manifest.config.digest in known:
                    continue
                try:
                    image = _image(store, scratch, manifest, data)
                except InceptionError:
                    continue  # a part of it is missing: it was on its way, or being removed
                known.add(image.id)
                told = f"it is image {image.id[7:19]} again, without a name"
                problems.append(Problem(where=f"manifest {digest[:19]}", what="no record of it", mended=told))
    return problems + _put_aside(store, aside)


def _image(store: Store, scratch: Scratch, manifest: Manifest, data: bytes) -> Image:
    from inception.store.assemble import assemble

    document = store.content.read(manifest.config.digest)
    found = store.layers.find(parse_document(document).rootfs.diff_ids)
    numbers = [number for number in found if number is not None]
    if len(numbers) == len(found) == len(manifest.layers):
        return store.images.put(document, numbers, manifest=data)
    return assemble(store, scratch, data, _not_here)


def _put_aside(store: Store, aside: str) -> list[Problem]:
    problems = []
    for folder, kept in (("layers", {EMPTY, COPIED}), ("snapshots", set())):
        rows = {str(row[0]) for row in store.db.rows(f"SELECT id FROM {folder}")} | kept
        for name in _names(f"{store.root}/{folder}"):
            if name in rows:
                continue
            os.makedirs(f"{aside}/{folder}", mode=0o700, exist_ok=True)
            os.rename(f"{store.root}/{folder}/{name}", f"{aside}/{folder}/{name}")
            told = f"put into {aside}/{folder}"
            problems.append(Problem(where=f"{folder}/{name}", what="a folder without a record", mended=told))
    return problems


def _documents(store: Store) -> dict[str, bytes]:
    """All blobs that may be documents and are what their names say."""
    found = {}
    for digest in store.content.list():
        if store.content.size(digest) > _MAX_DOCUMENT:
            continue
        with store.content.open(digest) as blob:
            if blob.read(1) != b"{":
                continue
        data = store.content.read(digest)
        if sha256(data) == digest:
            found[digest] = data
    return found


def _manifest(data: bytes) -> Manifest | None:
    try:
        manifest = decode_manifest(data)
    except InceptionError:
        return None
    return manifest if manifest.config.digest and manifest.layers else None


def _wanted_layers(documents: dict[str, bytes]) -> set[str]:
    found: set[str] = set()
    for data in documents.values():
        try:
            found.update(parse_document(data).rootfs.diff_ids)
        except InceptionError:
            continue  # another document
    return found


def _not_here(descriptor: Descriptor) -> None:
    raise NotFound(f"blob {descriptor.digest}: not here")
