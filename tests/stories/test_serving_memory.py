"""What is large is served in little memory: an object of a GiB, and a study of three thousand instances (P12)."""

import asyncio
import http.client
import os
import struct
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from network import Site
from pydicom.data import get_testdata_file

GIB = 2**30
MOST_GROWTH_BYTES = 64 * 2**20
STUDY, BIG = "1.2.250.1.999.9", "1.2.250.1.999.10"
DICOM = "application/dicom; transfer-syntax=*"
PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def draw(url: str, path: str, accept: str) -> int:
    """Ask, read to the end, keep nothing; how many bytes came."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    try:
        connection.request("GET", path, headers={"Accept": accept, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == 200
        size = 0
        while chunk := answer.read(2**20):
            size += len(chunk)
        return size
    finally:
        connection.close()


def write_big(path: Path) -> None:
    """2048 frames of 512 KiB; the pixels are a hole in the file."""
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    data_set.StudyInstanceUID = data_set.SeriesInstanceUID = BIG
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"{BIG}.1"
    data_set.Rows = data_set.Columns = 512
    data_set.NumberOfFrames = 2048
    del data_set.PixelData, data_set["DataSetTrailingPadding"]
    data_set.save_as(path)
    with path.open("ab") as file:
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, GIB))
        file.truncate(file.tell() + GIB)


def write_many(folder: Path, count: int) -> None:
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    data_set.StudyInstanceUID = data_set.SeriesInstanceUID = STUDY
    for number in range(1, count + 1):
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.{number}"
        data_set.InstanceNumber = number
        data_set.save_as(folder / f"{number}.dcm")


@pytest.mark.slow
async def test_a_gib_and_three_thousand_instances_are_served_in_little_memory(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    await asyncio.to_thread(write_big, given / "big.dcm")
    await asyncio.to_thread(write_many, given, 3000)
    site = Site(tmp_path, {})
    command = [sys.executable, "-m", "drimbox", "import", "--config", str(tmp_path / "node.toml"), str(given)]
    imported = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=200)
    assert imported.returncode == 0, imported.stderr
    await site.node.start()
    try:
        url, pid = site.node.url, site.node.process.pid
        for path in (f"/dicom-web/studies/{BIG}/metadata", f"/dicom-web/studies/{STUDY}/series"):
            await asyncio.to_thread(draw, url, path, "application/dicom+json")
        before = rss(pid)
        one = f"/dicom-web/studies/{BIG}/series/{BIG}/instances/{BIG}.1"
        for path, accept, least in (
            (one, DICOM, GIB),
            (f"{one}/frames/{','.join(map(str, range(1, 1001)))}", "*/*", 1000 * 2**19),
            (f"/dicom-web/studies/{STUDY}", PARTS, 3000 * 2**15),
            (f"/dicom-web/studies/{STUDY}/metadata", "application/dicom+json", 3000),
            (f"/dicom-web/studies/{STUDY}/metadata", "application/dicom+json", 3000),
        ):
            assert await asyncio.to_thread(draw, url, path, accept) >= least
            assert rss(pid) - before < MOST_GROWTH_BYTES, path
    finally:
        await site.node.stop()
