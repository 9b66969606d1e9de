"""From a manifest to a Key Object Selection Document (PS3.3 §A.35.4, PS3.16 TID 2010), in three profiles.

drim: every attribute is where the official French samples have it (drim-m.md B.5), without their faults: the meaning of
the title, the value type of what is no image, the time zone. xds-i: IHE RAD TF XDS-I.b, plain. mado: IHE RAD MADO,
trial implementation, with an Image Library; its provisional codes are those of that text.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from io import BytesIO
from typing import Any, Literal, get_args

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset

from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from drimbox.errors import Malformed, TooLarge
from drimbox.kos.codes import INS_NAMESPACES, KEY_OBJECT_SELECTION, MANIFEST, MANIFEST_WITH_DESCRIPTION
from drimbox.kos.content import description_item, library_item, reference_item
from drimbox.kos.manifest import MAX_INSTANCES, KeySelection, Manifest, ManifestInstance, ManifestSeries
from drimbox.kos.values import (
    CONTROLS,
    LONG,
    SHORT,
    code_item,
    data_set,
    date_or_nothing,
    fitted,
    issuer_item,
    person_name,
    time_or_nothing,
    whole,
)
from drimbox.model import Identifier, Patient

Profile = Literal["xds-i", "drim", "mado"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

_SERIES_NUMBER = 59  # of every official sample


def build_manifest(manifest: Manifest, profile: Profile = "drim") -> bytes:
    """Write the KOS as a Part 10 file in Explicit VR Little Endian. The same manifest gives the same bytes.

    Free text that is too long is cut, characters that DICOM reserves are replaced. Raises Malformed when an identifier
    does not fit or something essential is missing, TooLarge over MAX_INSTANCES.
    """
    _check(manifest)
    instances = [instance for series in manifest.series for instance in series.instances]
    content = [reference_item(instance) for instance in instances]
    if profile == "drim":
        content.insert(0, description_item(manifest))
    elif profile == "mado":
        content.insert(0, library_item(manifest))
    selected = _selected(manifest) if profile == "drim" else {}
    dataset = data_set(
        SpecificCharacterSet=_character_set(manifest, profile),
        **_document(manifest, profile),
        **_study(manifest),
        **_accession(manifest, profile),
        **_patient(manifest.patient),
        CurrentRequestedProcedureEvidenceSequence=[
            data_set(
                StudyInstanceUID=manifest.study_uid,
                ReferencedSeriesSequence=[
                    _series(series, manifest.location_uid, profile, selected) for series in manifest.series
                ],
            )
        ],
        ContentSequence=content,
    )
    if profile != "xds-i":
        dataset.update(data_set(ReferencedRequestSequence=[_request(manifest)]))
    return _part10(dataset)


def _check(manifest: Manifest) -> None:
    if manifest.created.tzinfo is None:
        raise Malformed("manifest", "its creation time has no time zone")
    if not manifest.series or not all(series.instances for series in manifest.series):
        raise Malformed("manifest", "it references nothing, or an empty series")
    if sum(len(series.instances) for series in manifest.series) > MAX_INSTANCES:
        raise TooLarge("manifest", f"more than {MAX_INSTANCES} instances")


# --- The document --------------------------------------------------------------------------------------------------


def _document(manifest: Manifest, profile: Profile) -> dict[str, Any]:
    date, time = manifest.created.strftime("%Y%m%d"), manifest.created.strftime("%H%M%S.%f")
    return {
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        "SOPClassUID": KEY_OBJECT_SELECTION,
        "SOPInstanceUID": manifest.uid,
        "SeriesDate": date,
        "SeriesTime": time,
        "ContentDate": date,
        "ContentTime": time,
        "Modality": "KO",
        "Manufacturer": fitted(manifest.manufacturer),
        "TimezoneOffsetFromUTC": manifest.created.strftime("%z")[:5],
        "SeriesInstanceUID": manifest.series_uid,
        "SeriesNumber": _SERIES_NUMBER,
        "InstanceNumber": manifest.instance_number,
        "ReferencedPerformedProcedureStepSequence": [],
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [code_item(MANIFEST_WITH_DESCRIPTION if profile == "mado" else MANIFEST)],
        "ContinuityOfContent": "SEPARATE",
        "ContentTemplateSequence": [data_set(MappingResource="DCMR", TemplateIdentifier="2010")],
    }


def _character_set(manifest: Manifest, profile: Profile) -> str:
    """Latin-1 while it can say everything, as all French samples have it, else UTF-8; UTF-8 always, as MADO's have it.

    Latin-1 that would also be right UTF-8 is written as UTF-8: a reader who guesses guesses right.
    """
    try:
        latin = [text.encode("latin-1") for text in _texts(manifest)]
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 192" if profile == "mado" or any(map(_is_also_utf8, latin)) else "ISO_IR 100"


def _is_also_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not text.isascii()


def _texts(value: Any) -> Iterator[str]:
    """Every text of a manifest, in the pieces it is read in; references have none but UIDs."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple) and not (value and isinstance(value[0], ManifestInstance)):
        for item in value:
            yield from _texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))


