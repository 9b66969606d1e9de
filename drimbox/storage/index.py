"""The index: study, series and instance rows with their spans. Everything here is also in the files.

Matching columns hold values as `dicom.match` compares them; `queries.py` reads them.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from drimbox.dicom.attributes import integer, text
from drimbox.dicom.match import canonical
from drimbox.dicom.names import spellings
from drimbox.dicom.part10 import Readable
from drimbox.dicom.scan import Summary
from drimbox.kos.rejection import Rejection
from drimbox.model import InstanceRef, Span
from drimbox.storage.database import Read, Transaction
from drimbox.storage.rejections import forget as forget_rejections
from drimbox.storage.rejections import read_note, shown_instance

_SPAN: Final = struct.Struct("<IQQI")
_REMOVAL: Final = "INSERT INTO removal (file, offset, size_bytes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"


class Held(NamedTuple):  # and no dataclass, nor another one inside: a study has up to twenty thousand of them
    """One instance we hold, and where.

    file: the pack, relative to the archive's root; offset: of the instance in it. The other offsets, and those of its
    spans, are from its first byte; pixel_data_offset is None without pixel data, or when the data set is deflated.
    digest: of the data set bytes (`dicom.checksum`). kept_at: seconds since 1970.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax: str
    number_of_frames: int
    file: str
    offset: int
    size_bytes: int
    data_set_offset: int
    pixel_data_offset: int | None
    digest: bytes
    kept_at: float
    row_id: int

    @property
    def ref(self) -> InstanceRef:
        """Its name."""
        return InstanceRef(self.study_uid, self.series_uid, self.sop_uid)


_HELD: Final = (
    "i.study_uid, i.series_uid, i.sop_uid, i.sop_class_uid, i.transfer_syntax, i.number_of_frames, i.file, "
    "i.offset, i.size_bytes, i.data_set_offset, i.pixel_data_offset, i.digest, i.kept_at, i.id"
)


def find_instance(read: Read, sop_uid: str) -> Held | None:
    """The instance that has this SOP Instance UID, wherever it claims to belong."""
    return find_instances(read, [sop_uid]).get(sop_uid)


def find_instances(read: Read, sop_uids: Sequence[str]) -> dict[str, Held]:
    """Those of these SOP Instance UIDs that we have, wherever they claim to belong."""
    where = "i.sop_uid = ?" if len(sop_uids) == 1 else "i.sop_uid IN (SELECT value FROM json_each(?))"
    value = sop_uids[0] if len(sop_uids) == 1 else orjson.dumps(sop_uids).decode()
    found = [Held._make(row) for row in read(f"SELECT {_HELD} FROM instance i WHERE {where}", (value,))]  # noqa: S608
    return {held.sop_uid: held for held in found}


def find_by_uid(read: Read, sop_uid: str) -> tuple[Held | None, bool]:
    """The instance of this UID, wherever it belongs; and was another version of it set aside?"""
    aside = read("SELECT 1 FROM set_aside WHERE sop_uid = ? LIMIT 1", [sop_uid])
    return find_instance(read, sop_uid), bool(aside)


