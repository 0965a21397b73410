"""The one SQLite file for what must agree with itself: images, layers, snapshots, leases, and the engine's own tables.

WAL mode: readers never wait, writers take turns (BEGIN IMMEDIATE, with a busy timeout), any number of processes and threads;
each thread has a connection of its own, none crosses a fork.

Durability. With `synchronous=NORMAL` a commit survives kill -9 at once, and a power cut may take the newest transactions
back, never half of one. So files follow two rules: a file or folder is synced *before* the row that names it is committed,
and a row is gone *for good* before its files are removed: such transactions are opened with `durable=True`, which syncs the
log after the commit, as `synchronous=FULL` would; also when they are part of an outer one. So are those whose end somebody is
told of: an image that was pulled, a volume that was made.

The private module `_sqlite3` is imported because the public one brings `datetime` along: 14 ms instead of 1.

Source: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import _local

from inception.errors import Conflict, InceptionError, Unavailable
from inception.store import reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection, Cursor
    from types import TracebackType
    from typing import Any

if not TYPE_CHECKING and "functools" not in sys.modules:
    # All that _sqlite3 wants of functools is lru_cache, for its statements. So for the length of the import something
    # smaller stands in for it, which takes a tenth off `inception exec`.
    from inception import caching

    sys.modules["functools"] = caching
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]
else:
    import _sqlite3

BUSY_TIMEOUT_S = 30.0
_LONG_LOG = 256 << 10
_COPY_INTERVAL_S = 60.0
#: Of a file that is damaged, gone or empty.
MEND = "`inception store verify --repair` puts it together again from what can be read"


class _Slot(_local):
    """What one thread holds of one database."""

    connection: Connection | None = None
    pid = 0
    depth = 0
    durable = False


def make_safe(path: str) -> None:
    """A database file that SQLite has just written: its owner's alone, and whole after a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    finally:
        os.close(fd)