def _study(manifest: Manifest) -> dict[str, Any]:
    structure = "^" * 9 + fitted(manifest.structure_id) if manifest.structure_id else ""
    name = fitted(manifest.institution, LONG - len(structure)).replace("^", " ")
    return {
        "StudyInstanceUID": manifest.study_uid,
        "StudyDate": date_or_nothing(manifest.study_date),
        "StudyTime": time_or_nothing(manifest.study_time),
        "StudyDescription": fitted(manifest.study_description),
        "StudyID": fitted(manifest.study_id, SHORT),
        "ReferringPhysicianName": fitted(manifest.referring_physician),
        "InstitutionName": name + structure,
    }


def _patient(patient: Patient) -> dict[str, Any]:
    """The five strict traits and the INS: the birth place travels as a comment, the used names as other names."""
    identifier = patient.ins or patient.local_id
    if identifier is None:
        raise Malformed("manifest", "its patient has no identifier")
    issuer = identifier.namespace or INS_NAMESPACES.get(identifier.authority, "")
    issued: dict[str, Any] = {"PatientID": whole(identifier, LONG)}
    if issuer:
        issued["IssuerOfPatientID"] = fitted(issuer)
    if identifier.authority:
        issued["IssuerOfPatientIDQualifiersSequence"] = [issuer_item(Identifier("", identifier.authority))]
    listed = person_name("", patient.birth_given_names) if patient.birth_given_names else ""
    used = person_name(patient.used_family, patient.used_given) if patient.used_family or patient.used_given else ""
    attributes = issued | {
        "PatientName": person_name(patient.family, patient.given),
        "PatientBirthDate": date_or_nothing(patient.birth_date),
        "PatientSex": {"M": "M", "F": "F", "U": "O"}.get(patient.sex, ""),
        "OtherPatientIDsSequence": [data_set(**issued, TypeOfPatientID="TEXT")],
    }
    if listed or used:
        attributes["OtherPatientNames"] = [name for name in (listed, used) if name]
    if patient.birth_place:
        attributes["PatientComments"] = fitted(patient.birth_place)
    return attributes


def _accession(manifest: Manifest, profile: Profile) -> dict[str, Any]:
    """At the root, where XDS-I.b and MADO have it; the French samples leave it empty there."""
    accession = manifest.accession
    if profile == "drim" or not accession:
        return {"AccessionNumber": ""}
    attributes: dict[str, Any] = {"AccessionNumber": whole(accession, SHORT)}
    if profile == "mado" and accession.authority:
        attributes["IssuerOfAccessionNumberSequence"] = [issuer_item(accession)]
    return attributes


