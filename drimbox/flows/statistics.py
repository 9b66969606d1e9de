"""The statistics file of the programme: one line an operation, a file a day, nobody in it (drim-m.md F, FAQ:list).

Public are the two columns `Nombre_Appel` (1 a call) and `Statut_Appel` (`succes` or `erreur`); the others are ours
until the model of the ANS is at hand (docs/decisions/0034). What it counts is what the trail and the outbox say, so a
file can be made again for any day.
"""

import asyncio
import contextlib
import heapq
import logging
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from drimbox import clock
from drimbox.audit.reading import first_moment, traces_between
from drimbox.durable import make_folder, new_file
from drimbox.errors import DrimboxError, Malformed
from drimbox.storage.outbox import Outbox

log = logging.getLogger(__name__)

COLUMNS: Final = ("Date", "Heure", "Role", "Operation", "Nombre_Appel", "Statut_Appel")
MOST_DAYS: Final = 366
_BACK_DAYS: Final = 31  # so many days that were missed are made up for
_LOOK_S: Final = 600.0
_SETTLE: Final = timedelta(minutes=1)  # after midnight: what was admitted before is in the trail by then
_BOM: Final = "\ufeff"  # spreadsheets take the file for UTF-8 by it

# What was told to the DMP, by the kind of job; its number in the DMP's guide is in the name of the operation.
_TOLD: Final = {
    "publish": "TD2.1a_Publication_KOS",
    "replace": "TD2.1b_Remplacement_KOS",
    "update": "TD3.3_Visibilite_KOS",
    "withdraw": "TD3.3c_Depublication_KOS",
}
# What was asked of us, by action, door and the first word of the detail that tells them apart. Role, operation.
_ASKED: Final = (
    ("report", "hl7", "report", "source", "Reception_CR"),
    ("report", "hl7", "study-change", "source", "Reception_OMI"),
    ("report", "hl7", "patient", "source", "Reception_ADT"),
    ("retrieve", "http", "report", "source", "Lecture_CR"),
    ("retrieve", "http", "manifest", "source", "Lecture_KOS"),
    ("retrieve", "http", "", "source", "WADO_RS"),
    ("consult", "http", "documents", "consommatrice", "TD3.1_Recherche_DMP"),
    ("consult", "http", "document", "consommatrice", "TD3.2_Ouverture_KOS"),
    ("consult", "http", "manifests", "consommatrice", "Import_KOS"),
    ("consult", "http", "manifest", "consommatrice", "Ouverture_KOS_Fichier"),
)

_REFUSED: Final = {
    ("report", "hl7"): ("source", "Reception_CR"),
    ("retrieve", "http"): ("source", "WADO_RS"),
    ("consult", "http"): ("consommatrice", "TD3.1_Recherche_DMP"),
}

Line = tuple[datetime, str, str, bool]
"""When, aware; role; operation; did it succeed?"""


