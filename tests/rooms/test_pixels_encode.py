"""What an encoder gives: decoded by others it is the picture, and each trap of the codecs is one of these tests."""

import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pylibjpeg
import pytest
from openjpeg.utils import decode as openjpeg_decode

from drimbox.errors import NotAcceptable
from drimbox.pixels import encode
from drimbox.pixels.codestream import read_j2k_head, read_jpeg_head
from drimbox.pixels.decode import decode_frame
from drimbox.pixels.description import PixelDescription
from drimbox.pixels.encode import NEAR, encode_frame
from drimbox.pixels.plan import Target, encodable, target_photometric

EXPLICIT = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
BASELINE, EXTENDED, SV1, JPEG_LS, NEAR_LS = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 70, 80, 81))
J2K, J2K_ANY, HTJ2K, RPCL, HTJ2K_ANY = (f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
LOSSLESS = (RLE, SV1, JPEG_LS, J2K, J2K_ANY, HTJ2K, RPCL, HTJ2K_ANY)
LOSSY = (BASELINE, EXTENDED, NEAR_LS, J2K_ANY, HTJ2K_ANY)

Y, X = np.mgrid[0:61, 0:83]
SMOOTH = (1000 + 900 * np.sin(X / 9) * np.cos(Y / 7)).astype("<u2")
NOISE = np.random.default_rng(1).integers(0, 65536, (33, 47)).astype("<u2")
COLOUR = np.ascontiguousarray(np.stack([SMOOTH >> 3, SMOOTH >> 4, (SMOOTH >> 3)[::-1]], -1).astype("u1"))

# name: (samples, Bits Stored, Photometric Interpretation)
PICTURES = {
    "unsigned 12": (SMOOTH, 12, "MONOCHROME2"),
    "unsigned 16, all values": (NOISE, 16, "MONOCHROME1"),
    "signed 16": (SMOOTH.astype("<i2") - 1024, 16, "MONOCHROME2"),
    "signed 12": (SMOOTH.astype("<i2") - 1500, 12, "MONOCHROME2"),
    "signed 16, all values": (NOISE.view("<i2"), 16, "MONOCHROME2"),
    "an overlay above Bits Stored": (SMOOTH | 0x8000, 12, "MONOCHROME2"),
    "8 bits": ((SMOOTH >> 3).astype("u1"), 8, "MONOCHROME2"),
    "1 of 8 bits": ((SMOOTH > 1000).astype("u1"), 1, "MONOCHROME2"),
    "palette": ((SMOOTH >> 3).astype("u1"), 8, "PALETTE COLOR"),
    "colour": (COLOUR, 8, "RGB"),
    "YBR": (COLOUR, 8, "YBR_FULL"),
    "colour 16": (COLOUR.astype("<u2") * 257, 16, "RGB"),
    "32 bits": (SMOOTH.astype("<u4") * 70001, 32, "MONOCHROME2"),
    "one pixel": (SMOOTH[:1, :1].copy(), 12, "MONOCHROME2"),
    "one row": (SMOOTH[:1].copy(), 12, "MONOCHROME2"),
    "one column": (SMOOTH[:, :1].copy(), 12, "MONOCHROME2"),
}


def described(picture, stored=0, photometric="MONOCHROME2", planar=0):
    rows, columns, samples = (*picture.shape, 1)[:3]
    allocated = picture.dtype.itemsize * 8
    signed = int(picture.dtype.kind == "i")
    return PixelDescription(rows, columns, samples, allocated, stored or allocated, signed, photometric, planar, 1)


def made(picture, syntax, *, lossy=False, **told):
    return encode_frame(picture.tobytes(), EXPLICIT, described(picture, **told), Target(syntax, lossy))


def back(stream, picture, syntax, *, lossy=False, **told):
    d = described(picture, **told)
    d = replace(d, photometric=target_photometric(d.photometric, Target(syntax, lossy)))
    return np.frombuffer(decode_frame(stream, syntax, d), picture.dtype).reshape(picture.shape)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("name", PICTURES)
def test_a_lossless_stream_gives_the_picture_back(name, syntax, planar):
    picture, stored, photometric = PICTURES[name]
    if planar and picture.ndim == 3:
        picture = np.ascontiguousarray(picture.transpose(2, 0, 1))
        rows, columns = picture.shape[1:]
        d = replace(described(picture.transpose(1, 2, 0), stored, photometric, planar=1), rows=rows, columns=columns)
    else:
        d = described(picture, stored, photometric)
    if not encodable(d, EXPLICIT, syntax):
        assert picture.dtype.itemsize == 4
        return
    stream = encode_frame(picture.tobytes(), EXPLICIT, d, Target(syntax))
    assert len(stream) % 2 == 0
    as_target = replace(d, photometric=target_photometric(photometric, Target(syntax)))
    assert decode_frame(stream, syntax, as_target) == picture.tobytes()


# --- A second opinion: decoders that share no code with the first ---------------------------------------------------


@pytest.mark.parametrize("name", ["unsigned 12", "unsigned 16, all values", "8 bits"])
@pytest.mark.parametrize("syntax", [SV1, JPEG_LS])
def test_another_decoder_reads_jpeg(name, syntax):
    picture, stored, photometric = PICTURES[name]
    stream = made(picture, syntax, stored=stored, photometric=photometric)
    assert np.array_equal(pylibjpeg.decode(stream), picture)


@pytest.mark.parametrize("name", ["unsigned 12", "signed 16", "8 bits", "colour", "YBR"])
@pytest.mark.parametrize("syntax", [J2K, HTJ2K, RPCL])
def test_another_decoder_reads_jpeg_2000(name, syntax):
    picture, stored, photometric = PICTURES[name]
    stream = made(picture, syntax, stored=stored, photometric=photometric)
    decode = openjpeg_decode if syntax != J2K else lambda s, j2k_format: imagecodecs.jpeg2k_decode(s)
    assert np.array_equal(decode(stream, j2k_format=0), picture)


# --- RLE ------------------------------------------------------------------------------------------------------------


def unpacked_rows(segment, rows, columns):
    """PS3.5 §G.3.2 to the letter; fails where a run or a literal crosses the end of a row (§G.3.1)."""
    found, position = [], 0
    for _ in range(rows):
        row = bytearray()
        while len(row) < columns:
            head = segment[position]
            if head < 128:
                row += segment[position + 1 : position + 2 + head]
                position += 2 + head
            elif head > 128:
                row += bytes([segment[position + 1]]) * (257 - head)
                position += 2
            else:
                raise AssertionError("-128 is no code")
        assert len(row) == columns, "a run crosses the end of a row"
        found.append(bytes(row))
    assert segment[position:] in (b"", b"\0")
    return b"".join(found)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.full((16, 16), 7, "u1"), id="every row the same run"),
        pytest.param(np.zeros((5, 300), "<u2"), id="rows longer than a run"),
        pytest.param(np.arange(7 * 129, dtype="<u2").reshape(7, 129), id="literals"),
        pytest.param(SMOOTH, id="smooth"),
        pytest.param(COLOUR, id="colour"),
    ],
)
def test_no_run_of_rle_crosses_a_row(picture):
    rows, columns, samples = (*picture.shape, 1)[:3]
    stream = made(picture, RLE, photometric="RGB" if samples == 3 else "MONOCHROME2")
    count, *offsets = struct.unpack("<16I", stream[:64])
    width = picture.dtype.itemsize
    assert count == samples * width
    assert offsets[count:] == [0] * (15 - count)
    ends = [*offsets[1:count], len(stream)]
    bytes_of = picture.view("u1").reshape(rows, columns, samples, width)
    for number in range(count):
        sample, byte = number // width, width - 1 - number % width  # most significant first (§G.2)
        segment = stream[offsets[number] : ends[number]]
        assert len(segment) % 2 == 0
        assert unpacked_rows(segment, rows, columns) == bytes_of[:, :, sample, byte].tobytes()


