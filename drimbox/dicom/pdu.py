"""Protocol Data Units of the DICOM Upper Layer: values to bytes and back (PS3.8 §9.3, PS3.7 annex D.3.3).

P-DATA-TF is only built here: it is read as it streams in, by the door that receives it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from drimbox.dicom.user_information import (
    UserInformation,
    build_item,
    build_user_information,
    read_items,
    read_uid,
    read_user_information,
)
from drimbox.errors import Malformed

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1
PROTOCOL_VERSION: Final = 1  # bit 0: version 1

HEADER: Final = struct.Struct(">BxI")  # type, reserved, length of what follows
PDV_HEADER: Final = struct.Struct(">IBB")  # length of what follows it, context id, message control header

_FIXED: Final = struct.Struct(">H2x16s16s32s")  # the fixed part of A-ASSOCIATE-RQ and -AC

COMMAND: Final = 1  # message control header: command, else data set
LAST: Final = 2  # message control header: last fragment (PS3.8 annex E.2)


class Pdu(IntEnum):
    """PDU types, PS3.8 §9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class _Item(IntEnum):
    """Items, PS3.8 §9.3.2. The others are skipped, as the part demands."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ACCEPTED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50


class ContextResult(IntEnum):
    """PS3.8 table 9-18."""

    ACCEPTED = 0
    USER_REJECTED = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class AbortSource(IntEnum):
    """PS3.8 table 9-26."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """PS3.8 table 9-26; it means something only from the service provider."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not accepted: result, source and reason of PS3.8 table 9-21."""

    result: int
    source: int
    reason: int


