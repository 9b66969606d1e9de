"""The outbox: what we owe the DMP. Cause and job commit together; one job a study at a time, in order.

    due ──lease──▶ leased ──freeze──▶ frozen ──▶ done
     ▲                │                 │  ▲
     └────later───────┘                 └──┘ later        any of them ──▶ parked (a human, or a newer job, goes on)

Frozen means: ids and bytes are durable, and every further attempt sends exactly these (promise P7).
"""

import random
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from drimbox import clock
from drimbox.errors import Conflict, NotFound
from drimbox.model import JobState, Report, Submission
from drimbox.storage.database import Database, Row, Transaction

LEASE_S: Final = 300.0  # longer than one attempt may last; a killed node's job is taken up again after it
_REPORT: Final = TypeAdapter(Report)
_LISTED: Final = "id, study_uid, kind, state, attempts, last_error, unique_id, entry_uuid, next_try"


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. attempts: the ones that failed. submission: None until frozen."""

    id: int
    study_uid: str
    report_id: int
    attempts: int
    submission: Submission | None


@dataclass(frozen=True, slots=True)
class Published:
    """What the DMP holds of a study, and the report it came from."""

    report_id: int
    unique_id: str
    entry_uuid: str
    manifest: bytes


class Outbox:
    """Jobs by study. Every method that changes something is one transaction."""

    def __init__(self, database: Database, settle_s: float) -> None:
        self._database = database
        self._settle_s = settle_s

    # --- causes ------------------------------------------------------------------------------------------------------

    async def report_arrived(self, report: Report, digest: bytes, *, parked: str = "") -> bool:
        """Keep the report and one job for each exam. False when this very message was kept before.

        parked: why no job of it may start; a human decides.
        """

        fields = asdict(report)
        del fields["message"], fields["cda"]
        row = (report.message_id, digest, orjson.dumps(fields), report.message, report.cda)

        def work(transaction: Transaction) -> bool:
            now = clock.now().timestamp()
            transaction.execute(
                "INSERT INTO report (message_id, digest, fields, message, cda, arrived_at) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (*row, now),
            )
            if not transaction.changes():
                return False
            report_id = transaction.last_id()
            for exam in report.exams if report.to_dmp else ():
                self._add(transaction, exam.study_uid, report_id, now, parked)
            return True

        return await self._database.write(work)

    def study_changed(self, transaction: Transaction, study_uid: str, now: float) -> None:
        """An instance arrived: wait until the study is quiet, and replace what was published of it."""
        row = transaction.row(
            "SELECT id, state, report_id FROM job WHERE study_uid = ? ORDER BY id DESC LIMIT 1", (study_uid,)
        )
        if row is None:
            return
        job_id, state, report_id = row
        if state == "due":
            transaction.execute("UPDATE job SET next_try = ? WHERE id = ?", (now + self._settle_s, job_id))
        elif state != "parked":
            self._add(transaction, study_uid, report_id, now, "")

    def _add(self, transaction: Transaction, study_uid: str, report_id: int, now: float, parked: str) -> None:
        transaction.execute(
            "INSERT INTO job (study_uid, report_id, kind, state, last_error, next_try, created_at) "
            "VALUES (?, ?, 'publish', ?, ?, ?, ?)",
            (study_uid, report_id, "parked" if parked else "due", parked, now + self._settle_s, now),
        )

    # --- work --------------------------------------------------------------------------------------------------------

    async def lease(self) -> Job | None:
        """Take the most overdue job no older job of its study stands before; None when nothing is due."""

        def work(transaction: Transaction) -> Row | None:
            now = clock.now().timestamp()
            row = transaction.row(
                "SELECT id, study_uid, report_id, attempts, state, kind, unique_id, set_uid, entry_uuid, structure, "
                "manifest, metadata FROM job j WHERE state IN ('due', 'leased', 'frozen') AND next_try <= ? "
                "AND leased_until <= ? AND NOT EXISTS (SELECT 1 FROM job o WHERE o.study_uid = j.study_uid "
                "AND o.id < j.id AND o.state IN ('due', 'leased', 'frozen')) ORDER BY next_try LIMIT 1",
                (now, now),
            )
            if row:
                transaction.execute(
                    "UPDATE job SET leased_until = ?, state = CASE state WHEN 'due' THEN 'leased' ELSE state END "
                    "WHERE id = ?",
                    (now + LEASE_S, row[0]),
                )
            return row

        row = await self._database.write(work)
        if row is None:
            return None
        job_id, study_uid, report_id, attempts, state, kind, unique_id, set_uid, entry_uuid, structure, kos, xml = row
        frozen = state == "frozen"
        submission = (
            Submission(study_uid, kind, unique_id, set_uid, entry_uuid, structure, kos, xml) if frozen else None
        )
        return Job(job_id, study_uid, report_id, attempts, submission)

    async def release_leases(self) -> None:
        """Take up at once what this node was doing when it was killed: its folder is locked, nobody else does it."""
        await self._database.write(lambda transaction: transaction.execute("UPDATE job SET leased_until = 0"))

    async def report(self, report_id: int) -> Report:
        """The report a job speaks of."""
        rows = await self._database.read("SELECT fields, message, cda FROM report WHERE id = ?", (report_id,))
        if not rows:
            raise NotFound("report", "the job's report is gone")
        fields, message, cda = rows[0]
        return _REPORT.validate_python({**orjson.loads(fields), "message": message, "cda": cda})

    async def published(self, study_uid: str) -> Published | None:
        """What the DMP holds of this study: the newest submission it accepted."""
        rows = await self._database.read(
            "SELECT report_id, unique_id, entry_uuid, manifest FROM job WHERE study_uid = ? AND state = 'done' "
            "AND manifest IS NOT NULL ORDER BY id DESC LIMIT 1",
            (study_uid,),
        )
        return Published(*rows[0]) if rows else None

    async def freeze(self, job: Job, submission: Submission) -> None:
        """Make ids and bytes durable, before the first attempt. Raises Conflict when the job was parked meanwhile."""

        def work(transaction: Transaction) -> int:
            transaction.execute(
                "UPDATE job SET state = 'frozen', kind = ?, unique_id = ?, set_uid = ?, entry_uuid = ?, "
                "structure = ?, manifest = ?, metadata = ?, last_error = '' WHERE id = ? AND state = 'leased'",
                (
                    submission.kind,
                    submission.unique_id,
                    submission.set_uid,
                    submission.entry_uuid,
                    submission.structure,
                    submission.manifest,
                    submission.metadata,
                    job.id,
                ),
            )
            return transaction.changes()

        if not await self._database.write(work):
            raise Conflict("outbox", "parked while its manifest was being built: nothing was sent")

    async def done(self, job: Job) -> None:
        """It is settled."""
        await self._set(job.id, "done", "")

    async def park(self, job_id: int, reason: str) -> None:
        """No further attempt until a human says so. Raises NotFound when there is no such unfinished job."""
        await self._set(job_id, "parked", reason)

    async def _set(self, job_id: int, state: JobState, reason: str) -> None:
        values = (state, reason, clock.now().timestamp(), job_id)
        change = "state = ?, last_error = ?, settled_at = ?, leased_until = 0"
        sql = f"UPDATE job SET {change} WHERE id = ? AND state <> 'done'"  # noqa: S608 a constant

        def work(transaction: Transaction) -> int:
            transaction.execute(sql, values)
            return transaction.changes()

        if not await self._database.write(work):
            raise NotFound("outbox", "no unfinished job has this number")

    async def later(self, job: Job, reason: str, first_s: float, most_s: float) -> None:
        """Try again after a pause that doubles each time, with jitter so that many jobs do not come at once."""
        pause = min(most_s, first_s * 2 ** min(job.attempts, 20)) * random.uniform(0.8, 1.2)  # noqa: S311 jitter
        sql = (
            "UPDATE job SET attempts = attempts + 1, last_error = ?, next_try = ?, leased_until = 0, "
            "state = CASE state WHEN 'leased' THEN 'due' ELSE state END WHERE id = ?"
        )
        values = (reason, clock.now().timestamp() + pause, job.id)
        await self._database.write(lambda transaction: transaction.execute(sql, values))

    async def retry(self, job_id: int) -> None:
        """A human says: now. Parked jobs go on from where they stood. Raises NotFound."""

        def work(transaction: Transaction) -> int:
            transaction.execute(
                "UPDATE job SET next_try = ?, attempts = 0, leased_until = 0, settled_at = NULL, "
                "state = CASE WHEN state <> 'parked' THEN state WHEN manifest IS NULL THEN 'due' ELSE 'frozen' END "
                "WHERE id = ? AND state <> 'done'",
                (clock.now().timestamp(), job_id),
            )
            return transaction.changes()

        if not await self._database.write(work):
            raise NotFound("outbox", "no unfinished job has this number")

    # --- looking -----------------------------------------------------------------------------------------------------

    async def list(self, limit: int = 200) -> list[dict[str, Any]]:
        """The newest jobs, as the operator sees them (interface.md)."""
        rows = await self._database.read(f"SELECT {_LISTED} FROM job ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608
        return [_shown(row) for row in rows]

    async def show(self, job_id: int) -> dict[str, Any]:
        """One job. Raises NotFound."""
        rows = await self._database.read(f"SELECT {_LISTED} FROM job WHERE id = ?", (job_id,))  # noqa: S608
        if not rows:
            raise NotFound("outbox", "no job has this number")
        return _shown(rows[0])


def _shown(row: Row) -> dict[str, Any]:
    return dict(zip(_LISTED.split(", "), row, strict=True))