# --- JPEG Lossless --------------------------------------------------------------------------------------------------


def selection_value(stream):
    """Ss of the scan header (ISO 10918-1 table B.3): the predictor of a lossless scan."""
    start = stream.index(b"\xff\xda")
    return stream[start + 5 + 2 * stream[start + 4]]


@pytest.mark.parametrize("name", ["unsigned 12", "signed 12", "8 bits", "colour"])
def test_jpeg_lossless_is_of_selection_value_1(name):
    """The other lossless encoder of imagecodecs uses 6, which is not .70 whatever the label says."""
    picture, stored, photometric = PICTURES[name]
    assert selection_value(made(picture, SV1, stored=stored, photometric=photometric)) == 1
    assert selection_value(bytes(imagecodecs.ljpeg_encode(SMOOTH, bitspersample=12))) == 6


def test_jpeg_lossless_says_bits_stored_as_its_precision():
    assert read_jpeg_head(made(SMOOTH, SV1, stored=12)).precision == 12


# --- JPEG 2000 and HTJ2K --------------------------------------------------------------------------------------------


def main_header(stream):
    """The marker segments of the main header of a codestream (ISO 15444-1 annex A)."""
    assert stream[:2] == b"\xff\x4f"
    found, position = {}, 2
    while stream[position : position + 2] != b"\xff\x90":
        (marker, length) = struct.unpack_from(">HH", stream, position)
        found[marker] = stream[position + 4 : position + 2 + length]
        position += 2 + length
    return found


