"""What we answer to an association request: which contexts, which roles (PS3.8 §7.1.1, PS3.7 annex D.3.3). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.command import VERIFICATION
from drimbox.dicom.pdu import (
    APPLICATION_CONTEXT,
    APPLICATION_CONTEXT_NOT_SUPPORTED,
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_NOT_SUPPORTED,
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Rejection,
    Role,
    UserInformation,
)
from drimbox.dicom.uid import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TRANSFER_SYNTAXES,
    checked_uid,
    is_storage,
)
from drimbox.errors import Malformed

_ONE_AT_A_TIME: Final = (1, 1)


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context in force. Its UIDs are checked."""

    abstract_syntax: str
    transfer_syntax: str


def find_rejection(request: AssociateRequest) -> Rejection | None:
    """Why this request cannot be served whoever asks, if there is a reason."""
    if not request.protocol_version & PROTOCOL_VERSION:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    return None


def answer(request: AssociateRequest, maximum_length: int) -> tuple[AssociateAccept, Mapping[int, Context]]:
    """The A-ASSOCIATE-AC for `request`, and its accepted contexts by identifier."""
    answers = tuple(_answer_context(proposed) for proposed in request.contexts)
    contexts = {
        answered.id: Context(proposed.abstract_syntax, answered.transfer_syntax)
        for proposed, answered in zip(request.contexts, answers, strict=True)
        if answered.result == ContextResult.ACCEPTED
    }
    accepted = {context.abstract_syntax for context in contexts.values()}
    user = UserInformation(
        maximum_length,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        _ONE_AT_A_TIME if request.user.window is not None else None,
        # We only receive: the requestor may be SCU, never SCP (PS3.7 D.3.3.4).
        tuple(Role(r.sop_class_uid, r.scu, scp=False) for r in request.user.roles if r.sop_class_uid in accepted),
    )
    accept = AssociateAccept(request.called, request.calling, answers, user, reserved=request.reserved)
    return accept, contexts


def _answer_context(proposed: ProposedContext) -> AnsweredContext:
    if not _is_served(proposed.abstract_syntax):
        return AnsweredContext(proposed.id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, "")
    for syntax in proposed.transfer_syntaxes:
        if syntax in TRANSFER_SYNTAXES:
            return AnsweredContext(proposed.id, ContextResult.ACCEPTED, syntax)
    return AnsweredContext(proposed.id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, "")


def _is_served(abstract_syntax: str) -> bool:
    try:
        return abstract_syntax == VERIFICATION or is_storage(checked_uid(abstract_syntax))
    except Malformed:
        return False
