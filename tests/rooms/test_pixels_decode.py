"""Frames come back exactly as they were before compression, and a stream that lies is refused before decoding."""

import io
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from rle.utils import encode_pixel_data

from drimbox.errors import NotAcceptable, TooLarge
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import PixelDescription, checked_description, native_photometric

JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
JPEG_2000, HTJ2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

SLOPE = np.add.outer(np.arange(48) * 40, np.arange(64) * 30)
U8 = (SLOPE % 251).astype("<u1")
U12 = (SLOPE % 4096).astype("<u2")
U16 = (SLOPE * 17).astype("<u2")
S12 = (SLOPE % 4096 - 2048).astype("<i2")
S16 = (SLOPE * 17 - 20000).astype("<i2")
RGB = np.stack([U8, U8[::-1], U8[:, ::-1]], axis=-1)


def described(pixels, stored=0, photometric="", planar=0):
    rows, columns, samples = (*pixels.shape, 1)[:3]
    allocated = pixels.dtype.itemsize * 8
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored or allocated,
        pixel_representation=int(pixels.dtype.kind == "i"),
        photometric=photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=planar,
        number_of_frames=1,
    )


def htj2k(pixels):
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def j2k(pixels, bits=None):
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=bits))


def rle(pixels):
    return encode_pixel_data(
        pixels.tobytes(),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=(*pixels.shape, 1)[2],
        bits_allocated=pixels.dtype.itemsize * 8,
        bits_stored=pixels.dtype.itemsize * 8,
        pixel_representation=int(pixels.dtype.kind == "i"),
        number_of_frames=1,
        photometric_interpretation="RGB" if pixels.ndim == 3 else "MONOCHROME2",
        byteorder="<",
    )


def deflated(pixels):
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(pixels.tobytes()) + encoder.flush()


LOSSLESS = [
    pytest.param(HTJ2K, htj2k(U8), U8, 8, id="htj2k-u8"),
    pytest.param(HTJ2K, htj2k(U12), U12, 12, id="htj2k-u12"),
    pytest.param(HTJ2K, htj2k(S16), S16, 16, id="htj2k-s16"),
    pytest.param(HTJ2K, htj2k(RGB), RGB, 8, id="htj2k-rgb"),
    pytest.param(JPEG_2000, j2k(U12, 12), U12, 12, id="j2k-u12"),
    pytest.param(JPEG_2000, j2k(S12, 12), S12, 12, id="j2k-s12"),
    pytest.param(JPEG_2000, j2k(S16), S16, 16, id="j2k-s16"),
    pytest.param(JPEG_2000, j2k(RGB), RGB, 8, id="j2k-rgb"),
    pytest.param(JPEG_LS, bytes(imagecodecs.jpegls_encode(U16)), U16, 16, id="jpeg-ls-u16"),
    pytest.param(JPEG_LS, bytes(imagecodecs.jpegls_encode(S16.view("<u2"))), S16, 16, id="jpeg-ls-s16"),
    pytest.param(JPEG_LS, bytes(imagecodecs.jpegls_encode(RGB)), RGB, 8, id="jpeg-ls-rgb"),
    pytest.param(JPEG_LOSSLESS, bytes(imagecodecs.ljpeg_encode(U12, bitspersample=12)), U12, 12, id="ljpeg-u12"),
    pytest.param(
        JPEG_LOSSLESS,
        bytes(imagecodecs.ljpeg_encode(S12.view("<u2") & 0xFFF, bitspersample=12)),
        S12,
        12,
        id="ljpeg-s12-without-sign-extension",
    ),
    pytest.param(RLE, rle(U16), U16, 16, id="rle-u16"),
    pytest.param(RLE, rle(RGB), RGB, 8, id="rle-rgb"),
    pytest.param(DEFLATED_FRAMES, deflated(U16), U16, 16, id="deflated-u16"),
]


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), LOSSLESS)
def test_a_lossless_stream_gives_back_what_was_compressed(syntax, stream, pixels, stored):
    assert decode_frame(stream, syntax, described(pixels, stored)) == pixels.tobytes()


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), LOSSLESS)
def test_padding_after_the_stream_does_not_matter(syntax, stream, pixels, stored):
    assert decode_frame(stream + b"\0", syntax, described(pixels, stored)) == pixels.tobytes()


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), LOSSLESS)
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.95])
def test_a_cut_stream_is_refused_and_not_drawn_grey(syntax, stream, pixels, stored, part):
    with pytest.raises(NotAcceptable):
        decode_frame(stream[: int(len(stream) * part)], syntax, described(pixels, stored))


