"""The group commit: what a failing work undoes, and what it does not."""

import asyncio
import json
from importlib.resources import files

import apsw
import pytest

from drimbox.errors import Corrupt, TooLarge, Unavailable
from drimbox.storage.database import Database


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "index.db")
    yield database
    database.close()


def add(name):
    return lambda transaction: transaction.execute("INSERT INTO document VALUES (?, x'00', 0)", (name,))


async def names(database):
    return [row[0] for row in await database.read("SELECT document_id FROM document ORDER BY 1")]


async def test_a_work_that_raises_undoes_its_own_rows_only(database):
    def failing(transaction):
        add("half")(transaction)
        raise ValueError("no")

    results = await asyncio.gather(
        database.write(add("a")), database.write(failing), database.write(add("b")), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert await names(database) == ["a", "b"]


async def test_a_commit_is_synced_unless_all_of_it_can_be_restored(database):
    """synchronous: 1 NORMAL, 2 FULL."""

    def level(transaction):
        return transaction.row("PRAGMA synchronous")[0]

    assert await database.write(level) == 2
    assert database.submit(level, durable=False).result() == 1
    assert await database.write(level) == 2


async def test_the_schema_is_made_once_and_rows_stay(tmp_path):
    first = Database(tmp_path / "index.db")
    await first.write(add("a"))
    first.close()
    second = Database(tmp_path / "index.db")
    assert await names(second) == ["a"]
    second.close()


def test_studies_of_an_older_schema_get_their_birth_dates(tmp_path):
    """As match.py compares them: both forms of DA, and nothing for what is none."""
    held = {
        "1": {"vr": "DA", "Value": ["19500101"]},
        "2": {"vr": "DA", "Value": ["1950.01.02"]},
        "3": {"vr": "DA", "Value": ["unknown"]},
        "4": {"vr": "DA"},
        "5": {"vr": "DA", "Value": [None, "19500103"]},
        "6": None,
    }
    older = apsw.Connection(str(tmp_path / "index.db"))
    for number, script in enumerate(sorted((files("drimbox.storage") / "migrations").iterdir(), key=str), start=1):
        if script.name < "0008":
            older.execute(script.read_text("utf-8"))
            older.execute(f"PRAGMA user_version={number}")
    for uid, birth_date in held.items():
        attributes = {"0020000D": {"vr": "UI", "Value": [uid]}} | ({"00100030": birth_date} if birth_date else {})
        older.execute(
            "INSERT INTO study (study_uid, attributes, changed_at) VALUES (?, ?, 0)",
            (uid, json.dumps(attributes).encode()),
        )
    older.close()
    database = Database(tmp_path / "index.db")
    dates = dict(database.read_here("SELECT study_uid, birth_date FROM study"))
    assert dates == {"1": "19500101", "2": "19500102", "3": "", "4": "", "5": "", "6": ""}
    database.close()


def test_a_file_that_is_no_database_is_refused_plainly(tmp_path):
    (tmp_path / "index.db").write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(Corrupt, match="rebuild"):
        Database(tmp_path / "index.db")


async def test_a_newer_schema_is_refused(tmp_path):
    database = Database(tmp_path / "index.db")
    database._writer.execute("PRAGMA user_version=999")
    database.close()
    with pytest.raises(Unavailable, match="newer"):
        Database(tmp_path / "index.db")


def test_a_commit_is_durable_and_other_connections_see_it(database):
    assert database.read_here("PRAGMA journal_mode") == [("wal",)]
    assert database._writer.execute("PRAGMA synchronous").fetchall() == [(2,)]  # FULL


COUNTING = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n"


def test_reading_stops_where_it_has_taken_its_steps(database):
    with database.at_most(20_000), pytest.raises(TooLarge, match="too much to look through"):
        database.read_here(COUNTING)
    with database.at_most(100_000_000):
        assert database.read_here(COUNTING) == [(100_000,)]
    with pytest.raises(TooLarge), database.at_most(0):  # several statements share what there is
        database.read_here(COUNTING)
    assert database.read_here(COUNTING) == [(100_000,)]  # without a limit
