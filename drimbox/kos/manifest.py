"""A manifest as a value: one imaging study, what it holds and where each series is fetched."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from drimbox.dicom.uid import checked_uid
from drimbox.model import Code, Identifier, Patient

MAX_INSTANCES = 60_000  # the largest exams in service have some 20,000


@dataclass(frozen=True, slots=True)
class ManifestInstance:
    """One referenced instance. number: InstanceNumber. frames: NumberOfFrames; both None when not told."""

    sop_class_uid: str
    sop_uid: str
    number: int | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class ManifestSeries:
    """One referenced series. retrieve_url: as written; some publishers give the root of the service instead.

    date, time: Series Date and Time, DA and TM, empty when not told.
    """

    series_uid: str
    modality: str
    number: int | None
    description: str
    retrieve_url: str
    instances: tuple[ManifestInstance, ...]
    date: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class KeySelection:
    """A key object selection of the study, itself one of its instances: images somebody points at, and why.

    title: of CID 7010, `113000` "Of Interest" and the like. comment: its Key Object Description. images: SOP Instance
    UIDs, in its order.
    """

    series_uid: str
    sop_uid: str
    title: Code
    comment: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The KOS of a study (drim-m.md B.5).

    uid: SOP Instance UID, new at every version. study_date, study_time: DA and TM as the images have them.
    referring_physician: PN. patient: its INS, or whatever identifier the publisher used; a manifest tells neither the
    local identifier nor whether the identity is qualified. created: aware, its offset is written. institution and
    structure_id: name and FINESS. act: what was done, for people. regions: SNOMED CT codes of what was looked at.
    location_uid: OID of the place to fetch from, empty when not told.
    """

    uid: str
    series_uid: str
    study_uid: str
    study_date: str
    study_time: str
    study_description: str
    study_id: str
    referring_physician: str
    accession: Identifier | None
    order: Identifier | None
    patient: Patient
    created: datetime
    institution: str
    structure_id: str
    manufacturer: str
    instance_number: int
    act: str
    series: tuple[ManifestSeries, ...] = ()
    selections: tuple[KeySelection, ...] = ()
    regions: tuple[Code, ...] = ()
    location_uid: str = ""


def new_uid(root: str, uuid: UUID) -> str:
    """Make a UID of a UUID under `root`: `2.25`, the arc of UUIDs (PS3.5 §B.2), or an arc of the installation.

    Raises Malformed when the root is so long that the UID passes 64 characters.
    """
    return checked_uid(f"{root}.{uuid.int}")
