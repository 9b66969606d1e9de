"""Real senders, the real Ingest, a real archive: what is kept is byte for byte what was sent."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from archiving import served
from ledger import kept_records
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from drimbox.audit.trail import Trail
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.settings import Settings
from drimbox.storage.archive import Archive

sys.path.append(str(Path(__file__).parent))
from dicom_scp_stage import Stage, open_door
from raw_scu import CT, EXPLICIT, RawScu

STUDY, SERIES = "1.2.826.0.1.3680043.10.9999.1", "1.2.826.0.1.3680043.10.9999.1.1"
DATA = Path(os.environ.get("DRIMBOX_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
STORESCU, ECHOSCU = Path("/usr/bin/storescu"), Path("/usr/bin/echoscu")  # not pynetdicom's programs of the same name

needs_dcmtk = pytest.mark.skipif(not (STORESCU.exists() and ECHOSCU.exists()), reason="DCMTK is not installed")


@dataclass(frozen=True)
class House:
    """An archive with its DIMSE door open."""

    stage: Stage
    archive: Archive

    def kept(self, study_uid: str) -> dict[str, bytes]:
        """Data set bytes by SOP Instance UID."""
        return self.stage.call(served(self.archive, study_uid))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    archive = Archive(tmp_path / "own")
    trail = Trail(tmp_path / "trail")
    try:
        with open_door(Ingest(archive, Admit(Settings(), trail), 2**30)) as stage:
            yield House(stage, archive)
    finally:
        trail.close()
        archive.close()


def data_set(number: int, pixels: int = 512) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, f"{SERIES}.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = STUDY, SERIES
    made.Modality, made.PatientName, made.PatientID = "CT", "ESSAI^PREMIER", "0"
    made.InstanceNumber = number
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = pixels // 128, 128, 16, 12, 11
    made.SamplesPerPixel, made.PixelRepresentation, made.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    made.PixelData = bytes(range(256)) * (pixels // 128)
    return made


def encoded(made: Dataset) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, made)
    return file.getvalue()


def write_file(folder: Path, made: Dataset) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = EXPLICIT
    path = folder / f"{made.SOPInstanceUID}.dcm"
    FileDataset(str(path), made, file_meta=meta, preamble=bytes(128)).save_as(path, enforce_file_format=True)
    return path


@needs_dcmtk
def test_dcmtk_echoes(house: House) -> None:
    host, port = house.stage.place
    subprocess.run([ECHOSCU, "-to", "60", "-aec", "ANYBODY", host, str(port)], check=True, timeout=120)


@needs_dcmtk
def test_dcmtk_stores(house: House, tmp_path: Path) -> None:
    sent = {}
    for number in range(1, 6):
        write_file(tmp_path, data_set(number, 2**17))
        sent[f"{SERIES}.{number}"] = encoded(data_set(number, 2**17))
    host, port = house.stage.place
    command = [STORESCU, "-to", "60", "--max-pdu", "131072", "+sd", "+sp", "*.dcm", host, str(port), tmp_path]
    subprocess.run(command, check=True, timeout=120)
    assert house.kept(STUDY) == sent


def test_pynetdicom_echoes_and_stores(house: House) -> None:
    ae = AE("PEER")
    ae.add_requested_context(CTImageStorage, EXPLICIT)
    ae.add_requested_context(Verification)
    association = ae.associate(*house.stage.place)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    for number in (1, 2):
        made = data_set(number)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = EXPLICIT
        assert association.send_c_store(made).Status == 0
    association.release()
    assert house.kept(STUDY) == {f"{SERIES}.{number}": encoded(data_set(number)) for number in (1, 2)}


def test_sending_twice_is_success_and_other_bytes_are_set_aside(house: House) -> None:
    first, other = encoded(data_set(1)), encoded(data_set(1, 1024))
    with RawScu(house.stage.place) as scu:
        scu.associate()
        assert scu.store(f"{SERIES}.1", first).status == 0x0000
        assert scu.store(f"{SERIES}.1", first).status == 0x0000
        warning = scu.store(f"{SERIES}.1", other)
        scu.release()
    assert warning.status == 0xB000
    assert warning.error_comment.startswith("set aside")
    assert house.kept(STUDY) == {f"{SERIES}.1": first}


@pytest.mark.parametrize("damaged", [b"", b"\0" * 100, encoded(data_set(1))[:200], os.urandom(5000)])
def test_what_is_not_a_data_set_is_refused(house: House, damaged: bytes) -> None:
    with RawScu(house.stage.place) as scu:
        scu.associate()
        assert scu.store(f"{SERIES}.1", damaged).status == 0xC000
        assert scu.store(f"{SERIES}.9", encoded(data_set(1))).status == 0xC000  # not the UID announced
        assert scu.store(f"{SERIES}.1", encoded(data_set(1))).status == 0
        scu.release()
    assert list(house.kept(STUDY)) == [f"{SERIES}.1"]


def test_many_senders_of_one_instance_leave_one_copy(house: House) -> None:
    sent = encoded(data_set(1, 2**16))

    def send(_: int) -> int | None:
        with RawScu(house.stage.place) as scu:
            scu.associate()
            status = scu.store(f"{SERIES}.1", sent).status
            scu.release()
            return status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(24))) == [0] * 24
    assert house.kept(STUDY) == {f"{SERIES}.1": sent}
    assert len(list(kept_records(house.archive.root))) == 1


def test_every_transfer_syntax_is_kept_as_sent(house: House) -> None:
    files = sorted((DATA / "transfer-syntaxes").rglob("*.dcm"))
    if not files:
        pytest.skip(f"no samples: set DRIMBOX_TEST_DATA to a folder with transfer-syntaxes/ (looked in {DATA})")
    seen = set()
    for path in files:
        content = path.read_bytes()
        preface = read_preface(InMemory(content))
        study_uid = str(dcmread(path, specific_tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
        sent = content[preface.data_set_offset :]
        with RawScu(house.stage.place) as scu:
            accept = scu.associate([(preface.sop_class_uid, [preface.transfer_syntax])])
            assert accept.contexts[0].transfer_syntax == preface.transfer_syntax
            status = scu.store(preface.sop_uid, sent, sop_class_uid=preface.sop_class_uid).status
            scu.release()
        if status == 0xB000:  # some samples share their UID with another encoding of them
            assert any(sent in pack.read_bytes() for pack in (house.archive.root / "packs").iterdir()), path.name
        elif not study_uid:  # one sample is of no study
            assert status == 0xC000, path.name
        else:
            assert status == 0, path.name
            assert house.kept(study_uid)[preface.sop_uid] == sent, path.name
        seen.add(preface.transfer_syntax)
    assert len(seen) >= 10
    assert seen <= set(TRANSFER_SYNTAXES)


def test_a_full_archive_refuses_and_recovers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = encoded(data_set(1))
    with RawScu(house.stage.place) as scu:
        scu.associate()
        monkeypatch.setattr(house.archive.volume, "reserve_bytes", shutil.disk_usage(house.archive.root).total)
        assert scu.store(f"{SERIES}.1", sent).status == 0xA700
        monkeypatch.setattr(house.archive.volume, "reserve_bytes", 0)
        assert scu.store(f"{SERIES}.1", sent).status == 0
        scu.release()


def test_the_trail_tells_of_each_association(house: House, tmp_path: Path) -> None:
    with RawScu(house.stage.place) as scu:
        scu.associate(calling="SCANNER 7")
        assert scu.store(f"{SERIES}.1", encoded(data_set(1))).status == 0
        scu.release()
    house.stage.stop()
    told = b"".join(path.read_bytes() for path in tmp_path.rglob("*trail*") if path.is_file()).decode()
    assert "ae:SCANNER 7@127.0.0.1" in told
    assert "1 stored, 0 failed" in told
    assert "ESSAI" not in told
