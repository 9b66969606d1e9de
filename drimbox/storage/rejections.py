"""What rejection notes took out of use: rows beside the index, and what queries leave out because of them.

Nothing is removed (docs/decisions/0020-rejected-is-hidden.md). A reference counts only with its study and series right:
a note hides nothing of a study it does not name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from drimbox.dicom.part10 import Readable
from drimbox.dicom.scan import Summary
from drimbox.errors import Malformed, TooLarge
from drimbox.kos.codes import KEY_OBJECT_SELECTION
from drimbox.kos.document import MAX_BYTES
from drimbox.kos.rejection import EXPIRED, Rejection, find_rejection
from drimbox.model import InstanceRef
from drimbox.storage.database import Read, Transaction

REMOVED: Final = "removed"
"""The title of what an operator removed; those of notes are codes."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An instance that is not shown, held or not, and the note that says so. at: seconds since 1970."""

    ref: InstanceRef
    note_uid: str
    title: str
    at: float


@dataclass(frozen=True, slots=True)
class Note:
    """A note, or a removal by an operator, and what became of it.

    study_uid: one of its studies. instances: it names; in_force: those of them it still keeps out of use.
    """

    note_uid: str
    title: str
    at: float
    study_uid: str
    studies: int
    instances: int
    in_force: int


def read_note(source: Readable, summary: Summary) -> Rejection | None:
    """The rejection note in a file; None when it holds anything else, a KOS that cannot be read included."""
    if summary.sop_class_uid != KEY_OBJECT_SELECTION:
        return None
    try:
        return find_rejection(source.read_at(0, min(source.size, MAX_BYTES + 1)))
    except (Malformed, TooLarge):
        return None


def record(transaction: Transaction, rejection: Rejection, now: float) -> frozenset[str]:
    """Take what a note names out of use, and the note itself out of the listings; the studies it changes."""
    for ref in (rejection.note, *rejection.rejected):
        transaction.execute(
            "INSERT INTO rejected (study_uid, series_uid, sop_uid, note_uid, title, rejected_at) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (ref.study_uid, ref.series_uid, ref.sop_uid, rejection.note.sop_uid, rejection.title, now),
        )
    return frozenset(ref.study_uid for ref in rejection.rejected)


def take_out(transaction: Transaction, study_uid: str, series_uid: str, sop_uid: str, now: float) -> int:
    """Take what is shown of a study, a series or an instance out of use, as an operator says; how many there were."""
    where, values = "i.study_uid = ?", [study_uid]
    for column, uid in (("series_uid", series_uid), ("sop_uid", sop_uid)):
        if uid:
            where += f" AND i.{column} = ?"
            values.append(uid)
    # Each removal has a name of its own, in the place of the note's: the same instance may be removed again.
    transaction.execute(
        "INSERT INTO rejected (study_uid, series_uid, sop_uid, note_uid, title, rejected_at) "  # noqa: S608
        "SELECT i.study_uid, i.series_uid, i.sop_uid, ?, ?, ? FROM instance i "
        f"WHERE {where} AND {shown_instance('i')} ORDER BY i.id",
        (f"removed-{now:.6f}", REMOVED, now, *values),
    )
    return transaction.changes()


def known(read: Read, sop_uids: Sequence[str]) -> set[str]:
    """Those of these SOP Instance UIDs that some note speaks of, shown again or not."""
    rows = read(
        "SELECT sop_uid FROM rejected WHERE sop_uid IN (SELECT value FROM json_each(?))",
        (orjson.dumps(sop_uids).decode(),),
    )
    return {sop_uid for (sop_uid,) in rows}


def restore(transaction: Transaction, sop_uid: str, now: float) -> bool:
    """An instance was sent again: show it when only its retention had expired, or an operator had removed it.

    True when it was not shown before.
    """
    transaction.execute(
        "UPDATE rejected SET restored_at = ? WHERE sop_uid = ? AND title IN (?, ?) AND restored_at IS NULL",
        (now, sop_uid, EXPIRED, REMOVED),
    )
    return transaction.changes() > 0


