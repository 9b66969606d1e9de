"""The overlay planes of an image: bits to be shown over its pixels (PS3.3 §C.9.2). Pure."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drimbox.pixels.header import Item
from drimbox.pixels.presentation import Overlay

_GROUPS: Final = range(0x6000, 0x6020, 2)


def read_overlays(
    item: Item, frame_number: int, shape: tuple[int, int], stored: NDArray[Any] | None
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The group and the mask, of the size of the image, of each overlay of this frame.

    stored: the pixels as they are, of 16 bits, for the old overlays that are bits of them (retired, and in archives).
    """
    for group in _GROUPS:
        base = group << 16
        height, width = item.number(base | 0x0010), item.number(base | 0x0011)
        data = item.values.get(base | 0x3000, b"")
        bit = item.number(base | 0x0102)
        if not data and 0 < bit < 16 and stored is not None and stored.dtype.itemsize == 2:
            yield group, (stored.view("<u2") >> bit & 1).astype(np.bool_)
            continue
        if not data or not height or not width or height * width > 2**28:
            continue
        if not item.little_endian:
            data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
        count = max(1, int((item.decimals(base | 0x0015) or [1])[0]))
        number = frame_number - max(1, item.number(base | 0x0051, 1)) if count > 1 else 0
        first = number * height * width
        if not 0 <= number < count or (first + height * width + 7) // 8 > len(data):
            continue
        window = data[first // 8 : (first + height * width + 7) // 8]
        bits = np.unpackbits(np.frombuffer(window, "u1"), bitorder="little")[first % 8 :][: height * width]
        top, left = (int(one) - 1 for one in (item.numbers(base | 0x0050, "h") or [1, 1])[:2])
        yield group, _placed(bits.reshape(height, width), top, left, shape)


def own_mask(overlay: Overlay, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of an overlay whose bits are in the presentation state."""
    bits = np.unpackbits(np.frombuffer(overlay.bits, "u1"), bitorder="little")[: overlay.rows * overlay.columns]
    return _placed(bits.reshape(overlay.rows, overlay.columns), overlay.top, overlay.left, shape)


def _placed(bits: NDArray[np.uint8], top: int, left: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The plane where it lies on the image; what is beside it is cut."""
    rows, columns = shape
    mask = np.zeros((rows, columns), np.bool_)
    part = bits[max(0, -top) : max(0, rows - top), max(0, -left) : max(0, columns - left)]
    y, x = max(0, top), max(0, left)
    mask[y : y + part.shape[0], x : x + part.shape[1]] = part
    return mask
