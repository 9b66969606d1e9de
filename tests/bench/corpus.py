"""A CT corpus, the same bytes on every machine: 512 x 512 of 16 bits, smooth with noise, a header like a scanner's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from drimbox.dicom.part10 import InMemory, read_preface

ROOT = "1.2.826.0.1.3680043.10.9999.5"
SIDE = 512
PICTURES = 12  # different ones in a series; the others are these, shifted
CT = str(CTImageStorage)
EXPLICIT = str(ExplicitVRLittleEndian)
HEADERS_A_STUDY = 100


@dataclass(frozen=True)
class DataSet:
    """One data set as a C-STORE carries it, in Explicit VR Little Endian."""

    sop_class_uid: str
    sop_uid: str
    content: bytes | memoryview


@dataclass(frozen=True)
class Corpus:
    """files: by series, in order. data_bytes: of all data sets together, as files."""

    files: tuple[tuple[Path, ...], ...]
    data_bytes: int

    @property
    def count(self) -> int:
        return sum(len(series) for series in self.files)

    def data_sets(self) -> Iterator[DataSet]:
        for path in (path for series in self.files for path in series):
            content = path.read_bytes()
            preface = read_preface(InMemory(content))
            yield DataSet(preface.sop_class_uid, preface.sop_uid, memoryview(content)[preface.data_set_offset :])


def make_headers(count: int, first: int = 1, a_study: int = HEADERS_A_STUDY) -> Iterator[DataSet]:
    """Instances of a scanner's header alone, without pixels: studies of `a_study`, numbered from `first` on."""
    template = _header(f"{ROOT}.8.1000000")
    template.SOPInstanceUID, template.InstanceNumber = f"{template.SeriesInstanceUID}.1000", 1000
    template.AccessionNumber = template.PatientID = label(0)
    template.PatientName = f"{label(0)}^PREMIER"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, template)
    encoded = buffer.getvalue()
    for index in range(count):
        number, instance = first + index // a_study, 1001 + index % a_study
        study_uid = header_study_uid(number).encode()
        content = encoded.replace(f"{ROOT}.8.1000000.1.1000".encode(), study_uid + b".1.%d" % instance)
        content = content.replace(f"{ROOT}.8.1000000".encode(), study_uid)
        content = content.replace(label(0).encode(), label(number).encode())
        yield DataSet(CT, f"{header_study_uid(number)}.1.{instance}", content)


def header_study_uid(number: int) -> str:
    return f"{ROOT}.8.{1000000 + number}"


def label(number: int) -> str:
    """PatientID and AccessionNumber of the study of that number, and the family name of its patient."""
    return f"H{1000000 + number}"


def make_corpus(folder: Path, series: int, slices: int, first: int = 1) -> Corpus:
    """Write `series` studies of one series of `slices` instances, a folder each; `first` names the first study."""
    files = []
    for number in range(first, first + series):
        (folder / f"series{number}").mkdir(parents=True)
        pictures = _pictures(np.random.default_rng(number))
        template = _header(f"{ROOT}.{number}")
        files.append(
            tuple(
                _write(folder / f"series{number}" / f"{index:05}.dcm", template, index, pictures)
                for index in range(1, slices + 1)
            )
        )
    return Corpus(tuple(files), sum(file.stat().st_size for names in files for file in names))


def _pictures(random: np.random.Generator) -> list[NDArray[np.uint16]]:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
    base = np.where(body, 1064 + 120 * np.sin(9 * x) * np.cos(7 * y), 24)
    made = []
    for _ in range(PICTURES):
        noise = random.standard_normal((SIDE, SIDE))
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3
        made.append(np.clip(np.rint(base + noise * np.where(body, 40, 12)), 0, 4095).astype("<u2"))
    return made


