"""From the DICOM JSON model to the bytes of a data set: answers to queries are written so (PS3.5 §7, PS3.18 annex F).

Text is UTF-8: whoever calls says so in Specific Character Set. Sequences and items have explicit lengths.
"""

import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from drimbox.dicom.elements import ITEM, UNDEFINED
from drimbox.dicom.part10 import LONG_FORM
from drimbox.dicom.uid import TransferSyntax
from drimbox.dicom.values import BINARY, NUMBERS

_NUL_PADDED: Final = BINARY | {"UI"}
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
LONGEST_SHORT: Final = 2**16 - 2  # of a value whose length is written in two bytes


def build_data_set(attributes: Mapping[str, Any], syntax: TransferSyntax) -> bytes:
    """The attributes by increasing tag, in an uncompressed transfer syntax. BulkDataURI is not followed: no value.

    Beyond the model, an attribute may have "Raw", its value in this transfer syntax, or "Fragments", of Pixel Data.
    """
    order = "<" if syntax.little_endian else ">"
    return b"".join(_element(int(tag, 16), attributes[tag], syntax, order) for tag in sorted(attributes))


def _element(tag: int, attribute: Mapping[str, Any], syntax: TransferSyntax, order: str) -> bytes:
    vr: str = attribute["vr"]
    if "Fragments" in attribute:
        return _encapsulated(tag, attribute["Fragments"])
    value = _value(vr, attribute, syntax, order)
    if len(value) % 2:
        value += b"\0" if vr in _NUL_PADDED else b" "
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if not syntax.explicit:
        return head + struct.pack(f"{order}I", len(value)) + value
    written = vr.encode("ascii")
    if written in LONG_FORM:
        return head + written + struct.pack(f"{order}HI", 0, len(value)) + value
    value = value[:LONGEST_SHORT]
    return head + written + struct.pack(f"{order}H", len(value)) + value


def _value(vr: str, attribute: Mapping[str, Any], syntax: TransferSyntax, order: str) -> bytes:
    if "Raw" in attribute:
        raw: bytes = attribute["Raw"]
        return raw
    if "InlineBinary" in attribute:
        return b64decode(attribute["InlineBinary"])
    values = attribute.get("Value", [])
    if vr == "SQ":
        return b"".join(_item(build_data_set(item or {}, syntax), order) for item in values)
    if vr in NUMBERS:
        return b"".join(struct.pack(order + NUMBERS[vr], _number(vr, value)) for value in values)
    if vr == "AT":
        return b"".join(struct.pack(f"{order}HH", int(value[:4], 16), int(value[4:], 16)) for value in values)
    return "\\".join(_text(value) for value in values).encode("utf-8")


def _item(content: bytes, order: str) -> bytes:
    return struct.pack(f"{order}HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def _encapsulated(tag: int, fragments: Sequence[bytes]) -> bytes:
    """An empty offset table, the fragments, and the delimiter (PS3.5 §A.4); always explicit VR little endian."""
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in (b"", *fragments)]
    opening = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, UNDEFINED)
    return opening + b"".join(_item(fragment, "<") for fragment in padded) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _number(vr: str, value: Any) -> float:
    """NaN, infinities and integers past 2^53 are text in JSON."""
    return float(value) if vr in ("FL", "FD") else int(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):  # a name: its groups, the empty ones at the end left out (PS3.5 §6.2.1)
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    if isinstance(value, float):
        return f"{value:.10g}"  # of a DS, which has 16 characters
    return str(value)