@dataclass(frozen=True)
class Statistics:
    """Counts from the trail in `folder`/trail and from the outbox; daily files go to `folder`/statistics."""

    folder: Path
    outbox: Outbox

    async def work(self) -> None:
        """Write the file of each day that is over and has none, for ever; the node cancels it when it stops."""
        while True:
            try:
                for day in await asyncio.to_thread(self._missing, clock.now()):
                    await self.write_day(day)
            except (DrimboxError, OSError) as error:
                log.warning("statistics_not_written", extra={"reason": type(error).__name__})
            except Exception:  # a fault here must not end the loop: the next day wants its file too
                log.exception("statistics_not_written", extra={"incident": secrets.token_hex(8)})
            await asyncio.sleep(_LOOK_S)

    async def write_day(self, day: date) -> Path:
        """Write the file of one day, in the place of one that is there. Raises NoSpace, Unavailable, OSError."""
        path = self.path_of(day)
        await asyncio.to_thread(make_folder, path.parent)
        with contextlib.ExitStack() as held:
            file = await asyncio.to_thread(held.enter_context, new_file(path))
            await self.write(day, day, file)
            await asyncio.to_thread(held.close)
        return path

    async def write(self, first: date, last: date, file: BinaryIO) -> None:
        """Write the days from `first` to `last`, both included. Raises Malformed over a year, and as `write_day`."""
        days = (last - first).days + 1
        if not 0 < days <= MOST_DAYS:
            raise Malformed("days", f"the last must not be before the first, nor {MOST_DAYS} days after it")
        file.write((_BOM + ";".join(COLUMNS) + "\r\n").encode())
        for day in (first + timedelta(days=number) for number in range(days)):
            told = await self._told(day)
            await asyncio.to_thread(self._write, file, day, told)

    def path_of(self, day: date) -> Path:
        """Where the file of a day lies."""
        return self.folder / "statistics" / f"KPI_DRIMbox_{day:%Y%m%d}.csv"

    def _missing(self, now: datetime) -> list[date]:
        """The days that are over and have no file, since the first trace, a month back at most."""
        path = self.folder / "trail" / "trail.jsonl"
        first = first_moment(path) if path.is_file() else None
        if first is None:
            return []
        today = (now - _SETTLE).astimezone().date()
        days = [today - timedelta(days=back) for back in range(_BACK_DAYS, 0, -1)]
        return [day for day in days if day >= first.astimezone().date() and not self.path_of(day).exists()]

    async def _told(self, day: date) -> list[Line]:
        """What was told to the DMP that day, or given up."""
        rows = await self.outbox.database.read(
            "SELECT settled_at, kind, state FROM job WHERE settled_at >= ? AND settled_at < ? "
            "AND state IN ('done', 'parked', 'discarded') AND cause <> 'imported' ORDER BY settled_at",
            (_begin(day).timestamp(), _begin(day + timedelta(days=1)).timestamp()),
        )
        moments = (datetime.fromtimestamp(row[0]).astimezone() for row in rows)
        return [(at, "source", _TOLD[row[1]], row[2] == "done") for at, row in zip(moments, rows, strict=True)]

    def _write(self, file: BinaryIO, day: date, told: list[Line]) -> None:
        with contextlib.ExitStack() as held:
            asked = [_asked(path, day) for path in sorted((self.folder / "trail").glob("*.jsonl"))]
            for one in asked:
                held.callback(one.close)
            for line in heapq.merge(told, *asked):
                file.write(_row(line))


def _asked(path: Path, day: date) -> Generator[Line, None, None]:
    """The operations of a trail. Others than those of the programme are left out."""
    for trace in traces_between(path, _begin(day), _begin(day + timedelta(days=1))):
        found = operation_of(str(trace["action"]), str(trace["door"]), str(trace["detail"]), str(trace["outcome"]))
        if found is not None:
            yield (datetime.fromisoformat(trace["at"]).astimezone(), *found, trace["outcome"] == "success")


def operation_of(action: str, door: str, detail: str, outcome: str) -> tuple[str, str] | None:
    """Role and operation of a trace; None when it is no operation of the programme.

    Of a refusal the detail says why, not what.
    """
    if outcome == "refused":
        return _REFUSED.get((action, door))
    for one, through, begins, role, operation in _ASKED:
        if (action, door) == (one, through) and (not begins or _first_word(detail) == begins):
            return role, operation
    return None


def _first_word(detail: str) -> str:
    return detail.partition(" ")[0]


def _row(line: Line) -> bytes:
    at, role, operation, succeeded = line
    values = (f"{at:%Y-%m-%d}", f"{at:%H:%M}", role, operation, "1", "succes" if succeeded else "erreur")
    return (";".join(values) + "\r\n").encode()


def _begin(day: date) -> datetime:
    """Midnight, by the clock of this machine."""
    return datetime(day.year, day.month, day.day).astimezone()
