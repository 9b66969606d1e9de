"""One frame, from the bytes kept to native ones. Runs in a worker only: this is where the codecs are.

What comes out is what a native data set holds with the same attributes (PS3.5 §8.1.1): samples of Bits Allocated,
little endian, sign extended, by pixel or by plane as Planar Configuration declares, in the colours that
`native_photometric` tells. Two things change colours, the stored ones having no native form that readers understand:
- JPEG 2000 with a component transform (YBR_RCT, YBR_ICT) becomes RGB: the transform is part of the codec (§8.2.4);
- JPEG with subsampled chrominance (YBR_FULL_422 and the like) becomes RGB.
All others keep what is declared: YBR_FULL stays YBR_FULL, exactly as coded.
A lossless stream gives back exactly what was compressed. A stream that cannot be decoded is NotAcceptable and not
Corrupt: what is kept is what was received, its CRC says so, and it can still be had as stored.
"""

import zlib
from typing import Any

import numpy as np
from imagecodecs import htj2k_decode, jpeg2k_decode, jpeg8_decode, jpegls_decode
from numpy.typing import NDArray
from openjpeg.utils import decode as openjpeg_decode
from rle.rle import decode_frame as rle_decode

from drimbox.errors import NotAcceptable
from drimbox.pixels.codestream import Head, checked_end, checked_rle, read_j2k_head, read_jpeg_head, without_jp2_boxes
from drimbox.pixels.description import PixelDescription, native_photometric
from drimbox.pixels.syntaxes import (
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    HTJ2K,
    JPEG_2000,
    JPEG_LOSSY,
    JPEG_LS,
    RLE,
)

Samples = NDArray[Any]


def decode_frame(stream: bytes, transfer_syntax: str, description: PixelDescription) -> bytes | memoryview:
    """Give the native bytes of one frame of an encapsulated syntax; the description was checked.

    A memoryview is of bytes, in memory nobody else has: copying a radiograph costs half of what decoding it does.

    Raises NotAcceptable when the stream is not the picture that is declared, or cannot be decoded.
    """
    d = description
    try:
        if transfer_syntax in (DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED):
            return _checked_size(_inflate(stream, d) if transfer_syntax == DEFLATED_FRAMES else stream, d)
        if transfer_syntax == RLE:
            return _arrange(_decode_rle(stream, d), d)
        if transfer_syntax in JPEG_2000 | HTJ2K:
            stream = without_jp2_boxes(checked_end(stream))
            head = _agreeing(read_j2k_head(stream), d)
            samples = _decode_j2k(stream, transfer_syntax)
        else:
            head = _agreeing(read_jpeg_head(checked_end(stream)), d)
            samples = (
                jpegls_decode(stream) if transfer_syntax in JPEG_LS else _decode_jpeg(stream, head, d, transfer_syntax)
            )
        return _arrange(_to_allocated(samples, head, d), d)
    except (RuntimeError, ValueError, TypeError, MemoryError, zlib.error) as error:
        # What the codecs raise. Their text is about the stream; it goes to the log, not to the caller.
        raise NotAcceptable("frame", "its stream cannot be decoded", detail=repr(error)[:500]) from error


def _agreeing(head: Head, d: PixelDescription) -> Head:
    if (head.rows, head.columns, head.samples) != (d.rows, d.columns, d.samples):
        raise NotAcceptable("frame", "the size in its stream is not the one declared")
    if not 0 < head.precision <= d.bits_allocated:
        raise NotAcceptable("frame", "its stream has more bits a sample than are allocated")
    return head


def _decode_j2k(stream: bytes, transfer_syntax: str) -> Samples:
    """OpenJPH for HTJ2K, half again as fast, else OpenJPEG; the other build of OpenJPEG forgives more streams.

    OpenJPH gives colour without component transform by plane unless told not to.
    """
    try:
        return htj2k_decode(stream, planar=False) if transfer_syntax in HTJ2K else jpeg2k_decode(stream)
    except (RuntimeError, ValueError):
        return openjpeg_decode(stream, j2k_format=0)


def _decode_jpeg(stream: bytes, head: Head, d: PixelDescription, transfer_syntax: str) -> Samples:
    """Baseline, extended, progressive and lossless, 8 to 16 bits: libjpeg-turbo does them all."""
    if d.samples != 3:
        return jpeg8_decode(stream)
    if transfer_syntax not in JPEG_LOSSY:
        return jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")  # as coded, whatever the colours are
    if native_photometric(d.photometric, transfer_syntax) != "RGB":
        return jpeg8_decode(stream, colorspace="YCBCR", outcolorspace="YCBCR")
    # Declared RGB and marked JFIF, or the reverse: both exist in service, and the stream's own word is the truth.
    coded_rgb = d.photometric == "RGB" if head.says_rgb is None else head.says_rgb
    return jpeg8_decode(stream, colorspace="RGB" if coded_rgb else "YCBCR", outcolorspace="RGB")


def _decode_rle(stream: bytes, d: PixelDescription) -> Samples:
    """PS3.5 annex G. The decoder gives whole samples, one plane after the other."""
    if d.bits_allocated % 8:
        raise NotAcceptable("frame", "RLE of single bits is not defined")
    stream = checked_rle(stream, d.samples * d.bits_allocated // 8)
    planes = np.frombuffer(rle_decode(stream, d.rows * d.columns, d.bits_allocated, "<"), f"<u{d.bits_allocated // 8}")
    return planes.reshape(d.samples, d.rows, d.columns).transpose(1, 2, 0)


def _inflate(stream: bytes, d: PixelDescription) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, d.frame_bytes + 1)


def _checked_size(frame: bytes, d: PixelDescription) -> bytes:
    """Cut the byte that makes an odd frame even."""
    if len(frame) - d.frame_bytes not in (0, d.frame_bytes % 2):
        raise NotAcceptable("frame", "it is not as long as its rows and columns say")
    return frame[: d.frame_bytes]


def _to_allocated(samples: Samples, head: Head, d: PixelDescription) -> Samples:
    """Widen to Bits Allocated. JPEG and JPEG-LS streams know no sign: it is the highest bit they coded.

    A JPEG 2000 stream says its sign itself, and is sometimes wrong: Pixel Representation then decides.
    """
    if d.bits_allocated == 1:
        return samples.astype(np.uint8)
    width = max(d.bits_allocated, 8)
    if not d.pixel_representation:
        return samples.astype(f"<u{width // 8}", copy=False)
    signed = samples.astype(f"<i{width // 8}", copy=False)
    unused = 0 if head.signed else width - head.precision
    return (signed << unused) >> unused if unused else signed


def _arrange(samples: Samples, d: PixelDescription) -> bytes | memoryview:
    """Put samples in the order that is declared, as bytes. One bit a pixel is packed, first pixel lowest."""
    if samples.size * d.bits_allocated != d.frame_bits:
        raise NotAcceptable("frame", "its stream gave another number of samples than declared")
    if d.samples > 1 and d.planar == 1:
        samples = samples.reshape(d.rows, d.columns, d.samples).transpose(2, 0, 1)
    if d.bits_allocated == 1:
        return np.packbits(samples.ravel(), bitorder="little").tobytes()
    return np.ascontiguousarray(samples).reshape(-1).view(np.uint8).data
