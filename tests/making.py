"""Small invented instances for tests, written with pydicom, which is not the reader under test; and a report."""

from dataclasses import replace
from typing import Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from drimbox.model import Code, Exam, Identifier, Patient, Professional, Report, Structure

STUDY = "1.2.826.0.1.3680043.8.498.1"


def ct(series: int = 1, number: int = 1, study: str = STUDY, **attributes: Any) -> FileDataset:
    """A CT slice of 16 x 16 whose pixels depend on its number. attributes: by keyword, over these."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{study}.{series}.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.{series}",
        "StudyDate": "20260301",
        "StudyTime": "101500",
        "AccessionNumber": "ACC1",
        "PatientName": "PAT-TROIS^DOMINIQUE",
        "PatientID": "IPP101",
        "StudyDescription": "TDM thorax",
        "Modality": "CT",
        "SeriesNumber": series,
        "SeriesDescription": f"serie {series}",
        "InstanceNumber": number,
        "Rows": 16,
        "Columns": 16,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": bytes([series % 256, number % 256]) * 256,
    } | attributes
    for keyword, value in values.items():
        if value is not None:
            setattr(made, keyword, value)
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def data_set_bytes(made: pydicom.Dataset) -> bytes:
    """Its data set as C-STORE would carry it, in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, made)
    return buffer.getvalue()


def file_bytes(made: pydicom.Dataset) -> bytes:
    """It as a file (PS3.10)."""
    buffer = DicomBytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def report(
    message_id: str = "RIS|1", studies: tuple[str, ...] = (STUDY,), to_dmp: bool = True, **changes: Any
) -> Report:
    """A report of these studies, as `hl7.report` would give it. changes: by field, over these."""
    doctor = Professional(Identifier("801234567897", "1.2.250.1.71.4.2.1"), "MEDECIN", "ANNE", Code("10", "x"))
    structure = Structure(Identifier("101235555", "1.2.250.1.71.4.2.2"), "Centre", Code("SA07", "y"))
    made = Report(
        message_id=message_id,
        message=b"MSH|\xff raw",
        cda=b"<ClinicalDocument/>",
        document_id=Identifier("1.2.3"),
        status="F",
        patient=Patient(Identifier("279035121518989", "1.2.250.1.213.1.4.10"), None, "PAT-TROIS", "DOMINIQUE"),
        author=doctor,
        author_structure=structure,
        legal_authenticator=doctor,
        legal_structure=structure,
        exams=tuple(Exam(study, Identifier("ACC1", "1.2"), acts=(Code("ZBQK002", "ccam"),)) for study in studies),
        confidentiality=("MASQUE_PS",),
        to_dmp=to_dmp,
    )
    return replace(made, **changes)


def rejection_note(
    title: str, *rejected: pydicom.Dataset, number: int = 1, study: str = STUDY, **attributes: Any
) -> FileDataset:
    """A KOS with this document title that names these instances, under the study and series each of them has."""
    made = ct(number=number, study=study)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"):
        delattr(made, keyword)
    for keyword in ("HighBit", "PixelRepresentation", "PixelData"):
        delattr(made, keyword)
    kos = "1.2.840.10008.5.1.4.1.1.88.59"
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kos
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{study}.99.{number}"
    made.SeriesInstanceUID, made.SeriesNumber, made.Modality = f"{study}.99", 99, "KO"
    made.ValueType = "CONTAINER"
    name = pydicom.Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = title, "DCM", "Rejected"
    made.ConceptNameCodeSequence = [name]
    studies: dict[str, dict[str, list[pydicom.Dataset]]] = {}
    for instance in rejected:
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
        studies.setdefault(instance.StudyInstanceUID, {}).setdefault(instance.SeriesInstanceUID, []).append(item)
    evidence = []
    for study_uid, series in studies.items():
        told = pydicom.Dataset()
        told.StudyInstanceUID, told.ReferencedSeriesSequence = study_uid, []
        for series_uid, items in series.items():
            one = pydicom.Dataset()
            one.SeriesInstanceUID, one.ReferencedSOPSequence = series_uid, items
            told.ReferencedSeriesSequence.append(one)
        evidence.append(told)
    made.CurrentRequestedProcedureEvidenceSequence = evidence
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
