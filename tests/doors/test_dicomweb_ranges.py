"""Parts of what is sent alone, however large it is: instances, frames, documents, films, bulk data."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dicomweb_stage import STUDY, Box, Reply, big_instance, renamed, spoil
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import UID

DICOM = "application/dicom; transfer-syntax=*"
OCTETS = "application/octet-stream; transfer-syntax=*"
FILM = bytes(range(251)) * 80_000  # 20 MB


def place(series: int, number: int = 1) -> str:
    return f"/studies/{STUDY}/series/{STUDY}.{series}/instances/{STUDY}.{series}.{number}"


BIG, WIDE, VIDEO, PDF = place(20), place(21), place(44), place(42)


def without_pixels() -> pydicom.FileDataset:
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    del made["DataSetTrailingPadding"]
    return made


def wide() -> bytes:
    """One frame of 18 MiB."""
    made = without_pixels()
    made.Rows, made.Columns = 3072, 3072
    made.PixelData = bytes(range(256)) * (3072 * 3072 * 2 // 256)
    return renamed(made, 21, 1)


def video() -> bytes:
    made = without_pixels()
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    made.NumberOfFrames = 50
    made.PixelData = encapsulate([FILM])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return renamed(made, 44, 1)


def document() -> bytes:
    made = without_pixels()
    for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[tag]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    made.Modality, made.MIMETypeOfEncapsulatedDocument = "DOC", "application/pdf"
    made.EncapsulatedDocument = FILM[:30_000]
    return renamed(made, 42, 1)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(Path(tmp_path_factory.mktemp("ranges")))
    for content in (big_instance(1, 40), wide(), video(), document()):
        box.keep(content)
    yield box
    box.close()


def part(box: Box, path: str, accept: str, wanted: str, **headers: str) -> Reply:
    return box.get(path, accept, Range=f"bytes={wanted}", **headers)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (BIG, DICOM),
        (f"{BIG}/frames/3", OCTETS),
        (f"{WIDE}/frames/1", OCTETS),
        (f"{WIDE}/bulkdata/7FE00010", "application/octet-stream"),
        (f"{VIDEO}/rendered", "video/mp4"),
        (f"{VIDEO}/rendered", "*/*"),
        (f"{VIDEO}/frames/1", "video/mp4; transfer-syntax=*"),
        (f"{PDF}/rendered", "application/pdf"),
        (f"{PDF}/bulkdata/00420011", "*/*"),
    ],
)
def test_a_part_is_that_part(box: Box, path: str, accept: str) -> None:
    whole = box.get(path, accept)
    size = len(whole.body)
    assert whole.headers["accept-ranges"] == "bytes"
    assert not whole.headers["etag"].startswith("W/")
    for wanted, start, end in (
        ("0-0", 0, 1),
        ("100-1099", 100, 1100),
        (f"{size - 5000}-", size - 5000, size),
        ("-7", size - 7, size),
    ):
        reply = part(box, path, accept, wanted)
        assert (reply.status, reply.headers["content-range"]) == (206, f"bytes {start}-{end - 1}/{size}")
        assert reply.headers["etag"] == whole.headers["etag"]
        assert reply.headers["content-type"] == whole.headers["content-type"]
        assert reply.body == whole.body[start:end]
    assert part(box, path, accept, f"{size}-").status == 416
    assert part(box, path, accept, "0-1", If_Range=whole.headers["etag"]).status == 206
    assert part(box, path, accept, "0-1", If_Range='"another"').status == 200


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (BIG, DICOM),
        (f"{BIG}/frames/3", OCTETS),
        (f"{WIDE}/frames/1", OCTETS),
        (f"{VIDEO}/rendered", "*/*"),
        (f"{PDF}/rendered", "*/*"),
    ],
)
def test_the_head_says_that_parts_are_possible_and_is_whole_itself(box: Box, path: str, accept: str) -> None:
    whole = box.get(path, accept)
    head = box.get(path, accept, "HEAD", Range="bytes=0-9")
    assert (head.status, head.headers["accept-ranges"]) == (200, "bytes")
    assert int(head.headers["content-length"]) == len(whole.body)
    assert head.headers["etag"] == whole.headers["etag"]


def test_films_are_what_was_kept(box: Box) -> None:
    assert box.get(f"{VIDEO}/rendered", "*/*").body.rstrip(b"\0") == FILM.rstrip(b"\0")
    assert part(box, f"{VIDEO}/rendered", "*/*", "5000000-5000999").body == FILM[5_000_000:5_001_000]


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (BIG, DICOM),
        (f"{BIG}/bulkdata/7FE00010", "*/*"),
        (f"{WIDE}/frames/1", OCTETS),
        (f"{VIDEO}/rendered", "*/*"),
        (f"{PDF}/rendered", "*/*"),
    ],
)
def test_no_part_of_what_is_spoiled_is_given(tmp_path: Path, path: str, accept: str) -> None:
    """The damage lies far behind the part that is asked for."""
    box = Box(tmp_path)
    content = {BIG: big_instance(1, 40), WIDE: wide(), VIDEO: video(), PDF: document()}[path[: len(BIG)]]
    box.keep(content)
    spoil(box, path[: len(BIG)], 200)
    try:
        assert part(box, path, accept, "0-9").status == 500
    finally:
        box.close()


def test_a_document_in_parts_has_no_ranges(box: Box) -> None:
    reply = part(box, f"{PDF}/rendered", 'multipart/related; type="application/pdf"', "0-9")
    assert (reply.status, "accept-ranges" in reply.headers) == (200, False)
    assert reply.headers["etag"].startswith("W/")
    assert pydicom.dcmread(BytesIO(box.get(PDF, DICOM).body)).EncapsulatedDocument == reply.parts[0][1]
