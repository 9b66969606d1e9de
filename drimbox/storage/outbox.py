"""The outbox: what we owe the DMP. One job a study at a time, in order; a poison item stands before nobody else.

    due ──lease──▶ leased ──freeze──▶ frozen ──▶ done
     ▲                │                 │  ▲
     └────later───────┘                 └──┘ later        any of them ──▶ parked ──▶ discarded (a human, or a newer job)

Frozen means: ids and bytes are durable, and every further attempt sends exactly these (promise P7). What is due is
only a study to look at: what the DMP should be told of it is decided when its turn comes (flows/decide.py).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from drimbox import clock
from drimbox.errors import Conflict, NotFound
from drimbox.model import JobKind, JobState, Submission
from drimbox.storage.database import Database, Row, Transaction

LEASE_S: Final = 300.0  # longer than one attempt may last; a killed node's job is taken up again after it
PATIENCE_S: Final = 60.0  # of a job the DMP did not answer while it answers others: not each of them brings it back
STILL_ARRIVING: Final = "study: its images still arrive"
_LISTED: Final = (
    "id, study_uid, kind, state, cause, attempts, last_error, unique_id, entry_uuid, next_try, created_at, settled_at"
)
FROZEN: Final = "study_uid, kind, unique_id, set_uid, entry_uuid, structure, manifest, metadata, signature"
"""What a job froze of its submission, in the order of the table of jobs."""
_OPEN: Final = "('due', 'leased', 'frozen')"
_RELEASE: Final = f"UPDATE job SET leased_until = 0 WHERE state IN {_OPEN} AND leased_until > 0"  # noqa: S608
_FREE: Final = (
    f"SELECT id, state, study_uid, report_id, attempts, ins FROM job j WHERE state IN {_OPEN} AND leased_until <= ? "  # noqa: S608
    "AND NOT EXISTS (SELECT 1 FROM job o WHERE o.study_uid = j.study_uid AND o.id < j.id "
    f"AND (o.state IN {_OPEN} OR (o.state = 'parked' AND o.in_doubt = 1)))"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. attempts: the ones that failed.

    report_id: the report that caused it, if one did; once it is frozen, the one whose identity speaks. ins: of the
    patient the submission is about, `value^authority`, once it is frozen.
    """

    id: int
    study_uid: str
    report_id: int | None
    attempts: int
    ins: str
    submission: Submission | None


@dataclass(frozen=True, slots=True)
class Published:
    """What the DMP holds of a study: the submission it accepted last, and the report whose identity spoke.

    ins: of the patient it is about, `value^authority`.
    """

    report_id: int
    ins: str
    submission: Submission