def list_held(read: Read, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
    """What we hold and show of a study, a series or an instance, in the order of series and instance numbers."""
    where, values = f"{shown_instance('i')} AND i.study_uid = ?", [study_uid]
    for column, uid in (("series_uid", series_uid), ("sop_uid", sop_uid)):
        if uid:
            where += f" AND i.{column} = ?"
            values.append(uid)
    join = "" if sop_uid else " JOIN series s USING (study_uid, series_uid)"
    order = "" if sop_uid else " ORDER BY s.series_number, i.series_uid, i.instance_number, i.sop_uid"
    return [Held._make(row) for row in read(f"SELECT {_HELD} FROM instance i{join} WHERE {where}{order}", values)]  # noqa: S608


def find_frames(read: Read, ref: InstanceRef, frame_numbers: Sequence[int]) -> tuple[Held, tuple[Span, ...]] | None:
    """An instance we hold and show, with the spans of these frames of it; one look instead of two."""
    rows = read(
        f"SELECT {_HELD}, i.spans FROM instance i WHERE {shown_instance('i')} "  # noqa: S608 constants
        "AND i.study_uid = ? AND i.series_uid = ? AND i.sop_uid = ?",
        (ref.study_uid, ref.series_uid, ref.sop_uid),
    )
    return (Held._make(rows[0][:-1]), _spans(rows[0][-1], frame_numbers)) if rows else None


def list_spans(read: Read, row_id: int, frame_numbers: Sequence[int] | None = None) -> tuple[Span, ...]:
    """The spans of an instance, or of some of its frames, by frame and fragment."""
    rows = read("SELECT spans FROM instance WHERE id = ?", (row_id,))
    return _spans(rows[0][0] if rows else b"", frame_numbers)


def _spans(packed: bytes, frame_numbers: Sequence[int] | None) -> tuple[Span, ...]:
    """They are kept by increasing frame number, so a frame among 200 000 is found in twenty steps."""
    if frame_numbers is None:
        return tuple(Span(*fields) for fields in _SPAN.iter_unpack(packed))
    positions = range(len(packed) // _SPAN.size)

    def frame_at(position: int) -> int:
        return int(_SPAN.unpack_from(packed, position * _SPAN.size)[0])

    found: list[Span] = []
    for number in sorted(set(frame_numbers)):
        first = bisect_left(positions, number, key=frame_at)
        last = bisect_right(positions, number, lo=first, key=frame_at)
        found += (Span(*_SPAN.unpack_from(packed, position * _SPAN.size)) for position in range(first, last))
    return tuple(found)


@dataclass(slots=True, eq=False)
class Entry:
    """An instance as its rows will say it, made before its bytes are durable: nothing can be wrong with it after that.

    note: what it says when it is a rejection note. mends: the row of the same instance, whose bytes were found damaged.
    What becomes of it is filled in by who keeps it: aside (another version is the first, promise P5), file
    and offset of the object in a pack.
    """

    summary: Summary
    digest: bytes
    size_bytes: int
    kept_at: float
    spans: bytes
    attributes: bytes
    note: Rejection | None = None
    mends: int | None = None
    aside: bool = False
    file: str = ""
    offset: int = 0


def build_entry(source: Readable, summary: Summary, digest: bytes, kept_at: float) -> Entry:
    """What the index will hold of an instance."""
    spans = b"".join([_SPAN.pack(s.frame_number, s.offset, s.length, s.crc32) for s in summary.spans])
    attributes = orjson.dumps(summary.instance)
    return Entry(summary, digest, source.size, kept_at, spans, attributes, read_note(source, summary))


def insert(transaction: Transaction, entries: Sequence[Entry]) -> list[Entry]:
    """Add the rows of new instances; those whose UID has the row of another place come back, with nothing done.

    Studies and series are made when they are new, completed when they are not.
    """
    told: set[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = set()  # what the slices of a series have in common
    for entry in entries:
        summary, ref = entry.summary, entry.summary.ref
        common = (ref.study_uid, ref.series_uid, tuple(summary.study), tuple(summary.series))
        if common not in told:
            told.add(common)
            _upsert_study(transaction, ref.study_uid, summary.study, entry.kept_at)
            _upsert_series(transaction, ref, summary.series)
    refused: list[Entry] = []
    start = 0
    while start < len(entries):
        count = next(count for count in _AT_ONCE if count <= len(entries) - start)
        chunk = entries[start : start + count]
        transaction.execute(_INSERT[count], [value for entry in chunk for value in _row(entry)])
        if transaction.changes() < count:
            refused += [entry for entry in chunk if not _has_row(transaction, entry)]
        start += count
    return refused


_COLUMNS: Final = (
    "study_uid", "series_uid", "sop_uid", "sop_class_uid", "transfer_syntax", "instance_number", "number_of_frames",
    "file", "offset", "size_bytes", "data_set_offset", "pixel_data_offset", "digest", "spans", "attributes", "kept_at",
)  # fmt: skip
# Each statement lets go of the interpreter lock and waits for it again, so many rows share one; few different lengths,
# so that each is compiled once.
_AT_ONCE: Final = (64, 16, 4, 1)
_INSERT: Final = {
    count: f"INSERT INTO instance ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608 constants
    + ", ".join([f"({', '.join('?' * len(_COLUMNS))})"] * count)
    + " ON CONFLICT (sop_uid) DO NOTHING"
    for count in _AT_ONCE
}


def _row(entry: Entry) -> tuple[Any, ...]:
    summary, ref = entry.summary, entry.summary.ref
    return (
        ref.study_uid,
        ref.series_uid,
        ref.sop_uid,
        summary.sop_class_uid,
        summary.transfer_syntax,
        integer(summary.instance, "00200013"),
        summary.number_of_frames,
        entry.file,
        entry.offset,
        entry.size_bytes,
        summary.data_set_offset,
        summary.pixel_data_offset,
        entry.digest,
        entry.spans,
        entry.attributes,
        entry.kept_at,
    )


def _has_row(transaction: Transaction, entry: Entry) -> bool:
    """Is the row of its UID the one of this very place?"""
    row = transaction.row("SELECT file, offset FROM instance WHERE sop_uid = ?", (entry.summary.ref.sop_uid,))
    return row == (entry.file, entry.offset)


def set_aside(transaction: Transaction, entry: Entry) -> None:
    """Add the row of an instance that came under the UID of another."""
    transaction.execute(
        "INSERT INTO set_aside (sop_uid, file, offset, size_bytes, digest, transfer_syntax, seen_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            entry.summary.ref.sop_uid,
            entry.file,
            entry.offset,
            entry.size_bytes,
            entry.digest,
            entry.summary.transfer_syntax,
            entry.kept_at,
        ),
    )


def is_set_aside(read: Read, ref: InstanceRef, digest: bytes, transfer_syntax: str) -> bool:
    """Was this very version set aside before?"""
    sql = "SELECT 1 FROM set_aside WHERE sop_uid = ? AND digest = ? AND transfer_syntax = ?"
    return bool(read(sql, (ref.sop_uid, digest, transfer_syntax)))


def move(transaction: Transaction, row_id: int, entry: Entry) -> None:
    """The same instance has its bytes elsewhere now: those of the row were found damaged."""
    transaction.execute(
        "UPDATE instance SET file = ?, offset = ? WHERE id = ?",
        (entry.file, entry.offset, row_id),
    )


def add_removals(transaction: Transaction, entries: Iterable[Entry]) -> None:
    """Note bytes that have no rows, or will have none: see `removal`."""
    for entry in entries:
        transaction.execute(_REMOVAL, (entry.file, entry.offset, entry.size_bytes))


def drop_removals(transaction: Transaction, file: str, offsets: Iterable[int]) -> None:
    """These bytes are gone."""
    for offset in offsets:
        transaction.execute("DELETE FROM removal WHERE file = ? AND offset = ?", (file, offset))


def remove_study(transaction: Transaction, study_uid: str) -> int:
    """Take a study out, and note its bytes; how many instances it had."""
    held = list(
        transaction.execute("SELECT file, offset, size_bytes, sop_uid FROM instance WHERE study_uid = ?", (study_uid,))
    )
    gone = "DELETE FROM set_aside WHERE sop_uid = ? RETURNING file, offset, size_bytes"
    aside = [row for *_, sop_uid in held for row in transaction.execute(gone, (sop_uid,))]
    transaction.execute("DELETE FROM study WHERE study_uid = ?", (study_uid,))
    forget_rejections(transaction, study_uid)
    for row in (*(row[:3] for row in held), *aside):
        transaction.execute(_REMOVAL, row)
    return len(held)


def drop_empty(transaction: Transaction, ref: InstanceRef) -> None:
    """Take out the series and the study of an instance when there is none in them."""
    transaction.execute(
        "DELETE FROM series WHERE study_uid = ?1 AND series_uid = ?2 "
        "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.study_uid = ?1 AND i.series_uid = ?2)",
        (ref.study_uid, ref.series_uid),
    )
    transaction.execute(
        "DELETE FROM study WHERE study_uid = ?1 AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.study_uid = ?1)",
        (ref.study_uid,),
    )


def pack_end(read: Read, file: str) -> int:
    """Up to where the records of a pack have their rows."""
    rows = read("SELECT indexed_end FROM pack WHERE file = ?", (file,))
    return int(rows[0][0]) if rows else 0


def set_pack_end(transaction: Transaction, file: str, end: int) -> None:
    """All records of the pack before `end` have their rows, with this transaction."""
    transaction.execute(
        "INSERT INTO pack (file, indexed_end) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET indexed_end = excluded.indexed_end",
        (file, end),
    )


def _upsert_study(transaction: Transaction, study_uid: str, new: Mapping[str, Any], now: float) -> None:
    row = transaction.row("SELECT attributes FROM study WHERE study_uid = ?", (study_uid,))
    if row and not _adds(row[0], frozenset(new)):
        transaction.execute("UPDATE study SET changed_at = ? WHERE study_uid = ?", (now, study_uid))
        return
    merged = {**new, **orjson.loads(row[0])} if row else new  # the first value told stays
    transaction.execute(
        "INSERT INTO study (study_uid, patient_id, birth_date, study_date, accession_number, study_id, attributes, "
        "changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET patient_id = excluded.patient_id, "
        "birth_date = excluded.birth_date, study_date = excluded.study_date, "
        "accession_number = excluded.accession_number, study_id = excluded.study_id, "
        "attributes = excluded.attributes, changed_at = excluded.changed_at",
        (
            study_uid,
            canonical("LO", text(merged, "00100020")),
            canonical("DA", text(merged, "00100030")),
            canonical("DA", text(merged, "00080020")),
            canonical("SH", text(merged, "00080050")),
            canonical("SH", text(merged, "00200010")),
            orjson.dumps(merged),
            now,
        ),
    )
    transaction.execute("DELETE FROM patient_name WHERE study_uid = ?", (study_uid,))
    for name in spellings(merged.get("00100010", {})):
        transaction.execute("INSERT INTO patient_name (study_uid, name) VALUES (?, ?)", (study_uid, name))


def _upsert_series(transaction: Transaction, ref: InstanceRef, new: Mapping[str, Any]) -> None:
    key = (ref.study_uid, ref.series_uid)
    row = transaction.row("SELECT attributes FROM series WHERE study_uid = ? AND series_uid = ?", key)
    if row and not _adds(row[0], frozenset(new)):
        return
    merged = {**new, **orjson.loads(row[0])} if row else new
    transaction.execute(
        "INSERT INTO series (study_uid, series_uid, modality, series_number, attributes) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET modality = excluded.modality, series_number = excluded.series_number, "
        "attributes = excluded.attributes",
        (*key, text(merged, "00080060"), integer(merged, "00200011"), orjson.dumps(merged)),
    )


@lru_cache(maxsize=512)
def _adds(known: bytes, tags: frozenset[str]) -> bool:
    """Does an instance with these tags tell something the row `known` has not? Asked anew for each of its slices."""
    return bool(tags - orjson.loads(known).keys())
