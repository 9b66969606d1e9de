"""What the DMP must be told of an exam: one table, from what is true now (pure; drim-m.md B.9).

Nothing here depends on what happened in which order: a report, an image, a notice only make the exam due, and the same
truth gives the same decision. That is why a crash, a replay or a late message ends in the same state of the DMP.
"""

from dataclasses import dataclass, replace
from typing import Literal

from drimbox.model import Patient, Report

Images = Literal["here", "arriving", "none yet", "nowhere", "none left"]
"""nowhere: neither here nor in the PACS, which was asked."""

Action = Literal["publish", "replace", "update", "withdraw", "nothing", "wait", "park"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the DMP holds of the exam, and the report it was told from."""

    report: Report
    references: frozenset[tuple[str, str, str]]
    ins: str


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of the exam now.

    report: the one in force, None when there is none or it was cancelled. images, references: what may be shown of it.
    contradiction: why images and report are not of the same exam of the same patient, or nothing. elsewhere: there are
    no images, but another study has the accession number of the exam.
    """

    report: Report | None
    images: Images
    references: frozenset[tuple[str, str, str]]
    contradiction: str = ""
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """again: it is only the first of two steps. reason: for a human, when nothing can be done now."""

    action: Action
    reason: str = ""
    again: bool = False


_NOTHING = Decision("nothing")
_WAITING = {
    "none yet": "study: not held here: waiting for its images",
    "nowhere": "study: neither held here nor in the PACS: waiting for its images",
}
_ELSEWHERE = "; another study has its accession number: see which Study Instance UID is right"
_LOST = "study: images published before are not found any more, and nothing says that they were removed"


def decide(truth: Truth, standing: Standing | None) -> Decision:
    """Say what comes next for one exam. The first rule that fits decides."""
    report = truth.report
    if report is None or not report.to_dmp:
        return Decision("withdraw") if standing else _NOTHING
    if truth.images == "none left":
        return Decision("withdraw") if standing else _NOTHING
    if reason := unpublishable(report.patient):
        return Decision("park", reason)
    if standing is not None and standing.ins != ins_of(report.patient):
        # No RPLC from one patient to another: the first loses the document, then the second gets one.
        return Decision("withdraw", again=True)
    if truth.images == "arriving":
        return Decision("wait")
    if truth.images in ("none yet", "nowhere"):
        waiting = Decision("wait", _WAITING[truth.images] + (_ELSEWHERE if truth.elsewhere else ""))
        return Decision("park", _LOST) if standing else waiting
    if truth.contradiction:
        return Decision("park", truth.contradiction)
    return _told(truth, report, standing)


def _told(truth: Truth, report: Report, standing: Standing | None) -> Decision:
    if standing is None:
        return Decision("publish")
    if truth.references != standing.references:
        return Decision("replace")
    if _meaning(report) == _meaning(standing.report):
        return _NOTHING
    only_visibility = replace(_meaning(report), confidentiality=()) == replace(
        _meaning(standing.report), confidentiality=()
    )
    return Decision("update" if report.visibility_only and only_visibility else "replace")


def unpublishable(patient: Patient) -> str:
    """Why nothing about this patient may reach the DMP, or nothing (P16)."""
    if patient.ins is None:
        return "the report carries no INS: send it again once the identity is qualified"
    if not patient.qualified:
        return "the identity is not qualified (PID-32 is not VALI): send it again once it is"
    return ""


def ins_of(patient: Patient) -> str:
    """The INS as the outbox keeps it: `value^authority`."""
    return f"{patient.ins.value}^{patient.ins.authority}" if patient.ins else ""


def _meaning(report: Report) -> Report:
    """The report without what only names the message it came in: a repetition of it is no news for the DMP."""
    return replace(report, message_id="", message=b"", cda=b"", status="F", visibility_only=False, parent_number="")
