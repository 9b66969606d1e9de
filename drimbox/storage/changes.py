"""Studies whose images are not what they were, until somebody told the outbox: rows of the index, in the transaction of
the cause. A row stays when a crash comes before the outbox knows; an index that is made again has them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drimbox.storage.database import Read, Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """at: of the newest change, in seconds since 1970."""

    study_uid: str
    at: float


def note(transaction: Transaction, study_uid: str, now: float) -> None:
    """An instance of the study came, was taken out of use, or is used again."""
    transaction.execute(
        "INSERT INTO changed_study VALUES (?, ?) ON CONFLICT (study_uid) DO UPDATE SET at = excluded.at",
        (study_uid, now),
    )


def list_changes(read: Read, most: int) -> list[Change]:
    """The first `most` of them."""
    return [Change(*row) for row in read("SELECT study_uid, at FROM changed_study LIMIT ?", (most,))]


def forget(transaction: Transaction, seen: Sequence[Change]) -> None:
    """Remove these, but none that changed once more."""
    for change in seen:
        transaction.execute("DELETE FROM changed_study WHERE study_uid = ? AND at = ?", (change.study_uid, change.at))
