"""The reports that arrived, with what HL7 said of exams and patients. Each is durable, with the jobs it causes, or not.

What a report says is kept as it came (message, CDA) and as it was read (fields); a merge of patients changes the
second only.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Final

import orjson
from pydantic import TypeAdapter

from drimbox import clock
from drimbox.errors import Conflict, NotFound
from drimbox.kos.codes import INS_NAMESPACES
from drimbox.model import Exam, Identifier, JobKind, Patient, PatientMerge, Report, StudyNotice
from drimbox.storage.database import Row, Transaction, Values
from drimbox.storage.outbox import Outbox
from drimbox.storage.versions import Known, related_keys, report_keys, succession

_REPORT: Final = TypeAdapter(Report)
_WRITTEN: Final = tuple(field.name for field in fields_of(Report) if field.name not in ("message", "cda"))
_Select = Callable[[str, Values], Iterable[Row]]
_MAX_RELATED: Final = 200  # versions of one report, and reports of one exam


class Reports:
    """Reports by exam, in the database of the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._database = outbox.database

    # --- what arrives ------------------------------------------------------------------------------------------------

    async def arrived(self, report: Report, digest: bytes) -> bool:
        """Keep the report, and make each exam due that it or a version before it documents.

        False when this very message was kept before. Raises Conflict, and then nothing is kept.
        """
        fields = write_fields(report)

        def work(transaction: Transaction) -> bool:
            if _seen(transaction, "report", report.message_id, digest):
                return False
            known = self._known(transaction, related_keys(report))
            decided = succession(report, known)
            now = clock.now().timestamp()
            transaction.execute(
                "INSERT INTO report (message_id, digest, status, fields, message, cda, arrived_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (report.message_id, digest, decided.status, fields, report.message, report.cda, now),
            )
            report_id = transaction.last_id()
            self._index(transaction, report_id, report)
            for known_id, status in decided.changed.items():
                transaction.execute("UPDATE report SET status = ? WHERE id = ?", (status, known_id))
            if decided.status == "replaced":
                return True
            touched = [other.report for other in known if other.id in decided.changed]
            self._exams_due(transaction, report, touched, report_id, now)
            return True

        return await self._database.write(work)

    def _exams_due(
        self, transaction: Transaction, report: Report, touched: list[Report], report_id: int, now: float
    ) -> None:
        causes: dict[str, tuple[str, JobKind]] = {
            "F": ("report", "publish"),
            "C": ("corrected report", "replace"),
            "D": ("cancelled report", "withdraw"),
        }
        cause, kind = causes[report.status]
        for study_uid in _studies([report, *touched]):
            if report.status != "D":
                transaction.execute("DELETE FROM cancelled_study WHERE study_uid = ?", (study_uid,))
            known = transaction.row("SELECT 1 FROM job WHERE study_uid = ? LIMIT 1", (study_uid,))
            if report.to_dmp or report.status != "F" or known:  # without this one, another report may be in force
                self._outbox.make_due(transaction, study_uid, cause, now, kind=kind, report_id=report_id)

    async def noticed(self, notice: StudyNotice, digest: bytes) -> bool:
        """Keep an OMI^O23 and make its exam due, if we know of it. False when it was kept before.

        Raises Conflict when it names another patient or another order than the report of that exam (P16).
        """

        def work(transaction: Transaction) -> bool:
            if _seen(transaction, "notice", notice.message_id, digest):
                return False
            known = [k for k in self._known(transaction, [f"study:{notice.study_uid}"]) if k.status == "current"]
            for exam, patient in ((_exam(k.report, notice.study_uid), k.report.patient) for k in known):
                self._same_exam(transaction, notice, exam, patient)
            now = clock.now().timestamp()
            _keep_notice(transaction, "study", notice, digest, now)
            if notice.cancelled:
                transaction.execute("INSERT OR REPLACE INTO cancelled_study VALUES (?, ?)", (notice.study_uid, now))
            else:
                transaction.execute("DELETE FROM cancelled_study WHERE study_uid = ?", (notice.study_uid,))
            if known or transaction.row("SELECT 1 FROM job WHERE study_uid = ? LIMIT 1", (notice.study_uid,)):
                kind: JobKind = "withdraw" if notice.cancelled else "replace"
                self._outbox.make_due(transaction, notice.study_uid, "study-change notice", now, kind=kind)
            return True

        return await self._database.write(work)

    def _same_exam(self, transaction: Transaction, notice: StudyNotice, exam: Exam, patient: Patient) -> None:
        if notice.ins and patient.ins and notice.ins.value != patient.ins.value:
            raise Conflict("patient", "the notice and the report of this exam carry two INS: the notice is refused")
        told, known = notice.local_id, patient.local_id
        if told and known and told.value not in _former(transaction, known):
            raise Conflict("patient", "the notice and the report of this exam carry two patient identifiers: refused")
        if notice.accession and exam.accession and notice.accession != exam.accession.value:
            raise Conflict(
                "accession number", "the notice and the report of this exam carry two: the notice is refused"
            )

    async def merged(self, merge: PatientMerge, digest: bytes) -> bool:
        """Keep an ADT^A40: what was said of the identifiers that are gone is now said of the survivor.

        False when it was kept before. The exams of every report concerned are due; one whose patient's identity is not
        qualified any more is published no further.
        """

        def work(transaction: Transaction) -> bool:
            if _seen(transaction, "notice", merge.message_id, digest):
                return False
            now = clock.now().timestamp()
            _keep_notice(transaction, "merge", merge, digest, now)
            survivor = merge.survivor
            concerned: dict[int, Known] = {}
            for gone in merge.gone:
                is_ins = gone.authority in INS_NAMESPACES
                kept = survivor.ins if is_ins else survivor.local_id
                if kept is not None and kept.value != gone.value:
                    _remember(transaction, gone, kept, now)
                key = f"{'ins' if is_ins else 'ipp'}:{gone.value}^{gone.authority}"
                concerned |= {known.id: known for known in self._known(transaction, [key])}
            for known in concerned.values():
                self._renamed(transaction, known, survivor, now)
            return True

        return await self._database.write(work)

    def _renamed(self, transaction: Transaction, known: Known, survivor: Patient, now: float) -> None:
        report = replace(known.report, patient=_merged(known.report.patient, survivor))
        transaction.execute("UPDATE report SET fields = ? WHERE id = ?", (write_fields(report), known.id))
        self._index(transaction, known.id, report)
        if known.status == "current":
            for study_uid in _studies([report]):
                self._outbox.make_due(transaction, study_uid, "patient merge", now, kind="replace")

    # --- what is known -----------------------------------------------------------------------------------------------

    async def report(self, report_id: int) -> Report:
        """One report. Raises NotFound."""
        rows = await self._database.read("SELECT fields, message, cda FROM report WHERE id = ?", (report_id,))
        if not rows:
            raise NotFound("report", "the job's report is gone")
        return read_fields(*rows[0])

    async def current(self, study_uid: str) -> tuple[int, Report] | None:
        """The report that documents an exam now: the newest that was neither replaced nor cancelled."""
        rows = await self._database.read(
            "SELECT id, fields, message, cda FROM report JOIN report_key ON report_id = id "
            "WHERE key = ? AND status = 'current' ORDER BY id DESC LIMIT 1",
            (f"study:{study_uid}",),
        )
        return (rows[0][0], read_fields(*rows[0][1:])) if rows else None

    async def is_cancelled(self, study_uid: str) -> bool:
        """Did an OMI^O23 take the exam back?"""
        return bool(await self._database.read("SELECT 1 FROM cancelled_study WHERE study_uid = ?", (study_uid,)))

    async def names_of(self, local_id: Identifier) -> frozenset[str]:
        """Every value images of this patient may carry as PatientID: his identifier, and those merged into it."""
        return await self._database.reading(
            lambda: frozenset(_former_values(self._database.read_here, f"{local_id.value}^{local_id.authority}"))
        )

    def _known(self, transaction: Transaction, keys: Iterable[str]) -> list[Known]:
        found: dict[int, Known] = {}
        for key in keys:
            for row in transaction.execute(
                "SELECT id, status, fields FROM report JOIN report_key ON report_id = id WHERE key = ? "
                "ORDER BY id DESC LIMIT ?",
                (key, _MAX_RELATED),
            ):
                found[row[0]] = Known(row[0], row[1], read_fields(row[2]))
        return list(found.values())

    def _index(self, transaction: Transaction, report_id: int, report: Report) -> None:
        for key in report_keys(report):
            transaction.execute("INSERT OR IGNORE INTO report_key VALUES (?, ?)", (key, report_id))


