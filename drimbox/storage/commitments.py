"""Storage commitments that were asked for and not told yet: durable, so that the answer survives a restart.

A row goes once its report was delivered. `next_try` is also the lease: whoever works on a row moves it out of the way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from drimbox import clock
from drimbox.storage.database import Database, Row, Transaction

Reference = tuple[str, str]
"""SOP class and SOP instance."""

_MOST: Final = 100  # of one lease
_COLUMNS: Final = "id, ae_title, transaction_uid, instances, failures, attempts, asked_at"


@dataclass(frozen=True, slots=True)
class Commitment:
    """What was asked. failures: Failure Reason (PS3.3 table C.14-1) by SOP instance, None until looked at."""

    id: int
    ae_title: str
    transaction_uid: str
    instances: tuple[Reference, ...]
    failures: Mapping[str, int] | None
    attempts: int
    asked_at: float


class Commitments:
    """Rows of `commitment`. Every method that changes something is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(
        self, ae_title: str, transaction_uid: str, instances: Sequence[Reference], hold_s: float
    ) -> Commitment:
        """Keep a request; nobody leases it before `hold_s`. The same transaction again replaces the first."""
        now = clock.now().timestamp()
        row = (ae_title, transaction_uid, orjson.dumps(instances), now + hold_s, now)

        def work(transaction: Transaction) -> Commitment:
            transaction.execute("DELETE FROM commitment WHERE ae_title = ? AND transaction_uid = ?", row[:2])
            transaction.execute(
                "INSERT INTO commitment (ae_title, transaction_uid, instances, next_try, asked_at) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            )
            return Commitment(transaction.last_id(), ae_title, transaction_uid, tuple(instances), None, 0, now)

        return await self._database.write(work)

    async def lease(self, for_s: float, but: Collection[str] = ()) -> list[Commitment]:
        """Those that are due, the most overdue first, a hundred at most; nobody else has them for `for_s`.

        but: AE titles to leave out.
        """
        now = clock.now().timestamp()
        due = f"FROM commitment WHERE next_try <= ? AND ae_title NOT IN ({', '.join('?' * len(but))})"
        if not self._database.read_here(f"SELECT 1 {due} LIMIT 1", (now, *but)):
            return []
        ids = f"SELECT id {due} ORDER BY next_try LIMIT {_MOST}"
        sql = f"UPDATE commitment SET next_try = ? WHERE id IN ({ids}) RETURNING {_COLUMNS}"  # noqa: S608 constants
        values = (now + for_s, now, *but)
        rows = await self._database.write(lambda transaction: list(transaction.execute(sql, values)))
        return [_commitment(row) for row in rows]

    async def looked_at(self, commitment_id: int, failures: Mapping[str, int], hold_s: float) -> None:
        """Keep what was found, for as many reports as it takes; nobody leases it before `hold_s`."""
        row = (orjson.dumps(failures), clock.now().timestamp() + hold_s, commitment_id)
        sql = "UPDATE commitment SET failures = ?, next_try = ? WHERE id = ?"
        await self._database.write(lambda transaction: transaction.execute(sql, row))

    async def delivered(self, commitment_id: int) -> None:
        """Forget it: who asked was told."""
        await self._database.write(
            lambda transaction: transaction.execute("DELETE FROM commitment WHERE id = ?", (commitment_id,))
        )

    async def later(self, commitment_id: int, reason: str, pause_s: float) -> None:
        """An attempt failed: the next one is due after `pause_s`."""
        row = (reason, clock.now().timestamp() + pause_s, commitment_id)
        sql = "UPDATE commitment SET attempts = attempts + 1, last_error = ?, next_try = ? WHERE id = ?"
        await self._database.write(lambda transaction: transaction.execute(sql, row))

    async def release(self, commitment_id: int | None = None) -> None:
        """It is due now, if it is still there: the association it came on has ended. None: all of them."""
        where, values = ("", ()) if commitment_id is None else (" WHERE id = ?", (commitment_id,))
        sql = f"UPDATE commitment SET next_try = ?{where}"  # noqa: S608
        now = clock.now().timestamp()
        await self._database.write(lambda transaction: transaction.execute(sql, (now, *values)))


def _commitment(row: Row) -> Commitment:
    number, ae_title, transaction_uid, instances, failures, attempts, asked_at = row
    return Commitment(
        number,
        ae_title,
        transaction_uid,
        tuple((str(sop_class), str(sop)) for sop_class, sop in orjson.loads(instances)),
        None if failures is None else orjson.loads(failures),
        attempts,
        asked_at,
    )
