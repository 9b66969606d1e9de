"""Every value that the metadata leave out, or all pixels, in one answer: of a study, a series, an instance."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_stage import JPEG_BASELINE, JPEG_LS, NATIVE, ROOT, STUDY, Box, as_test_instance, path_of, renamed, spoil
from pydicom.data import get_testdata_file

EVERYTHING = 'multipart/related; type="*/*"; transfer-syntax=*'
ECG = f"/studies/{STUDY}/series/{STUDY}.30/instances/{STUDY}.30.1"
OVERLAY = f"/studies/{STUDY}/series/{STUDY}.31/instances/{STUDY}.31.1"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(Path(tmp_path_factory.mktemp("values")))
    for name in ("ct", "jpeg_ls", "baseline", "report"):
        box.keep(as_test_instance(name))
    for series, name in ((30, "waveform_ecg.dcm"), (31, "examples_overlay.dcm")):
        box.keep(renamed(pydicom.dcmread(get_testdata_file(name, download=False)), series, 1))
    yield box
    box.close()


def uris(found: Any) -> Iterator[str]:
    """Every BulkDataURI of metadata."""
    for element in found.values():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        for one in element.get("Value", ()) if element["vr"] == "SQ" else ():
            yield from uris(one)


@pytest.mark.parametrize("path", [path_of("ct"), ECG, OVERLAY])
def test_each_value_is_a_part_under_its_own_url(box: Box, path: str) -> None:
    wanted = list(uris(box.get(f"{path}/metadata").json[0]))
    assert wanted
    parts = box.get(f"{path}/bulkdata").parts
    assert [headers["Content-Location"] for headers, _ in parts] == wanted
    for headers, content in parts:
        assert headers["Content-Type"] == "application/octet-stream"
        assert content == box.get(headers["Content-Location"].removeprefix(ROOT), "application/octet-stream").body


def test_pixel_data_alone(box: Box) -> None:
    assert len(box.get(f"{OVERLAY}/bulkdata").parts) > 1
    (part,) = box.get(f"{OVERLAY}/pixeldata").parts
    assert part[0]["Content-Location"].endswith("/bulkdata/7FE00010")


def test_pixel_data_in_fragments_are_frames(box: Box) -> None:
    stored = box.get(f"{path_of('baseline')}/pixeldata", EVERYTHING).parts
    assert len(stored) == 30
    for number, (headers, content) in enumerate(stored, 1):
        assert headers["Content-Type"] == f"image/jpeg;transfer-syntax={JPEG_BASELINE}"
        where = headers["Content-Location"].removeprefix(ROOT)
        assert where == f"{path_of('baseline')}/frames/{number}"
        assert content == box.get(where, "image/jpeg; transfer-syntax=*").body


def test_without_a_syntax_they_are_native(box: Box) -> None:
    (part,) = box.get(f"{path_of('jpeg_ls')}/bulkdata", 'multipart/related; type="application/octet-stream"').parts
    assert part[0]["Content-Type"] == f"application/octet-stream;transfer-syntax={NATIVE}"
    assert part[1] == box.get(f"{path_of('jpeg_ls')}/frames/1", "application/octet-stream").body
    (part,) = box.get(f"{path_of('jpeg_ls')}/pixeldata", EVERYTHING).parts
    assert part[0]["Content-Type"] == f"image/jls;transfer-syntax={JPEG_LS}"


def test_a_study_and_a_series_are_their_instances(box: Box) -> None:
    for kind in ("bulkdata", "pixeldata"):
        parts = box.get(f"/studies/{STUDY}/{kind}", EVERYTHING).parts
        below = [
            part
            for path in (path_of("ct"), path_of("jpeg_ls"), path_of("baseline"), ECG, OVERLAY)
            if (reply := box.get(f"{path}/{kind}", EVERYTHING)).status == 200
            for part in reply.parts
        ]
        key = lambda part: part[0]["Content-Location"]  # noqa: E731
        assert sorted(parts, key=key) == sorted(below, key=key)
    series = f"/studies/{STUDY}/series/{STUDY}.1/bulkdata"
    assert box.get(series).parts == box.get(f"{path_of('ct')}/bulkdata").parts


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (f"{path_of('report')}/bulkdata", "*/*", 404),
        (f"{ECG}/pixeldata", "*/*", 404),
        (f"{path_of('ct')}.9/bulkdata", "*/*", 404),
        ("/studies/1.2.3/bulkdata", "*/*", 404),
        (f"/studies/{STUDY}/instances/{STUDY}.1.1/bulkdata", "*/*", 404),
        ("/studies/x/bulkdata", "*/*", 400),
        (f"{path_of('ct')}/bulkdata", "image/png", 406),
        (f"{path_of('ct')}/frames/1/pixeldata", "*/*", 404),
    ],
)
def test_what_is_not_there_is_told(box: Box, path: str, accept: str, status: int) -> None:
    assert box.get(path, accept).status == status


def test_a_caller_who_has_them_is_told_so(box: Box) -> None:
    first = box.get(f"{path_of('ct')}/bulkdata")
    assert first.headers["etag"].startswith("W/")
    assert box.get(f"{path_of('ct')}/bulkdata", If_None_Match=first.headers["etag"]).status == 304
    assert box.get(f"{path_of('ct')}/pixeldata", If_None_Match=first.headers["etag"]).status == 200
    assert box.get(f"{path_of('ct')}/bulkdata", method="HEAD").body == b""


def test_spoiled_values_are_not_given(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.keep(as_test_instance("ct"))
    spoil(box, path_of("ct"), 400)
    try:
        assert box.get(f"{path_of('ct')}/bulkdata").status == 500
    finally:
        box.close()
