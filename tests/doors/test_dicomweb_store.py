"""STOW-RS: what is answered, to whom, and what is there afterwards."""

import asyncio
import gzip
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_stage import ROOT, Box, data_set_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import ct, file_bytes

from drimbox.dicom import composing
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicomweb import stow
from drimbox.dicomweb.stow_answer import FAILURE_REASON
from drimbox.errors import leaves

RELATED = 'multipart/related; type="application/dicom"; boundary=b'
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with closing(Box(tmp_path, max_object_bytes=100_000)) as box:
        yield box


def part10(number: int = 1, study: str = "1.2.3", **attributes: Any) -> bytes:
    return file_bytes(ct(1, number, study, **attributes))


def related(*contents: bytes, content_type: str = "application/dicom") -> bytes:
    head = f"--b\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + b"--b--\r\n"


def reasons(told: dict[str, Any], tag: str) -> dict[str, int]:
    return {
        item.get("00081155", {}).get("Value", [""])[0]: item["00081197"]["Value"][0]
        for item in told.get(tag, {}).get("Value", [])
    }


def count(box: Box) -> int:
    return len(box.get("/instances").json)


def test_each_error_leaf_has_a_reason() -> None:
    assert set(FAILURE_REASON) == set(leaves())


def test_an_instance_is_stored_and_given_back_byte_for_byte(box: Box) -> None:
    content = part10()
    reply = box.post("/studies", related(content), RELATED)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/dicom+json")
    url = f"{ROOT}/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
    assert reply.json == {
        "00081190": {"vr": "UR", "Value": [f"{ROOT}/studies/1.2.3"]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": ["1.2.3.1.1"]},
                    "00081190": {"vr": "UR", "Value": [url]},
                }
            ],
        },
    }
    kept = box.get(url.removeprefix(ROOT), "application/dicom; transfer-syntax=*").body
    assert data_set_of(kept) == data_set_of(content)
    assert box.post("/studies", related(content), RELATED).status == 200  # again: kept once, success again
    assert count(box) == 1


def test_a_client_stores_a_hundred_instances(box: Box) -> None:
    client = DICOMwebClient(f"http://127.0.0.1:{box.port}")
    told = client.store_instances([ct(1, number, "1.2.4") for number in range(1, 101)])
    assert len(told.ReferencedSOPSequence) == 100
    assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == [
        f"1.2.4.1.{number}" for number in range(1, 101)
    ]
    assert "FailedSOPSequence" not in told
    assert len(box.get("/studies/1.2.4/instances").json) == 100


def test_what_comes_and_who_sent_it_is_traced(box: Box) -> None:
    box.post("/studies/1.2.3", related(part10(), b"junk"), RELATED)
    begun, ended = box.traces()
    assert (begun["action"], begun["outcome"], begun["study_uid"], begun["who"]) == (
        "store", "success", "1.2.3", "loopback",
    )  # fmt: skip
    assert (ended["action"], ended["outcome"], ended["detail"]) == ("store", "failed", "1 stored, 1 failed")


def test_one_bad_part_does_not_hold_up_the_others(box: Box) -> None:
    lying = part10(2).replace(b"1.2.3.1.2", b"1.2.3.1.9", 1)  # the preface names another instance than the data set
    no_image = part10(3, SOPClassUID="1.2.840.10008.5.1.4.31")  # a worklist is no instance
    bodies = related(part10(1), b"junk", lying, no_image, b"", part10(4)[:700], part10(5))
    reply = box.post("/studies", bodies, RELATED)
    assert reply.status == 202
    stored = [item["00081155"]["Value"][0] for item in reply.json["00081199"]["Value"]]
    assert stored[0] == "1.2.3.1.1"
    assert stored[-1] == "1.2.3.1.5"
    assert reasons(reply.json, "00081198")["1.2.3.1.9"] == 0xC000
    assert reasons(reply.json, "00081198")["1.2.3.1.3"] == 0x0122
    assert [item["00081197"]["Value"] for item in reply.json["0008119A"]["Value"]] == [[0xC000], [0xC000]]
    assert count(box) == len(stored)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"junk", 0xC000), (b"", 0xC000), (b"\0" * 128 + b"DICM" + b"\0" * 200_000, 0xC000)],
)
def test_nothing_but_junk_is_a_conflict(box: Box, content: bytes, reason: int) -> None:
    reply = box.post("/studies", related(content, content), RELATED)
    assert reply.status == 409
    assert [item["00081197"]["Value"][0] for item in reply.json["0008119A"]["Value"]] == [reason, reason]
    assert "00081199" not in reply.json


