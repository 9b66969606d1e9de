"""Lines and words of a presentation state, on layers with an order and a colour (PS3.3 §C.10.5, §C.10.7). Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from drimbox.dicom.charset import decode_text, read_charset
from drimbox.pixels.header import Item

Ink = int | tuple[int, int, int]
"""A grey from 0 to 255, or red, green and blue."""

WHITE: Final = 255
_MOST_OBJECTS: Final = 10_000
_MOST_CHARACTERS: Final = 1024
_MOST_THICKNESS: Final = 20

_GRAPHIC_ANNOTATION: Final = 0x00700001
_LAYER: Final = 0x00700002
_TEXT_OBJECTS: Final = 0x00700008
_GRAPHIC_OBJECTS: Final = 0x00700009
_LAYERS: Final = 0x00700060
_TEXT_STYLE: Final = 0x00700231
_LINE_STYLE: Final = 0x00700232
_CHARSET: Final = 0x00080005

Align = Literal["LEFT", "CENTER", "RIGHT"]


@dataclass(frozen=True, slots=True)
class Graphic:
    """A line, or a shape. kind: POINT, POLYLINE, INTERPOLATED, CIRCLE, ELLIPSE. points: x, y, x, y ...

    relative: points are fractions of the displayed area, else pixels of the image, whose top left corner is 0\\0.
    """

    kind: str
    points: tuple[float, ...]
    filled: bool
    relative: bool
    ink: Ink = WHITE
    thickness: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """Words in a box (left, top, right, bottom), or beside an anchor when there is none, as points of `Graphic`.

    anchor: a point a line leads to from the box; anchor_relative: as for graphics.
    """

    words: str
    box: tuple[float, float, float, float] | None
    relative: bool
    anchor: tuple[float, float] | None = None
    anchor_relative: bool = False
    align: Align = "LEFT"
    ink: Ink = WHITE


@dataclass(frozen=True, slots=True)
class Layer:
    """order: those of a higher one lie above."""

    order: int
    ink: Ink


def read_layers(header: Item) -> dict[str, Layer]:
    """The graphic layers by name."""
    return {
        item.text(_LAYER): Layer(_order(item), _ink(item, 0x00700401, 0x00700066) or WHITE)
        for item in header.items(_LAYERS)
    }


def _order(item: Item) -> int:
    return int((item.decimals(0x00700062) or [0])[0])


def read_annotations(header: Item, annotations: Sequence[Item]) -> tuple[tuple[Graphic, ...], tuple[Text, ...]]:
    """The graphics and the texts of those items of the Graphic Annotation Sequence, the lowest layer first."""
    layers = read_layers(header)
    codecs = read_charset(header.values.get(_CHARSET, b""))
    nothing = Layer(0, WHITE)
    placed = sorted(
        ((layers.get(one.text(_LAYER), nothing), one) for one in annotations), key=lambda pair: pair[0].order
    )
    graphics = [g for layer, one in placed for item in one.items(_GRAPHIC_OBJECTS) if (g := _graphic(item, layer.ink))]
    texts = [t for layer, one in placed for item in one.items(_TEXT_OBJECTS) if (t := _text(item, layer.ink, codecs))]
    return tuple(graphics[:_MOST_OBJECTS]), tuple(texts[:_MOST_OBJECTS])


def annotations_of(header: Item) -> Sequence[Item]:
    """The items of the Graphic Annotation Sequence."""
    return header.items(_GRAPHIC_ANNOTATION)


def _graphic(item: Item, ink: Ink) -> Graphic | None:
    points = tuple(item.numbers(0x00700022, "f"))
    if len(points) < 2 or len(points) % 2 or len(points) > 2 * _MOST_OBJECTS or not are_sane(points):
        return None
    style = item.first(_LINE_STYLE)
    thick = next(iter(style.numbers(0x00700253, "f")), 1.0)
    return Graphic(
        item.text(0x00700023),
        points,
        item.text(0x00700024) == "Y",
        item.text(0x00700005) == "DISPLAY",
        _ink(style, 0x00700251, 0) or ink,
        round(thick) if 1 <= thick <= _MOST_THICKNESS else 1,
    )


def _text(item: Item, ink: Ink, codecs: tuple[str, ...]) -> Text | None:
    words = decode_text(item.values.get(0x00700006, b""), codecs).strip(" \x00")[:_MOST_CHARACTERS]
    corners = (*item.numbers(0x00700010, "f"), *item.numbers(0x00700011, "f"))
    anchor = tuple(item.numbers(0x00700014, "f"))
    box = _box(corners) if are_sane(corners) else None
    at = (anchor[0], anchor[1]) if len(anchor) == 2 and are_sane(anchor) else None
    if not words or (box is None and at is None):
        return None
    shown = box is None or item.text(0x00700015) == "Y"
    return Text(
        words,
        box,
        item.text(0x00700003) == "DISPLAY",
        at if shown else None,
        item.text(0x00700004) == "DISPLAY",
        _align(item.text(0x00700012)),
        _ink(item.first(_TEXT_STYLE), 0x00700241, 0) or ink,
    )


def _box(corners: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The four sides; where only the first corner is told, a box of nothing."""
    if len(corners) not in (2, 4):
        return None
    xs, ys = corners[::2], corners[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _align(text: str) -> Align:
    match text:
        case "CENTER" | "RIGHT":
            return text
    return "LEFT"


def are_sane(points: Sequence[float]) -> bool:
    """Can one draw there? A NaN is no place either."""
    return all(abs(one) < 1e6 for one in points)


# --- Colours -------------------------------------------------------------------------------------------------------


def _ink(item: Item, colour_tag: int, grey_tag: int) -> Ink | None:
    """A colour in CIELab, else a grey P-Value of 16 bits; None when neither is told."""
    if len(lab := item.numbers(colour_tag)) == 3:
        return from_lab(*(int(one) for one in lab))
    return item.number(grey_tag) >> 8 if grey_tag in item.values else None


def from_lab(lightness: int, a: int, b: int) -> Ink:
    """A CIELab colour in 16 bits a component (PS3.3 §C.10.7.1.1) as sRGB; a grey where it has no colour."""
    f_y = (lightness / 65535 * 100 + 16) / 116
    f_x = f_y + (a / 65535 * 255 - 128) / 500
    f_z = f_y - (b / 65535 * 255 - 128) / 200
    x, y, z = (
        white * (f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29))
        for white, f in ((0.9642, f_x), (1.0, f_y), (0.8249, f_z))  # D50, the white of the PCS
    )
    linear = (
        3.1338561 * x - 1.6168667 * y - 0.4906146 * z,
        -0.9787684 * x + 1.9161415 * y + 0.0334540 * z,
        0.0719453 * x - 0.2289914 * y + 1.4052427 * z,
    )
    red, green, blue = _gamma(linear)
    return (red + green + blue) // 3 if max(red, green, blue) - min(red, green, blue) < 6 else (red, green, blue)


def _gamma(linear: Sequence[float]) -> Iterator[int]:
    for one in linear:
        c = min(1.0, max(0.0, one))
        yield round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))
