"""From stored values to shades of grey: modality, VOI and presentation transformations (PS3.4 §N.2). Pure.

All three are put into one table of 65,536 shades, built once an image: applying it to half a million pixels costs a
quarter of what the arithmetic does, and it holds any shape. Wider and floating-point values are computed.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from drimbox.pixels.header import Item

Values = NDArray[Any]
Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

MODALITY_LUT_SEQUENCE: Final = 0x00283000
LUT_DESCRIPTOR: Final = 0x00283002
LUT_DATA: Final = 0x00283006
VOI_LUT_SEQUENCE: Final = 0x00283010
WINDOW_CENTER: Final = 0x00281050
WINDOW_WIDTH: Final = 0x00281051
VOI_LUT_FUNCTION: Final = 0x00281056
RESCALE_INTERCEPT: Final = 0x00281052
RESCALE_SLOPE: Final = 0x00281053


@dataclass(frozen=True, slots=True)
class Window:
    """Center and width, in modality units (PS3.3 §C.11.2.1.2 and .3)."""

    center: float
    width: float
    function: Function = "LINEAR"

    def apply(self, values: Values) -> Values:
        """To 0 (black) to 1 (white)."""
        x = values.astype(np.float64, copy=False)
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (x - self.center) / max(self.width, 1e-9), -700, 700)))
        center, width = (self.center - 0.5, self.width - 1) if self.function == "LINEAR" else (self.center, self.width)
        if width <= 0:
            return (x > center).astype(np.float64)
        return np.clip((x - center) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Lut:
    """A look-up table (PS3.3 §C.11.1.1, §C.11.2.1.1). first: the input of its first entry. bits: of an entry.

    entries: 16 bits each, little endian.
    """

    first: int
    bits: int
    entries: bytes

    def apply(self, values: Values) -> Values:
        """The entries; an input before the first or after the last gives that one."""
        table = np.frombuffer(self.entries, "<u2").astype(np.float64)
        return table[np.clip(np.floor(values).astype(np.int64) - self.first, 0, len(table) - 1)]

    def apply_to_one(self, values: Values) -> Values:
        """The entries over their range, 0 to 1."""
        return self.apply(values) / ((1 << self.bits) - 1)


@dataclass(frozen=True, slots=True)
class Grayscale:
    """The three steps. modality: slope and intercept, or a table; voi None: all values that are there.

    inverse: white is the least. presentation: applied to the result before that, over its whole range.
    """

    modality: Lut | tuple[float, float] = (1.0, 0.0)
    voi: Window | Lut | None = None
    presentation: Lut | None = None
    inverse: bool = False

    def to_modality(self, values: Values) -> Values:
        """In modality units."""
        if isinstance(self.modality, Lut):
            return self.modality.apply(values)
        slope, intercept = self.modality
        return values if (slope, intercept) == (1.0, 0.0) else values * slope + intercept

    def shade(self, values: Values) -> NDArray[np.uint8]:
        """Shades 0 to 255 of stored values, whatever their type. `voi` must not be None."""
        x = self.to_modality(values)
        shades = self.voi.apply_to_one(x) if isinstance(self.voi, Lut) else self._window.apply(x)
        if self.presentation is not None:
            table = self.presentation
            shades = table.apply_to_one(table.first + shades * (len(table.entries) // 2 - 1))
        if self.inverse:
            shades = 1 - shades
        return np.floor(shades * 255 + 0.5).astype(np.uint8)

    @property
    def _window(self) -> Window:
        if not isinstance(self.voi, Window):
            raise ValueError("no VOI was settled")
        return self.voi


def full_range(values: Values, grayscale: Grayscale) -> Window:
    """The window that shows all of `values`, which are stored ones."""
    x = grayscale.to_modality(np.array([values.min(), values.max()]))
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        low, high = 0.0, 1.0
    return Window((low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT")


# --- What an image says of itself -----------------------------------------------------------------------------


def read_modality(item: Item, *, signed: bool) -> Lut | tuple[float, float] | None:
    """The Modality LUT module of these attributes, None when they say nothing (PS3.3 §C.11.1)."""
    luts = item.items(MODALITY_LUT_SEQUENCE)
    if luts and (lut := read_lut(luts[0], signed=signed)):
        return lut
    slope, intercept = item.decimals(RESCALE_SLOPE), item.decimals(RESCALE_INTERCEPT)
    if not slope and not intercept:
        return None
    return (slope[0] if slope and slope[0] else 1.0, intercept[0] if intercept else 0.0)


def read_voi(item: Item, *, signed: bool) -> Window | Lut | None:
    """The first VOI these attributes offer, a table before a window (PS3.3 §C.11.2). signed: the modality's output."""
    luts = item.items(VOI_LUT_SEQUENCE)
    if luts and (lut := read_lut(luts[0], signed=signed)):
        return lut
    centers, widths = item.decimals(WINDOW_CENTER), item.decimals(WINDOW_WIDTH)
    if not centers or not widths:
        return None
    return Window(centers[0], widths[0], as_function(item.text(VOI_LUT_FUNCTION)))


def as_function(name: str) -> Function:
    """The VOI LUT Function of this name, LINEAR for any other (PS3.3 §C.11.2.1.3)."""
    match name:
        case "LINEAR_EXACT" | "SIGMOID":
            return name
    return "LINEAR"


def read_lut(item: Item, *, signed: bool) -> Lut | None:
    """A LUT Descriptor and its LUT Data; None when they are not there. signed: is the first input value?"""
    descriptor = item.numbers(LUT_DESCRIPTOR)
    if len(descriptor) != 3:
        return None
    count, first, bits = (int(one) for one in descriptor)
    count = count or 65536
    first = first - 65536 if signed and first > 32767 else first
    bits = bits if 0 < bits <= 16 else 16
    words = item.words(LUT_DATA)
    if len(words) * 2 == count + count % 2 and bits <= 8:
        words = words.view("u1").astype("<u2")  # two entries of 8 bits a word
    if not len(words):
        return None
    return Lut(first, bits, words[:count].tobytes())