def test_only_the_study_of_the_url_is_taken(box: Box) -> None:
    reply = box.post("/studies/1.2.3", related(part10(1), part10(1, "1.2.4")), RELATED)
    assert reply.status == 202
    assert reasons(reply.json, "00081198") == {"1.2.4.1.1": 0xA900}
    reply = box.post("/studies/1.2.3", related(part10(1, "1.2.5")), RELATED)
    assert (reply.status, reasons(reply.json, "00081198")) == (409, {"1.2.5.1.1": 0xA900})
    assert {item["0020000D"]["Value"][0] for item in box.get("/studies").json} == {"1.2.3"}


def test_the_same_uid_with_other_bytes_is_told_and_set_aside(box: Box) -> None:
    box.post("/studies", related(part10()), RELATED)
    reply = box.post("/studies", related(part10(PatientID="OTHER")), RELATED)
    assert reply.status == 202
    assert [item["00081196"]["Value"] for item in reply.json["00081199"]["Value"]] == [[0xB000]]
    assert [item["00100020"]["Value"] for item in box.get("/studies").json] == [["IPP101"]]


def test_a_preamble_that_is_a_program_is_not_kept(box: Box) -> None:
    polyglot = b"MZ\x90\x00".ljust(128, b"\x90") + part10()[128:]
    assert box.post("/studies", related(polyglot), RELATED).status == 200
    kept = box.get("/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1", "application/dicom; transfer-syntax=*").body
    assert kept[:132] == bytes(128) + b"DICM"
    assert data_set_of(kept) == data_set_of(polyglot)


def test_a_silent_preface_is_completed_from_the_data_set(box: Box) -> None:
    assert box.post("/studies", related(data_set_of(part10())), RELATED).status == 200


def test_one_instance_may_come_without_parts(box: Box) -> None:
    assert box.post("/studies", part10(), "application/dicom").status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related; type=application/dicom; boundary=b",
        'Multipart/Related; Boundary="b"; Type="Application/DICOM"',
        'multipart/related;boundary=b;type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1',
        "multipart/related; boundary=b",
    ],
)
def test_content_types_as_clients_write_them(box: Box, content_type: str) -> None:
    assert box.post("/studies", related(part10()), content_type).status == 200


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("", ""),
        ("text/plain", ""),
        ("multipart/form-data; boundary=b", ""),
        ('multipart/related; type="image/jpeg"; boundary=b', ""),
        (RELATED, "gzip"),
    ],
)
def test_what_cannot_be_read_at_all_is_415(box: Box, content_type: str, encoding: str) -> None:
    body = related(part10())
    reply = box.post("/studies", gzip.compress(body) if encoding else body, content_type, Content_Encoding=encoding)
    assert (reply.status, reply.headers["content-type"]) == (415, "application/problem+json")
    assert 'multipart/related; type="application/dicom"' in reply.headers["accept"]
    assert count(box) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"no multipart",
        related(part10())[:-8],
        b"--b\r\n" + b"X: " + b"x" * 10_000 + b"\r\n\r\n",
        b"--b\r\nContent-Type: a\r\n Folded: b\r\n\r\nx\r\n--b--",
    ],
    ids=["empty", "no part", "no multipart", "cut", "large header", "folded header"],
)
def test_a_body_that_is_no_multipart_is_400(box: Box, body: bytes) -> None:
    reply = box.post("/studies", body, RELATED)
    assert reply.status in (400, 413)
    assert reply.headers["content-type"] == "application/problem+json"
    assert count(box) == 0


