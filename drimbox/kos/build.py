"""From a manifest to a Key Object Selection Document (PS3.3 §A.35.4, PS3.16 TID 2010), profile of DRIM-M.

Every attribute is where the official French samples have it (drim-m.md B.5), without their faults: the meaning of the
title, the value type of what is no image, the time zone.
"""

import re
from io import BytesIO
from typing import Any, Literal

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from drimbox.errors import Malformed, TooLarge
from drimbox.kos.codes import INS_NAMESPACES, KEY_OBJECT_DESCRIPTION, KEY_OBJECT_SELECTION, MANIFEST
from drimbox.kos.manifest import MAX_INSTANCES, Manifest, ManifestInstance, ManifestSeries
from drimbox.model import Code, Identifier, Patient

_SERIES_NUMBER = 59  # of every official sample
_LONG, _SHORT = 64, 16  # most characters of LO, and of one PN group; of SH (PS3.5 §6.2)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\\]+")

# Storage classes with pixels whose name does not say Image.
_IMAGES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.77.1.5.8",  # Ophthalmic OCT B-scan Volume Analysis
        "1.2.840.10008.5.1.4.1.1.81.1",  # Ophthalmic Thickness Map
        "1.2.840.10008.5.1.4.1.1.82.1",  # Corneal Topography Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    }
)
_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."


def build_manifest(manifest: Manifest, profile: Literal["drim", "xds-i"] = "drim") -> bytes:
    """Write the KOS as a Part 10 file in Explicit VR Little Endian. The same manifest gives the same bytes.

    `xds-i` leaves the French additions out: request sequence, description of the series, numbers in the references.
    Free text that is too long is cut, characters that DICOM reserves are replaced. Raises Malformed when an identifier
    does not fit or something essential is missing, TooLarge over MAX_INSTANCES.
    """
    _check(manifest)
    french = profile == "drim"
    instances = [instance for series in manifest.series for instance in series.instances]
    content = [_reference(instance) for instance in instances]
    dataset = _dataset(
        **_document(manifest),
        **_study(manifest),
        **_patient(manifest.patient),
        AccessionNumber="" if french or not manifest.accession else _identifier(manifest.accession, _SHORT),
        CurrentRequestedProcedureEvidenceSequence=[
            _dataset(
                StudyInstanceUID=manifest.study_uid,
                ReferencedSeriesSequence=[_series(series, french) for series in manifest.series],
            )
        ],
        ContentSequence=[_description(manifest), *content] if french else content,
    )
    if french:
        dataset.update(_dataset(ReferencedRequestSequence=[_request(manifest)]))
    return _part10(dataset)


def value_type(sop_class_uid: str) -> Literal["IMAGE", "WAVEFORM", "COMPOSITE"]:
    """How TID 2010 references an instance of this class. Private classes are COMPOSITE."""
    if sop_class_uid.startswith(_WAVEFORMS):
        return "WAVEFORM"
    name = UID(sop_class_uid, validation_mode=IGNORE).name
    return "IMAGE" if "Image" in name or sop_class_uid in _IMAGES else "COMPOSITE"


def _check(manifest: Manifest) -> None:
    if manifest.created.tzinfo is None:
        raise Malformed("manifest", "its creation time has no time zone")
    if not manifest.series or not all(series.instances for series in manifest.series):
        raise Malformed("manifest", "it references nothing, or an empty series")
    if sum(len(series.instances) for series in manifest.series) > MAX_INSTANCES:
        raise TooLarge("manifest", f"more than {MAX_INSTANCES} instances")


# --- The document --------------------------------------------------------------------------------------------------


def _document(manifest: Manifest) -> dict[str, Any]:
    date, time = manifest.created.strftime("%Y%m%d"), manifest.created.strftime("%H%M%S.%f")
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        "SOPClassUID": KEY_OBJECT_SELECTION,
        "SOPInstanceUID": manifest.uid,
        "SeriesDate": date,
        "SeriesTime": time,
        "ContentDate": date,
        "ContentTime": time,
        "Modality": "KO",
        "Manufacturer": _text(manifest.manufacturer),
        "TimezoneOffsetFromUTC": manifest.created.strftime("%z")[:5],
        "SeriesInstanceUID": manifest.series_uid,
        "SeriesNumber": _SERIES_NUMBER,
        "InstanceNumber": manifest.instance_number,
        "ReferencedPerformedProcedureStepSequence": [],
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [_code(MANIFEST)],
        "ContinuityOfContent": "SEPARATE",
        "ContentTemplateSequence": [_dataset(MappingResource="DCMR", TemplateIdentifier="2010")],
    }


def _study(manifest: Manifest) -> dict[str, Any]:
    structure = "^" * 9 + _text(manifest.structure_id) if manifest.structure_id else ""
    name = _text(manifest.institution, _LONG - len(structure)).replace("^", " ")
    return {
        "StudyInstanceUID": manifest.study_uid,
        "StudyDate": manifest.study_date if re.fullmatch(r"\d{8}", manifest.study_date) else "",
        "StudyTime": manifest.study_time if re.fullmatch(r"\d{2,6}(\.\d{1,6})?", manifest.study_time) else "",
        "StudyDescription": _text(manifest.study_description),
        "StudyID": _text(manifest.study_id, _SHORT),
        "ReferringPhysicianName": _text(manifest.referring_physician),
        "InstitutionName": name + structure,
    }


