"""Shutters, lines and words drawn on a picture (PS3.3 §C.7.6.11, §C.10.5)."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drimbox.pixels.annotations import Graphic, Ink, Text
from drimbox.pixels.canvas import Canvas, Point
from drimbox.pixels.presentation import Shutter, State

_ROUND: Final = 72  # corners of what is drawn for a curve that is closed
_BETWEEN: Final = 8  # and between two points of one that is interpolated


def cover(picture: Image.Image, shutters: Sequence[Shutter]) -> None:
    """Cover what the shutters hide: only what all of them leave open stays visible."""
    for shutter in shutters:
        mask = Image.new("1", picture.size, 1)
        pen = ImageDraw.Draw(mask)
        points = shutter.points
        match shutter.kind:
            case "RECTANGULAR":  # left, right, upper, lower: the edges are hidden
                left, right, upper, lower = points
                if left + 1 <= right - 1 and upper + 1 <= lower - 1:
                    pen.rectangle((left, upper, right - 2, lower - 2), fill=0)
            case "CIRCULAR":
                row, column, radius = points
                pen.ellipse((column - 1 - radius, row - 1 - radius, column - 1 + radius, row - 1 + radius), fill=0)
            case _:  # row, column, row, column ...
                pen.polygon([(x - 1, y - 1) for y, x in zip(points[::2], points[1::2], strict=True)], fill=0)
        picture.paste(ink_of(shutter.shade, picture.mode), (0, 0), mask)


def lay(picture: Image.Image, mask: NDArray[np.bool_], ink: Ink) -> None:
    """Ink where the mask is set. mask: (rows, columns)."""
    picture.paste(ink_of(ink, picture.mode), (0, 0), Image.fromarray(mask))


def ink_of(ink: Ink, mode: str) -> Ink:
    """As a picture of this mode takes it: a colour on a grey one is as light as it is (ITU-R BT.601)."""
    if mode == "RGB":
        return (ink,) * 3 if isinstance(ink, int) else ink
    return ink if isinstance(ink, int) else round(0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2])


def annotate(canvas: Canvas, state: State) -> None:
    """Draw the graphics, then the texts, the lowest layer first. Words are upright, however the image was turned."""
    inks = [graphic.ink for graphic in state.graphics] + [text.ink for text in state.texts]
    if canvas.picture.mode == "L" and not all(isinstance(ink, int) for ink in inks):
        canvas.picture = canvas.picture.convert("RGB")
    pen = ImageDraw.Draw(canvas.picture)
    for graphic in state.graphics:
        _draw(pen, graphic, canvas.from_display if graphic.relative else canvas.from_image, canvas.picture.mode)
    for text in state.texts:
        _write(pen, text, canvas)


def _draw(pen: ImageDraw.ImageDraw, graphic: Graphic, place: Callable[[float, float], Point], mode: str) -> None:
    ink = ink_of(graphic.ink, mode)
    points = list(zip(graphic.points[::2], graphic.points[1::2], strict=True))
    if graphic.kind == "POINT":
        (x, y) = _pixel(place(*points[0]))
        pen.line((x - 3, y, x + 3, y), fill=ink)
        pen.line((x, y - 3, x, y + 3), fill=ink)
        return
    path = [_pixel(place(*point)) for point in _outline(graphic.kind, points)]
    if graphic.filled and len(path) > 3 and path[0] == path[-1]:
        pen.polygon(path, fill=ink)
    for begin, end in pairwise(path):
        pen.line((*begin, *end), fill=ink, width=graphic.thickness)


def _outline(kind: str, points: Sequence[Point]) -> Iterator[Point]:
    """The corners of the line that is drawn, in the units of the points."""
    if kind == "CIRCLE" and len(points) == 2:
        middle, (on_x, on_y) = points
        radius = math.hypot(on_x - middle[0], on_y - middle[1])
        return _ellipse(middle, (radius, 0), (0, radius))
    if kind == "ELLIPSE" and len(points) == 4:  # the ends of the major axis, then of the minor one
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
        half = ((bx - ax) / 2, (by - ay) / 2)
        return _ellipse(((ax + bx) / 2, (ay + by) / 2), half, ((dx - cx) / 2, (dy - cy) / 2))
    if kind == "INTERPOLATED" and len(points) > 2:
        return _curve(points)
    return iter(points)


def _ellipse(middle: Point, u: Point, v: Point) -> Iterator[Point]:
    for corner in range(_ROUND + 1):
        c, s = math.cos(math.tau * (corner % _ROUND) / _ROUND), math.sin(math.tau * (corner % _ROUND) / _ROUND)
        yield middle[0] + c * u[0] + s * v[0], middle[1] + c * u[1] + s * v[1]


def _curve(points: Sequence[Point]) -> Iterator[Point]:
    """A Catmull-Rom spline through the points; which curve it is, the standard leaves to us."""
    closed = points[0] == points[-1]
    before, after = (points[-2], points[1]) if closed else (points[0], points[-1])
    through = [before, *points, after]
    for p, q, r, s in zip(through, through[1:], through[2:], through[3:], strict=False):
        for step in range(_BETWEEN):
            t = step / _BETWEEN
            yield _spline(p[0], q[0], r[0], s[0], t), _spline(p[1], q[1], r[1], s[1], t)
    yield points[-1]


def _spline(p: float, q: float, r: float, s: float, t: float) -> float:
    return q + t / 2 * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)))


def _write(pen: ImageDraw.ImageDraw, text: Text, canvas: Canvas) -> None:
    width, height = canvas.picture.size
    font = ImageFont.load_default(max(10, min(width, height) // 40))
    words = text.words.replace("\r\n", "\n").replace("\r", "\n")
    ink = ink_of(text.ink, canvas.picture.mode)
    anchor = None
    if text.anchor:
        anchor = _pixel((canvas.from_display if text.anchor_relative else canvas.from_image)(*text.anchor))
    if text.box is None:
        pen.text(anchor or (0, 0), words, fill=ink, font=font)
        return
    place = canvas.from_display if text.relative else canvas.from_image
    xs, ys = zip(_pixel(place(*text.box[:2])), _pixel(place(*text.box[2:])), strict=True)
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    at, side = {"LEFT": (left, "la"), "CENTER": ((left + right) / 2, "ma"), "RIGHT": (right, "ra")}[text.align]
    pen.text((at, top), words, fill=ink, font=font, anchor=side, align=text.align.lower())
    if anchor:
        pen.line((*anchor, (left + right) / 2, (top + bottom) / 2), fill=ink)


def _pixel(point: Point) -> Point:
    """A point of the plane as the pen counts: the middle of the first pixel is 0, 0; far outside is far enough."""
    return max(-1e5, min(1e5, point[0] - 0.5)), max(-1e5, min(1e5, point[1] - 0.5))
