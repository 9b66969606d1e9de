"""The head of a compressed frame: what it says of itself, read before any codec sees it. Pure.

A codec believes these numbers and allocates from them, so they are compared with what the data set declares first.
"""

import struct
from dataclasses import dataclass
from typing import Final

from drimbox.errors import NotAcceptable

_END: Final = b"\xff\xd9"
_MOST_PADDING_BYTES = 16
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_RLE_HEADER = struct.Struct("<16I")
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM, RST0 to RST7: markers without a length
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # not DHT, JPG, DAC; 0xF7 is JPEG-LS
_START_OF_SCAN = 0xDA
_APP0, _APP14 = 0xE0, 0xEE


@dataclass(frozen=True, slots=True)
class Head:
    """Size of the picture in the stream. precision: bits a sample. says_rgb: what it declares, None if nothing."""

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    says_rgb: bool | None = None


def read_jpeg_head(stream: bytes) -> Head:
    """Read up to the start of scan of a JPEG or JPEG-LS stream (ISO 10918-1 annex B, ISO 14495-1 annex C)."""
    if stream[:2] != b"\xff\xd8":
        raise NotAcceptable("frame", "it is no JPEG stream")
    says_rgb: bool | None = None
    head: Head | None = None
    position = 2
    while position + 4 <= len(stream):
        if stream[position] != 0xFF:
            break
        marker = stream[position + 1]
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        content = stream[position + 4 : position + 2 + length]
        if marker in _START_OF_FRAME and len(content) >= 6:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", content)
            ids = content[6 : 6 + 3 * samples : 3]
            head = Head(rows, columns, samples, precision)
            says_rgb = True if ids in (b"RGB", b"rgb") else says_rgb
        elif marker == _APP0 and content.startswith(b"JFIF\x00"):
            says_rgb = False
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            says_rgb = content[11] == 0
        elif marker == _START_OF_SCAN:
            break
        position += 2 + max(length, 2)
    if head is None:
        raise NotAcceptable("frame", "its JPEG stream has no start of frame")
    return Head(head.rows, head.columns, head.samples, head.precision, False, says_rgb)


def read_j2k_head(stream: bytes) -> Head:
    """Read the SIZ segment of a JPEG 2000 or HTJ2K codestream (ISO 15444-1 §A.5.1), without any JP2 box around."""
    if stream[:4] != _SOC_SIZ or len(stream) < 45:
        raise NotAcceptable("frame", "it is no JPEG 2000 codestream")
    width, height, left, top = struct.unpack_from(">IIII", stream, 8)
    tile_width, tile_height = struct.unpack_from(">II", stream, 24)
    (samples,) = struct.unpack_from(">H", stream, 40)
    depths = stream[42 : 42 + 3 * samples : 3]
    if width <= left or height <= top or not tile_width or not tile_height or len(set(depths)) != 1:
        raise NotAcceptable("frame", "its JPEG 2000 codestream has an impossible size")
    if stream[43:45] != b"\x01\x01":
        raise NotAcceptable("frame", "its JPEG 2000 components are subsampled")
    return Head(height - top, width - left, samples, (depths[0] & 0x7F) + 1, bool(depths[0] & 0x80))


def checked_end(stream: bytes) -> bytes:
    """Return `stream` if its end is there: EOI or EOC, before at most some padding.

    libjpeg and OpenJPH draw what is missing in grey, or blurred, and say nothing.
    """
    if _END not in stream[-_MOST_PADDING_BYTES:]:
        raise NotAcceptable("frame", "its stream is cut")
    return stream


def without_jp2_boxes(stream: bytes) -> bytes:
    """The codestream itself, where a product in service wrapped it in a JP2 file (PS3.5 §A.4.4 forbids it)."""
    if stream[4:8] != b"jP  ":
        return stream
    start = stream.find(_SOC_SIZ, 0, 65536)
    return stream[start:] if start > 0 else stream


def checked_rle(stream: bytes, segments: int) -> bytes:
    """Return `stream` if its header is that of `segments` RLE segments in order (PS3.5 §G.5)."""
    if len(stream) < _RLE_HEADER.size:
        raise NotAcceptable("frame", "it is shorter than an RLE header")
    count, *offsets = _RLE_HEADER.unpack_from(stream)
    used = offsets[:segments]
    if count != segments or used[0] != 64 or used != sorted(used) or used[-1] >= len(stream):
        raise NotAcceptable("frame", f"its RLE header is not that of {segments} segments")
    return stream