class Database:
    """A file of tables; made with its folder (0700) when it is not there. Safe to use from any thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reserve = f"{os.path.dirname(path)}/reserve"
        self._slot = _Slot()
        self._named = 0
        self._versions: dict[str, int] | None = None

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        """Runs one statement. Raises Conflict for a broken UNIQUE or foreign key, Unavailable for everything that is
        wrong with the file or the disk."""
        connection = self._connection()
        inside = connection.in_transaction
        try:
            return connection.execute(sql, values)
        except _sqlite3.Error as error:
            if _is_full(error) and reserve.spend(self.reserve) and connection.in_transaction == inside:
                return self.execute(sql, values)
            raise self._explain(error) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            return self._connection().execute(sql, values).fetchall()
        except _sqlite3.Error as error:
            raise self._explain(error) from error

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def transaction(self, *, durable: bool = False) -> Transaction:
        """`with db.transaction() as tx:` commits at the end, rolls back on any exception.

        Takes the write lock at once. A transaction inside another of the same thread is part of the outer one, which is
        *durable* when any of them is.
        """
        return Transaction(self, durable)

    def migrate(self, module: str, steps: Sequence[str]) -> None:
        """Brings *module*'s tables up to date: *steps* are run once each, in order, and only ever appended to."""
        if self._versions is None or self._versions.get(module, 0) > len(steps):
            self._versions = dict(self.rows("SELECT module, version FROM schema_versions"))
        done = self._versions.get(module, 0)
        if done > len(steps):
            raise Unavailable(
                f"open {self.path}: written by a newer version ({module} {done}, this one knows {len(steps)})",
                "upgrade inception, or use another --root",
            )
        if done == len(steps):
            return
        with self.transaction(durable=True):
            row = self.row("SELECT version FROM schema_versions WHERE module = ?", (module,))
            for step in steps[row[0] if row else 0 :]:
                self.execute(step)
            self.execute("REPLACE INTO schema_versions (module, version) VALUES (?, ?)", (module, len(steps)))
        self._versions[module] = len(steps)

    def close(self) -> None:
        """Closes this thread's connection; the next use opens a new one."""
        slot = self._slot
        if slot.connection is not None and slot.pid == os.getpid():
            slot.connection.close()
        slot.connection = None

    def sync(self) -> None:
        """What was committed so far survives a power cut. Raises Unavailable."""
        try:
            fd = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # all of it is in the file itself, which a checkpoint syncs
        try:
            os.fdatasync(fd)
            inode = os.fstat(fd).st_ino
            if inode != self._named:  # a log that is new has a name that is new
                folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
                self._named = inode
        except OSError as error:
            raise Unavailable(f"sync {self.path}: {error.strerror}") from error
        finally:
            os.close(fd)

    def tidy(self) -> None:
        """Puts what the log holds into the file, when that is much and nobody is reading it: whoever opens the file when nobody
        else has it open reads all of the log first, some 4 µs a page."""
        try:
            if os.stat(f"{self.path}-wal").st_size < _LONG_LOG:
                return
            connection = self._connection()
            connection.execute("PRAGMA busy_timeout=0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}")
        except (OSError, _sqlite3.Error):
            pass  # it was worth a try; the log says the same

    def keep_copy(self) -> None:
        """A copy beside the file, for the day when that is damaged (rescue.py); of one that is younger than a minute none is
        made. Of some milliseconds, so for those who change what can't be guessed from the blobs: names."""
        path = f"{self.path}.copy"
        try:
            if self._slot.depth or time.time() - os.stat(path).st_mtime < _COPY_INTERVAL_S:
                return
        except FileNotFoundError:
            pass
        new = f"{path}.{os.getpid()}"
        try:
            self._connection().execute("VACUUM INTO ?", (new,))
            make_safe(new)
            os.rename(new, path)
        except (OSError, _sqlite3.Error):  # no room, or somebody else does the same: the next one tries again
            try:
                os.unlink(new)
            except OSError:
                pass

    def check(self) -> None:
        """Raises Unavailable when the file is damaged. Reads all of it."""
        found = self.rows("PRAGMA integrity_check(5)")
        if found != [("ok",)]:
            raise Unavailable(f"check {self.path}: {found[0][0]}")

    def _connection(self) -> Connection:
        slot = self._slot
        if slot.connection is not None:
            if slot.pid == os.getpid():
                return slot.connection
            _abandoned.append(slot.connection)  # a parent's: closing it here would meddle with the parent's locks
        slot.connection = self._open()
        slot.pid, slot.depth = os.getpid(), 0
        return slot.connection

    def _open(self) -> Connection:
        try:
            new = not os.path.exists(self.path)
            if new:
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            # The file holds environments and labels: never readable by others, also not for the moment before a chmod.
            before = os.umask(0o077) if new else None
            try:
                try:
                    connection = self._connect()
                except _sqlite3.Error:  # the log and its index need room too, and say so in many ways
                    if not reserve.spend(self.reserve):
                        raise
                    connection = self._connect()
            finally:
                if before is not None:
                    os.umask(before)
            reserve.keep(self.reserve)
            return connection
        except OSError as error:
            raise Unavailable(f"open {self.path}: {error.strerror}") from error
        except _sqlite3.Error as error:
            raise self._explain(error) from error

    def _connect(self) -> Connection:
        connection = _sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS schema_versions (module TEXT PRIMARY KEY, version INTEGER)")
        return connection

    def _explain(self, error: Exception) -> InceptionError:
        # The low byte is the primary result code; the higher ones say which part failed (sqlite.org/rescode.html).
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == _sqlite3.SQLITE_CONSTRAINT:
            return Conflict(f"{self.path}: {error}")
        if primary == _sqlite3.SQLITE_FULL:
            return Unavailable(
                f"write {self.path}: No space left on device", "free some disk space, or `inception system prune`"
            )
        if primary in (_sqlite3.SQLITE_BUSY, _sqlite3.SQLITE_LOCKED):
            return Unavailable(f"{self.path}: another process has held the write lock for {BUSY_TIMEOUT_S:.0f} s")
        if primary in (_sqlite3.SQLITE_CORRUPT, _sqlite3.SQLITE_NOTADB):
            return Unavailable(f"{self.path}: {error}", f"the file is damaged: {MEND}")
        if primary == _sqlite3.SQLITE_CANTOPEN or primary == _sqlite3.SQLITE_READONLY or primary == _sqlite3.SQLITE_IOERR:
            return Unavailable(f"{self.path}: {error}", "is the root folder writable, and the disk not full?")
        return Unavailable(f"{self.path}: {error}")


def _is_full(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == _sqlite3.SQLITE_FULL


_abandoned: list[Connection] = []


class Transaction:
    """The write lock of one thread; see `Database.transaction`."""

    def __init__(self, db: Database, durable: bool) -> None:
        self._db = db
        self._durable = durable

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        return self._db.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.rows(sql, values)

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return self._db.row(sql, values)

    def __enter__(self) -> Transaction:
        slot = self._db._slot
        self._db._connection()
        if slot.depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
            slot.durable = False
        slot.durable |= self._durable
        slot.depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        slot = self._db._slot
        slot.depth -= 1
        if slot.depth:
            return
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            # A failed COMMIT (disk full) leaves the transaction open; some errors have rolled it back already.
            if slot.connection is not None and slot.connection.in_transaction:
                slot.connection.execute("ROLLBACK")
        if kind is None and slot.durable:
            self._db.sync()
