"""A transfer syntax that is not the one kept, asked for at the door: frames, instances, studies; pydicom judges."""

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_stage import JPEG_BASELINE, JPEG_LS, NATIVE, RLE, STUDY, Box, as_test_instance, path_of, renamed
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames, parse_basic_offsets

SV1, NEAR, J2K, J2K_ANY, HTJ2K, RPCL = (f"1.2.840.10008.1.2.4.{n}" for n in (70, 81, 90, 91, 201, 202))
EXTENDED = "1.2.840.10008.1.2.4.51"
MULTI = f"/studies/{STUDY}/series/{STUDY}.30/instances/{STUDY}.30.1"


def multi_frame() -> bytes:
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    frame = np.frombuffer(data_set.PixelData, "<i2")
    data_set.NumberOfFrames = 4
    data_set.PixelData = b"".join((frame + 100 * number).astype("<i2").tobytes() for number in range(4))
    return renamed(data_set, 30, 1)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(Path(tmp_path_factory.mktemp("transcoding")), lossy=True)
    for name in ("ct", "jpeg_ls", "rle", "baseline", "report", "dose"):
        box.keep(as_test_instance(name))
    box.keep(multi_frame())
    yield box
    box.close()


def dicom(syntax: str, q: float = 1) -> str:
    return f'multipart/related; type="application/dicom"; transfer-syntax={syntax}; q={q}'


def octets(syntax: str) -> str:
    return f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'


def read(box: Box, path: str, accept: str) -> pydicom.FileDataset:
    reply = box.get(path, accept)
    assert reply.status == 200, reply.body
    ((headers, content),) = reply.parts
    data_set = pydicom.dcmread(BytesIO(content))
    assert f"transfer-syntax={data_set.file_meta.TransferSyntaxUID}" in headers["Content-Type"]
    return data_set


@pytest.mark.parametrize("syntax", [RLE, SV1, JPEG_LS, J2K, HTJ2K, RPCL])
@pytest.mark.parametrize("path", [path_of("ct"), path_of("jpeg_ls"), path_of("rle"), MULTI])
def test_an_instance_in_another_lossless_syntax_is_the_same_image(box: Box, path: str, syntax: str) -> None:
    native = read(box, path, dicom(NATIVE))
    got = read(box, path, dicom(syntax))
    assert got.file_meta.TransferSyntaxUID == syntax
    assert got.SOPInstanceUID == got.file_meta.MediaStorageSOPInstanceUID == native.SOPInstanceUID
    assert np.array_equal(got.pixel_array, native.pixel_array)
    assert "LossyImageCompression" not in got or got.LossyImageCompression == native.LossyImageCompression
    assert got.ImageType == native.ImageType


def test_a_multi_frame_has_an_offset_table(box: Box) -> None:
    got = read(box, MULTI, dicom(HTJ2K))
    table = parse_basic_offsets(got.PixelData)
    assert len(table) == 4
    start = 8 + 4 * 4
    frames = list(generate_frames(got.PixelData, number_of_frames=4))
    for offset, frame in zip(table, frames, strict=True):
        group, element, length = struct.unpack_from("<HHI", got.PixelData, start + offset)
        assert (group, element, length) == (0xFFFE, 0xE000, len(frame))


@pytest.mark.parametrize("syntax", [RLE, SV1, JPEG_LS, J2K, HTJ2K, RPCL])
def test_frames_are_those_of_the_instance(box: Box, syntax: str) -> None:
    reply = box.get(f"{MULTI}/frames/3,1", octets(syntax))
    assert reply.status == 200
    whole = list(generate_frames(read(box, MULTI, dicom(syntax)).PixelData, number_of_frames=4))
    assert [content for _, content in reply.parts] == [whole[2], whole[0]]


def test_the_best_ranked_of_what_can_be_made_is_made(box: Box) -> None:
    ranked = ",".join((dicom(SV1, 0.9), dicom(JPEG_LS, 0.8), dicom(NATIVE, 0.4)))
    assert read(box, path_of("ct"), ranked).file_meta.TransferSyntaxUID == SV1


def test_what_is_kept_is_given_while_it_is_nearly_as_welcome(box: Box) -> None:
    ranked = ",".join((dicom(SV1, 0.5), dicom(JPEG_LS, 0.5), dicom(NATIVE, 0.5)))
    assert read(box, path_of("ct"), ranked).file_meta.TransferSyntaxUID == NATIVE


