"""What an image says of itself once it has been compressed with loss (PS3.3 §C.7.6.1, §C.12.4.1). Pure.

It is another instance than the one that is kept: it has a UID of its own, names its source, and keeps its history. The
UID is made from that of the source and from what was done, so that the same request gives the same instance again.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from drimbox.pixels.plan import (
    HTJ2K_ANY,
    JPEG_2000_ANY,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_NEAR,
)

IMAGE_TYPE: Final = 0x00080008
SOP_INSTANCE_UID: Final = 0x00080018
DERIVATION_DESCRIPTION: Final = 0x00082111
SOURCE_IMAGE_SEQUENCE: Final = 0x00082112
DERIVATION_CODE_SEQUENCE: Final = 0x00089215
LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
LOSSY_IMAGE_COMPRESSION_RATIO: Final = 0x00282112
LOSSY_IMAGE_COMPRESSION_METHOD: Final = 0x00282114

TOLD: Final = frozenset({IMAGE_TYPE, LOSSY_IMAGE_COMPRESSION_RATIO, LOSSY_IMAGE_COMPRESSION_METHOD})
"""What must be read of the source first."""

# (defined term of Lossy Image Compression Method, in words), by transfer syntax.
_METHODS: Final = {
    JPEG_BASELINE: ("ISO_10918_1", "JPEG Baseline"),
    JPEG_EXTENDED: ("ISO_10918_1", "JPEG Extended"),
    JPEG_LS_NEAR: ("ISO_14495_1", "JPEG-LS near-lossless"),
    JPEG_2000_ANY: ("ISO_15444_1", "JPEG 2000 irreversible"),
    HTJ2K_ANY: ("ISO_15444_15", "HTJ2K irreversible"),
}
_VERSION: Final = "1"  # of what our encoders do; another one makes other pixels, hence other UIDs


@dataclass(frozen=True, slots=True)
class Derived:
    """The instance that is made. edits: elements in Explicit VR Little Endian, by tag, that replace or join its own."""

    sop_uid: str
    edits: Mapping[int, bytes]


def derive_lossy(
    sop_class_uid: str, sop_uid: str, told: Mapping[int, str], transfer_syntax: str, ratio: float | None
) -> Derived:
    """Tell what changes. told: the values of `TOLD` that are there. ratio: native bytes to one; None if unknown."""
    made_uid = derived_uid(sop_uid, transfer_syntax)
    method, words = _METHODS[transfer_syntax]
    image_type = told.get(IMAGE_TYPE, "").split("\\")
    edits = {
        IMAGE_TYPE: _text(IMAGE_TYPE, "CS", "\\".join(["DERIVED", *(image_type[1:] or ["PRIMARY"])])),
        SOP_INSTANCE_UID: _text(SOP_INSTANCE_UID, "UI", made_uid),
        DERIVATION_DESCRIPTION: _text(DERIVATION_DESCRIPTION, "ST", f"Lossy compression, {words}"),
        SOURCE_IMAGE_SEQUENCE: _sequence(
            SOURCE_IMAGE_SEQUENCE,
            _text(0x00081150, "UI", sop_class_uid),
            _text(0x00081155, "UI", sop_uid),
            _sequence(0x0040A170, *_code("121320", "Uncompressed predecessor")),
        ),
        DERIVATION_CODE_SEQUENCE: _sequence(DERIVATION_CODE_SEQUENCE, *_code("113040", "Lossy Compression")),
        LOSSY_IMAGE_COMPRESSION: _text(LOSSY_IMAGE_COMPRESSION, "CS", "01"),
    }
    before = (told.get(LOSSY_IMAGE_COMPRESSION_RATIO, ""), told.get(LOSSY_IMAGE_COMPRESSION_METHOD, ""))
    if ratio is not None:
        ratios = "\\".join(filter(None, (before[0], f"{ratio:.2f}")))
        edits[LOSSY_IMAGE_COMPRESSION_RATIO] = _text(LOSSY_IMAGE_COMPRESSION_RATIO, "DS", ratios)
    methods = "\\".join(filter(None, (before[1], method)))
    edits[LOSSY_IMAGE_COMPRESSION_METHOD] = _text(LOSSY_IMAGE_COMPRESSION_METHOD, "CS", methods)
    return Derived(made_uid, edits)


def derived_uid(sop_uid: str, transfer_syntax: str) -> str:
    """The UID of what is made of an instance (PS3.5 §B.2: a UUID under 2.25)."""
    digest = hashlib.sha256(f"drimbox lossy {_VERSION} {transfer_syntax} {sop_uid}".encode()).digest()
    return f"2.25.{UUID(bytes=digest[:16], version=5).int}"


def _code(value: str, meaning: str) -> tuple[bytes, bytes, bytes]:
    return (
        _text(0x00080100, "SH", value),
        _text(0x00080102, "SH", "DCM"),
        _text(0x00080104, "LO", meaning),
    )


def _text(tag: int, vr: str, value: str) -> bytes:
    content = value.encode("ascii", "replace")
    content += (b"\x00" if vr == "UI" else b" ") * (len(content) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(content)) + content


def _sequence(tag: int, *elements: bytes) -> bytes:
    """A sequence of one item."""
    content = b"".join(elements)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(item)) + item
