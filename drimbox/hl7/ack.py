"""The answer to a message: MSH, MSA, and ERR when refused (HL7 v2.5 §2.9, §2.15; drim-m.md B.1)."""

from datetime import datetime

from drimbox.errors import (
    Conflict,
    Corrupt,
    Denied,
    DrimboxError,
    Malformed,
    NoSpace,
    NotAcceptable,
    NotFound,
    TooLarge,
    Unavailable,
    Unidentified,
)
from drimbox.hl7.message import CHARSETS, Segment, build_segment

# MSA-1, HL7 table 0008: AE = this message is wrong; AR = not now, or not from you, or not a message we serve.
ACK_CODE: dict[type[DrimboxError], str] = {
    Malformed: "AE",
    TooLarge: "AE",
    NotFound: "AE",
    NotAcceptable: "AR",
    Conflict: "AE",
    Unidentified: "AR",
    Denied: "AR",
    NoSpace: "AE",
    Corrupt: "AR",
    Unavailable: "AR",
}

# ERR-3, HL7 table 0357; ERR-2 where the fault has a place. By what was refused, else by leaf, else 207.
_SEGMENT_SEQUENCE = ("100", "Segment sequence error", "")
_ERROR_OF: dict[str, tuple[str, str, str]] = {
    "MSH": _SEGMENT_SEQUENCE,
    "message": _SEGMENT_SEQUENCE,
    "required field": ("101", "Required field missing", ""),
    "OBX-5": ("102", "Data type error", "OBX^1^5"),
    "OBX-11": ("103", "Table value not found", "OBX^1^11"),
    "MSH-18": ("103", "Table value not found", "MSH^1^18"),
    "message type": ("200", "Unsupported message type", "MSH^1^9^1^1"),
    "trigger event": ("201", "Unsupported event code", "MSH^1^9^1^2"),
    "version": ("203", "Unsupported version id", "MSH^1^12"),
    "patient": ("204", "Unknown key identifier", "PID^1^3"),
    "accession number": ("204", "Unknown key identifier", "IPC^1^1"),
    "IPC-3": ("102", "Data type error", "IPC^1^3"),
    "MRG": _SEGMENT_SEQUENCE,
}
_WRONG_DATA = ("102", "Data type error", "")
_INTERNAL = ("207", "Application internal error", "")


def build_ack(header: Segment | None, error: DrimboxError | None, at: datetime, control_id: str) -> bytes:
    """Build the answer, without the MLLP frame.

    header: MSH of the message, None when it could not be read. error: None when what it says is kept. control_id: our
    MSH-10, new. What was received goes back unescaped, then escaped again by `build_segment`.
    """

    def received(field_number: int, component_number: int = 1) -> str:
        return header.text(field_number, component_number) if header else ""

    event = received(9, 2)
    charset = received(18) or "UNICODE UTF-8"
    text = build_segment(
        *("MSH", received(5), received(6), received(3), received(4), at.strftime("%Y%m%d%H%M%S%z"), ""),
        *(("ACK", event, "ACK") if event else "ACK", control_id, received(11) or "P", received(12) or "2.5"),
        *("", "", "", "", received(17) or "FRA", charset),
    ) + build_segment("MSA", ACK_CODE[type(error)] if error else "AA", received(10))
    if error is not None:
        wrong_data = isinstance(error, Malformed | TooLarge)
        code, meaning, place = _ERROR_OF.get(error.what, _WRONG_DATA if wrong_data else _INTERNAL)
        reason = (code, meaning, "HL70357")
        text += build_segment("ERR", "", tuple(place.split("^")), reason, "E", "", "", "", str(error))
    return text.encode(CHARSETS.get(charset.upper(), "utf-8"), "replace")
