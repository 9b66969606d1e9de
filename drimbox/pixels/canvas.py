"""A picture that is cut, turned and resized, and where the points of the image have come to lie in it."""

from typing import Final

from PIL import Image

from drimbox.errors import NotAcceptable
from drimbox.pixels.drawing import MOST_SIDE, Region

Affine = tuple[float, float, float, float, float, float]
"""x' = a x + b y + c, y' = d x + e y + f."""

Point = tuple[float, float]
_SAME: Final[Affine] = (1, 0, 0, 0, 1, 0)
_TURNS: Final = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
_MOST_CUT_SIDE: Final = MOST_SIDE * 8


class Canvas:
    """Begins as the image. Coordinates have 0\\0 at the top left corner of the top left pixel."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self._image = _SAME
        self._display = _SAME

    def from_image(self, x: float, y: float) -> Point:
        """Where a point of the image is now."""
        return _apply(self._image, x, y)

    def from_display(self, x: float, y: float) -> Point:
        """Where a point is now that was told as fractions of what `begin_display` saw."""
        return _apply(self._display, x, y)

    def begin_display(self) -> None:
        """This is the displayed area: 0\\0 to 1\\1 of it is the whole picture as it is now."""
        self._display = (self.picture.width, 0, 0, 0, self.picture.height, 0)

    def cut(self, region: Region) -> None:
        """Keep a part, which may reach beyond the picture; what lies outside is black. Raises NotAcceptable."""
        wide, high = self.picture.size if region.in_fractions else (1, 1)
        left, top = round(region.left * wide), round(region.top * high)
        right = self.picture.width if region.width is None else left + max(1, round(region.width * wide))
        bottom = self.picture.height if region.height is None else top + max(1, round(region.height * high))
        if right <= left or bottom <= top or right - left > _MOST_CUT_SIDE or bottom - top > _MOST_CUT_SIDE:
            raise NotAcceptable("viewport", "that part of the image is not there")
        self._change(self.picture.crop((left, top, right, bottom)), (1, 0, -left, 0, 1, -top))
        if region.flip_x:
            self.flip()
        if region.flip_y:
            height = self.picture.height
            self._change(self.picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (1, 0, 0, 0, -1, height))

    def turn(self, degrees: int) -> None:
        """Clockwise, by 90, 180 or 270."""
        width, height = self.picture.size
        moved: Affine = {
            90: (0, -1, height, 1, 0, 0), 180: (-1, 0, width, 0, -1, height), 270: (0, 1, 0, -1, 0, width),
        }[degrees]  # fmt: skip
        self._change(self.picture.transpose(_TURNS[degrees]), moved)

    def flip(self) -> None:
        """The left side becomes the right side."""
        width = self.picture.width
        self._change(self.picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (-1, 0, width, 0, 1, 0))

    def stretch(self, ratio: float) -> None:
        """Pixels are `ratio` times as high as they are wide: make them square."""
        width, height = self.picture.size
        if ratio > 1:
            self.resize((width, round(height * ratio)))
        else:
            self.resize((round(width / ratio), height))

    def fit(self, size: tuple[int, int]) -> None:
        """As large as fits, the shape unchanged."""
        self.scale(min(wanted / had for wanted, had in zip(size, self.picture.size, strict=True)))

    def scale(self, factor: float) -> None:
        """So many times as large."""
        width, height = self.picture.size
        self.resize((round(width * factor), round(height * factor)))

    def resize(self, size: tuple[int, int]) -> None:
        """To this size, within what a picture may have."""
        width, height = (min(MOST_SIDE, max(1, side)) for side in size)
        old_width, old_height = self.picture.size
        if (width, height) == (old_width, old_height):
            return
        smaller = width < old_width or height < old_height
        how = Image.Resampling.BILINEAR if smaller else Image.Resampling.BICUBIC
        picture = self.picture.resize((width, height), how, reducing_gap=2.0 if smaller else None)
        self._change(picture, (width / old_width, 0, 0, 0, height / old_height, 0))

    def _change(self, picture: Image.Image, moved: Affine) -> None:
        self.picture = picture
        self._image = _then(self._image, moved)
        self._display = _then(self._display, moved)


def _apply(m: Affine, x: float, y: float) -> Point:
    return m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]


def _then(m: Affine, n: Affine) -> Affine:
    """First m, then n."""
    (c, f) = _apply(n, m[2], m[5])
    return (
        n[0] * m[0] + n[1] * m[3], n[0] * m[1] + n[1] * m[4], c,
        n[3] * m[0] + n[4] * m[3], n[3] * m[1] + n[4] * m[4], f,
    )  # fmt: skip
