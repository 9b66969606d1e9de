"""A softcopy presentation state: what it says of the images it is about (PS3.3 §A.33, PS3.4 annex N). Pure.

What is read is what `draw.py` does: modality, VOI and presentation LUTs, a palette, shutters, overlays, displayed area,
rotation and flip, graphic and text annotation. A state that subtracts a mask is not shown at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from drimbox.errors import NotAcceptable
from drimbox.model import InstanceRef
from drimbox.pixels.annotations import (
    Graphic,
    Ink,
    Text,
    annotations_of,
    are_sane,
    from_lab,
    read_annotations,
    read_layers,
)
from drimbox.pixels.colour import read_palette
from drimbox.pixels.grayscale import Lut, Window, read_lut, read_modality, read_voi
from drimbox.pixels.header import Item

STATES: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.11.{number}" for number in (1, 2, 3))
"""Storage SOP classes: grayscale, colour and pseudo-colour softcopy presentation states."""

_REFERENCED_SERIES: Final = 0x00081115
_REFERENCED_IMAGE: Final = 0x00081140
_REFERENCED_SOP_UID: Final = 0x00081155
_REFERENCED_FRAMES: Final = 0x00081160
_SERIES_UID: Final = 0x0020000E
_STUDY_UID: Final = 0x0020000D
_SOFTCOPY_VOI: Final = 0x00283110
_PRESENTATION_LUT: Final = 0x20500010
_PRESENTATION_SHAPE: Final = 0x20500020
_DISPLAYED_AREA: Final = 0x0070005A
_PALETTE: Final = 0x00281101
_MASK_SUBTRACTION: Final = 0x00286100
_OVERLAYS: Final = range(0x6000, 0x6020, 2)


@dataclass(frozen=True, slots=True)
class Shutter:
    """What stays visible. kind: RECTANGULAR (left, right, upper, lower), CIRCULAR (row, column, radius), POLYGONAL."""

    kind: str
    points: tuple[float, ...]
    shade: Ink


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay plane that is shown, or that covers what its bits are set on. group: 0x6000 and on.

    covers: it is a shutter. rows, columns, top, left: of the bits of the state, from the top left pixel of the image,
    which is 0; no bits: those of the image.
    """

    group: int
    ink: Ink
    covers: bool = False
    rows: int = 0
    columns: int = 0
    top: int = 0
    left: int = 0
    bits: bytes = b""


