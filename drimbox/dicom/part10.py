"""The file format of PS3.10: 128 bytes, `DICM`, the File Meta Information (group 0002), then the data set.

What we keep always begins with a preface of our own (`build_preface`), whatever came; what we receive by HTTP or from
a folder begins with someone else's, and `read_preface` is lenient with it.
"""

import struct
from dataclasses import dataclass
from typing import Final, Protocol

from drimbox.dicom.checksum import crc32
from drimbox.dicom.uid import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    checked_uid,
)
from drimbox.errors import Malformed, TooLarge

PREAMBLE_BYTES: Final = 128
PREFIX: Final = b"DICM"
_BLOCK_BYTES: Final = 2**20
MOST_PREFACE_BYTES: Final = 2**16  # a preface with private information in it seldom passes 1 KiB

# VRs by the form of their element in explicit VR (PS3.5 §7.1.2): length in 32 bits after two reserved bytes, or 16.
LONG_FORM = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
SHORT_FORM = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"}
    | {b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)


class Readable(Protocol):
    """Bytes that can be read anywhere: a file, a spool, a memory."""

    size: int  # how many bytes there are
    preface: "Preface | None" = None  # of one that begins with a preface we wrote ourselves

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset`; fewer only where the end comes first."""
        ...

    def crc32_at(self, offset: int, length: int) -> int:
        """CRC-32 of the `length` bytes from `offset`, without holding them all."""
        checksum = 0
        for begin in range(offset, offset + length, _BLOCK_BYTES):
            checksum = crc32(self.read_at(begin, min(_BLOCK_BYTES, offset + length - begin)), checksum)
        return checksum


class InMemory(Readable):
    """A `Readable` over bytes."""

    __slots__ = ("_content", "size")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read_at(self, offset: int, length: int) -> bytes:
        """A copy of these bytes."""
        return self._content[offset : offset + length]

    def crc32_at(self, offset: int, length: int) -> int:
        """CRC-32 of these bytes."""
        return crc32(memoryview(self._content)[offset : offset + length])


@dataclass(frozen=True, slots=True)
class Preface:
    """What the File Meta Information says. data_set_offset: where the data set begins, from the start of the file.

    sop_class_uid, sop_uid: empty when it does not say; they are in the data set all the same.
    """

    sop_class_uid: str
    sop_uid: str
    transfer_syntax: str
    data_set_offset: int


def build_preface(sop_class_uid: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """The bytes that make a data set a file: zeros, DICM, group 0002 (PS3.10 §7.1). Raises Malformed for a bad UID.

    The preamble is always zeros: a file that is also a program (CVE-2019-11687) loses its other half.
    """
    elements = b"".join(
        (
            struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01"),
            _uid_element(0x0002, checked_uid(sop_class_uid)),
            _uid_element(0x0003, checked_uid(sop_uid)),
            _uid_element(0x0010, checked_uid(transfer_syntax)),
            _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" "),
        )
    )
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return bytes(PREAMBLE_BYTES) + PREFIX + group_length + elements


def _uid_element(number: int, uid: str) -> bytes:
    return _element(number, b"UI", uid.encode("ascii"), b"\x00")


def _element(number: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def read_preface(source: Readable) -> Preface:
    """Read the preface of a file, in one read.

    Raises Malformed when the file is no DICOM or a UID in its preface is unsafe, TooLarge when the preface does not end
    within 64 KiB. Lenient, because files in service are so: the group length is absent or wrong; the group is written
    in implicit VR; the preamble is absent; the whole preface is absent, or silent about the transfer syntax, and it is
    then told from the first element of the data set.
    """
    head = source.read_at(0, PREAMBLE_BYTES + len(PREFIX) + MOST_PREFACE_BYTES)
    start = PREAMBLE_BYTES + len(PREFIX) if head[PREAMBLE_BYTES:].startswith(PREFIX) else 0
    values, end = _read_group(head, start)
    if start == 0 and end == 0 and not _begins_data_set(head):
        raise Malformed("file", "no DICM at offset 128 and no data element at 0 (PS3.10 §7.1)")
    transfer_syntax = _uid_value(values, 0x0010) or _guess_transfer_syntax(head[end : end + 6])
    return Preface(
        sop_class_uid=_uid_value(values, 0x0002),
        sop_uid=_uid_value(values, 0x0003),
        transfer_syntax=transfer_syntax,
        data_set_offset=end,
    )


def _read_group(head: bytes, start: int) -> tuple[dict[int, bytes], int]:
    """The values of group 0002 by element number, and where the group ends."""
    values: dict[int, bytes] = {}
    position, announced_end = start, -1
    while head[position : position + 2] == b"\x02\x00":
        if position == announced_end and _is_deflated(values):
            break  # a deflated data set may begin with any two bytes: here the group length is to be believed
        if position + 12 > len(head):
            raise _unfinished(head)
        number, vr, short = struct.unpack_from("<H2sH", head, position + 2)
        if vr in LONG_FORM:
            length, at = struct.unpack_from("<I", head, position + 8)[0], position + 12
        elif vr in SHORT_FORM:
            length, at = short, position + 8
        else:
            length, at = struct.unpack_from("<I", head, position + 4)[0], position + 8
        position = at + length
        if position > len(head):
            raise _unfinished(head)
        values[number] = head[at:position]
        if number == 0x0000 and length == 4:
            announced_end = position + struct.unpack_from("<I", head, at)[0]
    return values, position


def _unfinished(head: bytes) -> Malformed | TooLarge:
    if len(head) > MOST_PREFACE_BYTES:
        return TooLarge("file preface", f"group 0002 does not end within {MOST_PREFACE_BYTES} bytes")
    return Malformed("file preface", "group 0002 is cut")


def _uid_value(values: dict[int, bytes], number: int) -> str:
    text = values.get(number, b"").decode("latin-1").strip(" \x00")
    return checked_uid(text) if text else ""


def _is_deflated(values: dict[int, bytes]) -> bool:
    known = TRANSFER_SYNTAXES.get(_uid_value(values, 0x0010))
    return known is not None and known.deflated


def _begins_data_set(head: bytes) -> bool:
    """Do these bytes begin like a data set: group 0008, an early element of it, in either byte order?"""
    return head[:4] in _FIRST_TAGS


# An instance begins with one of (0008,0000), Length to End, Specific Character Set, Image Type, ... SOP Instance UID.
_FIRST_TAGS = frozenset(
    struct.pack(order, 0x0008, element) for order in ("<HH", ">HH") for element in range(0x0000, 0x0019)
)


def _guess_transfer_syntax(first: bytes) -> str:
    if first[4:6] not in LONG_FORM and first[4:6] not in SHORT_FORM:
        return IMPLICIT_LITTLE_ENDIAN
    return EXPLICIT_BIG_ENDIAN if first[0] == 0 else EXPLICIT_LITTLE_ENDIAN
