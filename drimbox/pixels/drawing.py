"""What someone wants drawn, in values of ours: the request parameters of PS3.18 §8.3.5, read by the door. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from drimbox.pixels.grayscale import Window
from drimbox.pixels.presentation import State

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
PICTURES: Final = (JPEG, PNG, GIF)

QUALITY: Final = 90
MOST_SIDE: Final = 8192
"""Of a picture that someone wants larger than the image."""

MOST_CINE_FRAMES: Final = 600
Profile = Literal["yes", "no", "srgb"]
Sign = Literal["report", "document", "video", "waveform", "other"]
"""What is drawn for an instance that has no picture of its own."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image, in its pixels from the top left corner, or in fractions of it. flip_x, flip_y: mirrored."""

    left: float
    top: float
    width: float | None = None
    height: float | None = None
    flip_x: bool = False
    flip_y: bool = False
    in_fractions: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """How to draw. window: instead of what the image says, and of what a state says. size: the picture fits in it.

    profile: of colours (PS3.18 §8.3.5.1.5); `yes` keeps that of the image. overlays: with those of the image,
    and with the overlays, lines and words of a state.
    sign: this instead of the image.
    """

    media_type: str = JPEG
    window: Window | None = None
    size: tuple[int, int] | None = None
    region: Region | None = None
    quality: int = QUALITY
    profile: Profile = "yes"
    overlays: bool = True
    state: State | None = None
    sign: Sign | None = None
