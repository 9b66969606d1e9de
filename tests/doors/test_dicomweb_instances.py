"""The DICOMweb door: instances, series and studies, under every Accept in service."""

import socket
from io import BytesIO

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_stage import (
    ANY_SYNTAX,
    JPEG_LS,
    NATIONAL,
    NATIVE,
    ROOT,
    SOURCES,
    STUDY,
    TEN,
    Box,
    big_instance,
    data_set_of,
    path_of,
)
from pydicom.encaps import generate_frames

from drimbox.dicom.part10 import InMemory, read_preface


@pytest.mark.parametrize("name", SOURCES)
def test_an_instance_comes_back_bit_for_bit(box: Box, originals: dict[str, bytes], name: str) -> None:
    reply = box.get(path_of(name), ANY_SYNTAX)
    assert reply.status == 200
    ((headers, content),) = reply.parts
    syntax = read_preface(InMemory(originals[name])).transfer_syntax
    assert headers["Content-Type"] == f"application/dicom;transfer-syntax={syntax}"
    assert headers["Content-Location"] == ROOT + path_of(name)
    assert int(headers["Content-Length"]) == len(content)
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert read_preface(InMemory(content)).transfer_syntax == syntax
    assert data_set_of(content) == data_set_of(originals[name])


@pytest.mark.parametrize(
    "accept", ["application/dicom; transfer-syntax=*", f"application/dicom;transfer-syntax={JPEG_LS}"]
)
def test_one_instance_may_come_alone(box: Box, originals: dict[str, bytes], accept: str) -> None:
    reply = box.get(path_of("jpeg_ls"), accept)
    assert reply.headers["content-type"] == f"application/dicom;transfer-syntax={JPEG_LS}"
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert data_set_of(reply.body) == data_set_of(originals["jpeg_ls"])


@pytest.mark.parametrize("name", ["jpeg_ls", "baseline", "ct"])
def test_the_national_header_gets_stored_bytes(box: Box, originals: dict[str, bytes], name: str) -> None:
    ((headers, content),) = box.get(path_of(name), NATIONAL).parts
    assert headers["Content-Type"].endswith(read_preface(InMemory(originals[name])).transfer_syntax)
    assert data_set_of(content) == data_set_of(originals[name])


@pytest.mark.parametrize("name", ["rle", "implicit", "big_endian", "deflated", "report"])
def test_what_the_national_header_does_not_name_is_made_explicit_little_endian(
    box: Box, originals: dict[str, bytes], name: str
) -> None:
    ((headers, content),) = box.get(path_of(name), NATIONAL).parts
    assert headers["Content-Type"] == f"application/dicom;transfer-syntax={NATIVE}"
    made, kept = pydicom.dcmread(BytesIO(content)), pydicom.dcmread(BytesIO(originals[name]))
    assert made.file_meta.TransferSyntaxUID == NATIVE
    assert made.SOPInstanceUID == kept.SOPInstanceUID
    if "PixelData" in kept:
        assert np.array_equal(made.pixel_array, kept.pixel_array)


def test_a_client_retrieves_a_series_and_a_study(box: Box, client: DICOMwebClient) -> None:
    series = client.retrieve_series(STUDY, f"{STUDY}.20")
    assert [d.SOPInstanceUID for d in series] == [f"{STUDY}.20.{n}" for n in (1, 2, 3)]
    study = client.retrieve_study(STUDY, media_types=(("application/dicom", "*"),))
    assert len(study) == len(SOURCES) + 3


def test_a_series_is_streamed_in_parts_with_its_length(box: Box) -> None:
    reply = box.get(f"/studies/{STUDY}/series/{STUDY}.20", ANY_SYNTAX)
    assert f"transfer-syntax={NATIVE};" in reply.headers["content-type"]
    assert int(reply.headers["content-length"]) == len(reply.body)
    contents = [data_set_of(content) for _, content in reply.parts]
    assert contents == [data_set_of(big_instance(number, 5)) for number in (1, 2, 3)]


