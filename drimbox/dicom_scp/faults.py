"""What is wrong with a request before its service looks at it (PS3.7 annex C.5). Pure.

A command set that has no field, message or data set type cannot be answered at all: that ends the association
(`messages`). Whatever is wrong with the data set is the service's own to say (PS3.4).
"""

from collections.abc import Mapping
from typing import Final

from drimbox.dicom.command import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    VERIFICATION,
    Command,
)
from drimbox.dicom.commitment import PUSH_MODEL
from drimbox.dicom.uid import is_storage, is_uid
from drimbox.dicom_scp.negotiation import FIND_ROOTS, GET_ROOTS, MOVE_ROOTS
from drimbox.dicom_scp.status import (
    INVALID_INSTANCE,
    MISTYPED_ARGUMENT,
    NO_SUCH_CLASS,
    SOP_CLASS_NOT_SUPPORTED,
    UNRECOGNIZED_OPERATION,
)

_AGREED: Final[Mapping[int, frozenset[str]]] = {
    C_ECHO_RQ: frozenset({VERIFICATION}),
    C_FIND_RQ: frozenset(FIND_ROOTS),
    C_GET_RQ: frozenset(GET_ROOTS),
    C_MOVE_RQ: frozenset(MOVE_ROOTS),
    N_ACTION_RQ: frozenset({PUSH_MODEL}),
}
"""The contexts each operation was agreed for; C-STORE those of storage."""

_OF_AN_INSTANCE: Final = frozenset({C_STORE_RQ, N_ACTION_RQ})
Fault = tuple[int, str]
"""A status and an Error Comment."""


def find_fault(command: Command, abstract_syntax: str) -> Fault | None:
    """Why this request, in a presentation context of `abstract_syntax`, is not looked at, if there is a reason."""
    if not _is_agreed(command.field, abstract_syntax):
        return UNRECOGNIZED_OPERATION, "not an operation of this presentation context"
    if command.mistyped is not None:
        return MISTYPED_ARGUMENT, f"element (0000,{command.mistyped:04X}) has not the length of its type"
    if command.sop_class_uid != abstract_syntax:
        status = NO_SUCH_CLASS if command.field == N_ACTION_RQ else SOP_CLASS_NOT_SUPPORTED
        return status, "SOP class: not the abstract syntax of its context"
    if command.field in _OF_AN_INSTANCE and not is_uid(command.sop_uid):
        return INVALID_INSTANCE, "SOP Instance UID: absent, or no UID"
    return None


def _is_agreed(field: int, abstract_syntax: str) -> bool:
    if field == C_STORE_RQ:
        return is_storage(abstract_syntax)
    return abstract_syntax in _AGREED.get(field, ())
