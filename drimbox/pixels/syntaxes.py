"""The transfer syntaxes by the codec that reads them: what can be decoded at all. Pure."""

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
