"""A picture for people out of stored pixels: the pipeline of PS3.4 §N.2, then a JPEG, a PNG or a GIF. In a worker only.

Nothing that tells who the patient is gets drawn. Overlays of the image and annotations of a presentation state do.
"""

import io
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from imagecodecs import png_encode
from numpy.typing import NDArray
from PIL import Image, ImageCms

from drimbox.errors import NotAcceptable
from drimbox.pixels.annotate import annotate, cover, lay
from drimbox.pixels.annotations import WHITE, Graphic, Text
from drimbox.pixels.canvas import Canvas
from drimbox.pixels.colour import from_native_422, from_ybr, read_palette, to_8_bits
from drimbox.pixels.description import PixelDescription
from drimbox.pixels.drawing import GIF, JPEG, PICTURES, Drawing, Region, Sign
from drimbox.pixels.grayscale import Grayscale, Lut, Window, full_range, read_modality, read_voi
from drimbox.pixels.header import Item
from drimbox.pixels.overlays import own_mask, read_overlays
from drimbox.pixels.presentation import Area, Shutter, State, read_shutters
from drimbox.pixels.sign import draw_sign

Image.MAX_IMAGE_PIXELS = None  # frames are bounded before they come here

_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230
_VOI_GROUP: Final = 0x00289132
_MODALITY_GROUP: Final = 0x00289145
_PADDING_VALUE: Final = 0x00280120
_HIGH_BIT: Final = 0x00280102
_ICC_PROFILE: Final = 0x00282000
_OPTICAL_PATHS: Final = 0x00480105
_FRAME_TIME: Final = 0x00181063
_CINE_RATE: Final = 0x00180040
_DISPLAY_RATE: Final = 0x00082144