def test_what_the_pixels_rule_out_is_passed_over(box: Box) -> None:
    """16 signed bits are no JPEG Baseline; a dose of 32 bits has RLE, and no JPEG-LS."""
    ranked = ",".join((dicom(JPEG_BASELINE, 0.9), dicom(JPEG_LS, 0.8), dicom(NATIVE, 0.3)))
    assert read(box, path_of("ct"), ranked).file_meta.TransferSyntaxUID == JPEG_LS
    ranked = ",".join((dicom(JPEG_LS, 0.9), dicom(RLE, 0.8)))
    assert read(box, path_of("dose"), ranked).file_meta.TransferSyntaxUID == RLE


def test_what_has_no_pixels_is_never_compressed(box: Box) -> None:
    assert box.get(path_of("report"), dicom(JPEG_LS)).status == 406
    assert read(box, path_of("report"), f"{dicom(JPEG_LS)},{dicom(NATIVE, 0.1)}").file_meta.TransferSyntaxUID == NATIVE


def test_a_series_of_several_syntaxes(box: Box) -> None:
    reply = box.get(f"/studies/{STUDY}", f"{dicom(HTJ2K)}, {dicom(NATIVE, 0.2)}")
    assert reply.status == 200
    got = [pydicom.dcmread(BytesIO(content)) for _, content in reply.parts]
    assert {data_set.file_meta.TransferSyntaxUID for data_set in got} == {HTJ2K, NATIVE}
    assert all(data_set.file_meta.TransferSyntaxUID == HTJ2K for data_set in got if data_set.Modality == "CT")


# --- With loss ------------------------------------------------------------------------------------------------


def test_a_lossy_answer_is_another_instance_that_names_its_source(box: Box) -> None:
    source = read(box, path_of("ct"), dicom(NATIVE))
    got = read(box, path_of("ct"), dicom(J2K_ANY))  # .91, asked first, where the operator allows loss
    assert got.file_meta.TransferSyntaxUID == J2K_ANY
    assert got.SOPInstanceUID == got.file_meta.MediaStorageSOPInstanceUID != source.SOPInstanceUID
    assert got.SOPInstanceUID.startswith("2.25.")
    assert got.ImageType[0] == "DERIVED"
    assert got.ImageType[1:] == source.ImageType[1:]
    assert got.LossyImageCompression == "01"
    assert got.LossyImageCompressionMethod == "ISO_15444_1"
    native_bytes, (stream,) = len(source.PixelData), generate_frames(got.PixelData, number_of_frames=1)
    assert float(got.LossyImageCompressionRatio) == pytest.approx(native_bytes / len(stream), abs=0.01)
    assert got.DerivationCodeSequence[0].CodeValue == "113040"
    (reference,) = got.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    error = got.pixel_array.astype(int) - source.pixel_array
    assert 0 < np.abs(error).max() <= 16
    assert [element.tag for element in got] == sorted(element.tag for element in got)
    assert read(box, path_of("ct"), dicom(J2K_ANY)).SOPInstanceUID == got.SOPInstanceUID


def test_what_has_lost_something_loses_no_more(box: Box) -> None:
    """A JPEG Baseline image: no other lossy syntax, and no loss under the names that would allow it."""
    assert box.get(path_of("baseline"), dicom(NEAR)).status == 406
    native = read(box, path_of("baseline"), dicom(NATIVE))
    got = read(box, path_of("baseline"), dicom(J2K_ANY))
    assert got.SOPInstanceUID == native.SOPInstanceUID
    assert np.array_equal(pydicom.pixels.pixel_array(got, raw=True), native.pixel_array)


def test_lossless_is_made_of_equals(box: Box) -> None:
    assert read(box, path_of("ct"), f"{dicom(NEAR)},{dicom(JPEG_LS)}").file_meta.TransferSyntaxUID == JPEG_LS


def test_loss_must_be_allowed(tmp_path: Path) -> None:
    box = Box(tmp_path)
    try:
        box.keep(as_test_instance("ct"))
        assert box.get(path_of("ct"), dicom(NEAR)).status == 406
        got = read(box, path_of("ct"), dicom(J2K_ANY))
        assert got.SOPInstanceUID == f"{STUDY}.1.1"
        assert np.array_equal(got.pixel_array, read(box, path_of("ct"), dicom(NATIVE)).pixel_array)
    finally:
        box.close()
