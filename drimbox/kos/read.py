"""From a Key Object Selection Document to a manifest, whoever wrote it: DRIM-M, XDS-I.b, MADO and their drafts.

Lenient about what is missing, strict about size and about what the document is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydicom import Dataset

from drimbox.dicom.uid import checked_uid
from drimbox.errors import Malformed, TooLarge
from drimbox.kos import codes
from drimbox.kos.document import code_of, integer_of, items_of, open_document, read_number, text_of, title_of
from drimbox.kos.manifest import MAX_INSTANCES, KeySelection, Manifest, ManifestInstance, ManifestSeries
from drimbox.model import Code, Identifier, Patient

_MAX_DEPTH = 32

_SERIES_LINE = re.compile(r"S.{1,2}rie-([0-9.]{1,64})\b")
_INSEE = re.compile(r"[0-9][0-9AB][0-9]{3}")


def read_manifest(data: bytes) -> Manifest:
    """Read a KOS of Part 10. Raises Malformed (not a KOS, a rejection note, references nothing), TooLarge."""
    dataset = open_document(data)
    title = title_of(dataset)
    if title in codes.REJECTION_NOTES:
        raise Malformed("manifest", "this KOS is a rejection note")
    study_uid, evidence = _study(dataset)
    described = _described(dataset)
    request = next(
        (
            item
            for item in items_of(dataset, "ReferencedRequestSequence")
            if text_of(item, "StudyInstanceUID") == study_uid
        ),
        None,
    )
    institution, _, structure_id = text_of(dataset, "InstitutionName").partition("^" * 9)
    return Manifest(
        uid=checked_uid(text_of(dataset, "SOPInstanceUID")),
        series_uid=checked_uid(text_of(dataset, "SeriesInstanceUID")),
        study_uid=study_uid,
        study_date=text_of(dataset, "StudyDate"),
        study_time=text_of(dataset, "StudyTime"),
        study_description=text_of(dataset, "StudyDescription"),
        study_id=text_of(dataset, "StudyID"),
        referring_physician=text_of(dataset, "ReferringPhysicianName"),
        accession=_accession(request) or _accession(dataset),
        order=_order(request),
        patient=_patient(dataset),
        created=_created(dataset),
        institution=institution,
        structure_id=structure_id.split("^")[0],
        manufacturer=text_of(dataset, "Manufacturer"),
        instance_number=integer_of(dataset, "InstanceNumber") or 1,
        act=described.act,
        series=tuple(_series(evidence, described)),
        selections=tuple(_selections(evidence, described)),
        regions=tuple(described.regions),
        location_uid=next((found for item in evidence if (found := text_of(item, "RetrieveLocationUID"))), ""),
    )


def is_selection_of_images(data: bytes) -> bool:
    """Does this KOS point at images for a reader, like any other instance of the study?

    False for a rejection note, for another manifest, and for what cannot be read as a KOS.
    """
    try:
        return title_of(open_document(data)) not in codes.REJECTION_NOTES | codes.MANIFEST_TITLES
    except (Malformed, TooLarge):
        return False


# --- The document --------------------------------------------------------------------------------------------------


def _study(dataset: Dataset) -> tuple[str, list[Dataset]]:
    """The study and the series items of its evidence: of the study of the KOS, else of the first one referenced."""
    own = text_of(dataset, "StudyInstanceUID")
    studies = list(items_of(dataset, "CurrentRequestedProcedureEvidenceSequence"))
    uids = [text_of(study, "StudyInstanceUID") or own for study in studies]
    study_uid = checked_uid(own if own in uids or not uids else uids[0])
    chosen = [study for study, uid in zip(studies, uids, strict=True) if uid == study_uid]
    return study_uid, [series for study in chosen for series in items_of(study, "ReferencedSeriesSequence")]


def _created(dataset: Dataset) -> datetime:
    """When the KOS was made; in UTC when its offset is not told."""
    for kind in ("InstanceCreation", "Content"):
        date, time = text_of(dataset, kind + "Date"), text_of(dataset, kind + "Time")
        digits, _, fraction = time.partition(".")
        stamp = date + digits.ljust(6, "0") + fraction.ljust(6, "0")
        offset = text_of(dataset, "TimezoneOffsetFromUTC")
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
    qualifiers = next(items_of(dataset, "IssuerOfPatientIDQualifiersSequence"), None)
    authority = text_of(qualifiers, "UniversalEntityID")
    identifier = Identifier(text_of(dataset, "PatientID"), authority, text_of(dataset, "IssuerOfPatientID"))
    is_ins = authority in codes.INS_NAMESPACES
    family, given, *_ = [*text_of(dataset, "PatientName").split("=")[0].split("^"), "", ""]
    listed, used = _other_names(dataset, given)
    sex = text_of(dataset, "PatientSex")
    place = text_of(dataset, "PatientComments")
    return Patient(
        ins=identifier if is_ins and identifier.value else None,
        local_id=identifier if identifier.value and not is_ins else None,
        family=family,
        given=given,
        birth_given_names=listed,
        used_family=used[0],
        used_given=used[1],
        birth_date=text_of(dataset, "PatientBirthDate"),
        sex=sex if sex in ("M", "F", "") else "U",
        birth_place=place if _INSEE.fullmatch(place) else "",
    )


def _other_names(dataset: Dataset, given: str) -> tuple[str, tuple[str, str]]:
    """The birth given names and the used name, family and given.

    Of two values the one without family comes first and is the list of given names; alone, it is that list only if it
    begins with the first given name, else it is a used given name (four variants, drim-m.md B.5).
    """
    names = [(*value.split("^"), "")[:2] for value in text_of(dataset, "OtherPatientNames").split("\\") if value]
    listed = ""
    if names and not names[0][0] and (len(names) > 1 or f"{names[0][1]} ".startswith(f"{given} ")):
        listed = names.pop(0)[1]
    return listed, (names[0][0], names[0][1]) if names else ("", "")


def _accession(item: Dataset | None) -> Identifier | None:
    return _identifier(item, "AccessionNumber", "IssuerOfAccessionNumberSequence")


def _order(item: Dataset | None) -> Identifier | None:
    return _identifier(item, "PlacerOrderNumberImagingServiceRequest", "OrderPlacerIdentifierSequence")


def _identifier(item: Dataset | None, keyword: str, issuers: str) -> Identifier | None:
    value = text_of(item, keyword)
    issuer = next(items_of(item, issuers), None)
    if not value:
        return None
    return Identifier(value, text_of(issuer, "UniversalEntityID"), text_of(issuer, "LocalNamespaceEntityID"))


# --- What it references --------------------------------------------------------------------------------------------


@dataclass
class _SeriesWords:
    modality: str = ""
    description: str = ""
    number: int | None = None
    date: str = ""
    time: str = ""


@dataclass
class _Described:
    """What the content tree says of the act, of each series and of each instance, by UID."""

    act: str = ""
    series: dict[str, _SeriesWords] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    regions: list[Code] = field(default_factory=list)
    titles: dict[str, Code] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)


def _series(evidence: list[Dataset], described: _Described) -> Iterator[ManifestSeries]:
    count = 0
    for item in evidence:
        references = list(items_of(item, "ReferencedSOPSequence"))
        count += len(references)
        if count > MAX_INSTANCES:
            raise TooLarge("manifest", f"more than {MAX_INSTANCES} instances")
        uid = checked_uid(text_of(item, "SeriesInstanceUID"))
        words = described.series.get(uid, _SeriesWords())
        number = integer_of(item, "SeriesNumber")
        yield ManifestSeries(
            series_uid=uid,
            modality=words.modality,
            number=words.number if number is None else number,
            description=words.description,
            retrieve_url=text_of(item, "RetrieveURL"),
            instances=tuple(_instance(reference, described) for reference in references),
            date=words.date,
            time=words.time,
        )
    if not count:
        raise Malformed("manifest", "it references no instance")


def _instance(reference: Dataset, described: _Described) -> ManifestInstance:
    sop_uid = checked_uid(text_of(reference, "ReferencedSOPInstanceUID"))
    number, frames = integer_of(reference, "InstanceNumber"), integer_of(reference, "NumberOfFrames")
    return ManifestInstance(
        sop_class_uid=checked_uid(text_of(reference, "ReferencedSOPClassUID")),
        sop_uid=sop_uid,
        number=described.numbers.get(sop_uid) if number is None else number,
        frames=described.frames.get(sop_uid) if frames is None else frames,
    )


def _selections(evidence: list[Dataset], described: _Described) -> Iterator[KeySelection]:
    """Who points at images: nested in the reference of each image (DRIM-M), else beside its own entry (MADO)."""
    found: dict[str, KeySelection] = {}
    for series in evidence:
        for reference in items_of(series, "ReferencedSOPSequence"):
            image = text_of(reference, "ReferencedSOPInstanceUID")
            for item in items_of(reference, "ReferencedSOPSequence"):
                sop_uid = checked_uid(text_of(item, "ReferencedSOPInstanceUID"))
                comment = "\n".join(text_of(child, "TextValue") for child in items_of(item, "ContentSequence"))
                title = next(map(code_of, items_of(item, "ConceptNameCodeSequence")), Code("", ""))
                series_uid = checked_uid(text_of(item, "SeriesInstanceUID"))
                known = found.get(sop_uid, KeySelection(series_uid, sop_uid, title, comment, ()))
                found[sop_uid] = replace(known, images=(*known.images, image))
            if image in described.titles and image not in found:
                series_uid = text_of(series, "SeriesInstanceUID")
                comment = described.comments.get(image, "")
                found[image] = KeySelection(series_uid, image, described.titles[image], comment, ())
    yield from found.values()


def _described(dataset: Dataset) -> _Described:
    """Descriptions from the Image Library of MADO, else from the free text of DRIM-M.

    The public prototype has that text at the root of the document instead of in a content item.
    """
    described = _Described()
    texts = [text_of(dataset, "TextValue")]
    groups: list[Dataset] = []
    content = [(item, 1) for item in items_of(dataset, "ContentSequence")]
    while content:
        item, depth = content.pop()
        if title_of(item) == codes.KEY_OBJECT_DESCRIPTION.value:
            texts.append(text_of(item, "TextValue"))
        if title_of(item) == codes.TARGET_REGION.value:
            described.regions[:0] = map(code_of, items_of(item, "ConceptCodeSequence"))
        if title_of(item) == codes.LIBRARY_GROUP.value:
            groups.append(item)
        elif depth < _MAX_DEPTH:
            content += [(child, depth + 1) for child in items_of(item, "ContentSequence")]
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
    for item in items_of(group, "ContentSequence"):
        title, text = title_of(item), text_of(item, "TextValue")
        if title == codes.MODALITY.value:
            words.modality = next((text_of(code, "CodeValue") for code in items_of(item, "ConceptCodeSequence")), "")
        elif title == codes.SERIES_UID.value:
            uid = text_of(item, "UID")
        elif title == codes.SERIES_NUMBER.value:
            words.number = read_number(text)
        elif title in codes.SERIES_DESCRIPTIONS:
            words.description = text
        elif title in codes.SERIES_DATES:
            words.date = text_of(item, "Date")
        elif title in codes.SERIES_TIMES:
            words.time = text_of(item, "Time")
        elif title == codes.INSTANCE_NUMBER.value:
            number = read_number(text)
        for reference in items_of(item, "ReferencedSOPSequence"):
            sop_uid = text_of(reference, "ReferencedSOPInstanceUID")
            for child in items_of(item, "ContentSequence"):
                about = title_of(child)
                if about == codes.INSTANCE_NUMBER.value:
                    number = read_number(text_of(child, "TextValue"))
                elif about == codes.NUMBER_OF_FRAMES.value and (frames := _measured(child)) is not None:
                    described.frames[sop_uid] = frames
                elif about == codes.DOCUMENT_TITLE.value:
                    described.titles[sop_uid] = next(map(code_of, items_of(child, "ConceptCodeSequence")), Code("", ""))
                elif about == codes.KEY_OBJECT_DESCRIPTION.value:
                    described.comments[sop_uid] = text_of(child, "TextValue")
            if number is not None:
                described.numbers[sop_uid] = number
            number = None
    described.series[uid] = words


def _measured(item: Dataset) -> int | None:
    return next((integer_of(value, "NumericValue") for value in items_of(item, "MeasuredValueSequence")), None)
