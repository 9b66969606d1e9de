"""Programs that share no code with us read what we encode, and draw what we draw: DCMTK and dciodvfy."""

import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from keeping import keep
from PIL import Image
from pydicom.data import get_testdata_file

from drimbox.pixels.drawing import Drawing
from drimbox.pixels.grayscale import Window
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
BASELINE, SV1, JPEG_LS, NEAR, J2K, J2K_ANY = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 80, 81, 90, 91))
READERS = {RLE: "dcmdrle", SV1: "dcmdjpeg", BASELINE: "dcmdjpeg", JPEG_LS: "dcmdjpls", NEAR: "dcmdjpls"}
SOURCES = ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "examples_palette.dcm")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room():
    room = Pixels(Pool(1), lossy=True)
    await room.start()
    yield room
    await room.stop()


def program(name: str) -> str:
    found = f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


async def made(room, folder, name, syntax):
    kept = keep(folder, Path(get_testdata_file(name, download=False)).read_bytes())
    path = folder / f"{syntax}.dcm"
    path.write_bytes(b"".join([part async for part in room.instance(kept, syntax)]))
    return path


def native_by(reader: str, path: Path) -> pydicom.FileDataset:
    out = path.with_suffix(".native.dcm")
    done = subprocess.run([program(reader), path, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pydicom.dcmread(out)


@pytest.mark.parametrize("syntax", [RLE, SV1, JPEG_LS])
@pytest.mark.parametrize("name", SOURCES)
async def test_dcmtk_finds_the_same_pixels(room, tmp_path, name, syntax):
    got = native_by(READERS[syntax], await made(room, tmp_path, name, syntax))
    original = pydicom.dcmread(await made(room, tmp_path, name, EXPLICIT))
    assert np.array_equal(got.pixel_array, original.pixel_array)


@pytest.mark.parametrize("syntax", [BASELINE, NEAR])
async def test_dcmtk_reads_what_lost_a_little(room, tmp_path, syntax):
    got = native_by(READERS[syntax], await made(room, tmp_path, "examples_rgb_color.dcm", syntax))
    original = pydicom.dcmread(get_testdata_file("examples_rgb_color.dcm", download=False))
    error = np.abs(got.pixel_array.astype(int) - original.pixel_array)
    assert error.mean() < 4
    assert got.LossyImageCompression == "01"


@pytest.mark.parametrize("syntax", [RLE, SV1, JPEG_LS, J2K, NEAR, J2K_ANY, BASELINE])
async def test_dciodvfy_finds_no_error_we_made(room, tmp_path, syntax):
    """Whatever it says of the original, it says no more of what is made of it. HTJ2K it does not know."""
    name = "examples_rgb_color.dcm"
    before = errors(await made(room, tmp_path, name, EXPLICIT))
    assert errors(await made(room, tmp_path, name, syntax)) <= before


def errors(path: Path) -> set[str]:
    done = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, errors="replace")
    said = (done.stdout + done.stderr).splitlines()
    return {line for line in said if line.startswith("Error")}


@pytest.mark.parametrize(
    ("name", "window", "options"),
    [
        ("CT_small.dcm", Window(40, 400), ["+Ww", "40", "400"]),
        ("CT_small.dcm", Window(-600, 1500), ["+Ww", "-600", "1500"]),
        ("MR_small.dcm", Window(600, 1600), ["+Ww", "600", "1600"]),
        ("examples_rgb_color.dcm", None, []),
        ("examples_palette.dcm", None, []),
    ],
)
async def test_dcmtk_draws_the_same_picture(room, tmp_path, name, window, options):
    kept = keep(tmp_path, Path(get_testdata_file(name, download=False)).read_bytes())
    ours = imagecodecs.png_decode(await room.picture(kept, [1], Drawing("image/png", window=window)))
    out = tmp_path / "theirs.pnm"
    done = subprocess.run(
        [program("dcm2pnm"), *options, get_testdata_file(name, download=False), out], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs = np.asarray(Image.open(out))
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours).max() <= 1