def test_head_tells_the_length_and_sends_nothing(box: Box) -> None:
    whole = box.get(path_of("ct"), ANY_SYNTAX)
    head = box.get(path_of("ct"), ANY_SYNTAX, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_what_the_caller_holds_is_not_sent_again(box: Box) -> None:
    for path, accept in (
        (path_of("ct"), ANY_SYNTAX),
        (f"/studies/{STUDY}/series/{STUDY}.20", ANY_SYNTAX),
        (f"{path_of('ct')}/metadata", ""),
        (f"{path_of('ct')}/frames/1", ""),
    ):
        first = box.get(path, accept)
        again = box.get(path, accept, If_None_Match=f'"other", {first.headers["etag"]}')
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert box.get(path, accept, If_None_Match='"other"').status == 200
    assert "last-modified" in first.headers


def test_two_forms_of_one_instance_have_two_tags(box: Box) -> None:
    forms = ("application/dicom; transfer-syntax=*", ANY_SYNTAX, 'multipart/related; type="application/dicom"')
    assert len({box.get(path_of("jpeg_ls"), form).headers["etag"] for form in forms}) == 3


@pytest.mark.parametrize("path", ["", "/frames/1"])
def test_an_impossible_accept_is_answered_with_what_is_possible(box: Box, path: str) -> None:
    reply = box.get(path_of("jpeg_ls") + path, "image/png")
    assert reply.status == 406
    assert JPEG_LS in reply.json["detail"]
    assert NATIVE in reply.json["detail"]
    assert "png" not in reply.json["detail"]


# What viewers, libraries and peers in service send (each was once refused by a product).
IN_SERVICE = {
    "nothing": [],
    "anything": ["*/*"],
    "java": ["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"],
    "viewer list": ["application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*, */*"],
    "many types": [
        f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}, multipart/related; type="image/x-jls"; '
        'transfer-syntax="1.2.840.10008.1.2.4.81", multipart/related; type="image/jp2", '
        'multipart/related; type="image/jpeg", multipart/related; type="application/dicom"; transfer-syntax=*'
    ],
    "national": [NATIONAL],
    "national, ten headers": [member for member in NATIONAL.split(",") if member],
    "national, spaces": [NATIONAL.replace(";", " ; ").replace(",", " ,\t")],
    "national, upper case": [
        NATIONAL.replace("multipart/related", "Multipart/Related").replace("transfer-", "Transfer-")
    ],
    "national, unquoted": [NATIONAL.replace('"', "")],
    "national, other order": [
        "".join(
            f"multipart/related;q=0.5;transfer-syntax=1.2.840.10008.1.2.{s};boundary=**;type=application/dicom,"
            for s in TEN
        )
    ],
}


_FOR_FRAMES = [
    ["multipart/related; type=application/octet-stream; transfer-syntax=*"],
    ['multipart/related; type="application/octet-stream"; transfer-syntax=*'],
]


@pytest.mark.parametrize(
    ("below", "fields"),
    [(below, fields) for below in ("", "/frames/1") for fields in IN_SERVICE.values()]
    + [("/frames/1", fields) for fields in _FOR_FRAMES],
)
def test_every_accept_in_service_is_answered_with_stored_bytes(
    box: Box, originals: dict[str, bytes], fields: list[str], below: str
) -> None:
    with socket.create_connection(("127.0.0.1", box.port), timeout=60) as raw:
        lines = [
            f"GET {path_of('jpeg_ls')}{below} HTTP/1.1",
            "Host: box",
            "Connection: close",
            "KOS-SOPInstanceUID: 1.2.3",
        ]
        raw.sendall("\r\n".join([*lines, *(f"aCCept: {field}" for field in fields), "", ""]).encode())
        head, _, body = b"".join(iter(lambda: raw.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    kept = pydicom.dcmread(BytesIO(originals["jpeg_ls"]))
    assert next(generate_frames(kept.PixelData, number_of_frames=1)) in body
    assert JPEG_LS.encode() in body[:300]