def test_what_came_before_a_fault_is_kept_and_told(box: Box) -> None:
    body = related(part10(1), part10(2), part10(3))
    reply = box.post("/studies", body[: len(body) - 300], RELATED)
    assert reply.status == 202
    assert [item["00081155"]["Value"][0] for item in reply.json["00081199"]["Value"]] == ["1.2.3.1.1", "1.2.3.1.2"]
    assert [item["00081197"]["Value"] for item in reply.json["0008119A"]["Value"]] == [[0xC000]]
    assert count(box) == 2


@pytest.mark.parametrize("boundary", ["", "x" * 201, "b; boundary=c", '"b'])
def test_a_boundary_is_of_the_standard(box: Box, boundary: str) -> None:
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    assert box.post("/studies", related(part10()), content_type).status == 400


def test_an_instance_past_the_limit_is_413(box: Box) -> None:
    large = part10(PixelData=bytes(200_000))
    reply = box.post("/studies", related(large), RELATED)
    assert (reply.status, reasons(reply.json, "00081198")) == (413, {"1.2.3.1.1": 0xA700})
    reply = box.post("/studies", related(large, part10(2)), RELATED)
    assert (reply.status, reasons(reply.json, "00081198")) == (202, {"1.2.3.1.1": 0xA700})


def test_the_answer_may_be_xml(box: Box) -> None:
    reply = box.post("/studies", related(part10()), RELATED, "application/dicom+xml")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/dicom+xml")
    assert b'keyword="ReferencedSOPSequence"' in reply.body
    assert box.post("/studies", related(part10()), RELATED, "text/html").status == 406


def test_a_sender_that_goes_away_leaves_only_what_was_whole(box: Box) -> None:
    body = related(part10(1), part10(2))
    cut = body.index(b"--b\r\n", 10) + 400
    with socket.create_connection(("127.0.0.1", box.port)) as caller:
        head = f"POST /studies HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body[:cut])
        while count(box) == 0:
            box.run(asyncio.sleep(0.005))
    while box.traces()[-1]["detail"] != "1 stored, 1 failed":
        box.run(asyncio.sleep(0.005))
    assert [item["00080018"]["Value"][0] for item in box.get("/instances").json] == ["1.2.3.1.1"]


def test_a_visit_takes_nothing(tmp_path: Path) -> None:
    with closing(Box(tmp_path, only_study="1.2.3")) as box:
        reply = box.post("/studies", related(part10()), RELATED)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# --- Metadata and bulk data -------------------------------------------------------------------------------------------

AS_JSON = 'multipart/related; type="application/dicom+json"; boundary=b'
AS_XML = 'multipart/related; type="application/dicom+xml"; boundary=b'


def metadata_of(made: pydicom.Dataset) -> dict[str, Any]:
    """As pydicom tells it, with the pixels in a part of their own."""
    told: dict[str, Any] = made.to_json_dict()
    told["7FE00010"] = {"vr": "OW", "BulkDataURI": "pixels"}
    return told


def composed(metadata: bytes, *bulk: tuple[str, str, bytes], kind: str = "application/dicom+json") -> bytes:
    parts = [f"--b\r\nContent-Type: {kind}\r\n\r\n".encode() + metadata]
    parts += [f"--b\r\nContent-Type: {t}\r\nContent-Location: {at}\r\n\r\n".encode() + c for at, t, c in bulk]
    return b"\r\n".join(parts) + b"\r\n--b--"


def stored(box: Box, study: str = "1.2.3") -> pydicom.Dataset:
    url = f"/studies/{study}/series/{study}.1/instances/{study}.1.1"
    return pydicom.dcmread(BytesIO(box.get(url, "application/dicom; transfer-syntax=*").body))


