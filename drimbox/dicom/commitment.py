"""Storage commitment: what is asked for, and the report of it (PS3.4 annex J)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from drimbox.dicom.elements import ITEM, ElementReader, Limits
from drimbox.dicom.part10 import InMemory
from drimbox.dicom.uid import TRANSFER_SYNTAXES, checked_uid
from drimbox.errors import Malformed

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known SOP instance every request is about."""

REQUEST_COMMITMENT: Final = 1  # action type, table J.3-1
_SUCCESSFUL, _FAILURES_EXIST = 1, 2  # event types, table J.3-2

# Failure Reason (0008,1197), PS3.3 §C.14.1.1
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119

_TRANSACTION_UID, _REFERENCED, _SOP_CLASS, _SOP = 0x00081195, 0x00081199, 0x00081150, 0x00081155
_LIMITS: Final = Limits(max_depth=3, max_elements=200_000)

Reference = tuple[str, str]
"""SOP class and SOP instance."""


@dataclass(frozen=True, slots=True)
class Request:
    """The instances somebody wants to be sure of, each once, in their order."""

    transaction_uid: str
    instances: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a request. failed: Failure Reason by SOP instance; all others are safe."""

    transaction_uid: str
    instances: tuple[Reference, ...]
    failed: Mapping[str, int]

    @property
    def event_type(self) -> int:
        """Of the N-EVENT-REPORT that carries it."""
        return _FAILURES_EXIST if self.failed else _SUCCESSFUL


def read_request(data: bytes, transfer_syntax: str) -> Request:
    """Read the Action Information of an N-ACTION (table J.3-1). Raises Malformed, TooLarge."""
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    reader = ElementReader(
        InMemory(data), 0, explicit=syntax.explicit, little_endian=syntax.little_endian, limits=_LIMITS
    )
    transaction_uid, place = "", 0
    named: list[dict[int, str]] = []
    for depth, tag, _, offset, length in reader:
        if depth == 0:
            place = tag
            if tag == _TRANSACTION_UID:
                transaction_uid = _uid(reader.value(offset, length))
        elif place == _REFERENCED and depth == 1:
            if tag == ITEM:
                named.append({})
            elif tag in (_SOP_CLASS, _SOP) and named:
                named[-1][tag] = _uid(reader.value(offset, length))
    if not transaction_uid or not named or any(len(one) != 2 for one in named):
        raise Malformed(
            "Action Information", "a Transaction UID, or a reference with its class and instance, is absent"
        )
    return Request(transaction_uid, tuple(dict.fromkeys((one[_SOP_CLASS], one[_SOP]) for one in named)))


def _uid(value: bytes) -> str:
    return checked_uid(value.decode("ascii", "replace").strip(" \0"))


def build_report(report: Report, ae_title: str) -> dict[str, Any]:
    """The Event Information of an N-EVENT-REPORT (table J.3-2), as DICOM JSON. ae_title: from whom to retrieve."""
    built: dict[str, Any] = {
        "00080054": {"vr": "AE", "Value": [ae_title]},
        "00081195": {"vr": "UI", "Value": [report.transaction_uid]},
    }
    failed = [
        _item(one) | {"00081197": _us(report.failed[one[1]])} for one in report.instances if one[1] in report.failed
    ]
    safe = [_item(one) for one in report.instances if one[1] not in report.failed]
    for tag, items in (("00081198", failed), ("00081199", safe)):
        if items:
            built[tag] = {"vr": "SQ", "Value": items}
    return built


def _item(reference: Reference) -> dict[str, Any]:
    sop_class_uid, sop_uid = reference
    return {"00081150": {"vr": "UI", "Value": [sop_class_uid]}, "00081155": {"vr": "UI", "Value": [sop_uid]}}


def _us(number: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [number]}
