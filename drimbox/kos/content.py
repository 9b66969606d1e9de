"""The content tree of a manifest: what it references (TID 2010), and the two ways of describing it.

DRIM-M describes series in free text; MADO in an Image Library (TID 1600, as IHE RAD MADO 6.X.2.9 extends it).
"""

from typing import Any, Literal

from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.uid import UID

from drimbox.kos import codes
from drimbox.kos.manifest import KeySelection, Manifest, ManifestInstance, ManifestSeries
from drimbox.kos.values import LONG, SHORT, code_item, data_set, date_or_nothing, fitted, time_or_nothing
from drimbox.model import Code

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
_UT = 1024  # enough for people; the VR allows far more


def value_type(sop_class_uid: str) -> Literal["IMAGE", "WAVEFORM", "COMPOSITE"]:
    """How TID 2010 references an instance of this class. Private classes are COMPOSITE."""
    if sop_class_uid.startswith(_WAVEFORMS):
        return "WAVEFORM"
    name = UID(sop_class_uid, validation_mode=IGNORE).name
    return "IMAGE" if "Image" in name or sop_class_uid in _IMAGES else "COMPOSITE"


def reference_item(instance: ManifestInstance, *described: Dataset) -> Dataset:
    """One instance of the manifest. described: content items about it."""
    referenced = data_set(ReferencedSOPClassUID=instance.sop_class_uid, ReferencedSOPInstanceUID=instance.sop_uid)
    item = data_set(
        RelationshipType="CONTAINS", ValueType=value_type(instance.sop_class_uid), ReferencedSOPSequence=[referenced]
    )
    if described:
        item.update(data_set(ContentSequence=list(described)))
    return item


def description_item(manifest: Manifest) -> Dataset:
    """The only place where a manifest of DRIM-M tells modality and description of a series; lines as in the samples."""
    lines = [f"Examen : {fitted(manifest.study_description)}"]
    if manifest.act:
        lines.append(f"Acte = {fitted(manifest.act, _UT)}")
    lines += [
        f"Série-{series.series_uid} : {fitted(series.modality, SHORT)} @ : {fitted(series.description)}"
        for series in manifest.series
    ]
    return _item("TEXT", codes.KEY_OBJECT_DESCRIPTION, "CONTAINS", TextValue="\r".join(lines))


# --- MADO -----------------------------------------------------------------------------------------------------------


def library_item(manifest: Manifest) -> Dataset:
    """The Image Library: the study, each series, each instance. A value we were not told is left out, not made up."""
    modalities = dict.fromkeys(series.modality for series in manifest.series if series.modality)
    selections = {selection.sop_uid: selection for selection in manifest.selections}
    return _container(
        codes.LIBRARY,
        [_coded(codes.MODALITY, _modality(modality)) for modality in modalities]
        + [_coded(codes.TARGET_REGION, region) for region in manifest.regions]
        + [_counted(codes.SERIES_OF_STUDY, len(manifest.series), "{series}")]
        + [_group(series, selections) for series in manifest.series],
    )


def _group(series: ManifestSeries, selections: dict[str, KeySelection]) -> Dataset:
    items: list[Dataset] = []
    if series.modality:
        items.append(_coded(codes.MODALITY, _modality(series.modality)))
    if date := date_or_nothing(series.date):
        items.append(_item("DATE", codes.SERIES_DATE, Date=date))
    if time := time_or_nothing(series.time):
        items.append(_item("TIME", codes.SERIES_TIME, Time=time))
    if description := fitted(series.description, LONG):
        items.append(_item("TEXT", codes.SERIES_DESCRIPTION, TextValue=description))
    if series.number is not None:
        items.append(_item("TEXT", codes.SERIES_NUMBER, TextValue=str(series.number)))
    items.append(_item("UIDREF", codes.SERIES_UID, UID=series.series_uid))
    items.append(_counted(codes.INSTANCES_OF_SERIES, len(series.instances), "{instances}"))
    items += [_entry(instance, selections.get(instance.sop_uid)) for instance in series.instances]
    return _container(codes.LIBRARY_GROUP, items)


def _entry(instance: ManifestInstance, selection: KeySelection | None) -> Dataset:
    """An Image Library Entry (TID 1601): its descriptors are its children."""
    about: list[Dataset] = []
    if instance.frames is not None:
        about.append(_counted(codes.NUMBER_OF_FRAMES, instance.frames, "{frames}"))
    if instance.number is not None:
        about.append(_item("TEXT", codes.INSTANCE_NUMBER, TextValue=str(instance.number)))
    if selection is not None:
        about.append(_coded(codes.DOCUMENT_TITLE, selection.title))
        if comment := fitted(selection.comment, _UT):
            about.append(_item("TEXT", codes.KEY_OBJECT_DESCRIPTION, TextValue=comment))
    return reference_item(instance, *about)


def _modality(value: str) -> Code:
    return Code(value, "DCM", value)


def _container(name: Code, items: list[Dataset]) -> Dataset:
    return _item("CONTAINER", name, "CONTAINS", ContinuityOfContent="SEPARATE", ContentSequence=items)


def _coded(name: Code, value: Code) -> Dataset:
    return _item("CODE", name, ConceptCodeSequence=[code_item(value)])


def _counted(name: Code, count: int, unit: str) -> Dataset:
    units = code_item(Code(unit, "UCUM", unit.strip("{}")))
    measured = data_set(MeasurementUnitsCodeSequence=[units], NumericValue=str(count))
    return _item("NUM", name, MeasuredValueSequence=[measured])


def _item(kind: str, name: Code, relationship: str = "HAS ACQ CONTEXT", **value: Any) -> Dataset:
    named = {"RelationshipType": relationship, "ValueType": kind, "ConceptNameCodeSequence": [code_item(name)]}
    return data_set(**named, **value)
