"""What the database's files say of it without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception.store.database import Database
from inception.store.dbstate import last_commit


@pytest.fixture
def db(tmp_path: Path) -> Database:
    database = Database(str(tmp_path / "state.db"))
    database.execute("CREATE TABLE t (a TEXT)")
    return database


def test_every_commit_is_another_state(db: Database):
    seen = {last_commit(db.path)}
    for number in range(5):
        db.execute("INSERT INTO t VALUES (?)", (str(number),))
        seen.add(last_commit(db.path))
    assert len(seen) == 6 and "" not in seen


def test_reading_and_what_is_rolled_back_change_nothing(db: Database):
    before = last_commit(db.path)
    db.rows("SELECT * FROM t")
    with pytest.raises(KeyError), db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES ('x')")
        raise KeyError
    assert last_commit(db.path) == before


def test_an_emptied_log_and_a_closed_database_say_nothing(db: Database):
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert last_commit(db.path) == ""
    db.execute("INSERT INTO t VALUES ('x')")
    assert last_commit(db.path) != ""
    db.close()
    assert last_commit(db.path) == ""


def test_a_log_that_began_again_is_another_state(db: Database):
    states = set()
    for _ in range(4):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.execute("DELETE FROM t")
        db.execute("INSERT INTO t VALUES ('x')")
        states.add(last_commit(db.path))
    assert len(states) == 4


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"\x18\xe2\x2d\0" + b"\xff" * 44])
def test_an_index_that_is_no_index_says_nothing(data: bytes, tmp_path: Path):
    (tmp_path / "state.db-shm").write_bytes(data)
    assert last_commit(str(tmp_path / "state.db")) == ""
