"""What can be sent of an object: the bytes as they are kept, or the same image made native. Pure.

The one thing we make is Explicit VR Little Endian, the default of PS3.18 §8.7.3.3: decompressing is exact for a
lossless original, and loses nothing more of a lossy one. The door chooses among what is possible; the first costs no
decoder and no time.
"""

from typing import Final

from drimbox.dicom.uid import (
    DEFLATED_EXPLICIT_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
)

ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
RLE: Final = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
# .53 and .55 are retired, and still found in archives.
JPEG_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{process}" for process in (50, 51, 53, 55))
JPEG_LOSSLESS: Final = frozenset(f"1.2.840.10008.1.2.4.{process}" for process in (57, 70))
JPEG_LS: Final = frozenset(f"1.2.840.10008.1.2.4.{process}" for process in (80, 81))
JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{part}" for part in (90, 91))
HTJ2K: Final = frozenset(f"1.2.840.10008.1.2.4.{part}" for part in (201, 202, 203))

# Frames of these are the native little endian bytes already: only the data set around them may differ.
_NATIVE_LITTLE_ENDIAN = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, ENCAPSULATED_UNCOMPRESSED})

# Not here, so served as stored only: video, JPIP, JPEG XL, JPEG 2000 part 2, the retired JPEG processes with
# arithmetic coding or hierarchy, private and unknown syntaxes.
DECODABLE: Final = (
    _NATIVE_LITTLE_ENDIAN
    | {EXPLICIT_BIG_ENDIAN, DEFLATED_EXPLICIT_LITTLE_ENDIAN, RLE, DEFLATED_FRAMES}
    | JPEG_LOSSY
    | JPEG_LOSSLESS
    | JPEG_LS
    | JPEG_2000
    | HTJ2K
)


def possible(stored: str) -> tuple[str, ...]:
    """The transfer syntaxes an object kept in `stored` can be sent in."""
    native = (EXPLICIT_LITTLE_ENDIAN,) if stored in DECODABLE and stored != EXPLICIT_LITTLE_ENDIAN else ()
    return (stored, *native)
