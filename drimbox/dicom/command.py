"""DIMSE command sets: values to bytes and back (PS3.7 §6.3, §9, §10 and annex E).

A command set is group 0000 in Implicit VR Little Endian, whatever the transfer syntax of its context.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from drimbox.errors import Malformed

VERIFICATION: Final = "1.2.840.10008.1.1"

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000  # the bit that tells a response from its request

_ELEMENT: Final = struct.Struct("<HHI")
_NO_DATA_SET: Final = 0x0101
_DATA_SET: Final = 0x0001


class _Tag(IntEnum):
    """Element numbers of group 0000, PS3.7 annex E.1."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUB_OPERATIONS = 0x1020
    COMPLETED_SUB_OPERATIONS = 0x1021
    FAILED_SUB_OPERATIONS = 0x1022
    WARNING_SUB_OPERATIONS = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


_SHORT: Final = 2
_NUMBERS: Final = (_Tag.PRIORITY, _Tag.STATUS, _Tag.EVENT_TYPE_ID, _Tag.ACTION_TYPE_ID)
"""Of two bytes (VR US), and not needed to answer."""

_TYPES: Final = {N_EVENT_REPORT_RQ: _Tag.EVENT_TYPE_ID, N_ACTION_RQ: _Tag.ACTION_TYPE_ID}


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far the C-STORE sub-operations of a C-GET or C-MOVE are. remaining: None once there is nothing to do."""

    remaining: int | None
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class Command:
    """One command set, request or response; what is absent is None or empty.

    message_id: of the request, in the response too. sop_class_uid, sop_uid: Affected or Requested, text from the
    wire, not yet checked. move_destination: an AE title, of a C-MOVE. originator: of the C-MOVE that this C-STORE is
    part of, who asked for it and in which message. type_id: of the action or of the event. mistyped: an element
    that was read over because it has not the length of its type.
    """

    field: int
    message_id: int
    sop_class_uid: str = ""
    sop_uid: str = ""
    has_data_set: bool = False
    priority: int | None = None
    status: int | None = None
    error_comment: str = ""
    move_destination: str = ""
    sub_operations: SubOperations | None = None
    originator: tuple[str, int] | None = None
    type_id: int | None = None
    mistyped: int | None = None


def read_command(data: bytes) -> Command:
    """Read a command set. Raises Malformed when it could not even be answered.

    The group length is not believed: products in service get it wrong. Elements we do not use are skipped.
    """
    elements = dict(_elements(data))
    mistyped = next((tag for tag in _NUMBERS if len(elements.get(tag, b"  ")) != _SHORT), None)
    for tag in _NUMBERS if mistyped is not None else ():
        if len(elements.get(tag, b"")) != _SHORT:
            elements.pop(tag, None)
    field = _number(elements, _Tag.COMMAND_FIELD)
    identifier = _Tag.MESSAGE_ID_BEING_RESPONDED_TO if field & RESPONSE else _Tag.MESSAGE_ID
    if field == C_CANCEL_RQ:  # the one request that names its message so, PS3.7 §9.3.2.3
        identifier = _Tag.MESSAGE_ID_BEING_RESPONDED_TO
    return Command(
        field,
        _number(elements, identifier),
        _text(elements, _Tag.AFFECTED_SOP_CLASS_UID) or _text(elements, _Tag.REQUESTED_SOP_CLASS_UID),
        _text(elements, _Tag.AFFECTED_SOP_INSTANCE_UID) or _text(elements, _Tag.REQUESTED_SOP_INSTANCE_UID),
        _number(elements, _Tag.COMMAND_DATA_SET_TYPE) != _NO_DATA_SET,
        _number(elements, _Tag.PRIORITY) if _Tag.PRIORITY in elements else None,
        _number(elements, _Tag.STATUS) if _Tag.STATUS in elements else None,
        _text(elements, _Tag.ERROR_COMMENT),
        _text(elements, _Tag.MOVE_DESTINATION),
        _sub_operations(elements),
        type_id=next((_number(elements, tag) for tag in _TYPES.values() if tag in elements), None),
        mistyped=mistyped,
    )


def _sub_operations(elements: dict[int, bytes]) -> SubOperations | None:
    if _Tag.COMPLETED_SUB_OPERATIONS not in elements:
        return None
    return SubOperations(
        _number(elements, _Tag.REMAINING_SUB_OPERATIONS) if _Tag.REMAINING_SUB_OPERATIONS in elements else None,
        _number(elements, _Tag.COMPLETED_SUB_OPERATIONS),
        _number(elements, _Tag.FAILED_SUB_OPERATIONS),
        _number(elements, _Tag.WARNING_SUB_OPERATIONS),
    )


def build_command(command: Command) -> bytes:
    """The command set as bytes, elements in order, group length first."""
    is_response = command.field & RESPONSE or command.field == C_CANCEL_RQ
    identifier = _Tag.MESSAGE_ID_BEING_RESPONDED_TO if is_response else _Tag.MESSAGE_ID
    body = bytearray()
    if command.sop_class_uid:
        body += _element(_Tag.AFFECTED_SOP_CLASS_UID, command.sop_class_uid.encode("ascii"))
    body += _element(_Tag.COMMAND_FIELD, command.field.to_bytes(2, "little"))
    body += _element(identifier, command.message_id.to_bytes(2, "little"))
    if command.move_destination:
        body += _element(_Tag.MOVE_DESTINATION, command.move_destination.encode("ascii"), b" ")
    if command.priority is not None:
        body += _element(_Tag.PRIORITY, command.priority.to_bytes(2, "little"))
    data_set = _DATA_SET if command.has_data_set else _NO_DATA_SET
    body += _element(_Tag.COMMAND_DATA_SET_TYPE, data_set.to_bytes(2, "little"))
    if command.status is not None:
        body += _element(_Tag.STATUS, command.status.to_bytes(2, "little"))
    if command.error_comment:
        body += _element(_Tag.ERROR_COMMENT, command.error_comment.encode("ascii"), b" ")
    if command.sop_uid:
        body += _element(_Tag.AFFECTED_SOP_INSTANCE_UID, command.sop_uid.encode("ascii"))
    if command.type_id is not None:
        body += _element(_TYPES[command.field & ~RESPONSE], command.type_id.to_bytes(2, "little"))
    if command.sub_operations is not None:
        body += _build_sub_operations(command.sub_operations)
    if command.originator is not None:
        ae_title, message_id = command.originator
        body += _element(_Tag.MOVE_ORIGINATOR, ae_title.encode("ascii"), b" ")
        body += _element(_Tag.MOVE_ORIGINATOR_MESSAGE_ID, message_id.to_bytes(2, "little"))
    return _element(_Tag.GROUP_LENGTH, len(body).to_bytes(4, "little")) + bytes(body)


def _build_sub_operations(done: SubOperations) -> bytes:
    counts = {
        _Tag.REMAINING_SUB_OPERATIONS: done.remaining,
        _Tag.COMPLETED_SUB_OPERATIONS: done.completed,
        _Tag.FAILED_SUB_OPERATIONS: done.failed,
        _Tag.WARNING_SUB_OPERATIONS: done.warning,
    }
    return b"".join(_element(tag, n.to_bytes(2, "little")) for tag, n in counts.items() if n is not None)


def _element(tag: _Tag, value: bytes, padding: bytes = b"\0") -> bytes:
    value += padding * (len(value) % 2)
    return _ELEMENT.pack(0, tag, len(value)) + value


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    start, seen = 0, set[int]()
    while start < len(data):
        if start + _ELEMENT.size > len(data):
            raise Malformed("command set", "an element is cut")
        group, element, length = _ELEMENT.unpack_from(data, start)
        start += _ELEMENT.size
        if group != 0 or element in seen:
            raise Malformed("command set", "an element outside group 0000, or one twice")
        if start + length > len(data):
            raise Malformed("command set", f"element {element:04X} is longer than the set")
        seen.add(element)
        yield element, data[start : start + length]
        start += length


def _number(elements: dict[int, bytes], tag: _Tag) -> int:
    value = elements.get(tag, b"")
    if len(value) != _SHORT:
        raise Malformed("command set", f"element {tag:04X} is absent or not of two bytes")
    return int.from_bytes(value, "little")


def _text(elements: dict[int, bytes], tag: _Tag) -> str:
    return elements.get(tag, b"").strip(b"\0 ").decode("ascii", "replace")
