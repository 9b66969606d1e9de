"""The DICOMweb door over real sockets: dicomweb-client and raw requests, on a real archive."""

import asyncio
import gzip
import http.client
import socket
import threading
from collections.abc import Coroutine, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import pydicom
import pytest
import uvicorn
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from drimbox.audit.trail import Trail
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicomweb import answers
from drimbox.dicomweb.door import DicomWeb
from drimbox.dicomweb.problems import HTTP_STATUS
from drimbox.errors import Unavailable, leaves
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.model import Reader, Trace
from drimbox.pixels.workers import Pixels
from drimbox.settings import Settings
from drimbox.storage.archive import Archive

ROOT = "https://box.example/dicom-web"
STUDY = "1.2.250.1.999.1"
NATIVE = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
RLE = "1.2.840.10008.1.2.5"

# name: (series, instance number, bundled file). One study; one series a modality and syntax.
SOURCES = {
    "ct": (1, 1, "CT_small.dcm"),
    "jpeg_ls": (2, 1, "MR_small_jpeg_ls_lossless.dcm"),
    "rle": (3, 1, "MR_small_RLE.dcm"),
    "implicit": (4, 1, "MR_small_implicit.dcm"),
    "big_endian": (5, 1, "MR_small_bigendian.dcm"),
    "baseline": (6, 1, "examples_ybr_color.dcm"),
    "dose": (7, 1, "rtdose.dcm"),
    "report": (8, 1, "reportsi.dcm"),
    "deflated": (9, 1, "image_dfl.dcm"),
}

T = TypeVar("T")


def as_test_instance(name: str) -> bytes:
    """A bundled file under the UIDs of the test, otherwise untouched."""
    series, number, file = SOURCES[name]
    data_set = pydicom.dcmread(get_testdata_file(file, download=False))
    return renamed(data_set, series, number)


def renamed(data_set: pydicom.Dataset, series: int, number: int) -> bytes:
    data_set.StudyInstanceUID = STUDY
    data_set.SeriesInstanceUID = f"{STUDY}.{series}"
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY}.{series}.{number}")
    data_set.PatientName, data_set.PatientID = "ESSAI^ZOÉ", "IPP-1"
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.StudyDate, data_set.SeriesNumber, data_set.InstanceNumber = "20260105", series, number
    out = BytesIO()
    data_set.save_as(out)
    return out.getvalue()


def big_instance(number: int, frames: int) -> bytes:
    """An uncompressed multi-frame of `frames` times 512 KiB, each frame filled with its own number."""
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    data_set.Rows = data_set.Columns = 512
    data_set.NumberOfFrames = frames
    data_set.PixelData = b"".join(bytes([f + 1]) * (512 * 512 * 2) for f in range(frames))
    return renamed(data_set, 20, number)


class Box:
    """An archive and its door, served by uvicorn on a free port, on a loop of its own thread."""

    def __init__(self, folder: Path, only_study: str = "") -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.folder = folder
        self.archive = Archive(folder / "own")
        self.trail = Trail(folder / "trail.jsonl")
        admit = Admit(Settings(), self.trail)
        self.ingest = Ingest(self.archive, admit, 2**30)
        self.pixels = self.run(self._start_pixels())
        self.retrieve = Retrieve(self.archive, admit, self.pixels, only_study)
        config = uvicorn.Config(
            DicomWeb(self.retrieve, ROOT),  # type: ignore[arg-type]
            port=0, lifespan="off", ws="none", log_config=None, access_log=False, root_path="",
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.serving = asyncio.run_coroutine_threadsafe(self.server.serve(), self.loop)
        while not self.server.started:
            self.run(asyncio.sleep(0.005))
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]

    async def _start_pixels(self) -> Pixels:
        pixels = Pixels(1)
        await pixels.start()
        return pixels

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def keep(self, content: bytes) -> None:
        preface = read_preface(InMemory(content))
        spool = self.ingest.open(preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax)
        spool.write(memoryview(content)[preface.data_set_offset :])
        self.run(self.ingest.instance(spool, Reader("test", "dicom", "127.0.0.1")))

    def get(self, path: str, accept: str = "", method: str = "GET", **headers: str) -> "Reply":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {"Accept": accept, **headers}.items():
                if value:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def traces(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.folder / "trail.jsonl").read_bytes().splitlines()]

    def close(self) -> None:
        self.server.should_exit = True
        self.serving.result(10)
        self.run(self.pixels.stop())
        self.archive.close()
        self.trail.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def parts(self) -> list[tuple[dict[str, str], bytes]]:
        """The parts of a multipart, read to the letter."""
        boundary = self.headers["content-type"].rpartition("boundary=")[2].encode()
        opening, *sections = self.body.split(b"--" + boundary)
        assert opening == b""
        assert sections.pop() == b"--\r\n"
        found = []
        for section in sections:
            head, _, content = section.partition(b"\r\n\r\n")
            assert head.startswith(b"\r\n")
            assert content.endswith(b"\r\n")
            lines = head.decode().strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            found.append((headers, content[:-2]))
        return found


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    return {name: as_test_instance(name) for name in SOURCES}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, originals: dict[str, bytes]) -> Iterator[Box]:
    served = Box(tmp_path_factory.mktemp("box"))
    try:
        for content in originals.values():
            served.keep(content)
        for number in (1, 2, 3):
            served.keep(big_instance(number, 5))
        yield served
    finally:
        served.close()


