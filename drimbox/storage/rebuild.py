"""The index made again from the files alone (promise P11). What is in no file is copied from the old index if it can.

The new index is made beside the old one and takes its name when it is whole: a kill on the way changes nothing. The
old one stays under a dated name.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from drimbox import clock
from drimbox.durable import Volume, rename_file
from drimbox.errors import DrimboxError, NotFound
from drimbox.storage.archive import Archive, Found, SetAside
from drimbox.storage.database import ReadOnly, Transaction
from drimbox.storage.upkeep import examine, files, folders

_INDEX: Final = "index.db"
_DRAFT: Final = "index.rebuild"
_READY: Final = "index.ready"
_SUFFIXES: Final = ("", "-wal", "-shm")  # a database and what SQLite keeps beside it
_COPIED: Final = ("set_aside", "rejected", "commitment")  # in no file
_BATCH: Final = 500
_AHEAD: Final = 64  # files read before their rows are written
_READERS: Final = max(2, min(8, os.cpu_count() or 2))  # digest and checksum run beside the interpreter


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done.

    rows: of the new index, by table. damaged: files whose bytes are not those that were received; they stay where they
    are, out of the index. lost: what could not be copied from the old index, in words. old: where that is now, None
    when there was none.
    """

    rows: dict[str, int]
    damaged: tuple[str, ...]
    lost: tuple[str, ...]
    old: Path | None


def rebuild_index(root: Path, told: Callable[[int, int], None]) -> Rebuilt:
    """Make the index again. Only for whoever has the folder's lock. told: files done, files in all.

    Raises NoSpace, Unavailable; what was there is then as it was.
    """
    damaged: list[str] = []
    lost: list[str] = []
    if (root / _INDEX).exists() or not (root / _READY).exists():  # else a kill came between the two names
        _remove_drafts(root)
        old = _Old(root / _INDEX)
        archive = Archive(root, draft=_DRAFT)
        try:
            old.copy_to(archive)
            damaged = _fill(archive, old, told)
        finally:
            archive.close()
            old.close()
        lost = old.lost
        rename_file(root / _DRAFT, root / _READY)
    aside = _take_its_name(root)
    new = ReadOnly(root / _INDEX)
    try:
        rows = {table: new.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("instance", *_COPIED)}  # noqa: S608
    finally:
        new.close()
    return Rebuilt(rows, tuple(damaged), tuple(lost), aside)


def _remove_drafts(root: Path) -> None:
    volume = Volume(root)
    try:
        for name in (_DRAFT, _READY):
            for suffix in _SUFFIXES:
                volume.remove(name + suffix)
    finally:
        volume.close()


def _take_its_name(root: Path) -> Path | None:
    """Date the old index, database first: while it has its name, a rebuild that is run again reads all of it."""
    dated = f"index-{clock.now():%Y%m%dT%H%M%SZ}.db"
    found = [suffix for suffix in _SUFFIXES if (root / (_INDEX + suffix)).exists()]
    for suffix in found:
        rename_file(root / (_INDEX + suffix), root / (dated + suffix))
    rename_file(root / _READY, root / _INDEX)
    return root / dated if found else None


# --- From the files ---------------------------------------------------------------------------------------------------


def _fill(archive: Archive, old: "_Old", told: Callable[[int, int], None]) -> list[str]:
    """Rows for every whole file, by series as they arrived; the damaged ones."""
    total, order = _by_age(archive.root)
    damaged: list[str] = []
    done = 0
    examined = _examined(archive.root, (file for folder in order for file in _by_time(archive.root, folder)), damaged)
    while batch := [(found, old.digest(found.summary.ref.sop_uid)) for found in islice(examined, _BATCH)]:
        moved = archive.database.submit(partial(_adopt, archive, batch)).result()
        archive.database.submit(partial(_remove, archive, moved)).result()
        done += len(batch)
        told(done + len(damaged), total)
    return damaged


