"""One native frame, made into a compressed stream. Runs in a worker only, one frame at a time.

What went in comes out again: every lossless stream is decoded by `decode.py` and compared before anyone gets it, so an
encoder that is wrong about one image refuses it and serves nothing. The traps each encoder has are told where it is
called; each has a test. The JPEG 2000 encoder of pylibjpeg is not used: it crashes when two threads call it.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from imagecodecs import htj2k_encode, jpeg2k_encode, jpeg8_encode, jpegls_encode, packbits_encode
from numpy.typing import NDArray

from drimbox.errors import NotAcceptable
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import PixelDescription, native_photometric
from drimbox.pixels.plan import (
    HTJ2K_ANY,
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    JPEG_2000_ANY,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    Target,
    encodable,
    settled,
    target_photometric,
)
from drimbox.pixels.syntaxes import RLE

Samples = NDArray[Any]

JPEG_QUALITY: Final = 90
NEAR: Final = 2
"""How far a value may be from the original in near-lossless JPEG-LS."""

SIGNAL_TO_NOISE_DB: Final = {8: 48.0, 16: 60.0}
"""Of lossy JPEG 2000 and HTJ2K, by Bits Allocated: an error of 1 for 8 bits, of 4 for 12.

Against the range of the values in the frame, and not of Bits Stored: a CT of 2,000 HU is kept in 16 bits too.
"""

_BASE_PIXELS: Final = 64  # of the smallest resolution of .202 (PS3.5 §10.18)
_LEVELS: Final = 5
_STEP: Final = 2.4  # of the quantiser that makes an error of 1 in RMS, as measured


def encode_frame(native: bytes | memoryview, stored: str, description: PixelDescription, target: Target) -> bytes:
    """Give the stream of one frame; a stream of odd length is padded (PS3.5 §A.4).

    native: as `decode_frame` gives it for an image kept in `stored` and so described. Raises NotAcceptable.
    """
    d = replace(description, photometric=native_photometric(description.photometric, stored))
    if not encodable(description, stored, target.transfer_syntax):
        raise NotAcceptable("image", f"its pixels cannot be made into {target.transfer_syntax}")
    target = settled(target, d)
    try:
        stream = _ENCODERS[target.transfer_syntax](native, d, target.lossy)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise NotAcceptable("frame", "it cannot be encoded", detail=repr(error)[:500]) from error
    if not target.lossy and not _is_same(decode_frame(stream, target.transfer_syntax, _as_target(d, target)), native):
        raise NotAcceptable(
            "frame", "its encoder lost something; ask for another syntax", detail=target.transfer_syntax
        )
    return stream + b"\x00" * (len(stream) % 2)


def _is_same(one: bytes | memoryview, other: bytes | memoryview) -> bool:
    """Python compares a memoryview byte by byte, which takes longer than some decoders do: so, by words of eight."""
    words = min(len(one), len(other)) // 8
    rest = slice(8 * words, None)
    return bytes(one[rest]) == bytes(other[rest]) and np.array_equal(
        np.frombuffer(one, np.uint64, words), np.frombuffer(other, np.uint64, words)
    )


def _as_target(d: PixelDescription, target: Target) -> PixelDescription:
    """What a decoder is told, but for the planes: it is to give them as they were."""
    return replace(d, photometric=target_photometric(d.photometric, target))


def _samples(native: bytes | memoryview, d: PixelDescription) -> Samples:
    """(rows, columns) or (rows, columns, samples) as the codecs want them, contiguous."""
    kind = "i" if d.pixel_representation else "u"
    values = np.frombuffer(native, f"<{kind}{d.bits_allocated // 8}")
    if d.samples == 1:
        return values.reshape(d.rows, d.columns)
    if d.planar == 1:
        return np.ascontiguousarray(values.reshape(d.samples, d.rows, d.columns).transpose(1, 2, 0))
    return values.reshape(d.rows, d.columns, d.samples)


def _precision(samples: Samples, d: PixelDescription) -> int:
    """Bits a sample that hold every value: Bits Stored, unless there is something above, such as an old overlay."""
    bits = max(d.bits_stored, 2)  # the least a JPEG stream has
    half = 1 << bits - 1
    least, most = (-half, half - 1) if d.pixel_representation else (0, 2 * half - 1)
    return bits if least <= int(samples.min()) and int(samples.max()) <= most else d.bits_allocated


def _encode_rle(native: bytes | memoryview, d: PixelDescription, _: bool) -> bytes:
    """PS3.5 annex G: a segment a byte of a sample, highest first; a row ends its run (§G.3.1), hence by rows."""
    width = d.bits_allocated // 8
    size = d.rows * d.columns
    values = np.frombuffer(native, "u1")
    planes = values.reshape(d.samples, size, width) if d.planar == 1 else values.reshape(size, d.samples, width)
    by_sample = planes if d.planar == 1 else planes.transpose(1, 0, 2)
    segments = []
    for sample in range(d.samples):
        for byte in range(width - 1, -1, -1):
            plane = np.ascontiguousarray(by_sample[sample, :, byte]).reshape(d.rows, d.columns)
            segment = packbits_encode(plane, axis=-1)
            segments.append(segment + b"\x00" * (len(segment) % 2))
    offsets, position = [], 64
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return b"".join([header, *segments])


def _encode_jpeg_lossless(native: bytes | memoryview, d: PixelDescription, _: bool) -> bytes:
    """libjpeg-turbo with selection value 1. imagecodecs' `ljpeg_encode` is half again as fast, and uses value 6.

    JPEG knows no sign: signed values go as the bits they are, all of them, so that the decoder's sign comes back.
    """
    samples = _samples(native, d)
    precision = d.bits_allocated if d.pixel_representation else _precision(samples, d)
    colour = "RGB" if d.samples == 3 else None  # no transform, whatever the colours are
    unsigned = samples.view(f"<u{d.bits_allocated // 8}")
    return bytes(
        jpeg8_encode(
            unsigned,
            lossless=True,
            predictor=1,
            bitspersample=precision,
            colorspace=colour,
            outcolorspace=colour,
        )
    )


def _encode_jpeg_ls(native: bytes | memoryview, d: PixelDescription, lossy: bool) -> bytes:
    """CharLS. It is told no precision: that in the stream is Bits Allocated. Signed values: as for JPEG Lossless."""
    samples = _samples(native, d).view(f"<u{d.bits_allocated // 8}")
    return bytes(jpegls_encode(samples, level=NEAR if lossy else 0))


def _encode_jpeg(native: bytes | memoryview, d: PixelDescription, _: bool) -> bytes:
    """Baseline for 8 bits, extended for 12. Colour becomes YBR_FULL_422, the one form of PS3.5 §8.2.1."""
    samples = _samples(native, d)
    if _precision(samples, d) != d.bits_stored:
        raise NotAcceptable("image", "it has values above its Bits Stored")  # libjpeg would fold them back, in silence
    if d.samples == 1:
        return bytes(jpeg8_encode(samples, level=JPEG_QUALITY, bitspersample=d.bits_stored))
    coded = "RGB" if d.photometric == "RGB" else "YCBCR"
    return bytes(jpeg8_encode(samples, level=JPEG_QUALITY, colorspace=coded, outcolorspace="YCBCR", subsampling="422"))


def _encode_jpeg_2000(native: bytes | memoryview, d: PixelDescription, lossy: bool) -> bytes:
    """OpenJPEG, one tile. Without `codecformat` the stream is wrapped in a JP2 file, which PS3.5 §A.4.4 forbids."""
    samples = _samples(native, d)
    precision = _precision(samples, d)
    return bytes(
        jpeg2k_encode(
            samples,
            level=math.ceil(20 * math.log10((1 << precision) / _error(samples, d))) if lossy else 0,
            reversible=not lossy,
            codecformat="j2k",
            bitspersample=precision,
            resolutions=_resolutions(d) + 1,
            mct=d.photometric == "RGB",
        )
    )


def _encode_htj2k(native: bytes | memoryview, d: PixelDescription, lossy: bool) -> bytes:
    """OpenJPH, in RPCL order, a tile-part a resolution and their lengths in a TLM marker.

    So the first bytes of any frame are the whole picture at a lower resolution, and .202 is what we make under every
    name. `tlm` must be asked for; `resolutions` counts decompositions; the precision written is Bits Allocated.
    """
    samples = _samples(native, d)
    options: dict[str, Any] = {}
    if d.samples == 3:
        options = {"rgb": True} if d.photometric == "RGB" else {"rgb": False, "planar": False}
    if lossy:
        options["level"] = _STEP * _error(samples, d) / (1 << d.bits_allocated)
    return bytes(
        htj2k_encode(
            samples,
            reversible=not lossy,
            tlm=True,
            tilepart=1,  # divided at each resolution
            resolutions=_resolutions(d),
            **options,
        )
    )


def _error(samples: Samples, d: PixelDescription) -> float:
    """The error in RMS that a lossy wavelet may make, in stored values."""
    values = int(samples.max()) - int(samples.min())
    return max(0.5, values * 10 ** (-SIGNAL_TO_NOISE_DB[d.bits_allocated] / 20))


def _resolutions(d: PixelDescription) -> int:
    """Decompositions: five, or as many as bring the longer side down to 64 (PS3.5 §10.18)."""
    return max(_LEVELS, math.ceil(math.log2(max(d.rows, d.columns) / _BASE_PIXELS)))


_ENCODERS: Final[dict[str, Callable[[bytes | memoryview, PixelDescription, bool], bytes]]] = {
    RLE: _encode_rle,
    JPEG_BASELINE: _encode_jpeg,
    JPEG_EXTENDED: _encode_jpeg,
    JPEG_LOSSLESS_SV1: _encode_jpeg_lossless,
    JPEG_LS_LOSSLESS: _encode_jpeg_ls,
    JPEG_LS_NEAR: _encode_jpeg_ls,
    JPEG_2000_LOSSLESS: _encode_jpeg_2000,
    JPEG_2000_ANY: _encode_jpeg_2000,
    HTJ2K_LOSSLESS: _encode_htj2k,
    HTJ2K_RPCL: _encode_htj2k,
    HTJ2K_ANY: _encode_htj2k,
}