SIZED = [case for case in LOSSLESS if case.values[0] not in (RLE, DEFLATED_FRAMES)]


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), SIZED)
@pytest.mark.parametrize("lie", [{"rows": 47}, {"columns": 65}, {"rows": 64, "columns": 48}, {"samples": 4}])
def test_a_stream_of_another_size_than_declared_is_refused(syntax, stream, pixels, stored, lie):
    with pytest.raises(NotAcceptable):
        decode_frame(stream, syntax, replace(described(pixels, stored), **lie))


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), LOSSLESS)
def test_a_stream_with_fewer_pixels_than_declared_is_refused(syntax, stream, pixels, stored):
    with pytest.raises(NotAcceptable):
        decode_frame(stream, syntax, replace(described(pixels, stored), rows=49))


@pytest.mark.parametrize(("syntax", "stream", "pixels", "stored"), [case for case in LOSSLESS if "rgb" in case.id])
def test_samples_are_by_plane_when_that_is_declared(syntax, stream, pixels, stored):
    by_plane = decode_frame(stream, syntax, described(pixels, stored, planar=1))
    assert by_plane == pixels.transpose(2, 0, 1).tobytes()


def test_a_codestream_wrapped_in_jp2_is_decoded():
    stream = bytes(imagecodecs.jpeg2k_encode(U8, level=0, reversible=True, codecformat="jp2"))
    assert decode_frame(stream, JPEG_2000, described(U8)) == U8.tobytes()


def test_one_bit_pixels_are_packed_lowest_bit_first():
    mask = np.zeros((2, 8), "<u1")
    mask[0, 0] = mask[1, 7] = 1
    description = replace(described(mask), bits_allocated=1, bits_stored=1)
    assert decode_frame(j2k(mask, 1), JPEG_2000, description) == b"\x01\x80"


@pytest.mark.parametrize(("photometric", "subsampling"), [("YBR_FULL_422", "422"), ("YBR_FULL_422", "444")])
def test_subsampled_jpeg_becomes_rgb(photometric, subsampling):
    stream = bytes(imagecodecs.jpeg8_encode(RGB, level=90, subsampling=subsampling))
    decoded = np.frombuffer(decode_frame(stream, JPEG_BASELINE, described(RGB, 8, photometric)), "u1")
    assert native_photometric(photometric, JPEG_BASELINE) == "RGB"
    assert np.abs(decoded.reshape(RGB.shape).astype(int) - picture(stream, "RGB")).max() <= 2


def test_ybr_full_stays_ybr_full():
    stream = bytes(imagecodecs.jpeg8_encode(RGB, level=90, subsampling="444"))
    decoded = np.frombuffer(decode_frame(stream, JPEG_BASELINE, described(RGB, 8, "YBR_FULL")), "u1")
    assert native_photometric("YBR_FULL", JPEG_BASELINE) == "YBR_FULL"
    assert np.abs(decoded.reshape(RGB.shape).astype(int) - picture(stream, "YCbCr")).max() <= 2


def test_declared_rgb_but_marked_jfif_is_converted_as_the_stream_says():
    stream = bytes(imagecodecs.jpeg8_encode(RGB, level=90, subsampling="444"))
    decoded = np.frombuffer(decode_frame(stream, JPEG_BASELINE, described(RGB, 8, "RGB")), "u1")
    assert np.abs(decoded.reshape(RGB.shape).astype(int) - picture(stream, "RGB")).max() <= 2


def picture(stream, mode):
    with Image.open(io.BytesIO(stream)) as image:
        image.draft(mode, image.size)
        return np.asarray(image if image.mode == mode else image.convert(mode)).astype(int)


@pytest.mark.parametrize(
    ("stored", "syntax", "becomes"),
    [
        ("YBR_RCT", JPEG_2000, "RGB"),
        ("YBR_ICT", HTJ2K, "RGB"),
        ("YBR_FULL", RLE, "YBR_FULL"),
        ("YBR_FULL_422", "1.2.840.10008.1.2.1", "YBR_FULL_422"),
        ("PALETTE COLOR", JPEG_LS, "PALETTE COLOR"),
        ("MONOCHROME1", JPEG_BASELINE, "MONOCHROME1"),
    ],
)
def test_photometric_interpretation_tells_what_the_pixels_became(stored, syntax, becomes):
    assert native_photometric(stored, syntax) == becomes


def test_a_frame_larger_than_the_cap_is_refused_by_arithmetic():
    bomb = replace(described(U16), rows=65535, columns=65535)
    with pytest.raises(TooLarge):
        checked_description(bomb, 512 * 2**20)


@pytest.mark.parametrize(
    "wrong",
    [{"rows": 0}, {"samples": 0}, {"samples": 200}, {"bits_allocated": 12}, {"bits_stored": 17}, {"bits_stored": 0}],
)
def test_an_impossible_description_is_refused(wrong):
    with pytest.raises(NotAcceptable):
        checked_description(replace(described(U16), **wrong), 512 * 2**20)