@dataclass(frozen=True, slots=True)
class Area:
    """The part that is shown: columns and rows from 1, its corners included.

    ratio: how much higher than wide a pixel is. magnification: display pixels for one of the image; 0: as it fits.
    """

    left: float
    top: float
    right: float
    bottom: float
    ratio: float = 1.0
    magnification: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """What is done to one frame of one image. None and 0: as the image says.

    palette: 256 times red, green, blue for the shades. overlays: the lowest layer first.
    """

    modality: Lut | tuple[float, float] | None = None
    voi: Window | Lut | None = None
    presentation: Lut | None = None
    inverse: bool = False
    palette: bytes = b""
    area: Area | None = None
    rotation: int = 0
    flip: bool = False
    shutters: tuple[Shutter, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    graphics: tuple[Graphic, ...] = ()
    texts: tuple[Text, ...] = ()


def referenced_images(header: Item) -> list[tuple[InstanceRef, tuple[int, ...]]]:
    """The images a presentation state is about, in its order, and their frames where it names some.

    All are of its own study (PS3.3 §C.11.11).
    """
    study = header.text(_STUDY_UID)
    return [
        (InstanceRef(study, series.text(_SERIES_UID), image.text(_REFERENCED_SOP_UID)), _frames(image))
        for series in header.items(_REFERENCED_SERIES)
        for image in series.items(_REFERENCED_IMAGE)
    ]


def _frames(reference: Item) -> tuple[int, ...]:
    return tuple(int(one) for one in reference.decimals(_REFERENCED_FRAMES) if one >= 1)


def read_state(header: Item, sop_uid: str, frame_number: int) -> State:
    """What this presentation state does to a frame of an image. Raises NotAcceptable when it does what we do not."""

    def about(items: Sequence[Item]) -> list[Item]:
        return [item for item in items if _is_about(item, sop_uid, frame_number)]

    if about(header.items(_MASK_SUBTRACTION)):
        raise NotAcceptable("presentation state", "it subtracts a mask, which is not done here: show its images")
    modality = read_modality(header, signed=False)
    signed = not isinstance(modality, Lut)
    softcopy = about(header.items(_SOFTCOPY_VOI))
    graphics, texts = read_annotations(header, about(annotations_of(header)))
    return State(
        modality=modality,
        voi=next((found for item in softcopy if (found := read_voi(item, signed=signed))), None),
        presentation=next((read_lut(item, signed=False) for item in header.items(_PRESENTATION_LUT)), None),
        inverse=header.text(_PRESENTATION_SHAPE) == "INVERSE",
        palette=_read_palette(header),
        area=next((_read_area(item) for item in about(header.items(_DISPLAYED_AREA))), None),
        rotation=header.number(0x00700042) % 360 // 90 * 90,
        flip=header.text(0x00700041) == "Y",
        shutters=read_shutters(header),
        overlays=_read_overlays(header),
        graphics=graphics,
        texts=texts,
    )


def _is_about(item: Item, sop_uid: str, frame_number: int) -> bool:
    """No reference means all images (PS3.3 §C.11.8)."""
    references = item.items(_REFERENCED_IMAGE)
    return not references or any(
        reference.text(_REFERENCED_SOP_UID) == sop_uid
        and (not (frames := _frames(reference)) or frame_number in frames)
        for reference in references
    )


def _read_palette(header: Item) -> bytes:
    """Of a pseudo-colour state: 256 steps over its whole length (PS3.3 §A.33.3)."""
    if _PALETTE not in header.values:
        return b""
    _, palette = read_palette(header, signed=False)
    return bytes(palette[np.linspace(0, len(palette) - 1, 256).round().astype(int)].tobytes())


def _read_area(item: Item) -> Area | None:
    corners = [*item.numbers(0x00700052, "i"), *item.numbers(0x00700053, "i")]
    if len(corners) != 4:
        return None
    left, right = sorted((corners[0], corners[2]))
    top, bottom = sorted((corners[1], corners[3]))
    high_wide = item.decimals(0x00700101) or item.decimals(0x00700102)  # a spacing, or an aspect ratio
    ratio = high_wide[0] / high_wide[1] if len(high_wide) == 2 and min(high_wide) > 0 else 1.0
    larger = next(iter(item.numbers(0x00700103, "f")), 0.0) if item.text(0x00700100) == "MAGNIFY" else 0.0
    return Area(
        left, top, right, bottom, ratio if 0.02 <= ratio <= 50 else 1.0, larger if 0.01 <= larger <= 100 else 0.0
    )


def _read_overlays(header: Item) -> tuple[Overlay, ...]:
    """Those on a layer, and the one that is a shutter (PS3.3 §C.7.6.15, §C.11.7)."""
    layers = read_layers(header)
    found: list[tuple[int, Overlay]] = []
    shutter = header.number(0x00181623) if "BITMAP" in header.texts(0x00181600) else 0
    for group in _OVERLAYS:
        base = group << 16
        layer = layers.get(header.text(base | 0x1001)) if header.text(base | 0x1001) else None
        if layer is None and group != shutter:
            continue
        ink, order = (layer.ink, layer.order) if layer else (_shutter_ink(header), -1)
        top, left = (int(one) - 1 for one in (header.numbers(base | 0x0050, "h") or [1, 1])[:2])
        rows, columns = header.number(base | 0x0010), header.number(base | 0x0011)
        bits = header.words(base | 0x3000).tobytes()[: (rows * columns + 7) // 8]
        if bits and len(bits) * 8 < rows * columns:
            continue
        found.append((order, Overlay(group, ink, group == shutter, rows, columns, top, left, bits)))
    return tuple(overlay for _, overlay in sorted(found, key=lambda pair: pair[0]))


def read_shutters(header: Item) -> tuple[Shutter, ...]:
    """The shutters of an image or of a state, but for that which is an overlay (PS3.3 §C.7.6.11)."""
    shade = _shutter_ink(header)
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
        if wanted and are_sane(points):
            found.append(Shutter(kind, tuple(points), shade))
    return tuple(found)


def _shutter_ink(header: Item) -> Ink:
    """A colour, else a P-Value of 16 bits, else black (PS3.3 §C.7.6.11)."""
    if len(lab := header.numbers(0x00181624)) == 3:
        return from_lab(*(int(one) for one in lab))
    return header.number(0x00181622) >> 8
