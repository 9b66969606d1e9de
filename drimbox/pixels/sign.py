"""Signs for what has no picture: a report, a document, a film, a waveform. Drawn in a worker, where pictures are."""

from typing import Final

from PIL import Image, ImageDraw

from drimbox.pixels.drawing import Sign

_SIDE: Final = 256
_GROUND: Final = 24
_INK: Final = 200


def draw_sign(sign: Sign) -> Image.Image:
    """A square of 256 x 256, light lines on a dark ground."""
    picture = Image.new("L", (_SIDE, _SIDE), _GROUND)
    pen = ImageDraw.Draw(picture)
    match sign:
        case "report" | "document":
            pen.line([(72, 40), (152, 40), (188, 76), (188, 216), (72, 216), (72, 40)], _INK, 6)
            pen.line([(152, 40), (152, 76), (188, 76)], _INK, 6)
            for y in range(104, 200, 24) if sign == "report" else ():
                pen.line([(92, y), (168, y)], _INK, 6)
        case "video":
            pen.rectangle((40, 64, 216, 192), outline=_INK, width=6)
            pen.polygon([(108, 96), (108, 160), (160, 128)], _INK)
        case "waveform":
            pen.line([(32, 136), (88, 136), (104, 72), (128, 200), (148, 112), (160, 136), (224, 136)], _INK, 6)
        case "other":
            pen.rectangle((72, 72, 184, 184), outline=_INK, width=6)
            pen.ellipse((116, 116, 140, 140), _INK)
    return picture