APPLICATION_CONTEXT_NOT_SUPPORTED: Final = Rejection(1, 1, 2)
CALLING_TITLE_NOT_RECOGNIZED: Final = Rejection(1, 1, 3)
CALLED_TITLE_NOT_RECOGNIZED: Final = Rejection(1, 1, 7)
USER_IDENTITY_NOT_ACCEPTED: Final = Rejection(1, 2, 1)  # of no reason told, by the ACSE (PS3.7 annex D.3.3.7)
PROTOCOL_VERSION_NOT_SUPPORTED: Final = Rejection(1, 2, 2)
TEMPORARY_CONGESTION: Final = Rejection(2, 3, 1)
LOCAL_LIMIT_EXCEEDED: Final = Rejection(2, 3, 2)


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as asked. The UIDs are text from the wire, not yet checked."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """A presentation context as answered. transfer_syntax means something only when accepted."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ, PS3.8 §9.3.2. `reserved` goes back as it came."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION
    reserved: bytes = bytes(32)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC, PS3.8 §9.3.3."""

    called: str
    calling: str
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION
    reserved: bytes = bytes(32)


def build_associate_request(request: AssociateRequest) -> bytes:
    """The whole A-ASSOCIATE-RQ PDU."""
    contexts = b"".join(
        build_item(
            _Item.PROPOSED_CONTEXT,
            bytes((context.id, 0, 0, 0))
            + _text(_Item.ABSTRACT_SYNTAX, context.abstract_syntax)
            + b"".join(_text(_Item.TRANSFER_SYNTAX, syntax) for syntax in context.transfer_syntaxes),
        )
        for context in request.contexts
    )
    return _associate(Pdu.ASSOCIATE_RQ, request, contexts)


def build_associate_accept(accept: AssociateAccept) -> bytes:
    """The whole A-ASSOCIATE-AC PDU."""
    contexts = b"".join(
        build_item(
            _Item.ACCEPTED_CONTEXT,
            bytes((context.id, 0, context.result, 0)) + _text(_Item.TRANSFER_SYNTAX, context.transfer_syntax),
        )
        for context in accept.contexts
    )
    return _associate(Pdu.ASSOCIATE_AC, accept, contexts)


def build_associate_reject(rejection: Rejection) -> bytes:
    """The whole A-ASSOCIATE-RJ PDU, PS3.8 §9.3.4."""
    return _pdu(Pdu.ASSOCIATE_RJ, bytes((0, rejection.result, rejection.source, rejection.reason)))


def build_release_request() -> bytes:
    """The whole A-RELEASE-RQ PDU, PS3.8 §9.3.6."""
    return _pdu(Pdu.RELEASE_RQ, bytes(4))


def build_release_response() -> bytes:
    """The whole A-RELEASE-RP PDU, PS3.8 §9.3.7."""
    return _pdu(Pdu.RELEASE_RP, bytes(4))


def build_abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """The whole A-ABORT PDU, PS3.8 §9.3.8."""
    return _pdu(Pdu.ABORT, bytes((0, 0, source, reason)))


def build_data(
    context_id: int, payload: bytes | memoryview, is_command: bool, maximum_length: int, *, is_last: bool = True
) -> Iterator[bytes]:
    """P-DATA-TF PDUs of one fragment each that carry `payload`, a whole command set or data set (PS3.8 annex E).

    is_last: the set ends with it.

    maximum_length: what the other side announced, 0 for no limit; at least 7, else nothing fits.
    """
    step = (maximum_length or 2**20) - PDV_HEADER.size
    kind = COMMAND if is_command else 0
    for start in range(0, len(payload) or 1, step):
        piece = payload[start : start + step]
        control = kind | (LAST if is_last and start + step >= len(payload) else 0)
        yield _pdu(Pdu.DATA, PDV_HEADER.pack(len(piece) + 2, context_id, control) + piece)


def read_associate_request(body: bytes) -> AssociateRequest:
    """Read what follows the six first bytes of an A-ASSOCIATE-RQ. Raises Malformed."""
    version, called, calling, reserved = _fixed(body)
    application_context, contexts, user = "", list[ProposedContext](), None
    for kind, value in read_items(body, _FIXED.size):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = read_uid(value)
        elif kind == _Item.PROPOSED_CONTEXT:
            contexts.append(_proposed_context(value))
        elif kind == _Item.USER_INFORMATION:
            user = read_user_information(value)
    if not contexts or len({context.id for context in contexts}) != len(contexts):
        raise Malformed("A-ASSOCIATE-RQ", "no presentation context, or one identifier twice")
    if user is None:
        raise Malformed("A-ASSOCIATE-RQ", "no user information item")
    return AssociateRequest(called, calling, tuple(contexts), user, application_context, version, reserved)


def read_associate_accept(body: bytes) -> AssociateAccept:
    """Read what follows the six first bytes of an A-ASSOCIATE-AC. Raises Malformed."""
    version, called, calling, reserved = _fixed(body)
    application_context, contexts, user = "", list[AnsweredContext](), None
    for kind, value in read_items(body, _FIXED.size):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = read_uid(value)
        elif kind == _Item.ACCEPTED_CONTEXT:
            syntaxes = [read_uid(text) for sub, text in read_items(value, 4) if sub == _Item.TRANSFER_SYNTAX]
            contexts.append(AnsweredContext(_context_id(value), value[2], syntaxes[0] if syntaxes else ""))
        elif kind == _Item.USER_INFORMATION:
            user = read_user_information(value)
    if user is None:
        raise Malformed("A-ASSOCIATE-AC", "no user information item")
    return AssociateAccept(called, calling, tuple(contexts), user, application_context, version, reserved)


# --- Pieces ---------------------------------------------------------------------------------------------------------


def _pdu(kind: Pdu, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body


def _text(kind: _Item, text: str) -> bytes:
    return build_item(kind, text.encode("ascii"))


def _associate(kind: Pdu, pdu: AssociateRequest | AssociateAccept, contexts: bytes) -> bytes:
    titles = (title.encode("ascii").ljust(16) for title in (pdu.called, pdu.calling))
    fixed = _FIXED.pack(pdu.protocol_version, *titles, pdu.reserved)
    application_context = _text(_Item.APPLICATION_CONTEXT, pdu.application_context)
    return _pdu(
        kind,
        fixed + application_context + contexts + build_item(_Item.USER_INFORMATION, build_user_information(pdu.user)),
    )


def _fixed(body: bytes) -> tuple[int, str, str, bytes]:
    if len(body) < _FIXED.size:
        raise Malformed("A-ASSOCIATE", f"shorter than {_FIXED.size} bytes")
    version, called, calling, reserved = _FIXED.unpack_from(body)
    return version, _title(called), _title(calling), reserved


def _title(field: bytes) -> str:
    """An AE title (VR AE, PS3.5 §6.2): spaces around mean nothing, and products in service pad with NUL."""
    text = field.strip(b" \0").decode("ascii", "replace")
    if not (text.isascii() and text.isprintable()) or "\\" in text:
        raise Malformed("AE title", "not printable ASCII, or with a backslash")
    return text


def _context_id(value: bytes) -> int:
    if len(value) < 4 or value[0] % 2 == 0:
        raise Malformed("presentation context", "cut, or an even identifier")
    return value[0]


def _proposed_context(value: bytes) -> ProposedContext:
    context_id, abstract, transfer = _context_id(value), list[str](), list[str]()
    for kind, text in read_items(value, 4):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract.append(read_uid(text))
        elif kind == _Item.TRANSFER_SYNTAX:
            transfer.append(read_uid(text))
    if len(abstract) != 1 or not transfer:
        raise Malformed("presentation context", "needs one abstract syntax and a transfer syntax")
    return ProposedContext(context_id, abstract[0], tuple(transfer))
