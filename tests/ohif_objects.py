"""A few small exams of every kind a viewer is opened on, made of pydicom's files and of highdicom's objects."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    TrackingIdentifier,
)
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

ROOT = "1.2.250.1.999.7"
SLICES = 8


def bundled(name: str) -> FileDataset:
    return pydicom.dcmread(get_testdata_file(name, download=False))


def renamed(made: FileDataset, exam: int, series: int, number: int) -> FileDataset:
    """Under the UIDs of the test."""
    made.StudyInstanceUID = f"{ROOT}.{exam}"
    made.SeriesInstanceUID = f"{ROOT}.{exam}.{series}"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.{exam}.{series}.{number}")
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "ESSAI^OHIF", "IPP-7", "19700101", "O"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20260105", "101500", "1", f"ACC{exam}"
    made.SeriesNumber, made.InstanceNumber = series, number
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def ct() -> list[FileDataset]:
    """A stack of slices 5 mm apart."""
    stack = []
    for number in range(1, SLICES + 1):
        made = renamed(bundled("CT_small.dcm"), 1, 1, number)
        made.FrameOfReferenceUID = f"{ROOT}.1.9"
        made.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * number]
        made.PixelData = np.roll(made.pixel_array, 4 * number, 0).tobytes()
        stack.append(made)
    return stack


def mr() -> list[FileDataset]:
    """The same slice as three products keep it."""
    files = ("MR_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm")
    return [renamed(bundled(name), 2, number, 1) for number, name in enumerate(files, 1)]


def ultrasound() -> FileDataset:
    """Thirty frames in colour, JPEG Baseline."""
    return renamed(bundled("examples_ybr_color.dcm"), 3, 1, 1)


def angiography() -> FileDataset:
    """A disc that grows over eight frames."""
    made = renamed(bundled("CT_small.dcm"), 4, 1, 1)
    for tag in [
        element.tag for element in made if element.tag.group in (0x0020, 0x0028) and element.tag.element > 0x13
    ]:
        if tag.group == 0x0028 or tag.element >= 0x20:
            del made[tag]
    del made["DataSetTrailingPadding"]
    rows, columns = np.mgrid[:256, :256]
    distance = np.hypot(rows - 128, columns - 128)
    frames = [np.where(distance < 12 * number, 40, 200 - rows // 4) for number in range(1, 9)]
    values: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1", "Modality": "XA", "NumberOfFrames": 8, "FrameTime": "66",
        "FrameIncrementPointer": 0x00181063, "Rows": 256, "Columns": 256, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0, "PixelIntensityRelationship": "LIN", "ImagerPixelSpacing": [0.3, 0.3],
        "WindowCenter": 128, "WindowWidth": 256, "KVP": 80, "RadiationSetting": "GR",
    }  # fmt: skip
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.PixelData = np.stack(frames).astype("u1").tobytes()
    made["PixelData"].VR = "OB"
    return made


def segmentation(source: list[FileDataset]) -> FileDataset:
    """Two organs on the CT."""
    masks = np.zeros((len(source), 128, 128), "u1")
    masks[1:6, 40:80, 40:80] = 1
    masks[2:7, 90:110, 20:60] = 2
    algorithm = highdicom.AlgorithmIdentificationSequence("threshold", codes.DCM.ArtificialIntelligence, "1")
    organs = [
        highdicom.seg.SegmentDescription(
            number, name, codes.SCT.Organ, kind, highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
        )
        for number, name, kind in ((1, "foie", codes.SCT.Liver), (2, "rate", codes.SCT.Spleen))
    ]
    made = highdicom.seg.Segmentation(
        source, masks, highdicom.seg.SegmentationTypeValues.BINARY, organs, generate_uid(), 2, generate_uid(), 1,
        "DRIMbox", "test", "1", "1", series_description="organes",
    )  # fmt: skip
    return as_file(made, 1, 2)


def measurements(source: list[FileDataset]) -> FileDataset:
    """A region measured on the CT, as TID 1500 tells it."""
    image = source[3]
    points = np.array([[20.0, 20.0], [60.0, 20.0], [60.0, 50.0], [20.0, 20.0]])
    region = ImageRegion(
        highdicom.sr.GraphicTypeValues.POLYLINE, points, highdicom.sr.SourceImageForRegion.from_source_image(image)
    )
    area = Measurement(codes.SCT.Area, 33.5, codes.UCUM.SquareMillimeter)
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(generate_uid(), "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"), region,
        finding_type=codes.SCT.Lesion,
        finding_sites=[FindingSite(codes.SCT.Liver)], measurements=[area],
    )  # fmt: skip
    observer = ObserverContext(codes.DCM.Person, PersonObserverIdentifyingAttributes("LECTEUR^ESSAI"))
    report = MeasurementReport(
        ObservationContext(observer), CodedConcept("126000", "DCM", "Imaging Measurement Report"), [group]
    )
    made = Comprehensive3DSR(
        source,
        report[0],
        generate_uid(),
        3,
        generate_uid(),
        1,
        "DRIMbox",
        is_complete=True,
        series_description="mesures",
    )
    return as_file(made, 1, 3)


def report() -> FileDataset:
    """Sections of text."""
    return renamed(bundled("reportsi.dcm"), 5, 1, 1)


def document() -> FileDataset:
    """One page of PDF."""
    made = renamed(bundled("CT_small.dcm"), 6, 1, 1)
    for tag in [element.tag for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[tag]
    del made["DataSetTrailingPadding"]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    made.Modality, made.MIMETypeOfEncapsulatedDocument, made.DocumentTitle = "DOC", "application/pdf", "Compte rendu"
    content = page_of_pdf("Compte rendu") + b"%" * 4096  # larger than what metadata hold within
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made.EncapsulatedDocumentLength = len(content)
    return made


def page_of_pdf(words: str) -> bytes:
    """A whole PDF file, its table of objects in place."""
    text = f"BT /F1 24 Tf 72 700 Td ({words}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    file, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    file += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)


def as_file(made: pydicom.Dataset, exam: int, series: int) -> FileDataset:
    """What highdicom made, renamed, as a file that was read."""
    buffer = BytesIO()
    made.save_as(buffer)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    read.file_meta.TransferSyntaxUID = read.file_meta.TransferSyntaxUID or ExplicitVRLittleEndian
    return renamed(read, exam, series, 1)


def exams() -> Iterator[FileDataset]:
    """All of them."""
    stack = ct()
    yield from stack
    yield segmentation(stack)
    yield measurements(stack)
    yield from mr()
    yield ultrasound()
    yield angiography()
    yield report()
    yield document()
