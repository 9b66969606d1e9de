"""JSON arrays in gzip that are joined without being inflated (RFC 1951, RFC 1952). Pure.

The items of a series are deflated once, into blocks that end at a byte and look back at nothing before them. An array
of one series or of many is then a gzip of stored blocks for its brackets and commas with the series' blocks between,
and its CRC-32 is computed from theirs. One gzip member, because browsers read no second one.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from drimbox.dicom import checksum

_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL: Final = 6
_INFLATED_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Packed:
    """Items of an array, commas between them, as deflate blocks. text_bytes, crc32: of the items inflated."""

    blocks: bytes = field(repr=False)
    text_bytes: int
    crc32: int


class Packer:
    """Makes one `Packed` of JSON texts given one after the other."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
        self._blocks: list[bytes] = []
        self._text_bytes = 0
        self._crc32 = 0

    def add(self, items: bytes) -> None:
        """Add one item, or several with commas between, or none."""
        text = b"," + items if self._text_bytes and items else items
        self._text_bytes += len(text)
        self._crc32 = checksum.crc32(text, self._crc32)
        self._blocks.append(self._deflate.compress(text))

    def packed(self) -> Packed:
        """All that was added. Nothing can be added after."""
        self._blocks.append(self._deflate.flush(zlib.Z_FULL_FLUSH))
        return Packed(b"".join(self._blocks), self._text_bytes, self._crc32)


def gzip_length(parts: Sequence[Packed]) -> int:
    """How long `build_gzip` is."""
    brackets = 2 + len(parts) - 1 if parts else 2
    return len(_HEADER) + sum(len(part.blocks) for part in parts) + 6 * brackets + 8


class GzipArray:
    """The pieces of one array in gzip, for whoever gets its parts one by one: `add` each, then `end`."""

    def __init__(self) -> None:
        self._crc32 = 0
        self._text_bytes = 0

    def add(self, part: Packed) -> list[bytes]:
        """The next pieces."""
        opening = [_HEADER, self._stored(b"[")] if not self._text_bytes else [self._stored(b",")]
        self._count(part.crc32, part.text_bytes)
        return [*opening, part.blocks]

    def end(self) -> list[bytes]:
        """The last pieces."""
        opening = [] if self._text_bytes else [_HEADER, self._stored(b"[")]
        closing = self._stored(b"]", is_last=True)
        trailer = self._crc32.to_bytes(4, "little") + (self._text_bytes & 0xFFFFFFFF).to_bytes(4, "little")
        return [*opening, closing, trailer]

    def _stored(self, text: bytes, *, is_last: bool = False) -> bytes:
        """A block that is not compressed (RFC 1951 §3.2.4)."""
        self._count(checksum.crc32(text), len(text))
        size = len(text)
        return bytes([is_last]) + size.to_bytes(2, "little") + (0xFFFF - size).to_bytes(2, "little") + text

    def _count(self, crc32: int, length: int) -> None:
        self._crc32 = joined_crc32(self._crc32, crc32, length)
        self._text_bytes += length


def inflate(part: Packed) -> Iterator[bytes]:
    """The items as text, in pieces."""
    inflated = zlib.decompressobj(-15)
    rest = part.blocks
    while rest:
        yield inflated.decompress(rest, _INFLATED_BYTES)
        rest = inflated.unconsumed_tail


# --- CRC-32 of two texts that follow each other, from the CRC-32 of each --------------------------------------------

_POLYNOMIAL: Final = 0xEDB88320  # of gzip, the lowest bit first
_ONE: Final = 1 << 31


def joined_crc32(first: int, second: int, second_length: int) -> int:
    """CRC-32 of one text after another: the first one's, shifted by the length of the second, and the second's."""
    return _times(_shift(second_length), first) ^ second


@lru_cache(maxsize=4096)
def _shift(length: int) -> int:
    """x to the power of `8 * length`, modulo the polynomial."""
    power, square = _ONE, _ONE >> 8  # 1, and x to the power of 8
    while length:
        if length & 1:
            power = _times(square, power)
        square = _times(square, square)
        length >>= 1
    return power


def _times(one: int, other: int) -> int:
    """The product of two polynomials, modulo the polynomial."""
    product = 0
    bit = _ONE
    while bit:
        if one & bit:
            product ^= other
        other = (other >> 1) ^ (_POLYNOMIAL if other & 1 else 0)
        bit >>= 1
    return product
