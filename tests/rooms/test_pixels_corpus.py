"""Every image of the test set decodes to the pixels that other decoders agreed on."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from keeping import keep

from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.errors import DrimboxError, Malformed, NotFound
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
from drimbox.pixels.syntaxes import DECODABLE

DATA = Path(os.environ.get("DRIMBOX_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")

# Native files whose expectation has bits above Bits Stored masked away, or 422 made 444: we send them as they are.
NOT_AS_EXPECTED = {"objects/pr/overlay.dcm", "photometric/mlut_18.dcm", "photometric/SC_ybr_full_422_uncompressed.dcm"}
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


def to_expected_order(frames, expected):
    """C order of frames, rows, columns, samples; one byte a sample for single bits."""
    if expected["alloc"] == 1:
        count = expected["rows"] * expected["cols"]
        return np.stack([np.unpackbits(np.frombuffer(f, "u1"), bitorder="little")[:count] for f in frames])
    samples = np.frombuffer(b"".join(frames), np.dtype(expected["pixels"]["dtype"]).newbyteorder("<"))
    if expected["spp"] == 3 and expected.get("planar") == 1:
        samples = samples.reshape(len(frames), 3, expected["rows"], expected["cols"]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(samples)
