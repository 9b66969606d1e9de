"""What happened in the archive, in order: for a program that keeps up with it (`/api/v1/changes`).

Arrivals cost nothing: they are the rows of `instance`, whose ids are given in order and never twice. What else happened
is written by triggers of the tables it happens in. A place in the feed is the last id seen of both, and the name of the
index they are of: after a rebuild the ids are others, and a place in the old ones is refused instead of being believed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drimbox.errors import Conflict, Malformed
from drimbox.model import InstanceRef
from drimbox.storage.database import Read, Row
from drimbox.storage.rejections import shown_instance

MOST: Final = 1000

_PLACE = re.compile(r"([0-9a-f]{16})\.([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)
_ARRIVALS: Final = (
    f"SELECT id, kept_at, study_uid, series_uid, sop_uid, {shown_instance('i')} FROM instance i "  # noqa: S608
    "WHERE id > ? ORDER BY id LIMIT ?"
)
_OTHERS: Final = (
    "SELECT c.id, c.at, c.study_uid, c.series_uid, c.sop_uid, "  # noqa: S608
    f"EXISTS (SELECT 1 FROM instance i WHERE i.sop_uid = c.sop_uid AND {shown_instance('i')}), c.kind, c.after_id "
    "FROM change c WHERE c.id > ? ORDER BY c.id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Happened:
    """kind: arrived, rejected, removed, restored, set aside. at: seconds since 1970.

    shown: is the instance with this UID shown now, whatever happened since? place: to go on after this one.
    """

    kind: str
    ref: InstanceRef
    at: float
    shown: bool
    place: str


def read_feed(read: Read, since: str, most: int) -> list[Happened]:
    """What follows the place `since`, or the beginning when it is empty or `0`; at most `most`.

    Raises Malformed when it is no place, Conflict when it is one of an index that was replaced.
    """
    name = str(read("SELECT name FROM feed", ())[0][0])
    arrival, other = _read_place(since, name)
    arrivals, others = read(_ARRIVALS, (arrival, most)), read(_OTHERS, (other, most))
    found: list[Happened] = []
    first, second = 0, 0
    while len(found) < most and (first < len(arrivals) or second < len(others)):
        if _is_next(arrivals[first : first + 1], others[second : second + 1]):
            row, kind = arrivals[first], "arrived"
            first, arrival = first + 1, row[0]
        else:
            row, kind = others[second], others[second][6]
            second, other = second + 1, row[0]
        found.append(Happened(kind, InstanceRef(*row[2:5]), row[1], bool(row[5]), f"{name}.{arrival}.{other}"))
    return found


def _read_place(since: str, name: str) -> tuple[int, int]:
    if since in ("", "0"):
        return 0, 0
    found = _PLACE.fullmatch(since)
    if not found:
        raise Malformed("since", "a place is what an answer gave as `next`, or 0")
    if found[1] != name:
        raise Conflict("since", "the index was made again since then: begin anew, without it")
    return int(found[2]), int(found[3])


def _is_next(arrivals: Sequence[Row], others: Sequence[Row]) -> bool:
    """Is the first arrival before the first of the others?"""
    return not others or (bool(arrivals) and arrivals[0][0] <= others[0][7])
