"""From a Key Object Selection Document to a manifest, whoever wrote it: DRIM-M, XDS-I.b, MADO and their drafts.

Lenient about what is missing, strict about size and about what the document is. Values are taken from their bytes,
one by one: pydicom's own conversion warns about faulty ones, and quotes them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement

from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, checked_uid
from drimbox.errors import Malformed, TooLarge
from drimbox.kos import codes
from drimbox.kos.manifest import MAX_INSTANCES, Manifest, ManifestInstance, ManifestSeries
from drimbox.model import Identifier, Patient

MAX_BYTES = 24 * 2**20  # a drim manifest of 60,000 instances has 16 MiB
_MAX_ITEMS = 300_000
_MAX_DEPTH = 32

_ITEM = b"\xfe\xff\x00\xe0"
_SERIES_LINE = re.compile(r"S.{1,2}rie-([0-9.]{1,64})\b")
_INSEE = re.compile(r"[0-9][0-9AB][0-9]{3}")


def read_manifest(data: bytes) -> Manifest:
    """Read a KOS of Part 10. Raises Malformed (not a KOS, a rejection note, references nothing), TooLarge."""
    dataset = _dataset(data)
    title = _title(dataset)
    if title in codes.REJECTION_NOTES:
        raise Malformed("manifest", "this KOS is a rejection note")
    study_uid, evidence = _study(dataset)
    described = _described(dataset)
    request = next(
        (item for item in _items(dataset, "ReferencedRequestSequence") if _text(item, "StudyInstanceUID") == study_uid),
        None,
    )
    institution, _, structure_id = _text(dataset, "InstitutionName").partition("^" * 9)
    return Manifest(
        uid=checked_uid(_text(dataset, "SOPInstanceUID")),
        series_uid=checked_uid(_text(dataset, "SeriesInstanceUID")),
        study_uid=study_uid,
        study_date=_text(dataset, "StudyDate"),
        study_time=_text(dataset, "StudyTime"),
        study_description=_text(dataset, "StudyDescription"),
        study_id=_text(dataset, "StudyID"),
        referring_physician=_text(dataset, "ReferringPhysicianName"),
        accession=_accession(request) or _accession(dataset),
        order=_order(request),
        patient=_patient(dataset),
        created=_created(dataset),
        institution=institution,
        structure_id=structure_id.split("^")[0],
        manufacturer=_text(dataset, "Manufacturer"),
        instance_number=_integer(dataset, "InstanceNumber") or 1,
        act=described.act,
        series=tuple(_series(evidence, described)),
    )


def is_selection_of_images(data: bytes) -> bool:
    """Does this KOS point at images for a reader, like any other instance of the study?

    False for a rejection note, for another manifest, and for what cannot be read as a KOS.
    """
    try:
        return _title(_dataset(data)) not in codes.REJECTION_NOTES | codes.MANIFEST_TITLES
    except (Malformed, TooLarge):
        return False


# --- The document --------------------------------------------------------------------------------------------------


def _dataset(data: bytes) -> Dataset:
    if len(data) > MAX_BYTES:
        raise TooLarge("manifest", f"over {MAX_BYTES} bytes")
    if data.count(_ITEM) > _MAX_ITEMS:
        raise TooLarge("manifest", f"more than {_MAX_ITEMS} items")
    syntax = read_preface(InMemory(data)).transfer_syntax
    if syntax not in (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN):
        raise Malformed("manifest", "only Little Endian, Explicit or Implicit VR, not deflated, is read")
    try:
        dataset = dcmread(BytesIO(data))
        kind = _text(dataset, "SOPClassUID")
    except (Exception, RecursionError) as error:  # pydicom raises a dozen kinds on broken bytes
        raise Malformed("manifest", "the data set cannot be read") from error
    if kind != codes.KEY_OBJECT_SELECTION:
        raise Malformed("manifest", "not a Key Object Selection Document")
    return dataset


def _title(dataset: Dataset) -> str:
    return next((_text(code, "CodeValue") for code in _items(dataset, "ConceptNameCodeSequence")), "")


def _study(dataset: Dataset) -> tuple[str, list[Dataset]]:
    """The study and the series items of its evidence: of the study of the KOS, else of the first one referenced."""
    own = _text(dataset, "StudyInstanceUID")
    studies = list(_items(dataset, "CurrentRequestedProcedureEvidenceSequence"))
    uids = [_text(study, "StudyInstanceUID") or own for study in studies]
    study_uid = checked_uid(own if own in uids or not uids else uids[0])
    chosen = [study for study, uid in zip(studies, uids, strict=True) if uid == study_uid]
    return study_uid, [series for study in chosen for series in _items(study, "ReferencedSeriesSequence")]


def _created(dataset: Dataset) -> datetime:
    """When the KOS was made; in UTC when its offset is not told."""
    for kind in ("InstanceCreation", "Content"):
        date, time = _text(dataset, kind + "Date"), _text(dataset, kind + "Time")
        digits, _, fraction = time.partition(".")
        stamp = date + digits.ljust(6, "0") + fraction.ljust(6, "0")
        offset = _text(dataset, "TimezoneOffsetFromUTC")
        try:
            return datetime.strptime(stamp + (offset or "+0000"), "%Y%m%d%H%M%S%f%z")
        except ValueError:
            try:
                return datetime.strptime(stamp, "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)
            except ValueError:
                continue
    raise Malformed("manifest", "it has no creation date")


def _patient(dataset: Dataset) -> Patient:
    """The identity as told. What is not an INS is kept as a local identifier, so that nobody takes it for one."""
    qualifiers = next(_items(dataset, "IssuerOfPatientIDQualifiersSequence"), None)
    authority = _text(qualifiers, "UniversalEntityID")
    identifier = Identifier(_text(dataset, "PatientID"), authority, _text(dataset, "IssuerOfPatientID"))
    is_ins = authority in codes.INS_NAMESPACES
    family, given, *_ = [*_text(dataset, "PatientName").split("=")[0].split("^"), "", ""]
    listed, used = _other_names(dataset, given)
    sex = _text(dataset, "PatientSex")
    place = _text(dataset, "PatientComments")
    return Patient(
        ins=identifier if is_ins and identifier.value else None,
        local_id=identifier if identifier.value and not is_ins else None,
        family=family,
        given=given,
        birth_given_names=listed,
        used_family=used[0],
        used_given=used[1],
        birth_date=_text(dataset, "PatientBirthDate"),
        sex=sex if sex in ("M", "F", "") else "U",
        birth_place=place if _INSEE.fullmatch(place) else "",
    )


def _other_names(dataset: Dataset, given: str) -> tuple[str, tuple[str, str]]:
    """The birth given names and the used name, family and given.

    Of two values the one without family comes first and is the list of given names; alone, it is that list only if it
    begins with the first given name, else it is a used given name (four variants, drim-m.md B.5).
    """
    names = [(*value.split("^"), "")[:2] for value in _text(dataset, "OtherPatientNames").split("\\") if value]
    listed = ""
    if names and not names[0][0] and (len(names) > 1 or f"{names[0][1]} ".startswith(f"{given} ")):
        listed = names.pop(0)[1]
    return listed, (names[0][0], names[0][1]) if names else ("", "")


def _accession(item: Dataset | None) -> Identifier | None:
    return _identifier(item, "AccessionNumber", "IssuerOfAccessionNumberSequence")


def _order(item: Dataset | None) -> Identifier | None:
    return _identifier(item, "PlacerOrderNumberImagingServiceRequest", "OrderPlacerIdentifierSequence")


def _identifier(item: Dataset | None, keyword: str, issuers: str) -> Identifier | None:
    value = _text(item, keyword)
    issuer = next(_items(item, issuers), None)
    if not value:
        return None
    return Identifier(value, _text(issuer, "UniversalEntityID"), _text(issuer, "LocalNamespaceEntityID"))


# --- What it references --------------------------------------------------------------------------------------------


@dataclass
class _SeriesWords:
    modality: str = ""
    description: str = ""
    number: int | None = None


@dataclass
class _Described:
    """What the content tree says of the act, of each series and of each instance, by UID."""

    act: str = ""
    series: dict[str, _SeriesWords] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)


def _series(evidence: list[Dataset], described: _Described) -> Iterator[ManifestSeries]:
    count = 0
    for item in evidence:
        references = list(_items(item, "ReferencedSOPSequence"))
        count += len(references)
        if count > MAX_INSTANCES:
            raise TooLarge("manifest", f"more than {MAX_INSTANCES} instances")
        uid = checked_uid(_text(item, "SeriesInstanceUID"))
        words = described.series.get(uid, _SeriesWords())
        number = _integer(item, "SeriesNumber")
        yield ManifestSeries(
            series_uid=uid,
            modality=words.modality,
            number=words.number if number is None else number,
            description=words.description,
            retrieve_url=_text(item, "RetrieveURL"),
            instances=tuple(_instance(reference, described) for reference in references),
        )
    if not count:
        raise Malformed("manifest", "it references no instance")


def _instance(reference: Dataset, described: _Described) -> ManifestInstance:
    sop_uid = checked_uid(_text(reference, "ReferencedSOPInstanceUID"))
    number, frames = _integer(reference, "InstanceNumber"), _integer(reference, "NumberOfFrames")
    return ManifestInstance(
        sop_class_uid=checked_uid(_text(reference, "ReferencedSOPClassUID")),
        sop_uid=sop_uid,
        number=described.numbers.get(sop_uid) if number is None else number,
        frames=described.frames.get(sop_uid) if frames is None else frames,
    )


def _described(dataset: Dataset) -> _Described:
    """Descriptions from the Image Library of MADO, else from the free text of DRIM-M.

    The public prototype has that text at the root of the document instead of in a content item.
    """
    described = _Described()
    texts = [_text(dataset, "TextValue")]
    groups: list[Dataset] = []
    content = [(item, 1) for item in _items(dataset, "ContentSequence")]
    while content:
        item, depth = content.pop()
        if _title(item) == codes.KEY_OBJECT_DESCRIPTION.value:
            texts.append(_text(item, "TextValue"))
        if _title(item) == codes.IMAGE_LIBRARY_GROUP:
            groups.append(item)
        elif depth < _MAX_DEPTH:
            content += [(child, depth + 1) for child in _items(item, "ContentSequence")]
    for line in "\n".join(texts).replace("\r", "\n").split("\n"):
        _describe_line(line.strip(), described)
    for group in groups:
        _describe_group(group, described)
    return described


def _describe_line(line: str, described: _Described) -> None:
    """`Série-<UID> : <Modality> @ : <Description>`, sometimes without the @, or `Acte = <label>`."""
    if found := _SERIES_LINE.match(line):
        modality, _, description = line[found.end() :].strip().removeprefix(":").partition(":")
        described.series[found[1]] = _SeriesWords(modality.strip(" @"), description.strip())
    elif line.startswith("Acte"):
        label = line.removeprefix("Acte").lstrip()
        described.act = label.removeprefix("=").strip() if label.startswith("=") else described.act


def _describe_group(group: Dataset, described: _Described) -> None:
    """An Image Library Group: one series. The number of an instance is a child of its item, or the item before it."""
    words, uid, number = _SeriesWords(), "", None
    for item in _items(group, "ContentSequence"):
        title, text = _title(item), _text(item, "TextValue")
        if title == codes.MODALITY:
            words.modality = next((_text(code, "CodeValue") for code in _items(item, "ConceptCodeSequence")), "")
        elif title == codes.SERIES_INSTANCE_UID:
            uid = _text(item, "UID")
        elif title == codes.SERIES_NUMBER:
            words.number = _number(text)
        elif title in codes.SERIES_DESCRIPTION:
            words.description = text
        elif title == codes.INSTANCE_NUMBER:
            number = _number(text)
        for reference in _items(item, "ReferencedSOPSequence"):
            sop_uid = _text(reference, "ReferencedSOPInstanceUID")
            for child in _items(item, "ContentSequence"):
                if _title(child) == codes.INSTANCE_NUMBER:
                    number = _number(_text(child, "TextValue"))
                elif _title(child) == codes.NUMBER_OF_FRAMES and (frames := _measured(child)) is not None:
                    described.frames[sop_uid] = frames
            if number is not None:
                described.numbers[sop_uid] = number
            number = None
    described.series[uid] = words


def _measured(item: Dataset) -> int | None:
    return next((_integer(value, "NumericValue") for value in _items(item, "MeasuredValueSequence")), None)


# --- Values --------------------------------------------------------------------------------------------------------


def _items(dataset: Dataset | None, keyword: str) -> Iterator[Dataset]:
    tag = tag_for_keyword(keyword)
    if dataset is None or tag is None or tag not in dataset:
        return
    try:
        value: Any = dataset[tag].value
        items = list(value or ())
    except (Exception, RecursionError) as error:  # sequences are only cut when they are asked for
        raise Malformed("manifest", "a sequence cannot be read") from error
    yield from (item for item in items if isinstance(item, Dataset))


def _text(dataset: Dataset | None, keyword: str) -> str:
    """A value as text, several of them with backslashes between; empty when absent."""
    tag = tag_for_keyword(keyword)
    try:
        element = dataset.get_item(tag) if dataset is not None and tag is not None else None
    except Exception as error:  # of some elements pydicom wants to know the VR first
        raise Malformed("manifest", f"{keyword} cannot be read") from error
    raw = element.value if isinstance(element, RawDataElement) else None
    if raw is None:
        return ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("iso8859-1")
    return text.strip(" \0\r\n\t")


def _integer(dataset: Dataset, keyword: str) -> int | None:
    return _number(_text(dataset, keyword))


def _number(text: str) -> int | None:
    """An IS or DS without fraction, in its 12 characters; None for anything else."""
    return int(text) if len(text) <= 12 and re.fullmatch(r"[+-]?[0-9]+", text) else None