@pytest.mark.parametrize("syntax", [J2K, J2K_ANY, HTJ2K, RPCL, HTJ2K_ANY])
def test_a_jpeg_2000_frame_is_a_bare_codestream(syntax):
    stream = made(SMOOTH, syntax, stored=12)
    assert stream[:4] == b"\xff\x4f\xff\x51"
    assert stream.rstrip(b"\0")[-2:] == b"\xff\xd9"


def test_jpeg_2000_says_bits_stored_and_sign():
    head = read_j2k_head(made(SMOOTH.astype("<i2") - 1500, J2K, stored=12))
    assert (head.precision, head.signed) == (12, True)


@pytest.mark.parametrize(
    ("shape", "levels"), [((61, 83), 5), ((512, 512), 5), ((2500, 3000), 6), ((64, 5000), 7), ((1, 1), 5)]
)
def test_htj2k_is_rpcl_with_tlm_and_levels_down_to_64(shape, levels):
    """PS3.5 §10.18 for .202; we make all three so."""
    header = main_header(made(np.zeros(shape, "<u2"), RPCL, stored=12))
    code_style = header[0xFF52]
    assert code_style[1] == 2, "progression order RPCL"
    assert code_style[5] == levels
    assert max(shape) / 2**levels <= 64
    assert 0xFF55 in header, "TLM"
    assert int.from_bytes(header[0xFF50][:4], "big") & 1 << 17, "CAP of part 15"


def resolution_ends(stream):
    """Where each resolution ends, from the lengths of tile-parts in TLM (ISO 15444-1 §A.7.1)."""
    told = main_header(stream)[0xFF55]
    tile_bytes = told[1] >> 4 & 3
    size = 4 if told[1] & 0x40 else 2
    lengths = [
        int.from_bytes(told[at + tile_bytes : at + tile_bytes + size], "big")
        for at in range(2, len(told), tile_bytes + size)
    ]
    start = stream.index(b"\xff\x90")
    return [start + sum(lengths[: number + 1]) for number in range(len(lengths))]