def test_metadata_and_bulk_data_become_an_instance(box: Box) -> None:
    made = ct(study="1.2.3", SpecificCharacterSet="ISO_IR 192", PatientName="Lefèvre^Zoé", WindowCenter=["40.5", "7"])
    body = composed(orjson.dumps([metadata_of(made)]), ("pixels", "application/octet-stream", made.PixelData))
    reply = box.post("/studies/1.2.3", body, AS_JSON)
    assert reply.status == 200
    kept = stored(box)
    assert kept.PixelData == made.PixelData
    assert kept.PatientName == "Lefèvre^Zoé"
    assert [float(value) for value in kept.WindowCenter] == [40.5, 7.0]
    del kept.PixelData, made.PixelData
    kept.file_meta = made.file_meta
    assert kept == made


def test_one_compressed_frame_keeps_its_syntax(box: Box) -> None:
    made = ct(study="1.2.3")
    frame = b"\xff\xd8\xff\xd9\x00"
    jpeg_ls = "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"
    body = composed(orjson.dumps([metadata_of(made)]), ("pixels", jpeg_ls, frame))
    assert box.post("/studies", body, AS_JSON).status == 200
    kept = stored(box)
    assert kept.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
    assert box.get("/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/frames/1", "image/jls").body == frame + b"\0"


def test_xml_metadata_become_an_instance(box: Box) -> None:
    made = ct(study="1.2.3")
    attributes = "".join(
        f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="x"><Value number="1">{value}</Value></DicomAttribute>'
        for tag, vr, value in [
            ("00080016", "UI", CT), ("00080018", "UI", "1.2.3.1.1"), ("0020000D", "UI", "1.2.3"),
            ("0020000E", "UI", "1.2.3.1"), ("00280010", "US", 16), ("00280011", "US", 16), ("00280100", "US", 16),
            ("00280002", "US", 1), ("00280004", "CS", "MONOCHROME2"), ("00281050", "DS", "40.50"),
        ]
    )  # fmt: skip
    document = f"""<?xml version="1.0"?>
      <NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">{attributes}
      <DicomAttribute tag="00090002" vr="LO" privateCreator="ACME"><Value number="1">mine</Value></DicomAttribute>
      <DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic><FamilyName>Lefèvre</FamilyName>
        <GivenName>Zoé</GivenName></Alphabetic></PersonName></DicomAttribute>
      <DicomAttribute tag="00400275" vr="SQ"><Item number="1"><DicomAttribute tag="00400009" vr="SH">
        <Value number="1">SPS1</Value></DicomAttribute></Item></DicomAttribute>
      <DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="http://x/1"/></DicomAttribute></NativeDicomModel>"""
    bulk = ("http://x/1", "application/octet-stream", made.PixelData)
    reply = box.post("/studies", composed(document.encode(), bulk, kind="application/dicom+xml"), AS_XML)
    assert reply.status == 200
    kept = stored(box)
    assert kept.PixelData == made.PixelData
    assert kept.PatientName == "Lefèvre^Zoé"
    assert kept.RequestAttributesSequence[0].ScheduledProcedureStepID == "SPS1"
    assert kept.private_block(0x0009, "ACME")[0x02].value == "mine"
    assert str(kept.WindowCenter) == "40.50"


def attribute(tag: str, vr: Any, **told: Any) -> dict[str, Any]:
    return {**orjson.loads(orjson.dumps(metadata_of(ct(study="1.2.3")))), tag: {"vr": vr, **told}}


