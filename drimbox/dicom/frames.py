"""Where each frame lies in the kept file (PS3.5 §8 and annex A): offset tables, fragments, sizes, CRC-32.

Only frames that are wholly there get spans; a table that does not agree with the fragments is ignored. No span at all
means that frames cannot be told apart by offset: packed bits that are not byte aligned (see `frame_bits`), or damage.
A video stream is one span group under frame number 1: a decoder alone can find the others in it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from drimbox.dicom.elements import Fragments, Limits
from drimbox.dicom.part10 import Readable
from drimbox.dicom.uid import TransferSyntax
from drimbox.errors import Malformed, TooLarge
from drimbox.model import Span

# How a compressed frame begins: JPEG and JPEG-LS (SOI), JPEG 2000 and HTJ2K (SOC SIZ), JPEG XL.
_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")

Range = tuple[int, int]  # (offset, length)


@dataclass(frozen=True, slots=True)
class Geometry:
    """What decides the size of a frame in native form (PS3.5 §8.1). bits: Bits Allocated."""

    rows: int
    columns: int
    samples: int
    bits: int
    photometric: str

    @property
    def bits_per_frame(self) -> int:
        """Bits of one frame. Subsampled colour has two samples a pixel on average, or 1.5 (PS3.3 §C.7.6.3)."""
        doubled_samples = {"YBR_FULL_422": 4, "YBR_PARTIAL_422": 4, "YBR_PARTIAL_420": 3}
        doubled = doubled_samples.get(self.photometric, 2 * self.samples) if self.samples == 3 else 2 * self.samples
        return self.rows * self.columns * doubled * self.bits // 2


def frame_bits(pixels: bytes, frame_number: int, bits_per_frame: int) -> bytes:
    """Cut one frame out of Pixel Data whose frames are packed without regard to bytes; the first bit is the lowest.

    pixels: the whole value, little endian. Returns bytes, the last one filled with zeros. Raises Malformed when the
    frame is not wholly there. Source: PS3.5 §8.1.1 and §8.2.
    """
    first = (frame_number - 1) * bits_per_frame
    last = first + bits_per_frame
    if frame_number < 1 or bits_per_frame < 1 or last > 8 * len(pixels):
        raise Malformed("frame", f"frame {frame_number} is not wholly there")
    touched = int.from_bytes(pixels[first // 8 : (last + 7) // 8], "little")
    frame = (touched >> first % 8) & ((1 << bits_per_frame) - 1)
    return frame.to_bytes((bits_per_frame + 7) // 8, "little")


def find_native_spans(
    source: Readable, offset: int, length: int, geometry: Geometry, number_of_frames: int, limits: Limits
) -> tuple[Span, ...]:
    """Spans of Pixel Data written without fragments, `length` bytes announced from `offset`. Raises TooLarge."""
    bits = geometry.bits_per_frame
    if bits < 1 or (bits % 8 and number_of_frames > 1):
        return ()
    size = (bits + 7) // 8
    complete = min(number_of_frames, min(length, source.size - offset) // size)
    if complete > limits.max_fragments:
        raise TooLarge("pixel data", f"more than {limits.max_fragments} frames")
    return tuple(_span(source, index + 1, (offset + index * size, size)) for index in range(complete))


def find_encapsulated_spans(
    source: Readable,
    fragments: Fragments,
    syntax: TransferSyntax,
    number_of_frames: int,
    extended_table: bytes = b"",
) -> tuple[Span, ...]:
    """Spans of Pixel Data in fragments. extended_table: value of (7FE0,0001), empty if there is none."""
    if not fragments.items:
        return ()
    table, *items = fragments.items
    groups = [items] if syntax.is_video else _group(source, table, items, number_of_frames, extended_table)
    whole = source.size
    return tuple(
        _span(source, number, fragment)
        for number, group in enumerate(groups, 1)
        if all(offset + length <= whole for offset, length in group)
        for fragment in group
    )


def _group(
    source: Readable, table: Range, items: list[Range], number_of_frames: int, extended_table: bytes
) -> list[list[Range]]:
    """The fragments of each frame; nothing when they cannot be told with certainty."""
    if number_of_frames == 1:
        return [items]
    basic_table = source.read_at(*table) if table[1] == 4 * number_of_frames else b""
    for code, content in (("Q", extended_table), ("I", basic_table)):
        starts = _checked_starts(code, content, items, number_of_frames)
        if starts:
            return _cut(items, starts)
    if len(items) == number_of_frames:
        return [[item] for item in items]
    starts = [index for index, item in enumerate(items) if source.read_at(item[0], 8).startswith(_STARTS)]
    if len(items) > number_of_frames:
        return _cut(items, starts) if len(starts) == number_of_frames and starts[0] == 0 else []
    # Fewer fragments than frames: the object was cut. One fragment a frame, if that is what the ones here are.
    return [[item] for item in items] if len(starts) in (0, len(items)) else []


def _checked_starts(code: str, content: bytes, items: list[Range], number_of_frames: int) -> list[int]:
    """Indexes of the first fragment of each frame by an offset table, empty unless it agrees with every fragment.

    Offsets are from the item tag of the first fragment (PS3.5 §A.4).
    """
    if not items or len(content) != struct.calcsize("<" + code) * number_of_frames:
        return []
    begins = {offset - items[0][0]: index for index, (offset, _) in enumerate(items)}
    starts = [begins.get(offset, -1) for offset in struct.unpack(f"<{number_of_frames}{code}", content)]
    ordered = starts[:1] == [0] and all(one < next_one for one, next_one in pairwise(starts))
    return starts if ordered else []


def _cut(items: list[Range], starts: Sequence[int]) -> list[list[Range]]:
    return [items[one:next_one] for one, next_one in pairwise([*starts, len(items)])]


def _span(source: Readable, frame_number: int, extent: Range) -> Span:
    offset, length = extent
    return Span(frame_number, offset, length, source.crc32_at(offset, length))
