"""A whole instance rewritten as Explicit VR Little Endian says what it said, and its pixels are native."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from keeping import compressed, keep, native
from pydicom.data import get_testdata_file

from drimbox.errors import NotAcceptable
from drimbox.pixels.bits import BitJoiner, cut_bits
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
HTJ2K, JPEG_BASELINE, DEFLATED_FRAMES = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.8.1"
PIXEL_DATA = 0x7FE00010
TRAILING_PADDING = 0xFFFCFFFC


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room():
    room = Pixels(Pool(1))
    await room.start()
    yield room
    await room.stop()


async def rewritten(room, folder, content):
    kept = keep(folder, content)
    parts = [part async for part in room.instance(kept)]
    return pydicom.dcmread(io.BytesIO(b"".join(parts)))


def elements(dataset):
    """Tag, VR and value of all but pixels, padding and group lengths, at all depths."""
    found = {}
    for element in dataset:
        if element.tag in (PIXEL_DATA, TRAILING_PADDING) or element.tag.element == 0:
            continue
        if element.VR == "SQ":
            found[element.tag] = [elements(item) for item in element.value]
        else:
            found[element.tag] = element.VR, element.value
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
        *("MR_small_expb.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    ],
)
async def test_one_image_in_seven_syntaxes_becomes_the_same_native_image(room, tmp_path, name):
    reference = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    source = get_testdata_file(name)
    got = await rewritten(room, tmp_path, Path(source).read_bytes())
    assert got.file_meta.TransferSyntaxUID == EXPLICIT
    assert got.SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    assert got.PixelData == reference.PixelData


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "rtplan.dcm", "rtstruct.dcm"),
        *("rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm", "reportsi.dcm", "test-SR.dcm", "waveform_ecg.dcm"),
        *("liver_expb_1frame.dcm", "693_J2KI.dcm", "SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_small_odd_big_endian.dcm"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # some values are odd on purpose
async def test_every_value_is_the_one_received(room, tmp_path, name):
    content = Path(get_testdata_file(name)).read_bytes()
    source = pydicom.dcmread(io.BytesIO(content), force=True)
    got = await rewritten(room, tmp_path, content)
    assert elements(got) == elements(source)
    if "PixelData" in source:
        assert np.array_equal(got.pixel_array, source.pixel_array)


async def test_us_or_ss_follows_pixel_representation(room, tmp_path):
    made = native(IMPLICIT, bytes(512), PixelRepresentation=1, SmallestImagePixelValue=-2000, PixelPaddingValue=-1)
    got = await rewritten(room, tmp_path, made)
    assert (got["SmallestImagePixelValue"].VR, got.SmallestImagePixelValue) == ("SS", -2000)
    assert (got["PixelPaddingValue"].VR, got.PixelPaddingValue) == ("SS", -1)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
async def test_a_value_too_long_for_its_vr_becomes_un(room, tmp_path):
    got = await rewritten(room, tmp_path, native(IMPLICIT, bytes(512), StationName="x" * 70000))
    assert got.get_item("StationName").VR == "UN"
    assert got.get_item("StationName").value == b"x" * 70000


async def test_subsampled_jpeg_says_rgb_and_keeps_its_lossy_history(room, tmp_path):
    picture = np.zeros((16, 16, 3), "u1")
    picture[..., 0] = 200
    stream = bytes(imagecodecs.jpeg8_encode(picture, level=95, subsampling="422"))
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    history = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"}
    made = compressed(JPEG_BASELINE, [stream], PhotometricInterpretation="YBR_FULL_422", **colour, **history)
    got = await rewritten(room, tmp_path, made)
    assert got.PhotometricInterpretation == "RGB"
    assert (got.LossyImageCompression, got.LossyImageCompressionRatio) == ("01", 10)
    assert np.abs(got.pixel_array.astype(int) - picture).max() <= 4


async def test_frames_of_single_bits_are_joined_at_the_bit(room, tmp_path):
    # 1 x 3 frames 101, 011, 110, each deflated alone: 0b11_110_101 and 0b0 together.
    streams = [b"\x01\x01\x00\xfe\xff" + bytes([bits]) for bits in (0b101, 0b110, 0b011)]  # stored blocks
    shape = {"Rows": 1, "Columns": 3, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    got = await rewritten(room, tmp_path, compressed(DEFLATED_FRAMES, streams, **shape))
    assert got["PixelData"].VR == "OB"
    assert got.PixelData == bytes([0b11110101, 0b0])


async def test_an_odd_frame_is_padded(room, tmp_path):
    stream = bytes(imagecodecs.htj2k_encode(np.full((3, 3), 7, "u1"), reversible=True))
    shape = {"Rows": 3, "Columns": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    got = await rewritten(room, tmp_path, compressed(HTJ2K, [stream], **shape))
    assert got.PixelData == b"\x07" * 9 + b"\x00"


async def test_frames_fewer_than_declared_are_refused_before_the_first_byte(room, tmp_path):
    stream = bytes(imagecodecs.htj2k_encode(np.zeros((16, 16), "<u2"), reversible=True))
    content = compressed(HTJ2K, [stream, stream]).replace(
        struct.pack("<HH2sH", 0x0028, 0x0008, b"IS", 2) + b"2 ", struct.pack("<HH2sH", 0x0028, 0x0008, b"IS", 2) + b"5 "
    )
    kept = keep(tmp_path, content)
    with pytest.raises(NotAcceptable):
        await anext(room.instance(kept))


async def test_pieces_stay_small(room, tmp_path):
    kept = keep(tmp_path, native(IMPLICIT, bytes(2 * 1500 * 2000), Rows=1500, Columns=2000))
    sizes = [len(part) async for part in room.instance(kept)]
    assert max(sizes) <= 2**20
    assert sum(sizes) > 6_000_000


@pytest.mark.parametrize("bits", [1, 3, 7, 8, 9, 17])
async def test_joined_bits_can_be_cut_again(bits):
    frames = [(number * 0x9E3779B1 & ((1 << bits) - 1)).to_bytes((bits + 7) // 8, "little") for number in range(20)]
    joiner = BitJoiner()
    joined = b"".join(joiner.add(frame, bits) for frame in frames) + joiner.end()
    assert len(joined) == (20 * bits + 7) // 8
    cut = [cut_bits(joined[number * bits // 8 :], number * bits % 8, bits) for number in range(20)]
    assert cut == frames
