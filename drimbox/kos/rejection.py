"""A rejection note: a KOS that takes instances out of use (IHE RAD TF, Imaging Object Change Management, RAD-66)."""

from dataclasses import dataclass
from typing import Final

from drimbox.dicom.uid import checked_uid
from drimbox.errors import TooLarge
from drimbox.kos import codes
from drimbox.kos.document import items_of, open_document, text_of, title_of
from drimbox.kos.manifest import MAX_INSTANCES
from drimbox.model import InstanceRef

EXPIRED: Final = "113039"
"""Data Retention Policy Expired: the one title that says nothing against the instances themselves."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a note says. note: the note itself. title: its code, one of `codes.REJECTION_NOTES`. rejected: in order."""

    note: InstanceRef
    title: str
    rejected: tuple[InstanceRef, ...]


def find_rejection(data: bytes) -> Rejection | None:
    """Read a KOS of Part 10; None when it is no rejection note.

    The instances are those of the evidence, of whatever study: the content tree repeats them without their series.
    Raises Malformed, TooLarge.
    """
    dataset = open_document(data)
    title = title_of(dataset)
    if title not in codes.REJECTION_NOTES:
        return None
    note = InstanceRef(
        *(checked_uid(text_of(dataset, it)) for it in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
    )
    rejected: dict[InstanceRef, None] = {}
    for study in items_of(dataset, "CurrentRequestedProcedureEvidenceSequence"):
        study_uid = checked_uid(text_of(study, "StudyInstanceUID") or note.study_uid)
        for series in items_of(study, "ReferencedSeriesSequence"):
            series_uid = checked_uid(text_of(series, "SeriesInstanceUID"))
            for instance in items_of(series, "ReferencedSOPSequence"):
                sop_uid = checked_uid(text_of(instance, "ReferencedSOPInstanceUID"))
                rejected[InstanceRef(study_uid, series_uid, sop_uid)] = None
                if len(rejected) > MAX_INSTANCES:
                    raise TooLarge("rejection note", f"more than {MAX_INSTANCES} instances")
    return Rejection(note, title, tuple(rejected))