# --- rows and values ----------------------------------------------------------------------------------------------


def write_fields(report: Report) -> bytes:
    """A report as it was read, without message and CDA: `read_fields` reads it."""
    return orjson.dumps({name: getattr(report, name) for name in _WRITTEN})


def read_fields(fields: bytes, message: bytes = b"", cda: bytes = b"") -> Report:
    """A report as it was read; message and CDA stay empty where nobody needs them."""
    return _REPORT.validate_python({**orjson.loads(fields), "message": message, "cda": cda})


def _seen(transaction: Transaction, table: str, message_id: str, digest: bytes) -> bool:
    sql = f"SELECT 1 FROM {table} WHERE message_id = ? AND digest = ?"  # noqa: S608 a constant
    return transaction.row(sql, (message_id, digest)) is not None


def _keep_notice(
    transaction: Transaction, kind: str, notice: StudyNotice | PatientMerge, digest: bytes, now: float
) -> None:
    transaction.execute(
        "INSERT INTO notice (message_id, digest, kind, message, arrived_at) VALUES (?, ?, ?, ?, ?)",
        (notice.message_id, digest, kind, notice.message, now),
    )


def _studies(reports: Iterable[Report]) -> list[str]:
    return list(dict.fromkeys(exam.study_uid for report in reports for exam in report.exams))