class Artist:
    """Draws frames of one image. The table of shades is built once for frames that share it.

    description: of the native pixels `decode_frame` gives. floating: they are Float Pixel Data.
    """

    def __init__(self, header: Item, description: PixelDescription, drawing: Drawing, *, floating: bool) -> None:
        self._header = header
        self._d = description
        self._drawing = drawing
        self._floating = floating
        self._shades: tuple[Grayscale, NDArray[np.uint8]] | None = None
        self._profile = b"" if drawing.profile == "no" else _icc_profile(header)

    def stand_in(self, sign: Sign) -> bytes:
        """A sign in the place of a picture."""
        canvas = Canvas(draw_sign(sign))
        if self._drawing.size:
            canvas.fit(self._drawing.size)
        return self._encode(canvas.picture)

    def draw(self, frames: Iterable[tuple[int, bytes | memoryview]]) -> bytes:
        """The picture of these frames, native, by number: a GIF that moves when they are several."""
        pictures = [self._picture(number, native) for number, native in frames]
        if len(pictures) > 1:
            return self._cine(pictures)
        return self._encode(pictures[0])

    # --- One frame ------------------------------------------------------------------------------------------------

    def _picture(self, number: int, native: bytes | memoryview) -> Image.Image:
        d, state = self._d, self._drawing.state
        stored: NDArray[Any] | None = None
        if d.samples == 1 and d.photometric != "PALETTE COLOR":
            stored = self._stored(native)
            shades = self._grey(number, stored)
        else:
            shades = self._colour(native)
        canvas = Canvas(Image.fromarray(self._pseudo_colour(shades)))
        cover(canvas.picture, state.shutters if state else read_shutters(self._header))
        self._lay_overlays(canvas.picture, number, stored)
        if state:
            self._transform(canvas, state)
        if self._drawing.region:
            canvas.cut(self._drawing.region)
        if self._drawing.size:
            canvas.fit(self._drawing.size)
        elif state and state.area and state.area.magnification:
            canvas.scale(state.area.magnification)
        if state and self._drawing.overlays:
            annotate(canvas, state)
        return canvas.picture

    def _pseudo_colour(self, shades: NDArray[np.uint8]) -> NDArray[np.uint8]:
        palette = self._drawing.state.palette if self._drawing.state else b""
        if not palette or shades.ndim != 2:
            return shades
        return np.frombuffer(palette, "u1").reshape(256, 3)[shades]

    def _lay_overlays(self, picture: Image.Image, number: int, stored: NDArray[Any] | None) -> None:
        """Those of the image; under a state only those it puts on a layer, and its own (PS3.3 §C.11.7)."""
        state, shape = self._drawing.state, (self._d.rows, self._d.columns)
        if state is None:
            for _, mask in read_overlays(self._header, number, shape, stored) if self._drawing.overlays else ():
                lay(picture, mask, WHITE)
            return
        masks = dict(read_overlays(self._header, number, shape, stored)) if state.overlays else {}
        for overlay in state.overlays:
            if overlay.bits:
                masks[overlay.group] = own_mask(overlay, shape)
            if overlay.group in masks and (self._drawing.overlays or overlay.covers):
                lay(picture, masks[overlay.group], overlay.ink)

    def _transform(self, canvas: Canvas, state: State) -> None:
        """Displayed area and spatial transformation (PS3.3 §C.10.4, §C.10.6)."""
        if (area := state.area) is not None:
            canvas.cut(Region(area.left - 1, area.top - 1, area.right - area.left + 1, area.bottom - area.top + 1))
            if abs(area.ratio - 1) > 0.01:
                canvas.stretch(area.ratio)
        if state.rotation:
            canvas.turn(state.rotation)
        if state.flip:
            canvas.flip()
        canvas.begin_display()

    def _stored(self, native: bytes | memoryview) -> NDArray[Any]:
        d = self._d
        if d.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(native, "u1"), bitorder="little")[: d.rows * d.columns]
            return bits.reshape(d.rows, d.columns)
        kind = "f" if self._floating else "u"
        return np.frombuffer(native, f"<{kind}{d.bits_allocated // 8}").reshape(d.rows, d.columns)

    def _grey(self, number: int, stored: NDArray[Any]) -> NDArray[np.uint8]:
        grayscale = self._grayscale(number)
        if self._floating or stored.dtype.itemsize > 2:
            values = stored if self._floating else self._values(stored)
            if grayscale.voi is None:
                grayscale = _with_voi(grayscale, full_range(values[np.isfinite(values)], grayscale))
            return grayscale.shade(np.nan_to_num(values))
        domain = np.arange(1 << max(8, self._d.bits_allocated), dtype=np.uint32)
        values = self._values(domain)
        if grayscale.voi is None:
            grayscale = _with_voi(grayscale, self._whole_range(grayscale, stored, values))
        if self._shades is None or self._shades[0] != grayscale:
            self._shades = (grayscale, grayscale.shade(values))
        return self._shades[1].take(stored, mode="clip")

    def _values(self, stored: NDArray[Any]) -> NDArray[np.int64]:
        """What bits mean: those of Bits Stored below High Bit, with their sign (PS3.5 §8.1.1)."""
        d = self._d
        high = self._header.number(_HIGH_BIT, d.bits_stored - 1)
        shift = high + 1 - d.bits_stored if d.bits_stored <= high + 1 <= d.bits_allocated else 0
        values = (stored.astype(np.int64) >> shift) & ((1 << d.bits_stored) - 1)
        if d.pixel_representation:
            values -= (values >> d.bits_stored - 1) << d.bits_stored
        return values

    def _whole_range(self, grayscale: Grayscale, stored: NDArray[Any], values: NDArray[np.int64]) -> Window:
        """No window is told: 8 bits are shown as they are, more from the least to the greatest value in the frame."""
        d = self._d
        if d.bits_stored <= 8 and not d.pixel_representation:
            return full_range(np.array([0, (1 << d.bits_stored) - 1]), grayscale)
        present = np.zeros(len(values), np.bool_)
        present[stored] = True
        if _PADDING_VALUE in self._header.values:
            padding = self._header.number(_PADDING_VALUE, code="h" if d.pixel_representation else "H")
            present[values == padding] = False
        return full_range(values[present] if present.any() else values[:1], grayscale)

    def _grayscale(self, number: int) -> Grayscale:
        """A state overrides; then what the frame says, what all frames share, what the image says."""
        d, state, wanted = self._d, self._drawing.state, self._drawing.window
        signed = bool(d.pixel_representation)
        modality = state.modality if state and state.modality else None
        if modality is None:
            found = (read_modality(item, signed=signed) for item in self._attributes(number, _MODALITY_GROUP))
            modality = next((one for one in found if one is not None), (1.0, 0.0))
        voi: Window | Lut | None = wanted or (state.voi if state else None)
        if voi is None and not state:
            units_signed = signed or not isinstance(modality, Lut)
            found_voi = (read_voi(item, signed=units_signed) for item in self._attributes(number, _VOI_GROUP))
            voi = next((one for one in found_voi if one is not None), None)
        if state:
            return Grayscale(modality, voi, state.presentation, state.inverse)
        return Grayscale(modality, voi, None, d.photometric == "MONOCHROME1")

    def _attributes(self, number: int, group: int) -> list[Item]:
        per_frame = self._header.items(_PER_FRAME)
        own = per_frame[number - 1].first(group) if 0 < number <= len(per_frame) else Item()
        return [own, self._header.first(_SHARED, group), self._header]

    def _colour(self, native: bytes | memoryview) -> NDArray[np.uint8]:
        d = self._d
        if d.photometric.endswith("_422") and d.bits_allocated == 8 and d.columns % 2 == 0:
            return from_ybr(from_native_422(native, d.rows, d.columns))
        samples: NDArray[Any] = np.frombuffer(native, f"<u{d.bits_allocated // 8}")
        if d.photometric == "PALETTE COLOR":
            first, palette = read_palette(self._header, signed=bool(d.pixel_representation))
            indexes = self._values(samples.reshape(d.rows, d.columns)) - first
            return palette[np.clip(indexes, 0, len(palette) - 1)]
        if d.samples != 3 or d.photometric not in ("RGB", "YBR_FULL"):
            raise NotAcceptable("image", f"no picture is made of {d.photometric or 'unknown colours'}")
        planes = samples.reshape(3, d.rows, d.columns).transpose(1, 2, 0) if d.planar == 1 else samples
        picture = to_8_bits(np.ascontiguousarray(planes.reshape(d.rows, d.columns, 3)), d.bits_stored)
        return from_ybr(picture) if d.photometric == "YBR_FULL" else picture

    # --- Into a file ----------------------------------------------------------------------------------------------

    def _encode(self, picture: Image.Image) -> bytes:
        """imagecodecs writes a PNG five times faster than Pillow, but no profile."""
        profile = self._profile if picture.mode == "RGB" else b""
        if self._drawing.profile == "srgb" and picture.mode == "RGB":
            picture, profile = _in_srgb(picture, profile)
        if self._drawing.media_type == JPEG:
            return _saved(picture, "JPEG", quality=self._drawing.quality, icc_profile=profile or None)
        if self._drawing.media_type == GIF:
            return _saved(picture, "GIF")
        if profile:
            return _saved(picture, "PNG", icc_profile=profile, compress_level=1)
        return bytes(png_encode(np.asarray(picture), level=1, strategy=3, filter=16))

    def _cine(self, pictures: list[Image.Image]) -> bytes:
        first, *others = pictures
        delay_ms = max(20, round(_frame_time_ms(self._header)))  # browsers show no shorter one
        return _saved(
            first, "GIF", save_all=True, append_images=others, duration=delay_ms, loop=0, optimize=False, disposal=1
        )


