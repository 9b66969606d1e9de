"""What the DMP accepted of us before, study by study: given to another box, or taken over from one (drim-m.md B.10)."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal

from drimbox import clock
from drimbox.errors import Conflict
from drimbox.kos.read import read_manifest
from drimbox.model import Report, Submission
from drimbox.storage.database import Transaction
from drimbox.storage.outbox import FROZEN, Outbox
from drimbox.storage.reports import read_fields, write_fields
from drimbox.storage.versions import report_keys
from drimbox.xds.entry import utc_time
from drimbox.xds.xdm import read_metadata

IMPORTED: Final = "imported"
Outcome = Literal["imported", "already there", "superseded"]

_TOLD: Final = "state = 'done' AND unique_id <> ''"
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Earlier:
    """The newest submission of a study that the DMP accepted, and the report it was made from.

    told_at: when it became due, seconds since 1970. withdrawn: the DMP does not show it any more. cancelled: the report
    was taken back. submitted: submissionTime, DTM.
    """

    submission: Submission
    report: Report
    told_at: float
    withdrawn: bool
    cancelled: bool = False
    submitted: str = ""


class EarlierSubmissions:
    """The archive of submissions, as rows of the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._database = outbox.database

    async def each(self, study_uid: str = "") -> AsyncIterator[Earlier]:
        """One a study, the oldest first; of one study with `study_uid`. One at a time is in memory."""
        newest = (
            f"SELECT id FROM job j WHERE id > ? AND {_TOLD} AND kind <> 'withdraw' AND ? IN ('', study_uid) "  # noqa: S608
            "AND NOT EXISTS (SELECT 1 FROM job o WHERE o.study_uid = j.study_uid AND o.id > j.id AND o.state = 'done' "
            "AND o.unique_id <> '' AND o.kind <> 'withdraw') ORDER BY id LIMIT ?"
        )
        last = 0
        while rows := await self._database.read(newest, (last, study_uid, _PAGE)):
            for (last,) in rows:
                yield await self._one(last)

    async def _one(self, job_id: int) -> Earlier:
        sql = (
            f"SELECT report_id, created_at, {FROZEN}, EXISTS (SELECT 1 FROM job o WHERE o.study_uid = j.study_uid "  # noqa: S608
            "AND o.id > j.id AND o.state = 'done' AND o.kind = 'withdraw') FROM job j WHERE id = ?"
        )
        report_id, told_at, *frozen, withdrawn = (await self._database.read(sql, (job_id,)))[0]
        told = await self._database.read("SELECT fields, cda, status FROM report WHERE id = ?", (report_id,))
        fields, cda, status = told[0]
        report = read_fields(fields, cda=cda)
        return Earlier(Submission(*frozen), report, told_at, bool(withdrawn), status == "cancelled")

    async def keep(self, earlier: Earlier) -> Outcome:
        """Take over a submission another box made: later changes replace or withdraw it.

        Of several of one study the one submitted last counts. Raises Conflict when this node told the DMP of the study
        itself, or is about to: what it did is newer.
        """
        return await self._database.write(lambda transaction: _keep(transaction, earlier))


def _keep(transaction: Transaction, earlier: Earlier) -> Outcome:
    submission, study_uid = earlier.submission, earlier.submission.study_uid
    busy = "SELECT 1 FROM job WHERE study_uid = ? AND (state IN ('leased', 'frozen') OR in_doubt = 1) LIMIT 1"
    if transaction.row(busy, (study_uid,)):
        raise Conflict(
            "submission", "this node is just telling the DMP of the exam: see drimbox outbox, then import again"
        )
    standing = transaction.row(
        f"SELECT unique_id, kind = 'withdraw', cause, metadata, manifest FROM job WHERE study_uid = ? AND {_TOLD} "  # noqa: S608
        "ORDER BY id DESC LIMIT 1",
        (study_uid,),
    )
    if standing is not None:
        unique_id, withdrawn, cause, metadata, manifest = standing
        same = unique_id == submission.unique_id
        if same and bool(withdrawn) >= earlier.withdrawn:
            return "already there"
        if cause != IMPORTED:
            raise Conflict("submission", "this node has told the DMP of the exam itself: what is imported is older")
        if not same and _submitted(metadata, manifest) >= earlier.submitted:
            return "superseded"
    report_id = _kept_report(transaction, earlier)
    now = clock.now().timestamp()
    ins = earlier.report.patient.ins
    transaction.execute(
        f"INSERT INTO job ({FROZEN}, report_id, ins, state, cause, next_try, created_at, settled_at) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'done', ?, ?, ?, ?)",
        (
            *(study_uid, "withdraw" if earlier.withdrawn else "publish", submission.unique_id, submission.set_uid),
            *(submission.entry_uuid, submission.structure, submission.manifest, submission.metadata),
            *(submission.signature, report_id, f"{ins.value}^{ins.authority}" if ins else ""),
            *(IMPORTED, now, earlier.told_at or now, now),
        ),
    )
    return "imported"


def _kept_report(transaction: Transaction, earlier: Earlier) -> int:
    """The row of its report. One that arrived by HL7 stays in force; an imported one before it does not."""
    fields = write_fields(earlier.report)
    digest = hashlib.sha256(fields).digest()
    message_id = earlier.report.message_id
    known = transaction.row("SELECT id FROM report WHERE message_id = ? AND digest = ?", (message_id, digest))
    if known is not None:
        return int(known[0])
    status = "cancelled" if earlier.cancelled else "current"
    for report_id, message in transaction.rows(
        "SELECT id, message FROM report JOIN report_key ON report_id = id WHERE key = ? AND status = 'current'",
        (f"study:{earlier.submission.study_uid}",),
    ):
        if message:
            status = "replaced"
        else:
            transaction.execute("UPDATE report SET status = 'replaced' WHERE id = ?", (report_id,))
    columns = "message_id, digest, status, fields, message, cda, arrived_at"
    values = (message_id, digest, status, fields, b"", earlier.report.cda, clock.now().timestamp())
    transaction.execute(f"INSERT INTO report ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
    kept = transaction.last_id()
    for key in report_keys(earlier.report):
        transaction.execute("INSERT OR IGNORE INTO report_key VALUES (?, ?)", (key, kept))
    return kept


def _submitted(metadata: bytes, manifest: bytes) -> str:
    """submissionTime of a submission; of a manifest that came alone, when it was made."""
    return read_metadata(metadata).submitted if metadata else utc_time(read_manifest(manifest).created)