@pytest.mark.parametrize(
    "metadata",
    [
        5,
        "x",
        [[]],
        {},
        attribute("0010", "LO", Value=["x"]),
        attribute("00100020", "XX", Value=["x"]),
        attribute("00100020", ["LO"], Value=["x"]),
        attribute("00100020", "LO", Value="x"),
        attribute("00100020", "LO", Value=[["x"]]),
        attribute("00100020", "LO", Value=[{"Alphabetic": "x"}]),
        attribute("00100020", "LO", Value=["x" * 70_000]),
        attribute("00100010", "PN", Value=[{"Alphabetic": 5}]),
        attribute("00280010", "US", Value=["sixteen"]),
        attribute("00280010", "US", Value=[70_000]),
        attribute("00280010", "US", Value=[True]),
        attribute("00280010", "US", Value=[None]),
        attribute("00282110", "AT", Value=["0010"]),
        attribute("00420011", "OB", InlineBinary="é"),
        attribute("00420011", "OB", InlineBinary=5),
        attribute("00420011", "OB", BulkDataURI="elsewhere"),
        attribute("00420011", "OB", BulkDataURI=["elsewhere"]),
        attribute("00080018", "UI", Value=["../etc"]),
        attribute("00080018", "UI"),
        attribute("00400275", "SQ", Value=[5]),
        attribute("00400275", "SQ", Value=[{"00400009": 5}]),
    ],
    ids=lambda told: orjson.dumps(told).decode()[-60:],
)
def test_metadata_that_are_not_of_the_model_are_a_conflict(box: Box, metadata: Any) -> None:
    body = composed(orjson.dumps([metadata]), ("pixels", "application/octet-stream", bytes(512)))
    reply = box.post("/studies", body, AS_JSON)
    assert reply.status == 409
    assert count(box) == 0


def test_metadata_nested_too_deep_are_refused(box: Box) -> None:
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"00400275": {"vr": "SQ", "Value": [deep]}}
    body = composed(orjson.dumps([attribute("00400275", "SQ", Value=[deep])]), ("pixels", "a/b", bytes(512)))
    assert box.post("/studies", body, AS_JSON).status == 409


@pytest.mark.parametrize("metadata", [b"", b"{", b"[1,", b"\xff", b"<a/>"])
def test_metadata_that_are_no_json_are_400(box: Box, metadata: bytes) -> None:
    assert box.post("/studies", composed(metadata), AS_JSON).status == 400


@pytest.mark.parametrize(
    "metadata",
    [b"", b"<a/>", b"<NativeDicomModel", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"],
)
def test_metadata_that_are_no_native_model_are_400(box: Box, metadata: bytes) -> None:
    assert box.post("/studies", composed(metadata, kind="application/dicom+xml"), AS_XML).status == 400


def test_bulk_data_have_a_limit_in_all(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow, "MOST_BULK_BYTES", 2000)
    body = composed(orjson.dumps([metadata_of(ct())]), ("pixels", "application/octet-stream", bytes(2000)))
    assert box.post("/studies", body, AS_JSON).status == 413


def test_two_bulk_data_of_one_name_are_refused(box: Box) -> None:
    twice = ("pixels", "application/octet-stream", bytes(512))
    assert box.post("/studies", composed(b"[]", twice, twice), AS_JSON).status == 400


def test_inline_binary_needs_no_part(box: Box) -> None:
    made = ct(study="1.2.3")
    told = metadata_of(made)
    told["7FE00010"] = {"vr": "OW", "InlineBinary": b64encode(made.PixelData).decode()}
    assert box.post("/studies", orjson.dumps(told), "application/dicom+json").status == 200
    assert stored(box).PixelData == made.PixelData


def test_what_is_composed_is_written_as_the_standard_says() -> None:
    """The syntaxes a compressed part may name are ones we know to encapsulate."""
    assert all(TRANSFER_SYNTAXES[uid].encapsulated for uid in composing._SYNTAX_OF.values())


# --- Whatever comes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with closing(Box(tmp_path_factory.mktemp("store"), max_object_bytes=100_000)) as box:
        yield box


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_body_is_never_a_bug(house: Box, data: st.DataObject) -> None:
    whole, content_type = data.draw(
        st.sampled_from(
            [
                (related(part10(1), part10(2)), RELATED),
                (composed(orjson.dumps([metadata_of(ct())]), ("pixels", "image/jls", bytes(512))), AS_JSON),
            ]
        )
    )
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(body)) | st.integers(0, len(body)))
    reply = house.post("/studies", bytes(body[:cut]), content_type)
    assert reply.status in (200, 202, 400, 409, 413)