@pytest.fixture
def client(box: Box) -> DICOMwebClient:
    return DICOMwebClient(f"http://127.0.0.1:{box.port}")


def data_set_of(content: bytes) -> bytes:
    return content[read_preface(InMemory(content)).data_set_offset :]


def path_of(name: str) -> str:
    series, number, _ = SOURCES[name]
    return f"/studies/{STUDY}/series/{STUDY}.{series}/instances/{STUDY}.{series}.{number}"


# --- Health, capabilities, what is refused -----------------------------------------------------------------------


def test_the_national_health_probe_is_answered(box: Box) -> None:
    reply = box.get("/", "application/json")
    assert (reply.status, reply.headers["content-type"], reply.json) == (200, "application/json", {"status": "up"})


def test_options_describes_the_service(box: Box) -> None:
    reply = box.get("/studies", method="OPTIONS")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/vnd.sun.wadl+xml"
    assert b"KOS-SOPInstanceUID" in reply.body
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


def test_each_error_leaf_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(leaves())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_refused(box: Box, method: str) -> None:
    reply = box.get(f"/studies/{STUDY}", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/studies/1.2.3", 404),
        ("/studies/1.2.3/metadata", 404),
        (f"/studies/{STUDY}/series/1.2.3", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/9.9/frames/1", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/2", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/0", 404),
        (f"/studies/{STUDY}/series/{STUDY}.8/instances/{STUDY}.8.1/frames/1", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/1-2", 400),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/bulkdata/", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/rendered", 404),
        ("/studies/../../etc/passwd", 404),
        ("/studies/%2e%2e%2fetc%2fpasswd", 404),
        ("/studies/1.2.3'--", 400),
        ("/studies/" + "1" * 65, 400),
        ("/studies?limit=abc", 400),
        ("/studies?" + "a=1&" * 101, 400),
        ("/studies?PatientID=" + "x" * 5000, 400),
        ("/studies?PatientID=%ff", 400),
    ],
)
def test_a_refusal_is_a_problem_document(box: Box, path: str, status: int) -> None:
    reply = box.get(path)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json["status"] == status
    assert set(reply.json) <= {"type", "title", "status", "detail", "incident"}
    assert len(reply.json["incident"]) == 16
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert b"passwd" not in reply.body


def test_a_hostile_parameter_is_not_echoed(box: Box) -> None:
    reply = box.get("/studies?%3Cscript%3Ealert(1)%3C/script%3E=1")
    assert reply.status == 400
    assert b"script" not in reply.body


# --- QIDO-RS -----------------------------------------------------------------------------------------------------


def test_a_client_finds_the_study(box: Box, client: DICOMwebClient) -> None:
    (found,) = client.search_for_studies(search_filters={"PatientID": "IPP-1", "StudyDate": "20260101-20260131"})
    assert found["0020000D"]["Value"] == [STUDY]
    assert found["00081190"]["Value"] == [f"{ROOT}/studies/{STUDY}"]
    assert found["00201206"]["Value"] == [len(SOURCES) + 1]
    assert found["00201208"]["Value"] == [len(SOURCES) + 3]


def test_a_client_finds_series_and_instances(box: Box, client: DICOMwebClient) -> None:
    series = client.search_for_series(STUDY, search_filters={"SeriesInstanceUID": f"{STUDY}.2"})
    assert [s["00081190"]["Value"] for s in series] == [[f"{ROOT}/studies/{STUDY}/series/{STUDY}.2"]]
    instances = client.search_for_instances(STUDY, f"{STUDY}.20")
    assert [i["00080018"]["Value"][0] for i in instances] == [f"{STUDY}.20.{n}" for n in (1, 2, 3)]
    assert instances[0]["00081190"]["Value"] == [
        f"{ROOT}{path_of('ct').rpartition('/series/')[0]}/series/{STUDY}.20/instances/{STUDY}.20.1"
    ]


def test_nothing_found_is_an_empty_array(box: Box, client: DICOMwebClient) -> None:
    reply = box.get("/studies?PatientID=NOBODY")
    assert (reply.status, reply.headers["content-type"], reply.json) == (200, "application/dicom+json", [])
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []


def test_host_and_forwarded_headers_have_no_say_in_urls(box: Box) -> None:
    evil = {"X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example", "X_Forwarded_Proto": "gopher"}
    for path in ("/studies", f"{path_of('ct')}/metadata", path_of("ct")):
        reply = box.get(path, **evil)
        assert reply.status == 200
        assert b"evil.example" not in reply.body
        assert "127.0.0.1" not in reply.body.decode("latin-1")


def test_a_page_says_that_more_can_be_asked_for(box: Box) -> None:
    first = box.get(f"/studies/{STUDY}/instances?limit=2")
    assert len(first.json) == 2
    assert first.headers["warning"] == f'299 {ROOT} "There are additional results that can be requested"'
    rest = box.get(f"/studies/{STUDY}/instances?offset=2")
    assert len(rest.json) == len(SOURCES) + 1
    assert "warning" not in rest.headers


def test_fuzzy_matching_is_answered_with_a_warning(box: Box) -> None:
    reply = box.get("/studies?fuzzymatching=true&PatientName=essai*")
    assert len(reply.json) == 1
    assert "fuzzymatching" in reply.headers["warning"]


def test_accents_and_case_do_not_matter_in_names(box: Box) -> None:
    assert len(box.get("/studies?PatientName=ESSAI%5EZoe").json) == 1


def test_a_search_may_be_refused_by_its_accept(box: Box) -> None:
    assert box.get("/studies", "text/html").status == 406
    assert box.get("/studies?accept=application/dicom+json", "text/html").status == 200


# --- Instances ---------------------------------------------------------------------------------------------------

_TEN = ("4.70", "4.80", "4.91", "4.50", "4.51", "4.100", "4.101", "4.102", "4.103", "1")
NATIONAL = "".join(
    f'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.{s};q=0.5;boundary=**,'
    for s in _TEN
)
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'


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
            for s in _TEN
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
    with socket.create_connection(("127.0.0.1", box.port), timeout=10) as raw:
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


# --- Frames ------------------------------------------------------------------------------------------------------


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


# --- Metadata and bulk data --------------------------------------------------------------------------------------


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


# --- Promises ----------------------------------------------------------------------------------------------------


def test_every_access_is_traced_and_searches_without_values(box: Box) -> None:
    before = len(box.traces())
    box.get("/studies?PatientName=ESSAI*")
    box.get(f"{path_of('ct')}/frames/1")
    box.get("/studies/1.2.3")
    search, frame, unknown = box.traces()[before:]
    assert (search["action"], search["detail"]) == ("search", "study: 00100010")
    assert (frame["action"], frame["study_uid"], frame["who"]) == ("retrieve", STUDY, "loopback")
    assert unknown["study_uid"] == "1.2.3"


def test_no_trail_no_access(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(trace: Trace) -> None:
        raise Unavailable("trail", "cannot be written")

    monkeypatch.setattr(box.trail, "write", fail)
    for path in ("/studies", path_of("ct"), f"{path_of('ct')}/metadata", f"{path_of('ct')}/frames/1"):
        reply = box.get(path)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert set(reply.json) == {"type", "title", "status", "detail", "incident"}


def spoil(box: Box, path: str, at: int) -> None:
    """Flip a byte of the kept file of an instance, `at` bytes before its end."""
    study, series, sop = path.split("/")[2::2][:3]
    (held,) = box.run(box.archive.held(study, series, sop))
    file = box.archive.path(held)
    file.chmod(0o640)
    content = bytearray(file.read_bytes())
    content[-at] ^= 0xFF
    file.write_bytes(content)


def test_spoiled_bytes_are_never_served_as_good(tmp_path: Path, originals: dict[str, bytes]) -> None:
    box = Box(tmp_path)
    try:
        box.keep(originals["ct"])
        box.keep(big_instance(1, 5))
        big = f"/studies/{STUDY}/series/{STUDY}.20/instances/{STUDY}.20.1"
        spoil(box, path_of("ct"), 400)
        spoil(box, big, 1000)
        for path in (path_of("ct"), f"{path_of('ct')}/frames/1", f"{big}/frames/5"):
            reply = box.get(path)
            assert (reply.status, reply.headers["content-type"]) == (500, "application/problem+json")
            assert set(reply.json) == {"type", "title", "status", "incident"}
        assert box.get(f"{big}/frames/1").status == 200
        # The first chunks of the large one have left when the fault is seen: the answer is broken off.
        with pytest.raises(http.client.IncompleteRead):
            box.get(big)
    finally:
        box.close()


def test_a_visit_shows_one_study_only(tmp_path: Path, originals: dict[str, bytes]) -> None:
    box = Box(tmp_path, only_study="1.2.250.1.999.2")
    try:
        box.keep(originals["ct"])
        other = pydicom.dcmread(BytesIO(originals["ct"]))
        visited = renamed(other, 30, 1).replace(STUDY.encode() + b"\x00", b"1.2.250.1.999.2\x00")
        box.keep(visited)
        assert [s["0020000D"]["Value"] for s in box.get("/studies").json] == [["1.2.250.1.999.2"]]
        assert box.get(f"/studies?StudyInstanceUID={STUDY}").json == []
        assert box.get(f"/studies/{STUDY}/series").json == []
        assert box.get(path_of("ct")).status == 404
        assert box.get(f"{path_of('ct')}/frames/1").status == 404
        assert box.get(f"/studies/{STUDY}/metadata").status == 404
        assert box.get("/studies/1.2.250.1.999.2").status == 200
    finally:
        box.close()


def a_scope(path: str, root_path: str = "") -> dict[str, Any]:
    """A request as a server tells it to the application."""
    return {
        "type": "http", "method": "GET", "path": path, "root_path": root_path, "query_string": b"",
        "headers": [(b"accept", f"application/json, {ANY_SYNTAX}".encode())], "client": ("127.0.0.1", 1),
    }  # fmt: skip


async def test_a_stream_stops_when_nobody_reads_and_holds_one_chunk_at_a_time(box: Box) -> None:
    sent: list[int] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if sent:
            await gone.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(len(message.get("body", b"")))
        if len(sent) == 3:
            gone.set()
        await asyncio.sleep(0)

    await DicomWeb(box.retrieve, ROOT)(a_scope(f"/studies/{STUDY}/series/{STUDY}.20"), receive, send)
    assert 3 <= len(sent) < 9  # nine chunks of a MiB make the three instances
    assert max(sent) < 2**20 + 1000


async def test_a_caller_who_never_reads_is_dropped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "WRITE_TIMEOUT_S", 0.01)
    sent = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            await asyncio.Event().wait()

    await DicomWeb(box.retrieve, ROOT)(a_scope(f"/studies/{STUDY}/series/{STUDY}.20"), receive, send)
    assert len(sent) == 3
    assert sent[-1]["more_body"]


async def test_it_answers_wherever_it_is_mounted(box: Box) -> None:
    for path, root_path in (("/visits/7/dicom-web/studies", "/visits/7/dicom-web"), ("/studies", "")):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await DicomWeb(box.retrieve, ROOT)(a_scope(path, root_path), send, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 200
        assert orjson.loads(sent[1]["body"])[0]["00081190"]["Value"] == [f"{ROOT}/studies/{STUDY}"]


async def test_two_hundred_readers_at_once_are_all_served(box: Box) -> None:
    async def read(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
        path = f"/studies/{STUDY}/series/{STUDY}.20/instances/{STUDY}.20.{number % 3 + 1}/frames/{number % 5 + 1}"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAccept: application/octet-stream\r\n\r\n".encode()
        )
        content = await reader.read()
        writer.close()
        await writer.wait_closed()
        return content.partition(b"\r\n\r\n")[2]

    for number, content in enumerate(await asyncio.gather(*map(read, range(200)))):
        assert content == bytes([number % 5 + 1]) * (512 * 512 * 2)
