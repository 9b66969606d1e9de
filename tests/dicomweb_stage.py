"""A box with its DICOMweb door on real sockets, and the instances it holds. The data are pydicom's own, renamed."""

import asyncio
import http.client
import threading
from collections.abc import Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pydicom
import uvicorn
from archiving import flip
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from drimbox.audit.trail import Trail
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicomweb.door import DicomWeb
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.flows.remove import Remove
from drimbox.flows.retrieve import Retrieve
from drimbox.flows.store import Store
from drimbox.pixels.cache import FrameCache
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
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

TEN = ("4.70", "4.80", "4.91", "4.50", "4.51", "4.100", "4.101", "4.102", "4.103", "1")
NATIONAL = "".join(
    f'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.{s};q=0.5;boundary=**,' for s in TEN
)
NATIVE_ONLY = f'multipart/related; type="application/dicom"; transfer-syntax={NATIVE}'
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'

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

    def __init__(
        self, folder: Path, only_study: str = "", *, lossy: bool = False, max_object_bytes: int = 2**30
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.folder = folder
        self.archive = Archive(folder / "own")
        self.trail = Trail(folder / "trail.jsonl")
        admit = Admit(Settings(), self.trail)
        self.ingest = Ingest(self.archive, admit, max_object_bytes)
        self.pixels = self.run(self._start_pixels(lossy))
        self.retrieve = Retrieve(self.archive, admit, self.pixels, only_study)
        door = DicomWeb(self.retrieve, ROOT)
        if not only_study:
            door = DicomWeb(self.retrieve, ROOT, Store(self.ingest), Remove(self.archive, admit))
        config = uvicorn.Config(
            door,  # type: ignore[arg-type]
            port=0, lifespan="off", ws="none", log_config=None, access_log=False, root_path="",
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.serving = asyncio.run_coroutine_threadsafe(self.server.serve(), self.loop)
        while not self.server.started:
            self.run(asyncio.sleep(0.005))
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]

    async def _start_pixels(self, lossy: bool) -> Pixels:
        pixels = Pixels(Pool(1), FrameCache(self.folder / "made", 2**24), lossy=lossy)
        await pixels.start()
        return pixels

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(150)

    def keep(self, content: bytes) -> None:
        preface = read_preface(InMemory(content))
        spool = self.ingest.open(preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax)
        spool.write(memoryview(content)[preface.data_set_offset :])
        self.run(self.ingest.instance(spool))

    def get(self, path: str, accept: str = "", method: str = "GET", **headers: str) -> "Reply":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {"Accept": accept, **headers}.items():
                if value:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            reply = connection.getresponse()
            return Reply(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, content_type: str, accept: str = "", **headers: str) -> "Reply":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {"Content-Type": content_type, "Accept": accept, **headers}
            connection.request("POST", path, body, {n.replace("_", "-"): v for n, v in named.items() if v})
            reply = connection.getresponse()
            return Reply(reply.status, reply.getheaders(), reply.read())
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
    """headers: by name in small letters; of several of one name the values are joined by commas (RFC 9110 §5.3)."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers: dict[str, str] = {}
        for name, value in headers:
            self.headers[name.lower()] = ", ".join([*filter(None, [self.headers.get(name.lower())]), value])

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


def data_set_of(content: bytes) -> bytes:
    return content[read_preface(InMemory(content)).data_set_offset :]


def path_of(name: str) -> str:
    series, number, _ = SOURCES[name]
    return f"/studies/{STUDY}/series/{STUDY}.{series}/instances/{STUDY}.{series}.{number}"


def spoil(box: Box, path: str, at: int) -> None:
    """Flip a byte of the kept file of an instance, `at` bytes before its end."""
    study, series, sop = path.split("/")[2::2][:3]
    (held,) = box.run(box.archive.held(study, series, sop))
    flip(box.archive.root, held, -at)
