"""What we must know of an instance to keep it: its names, the attributes we index, where its frames lie.

One pass over the header, values read only for the attributes below; none when a header with the same layout was seen
before (`layout`).
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from drimbox.dicom.charset import read_charset
from drimbox.dicom.data_set import DataSet, open_data_set
from drimbox.dicom.elements import ITEM, PIXELS, UNDEFINED, Event, Limits
from drimbox.dicom.frames import Geometry, find_encapsulated_spans, find_native_spans
from drimbox.dicom.layout import MOST_BYTES, Layouts, Noted
from drimbox.dicom.match import Level
from drimbox.dicom.part10 import Preface, Readable, read_preface
from drimbox.dicom.uid import checked_uid, is_storage
from drimbox.dicom.values import to_json
from drimbox.errors import Malformed
from drimbox.model import InstanceRef, Span

__all__ = ["INDEXED", "INSIDE", "Limits", "Summary", "identify", "scan"]

# The one list of the attributes that queries match and answers carry: those of PS3.18 tables 10.6.1-5 and 10.6.3-3 to
# -5 that are stored in instances, and those that people look at to tell one study, series or instance from another.
# What is counted or computed (ModalitiesInStudy, NumberOfStudyRelatedSeries, RetrieveURL...) is added by who counts.
_EVERY_LEVEL: Final = {0x00080005: "SpecificCharacterSet", 0x00080201: "TimezoneOffsetFromUTC"}
_STUDY: Final = {
    0x00080020: "StudyDate",
    0x00080030: "StudyTime",
    0x00080050: "AccessionNumber",
    0x00080080: "InstitutionName",
    0x00080090: "ReferringPhysicianName",
    0x00081030: "StudyDescription",
    0x00081060: "NameOfPhysiciansReadingStudy",
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x00100030: "PatientBirthDate",
    0x00100032: "PatientBirthTime",
    0x00100040: "PatientSex",
    0x00101010: "PatientAge",
    0x0020000D: "StudyInstanceUID",
    0x00200010: "StudyID",
}
_SERIES: Final = {
    0x00080021: "SeriesDate",
    0x00080031: "SeriesTime",
    0x00080060: "Modality",
    0x00080070: "Manufacturer",
    0x00081010: "StationName",
    0x0008103E: "SeriesDescription",
    0x00180015: "BodyPartExamined",
    0x00181030: "ProtocolName",
    0x0020000E: "SeriesInstanceUID",
    0x00200011: "SeriesNumber",
    0x00200060: "Laterality",
    0x00400244: "PerformedProcedureStepStartDate",
    0x00400245: "PerformedProcedureStepStartTime",
    0x00400275: "RequestAttributesSequence",
}
_INSTANCE: Final = {
    0x00080008: "ImageType",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x00080022: "AcquisitionDate",
    0x00080023: "ContentDate",
    0x0008002A: "AcquisitionDateTime",
    0x00080032: "AcquisitionTime",
    0x00080033: "ContentTime",
    0x00200012: "AcquisitionNumber",
    0x00200013: "InstanceNumber",
    0x00280008: "NumberOfFrames",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x0040A491: "CompletionFlag",
    0x0040A493: "VerificationFlag",
    0x00420010: "DocumentTitle",
    0x00700080: "ContentLabel",
}
_REQUEST: Final = {0x00400009: "ScheduledProcedureStepID", 0x00401001: "RequestedProcedureID"}
_REQUEST_ATTRIBUTES: Final = 0x00400275


def _by_tag(attributes: Mapping[int, str]) -> Mapping[str, str]:
    return MappingProxyType({f"{tag:08X}": keyword for tag, keyword in {**_EVERY_LEVEL, **attributes}.items()})


INDEXED: Final[Mapping[Level, Mapping[str, str]]] = MappingProxyType(
    {"study": _by_tag(_STUDY), "series": _by_tag(_SERIES), "instance": _by_tag(_INSTANCE)}
)
"""By level, tag -> keyword of each attribute that a `Summary` may carry."""
INSIDE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {f"{_REQUEST_ATTRIBUTES:08X}": frozenset(f"{tag:08X}" for tag in _REQUEST)}
)
"""Of the sequences among them, the tags that their items carry."""

# Tag -> its name in JSON, and which of the three levels it is of.
_LEVELS: Final = {
    tag: (
        f"{tag:08X}",
        tuple(n for n, own in enumerate((_STUDY, _SERIES, _INSTANCE)) if tag in own or tag in _EVERY_LEVEL),
    )
    for tag in {**_EVERY_LEVEL, **_STUDY, **_SERIES, **_INSTANCE}
}
_CHARSET, _EXTENDED_TABLE = 0x00080005, 0x7FE00001
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
)  # fmt: skip
_WANTED: Final = {*_EVERY_LEVEL, *_STUDY, *_SERIES, *_INSTANCE, _SAMPLES, _PHOTOMETRIC} - {_REQUEST_ATTRIBUTES}
_EVENTS: Final = frozenset({*_WANTED, *_REQUEST, *PIXELS, _EXTENDED_TABLE})
_MOST_VALUE_BYTES: Final = 2**14  # of an attribute we index; none of their VRs allows so much
_MOST_FRAMES: Final = 2**31 - 1  # the largest IS

Values = dict[int, tuple[str, bytes]]  # tag -> VR and value as stored


@dataclass(frozen=True, slots=True)
class Summary:
    """What `scan` found. Offsets are from the start of the file.

    transfer_syntax: its UID, as the preface says. pixel_data_offset: where the Pixel Data *element* begins, so that all
    before it is the header; None without Pixel Data, and when the data set is deflated. number_of_frames: as declared,
    1 when that is not said, 0 without Pixel Data. spans: see `frames`; empty when the data set is deflated.
    study, series, instance: attributes of `INDEXED`, as the DICOM JSON model; those of the patient are in study.
    """

    ref: InstanceRef
    sop_class_uid: str
    transfer_syntax: str
    data_set_offset: int
    pixel_data_offset: int | None
    number_of_frames: int
    spans: tuple[Span, ...]
    study: dict[str, Any]
    series: dict[str, Any]
    instance: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """What one walk brought back. pixels: the event of Pixel Data."""

    values: Values
    requests: list[Values]
    pixels: Event | None = None
    extended_table: bytes = b""


def identify(source: Readable) -> Preface:
    """What is needed to store the instance in a file: its preface, completed from the data set where it has none.

    Raises Malformed when it is no instance that is stored, TooLarge.
    """
    preface = read_preface(source)
    if not (preface.sop_class_uid and preface.sop_uid):
        summary = scan(source)
        preface = replace(preface, sop_class_uid=summary.sop_class_uid, sop_uid=summary.ref.sop_uid)
    checked_uid(preface.sop_uid)
    if not is_storage(checked_uid(preface.sop_class_uid)):
        raise Malformed("file", "its SOP Class is not one that is stored")
    return preface


def scan(source: Readable, limits: Limits | None = None) -> Summary:
    """Read the header of a file, and its frames once for their CRC.

    Raises Malformed when one of the four UIDs is absent or unsafe, or when the header is cut or cannot be told apart;
    TooLarge past a limit. Damage that leaves the header whole does not refuse the instance: cut Pixel Data, values that
    are none of their VR, surplus bytes, wrong offset tables, a private transfer syntax.
    """
    limits = limits or Limits()
    data_set = open_data_set(source, limits)
    found = _walk_again(data_set) or _walk(data_set, limits)
    little_endian, deflated = data_set.syntax.little_endian, data_set.syntax.deflated
    uids = {keyword: _uid(found.values, tag, keyword) for tag, keyword in _NAMES.items()}
    number_of_frames = min(max(_number(found.values, _FRAMES, little_endian), 1), _MOST_FRAMES)
    spans: tuple[Span, ...] = ()
    pixel_data_offset = None
    if found.pixels is not None and not deflated:
        pixel_data_offset = _element_offset(source, found.pixels, little_endian)
        spans = _find_spans(data_set, found, number_of_frames, limits)
    study, series, instance = _describe(found, little_endian)
    return Summary(
        ref=InstanceRef(uids["StudyInstanceUID"], uids["SeriesInstanceUID"], uids["SOPInstanceUID"]),
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax=data_set.preface.transfer_syntax,
        data_set_offset=data_set.preface.data_set_offset,
        pixel_data_offset=pixel_data_offset,
        number_of_frames=number_of_frames if found.pixels is not None else 0,
        spans=spans,
        study=study,
        series=series,
        instance=instance,
    )


_LAYOUTS: Final = Layouts()
_NAMES: Final = {
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00080018: "SOPInstanceUID",
    0x00080016: "SOPClassUID",
}


def _walk(data_set: DataSet, limits: Limits) -> _Found:
    """Collect what we want of the data set, and check the structure of all of it on the way."""
    noted = Noted(data_set.reader)
    found = _collect(noted, noted.value, limits)
    if noted.is_whole:
        _remember(data_set, found.pixels, noted.events)
    return found


def _walk_again(data_set: DataSet) -> _Found | None:
    """The same without walking, if a data set was walked before that has all its elements at the same places."""
    preface, size = data_set.preface, data_set.source.size
    if not _LAYOUTS.has(preface.transfer_syntax, size):
        return None
    head = data_set.reader.value(preface.data_set_offset, MOST_BYTES)
    layout = _LAYOUTS.find(preface.transfer_syntax, size, preface.data_set_offset, head)
    if layout is None:
        return None
    start = preface.data_set_offset
    return _collect(layout.wanted, lambda offset, length: head[offset - start : offset - start + length], Limits())


def _remember(data_set: DataSet, pixels: Event | None, events: list[Event]) -> None:
    """Only headers after which nothing comes, but native Pixel Data: the end of the file is then part of the layout."""
    start, source = data_set.preface.data_set_offset, data_set.source
    _, _, _, offset, length = pixels or (0, 0, "", source.size, 0)
    if offset + length != source.size or offset - start > MOST_BYTES or data_set.syntax.deflated:
        return
    values = [event for event in events if event[1] != ITEM and event[2] != "SQ" and event[3] < offset]
    wanted = [event for event in events if event[1] in _EVENTS or event[1] == ITEM or event[2] == "SQ"]
    head = source.read_at(start, offset - start)
    _LAYOUTS.learn(data_set.preface.transfer_syntax, source.size, start, head, values, wanted)


def _collect(events: Iterable[Event], value: Callable[[int, int], bytes], limits: Limits) -> _Found:
    found = _Found({}, [])
    values = found.values
    inside = 0  # the attribute of the data set that the events of deeper levels belong to
    for level, tag, vr, offset, length in events:
        if level == 0:
            inside = tag
            if tag in _WANTED:
                if length <= _MOST_VALUE_BYTES:
                    values[tag] = vr, value(offset, length)
            elif tag in PIXELS:
                found.pixels = (level, tag, vr, offset, length)
            elif tag == _EXTENDED_TABLE and length <= 8 * limits.max_fragments:
                found.extended_table = value(offset, length)
        elif level == 1 and inside == _REQUEST_ATTRIBUTES:
            if tag == ITEM:
                found.requests.append({})
            elif (tag in _REQUEST or tag == _CHARSET) and length <= _MOST_VALUE_BYTES:
                found.requests[-1][tag] = vr, value(offset, length)
    return found


def _uid(values: Values, tag: int, keyword: str) -> str:
    text = values.get(tag, ("", b""))[1].decode("latin-1").strip(" \x00")
    if not text:
        raise Malformed("data set", f"no {keyword}")
    return checked_uid(text)


def _number(values: Values, tag: int, little_endian: bool) -> int:
    """The first value of an attribute when it is a whole number, else 0."""
    vr, value = values.get(tag, ("UN", b""))
    first = _as_json(vr, value, (), little_endian).get("Value", [0])[0]
    return first if isinstance(first, int) else 0


def _element_offset(source: Readable, pixels: Event, little_endian: bool) -> int:
    """Where the element begins: 12 bytes before its value, or 8 in implicit VR."""
    _, tag, _, offset, _ = pixels
    written = struct.pack("<HH" if little_endian else ">HH", tag >> 16, tag & 0xFFFF)
    return offset - (12 if source.read_at(offset - 12, 4) == written else 8)


def _find_spans(data_set: DataSet, found: _Found, number_of_frames: int, limits: Limits) -> tuple[Span, ...]:
    if found.pixels is None:
        return ()
    _, tag, _, offset, length = found.pixels
    source, syntax, fragments = data_set.source, data_set.syntax, data_set.reader.fragments
    if length == UNDEFINED:
        if fragments is None or not syntax.encapsulated:
            return ()
        return find_encapsulated_spans(source, fragments, syntax, number_of_frames, found.extended_table)
    if syntax.encapsulated:
        return ()  # neither fragments nor native
    rows, columns, samples, bits = (
        _number(found.values, wanted, syntax.little_endian) for wanted in (_ROWS, _COLUMNS, _SAMPLES, _BITS)
    )
    photometric = found.values.get(_PHOTOMETRIC, ("", b""))[1].decode("latin-1").strip(" \x00")
    bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag, bits)  # Float and Double Float Pixel Data
    geometry = Geometry(rows, columns, max(samples, 1), bits, photometric)
    return find_native_spans(source, offset, length, geometry, number_of_frames, limits)


def _describe(found: _Found, little_endian: bool) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The attributes of the three levels, in the DICOM JSON model, by increasing tag."""
    codecs = read_charset(found.values.get(_CHARSET, ("", b""))[1])
    described = {
        tag: _as_json(vr, value, codecs, little_endian) for tag, (vr, value) in found.values.items() if tag in _LEVELS
    }
    if found.requests:
        described[_REQUEST_ATTRIBUTES] = {
            "vr": "SQ",
            "Value": [_describe_request(request, codecs, little_endian) for request in found.requests],
        }
    if _CHARSET in described and "Value" in described[_CHARSET]:
        described[_CHARSET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    levels: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
    for tag in sorted(described):
        name, places = _LEVELS[tag]
        for place in places:
            levels[place][name] = described[tag]
    return levels


@lru_cache(maxsize=4096)
def _as_json(vr: str, value: bytes, codecs: tuple[str, ...], little_endian: bool) -> dict[str, Any]:
    """As `to_json`: the slices of a series have most of their values in common. Not to be changed by who gets it."""
    return to_json(vr, value, codecs, little_endian)


def _describe_request(request: Values, codecs: tuple[str, ...], little_endian: bool) -> dict[str, Any]:
    if _CHARSET in request:
        codecs = read_charset(request[_CHARSET][1])
    return {f"{tag:08X}": to_json(*request[tag], codecs, little_endian) for tag in sorted(request) if tag in _REQUEST}
