"""Colour as it is stored, made red, green and blue of 8 bits (PS3.3 §C.7.6.3.1). Pure."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drimbox.errors import NotAcceptable
from drimbox.pixels.header import Item

Samples = NDArray[Any]
Picture = NDArray[np.uint8]

_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
_DATA: Final = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED: Final = (0x00281221, 0x00281222, 0x00281223)
_MOST_ENTRIES = 65536


def to_8_bits(samples: Samples, bits_stored: int) -> Picture:
    """The highest eight of the bits that are stored."""
    if samples.dtype.itemsize == 1:
        return samples.astype(np.uint8, copy=False)
    return (samples >> max(0, bits_stored - 8)).astype(np.uint8)


def from_ybr(ybr: Picture) -> Picture:
    """YBR_FULL to RGB (PS3.3 §C.7.6.3.1.2). ybr: (rows, columns, 3)."""
    y, cb, cr = (ybr[..., channel].astype(np.float32) for channel in range(3))
    cb -= 128
    cr -= 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    return np.clip(np.floor(rgb + 0.5), 0, 255).astype(np.uint8)


def from_native_422(frame: bytes | memoryview, rows: int, columns: int) -> Picture:
    """Uncompressed YBR_FULL_422, Y Y Cb Cr for two pixels, to YBR_FULL (PS3.3 §C.7.6.3.1.2)."""
    pairs = np.frombuffer(frame, "u1")[: rows * columns * 2].reshape(rows, columns // 2, 4)
    ybr = np.empty((rows, columns, 3), np.uint8)
    ybr[:, 0::2, 0], ybr[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
    for channel in (1, 2):
        ybr[..., channel] = np.repeat(pairs[..., channel + 1], 2, axis=1)
    return ybr


def read_palette(item: Item, *, signed: bool) -> tuple[int, Picture]:
    """The input of the first entry, and the entries: (count, 3). Raises NotAcceptable when the palette is not whole.

    Source: PS3.3 §C.7.6.3.1.5 and .6; segmented palettes: §C.7.9.2.
    """
    channels = []
    first = 0
    for descriptor_tag, data_tag, segmented_tag in zip(_DESCRIPTORS, _DATA, _SEGMENTED, strict=True):
        descriptor = [int(one) for one in item.numbers(descriptor_tag)]
        if len(descriptor) != 3:
            raise NotAcceptable("image", "its palette has no descriptor")
        count, first, bits = descriptor[0] or 65536, descriptor[1], descriptor[2]
        words = item.words(data_tag)
        if not len(words) and len(segments := item.words(segmented_tag)):
            words = expand_segments(segments)
        if bits == 8 and len(words) * 2 == count + count % 2:
            entries = words.view("u1")[:count]
        else:
            wide = words[:count]
            # 8 bits announced as 16 are common: only then does no entry pass 255.
            entries = (wide >> 8 if bits == 16 and wide.max(initial=0) > 255 else wide).astype(np.uint8)
        if not len(entries):
            raise NotAcceptable("image", "its palette is empty")
        channels.append(entries)
    size = min(len(channel) for channel in channels)
    return first - 65536 if signed and first > 32767 else first, np.stack([one[:size] for one in channels], -1)


def expand_segments(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Discrete, linear and indirect segments (PS3.3 §C.7.9.2). Raises NotAcceptable."""
    found: list[int] = []
    position = 0

    def take(at: int, may_point: bool) -> int:
        opcode, length = int(words[at]), int(words[at + 1])
        if len(found) + length > _MOST_ENTRIES:
            raise NotAcceptable("image", "its palette is too long")
        if opcode == 0 and at + 2 + length <= len(words):
            found.extend(int(one) for one in words[at + 2 : at + 2 + length])
            return at + 2 + length
        if opcode == 1 and found and length:
            begin, end = found[-1], int(words[at + 2])
            found.extend(round(begin + (end - begin) * step / length) for step in range(1, length + 1))
            return at + 3
        if opcode == 2 and may_point:
            offset = int(words[at + 2]) | int(words[at + 3]) << 16
            here = offset // 2  # bytes from the beginning of the data
            for _ in range(length):
                here = take(here, False)
            return at + 4
        raise NotAcceptable("image", "its palette has an impossible segment")

    try:
        while position + 2 <= len(words):
            position = take(position, True)
    except IndexError:
        raise NotAcceptable("image", "its palette is cut") from None
    return np.array(found, np.uint16)