def _request(manifest: Manifest) -> Dataset:
    """Accession and order numbers with their authorities; the rest is type 2, present and empty."""
    attributes: dict[str, Any] = {
        "AccessionNumber": whole(manifest.accession, SHORT) if manifest.accession else "",
        "ReferencedStudySequence": [],
        "StudyInstanceUID": manifest.study_uid,
        "RequestedProcedureDescription": "",
        "RequestedProcedureCodeSequence": [],
        "RequestedProcedureID": "",
        "PlacerOrderNumberImagingServiceRequest": whole(manifest.order, LONG) if manifest.order else "",
        "FillerOrderNumberImagingServiceRequest": "",
    }
    if manifest.accession and (manifest.accession.authority or manifest.accession.namespace):
        attributes["IssuerOfAccessionNumberSequence"] = [issuer_item(manifest.accession)]
    if manifest.order and (manifest.order.authority or manifest.order.namespace):
        attributes["OrderPlacerIdentifierSequence"] = [issuer_item(manifest.order)]
    return data_set(**attributes)


# --- What it references --------------------------------------------------------------------------------------------


def _series(
    series: ManifestSeries, location_uid: str, profile: Profile, selected: dict[str, list[KeySelection]]
) -> Dataset:
    attributes: dict[str, Any] = {
        "SeriesInstanceUID": series.series_uid,
        "ReferencedSOPSequence": [
            _evidence(instance, profile, selected.get(instance.sop_uid, [])) for instance in series.instances
        ],
    }
    if series.retrieve_url:
        url = CONTROLS.sub("", series.retrieve_url)
        attributes["RetrieveURL"] = url.partition("/studies/")[0] if profile == "mado" else url
    if location_uid:
        attributes["RetrieveLocationUID"] = location_uid
    if profile == "drim" and series.number is not None:
        attributes["SeriesNumber"] = series.number
    return data_set(**attributes)


def _evidence(instance: ManifestInstance, profile: Profile, selections: list[KeySelection]) -> Dataset:
    attributes: dict[str, Any] = {
        "ReferencedSOPClassUID": instance.sop_class_uid,
        "ReferencedSOPInstanceUID": instance.sop_uid,
    }
    if profile == "drim" and instance.number is not None:
        attributes["InstanceNumber"] = instance.number
    if profile == "drim" and instance.frames is not None:
        attributes["NumberOfFrames"] = instance.frames
    if selections:
        attributes["ReferencedSOPSequence"] = [_selection(selection) for selection in selections]
    return data_set(**attributes)


def _selected(manifest: Manifest) -> dict[str, list[KeySelection]]:
    """By image, the selections that point at it."""
    selected: dict[str, list[KeySelection]] = {}
    for selection in manifest.selections:
        for image in dict.fromkeys(selection.images):
            selected.setdefault(image, []).append(selection)
    return selected


def _selection(selection: KeySelection) -> Dataset:
    """Why an image is a key image, nested in its reference as the official sample has it (DATA `informatif/KIN`)."""
    attributes: dict[str, Any] = {
        "ReferencedSOPClassUID": KEY_OBJECT_SELECTION,
        "ReferencedSOPInstanceUID": selection.sop_uid,
        "SeriesInstanceUID": selection.series_uid,
        "ConceptNameCodeSequence": [code_item(selection.title)],
    }
    if comment := fitted(selection.comment, 1024):
        attributes["ContentSequence"] = [data_set(TextValue=comment)]
    return data_set(**attributes)


def _part10(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset(
        data_set(
            MediaStorageSOPClassUID=KEY_OBJECT_SELECTION,
            MediaStorageSOPInstanceUID=dataset.SOPInstanceUID,
            TransferSyntaxUID=EXPLICIT_LITTLE_ENDIAN,
            ImplementationClassUID=IMPLEMENTATION_CLASS_UID,
            ImplementationVersionName=IMPLEMENTATION_VERSION_NAME,
        )
    )
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
