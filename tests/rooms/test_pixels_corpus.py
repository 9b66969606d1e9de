"""Every image of the test set decodes to the pixels that other decoders agreed on."""

import hashlib
import json
import os
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from keeping import keep
from PIL import Image
from pydicom.pixels import pixel_array

from drimbox.dicom.part10 import InMemory
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.errors import DrimboxError, Malformed, NotFound
from drimbox.pixels.drawing import Drawing
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
from drimbox.pixels.syntaxes import DECODABLE

DATA = Path(os.environ.get("DRIMBOX_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")

# Native files whose expectation has bits above Bits Stored masked away, or 422 made 444: we send them as they are.
NOT_AS_EXPECTED = {"objects/pr/overlay.dcm", "photometric/mlut_18.dcm", "photometric/SC_ybr_full_422_uncompressed.dcm"}
EXPLICIT = "1.2.840.10008.1.2.1"
LOSSLESS = ("5", "4.70", "4.80", "4.90", "4.91", "4.201", "4.202", "4.203")
CANNOT_BE_DECODED = {
    "broken/JPEG2000-embedded-sequence-delimiter.dcm",
    "broken/MR_truncated.dcm",
    "broken/badVR.dcm",
    "derived/broken/empty_pixeldata.dcm",
    "derived/broken/short_pixeldata.dcm",
    "derived/broken/truncated_in_pixeldata.dcm",
}


async def test_every_image_of_the_corpus(tmp_path):
    if not (DATA / "expected.json").is_file():
        pytest.skip("the test set is not here: set DRIMBOX_TEST_DATA")
    room = Pixels(Pool(1))
    await room.start()
    exact, close, refused = 0, 0, set()
    for name, expected in json.loads((DATA / "expected.json").read_text()).items():
        try:
            kept = keep(tmp_path, (DATA / name).read_bytes())
        except Malformed:
            continue
        if kept.transfer_syntax not in DECODABLE or name in NOT_AS_EXPECTED or "spp" not in expected:
            continue
        facts = expected.get("pixels", {})
        frames = range(1, (facts["shape"][0] if len(facts.get("shape", ())) > 2 + (expected["spp"] > 1) else 1) + 1)
        try:
            got = [f async for f in room.frames(kept, frames)]
        except NotFound:
            continue  # an image object without Pixel Data
        except DrimboxError:
            refused.add(name)
            continue
        if "sha256" not in facts:
            continue
        samples = to_expected_order(got, expected)
        if hashlib.sha256(samples.tobytes()).hexdigest() == facts["sha256"]:
            exact += 1
            continue
        assert TRANSFER_SYNTAXES[kept.transfer_syntax].lossy, name
        if expected["spp"] == 1 or not expected["pi"].endswith("422"):  # those become RGB
            assert abs(samples.mean() - facts["mean"]) < 0.5, name
        close += 1
    await room.stop()
    assert refused == CANNOT_BE_DECODED
    assert exact >= 270
    assert close <= 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # odd values, on purpose
async def test_every_image_of_the_corpus_in_every_lossless_syntax_it_can_have(tmp_path):
    """pydicom and the decoders behind it judge what we encode: the same pixels as in the native instance."""
    if not (DATA / "expected.json").is_file():
        pytest.skip("the test set is not here: set DRIMBOX_TEST_DATA")
    room = Pixels(Pool(2))
    await room.start()
    made: Counter[str] = Counter()
    for name, expected in json.loads((DATA / "expected.json").read_text()).items():
        content = (DATA / name).read_bytes()
        if "spp" not in expected or name in CANNOT_BE_DECODED or len(content) > 2**20:
            continue
        try:
            kept = keep(tmp_path, content)
            native = await instance(room, kept, EXPLICIT)
        except DrimboxError:
            continue
        for syntax in room.possible_for(InMemory(kept.place.path.read_bytes()), kept.transfer_syntax):
            if syntax in (kept.transfer_syntax, EXPLICIT):
                continue
            got = await instance(room, kept, syntax)
            assert got.SOPInstanceUID == native.SOPInstanceUID, (name, syntax)
            # pydicom hides what is above Bits Stored in some syntaxes and not in others.
            shown = (1 << got.BitsStored) - 1 if name in NOT_AS_EXPECTED else -1
            pixels = [pixel_array(one, raw=True).astype(np.int64) & shown for one in (got, native)]
            assert np.array_equal(*pixels), (name, syntax)
            made[syntax] += 1
    await room.stop()
    assert set(made) == {f"1.2.840.10008.1.2.{n}" for n in LOSSLESS}
    assert min(made.values()) >= 150


async def test_every_image_of_the_corpus_can_be_shown(tmp_path):
    if not (DATA / "expected.json").is_file():
        pytest.skip("the test set is not here: set DRIMBOX_TEST_DATA")
    room = Pixels(Pool(2))
    await room.start()
    shown, refused = 0, set()
    for name, expected in json.loads((DATA / "expected.json").read_text()).items():
        try:
            kept = keep(tmp_path, (DATA / name).read_bytes())
        except Malformed:
            continue
        if kept.transfer_syntax not in DECODABLE or "spp" not in expected:
            continue
        try:
            picture = Image.open(BytesIO(await room.picture(kept, [1], Drawing("image/png"))))
        except NotFound:
            continue
        except DrimboxError:
            refused.add(name)
            continue
        assert picture.size == (expected["cols"], expected["rows"]), name
        shown += 1
    await room.stop()
    assert refused == CANNOT_BE_DECODED
    assert shown >= 285


async def instance(room, kept, syntax):
    parts = [part async for part in room.instance(kept, syntax)]
    return pydicom.dcmread(BytesIO(b"".join(parts)))


def to_expected_order(frames, expected):
    """C order of frames, rows, columns, samples; one byte a sample for single bits."""
    if expected["alloc"] == 1:
        count = expected["rows"] * expected["cols"]
        return np.stack([np.unpackbits(np.frombuffer(f, "u1"), bitorder="little")[:count] for f in frames])
    samples = np.frombuffer(b"".join(frames), np.dtype(expected["pixels"]["dtype"]).newbyteorder("<"))
    if expected["spp"] == 3 and expected.get("planar") == 1:
        samples = samples.reshape(len(frames), 3, expected["rows"], expected["cols"]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(samples)