def stand_in(drawing: Drawing, sign: Sign) -> bytes:
    """The picture of what has none: nothing of the instance is looked at."""
    one_pixel = PixelDescription(1, 1, 1, 8, 8, 0, "MONOCHROME2", 0, 1)
    return Artist(Item(), one_pixel, drawing, floating=False).stand_in(sign)


def load() -> None:
    """Draw one of each kind. Pillow loads its parts when they are first used, and a confined worker opens no file."""
    header = Item(values={_ICC_PROFILE: ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()})
    lines = State(
        shutters=(Shutter("CIRCULAR", (1, 1, 1), 0),),
        graphics=(Graphic("CIRCLE", (0, 0, 1, 1), True, False), Graphic("POLYLINE", (0, 0, 1, 1), False, True)),
        texts=(Text("a", (0, 0, 1, 1), False, ink=(255, 0, 0)),),
        area=Area(1, 1, 4, 4, 2.0),
        rotation=90,
    )
    grey = PixelDescription(4, 4, 1, 8, 8, 0, "MONOCHROME2", 0, 2)
    colour = PixelDescription(4, 4, 3, 8, 8, 0, "RGB", 0, 1)
    for media_type in PICTURES:
        drawing = Drawing(media_type, size=(2, 2), state=lines)
        Artist(header, grey, drawing, floating=False).draw([(1, bytes(16)), (2, bytes(16))][: 1 + (media_type == GIF)])
        Artist(header, colour, Drawing(media_type, profile="srgb"), floating=False).draw([(1, bytes(48))])


def _with_voi(grayscale: Grayscale, voi: Window) -> Grayscale:
    return Grayscale(grayscale.modality, voi, grayscale.presentation, grayscale.inverse)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _icc_profile(header: Item) -> bytes:
    """Of the image, or of the optical path of a microscope (PS3.3 §C.11.15)."""
    return header.values.get(_ICC_PROFILE) or header.first(_OPTICAL_PATHS).values.get(_ICC_PROFILE, b"")


def _in_srgb(picture: Image.Image, profile: bytes) -> tuple[Image.Image, bytes]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    if profile:
        try:
            changed = ImageCms.profileToProfile(picture, io.BytesIO(profile), srgb)
        except (ImageCms.PyCMSError, OSError) as error:
            raise NotAcceptable("iccprofile", "the profile of the image cannot be used", detail=repr(error)) from error
        picture = changed or picture
    return picture, srgb.tobytes()


def _frame_time_ms(header: Item) -> float:
    for tag, in_ms in ((_FRAME_TIME, True), (_DISPLAY_RATE, False), (_CINE_RATE, False)):
        for value in header.decimals(tag)[:1]:
            if value > 0:
                return value if in_ms else 1000 / value
    return 100.0
