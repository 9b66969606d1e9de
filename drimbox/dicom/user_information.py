"""The User Information item of an association: what the two sides tell of themselves (PS3.7 annex D.3.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from drimbox.errors import Malformed

_ITEM: Final = struct.Struct(">BxH")
_WINDOW: Final = struct.Struct(">HH")
SHORTEST_MAXIMUM: Final = 7
"""Bytes of P-DATA that can carry something: the head of a fragment takes six."""


class _Kind(IntEnum):
    """Sub-items. The others are skipped, as the part demands: SOP Class Common Extended Negotiation is one."""

    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    EXTENDED_NEGOTIATION = 0x56
    USER_IDENTITY = 0x58
    USER_IDENTITY_ANSWER = 0x59


class IdentityKind(IntEnum):
    """How a user is named (table D.3-14)."""

    NAME = 1
    NAME_AND_PASSCODE = 2
    KERBEROS_TICKET = 3
    SAML_ASSERTION = 4
    JSON_WEB_TOKEN = 5


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection for one SOP class (D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class Extended:
    """SOP Class Extended Negotiation (D.3.3.5). information: what its bytes mean is told by the service class."""

    sop_class_uid: str
    information: bytes


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor says its user is (D.3.3.7.1). Not shown: what it holds may be a passcode or a token.

    kind: an IdentityKind, or a number that is none. primary: UTF-8 name, or token. secondary: the passcode.
    """

    kind: int
    is_answer_wanted: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What one side tells.

    maximum_length: largest P-DATA length the teller receives, 0 for no limit. window: operations invoked and
    performed at a time, None when the item is absent. identity_answer: empty, to a name.
    """

    maximum_length: int
    implementation_class_uid: str = ""
    implementation_version: str = ""
    window: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[Extended, ...] = ()
    identity: UserIdentity | None = None
    identity_answer: bytes | None = None


def build_user_information(user: UserInformation) -> bytes:
    """The sub-items, in the order of their types."""
    sub_items = build_item(_Kind.MAXIMUM_LENGTH, user.maximum_length.to_bytes(4, "big"))
    sub_items += build_item(_Kind.IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode("ascii"))
    if user.window is not None:
        sub_items += build_item(_Kind.ASYNCHRONOUS_WINDOW, _WINDOW.pack(*user.window))
    for role in user.roles:
        uid = _counted(role.sop_class_uid.encode("ascii"))
        sub_items += build_item(_Kind.ROLE_SELECTION, uid + bytes((role.scu, role.scp)))
    if user.implementation_version:
        sub_items += build_item(_Kind.IMPLEMENTATION_VERSION_NAME, user.implementation_version.encode("ascii"))
    for extended in user.extended:
        uid = _counted(extended.sop_class_uid.encode("ascii"))
        sub_items += build_item(_Kind.EXTENDED_NEGOTIATION, uid + extended.information)
    if user.identity is not None:
        head = bytes((user.identity.kind, user.identity.is_answer_wanted))
        fields = _counted(user.identity.primary) + _counted(user.identity.secondary)
        sub_items += build_item(_Kind.USER_IDENTITY, head + fields)
    if user.identity_answer is not None:
        sub_items += build_item(_Kind.USER_IDENTITY_ANSWER, _counted(user.identity_answer))
    return sub_items


def read_user_information(value: bytes) -> UserInformation:
    """Read the sub-items. Raises Malformed."""
    maximum, class_uid, version, window = 0, "", "", None
    roles, extended = list[Role](), list[Extended]()
    identity, identity_answer = None, None
    for kind, sub in read_items(value, 0):
        match kind:
            case _Kind.MAXIMUM_LENGTH:
                maximum = int.from_bytes(_sized(sub, 4), "big")
            case _Kind.IMPLEMENTATION_CLASS_UID:
                class_uid = read_uid(sub)
            case _Kind.IMPLEMENTATION_VERSION_NAME:
                version = sub.strip(b"\0 ").decode("ascii", "replace")
            case _Kind.ASYNCHRONOUS_WINDOW:
                invoked, performed = _WINDOW.unpack(_sized(sub, 4))
                window = (invoked, performed)
            case _Kind.ROLE_SELECTION:
                uid, flags = _split(sub)
                roles.append(Role(read_uid(uid), _sized(flags, 2)[0] == 1, flags[1] == 1))
            case _Kind.EXTENDED_NEGOTIATION:
                uid, information = _split(sub)
                extended.append(Extended(read_uid(uid), information))
            case _Kind.USER_IDENTITY:
                identity = _read_identity(sub)
            case _Kind.USER_IDENTITY_ANSWER:
                identity_answer, _ = _split(sub)
    if 0 < maximum < SHORTEST_MAXIMUM:
        raise Malformed("maximum length", f"{maximum} bytes can carry nothing")
    return UserInformation(
        maximum, class_uid, version, window, tuple(roles), tuple(extended), identity, identity_answer
    )


def _read_identity(value: bytes) -> UserIdentity:
    """Of kind 0 when it cannot be read: where no identity is asked for, it does not matter."""
    try:
        primary, rest = _split(value[2:])
        secondary, _ = _split(rest or bytes(2))  # some leave the length of what is not there away
    except Malformed:
        return UserIdentity(0, False, b"")
    return UserIdentity(value[0], value[1] == 1, primary, secondary)


def _split(value: bytes) -> tuple[bytes, bytes]:
    """A field that begins with its length in two bytes, and what follows it."""
    length = int.from_bytes(value[:2], "big")
    if len(value) < length + 2:
        raise Malformed("user information", "a field is longer than its sub-item")
    return value[2 : length + 2], value[length + 2 :]


def _counted(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _sized(value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise Malformed("user information", f"a sub-item of {len(value)} bytes instead of {length}")
    return value


# --- Items, of this and of the PDUs around it (PS3.8 §9.3.2) ----------------------------------------------------------


def build_item(kind: int, value: bytes) -> bytes:
    """Type, reserved byte, length in two bytes, value."""
    return _ITEM.pack(kind, len(value)) + value


def read_items(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item from `start` to the end. Raises Malformed."""
    while start < len(data):
        if start + _ITEM.size > len(data):
            raise Malformed("A-ASSOCIATE", "an item is cut")
        kind, length = _ITEM.unpack_from(data, start)
        start += _ITEM.size
        if start + length > len(data):
            raise Malformed("A-ASSOCIATE", f"item {kind:02X} is longer than what holds it")
        yield kind, data[start : start + length]
        start += length


def read_uid(value: bytes) -> str:
    """Text of a UID, padding removed. Not checked: a context with a wrong UID is refused, the others are served."""
    return value.rstrip(b"\0 ").decode("ascii", "replace")
