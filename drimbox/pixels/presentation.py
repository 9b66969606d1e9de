"""A Grayscale Softcopy Presentation State: what it says of the images it is about (PS3.3 §A.33, PS3.4 annex N). Pure.

What is read is what `draw.py` does: modality, VOI and presentation LUTs, shutters, displayed area, rotation and flip,
graphic and text annotation. Overlays of the state and mask subtraction are not applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drimbox.model import InstanceRef
from drimbox.pixels.grayscale import Lut, Window, read_lut, read_modality, read_voi
from drimbox.pixels.header import Item

STATES: Final = frozenset({"1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.11.2"})
"""Storage SOP classes: grayscale and colour softcopy presentation states."""

_REFERENCED_SERIES: Final = 0x00081115
_REFERENCED_IMAGE: Final = 0x00081140
_REFERENCED_SOP_UID: Final = 0x00081155
_REFERENCED_FRAMES: Final = 0x00081160
_SERIES_UID: Final = 0x0020000E
_STUDY_UID: Final = 0x0020000D
_SOFTCOPY_VOI: Final = 0x00283110
_PRESENTATION_LUT: Final = 0x20500010
_PRESENTATION_SHAPE: Final = 0x20500020
_GRAPHIC_ANNOTATION: Final = 0x00700001
_TEXT_OBJECTS: Final = 0x00700008
_GRAPHIC_OBJECTS: Final = 0x00700009
_DISPLAYED_AREA: Final = 0x0070005A
_MOST_OBJECTS = 10_000


@dataclass(frozen=True, slots=True)
class Graphic:
    """A line, or a shape. kind: POINT, POLYLINE, INTERPOLATED, CIRCLE, ELLIPSE. points: x, y, x, y ...

    relative: points are fractions of the displayed area, else columns and rows of the image, from 1.
    """

    kind: str
    points: tuple[float, ...]
    filled: bool
    relative: bool


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a point, with the meaning `Graphic` gives to it."""

    words: str
    at: tuple[float, float]
    relative: bool


@dataclass(frozen=True, slots=True)
class Shutter:
    """What stays visible. kind: RECTANGULAR (left, right, upper, lower), CIRCULAR (row, column, radius), POLYGONAL."""

    kind: str
    points: tuple[float, ...]
    shade: int


@dataclass(frozen=True, slots=True)
class State:
    """What is done to one frame of one image. None and 0: as the image says.

    area: left, top, right, bottom, columns and rows from 1, as far as they are shown.
    """

    modality: Lut | tuple[float, float] | None = None
    voi: Window | Lut | None = None
    presentation: Lut | None = None
    inverse: bool = False
    area: tuple[float, float, float, float] | None = None
    rotation: int = 0
    flip: bool = False
    shutters: tuple[Shutter, ...] = ()
    graphics: tuple[Graphic, ...] = ()
    texts: tuple[Text, ...] = ()


def referenced_images(header: Item) -> list[InstanceRef]:
    """The images a presentation state is about, in its order. All are of its own study (PS3.3 §C.11.11)."""
    study = header.text(_STUDY_UID)
    return [
        InstanceRef(study, series.text(_SERIES_UID), image.text(_REFERENCED_SOP_UID))
        for series in header.items(_REFERENCED_SERIES)
        for image in series.items(_REFERENCED_IMAGE)
    ]


def read_state(header: Item, sop_uid: str, frame_number: int) -> State:
    """What this presentation state does to a frame of an image."""

    def about(tag: int) -> list[Item]:
        return [item for item in header.items(tag) if _is_about(item, sop_uid, frame_number)]

    modality = read_modality(header, signed=False)
    signed = not isinstance(modality, Lut)
    voi = next((found for item in about(_SOFTCOPY_VOI) if (found := read_voi(item, signed=signed))), None)
    lut = next((read_lut(item, signed=False) for item in header.items(_PRESENTATION_LUT)), None)
    area = next((_read_area(item) for item in about(_DISPLAYED_AREA)), None)
    annotations = about(_GRAPHIC_ANNOTATION)
    graphics = [_read_graphic(one) for item in annotations for one in item.items(_GRAPHIC_OBJECTS)]
    texts = [_read_text(one) for item in annotations for one in item.items(_TEXT_OBJECTS)]
    return State(
        modality=modality,
        voi=voi,
        presentation=lut,
        inverse=header.text(_PRESENTATION_SHAPE) == "INVERSE",
        area=area,
        rotation=header.number(0x00700042) % 360 // 90 * 90,
        flip=header.text(0x00700041) == "Y",
        shutters=_read_shutters(header),
        graphics=tuple(one for one in graphics[:_MOST_OBJECTS] if one),
        texts=tuple(one for one in texts[:_MOST_OBJECTS] if one),
    )


def _is_about(item: Item, sop_uid: str, frame_number: int) -> bool:
    """No reference means all images (PS3.3 §C.11.8)."""
    references = item.items(_REFERENCED_IMAGE)
    return not references or any(
        reference.text(_REFERENCED_SOP_UID) == sop_uid
        and (not (frames := reference.decimals(_REFERENCED_FRAMES)) or frame_number in frames)
        for reference in references
    )


def _read_area(item: Item) -> tuple[float, float, float, float] | None:
    corners = [*item.numbers(0x00700052, "i"), *item.numbers(0x00700053, "i")]
    if len(corners) != 4:
        return None
    left, right = sorted((corners[0], corners[2]))
    top, bottom = sorted((corners[1], corners[3]))
    return left, top, right, bottom


def _read_graphic(item: Item) -> Graphic | None:
    points = tuple(item.numbers(0x00700022, "f"))
    if len(points) < 2 or len(points) % 2 or len(points) > 2 * _MOST_OBJECTS or not _are_sane(points):
        return None
    return Graphic(item.text(0x00700023), points, item.text(0x00700024) == "Y", item.text(0x00700005) == "DISPLAY")


def _read_text(item: Item) -> Text | None:
    """At its anchor, else at the top left corner of its bounding box. Only what Latin-1 holds is written."""
    anchor, box = item.numbers(0x00700014, "f"), item.numbers(0x00700010, "f")
    words = item.text(0x00700006)[:1024]
    at, units = (box, 0x00700003) if len(box) == 2 else (anchor, 0x00700004)
    if len(at) != 2 or not words or not _are_sane(at):
        return None
    return Text(words, (at[0], at[1]), item.text(units) == "DISPLAY")


def _are_sane(points: Sequence[float]) -> bool:
    return all(abs(one) < 1e6 for one in points)  # neither a NaN


def _read_shutters(header: Item) -> tuple[Shutter, ...]:
    """PS3.3 §C.7.6.11. The shade is a P-Value of 16 bits (§C.11.12)."""
    shade = header.number(0x00181622) >> 8
    found = []
    for kind in header.texts(0x00181600):
        match kind:
            case "RECTANGULAR":
                points = [
                    one for tag in (0x00181602, 0x00181604, 0x00181606, 0x00181608) for one in header.decimals(tag)
                ]
                wanted = len(points) == 4
            case "CIRCULAR":
                points = [*header.decimals(0x00181610), *header.decimals(0x00181612)]
                wanted = len(points) == 3
            case "POLYGONAL":
                points = header.decimals(0x00181620)
                wanted = len(points) >= 6 and len(points) % 2 == 0
            case _:
                continue
        if wanted and _are_sane(points):
            found.append(Shutter(kind, tuple(points), shade))
    return tuple(found)
