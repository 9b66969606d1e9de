"""Requests and reports of storage commitment, against pydicom on the other side (PS3.4 tables J.3-1, J.3-2)."""

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from drimbox.dicom.commitment import Report, Request, build_report, read_request
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.errors import Malformed

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def reference(sop_class: str | None, sop: str | None) -> Dataset:
    item = Dataset()
    if sop_class is not None:
        item.ReferencedSOPClassUID = sop_class
    if sop is not None:
        item.ReferencedSOPInstanceUID = sop
    return item


def asked(*references: Dataset, transaction: str | None = "1.2.3") -> Dataset:
    made = Dataset()
    if transaction is not None:
        made.TransactionUID = transaction
    made.ReferencedSOPSequence = list(references)
    made.StorageMediaFileSetID = "MEDIUM"  # allowed, and nothing to us
    return made


def encoded(made: Dataset, syntax: str = EXPLICIT) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    write_dataset(buffer, made)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_request_names_each_instance_once(syntax: str) -> None:
    made = asked(reference(CT, "1.2.3.1"), reference(MR, "1.2.3.2"), reference(CT, "1.2.3.1"))
    read = read_request(encoded(made, syntax), syntax)
    assert read == Request("1.2.3", ((CT, "1.2.3.1"), (MR, "1.2.3.2")))


@pytest.mark.parametrize(
    "made",
    [
        asked(reference(CT, "1.2"), transaction=None),
        asked(),
        asked(reference(None, "1.2")),
        asked(reference(CT, None)),
        Dataset(),
    ],
)
def test_a_request_that_names_nothing_is_malformed(made: Dataset) -> None:
    with pytest.raises(Malformed):
        read_request(encoded(made), EXPLICIT)


@pytest.mark.parametrize("uid", [b"1.2.3.1\0", b"1.2.9\0"])
def test_a_uid_that_is_none_is_malformed(uid: bytes) -> None:
    sound = encoded(asked(reference(CT, "1.2.3.1"), transaction="1.2.9"))
    assert uid in sound
    with pytest.raises(Malformed):
        read_request(sound.replace(uid, b"../" + uid[3:]), EXPLICIT)


def test_garbage_is_malformed() -> None:
    for data in (b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff", b"\0" * 7, b"\xff" * 64):
        with pytest.raises(Malformed):
            read_request(data, EXPLICIT)


def told(report: Report) -> Dataset:
    data = build_data_set(build_report(report, "DRIMBOX"), TRANSFER_SYNTAXES[IMPLICIT])
    return dcmread(BytesIO(data), force=True)


def test_a_report_of_success_lists_what_is_safe() -> None:
    report = Report("1.2.3", ((CT, "1.2.3.1"), (MR, "1.2.3.2")), {})
    made = told(report)
    assert report.event_type == 1
    assert (made.TransactionUID, made.RetrieveAETitle) == ("1.2.3", "DRIMBOX")
    assert made.ReferencedSOPSequence == [reference(CT, "1.2.3.1"), reference(MR, "1.2.3.2")]
    assert "FailedSOPSequence" not in made


def test_a_report_of_failures_gives_each_its_reason() -> None:
    report = Report("1.2.3", ((CT, "1.2.3.1"), (MR, "1.2.3.2")), {"1.2.3.2": 0x0112})
    made = told(report)
    assert report.event_type == 2
    assert made.ReferencedSOPSequence == [reference(CT, "1.2.3.1")]
    (failed,) = made.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.2", 0x0112)
    assert "ReferencedSOPSequence" not in told(Report("1.2.3", ((CT, "1.2"),), {"1.2": 0x0110}))
