"""The DICOMweb door: one object by the query parameters of WADO-URI."""

from io import BytesIO

import pytest
from dicomweb_stage import JPEG_LS, NATIVE, SOURCES, STUDY, Box, data_set_of
from PIL import Image
from pydicom import dcmread


def uri(name: str, more: str = "", root: str = "/") -> str:
    series, number, _ = SOURCES[name]
    uids = f"studyUID={STUDY}&seriesUID={STUDY}.{series}&objectUID={STUDY}.{series}.{number}"
    return f"{root}?requestType=WADO&{uids}{more}"


@pytest.mark.parametrize("root", ["/", "/wado"])
def test_an_object_comes_as_it_is_kept_when_its_syntax_is_asked(
    box: Box, originals: dict[str, bytes], root: str
) -> None:
    reply = box.get(uri("jpeg_ls", f"&contentType=application/dicom&transferSyntax={JPEG_LS}", root))
    assert reply.headers["content-type"] == f"application/dicom;transfer-syntax={JPEG_LS}"
    assert data_set_of(reply.body) == data_set_of(originals["jpeg_ls"])


def test_without_a_syntax_it_is_explicit_little_endian(box: Box) -> None:
    reply = box.get(uri("jpeg_ls", "&contentType=application%2Fdicom"))
    assert dcmread(BytesIO(reply.body)).file_meta.TransferSyntaxUID == NATIVE


@pytest.mark.parametrize(
    ("more", "form", "size"),
    [
        ("", "JPEG", (128, 128)),
        ("&contentType=image/png", "PNG", (128, 128)),
        ("&contentType=image/jpeg&rows=64&columns=64", "JPEG", (64, 64)),
        ("&contentType=image/jpeg&columns=64", "JPEG", (64, 64)),
        ("&contentType=image/png&region=0.25,0.5,1,1", "PNG", (96, 64)),
        ("&contentType=image/png&region=0.25,0.5,1,1&columns=48", "PNG", (48, 32)),
        ("&contentType=image/jpeg&windowCenter=40&windowWidth=400&imageQuality=50", "JPEG", (128, 128)),
    ],
)
def test_a_picture_is_drawn_as_asked(box: Box, more: str, form: str, size: tuple[int, int]) -> None:
    reply = box.get(uri("ct", more))
    assert reply.status == 200
    picture = Image.open(BytesIO(reply.body))
    assert (picture.format, picture.size) == (form, size)


def test_a_frame_of_a_multi_frame(box: Box) -> None:
    second = box.get(uri("dose", "&contentType=image/png&frameNumber=2"))
    third = box.get(uri("dose", "&contentType=image/png&frameNumber=3"))
    assert second.status == third.status == 200
    assert second.body != third.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (uri("ct").replace("objectUID", "objectUIDs"), 400),
        (uri("ct").replace(f"objectUID={STUDY}", "objectUID=../x"), 400),
        (uri("ct", "&contentType=application/dicom&transferSyntax=x"), 400),
        (uri("ct", "&anonymize=yes"), 400),
        (uri("ct", "&region=0,0,1"), 400),
        (uri("ct", "&region=0.5,0,0.5,1"), 400),
        (uri("ct", "&region=0,0,2,1"), 400),
        (uri("ct", "&presentationUID=1.2"), 400),
        (uri("ct", "&presentationUID=1.2&presentationSeriesUID=1.3"), 404),
        (uri("ct", "&presentationUID=1.2&presentationSeriesUID=1.3&windowCenter=1&windowWidth=2"), 400),
        (uri("ct", "&windowCenter=40"), 400),
        (uri("ct", "&frameNumber=1,2"), 400),
        (uri("ct", "&frameNumber=2"), 404),
        (uri("ct", "&contentType=video/mp4"), 406),
        (uri("ct").replace(f"objectUID={STUDY}", "objectUID=1.2.3"), 404),
        ("/wado", 404),
    ],
)
def test_what_is_wrong_or_not_supported_is_told(box: Box, path: str, status: int) -> None:
    assert box.get(path).status == status


def test_the_probe_of_the_root_is_still_a_probe(box: Box) -> None:
    assert box.get("/", "application/json").json == {"status": "up"}
