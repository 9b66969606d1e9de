"""What is answered to STOW-RS: a status and a data set (PS3.18 §10.5.3, annex I). Pure."""

from collections.abc import Sequence
from typing import Any, Final

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
from drimbox.flows.store import Result

FAILURE_REASON: Final[dict[type[DrimboxError], int]] = {  # PS3.18 table I.2-2, PS3.4 table B.2-1
    Malformed: 0xC000,  # cannot understand
    TooLarge: 0xA700,  # out of resources
    NotFound: 0x0110,
    NotAcceptable: 0x0122,  # SOP class not supported
    Conflict: 0xA900,  # data set does not match: here, the study of the URL
    Unidentified: 0x0124,  # not authorized
    Denied: 0x0124,
    NoSpace: 0xA700,
    Corrupt: 0x0110,  # processing failure
    Unavailable: 0x0110,
}
SET_ASIDE: Final = 0xB000  # the warning that C-STORE gives for it

_RETRIEVE_URL, _FAILED, _STORED, _OTHERS = "00081190", "00081198", "00081199", "0008119A"
_SOP_CLASS, _SOP_INSTANCE, _WARNING, _REASON = "00081150", "00081155", "00081196", "00081197"


def build_answer(results: Sequence[Result], root: str) -> tuple[int, dict[str, Any]]:
    """The status, and the data set in the JSON model. results: one at least. root: of the service."""
    stored = [result for result in results if result.ref]
    failed = [result for result in results if not result.ref]
    named = [result for result in failed if result.sop_uid]
    others = [result for result in failed if not result.sop_uid]
    studies = {result.ref.study_uid for result in stored if result.ref}
    told: dict[str, Any] = {_RETRIEVE_URL: {"vr": "UR"}}
    if len(studies) == 1:
        told[_RETRIEVE_URL]["Value"] = [f"{root}/studies/{studies.pop()}"]
    sequences = ((_FAILED, [_failure(result) for result in named]), (_STORED, [_success(r, root) for r in stored]))
    for tag, items in (*sequences, (_OTHERS, [_reason(result) for result in others])):
        if items:
            told[tag] = {"vr": "SQ", "Value": items}
    return _status(stored, failed), told


def _status(stored: Sequence[Result], failed: Sequence[Result]) -> int:
    if not stored:
        return 413 if all(isinstance(result.failure, TooLarge) for result in failed) else 409
    return 202 if failed or any(result.set_aside for result in stored) else 200


def _names(result: Result) -> dict[str, Any]:
    return {
        tag: {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}
        for tag, uid in ((_SOP_CLASS, result.sop_class_uid), (_SOP_INSTANCE, result.sop_uid))
    }


def _failure(result: Result) -> dict[str, Any]:
    return _names(result) | _reason(result)


def _reason(result: Result) -> dict[str, Any]:
    reason = FAILURE_REASON[type(result.failure)] if result.failure else 0x0110
    return {_REASON: {"vr": "US", "Value": [reason]}}


def _success(result: Result, root: str) -> dict[str, Any]:
    item = _names(result)
    if result.set_aside:
        item[_WARNING] = {"vr": "US", "Value": [SET_ASIDE]}
    if ref := result.ref:
        url = f"{root}/studies/{ref.study_uid}/series/{ref.series_uid}/instances/{ref.sop_uid}"
        item[_RETRIEVE_URL] = {"vr": "UR", "Value": [url]}
    return item
