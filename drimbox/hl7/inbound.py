"""Every message the door serves, and what each of them is to the rest of the house (drim-m.md B.1, B.2)."""

from collections.abc import Callable
from typing import Final

from drimbox.errors import NotAcceptable
from drimbox.hl7.change import read_merge, read_notice
from drimbox.hl7.message import CHARSETS, Message, Segment
from drimbox.hl7.report import read_report
from drimbox.model import PatientMerge, Report, StudyNotice

Inbound = Report | StudyNotice | PatientMerge

_VERSIONS: Final = frozenset({"2.3.1", "2.4", "2.5", "2.5.1", "2.6"})
_READ: Final[dict[tuple[str, str], Callable[[Message], Inbound]]] = {
    ("ORU", "R01"): read_report,
    ("MDM", "T02"): read_report,
    ("MDM", "T10"): read_report,
    ("MDM", "T04"): read_report,
    ("OMI", "O23"): read_notice,
    ("ADT", "A40"): read_merge,
}


def read_inbound(message: Message) -> Inbound:
    """Read what a message says. Raises NotAcceptable for one we do not serve, and as the readers."""
    _check_header(message.header)
    return _READ[message.header.text(9, 1), message.header.text(9, 2)](message)


def _check_header(header: Segment) -> None:
    kind, event = header.text(9, 1), header.text(9, 2)
    if kind not in {known for known, _ in _READ}:
        raise NotAcceptable("message type", "only ORU, MDM, OMI and ADT are accepted")
    if (kind, event) not in _READ:
        served = ", ".join(" ".join(pair) for pair in _READ)
        raise NotAcceptable("trigger event", f"only {served} are accepted")
    if header.text(12) not in _VERSIONS:
        raise NotAcceptable("version", f"MSH-12 must be one of {', '.join(sorted(_VERSIONS))}")
    if header.text(18).upper() not in CHARSETS:
        raise NotAcceptable("MSH-18", "the character set must be UNICODE UTF-8, 8859/1 or 8859/15")