def _write(path: Path, template: Dataset, index: int, pictures: list[NDArray[np.uint16]]) -> Path:
    sop_uid = f"{template.SeriesInstanceUID}.{index}"
    template.SOPInstanceUID, template.InstanceNumber = sop_uid, index
    template.ImagePositionPatient = [-180, -180, -1.25 * index]
    template.SliceLocation = 1.25 * index
    template.PixelData = np.roll(pictures[index % PICTURES], index, 0).tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(str(path), template, file_meta=meta, preamble=bytes(128)).save_as(path, enforce_file_format=True)
    return path


def _header(study_uid: str) -> Dataset:
    """About 130 elements, with sequences and private ones, so that the cost of reading them is not flattered."""
    made = Dataset()
    made.SpecificCharacterSet, made.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SOPClassUID, made.StudyInstanceUID, made.SeriesInstanceUID = CTImageStorage, study_uid, f"{study_uid}.1"
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(made, f"{event}Date", "20240315")
        setattr(made, f"{event}Time", "101010.000000")
    made.AccessionNumber, made.Modality, made.Manufacturer = "A0000001", "CT", "Imagerie Fictive"
    made.InstitutionName, made.ReferringPhysicianName = "Centre d'essai", "ESSAI^Chloé"
    made.StationName, made.ManufacturerModelName, made.DeviceSerialNumber = "STATION1", "Fantôme 3000", "000123"
    made.StudyDescription, made.SeriesDescription = "TDM thorax", "1.25 mm parenchyme"
    made.PatientName, made.PatientID, made.PatientBirthDate = "FANTOME^PREMIER", "P000001", "19500101"
    made.PatientSex, made.PatientAge, made.PatientWeight, made.PatientSize = "O", "074Y", "78.5", "1.75"
    made.BodyPartExamined, made.ScanOptions, made.SliceThickness, made.KVP = "CHEST", "HELICAL MODE", "1.25", "120"
    made.DataCollectionDiameter, made.ReconstructionDiameter = "500.0", "360.0"
    made.SoftwareVersions, made.ProtocolName = ["v1.2", "p7"], "5.1 thorax"
    made.DistanceSourceToDetector, made.DistanceSourceToPatient = "949.147", "541.0"
    made.GantryDetectorTilt, made.TableHeight, made.RotationDirection = "0.0", "152.1", "CW"
    made.ExposureTime, made.XRayTubeCurrent, made.Exposure, made.GeneratorPower = "600", "250", "14", "30000"
    made.FilterType, made.FocalSpots, made.ConvolutionKernel = "BODY FILTER", "1.2", "STANDARD"
    made.PatientPosition, made.SingleCollimationWidth, made.TotalCollimationWidth = "FFS", 1.25, 40.0
    made.TableSpeed, made.SpiralPitchFactor = 55.0, 1.375
    made.StudyID, made.SeriesNumber, made.AcquisitionNumber = "1", "2", "1"
    made.ImageOrientationPatient, made.FrameOfReferenceUID = [1, 0, 0, 0, 1, 0], f"{study_uid}.9"
    made.PositionReferenceIndicator = "XY"
    for group, creator in ((0x0009, "FICTIF_01"), (0x0043, "FICTIF_02")):
        block = made.private_block(group, creator, create=True)
        for number in range(1, 28):
            kind, value = (("LO", f"texte {number}"), ("DS", "1.5"), ("SL", 42), ("OB", bytes(64)))[number % 4]
            block.add_new(number, kind, value)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113724", "DCM", "Phantom"
    references = [Dataset() for _ in range(3)]
    for number, reference in enumerate(references):
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, f"{study_uid}.8.{number}"
    made.ProcedureCodeSequence, made.ReferencedImageSequence = Sequence([code]), Sequence(references)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelSpacing = 1, "MONOCHROME2", [0.703125, 0.703125]
    made.Rows = made.Columns = SIDE
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth, made.RescaleIntercept, made.RescaleSlope = "40", "400", "-1024", "1"
    made.RescaleType = "HU"
    return made
