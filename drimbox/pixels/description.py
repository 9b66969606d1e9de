"""The attributes that give stored pixels their shape, and what one frame weighs. Pure."""

from dataclasses import dataclass
from typing import Final

from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import PIXEL_DATA, PIXELS, UNDEFINED, ElementReader, Limits
from drimbox.dicom.part10 import Readable
from drimbox.errors import NotAcceptable, TooLarge
from drimbox.pixels.syntaxes import HTJ2K, JPEG_2000, JPEG_LOSSY

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
PIXEL_REPRESENTATION: Final = 0x00280103

_NUMBERS = frozenset(
    {SAMPLES_PER_PIXEL, PLANAR_CONFIGURATION, ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION}
)
_TEXTS = frozenset({PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES})
DESCRIBING: Final = _NUMBERS | _TEXTS | PIXELS
"""All that a description, and the search for the pixels it is about, has to look at."""

_MOST_VALUE_BYTES = 64


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module (PS3.3 §C.7.6.3), as declared. planar: Planar Configuration."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    photometric: str
    planar: int
    number_of_frames: int

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame, without the padding of a last byte.

        Chrominance of a native YBR_FULL_422 is there for every second pixel only (PS3.3 §C.7.6.3.1.2).
        """
        return self.rows * self.columns * self.samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame when it stands alone."""
        return (self.frame_bits + 7) // 8


def checked_description(description: PixelDescription, most_bytes: int) -> PixelDescription:
    """Return `description` if a frame of it can be held. Raises NotAcceptable, TooLarge.

    The product is over whole numbers of any size: 65535 x 65535 does not wrap round to something small.
    """
    d = description
    allocated = d.bits_allocated in (1, 8, 16, 32, 64) and 0 < d.bits_stored <= d.bits_allocated
    if not (allocated and d.rows and d.columns and d.samples in (1, 3, 4) and d.pixel_representation in (0, 1)):
        raise NotAcceptable("image", "its pixels are not described as PS3.3 §C.7.6.3 asks; ask for the stored syntax")
    if d.frame_bytes > most_bytes:
        raise TooLarge("frame", f"{d.frame_bytes} bytes declared, at most {most_bytes}")
    return d


def native_photometric(photometric: str, transfer_syntax: str) -> str:
    """Photometric Interpretation of the pixels once native; `decode.py` says why."""
    if transfer_syntax in JPEG_2000 | HTJ2K and photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    if transfer_syntax in JPEG_LOSSY and photometric.endswith(("_422", "_420")):
        return "RGB"
    return photometric


def read_description(file: Readable) -> PixelDescription | None:
    """The description of an instance that has Pixel Data; None for others, and for one that is not told as it should.

    Raises Malformed, TooLarge, when its header cannot be read.
    """
    data_set = open_data_set(file, Limits(), DESCRIBING)
    description = DescriptionReader()
    for level, tag, _, offset, length in data_set.reader:
        if level == 0 and not description.note(data_set.reader, tag, offset, length) and tag in PIXELS:
            try:
                return description.result() if tag == PIXEL_DATA else None
            except NotAcceptable:
                return None
    return None


class DescriptionReader:
    """Gathers a description from the elements of the data set itself, as they pass."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._texts: dict[int, str] = {}

    def note(self, reader: ElementReader, tag: int, offset: int, length: int) -> bool:
        """Take the element if it matters. False once all that can matter have passed."""
        if length != UNDEFINED and length <= _MOST_VALUE_BYTES:
            if tag in _NUMBERS and length >= 2:
                order = "little" if reader.little_endian else "big"
                self._numbers[tag] = int.from_bytes(reader.value(offset, 2), order)  # type: ignore[arg-type]
            elif tag in _TEXTS:
                self._texts[tag] = reader.value(offset, length).decode("latin-1").strip(" \x00")
        return tag <= PIXEL_REPRESENTATION

    @property
    def is_signed(self) -> bool:
        """Are stored values signed, as far as is known?"""
        return self._numbers.get(PIXEL_REPRESENTATION) == 1

    def result(self) -> PixelDescription:
        """What was gathered. Absent numbers are 0, which `checked_description` refuses where they matter."""
        frames = self._texts.get(NUMBER_OF_FRAMES) or "1"
        if not (frames.isascii() and frames.isdigit() and len(frames) < 10):
            raise NotAcceptable("image", "its Number of Frames is no number; ask for the stored syntax")
        number = self._numbers.get
        return PixelDescription(
            rows=number(ROWS, 0),
            columns=number(COLUMNS, 0),
            samples=number(SAMPLES_PER_PIXEL, 1),
            bits_allocated=number(BITS_ALLOCATED, 0),
            bits_stored=number(BITS_STORED, number(BITS_ALLOCATED, 0)),
            pixel_representation=number(PIXEL_REPRESENTATION, 0),
            photometric=self._texts.get(PHOTOMETRIC_INTERPRETATION, ""),
            planar=number(PLANAR_CONFIGURATION, 0),
            number_of_frames=int(frames),
        )