def _adopt(
    archive: Archive, batch: list[tuple[Found, bytes | None]], transaction: Transaction
) -> list[tuple[str, str]]:
    """One transaction of rows. Returns the files that have a second name now, aside, with their instance."""
    moved = []
    for found, known in batch:
        aside = found.file.startswith("aside/") or known not in (None, found.digest)
        outcome = archive.adopt(transaction, found, changed=known is None, aside=aside)
        if isinstance(outcome, SetAside):
            moved.append((found.file, found.summary.ref.sop_uid))
    return moved


def _remove(archive: Archive, moved: list[tuple[str, str]], transaction: Transaction) -> None:
    for file, sop_uid in moved:
        archive.remove_orphan(transaction, file, sop_uid)


def _by_age(root: Path) -> tuple[int, list[str]]:
    """How many files there are, and their folders: the one that has the oldest file first, `aside` last.

    The first instance of a study tells its attributes: in any other order, queries would be answered differently.
    """
    aged: list[tuple[float, str]] = []
    total = 0
    for folder in folders(root):
        times = [(root / file).stat().st_mtime for file in files(root, folder)]
        total += len(times)
        if times:
            aged.append((float("inf") if folder == "aside" else min(times), folder))
    return total, [folder for _, folder in sorted(aged)]


def _by_time(root: Path, folder: str) -> list[str]:
    return sorted(files(root, folder), key=lambda file: (root / file).stat().st_mtime_ns)


def _examined(root: Path, names: Iterator[str], damaged: list[str]) -> Iterator[Found]:
    """The whole ones among the files, in their order, read by several threads some files ahead."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="rebuild") as readers:
        ahead = deque((name, readers.submit(examine, root, name)) for name in islice(names, _AHEAD))
        while ahead:
            name, future = ahead.popleft()
            ahead.extend((more, readers.submit(examine, root, more)) for more in islice(names, 1))
            try:
                yield future.result()
            except DrimboxError:
                damaged.append(name)


# --- From the old index -----------------------------------------------------------------------------------------------


class _Old:
    """The index to be replaced, as far as it can be read. lost: what could not, in words."""

    def __init__(self, path: Path) -> None:
        self.lost: list[str] = []
        self._index: ReadOnly | None = None
        try:
            self._index = ReadOnly(path)
        except NotFound:
            self.lost.append("there was no index: which version of an instance that came twice was the first")
        except DrimboxError:
            self.lost.append("the old index cannot be read: which version of an instance that came twice was the first")

    def digest(self, sop_uid: str) -> bytes | None:
        """Of the version it calls the first; None when it does not know the instance, or cannot say."""
        try:
            rows = self._index.rows("SELECT digest FROM instance WHERE sop_uid = ?", (sop_uid,)) if self._index else []
        except DrimboxError:
            return None
        return rows[0][0] if rows else None

    def copy_to(self, archive: Archive) -> None:
        """Copy the tables that are in no file, in one transaction."""
        if self._index is not None:
            archive.database.submit(self._copy).result()

    def _copy(self, transaction: Transaction) -> None:
        for table in _COPIED:
            for row in self._rows(table):
                sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608
                transaction.execute(sql, tuple(row.values()))

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Its rows by id; when one cannot be read, the others from the other end."""
        if self._index is None:
            return
        last = 0
        try:
            names = [str(row[1]) for row in self._index.rows(f"PRAGMA table_info({table})")]
            if not names:  # an index older than the table
                return
            select = f"SELECT {', '.join(names)} FROM {table} NOT INDEXED"  # noqa: S608
            for row in self._index.each(f"{select} ORDER BY id"):
                yield dict(zip(names, row, strict=True))
                last = row[0]
        except DrimboxError:
            self.lost.append(f"a part of the table {table}, after its row {last}")
            with contextlib.suppress(DrimboxError):
                for row in self._index.each(f"{select} WHERE id > ? ORDER BY id DESC", (last,)):
                    yield dict(zip(names, row, strict=True))

    def close(self) -> None:
        """Close it."""
        if self._index is not None:
            self._index.close()