def _patient(patient: Patient) -> dict[str, Any]:
    """The five strict traits and the INS: the birth place travels as a comment, the used names as other names."""
    identifier = patient.ins or patient.local_id
    if identifier is None:
        raise Malformed("manifest", "its patient has no identifier")
    issuer = identifier.namespace or INS_NAMESPACES.get(identifier.authority, "")
    issued: dict[str, Any] = {"PatientID": _identifier(identifier, _LONG)}
    if issuer:
        issued["IssuerOfPatientID"] = _text(issuer)
    if identifier.authority:
        issued["IssuerOfPatientIDQualifiersSequence"] = [_issuer(Identifier("", identifier.authority))]
    listed = _name("", patient.birth_given_names) if patient.birth_given_names else ""
    used = _name(patient.used_family, patient.used_given) if patient.used_family or patient.used_given else ""
    attributes = issued | {
        "PatientName": _name(patient.family, patient.given),
        "PatientBirthDate": patient.birth_date if re.fullmatch(r"\d{8}", patient.birth_date) else "",
        "PatientSex": {"M": "M", "F": "F", "U": "O"}.get(patient.sex, ""),
        "OtherPatientIDsSequence": [_dataset(**issued, TypeOfPatientID="TEXT")],
    }
    if listed or used:
        attributes["OtherPatientNames"] = [name for name in (listed, used) if name]
    if patient.birth_place:
        attributes["PatientComments"] = _text(patient.birth_place)
    return attributes


def _request(manifest: Manifest) -> Dataset:
    """Accession and order numbers with their authorities; the rest is type 2, present and empty."""
    attributes: dict[str, Any] = {
        "AccessionNumber": _identifier(manifest.accession, _SHORT) if manifest.accession else "",
        "ReferencedStudySequence": [],
        "StudyInstanceUID": manifest.study_uid,
        "RequestedProcedureDescription": "",
        "RequestedProcedureCodeSequence": [],
        "RequestedProcedureID": "",
        "PlacerOrderNumberImagingServiceRequest": _identifier(manifest.order, _LONG) if manifest.order else "",
        "FillerOrderNumberImagingServiceRequest": "",
    }
    if manifest.accession and (manifest.accession.authority or manifest.accession.namespace):
        attributes["IssuerOfAccessionNumberSequence"] = [_issuer(manifest.accession)]
    if manifest.order and (manifest.order.authority or manifest.order.namespace):
        attributes["OrderPlacerIdentifierSequence"] = [_issuer(manifest.order)]
    return _dataset(**attributes)


# --- What it references --------------------------------------------------------------------------------------------


def _series(series: ManifestSeries, french: bool) -> Dataset:
    attributes: dict[str, Any] = {
        "SeriesInstanceUID": series.series_uid,
        "ReferencedSOPSequence": [_evidence(instance, french) for instance in series.instances],
    }
    if series.retrieve_url:
        attributes["RetrieveURL"] = _CONTROLS.sub("", series.retrieve_url)
    if french and series.number is not None:
        attributes["SeriesNumber"] = series.number
    return _dataset(**attributes)


def _evidence(instance: ManifestInstance, french: bool) -> Dataset:
    attributes = _sop(instance)
    if french and instance.number is not None:
        attributes["InstanceNumber"] = instance.number
    if french and instance.frames is not None:
        attributes["NumberOfFrames"] = instance.frames
    return _dataset(**attributes)


def _reference(instance: ManifestInstance) -> Dataset:
    return _dataset(
        RelationshipType="CONTAINS",
        ValueType=value_type(instance.sop_class_uid),
        ReferencedSOPSequence=[_dataset(**_sop(instance))],
    )


def _sop(instance: ManifestInstance) -> dict[str, Any]:
    return {"ReferencedSOPClassUID": instance.sop_class_uid, "ReferencedSOPInstanceUID": instance.sop_uid}


def _description(manifest: Manifest) -> Dataset:
    """The only place where a KOS tells modality and description of a series; lines as in the official samples."""
    lines = [f"Examen : {_text(manifest.study_description)}"]
    if manifest.act:
        lines.append(f"Acte = {_text(manifest.act, 1024)}")
    lines += [
        f"Série-{series.series_uid} : {_text(series.modality, _SHORT)} @ : {_text(series.description)}"
        for series in manifest.series
    ]
    return _dataset(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        ConceptNameCodeSequence=[_code(KEY_OBJECT_DESCRIPTION)],
        TextValue="\r".join(lines),
    )


# --- Values --------------------------------------------------------------------------------------------------------


def _text(value: str, most: int = _LONG) -> str:
    """Free text without what DICOM reserves, cut to its place: a shorter description is better than no manifest."""
    return _CONTROLS.sub(" ", value).strip()[:most].rstrip()


def _name(family: str, given: str) -> str:
    """A PN of two components."""
    parts = [re.sub(r"[\^=]", " ", _text(part)).strip() for part in (family, given)]
    return "^".join(parts).rstrip("^")[:_LONG]


def _identifier(identifier: Identifier, most: int) -> str:
    """An identifier fits or is refused: cut or altered, it would be another one."""
    if len(identifier.value) > most or _CONTROLS.search(identifier.value):
        raise Malformed("manifest", f"an identifier has a reserved character or more than {most} characters")
    return identifier.value


def _issuer(identifier: Identifier) -> Dataset:
    attributes: dict[str, Any] = {}
    if identifier.namespace:
        attributes["LocalNamespaceEntityID"] = _text(identifier.namespace)
    if identifier.authority:
        attributes["UniversalEntityID"] = _text(identifier.authority)
        attributes["UniversalEntityIDType"] = "ISO"
    return _dataset(**attributes)


def _code(code: Code) -> Dataset:
    return _dataset(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)


def _dataset(**attributes: Any) -> Dataset:
    """A data set from keywords of PS3.6. pydicom does not check the values: its warnings quote them."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)
    return dataset


def _part10(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset(
        _dataset(
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
