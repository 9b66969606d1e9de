"""What can be sent of an object: as it is kept, native, or encoded anew; and what its attributes then say. Pure.

The door chooses among what is possible. As kept costs no decoder and no time; native, Explicit VR Little Endian, is the
default of PS3.18 §8.7.3.3.

A target is offered only where the standard defines it and an encoder of ours has been proved on it: the table is below,
the reasons are in PS3.5 §8.2 and annex A. Lossy targets are offered only where the operator allows them, and never for
pixels that have lost something already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.pixels.description import PixelDescription, native_photometric
from drimbox.pixels.syntaxes import DECODABLE, RLE

JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000_ANY: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K_ANY: Final = "1.2.840.10008.1.2.4.203"

# In the order they are offered among equals: cheapest to make first, those that may lose something last.
_LOSSLESS: Final = (
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    RLE,
    JPEG_LS_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_2000_LOSSLESS,
    HTJ2K_ANY,
    JPEG_2000_ANY,
)
_ONLY_LOSSY: Final = (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_NEAR)
_MAY_LOSE: Final = frozenset({*_ONLY_LOSSY, JPEG_2000_ANY, HTJ2K_ANY})

ENCODABLE: Final = frozenset({*_LOSSLESS, *_ONLY_LOSSY})

_WAVELETS: Final = frozenset({JPEG_2000_LOSSLESS, JPEG_2000_ANY, HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K_ANY})
_JPEG: Final = frozenset({JPEG_BASELINE, JPEG_EXTENDED})


@dataclass(frozen=True, slots=True)
class Target:
    """What to make. lossy: may pixels change? See `is_made_lossy` and `settled`."""

    transfer_syntax: str
    lossy: bool = False


NATIVE: Final = Target(EXPLICIT_LITTLE_ENDIAN)
_NATIVE: Final = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)  # the second is DIMSE's default, never the web's


def is_native(target: Target) -> bool:
    """Are the pixels of the target not encoded?"""
    return target.transfer_syntax in _NATIVE


@lru_cache(maxsize=256)  # asked for each of a thousand images of a series
def possible(stored: str, *, has_pixels: bool = True, lossy_allowed: bool = False) -> tuple[str, ...]:
    """The transfer syntaxes an object kept in `stored` can be sent in, as far as that alone tells: `stored` first.

    What the image itself rules out is known with its description: see `encodable`.
    """
    if stored not in DECODABLE:
        return (stored,)
    lossy = _ONLY_LOSSY if lossy_allowed and not _is_lossy(stored) else ()
    made = (EXPLICIT_LITTLE_ENDIAN, *(_LOSSLESS + lossy if has_pixels else ()))
    return (stored, *(syntax for syntax in made if syntax != stored))


def narrowed(offered: Sequence[str], stored: str, description: PixelDescription | None) -> tuple[str, ...]:
    """Those of `offered` that this image can be made into. description: None without integer pixels."""
    return tuple(
        syntax
        for syntax in offered
        if syntax in (stored, EXPLICIT_LITTLE_ENDIAN) or (description and encodable(description, stored, syntax))
    )


def encodable(description: PixelDescription, stored: str, syntax: str) -> bool:
    """Can this image, kept in `stored`, be made into `syntax`?"""
    d = description
    if syntax not in ENCODABLE or d.samples not in (1, 3):
        return False
    if native_photometric(d.photometric, stored).endswith(("_422", "_420")):
        return False  # native pixels of which chrominance is halved: no codec takes them so
    if syntax == RLE:
        return d.bits_allocated in (8, 16, 32, 64)
    if d.bits_allocated not in (8, 16):
        return False
    if syntax in _JPEG:
        return _fits_jpeg(d, native_photometric(d.photometric, stored), syntax)
    if syntax == JPEG_LS_NEAR:
        # The neighbour of a palette's index is another colour; that of 0, without a sign, is not -1.
        return d.photometric != "PALETTE COLOR" and not d.pixel_representation
    return True


def _fits_jpeg(d: PixelDescription, photometric: str, syntax: str) -> bool:
    """PS3.5 table 8.2.1-1: unsigned, 8 bits, or 12 in the extended process; no palette."""
    depth = (d.bits_allocated, d.bits_stored)
    if d.pixel_representation or photometric == "PALETTE COLOR":
        return False
    if depth == (8, 8):
        return d.samples == 1 or photometric in ("RGB", "YBR_FULL")
    return depth == (16, 12) and d.samples == 1 and syntax == JPEG_EXTENDED


def is_made_lossy(stored: str, syntax: str, *, lossy_allowed: bool) -> bool:
    """Does making `syntax` lose something? JPEG 2000 and HTJ2K are made reversible where they must not."""
    return lossy_allowed and syntax in _MAY_LOSE and not _is_lossy(stored)


def target_of(stored: str, syntax: str, *, lossy_allowed: bool) -> Target:
    """What to make of an image kept in `stored` for someone who wants `syntax`."""
    return Target(syntax, is_made_lossy(stored, syntax, lossy_allowed=lossy_allowed))


def settled(target: Target, description: PixelDescription) -> Target:
    """What is truly made of this image: of a palette's indexes, nothing lossy."""
    return Target(target.transfer_syntax) if description.photometric == "PALETTE COLOR" else target


def _is_lossy(syntax: str) -> bool:
    known = TRANSFER_SYNTAXES.get(syntax)
    return known is not None and known.lossy


def target_photometric(native: str, target: Target) -> str:
    """Photometric Interpretation once encoded, from that of the native pixels (PS3.3 §C.7.6.3.1.2, PS3.5 §8.2)."""
    if target.transfer_syntax in _WAVELETS and native == "RGB":
        return "YBR_ICT" if target.lossy else "YBR_RCT"
    if target.transfer_syntax in _JPEG and native in ("RGB", "YBR_FULL"):
        return "YBR_FULL_422"
    return native


def target_planar(native: int, target: Target) -> int:
    """Planar Configuration once encoded: the codecs have samples by pixel, but RLE, whose segments are as declared."""
    return native if target.transfer_syntax in (RLE, *_NATIVE) else 0