def test_64_kib_of_htj2k_are_a_whole_picture_at_a_lower_resolution():
    y, x = np.mgrid[0:2500, 0:3000]
    noise = np.random.default_rng(2).integers(0, 64, (2500, 3000))
    picture = (2000 + 1500 * np.sin(x / 200) * np.cos(y / 150) + noise).astype("<u2")
    stream = made(picture, RPCL, stored=12)
    assert len(stream) > 2_000_000
    ends = resolution_ends(stream)
    assert ends[-1] == len(stream.rstrip(b"\0")) - 2  # EOC
    whole = max(number for number, end in enumerate(ends) if end <= 65536)
    skipped = len(ends) - 1 - whole
    drawn = imagecodecs.htj2k_decode(stream[:65536], skipres=skipped, resilient=True)
    rows, columns = drawn.shape
    assert (rows, columns) == (-(-2500 // 2**skipped), -(-3000 // 2**skipped))
    assert columns >= 90
    step = 2**skipped
    expected = picture[::step, ::step].astype(float)
    assert np.abs(drawn[:rows, :columns] - expected).mean() < 40  # noise of 64, smoothed


# --- With loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "syntax", "most", "rms"),
    [
        ("unsigned 12", EXTENDED, 30, 5),
        ("8 bits", EXTENDED, 20, 3),
        ("8 bits", BASELINE, 20, 3),
        ("unsigned 12", NEAR_LS, NEAR, NEAR),
        ("unsigned 12", J2K_ANY, 12, 2.5),
        ("signed 16", J2K_ANY, 12, 2.5),
        ("unsigned 12", HTJ2K_ANY, 12, 2.5),
        ("signed 16", HTJ2K_ANY, 12, 2.5),
        ("colour", J2K_ANY, 10, 1.5),
        ("colour", HTJ2K_ANY, 10, 1.5),
    ],
)
def test_what_is_lost_is_bounded(name, syntax, most, rms):
    picture, stored, photometric = PICTURES[name]
    told = {"stored": stored, "photometric": photometric}
    drawn = back(made(picture, syntax, lossy=True, **told), picture, syntax, lossy=True, **told)
    error = drawn.astype(float) - picture
    assert np.abs(error).max() <= most
    assert np.sqrt((error**2).mean()) <= rms


def test_colour_jpeg_is_422_and_red_stays_red():
    picture = np.zeros((32, 32, 3), "u1")
    picture[..., 0] = 200
    stream = made(picture, BASELINE, lossy=True, photometric="RGB")
    start = stream.index(b"\xff\xc0")
    assert stream[start + 9] == 3
    assert [stream[start + 11 + 3 * number] for number in range(3)] == [0x21, 0x11, 0x11]  # H and V of each component
    drawn = back(stream, picture, BASELINE, lossy=True, photometric="RGB")
    assert np.abs(drawn.astype(int) - picture).max() <= 4


def test_a_palette_loses_nothing():
    picture, stored, photometric = PICTURES["palette"]
    for syntax in (J2K_ANY, HTJ2K_ANY):
        stream = made(picture, syntax, lossy=True, stored=stored, photometric=photometric)
        assert np.array_equal(back(stream, picture, syntax, stored=stored, photometric=photometric), picture)


def test_values_above_bits_stored_are_not_folded_into_a_jpeg():
    picture, stored, _ = PICTURES["an overlay above Bits Stored"]
    with pytest.raises(NotAcceptable):
        made(picture, EXTENDED, lossy=True, stored=stored)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("signed 12", EXTENDED), ("signed 12", NEAR_LS), ("unsigned 16, all values", EXTENDED),
        ("unsigned 12", BASELINE), ("palette", BASELINE), ("palette", NEAR_LS), ("32 bits", JPEG_LS),
        ("32 bits", HTJ2K),
    ],
)  # fmt: skip
def test_what_a_syntax_cannot_hold_is_refused(name, syntax):
    picture, stored, photometric = PICTURES[name]
    with pytest.raises(NotAcceptable):
        made(picture, syntax, lossy=syntax in LOSSY, stored=stored, photometric=photometric)


# --- Never served ---------------------------------------------------------------------------------------------------


def test_a_lossless_stream_that_is_not_the_picture_is_never_given(monkeypatch):
    def off_by_one(native, description, lossy):
        return encode._encode_jpeg_ls(bytes([native[0] ^ 1]) + native[1:], description, lossy)

    monkeypatch.setitem(encode._ENCODERS, JPEG_LS, off_by_one)
    with pytest.raises(NotAcceptable, match="lost"):
        made(SMOOTH, JPEG_LS, stored=12)


def test_the_encoder_that_crashes_between_threads_is_not_used():
    """pylibjpeg-openjpeg: `encode` from two threads ends the process. We have its decoder only, in one thread."""
    modules = {getattr(value, "__module__", "") or "" for value in vars(encode).values()}
    assert "openjpeg" not in {module.partition(".")[0] for module in modules}