def _exam(report: Report, study_uid: str) -> Exam:
    return next(exam for exam in report.exams if exam.study_uid == study_uid)


def _merged(patient: Patient, survivor: Patient) -> Patient:
    """The survivor's identity. One without an INS, or not qualified, keeps the traits and loses the qualification."""
    local_id = survivor.local_id or patient.local_id
    if survivor.ins is None or not survivor.qualified:
        same = survivor.ins is not None and patient.ins is not None and survivor.ins.value == patient.ins.value
        return replace(patient, local_id=local_id, qualified=patient.qualified and same)
    return replace(survivor, local_id=local_id)


# --- merges -------------------------------------------------------------------------------------------------------


def _remember(transaction: Transaction, gone: Identifier, kept: Identifier, now: float) -> None:
    transaction.execute(
        "INSERT OR REPLACE INTO merged_patient VALUES (?, ?, ?)",
        (f"{gone.value}^{gone.authority}", f"{kept.value}^{kept.authority}", now),
    )


def _former(transaction: Transaction, identifier: Identifier) -> set[str]:
    return set(_former_values(transaction.execute, f"{identifier.value}^{identifier.authority}"))


def _former_values(select: _Select, name: str) -> Iterable[str]:
    """The value of `name` and of all that were merged into it, one after the other."""
    seen, waiting = {name}, [name]
    while waiting:
        rows = select("SELECT gone FROM merged_patient WHERE survivor = ?", (waiting.pop(),))
        new = {str(row[0]) for row in rows} - seen
        seen |= new
        waiting.extend(new)
    return (name.partition("^")[0] for name in seen)
