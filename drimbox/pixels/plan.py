"""What to send: the bytes as they are kept, or the same image made native. Pure.

Stored bytes go out whenever any range the caller accepts covers them: it costs no decoder and no time (PS3.18 §8.7.3
lets the origin server choose among what is acceptable). The only thing we make is Explicit VR Little Endian, the
default of PS3.18 §8.7.3.3: decompressing is exact for a lossless original and loses nothing more of a lossy one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.uid import (
    DEFLATED_EXPLICIT_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
)
from drimbox.errors import NotAcceptable

AS_STORED: Final = "*"

ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
RLE: Final = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
# Lossy processes are always decoded to RGB when in colour; .53 and .55 are retired, and still found in archives.
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


@dataclass(frozen=True, slots=True)
class Stored:
    """Send the kept bytes. transfer_syntax: what to announce."""

    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Native:
    """Ask `Pixels` for Explicit VR Little Endian. transfer_syntax: what to announce."""

    transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN


Plan = Stored | Native


def plan(stored: str, wanted: Sequence[str]) -> Plan:
    """Decide how to answer for a whole instance kept in `stored`.

    wanted: transfer syntaxes the caller accepts, best first; `*` is "as stored". Raises NotAcceptable, whose text
    lists what is possible.
    """
    if AS_STORED in wanted or stored in wanted:
        return Stored(stored)
    if EXPLICIT_LITTLE_ENDIAN in wanted and stored in DECODABLE:
        return Native()
    raise NotAcceptable("transfer syntax", f"this is kept as {stored}; possible: {', '.join(possible(stored))}")


def plan_frames(stored: str, wanted: Sequence[str]) -> Plan:
    """Decide the same for frames. Frames of Implicit VR Little Endian are native already, and announced as such.

    The bytes of a native frame do not know whether VRs were written, and PS3.18 §8.7.3.3.2 has no name for Implicit VR.
    """
    return plan(EXPLICIT_LITTLE_ENDIAN if stored in _NATIVE_LITTLE_ENDIAN else stored, wanted)


def possible(stored: str) -> tuple[str, ...]:
    """The transfer syntaxes an object kept in `stored` can be sent in."""
    native = (EXPLICIT_LITTLE_ENDIAN,) if stored in DECODABLE and stored != EXPLICIT_LITTLE_ENDIAN else ()
    return (stored, *native)
