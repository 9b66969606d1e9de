"""The index made again from the packs alone (promise P11). What is in no pack is copied from the old index if it can.

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
from heapq import heappop, heappush, heapreplace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from drimbox import clock
from drimbox.durable import Volume, rename_file
from drimbox.errors import DrimboxError, NotFound
from drimbox.storage.archive import Archive
from drimbox.storage.database import ReadOnly, Transaction
from drimbox.storage.index import Entry
from drimbox.storage.packs import pack_names, walk
from drimbox.storage.records import HEADER_BYTES, Record, State
from drimbox.storage.whole import examine, opened

_INDEX: Final = "index.db"
_DRAFT: Final = "index.rebuild"
_READY: Final = "index.ready"
_SUFFIXES: Final = ("", "-wal", "-shm")  # a database and what SQLite keeps beside it
_COPIED: Final = ("removal", "rejected", "commitment")  # in no pack
_BATCH: Final = 500
_AHEAD: Final = 64  # records read before their rows are written
_READERS: Final = max(2, min(8, os.cpu_count() or 2))  # digest and checksum run beside the interpreter


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done.

    rows: of the new index, by table. damaged: records, as PACK@OFFSET, whose bytes are not those that were received;
    they stay where they are, out of the index. lost: what could not be copied from the old index, in words. old: where
    that is now, None when there was none.
    """

    rows: dict[str, int]
    damaged: tuple[str, ...]
    lost: tuple[str, ...]
    old: Path | None


def rebuild_index(root: Path, told: Callable[[int, int], None]) -> Rebuilt:
    """Make the index again. Only for whoever has the folder's lock. told: MiB done, MiB in all.

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
        rows = {table: new.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("instance", "set_aside", *_COPIED)}  # noqa: S608
    finally:
        new.close()
    return Rebuilt(rows, tuple(damaged), tuple(lost), aside)


def _remove_drafts(root: Path) -> None:
    volume = Volume(root)
    for name in (_DRAFT, _READY):
        for suffix in _SUFFIXES:
            volume.remove(name + suffix)


def _take_its_name(root: Path) -> Path | None:
    """Date the old index, database first: while it has its name, a rebuild that is run again reads all of it."""
    dated = f"index-{clock.now():%Y%m%dT%H%M%SZ}.db"
    found = [suffix for suffix in _SUFFIXES if (root / (_INDEX + suffix)).exists()]
    for suffix in found:
        rename_file(root / (_INDEX + suffix), root / (dated + suffix))
    rename_file(root / _READY, root / _INDEX)
    return root / dated if found else None


# --- From the packs ---------------------------------------------------------------------------------------------------


def _fill(archive: Archive, old: "_Old", told: Callable[[int, int], None]) -> list[str]:
    """Rows for every whole record, in the order in which they were kept; the damaged ones."""
    names = pack_names(archive.root)
    total = sum((archive.root / name).stat().st_size for name in names) >> 20
    read = 0
    damaged: list[str] = []
    examined = _examined(archive, _by_age(archive.root, names), damaged)
    while batch := list(islice(examined, _BATCH)):
        quiet = set()
        for entry in batch:
            known = old.digest(entry.summary.ref.sop_uid)
            entry.aside = known not in (None, entry.digest)
            read += entry.size_bytes
            if known is not None:
                quiet.add(entry.summary.ref.sop_uid)
        archive.database.submit(partial(archive.record, entries=batch, quiet=quiet)).result()
        told(read >> 20, total)
    return damaged


_Place = tuple[float, str, int, Record]  # kept at, pack, offset of the header


def _by_age(root: Path, names: list[str]) -> Iterator[_Place]:
    """Every kept record, as they arrived: of two versions the first is the one that is served.

    A pack is named by the moment it began, and is opened only then: a few are read side by side.
    """
    waiting = deque(names)
    reading: list[tuple[_Place, Iterator[_Place]]] = []
    while waiting or reading:
        while waiting and (not reading or _began(waiting[0]) <= reading[0][0][0]):
            records = _records(root, waiting.popleft())
            if (first := next(records, None)) is not None:
                heappush(reading, (first, records))
        if reading:
            place, records = reading[0]
            yield place
            if (following := next(records, None)) is not None:
                heapreplace(reading, (following, records))
            else:
                heappop(reading)


def _began(name: str) -> float:
    try:
        return float(name.rpartition("/")[2].partition("-")[0])
    except ValueError:  # a name that is not ours: its records say when
        return 0.0


def _records(root: Path, name: str) -> Iterator[_Place]:
    with opened(root, name) as pack:
        for offset, record in walk(pack.file, 0, pack.size):
            if record.state is State.KEPT:
                yield record.kept_at, name, offset, record


def _examined(archive: Archive, places: Iterator[_Place], damaged: list[str]) -> Iterator[Entry]:
    """The whole ones among the records, in their order, read by several threads some records ahead."""
    removed = set(archive.database.read_here("SELECT file, offset FROM removal"))

    def look(place: _Place) -> Entry:
        _, name, offset, record = place
        with opened(archive.root, name) as pack:
            return examine(pack, name, offset, record)

    left = (place for place in places if (place[1], place[2] + HEADER_BYTES) not in removed)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="rebuild") as readers:
        ahead = deque((place, readers.submit(look, place)) for place in islice(left, _AHEAD))
        while ahead:
            (_, name, offset, _), future = ahead.popleft()
            ahead.extend((more, readers.submit(look, more)) for more in islice(left, 1))
            try:
                yield future.result()
            except DrimboxError:
                damaged.append(f"{name}@{offset + HEADER_BYTES}")


# --- From the old index -----------------------------------------------------------------------------------------------


class _Old:
    """The index to be replaced, as far as it can be read. lost: what could not, in words."""

    def __init__(self, path: Path) -> None:
        self.lost: list[str] = []
        self._index: ReadOnly | None = None
        try:
            self._index = ReadOnly(path)
        except NotFound:
            self.lost.append("there was no index: commitments under way, and which expired images were shown again")
        except DrimboxError:
            self.lost.append(
                "the old index cannot be read: commitments under way, and which expired images were shown again"
            )

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
