"""The file of the outbox: opened beside the index, rescued when damaged.

It is the one file of an archive that nothing else can replace: it belongs in every backup (docs/operations.md).
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from drimbox import clock
from drimbox.durable import Volume, rename_file
from drimbox.errors import Corrupt, DrimboxError, NotFound
from drimbox.storage.database import Database, ReadOnly, Transaction

_FILE: Final = "outbox.db"
_DRAFT: Final = "outbox.rescue"
_SCHEMA: Final = "outbox_schema"
_SUFFIXES: Final = ("", "-wal", "-shm")
_TABLES: Final = ("report", "report_key", "notice", "cancelled_study", "merged_patient", "job")
_LOST: Final = "restore it from a backup, or run drimbox rebuild-index to begin a new one"


def open_outbox(root: Path) -> Database:
    """Open the outbox of the archive in `root`, before its index. Raises Corrupt when it is lost or damaged.

    Where there is an index there was an outbox. Raises NoSpace, Unavailable too.
    """
    try:
        return Database(root / _FILE, may_be_new=not (root / "index.db").exists(), schema=_SCHEMA)
    except Corrupt as error:
        raise Corrupt("outbox", f"{root / _FILE} is lost or damaged: {_LOST}") from error


def rescue_outbox(root: Path) -> list[str] | None:
    """Make the outbox usable again if it is not; what could not be copied, in words; None when it was sound.

    Only for whoever has the folder's lock. The damaged file stays under a dated name.
    """
    lost: list[str] = []
    source: ReadOnly | None = None
    try:
        source = ReadOnly(root / _FILE)
        if source.rows("PRAGMA quick_check(1)") == [("ok",)]:
            source.close()
            return None
    except NotFound:
        lost.append("there was no outbox.db: reports, what the DMP is owed, and what it holds")
    except DrimboxError:
        if source is None:
            lost.append("outbox.db cannot be read: reports, what the DMP is owed, and what it holds")
    _replace(root, source, lost)
    return lost


def _replace(root: Path, source: ReadOnly | None, lost: list[str]) -> None:
    volume = Volume(root)
    for suffix in _SUFFIXES:
        volume.remove(_DRAFT + suffix)
    draft = Database(root / _DRAFT, schema=_SCHEMA)
    try:
        if source is not None:
            for table in _TABLES:
                draft.submit(partial(_copy, source=source, table=table, lost=lost)).result()
    finally:
        draft.close()
        if source is not None:
            source.close()
    dated = f"outbox-{clock.now():%Y%m%dT%H%M%SZ}.db"
    for suffix in _SUFFIXES:
        if (root / (_FILE + suffix)).exists():
            rename_file(root / (_FILE + suffix), root / (dated + suffix))
    rename_file(root / _DRAFT, root / _FILE)


def _copy(transaction: Transaction, *, source: ReadOnly, table: str, lost: list[str]) -> None:
    for row in _rows(source, table, lost):
        report_id = row.get("report_id")
        if report_id is not None and not transaction.row("SELECT 1 FROM report WHERE id = ?", (report_id,)):
            if table == "job":
                lost.append(f"job {row['id']}, whose report cannot be read")
            continue
        _insert(transaction, table, row)


def _rows(source: ReadOnly, table: str, lost: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a table by their first column; when one cannot be read, the others from the other end."""
    last: Any = None
    try:
        names = [str(row[1]) for row in source.rows(f"PRAGMA table_info({table})")]
        select = f"SELECT {', '.join(names)} FROM {table} NOT INDEXED"  # noqa: S608
        for row in source.each(f"{select} ORDER BY {names[0]}"):
            yield dict(zip(names, row, strict=True))
            last = row[0]
    except DrimboxError:
        lost.append(f"a part of the table {table} of outbox.db, after its row {last}")
        with contextlib.suppress(DrimboxError):
            where, values = ("", ()) if last is None else (f"WHERE {names[0]} > ?", (last,))
            for row in source.each(f"{select} {where} ORDER BY {names[0]} DESC", values):
                yield dict(zip(names, row, strict=True))


def _insert(transaction: Transaction, table: str, row: dict[str, Any]) -> None:
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    transaction.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
