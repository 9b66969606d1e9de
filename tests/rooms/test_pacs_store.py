"""The C-STORE SCU sends the bytes of the files, each in its own transfer syntax, and tells when one is refused."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pynetdicom import AE, evt

from drimbox.errors import Malformed, NotAcceptable, Unavailable
from drimbox.pacs.store import send_files

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"


def make(path: Path, syntax: str, number: int) -> None:
    """A small CT image. What is asserted about it is what is in the file."""
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CT, f"1.2.3.{number}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2", "1.2.3"
    image.PatientID, image.AccessionNumber, image.Modality = "PID1", "ACC1", "CT"
    image.Rows = image.Columns = 2
    image.BitsAllocated, image.SamplesPerPixel = 8, 1
    image.PixelData = b"\x01\x02\x03\x04" if syntax != JPEG_LS else pydicom.encaps.encapsulate([b"\xff\xd8 not pixels"])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = syntax == JPEG_LS
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = CT
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)


def data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    make(tmp_path / "one.dcm", EXPLICIT, 1)
    make(tmp_path / "sub" / "two", IMPLICIT, 2)
    make(tmp_path / "three.dcm", JPEG_LS, 3)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").touch()
    return tmp_path


@contextmanager
def archive(
    status: int = 0x0000, syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT, JPEG_LS)
) -> Iterator[tuple[int, Any]]:
    """An independent SCP that keeps what it gets, by SOP Instance UID."""
    received: dict[str, tuple[str, bytes]] = {}

    def store(event: Any) -> int:
        data = event.request.DataSet.getvalue()
        received[event.request.AffectedSOPInstanceUID] = (event.context.transfer_syntax, data)
        return status

    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(CT, list(syntaxes))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield server.socket.getsockname()[1], received
    finally:
        server.shutdown()


def test_the_bytes_of_the_files_arrive(study: Path):
    with archive() as (port, received):
        sent = send_files([study], "127.0.0.1", port, "MODALITY", "ARCHIVE")
    files = {"1.2.3.1": study / "one.dcm", "1.2.3.2": study / "sub" / "two", "1.2.3.3": study / "three.dcm"}
    assert {item.sop_uid: item.path for item in sent} == files
    for item in sent:
        assert received[item.sop_uid] == (item.transfer_syntax, data_set(item.path))
        assert item.digest == hashlib.sha256(data_set(item.path)).hexdigest()
        assert (item.study_uid, item.patient_id, item.accession_number) == ("1.2", "PID1", "ACC1")
        assert (item.modality, item.has_pixels) == ("CT", True)


def test_a_status_that_is_not_success_is_raised(study: Path):
    with archive(status=0xA700) as (port, _), pytest.raises(Unavailable, match="A700"):
        send_files([study / "one.dcm"], "127.0.0.1", port, "MODALITY", "ARCHIVE")


def test_a_refused_transfer_syntax_is_raised(study: Path):
    with archive(syntaxes=(EXPLICIT,)) as (port, _), pytest.raises(NotAcceptable):
        send_files([study], "127.0.0.1", port, "MODALITY", "ARCHIVE")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets the socket
def test_nobody_there_and_nothing_to_send(study: Path, tmp_path: Path):
    with archive() as (port, _):
        pass
    with pytest.raises(Unavailable):
        send_files([study], "127.0.0.1", port, "MODALITY", "ARCHIVE")
    with pytest.raises(Malformed):
        send_files([study / "notes.txt"], "127.0.0.1", port, "MODALITY", "ARCHIVE")
