"""What HL7 v2 says of exams and patients besides reports: OMI^O23 and ADT^A40 (drim-m.md B.2)."""

from drimbox.dicom.uid import checked_uid
from drimbox.errors import Malformed
from drimbox.hl7.identity import read_ins, read_local_id, read_patient
from drimbox.hl7.message import Message, message_id
from drimbox.model import Identifier, PatientMerge, StudyNotice

_CANCELLED = frozenset({"CA", "OC", "CR", "DC", "OD"})  # HL7 table 0119: the order is cancelled or discontinued


def read_notice(message: Message) -> StudyNotice:
    """Read an OMI^O23: the exam of its IPC segment changed, or was taken back (ORC-1). Raises Malformed, Conflict."""
    procedure = message.find("IPC")
    if procedure is None or not procedure.text(3):
        raise Malformed("required field", "IPC-3, the Study Instance UID, is empty")
    studies = {checked_uid(segment.text(3)) for segment in message.all("IPC") if segment.text(3)}
    if len(studies) > 1:
        raise Malformed("IPC-3", "one message is about one study")
    order, patient = message.find("ORC"), message.find("PID")
    return StudyNotice(
        message_id=message_id(message),
        message=message.raw,
        study_uid=studies.pop(),
        cancelled=order is not None and order.text(1) in _CANCELLED,
        accession=procedure.text(1),
        ins=read_ins(patient) if patient else None,
        local_id=read_local_id(patient) if patient else None,
    )


def read_merge(message: Message) -> PatientMerge:
    """Read an ADT^A40: PID is the patient who stays, MRG-1 the identifiers that go. Raises Malformed, Conflict."""
    patient, merged = message.find("PID"), message.find("MRG")
    if patient is None or merged is None:
        raise Malformed("required field", "a merge needs PID and MRG")
    if len(message.all("MRG")) > 1:
        raise Malformed("MRG", "one message is about one merge")
    gone = tuple(Identifier(cx.text(1), cx.text(4, 2), cx.text(4, 1)) for cx in merged.all(1) if cx.text(1))
    if not gone:
        raise Malformed("required field", "MRG-1, the identifier that goes, is empty")
    return PatientMerge(message_id(message), message.raw, read_patient(patient), gone)
