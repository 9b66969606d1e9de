"""Shutters, lines and words of a presentation state, drawn on a picture (PS3.3 §C.7.6.11, §C.10.5)."""

from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from drimbox.pixels.presentation import Graphic, Shutter, State

Ink = int | tuple[int, int, int]

_WHITE: dict[str, Ink] = {"L": 255, "RGB": (255, 255, 255)}


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
        shade = shutter.shade if picture.mode == "L" else (shutter.shade,) * 3
        picture.paste(shade, (0, 0), mask)


def annotate(picture: Image.Image, state: State, *, relative: bool) -> None:
    """Draw the graphics and texts whose points are pixels of the image; relative: those that are fractions instead."""
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    ink = _WHITE[picture.mode]

    def place(x: float, y: float) -> tuple[float, float]:
        # The middle of the first pixel is 1\1 of the standard, and 0, 0 here.
        return (x * width, y * height) if relative else (x - 1, y - 1)

    for graphic in state.graphics:
        if graphic.relative == relative:
            _draw(pen, graphic, [place(*xy) for xy in zip(graphic.points[::2], graphic.points[1::2], strict=True)], ink)
    size = max(10, min(width, height) // 40)
    for text in state.texts:
        if text.relative == relative:
            pen.text(place(*text.at), text.words.replace("\r", ""), fill=ink, font=ImageFont.load_default(size))


def _draw(pen: ImageDraw.ImageDraw, graphic: Graphic, points: list[tuple[float, float]], ink: Ink) -> None:
    match graphic.kind:
        case "POINT":
            (x, y) = points[0]
            pen.line((x - 3, y, x + 3, y), fill=ink)
            pen.line((x, y - 3, x, y + 3), fill=ink)
        case "CIRCLE" if len(points) == 2:
            (x, y), (on_x, on_y) = points
            radius = ((on_x - x) ** 2 + (on_y - y) ** 2) ** 0.5
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, outline=ink, fill=ink if graphic.filled else None)
        case "ELLIPSE" if len(points) == 4:
            # The ends of the two axes; drawn upright, as nearly all are.
            xs, ys = [x for x, _ in points], [y for _, y in points]
            box = (min(xs), min(ys), max(xs), max(ys))
            pen.ellipse(box, outline=ink, fill=ink if graphic.filled else None)
        case _ if len(points) > 1:
            if graphic.filled and points[0] == points[-1] and len(points) > 3:
                pen.polygon(points, fill=ink)
            for begin, end in pairwise(points):
                pen.line((*begin, *end), fill=ink)
