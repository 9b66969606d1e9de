"""What we answer to an association request: which contexts, which roles (PS3.8 §7.1.1, PS3.7 annex D.3.3). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.command import VERIFICATION
from drimbox.dicom.commitment import PUSH_MODEL
from drimbox.dicom.identifier import Root
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
)
from drimbox.dicom.uid import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    is_storage,
    is_uid,
)
from drimbox.dicom.user_information import Extended, Role, UserInformation

FIND_ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": "patient",
    "1.2.840.10008.5.1.4.1.2.2.1": "study",
}
"""SOP classes of C-FIND, and their information models (PS3.4 table C.4-1)."""

GET_ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.3": "patient",
    "1.2.840.10008.5.1.4.1.2.2.3": "study",
}
"""Those of C-GET."""

MOVE_ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.2": "patient",
    "1.2.840.10008.5.1.4.1.2.2.2": "study",
}
"""Those of C-MOVE."""

_IDENTIFIED: Final = FIND_ROOTS.keys() | GET_ROOTS.keys() | MOVE_ROOTS.keys() | {PUSH_MODEL}
_OTHER_SERVICES: Final = _IDENTIFIED | {VERIFICATION}
_PLAIN: Final = frozenset(
    {IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN}
)  # for what we read and write
_ONE_AT_A_TIME: Final = (1, 1)
# Relational queries, combined date and time, fuzzy names; no time zone adjustment, no other views (PS3.4 §C.5.1.1).
_FIND_EXTENDED: Final = bytes((1, 1, 1, 0, 0))
_RETRIEVE_EXTENDED: Final = bytes((1, 0))  # relational retrieval; no other views (§C.5.2.1, §C.5.3.1)
_NAME_ANSWER: Final = b""  # to a user that is named there is nothing to tell (PS3.7 annex D.3.3.7.2)
_STORAGE_EXTENDED: Final = bytes((2, 0, 3, 0, 0, 0))  # level 2 (full), signatures level 3, no coercion (§B.3.1)


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context in force. Its UIDs are checked. is_receiver: the requestor takes C-STORE in it.

    extended: of a query or retrieval, what was agreed on, byte by byte.
    """

    abstract_syntax: str
    transfer_syntax: str
    is_receiver: bool = False
    extended: bytes = b""

    @property
    def is_relational(self) -> bool:
        """May a query or retrieval leave out the unique keys above its level?"""
        return self.extended[:1] == b"\1"

    @property
    def is_combined(self) -> bool:
        """Are a date and its time one moment in a query?"""
        return self.extended[1:2] == b"\1"

    @property
    def is_fuzzy(self) -> bool:
        """Are names in a query matched nearly?"""
        return self.extended[2:3] == b"\1"


def find_rejection(request: AssociateRequest) -> Rejection | None:
    """Why this request cannot be served whoever asks, if there is a reason."""
    if not request.protocol_version & PROTOCOL_VERSION:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    return None


def answer(
    request: AssociateRequest, maximum_length: int, *, is_user_accepted: bool = False
) -> tuple[AssociateAccept, Mapping[int, Context]]:
    """The A-ASSOCIATE-AC for `request`, and its accepted contexts by identifier."""
    offered = {role.sop_class_uid for role in request.user.roles if role.scp}
    answers = tuple(_answer_context(proposed, offered) for proposed in request.contexts)
    pairs = [
        (proposed, answered)
        for proposed, answered in zip(request.contexts, answers, strict=True)
        if answered.result == ContextResult.ACCEPTED
    ]
    accepted = {proposed.abstract_syntax for proposed, _ in pairs}
    roles = tuple(_answer_role(role, accepted) for role in request.user.roles if role.sop_class_uid in accepted)
    receiving = {role.sop_class_uid for role in roles if role.scp}
    extended = tuple(_answer_extended(one) for one in request.user.extended if one.sop_class_uid in accepted)
    agreed = {one.sop_class_uid: one.information for one in extended if one.sop_class_uid in _IDENTIFIED}
    contexts = {
        answered.id: Context(
            proposed.abstract_syntax,
            answered.transfer_syntax,
            proposed.abstract_syntax in receiving,
            agreed.get(proposed.abstract_syntax, b""),
        )
        for proposed, answered in pairs
    }
    user = UserInformation(
        maximum_length,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        _ONE_AT_A_TIME if request.user.window is not None else None,
        roles,
        extended,
        identity_answer=_NAME_ANSWER if is_user_accepted and _is_answer_wanted(request) else None,
    )
    accept = AssociateAccept(request.called, request.calling, answers, user, reserved=request.reserved)
    return accept, contexts


def _is_answer_wanted(request: AssociateRequest) -> bool:
    return request.user.identity is not None and request.user.identity.is_answer_wanted


def _answer_role(role: Role, accepted: set[str]) -> Role:
    """The requestor may be SCP of storage for its C-GET, and of nothing else (PS3.7 D.3.3.4)."""
    is_receiver = role.scp and role.sop_class_uid not in _OTHER_SERVICES and not accepted.isdisjoint(GET_ROOTS)
    return Role(role.sop_class_uid, role.scu, is_receiver)


def _answer_extended(asked: Extended) -> Extended:
    """Of a query or retrieval, what was asked for and we do; of storage, what we do (PS3.7 annex D.3.3.5)."""
    if is_storage(asked.sop_class_uid):
        return Extended(asked.sop_class_uid, _STORAGE_EXTENDED)
    ours = _FIND_EXTENDED if asked.sop_class_uid in FIND_ROOTS else _RETRIEVE_EXTENDED
    both = bytes(mine & theirs for mine, theirs in zip(ours, asked.information, strict=False))
    return Extended(asked.sop_class_uid, both)


def _answer_context(proposed: ProposedContext, offered: set[str]) -> AnsweredContext:
    """offered: the SOP classes whose instances the requestor takes by C-GET.

    These go as they are kept, mostly in explicit VR: of the two plain forms it is chosen though implicit comes first.
    """
    if not _is_served(proposed.abstract_syntax):
        return AnsweredContext(proposed.id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, "")
    known = _PLAIN if proposed.abstract_syntax in _IDENTIFIED else TRANSFER_SYNTAXES.keys()
    possible = [syntax for syntax in proposed.transfer_syntaxes if syntax in known]
    if not possible:
        return AnsweredContext(proposed.id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, "")
    chosen = possible[0]
    if chosen == IMPLICIT_LITTLE_ENDIAN and proposed.abstract_syntax in offered and EXPLICIT_LITTLE_ENDIAN in possible:
        chosen = EXPLICIT_LITTLE_ENDIAN
    return AnsweredContext(proposed.id, ContextResult.ACCEPTED, chosen)


def _is_served(abstract_syntax: str) -> bool:
    return abstract_syntax in _OTHER_SERVICES or (is_uid(abstract_syntax) and is_storage(abstract_syntax))
