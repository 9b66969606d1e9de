"""The DICOMweb door: frames, metadata and bulk data."""

import gzip
import http.client
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_stage import (
    ANY_SYNTAX,
    JPEG_BASELINE,
    JPEG_LS,
    NATIVE,
    NATIVE_ONLY,
    RLE,
    ROOT,
    SOURCES,
    STUDY,
    Box,
    path_of,
    renamed,
    spoil,
)
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames


@pytest.mark.parametrize(
    ("name", "syntax", "media_type"),
    [("jpeg_ls", JPEG_LS, "image/jls"), ("rle", RLE, "image/dicom-rle"), ("baseline", JPEG_BASELINE, "image/jpeg")],
)
def test_a_frame_goes_as_it_is_kept(
    box: Box, originals: dict[str, bytes], name: str, syntax: str, media_type: str
) -> None:
    kept = pydicom.dcmread(BytesIO(originals[name]))
    expected = next(generate_frames(kept.PixelData, number_of_frames=int(kept.get("NumberOfFrames", 1))))
    reply = box.get(f"{path_of(name)}/frames/1", "*/*")
    ((headers, content),) = reply.parts
    assert headers["Content-Type"] == f"{media_type};transfer-syntax={syntax}"
    assert headers["Content-Location"] == f"{ROOT}{path_of(name)}/frames/1"
    assert content == expected
    alone = box.get(f"{path_of(name)}/frames/1", media_type)
    assert alone.headers["content-type"] == f"{media_type};transfer-syntax={syntax}"
    assert alone.body == expected


@pytest.mark.parametrize("name", ["ct", "jpeg_ls", "rle", "implicit", "big_endian", "deflated"])
def test_a_frame_is_made_native_on_request(box: Box, originals: dict[str, bytes], name: str) -> None:
    pixels = pydicom.dcmread(BytesIO(originals[name])).pixel_array
    reply = box.get(f"{path_of(name)}/frames/1", "multipart/related; type=application/octet-stream")
    ((headers, content),) = reply.parts
    assert headers["Content-Type"] == f"application/octet-stream;transfer-syntax={NATIVE}"
    assert content == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def test_several_frames_come_in_the_order_asked(box: Box) -> None:
    reply = box.get(f"/studies/{STUDY}/series/{STUDY}.20/instances/{STUDY}.20.2/frames/4,1,5")
    assert [content[:1] + content[-1:] for _, content in reply.parts] == [b"\x04\x04", b"\x01\x01", b"\x05\x05"]
    assert [len(content) for _, content in reply.parts] == [512 * 512 * 2] * 3


def test_a_client_retrieves_frames(box: Box, client: DICOMwebClient, originals: dict[str, bytes]) -> None:
    kept = pydicom.dcmread(BytesIO(originals["baseline"]))
    expected = list(generate_frames(kept.PixelData, number_of_frames=30))
    uids = (STUDY, f"{STUDY}.6", f"{STUDY}.6.1")
    found = client.retrieve_instance_frames(*uids, [1, 2, 30], media_types=(("image/jpeg", JPEG_BASELINE),))
    assert found == [expected[0], expected[1], expected[29]]
    assert client.retrieve_instance_frames(*uids, [7], media_types=("*/*",)) == [expected[6]]


def test_frames_of_an_implicit_multi_frame_are_cut_where_they_are(box: Box, originals: dict[str, bytes]) -> None:
    dose = pydicom.dcmread(BytesIO(originals["dose"])).pixel_array
    reply = box.get(f"{path_of('dose')}/frames/15,2")
    assert [content for _, content in reply.parts] == [dose[14].tobytes(), dose[1].tobytes()]


def test_frames_that_do_not_begin_at_a_byte_are_cut_out(tmp_path: Path) -> None:
    tiny = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    tiny.Rows = tiny.Columns = tiny.NumberOfFrames = 3
    tiny.BitsAllocated = tiny.BitsStored = 1
    tiny.HighBit = tiny.PixelRepresentation = 0
    tiny.PixelData = b"\xff\x01\xfc\x07"  # nine ones, nine zeros, nine ones, from the lowest bit
    with closing(Box(tmp_path)) as box:
        box.keep(renamed(tiny, 22, 1))
        reply = box.get(f"/studies/{STUDY}/series/{STUDY}.22/instances/{STUDY}.22.1/frames/1,2,3")
    assert [content for _, content in reply.parts] == [b"\xff\x01", b"\x00\x00", b"\xff\x01"]


