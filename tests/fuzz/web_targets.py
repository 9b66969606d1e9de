"""Targets beside DIMSE: the query and Accept of a DICOMweb request, multipart bodies, HL7 messages."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import get_args

from drimbox.dicom.composing import Bulk
from drimbox.dicom.json_model import read_metadata as read_back
from drimbox.dicom.match import Level, satisfies
from drimbox.dicom.part10 import InMemory, build_preface
from drimbox.dicom.parts import Limits, PartData, PartReader
from drimbox.dicomweb.accept import choose_bulkdata, choose_frame, choose_instance
from drimbox.dicomweb.media_types import DICOM_JSON, DICOM_XML
from drimbox.dicomweb.qido import choose_form, next_page, read_search
from drimbox.dicomweb.request import read_request
from drimbox.dicomweb.stow_metadata import read_metadata
from drimbox.errors import DrimboxError, TooLarge
from drimbox.hl7.ack import build_ack
from drimbox.hl7.message import parse_header, parse_message
from drimbox.hl7.report import read_report
from drimbox.sandbox.ris import Study, build_oru

EXPLICIT, JPEG_2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HELD = {
    "00080020": {"vr": "DA", "Value": ["20260110"]},
    "00080030": {"vr": "TM", "Value": ["0815"]},
    "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "ŒUVRARD^Zoé", "Ideographic": "山田^太郎"}]},
    "00100020": {"vr": "LO"},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00201208": {"vr": "IS", "Value": [12]},
    "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP1"]}}, {}]},
}


def a_question(content: bytes) -> None:
    """The query of a URL; after a line end, the Accept header."""
    asked, _, accept = content.partition(b"\n")
    scope = {
        "method": "GET",
        "path": "/studies",
        "query_string": asked,
        "headers": [(b"accept", accept)],
        "client": ("127.0.0.1", 1),
    }
    try:
        request = read_request(scope)
    except DrimboxError:
        return
    for level in get_args(Level):
        with contextlib.suppress(DrimboxError):
            search = read_search(level, {}, request.parameters)
            next_page(request.parameters, search.query)
            for tag, criterion in search.query.criteria.items():
                satisfies(criterion, tag, HELD)
    choices: tuple[Callable[[], object], ...] = (
        lambda: choose_form(request.accept),
        lambda: choose_instance(request.accept, (JPEG_2000, EXPLICIT), one=True),
        lambda: choose_frame(request.accept, (JPEG_2000, EXPLICIT), one=False),
        lambda: choose_bulkdata(request.accept),
    )
    for choose in choices:
        with contextlib.suppress(DrimboxError):
            choose()


def some_parts(content: bytes) -> None:
    """A multipart body, in segments of the length of the first byte: the same parts as in one piece."""
    step = (content[0] if content else 0) or 256
    assert _read_parts(content[1:], len(content) + 1) == _read_parts(content[1:], step)


def _read_parts(body: bytes, step: int) -> tuple[list[str], bytes, bool]:
    """Events other than data, all data, and whether it was refused."""
    reader, events, data = PartReader(b"xx", Limits(parts=50)), list[str](), b""
    try:
        for start in range(0, len(body), step):
            for event in reader.feed(body[start : start + step]):
                if isinstance(event, PartData):
                    data += event.view
                else:
                    events.append(repr(event))
        reader.close()
    except DrimboxError:
        return [], b"", True  # how much came before the refusal depends on the segments
    return events, data, False


def some_metadata(content: bytes) -> None:
    """Metadata of STOW-RS, JSON or XML by the first byte; what is composed of them can be read again, all of it."""
    kind = DICOM_XML if content[:1] == b"\1" else DICOM_JSON
    bulk = {"cid:1": Bulk(bytes(8), "application/octet-stream", "")}
    with contextlib.suppress(DrimboxError):
        for names, data_set in read_metadata(kind, [content[1:]], bulk):
            if isinstance(data_set, bytes):
                preface = build_preface(names.sop_class_uid, names.sop_uid, names.transfer_syntax)
                _read_back(preface + data_set)


def _read_back(content: bytes) -> None:
    try:
        read_back(InMemory(content), "http://box/bulk")
    except TooLarge:
        return
    except DrimboxError as error:
        raise AssertionError("what we composed cannot be read") from error


def a_message(content: bytes) -> None:
    """An HL7 message, without its MLLP frame; whatever it is, it can be answered."""
    header, refusal = None, None
    try:
        header = parse_header(content)
        read_report(parse_message(content))
    except DrimboxError as error:
        refusal = error
    assert build_ack(header, refusal, AT, "1").startswith(b"MSH|")


WEB_TARGETS: dict[str, Callable[[bytes], None]] = {
    "question": a_question,
    "parts": some_parts,
    "metadata": some_metadata,
    "hl7": a_message,
}


def web_seeds(target: str) -> Iterator[bytes]:
    match target:
        case "question":
            yield b"PatientName=%C5%92uvrard*&StudyDate=20260101-&StudyTime=-10&limit=5\n*/*"
            yield b"00400275.00401001=RP*&StudyInstanceUID=1.2,1.3&includefield=all&fuzzymatching=true\n*/*;q=0.1"
            yield b'ModalitiesInStudy=CT\\MR&offset=7\nmultipart/related; type="image/jp2"; transfer-syntax=*;q=0.5'
        case "parts":
            part = b"--xx\r\nContent-Type: application/dicom\r\n\r\nDATA\r\n"
            yield b"\5" + part + b"--xx--\r\n"
            yield b"\1preamble\r\n" + part * 2 + b"--xx-- epilogue"
        case "metadata":
            yield (
                b'\0[{"00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]},"00080018":{"vr":"UI","Value":["1.2"]},'
                b'"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]},"0020000D":{"vr":"UI","Value":["1.3"]},'
                b'"00280010":{"vr":"US","Value":[1]},"00091001":{"vr":"UN","InlineBinary":"QUI="},'
                b'"00400275":{"vr":"SQ","Value":[{"00401001":{"vr":"SH","Value":["RP"]}}]},'
                b'"7FE00010":{"vr":"OW","BulkDataURI":"cid:1"}}]'
            )
            yield (
                b'\1<NativeDicomModel><DicomAttribute tag="00080016" vr="UI"><Value number="1">1.2</Value>'
                b'</DicomAttribute><DicomAttribute tag="00080018" vr="UI"><Value>1.2</Value></DicomAttribute>'
                b'<DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic><FamilyName>A</FamilyName>'
                b'</Alphabetic></PersonName></DicomAttribute><DicomAttribute tag="00091001" vr="LO" privateCreator="X">'
                b'<Value number="1">v</Value></DicomAttribute></NativeDicomModel>'
            )
        case "hl7":
            yield build_oru(Study("1.2.3", "PID1", "ACC1"), AT, message_id="1")
            yield b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5\rPID|||1^^^A&1.2&ISO^PI\rOBX|1|ED|18748-4||^^^Base64^QQ==\r"
