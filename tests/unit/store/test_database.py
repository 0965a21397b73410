"""The database: transactions, threads, processes, and files that are not well."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from inception.errors import Conflict, Unavailable
from inception.store.database import Database

STEPS = ["CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)"]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    database = Database(str(tmp_path / "root" / "state.db"))
    database.migrate("t", STEPS)
    return database


def values(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT b FROM t ORDER BY a")]


def test_an_exception_takes_a_transaction_back(db: Database) -> None:
    with pytest.raises(RuntimeError), db.transaction() as tx:
        tx.execute("INSERT INTO t (b) VALUES ('x')")
        raise RuntimeError
    assert values(db) == []


def test_a_durable_transaction_syncs_the_log_after_the_commit_also_inside_of_another(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    reader = Database(db.path)
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append([os.readlink(f"/proc/self/fd/{fd}"), *values(reader)]))
    with db.transaction():
        with db.transaction(durable=True) as tx:
            tx.execute("INSERT INTO t (b) VALUES ('x')")
        assert synced == []
    assert synced == [[f"{db.path}-wal", "x"]]
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (b) VALUES ('y')")
    with pytest.raises(RuntimeError), db.transaction(durable=True) as tx:
        raise RuntimeError
    assert len(synced) == 1


def test_an_inner_transaction_is_part_of_the_outer_one(db: Database) -> None:
    with pytest.raises(RuntimeError), db.transaction():
        with db.transaction() as tx:
            tx.execute("INSERT INTO t (b) VALUES ('x')")
        raise RuntimeError
    assert values(db) == []


def test_a_second_value_where_one_may_be_is_a_conflict(db: Database) -> None:
    db.execute("INSERT INTO t (b) VALUES ('x')")
    with pytest.raises(Conflict):
        db.execute("INSERT INTO t (b) VALUES ('x')")


def test_threads_write_at_once(db: Database) -> None:
    def add(number: int) -> None:
        for turn in range(20):
            with db.transaction() as tx:
                count = tx.rows("SELECT count(*) FROM t")[0][0]
                tx.execute("INSERT INTO t (a, b) VALUES (?, ?)", (count, f"{number}.{turn}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values(db)) == 80


def test_a_child_process_gets_a_connection_of_its_own(db: Database) -> None:
    db.execute("INSERT INTO t (b) VALUES ('parent')")
    pid = os.fork()
    if pid == 0:
        try:
            db.execute("INSERT INTO t (b) VALUES ('child')")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert values(db) == ["parent", "child"]


def test_steps_run_once_and_in_order(db: Database) -> None:
    more = [*STEPS, "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'new'"]
    again = Database(db.path)
    again.migrate("t", more)
    again.migrate("t", more)
    db.execute("INSERT INTO t (b) VALUES ('x')")
    assert db.rows("SELECT c FROM t") == [("new",)]


def test_a_file_of_a_newer_version_is_left_alone(db: Database) -> None:
    with pytest.raises(Unavailable, match="newer version"):
        Database(db.path).migrate("t", [])


def test_a_file_that_is_no_database_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(Unavailable, match="not a database") as caught:
        Database(str(path)).migrate("t", STEPS)
    assert caught.value.hint


def test_a_damaged_file_is_an_error_of_ours(db: Database) -> None:
    with db.transaction() as tx:
        for number in range(2000):
            tx.execute("INSERT INTO t (b) VALUES (?)", (f"{number}" * 20,))
    db.close()
    with open(db.path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.stat(db.path).st_size - 8192))
    with pytest.raises(Unavailable):
        Database(db.path).check()


def test_nobody_else_can_read_the_file(db: Database) -> None:
    assert stat.S_IMODE(os.stat(db.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(db.path)).st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        Database(str(tmp_path / "file" / "state.db")).migrate("t", STEPS)