def test_a_frame_too_large_to_hold_is_checked_while_it_leaves(tmp_path: Path) -> None:
    large = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    large.Rows, large.Columns, large.PixelData = 4096, 2304, bytes(range(256)) * (4096 * 2304 * 2 // 256)
    with closing(Box(tmp_path)) as box:
        box.keep(renamed(large, 21, 1))
        path = f"/studies/{STUDY}/series/{STUDY}.21/instances/{STUDY}.21.1"
        assert box.get(f"{path}/frames/1", "application/octet-stream").body == large.PixelData
        spoil(box, path, 1000)
        with pytest.raises(http.client.IncompleteRead):
            box.get(f"{path}/frames/1")


def test_what_cannot_be_decoded_is_refused_before_the_first_byte(tmp_path: Path, originals: dict[str, bytes]) -> None:
    broken = pydicom.dcmread(BytesIO(originals["jpeg_ls"]))
    broken.PixelData = encapsulate([b"\xff\xd8\xff\xd9 this is no image"])
    with closing(Box(tmp_path)) as box:
        box.keep(renamed(broken, 2, 1))
        for path in (path_of("jpeg_ls"), f"{path_of('jpeg_ls')}/frames/1"):
            refused = box.get(path, NATIVE_ONLY)
            assert (refused.status, refused.headers["content-type"]) == (406, "application/problem+json")
            assert box.get(path, ANY_SYNTAX).status == 200


def test_a_client_reads_metadata_at_three_levels(box: Box, client: DICOMwebClient) -> None:
    assert len(client.retrieve_study_metadata(STUDY)) == len(SOURCES) + 3
    series = client.retrieve_series_metadata(STUDY, f"{STUDY}.20")
    assert [m["00080018"]["Value"][0] for m in series] == [f"{STUDY}.20.{n}" for n in (1, 2, 3)]
    one = client.retrieve_instance_metadata(STUDY, f"{STUDY}.1", f"{STUDY}.1.1")
    read = pydicom.Dataset.from_json(one[0] if isinstance(one, list) else one, lambda _tag, _vr, _uri: b"")
    assert (read.Rows, read.Columns, str(read.PatientName)) == (128, 128, "ESSAI^ZOÉ")


def test_metadata_are_gzipped_for_those_who_take_it(box: Box) -> None:
    plain = box.get(f"/studies/{STUDY}/metadata")
    packed = box.get(f"/studies/{STUDY}/metadata", Accept_Encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert len(packed.body) < len(plain.body) / 3
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/json",
        "*/*",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        'application/dicom+json; transfer-syntax="*";q=0.9,',
    ],
)
def test_metadata_take_every_accept_in_service(box: Box, accept: str) -> None:
    assert box.get(f"{path_of('ct')}/metadata", accept).status == 200


def test_a_bulk_value_is_where_the_metadata_say(box: Box, originals: dict[str, bytes]) -> None:
    (metadata,) = box.get(f"{path_of('ct')}/metadata").json
    uri = metadata["7FE00010"]["BulkDataURI"]
    assert uri.startswith(f"{ROOT}{path_of('ct')}/bulkdata/")
    expected = pydicom.dcmread(BytesIO(originals["ct"])).PixelData
    path = uri.removeprefix(ROOT)
    alone = box.get(path, "application/octet-stream")
    assert (alone.body, alone.headers["content-type"]) == (expected, "application/octet-stream")
    ((headers, content),) = box.get(path, 'multipart/related; type="application/octet-stream"').parts
    assert (headers["Content-Location"], content) == (uri, expected)
    part = box.get(path, Range="bytes=100-199")
    assert (part.status, part.body) == (206, expected[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(expected)}"
    beyond = box.get(path, Range="bytes=99999999-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(expected)}")
    assert box.get(path, Range="bytes=0-1,4-5").body == expected


def test_a_bulk_value_of_a_deflated_instance_is_inflated(box: Box, originals: dict[str, bytes]) -> None:
    expected = pydicom.dcmread(BytesIO(originals["deflated"])).PixelData
    assert box.get(f"{path_of('deflated')}/bulkdata/7FE00010").body == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [("7FE00010/0", 400), ("7FE00010/x/00100010", 400), ("00091010", 404), ("a.b", 400), ("a%20b", 404)],
)
def test_a_wrong_bulk_path_is_refused(box: Box, path: str, status: int) -> None:
    assert box.get(f"{path_of('ct')}/bulkdata/{path}").status == status
