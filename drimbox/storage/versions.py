"""Which reports are versions of one, and what becomes of them when another arrives (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from drimbox.errors import Conflict
from drimbox.model import Report

Status = Literal["current", "replaced", "cancelled"]


@dataclass(frozen=True, slots=True)
class Known:
    """A report we hold already."""

    id: int
    status: Status
    report: Report


@dataclass(frozen=True, slots=True)
class Succession:
    """status: of the report that arrived. changed: the known ones whose status becomes another."""

    status: Status
    changed: dict[int, Status]


def report_keys(report: Report) -> tuple[str, ...]:
    """What a report can be found by."""
    keys = [f"study:{exam.study_uid}" for exam in report.exams]
    keys.append(f"doc:{report.document_id.authority}^{report.document_id.value}")
    if report.number:
        keys.append(f"num:{_sender(report)}|{report.number}")
    for kind, identifier in (("ins", report.patient.ins), ("ipp", report.patient.local_id)):
        if identifier is not None:
            keys.append(f"{kind}:{identifier.value}^{identifier.authority}")
    return tuple(dict.fromkeys(keys))


def related_keys(report: Report) -> tuple[str, ...]:
    """By which keys another version of `report` may be known."""
    keys = [key for key in report_keys(report) if key.startswith(("study:", "doc:", "num:"))]
    keys += [f"doc:{document.authority}^{document.value}" for document in report.replaces]
    if report.parent_number:
        keys.append(f"num:{_sender(report)}|{report.parent_number}")
    return tuple(dict.fromkeys(keys))


def succession(report: Report, known: Iterable[Known]) -> Succession:
    """Say what becomes of `report` and of those it has to do with.

    The CDA tells which document it replaces, or of which set it is a version; failing that, the numbers of the MDM;
    failing that, a correction or a deletion is about the reports of the same exam. A set counts for one exam only: RIS
    in service, and the official samples, put every report in the same set. An older version that comes late is kept and
    changes nothing. Raises Conflict when a deletion names another patient than the report (P16).
    """
    others = list(known)
    versions = [other for other in others if _is_version(report, other.report)]
    if not versions and report.status != "F":
        versions = [other for other in others if _is_of_one_exam(report, other.report)]
    current = [other for other in versions if other.status == "current"]
    if report.status == "D":
        if any(_ins(other.report) != _ins(report) for other in current):
            raise Conflict("patient", "the report to delete is about another INS: the deletion is refused")
        return Succession("cancelled", {other.id: "cancelled" for other in current})
    if any(other.status != "replaced" and 0 < report.version < other.report.version for other in versions):
        return Succession("replaced", {})
    return Succession("current", {other.id: "replaced" for other in current})


def _is_version(report: Report, other: Report) -> bool:
    return (
        (report.set_id is not None and report.set_id == other.set_id and _is_of_one_exam(report, other))
        or report.document_id == other.document_id
        or other.document_id in report.replaces
        or (bool(report.parent_number) and report.parent_number == other.number and _sender(report) == _sender(other))
    )


def _is_of_one_exam(report: Report, other: Report) -> bool:
    return not {exam.study_uid for exam in report.exams}.isdisjoint(exam.study_uid for exam in other.exams)


def _sender(report: Report) -> str:
    """MSH-3 and MSH-4: document numbers of an MDM are its sender's."""
    return report.message_id.rpartition("|")[0]


def _ins(report: Report) -> tuple[str, str] | None:
    return (report.patient.ins.value, report.patient.ins.authority) if report.patient.ins else None