class Outbox:
    """Jobs by study. Every method that changes something is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- causes, inside the transaction of what caused them ----------------------------------------------------------

    def make_due(
        self,
        transaction: Transaction,
        study_uid: str,
        cause: str,
        now: float,
        *,
        kind: JobKind = "publish",
        report_id: int | None = None,
        pause_s: float = 0,
        why: str = "",
    ) -> None:
        """See to it that the study is looked at, `pause_s` from now; a job that only waits for its turn will do.

        why: it waits, for people; what was written before stays when there is nothing new to say.
        What was parked in doubt goes on: what became of it must be known before anything else is said.
        """
        transaction.execute(
            "UPDATE job SET state = 'frozen', next_try = ? WHERE study_uid = ? AND state = 'parked' AND in_doubt = 1",
            (now, study_uid),
        )
        row = transaction.row(
            "SELECT id, state FROM job WHERE study_uid = ? AND state NOT IN ('done', 'discarded') "
            "ORDER BY id DESC LIMIT 1",
            (study_uid,),
        )
        job_id, state = row or (0, "")
        if state == "due" or (state == "parked" and not self._is_frozen(transaction, job_id)):
            transaction.execute(
                "UPDATE job SET state = 'due', kind = ?, cause = ?, report_id = coalesce(?, report_id), next_try = ?, "
                "attempts = 0, settled_at = NULL, last_error = coalesce(nullif(?, ''), last_error) WHERE id = ?",
                (kind, cause, report_id, now + pause_s, why, job_id),
            )
            return
        transaction.execute(
            "INSERT INTO job (study_uid, report_id, kind, state, cause, next_try, created_at, last_error) "
            "VALUES (?, ?, ?, 'due', ?, ?, ?, ?)",
            (study_uid, report_id, kind, cause, now + pause_s, now, why),
        )

    async def images_changed(self, studies: Mapping[str, float], settle_s: float) -> None:
        """Make due each of these studies that a report documents, once it is quiet. studies: UID, last change."""

        def work(transaction: Transaction) -> None:
            now = clock.now().timestamp()
            for study_uid, newest in studies.items():
                if transaction.row("SELECT 1 FROM report_key WHERE key = ? LIMIT 1", (f"study:{study_uid}",)):
                    pause_s = min(settle_s, max(0.0, newest + settle_s - now))
                    why = STILL_ARRIVING if pause_s else ""
                    self.make_due(transaction, study_uid, "images", now, pause_s=pause_s, why=why)

        await self.database.write(work)

    def _is_frozen(self, transaction: Transaction, job_id: int) -> bool:
        return transaction.row("SELECT 1 FROM job WHERE id = ? AND unique_id <> ''", (job_id,)) is not None

    # --- work --------------------------------------------------------------------------------------------------------

    async def lease(self, *, unanswered: bool = False) -> Job | None:
        """Take the most overdue job no older job of its study stands before; None when nothing is due.

        A parked one stands before the others while the DMP may hold what it says: two documents would be current.
        unanswered: the DMP answers now; when nothing else is due, what it did not answer a while ago need not wait.
        """

        def work(transaction: Transaction) -> Row | None:
            now = clock.now().timestamp()
            row = transaction.row(f"{_FREE} AND next_try <= ? ORDER BY next_try LIMIT 1", (now, now))
            if row is None and unanswered:
                when = "unanswered_at > 0 AND unanswered_at <= ? ORDER BY unanswered_at LIMIT 1"
                row = transaction.row(f"{_FREE} AND {when}", (now, now - PATIENCE_S))
            if row is None:
                return None
            transaction.execute(
                "UPDATE job SET leased_until = ?, state = CASE state WHEN 'due' THEN 'leased' ELSE state END "
                "WHERE id = ?",
                (now + LEASE_S, row[0]),
            )
            frozen = None
            if row[1] == "frozen":
                frozen = transaction.row(f"SELECT {FROZEN} FROM job WHERE id = ?", (row[0],))  # noqa: S608
            return (row[0], *row[2:], frozen)

        row = await self.database.write(work)
        if row is None:
            return None
        job_id, study_uid, report_id, attempts, ins, frozen = row
        return Job(job_id, study_uid, report_id, attempts, ins, Submission(*frozen) if frozen else None)

    async def release_leases(self) -> None:
        """Take up at once what this node was doing when it was killed: its folder is locked, nobody else does it."""
        await self.database.write(lambda transaction: transaction.execute(_RELEASE))

    async def published(self, study_uid: str) -> Published | None:
        """What the DMP holds of this study: the newest submission it accepted, unless that one withdrew it."""
        rows = await self.database.read(
            f"SELECT report_id, ins, {FROZEN} FROM job WHERE study_uid = ? AND state = 'done' "  # noqa: S608
            "AND unique_id <> '' ORDER BY id DESC LIMIT 1",
            (study_uid,),
        )
        if not rows or rows[0][3] == "withdraw":
            return None
        report_id, ins, *frozen = rows[0]
        return Published(report_id, ins, Submission(*frozen))

    async def freeze(self, job: Job, submission: Submission, report_id: int, ins: str, *, again: bool = False) -> None:
        """Make ids and bytes durable, before the first attempt. Raises Conflict when the job was parked meanwhile.

        again: when this is done, the study must be looked at once more.
        """
        values = (
            *(submission.kind, submission.unique_id, submission.set_uid, submission.entry_uuid, submission.structure),
            *(submission.manifest, submission.metadata, submission.signature, report_id, ins, again, job.id),
        )

        def work(transaction: Transaction) -> int:
            transaction.execute(
                "UPDATE job SET state = 'frozen', kind = ?, unique_id = ?, set_uid = ?, entry_uuid = ?, structure = ?, "
                "manifest = ?, metadata = ?, signature = ?, report_id = ?, ins = ?, again = ?, in_doubt = 1, "
                "last_error = '' WHERE id = ? AND state = 'leased'",
                values,
            )
            return transaction.changes()

        if not await self.database.write(work):
            raise Conflict("outbox", "parked while its manifest was being built: nothing was sent")

    async def done(self, job: Job, entry_uuid: str = "") -> None:
        """The DMP has it. entry_uuid: what the DMP calls the entry, when it told.

        What was parked of the study before it has no object any more.
        """

        def work(transaction: Transaction) -> None:
            now = clock.now().timestamp()
            row = transaction.row(
                "UPDATE job SET state = 'done', last_error = '', in_doubt = 0, leased_until = 0, settled_at = ?, "
                "entry_uuid = CASE WHEN ? <> '' THEN ? ELSE entry_uuid END WHERE id = ? AND state <> 'done' "
                "RETURNING again",
                (now, entry_uuid, entry_uuid, job.id),
            )
            transaction.execute(
                "UPDATE job SET state = 'discarded', in_doubt = 0, settled_at = ? "
                "WHERE study_uid = ? AND id < ? AND state = 'parked'",
                (now, job.study_uid, job.id),
            )
            if row and row[0]:
                self.make_due(transaction, job.study_uid, "next step", now)

        await self.database.write(work)

    async def nothing_to_do(self, job: Job) -> None:
        """The DMP holds just what it should: the job is as if it had never been."""

        def work(transaction: Transaction) -> None:
            transaction.execute("DELETE FROM job WHERE id = ? AND state = 'leased'", (job.id,))
            transaction.execute(
                "UPDATE job SET state = 'discarded', settled_at = ? WHERE study_uid = ? AND id < ? "
                "AND state = 'parked' AND in_doubt = 0",
                (clock.now().timestamp(), job.study_uid, job.id),
            )

        await self.database.write(work)

    async def wait(self, job: Job, until: float, reason: str) -> None:
        """Not yet, and nothing is wrong: look again then. Not an attempt. reason: for whoever looks at the job."""

        def work(transaction: Transaction) -> None:
            transaction.execute("UPDATE job SET last_error = ? WHERE id = ?", (reason, job.id))
            self._put_back(transaction, job, until)

        await self.database.write(work)

    async def later(self, job: Job, reason: str, first_s: float, most_s: float, *, unanswered: bool = False) -> None:
        """Try again after a pause that doubles each time, with jitter so that many jobs do not come at once.

        unanswered: the DMP is the reason; the pause may end when it answers again.
        """
        pause = min(most_s, first_s * 2 ** min(job.attempts, 20)) * random.uniform(0.8, 1.2)  # noqa: S311 jitter

        def work(transaction: Transaction) -> None:
            now = clock.now().timestamp()
            sql = "UPDATE job SET attempts = attempts + 1, last_error = ?, unanswered_at = ? WHERE id = ?"
            transaction.execute(sql, (reason, now if unanswered else 0, job.id))
            self._put_back(transaction, job, now + pause)

        await self.database.write(work)

    def _put_back(self, transaction: Transaction, job: Job, until: float) -> None:
        """It waits for its next turn; one that only looks makes room for a younger one, which would wait behind it."""
        younger = transaction.row(
            "SELECT y.id FROM job j JOIN job y ON y.study_uid = j.study_uid AND y.id > j.id AND y.state = 'due' "
            "WHERE j.id = ? AND j.state = 'leased' ORDER BY y.id LIMIT 1",
            (job.id,),
        )
        if younger:
            sql = "UPDATE job SET report_id = coalesce(report_id, ?) WHERE id = ?"
            transaction.execute(sql, (job.report_id, *younger))
            transaction.execute("DELETE FROM job WHERE id = ?", (job.id,))
            return
        transaction.execute(
            "UPDATE job SET next_try = ?, leased_until = 0, "
            "state = CASE state WHEN 'leased' THEN 'due' ELSE state END WHERE id = ?",
            (until, job.id),
        )

    async def park(self, job_id: int, reason: str, *, refused: bool = False) -> None:
        """No further attempt until a human says so. Raises NotFound when there is no such unfinished job.

        refused: the DMP said no to its frozen bytes, so it is certain that it does not hold them.
        """
        await self._settle(job_id, "parked", reason, certain=refused)

    async def discard(self, job_id: int, reason: str) -> None:
        """A human decides that it is not owed any more. Raises NotFound when there is no such unfinished job.

        The DMP may hold it all the same: see `doubtful`.
        """
        await self._settle(job_id, "discarded", reason, certain=False)

    async def doubtful(self, study_uid: str) -> list[tuple[int, Published]]:
        """What was discarded of the study while the DMP may hold it, oldest first: job and content."""
        rows = await self.database.read(
            f"SELECT id, report_id, ins, {FROZEN} FROM job WHERE study_uid = ? AND state = 'discarded' "  # noqa: S608
            "AND in_doubt = 1 ORDER BY id",
            (study_uid,),
        )
        return [(job_id, Published(report_id, ins, Submission(*frozen))) for job_id, report_id, ins, *frozen in rows]

    async def known(self, job_id: int, *, is_done: bool) -> None:
        """The DMP was asked about one of the `doubtful`."""
        sql = "UPDATE job SET in_doubt = 0, state = CASE WHEN ? THEN 'done' ELSE state END WHERE id = ?"
        await self.database.write(lambda transaction: transaction.execute(sql, (is_done, job_id)))

    async def _settle(self, job_id: int, state: JobState, reason: str, *, certain: bool) -> None:
        values = (state, reason, clock.now().timestamp(), certain, job_id)

        def work(transaction: Transaction) -> int:
            transaction.execute(
                "UPDATE job SET state = ?, last_error = ?, settled_at = ?, leased_until = 0, "
                "in_doubt = CASE WHEN ? THEN 0 ELSE in_doubt END WHERE id = ? AND state NOT IN ('done', 'discarded')",
                values,
            )
            return transaction.changes()

        if not await self.database.write(work):
            raise NotFound("outbox", "no unfinished job has this number")

    async def retry(self, job_id: int) -> None:
        """A human says: now. Parked jobs go on from where they stood. Raises NotFound."""

        def work(transaction: Transaction) -> int:
            transaction.execute(
                "UPDATE job SET next_try = ?, attempts = 0, leased_until = 0, settled_at = NULL, "
                "state = CASE WHEN state <> 'parked' THEN state WHEN unique_id = '' THEN 'due' ELSE 'frozen' END "
                "WHERE id = ? AND state NOT IN ('done', 'discarded')",
                (clock.now().timestamp(), job_id),
            )
            return transaction.changes()

        if not await self.database.write(work):
            raise NotFound("outbox", "no unfinished job has this number")

    # --- looking -----------------------------------------------------------------------------------------------------

    async def list(self, limit: int = 200, state: str = "") -> list[dict[str, Any]]:
        """The newest jobs, as the operator sees them (interface.md). state: only those in this one."""
        sql = f"SELECT {_LISTED} FROM job WHERE ? IN ('', state) ORDER BY id DESC LIMIT ?"  # noqa: S608
        rows = await self.database.read(sql, (state, limit))
        return [_shown(row) for row in rows]

    async def show(self, job_id: int) -> dict[str, Any]:
        """One job. Raises NotFound."""
        rows = await self.database.read(f"SELECT {_LISTED} FROM job WHERE id = ?", (job_id,))  # noqa: S608
        if not rows:
            raise NotFound("outbox", "no job has this number")
        return _shown(rows[0])

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(await self.database.read("SELECT state, count(*) FROM job GROUP BY state"))


def _shown(row: Row) -> dict[str, Any]:
    return dict(zip(_LISTED.split(", "), row, strict=True))