def undo(transaction: Transaction, note_uid: str, now: float) -> tuple[int, int]:
    """An operator takes back what a note, or a removal, said of others; the note itself stays out of the listings.

    How many instances it kept out of use, and how many of them stay so because of another one. The same note sent
    again, or read again, changes nothing: its rows are there.
    """
    transaction.execute(
        "UPDATE rejected SET restored_at = ? WHERE note_uid = ? AND sop_uid <> note_uid AND restored_at IS NULL",
        (now, note_uid),
    )
    instances = transaction.changes()
    rows = transaction.rows(
        "SELECT count(*) FROM rejected n WHERE n.note_uid = ? AND n.sop_uid <> n.note_uid AND n.restored_at = ? "
        "AND EXISTS (SELECT 1 FROM rejected r WHERE r.restored_at IS NULL AND r.sop_uid = n.sop_uid "
        "AND r.study_uid = n.study_uid AND r.series_uid = n.series_uid)",
        (note_uid, now),
    )
    return instances, int(rows[0][0])


def list_notes(read: Read, study_uid: str, most: int) -> list[Note]:
    """The newest `most` notes and removals; of one study, when it is told."""
    of_study = "AND note_uid IN (SELECT note_uid FROM rejected WHERE study_uid = ?) " if study_uid else ""
    rows = read(
        "SELECT note_uid, title, min(rejected_at), min(study_uid), count(DISTINCT study_uid), count(*), "  # noqa: S608
        f"sum(restored_at IS NULL) FROM rejected WHERE sop_uid <> note_uid {of_study}"
        "GROUP BY note_uid ORDER BY min(id) DESC LIMIT ?",
        (*((study_uid,) if study_uid else ()), most),
    )
    return [Note(*row) for row in rows]


def list_studies(read: Read, note_uid: str) -> list[str]:
    """The studies in which a note keeps something out of use."""
    sql = "SELECT DISTINCT study_uid FROM rejected WHERE note_uid = ? AND sop_uid <> note_uid AND restored_at IS NULL"
    return [study_uid for (study_uid,) in read(sql, (note_uid,))]


def list_rejected(read: Read, study_uid: str) -> list[Rejected]:
    """What is out of use of a study, notes left out; an instance named by two notes comes twice."""
    rows = read(
        "SELECT study_uid, series_uid, sop_uid, note_uid, title, rejected_at FROM rejected "
        "WHERE study_uid = ? AND restored_at IS NULL AND sop_uid <> note_uid ORDER BY id",
        (study_uid,),
    )
    return [Rejected(InstanceRef(*row[:3]), *row[3:]) for row in rows]


def forget(transaction: Transaction, study_uid: str) -> None:
    """The study leaves the archive."""
    transaction.execute("DELETE FROM rejected WHERE study_uid = ?", (study_uid,))


# --- For queries: SQL on the alias of a row --------------------------------------------------------------------------

_IN_FORCE: Final = "SELECT 1 FROM rejected r WHERE r.restored_at IS NULL"


def shown_instance(alias: str) -> str:
    """Is this row of `instance` in use?"""
    same = " AND ".join(f"r.{key} = {alias}.{key}" for key in ("sop_uid", "study_uid", "series_uid"))
    return f"NOT EXISTS ({_IN_FORCE} AND {same})"


def shown_series(alias: str) -> str:
    """Does this row of `series` have an instance in use?"""
    return _has_shown(alias, "study_uid", "series_uid")


def shown_study(alias: str) -> str:
    """Does this row of `study` have one?"""
    return _has_shown(alias, "study_uid")


def hidden_count(alias: str, *keys: str) -> str:
    """How many instances held below this row are out of use."""
    same = " AND ".join(f"r.{key} = {alias}.{key}" for key in keys)
    held = "instance h ON h.sop_uid = r.sop_uid AND h.study_uid = r.study_uid AND h.series_uid = r.series_uid"
    found = f"FROM rejected r CROSS JOIN {held} WHERE r.restored_at IS NULL AND {same}"
    return f"(SELECT count(DISTINCT h.id) {found})"


def _has_shown(alias: str, *keys: str) -> str:
    """Most often nothing below it is rejected: that is one look into a small index."""
    rejected = " AND ".join(f"r.{key} = {alias}.{key}" for key in keys)
    below = " AND ".join(f"v.{key} = {alias}.{key}" for key in keys)
    held = f"SELECT 1 FROM instance v WHERE {below} AND {shown_instance('v')}"  # noqa: S608
    return f"(NOT EXISTS ({_IN_FORCE} AND {rejected}) OR EXISTS ({held}))"
