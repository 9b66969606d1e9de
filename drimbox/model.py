"""The nouns of the house, as frozen values. No methods beyond checks.

Instance, Span, Report, Submission, Reader, Trace have their shape here; Archive lives in `storage/`, Manifest in
`kos/`, Peer in `peers/`. The smaller classes are parts of these.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

# --- Instance and Span --------------------------------------------------------------------------------------------


class InstanceRef(NamedTuple):  # and no dataclass: a study has up to twenty thousand, each made in a third of the time
    """One SOP instance, named by its three UIDs. The UIDs were checked where they entered."""

    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where a frame, or one fragment of it, lies in the kept file.

    frame_number counts from 1; offset is in bytes from the start of the file; crc32 is over the `length` bytes.
    A frame cut in several fragments has several spans, in order (PS3.5 §A.4).
    """

    frame_number: int
    offset: int
    length: int
    crc32: int


class Place(NamedTuple):
    """Where the bytes of an instance lie: `size_bytes` of the file at `path`, from `offset`."""

    path: Path
    offset: int
    size_bytes: int


# --- Who asks ------------------------------------------------------------------------------------------------------

Door = Literal["dicom", "http", "hl7", "operator"]
Action = Literal["store", "echo", "search", "retrieve", "report", "consult", "operate"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a door saw of whoever asks. Nothing here is believed yet.

    address: of the other end, without the port. calling/called: AE titles (DIMSE) or MSH-3 and MSH-5 (HL7).
    certificate: subject of a verified client certificate. user: name of a user that DIMSE negotiated, as its door
    understands it; whoever admits it asks for the proof. token: bearer token, never shown in a log.
    manifest_uid: header KOS-SOPInstanceUID of a peer (drim-m.md D.4).
    """

    door: Door
    address: str
    calling: str = ""
    called: str = ""
    certificate: str = ""
    user: str = ""
    token: str = field(default="", repr=False)
    manifest_uid: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """The professional, the peer or the device, once admitted."""

    identity: str
    door: Door
    address: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One audit record (PS3.15 §A.5): who did what to which study, and whether it was allowed.

    detail: short and fixed words, counts and UIDs; never a name, a token or a traits of identity.
    """

    at: datetime
    action: Action
    outcome: Literal["success", "refused", "failed"]
    who: str
    door: Door
    address: str
    study_uid: str = ""
    detail: str = ""


# --- Report --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identifier:
    """A value with the authority that gave it: CX of HL7 v2, II of CDA.

    authority: OID, empty when not told. namespace: its short name (`ASIP-SANTE-INS-NIR`), empty when not told.
    """

    value: str
    authority: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value. scheme: OID (or designator, for DICOM) of the coding system; meaning: its text."""

    value: str
    scheme: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The patient of a report: the INS, its five strict traits, and the local identifier (IPP).

    ins: matricule with authority 1.2.250.1.213.1.4.8/.9/.10/.11, None when the report carries none.
    qualified: the identity was verified (PID-32 `VALI`); only then may it be published (P16).
    birth_date: YYYYMMDD. sex: `M`, `F` or `U`. birth_place: INSEE code of the commune.
    """

    ins: Identifier | None
    local_id: Identifier | None
    family: str
    given: str
    birth_given_names: str = ""
    used_family: str = ""
    used_given: str = ""
    birth_date: str = ""
    sex: str = ""
    birth_place: str = ""
    qualified: bool = False


@dataclass(frozen=True, slots=True)
class Professional:
    """Someone named in the report. id: RPPS, authority 1.2.250.1.71.4.2.1. profession, specialty: codes when told."""

    id: Identifier
    family: str
    given: str
    profession: Code | None = None
    specialty: Code | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """A care structure. id: FINESS or the like, authority 1.2.250.1.71.4.2.2.

    sector: healthcareFacilityTypeCode (SAxx, 1.2.250.1.71.4.2.4). practice: practiceSettingCode.
    """

    id: Identifier
    name: str
    sector: Code | None = None
    practice: Code | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order a report fulfils: its accession number and its placer order number, None when not told."""

    accession: Identifier | None
    number: Identifier | None


@dataclass(frozen=True, slots=True)
class Exam:
    """One imaging study the report documents: CDA serviceEvent with its order (drim-m.md B.3).

    perhaps: orders of the report one of which may be that of the exam, when the report does not tell which.
    """

    study_uid: str
    accession: Identifier | None = None
    order: Identifier | None = None
    acts: tuple[Code, ...] = ()
    modalities: tuple[Code, ...] = ()
    regions: tuple[Code, ...] = ()
    started: str = ""  # HL7 TS as written, with offset
    stopped: str = ""
    perhaps: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A radiology report that arrived by HL7: CDA R2 inside ORU^R01 or MDM^T02, T10, T04.

    status: `F` first, `C` corrected, `D` taken back. confidentiality: XDS codes to add beside `N`
    (`MASQUE_PS`, `INVISIBLE_PATIENT`, `INVISIBLE_REPRESENTANTS_LEGAUX`). to_dmp: False when DESTDMP says N.
    message_id: MSH-3, MSH-4 and MSH-10, the identity of the message for replays. message, cda: the bytes as received.

    Which versions are one report: set_id and version (0 when not told) of the CDA; replaces: the documents its
    relatedDocument RPLC names; number, parent_number: TXA-12 and TXA-13 of an MDM.
    visibility_only: MODIF_CONF_CODE says Y, this version changes the confidentiality codes and nothing else.
    """

    message_id: str
    message: bytes = field(repr=False)
    cda: bytes = field(repr=False)
    document_id: Identifier
    status: Literal["F", "C", "D"]
    patient: Patient
    author: Professional
    author_structure: Structure
    legal_authenticator: Professional
    legal_structure: Structure
    exams: tuple[Exam, ...]
    title: str = ""
    created: str = ""
    confidentiality: tuple[str, ...] = ()
    secret_connection: bool = False
    to_dmp: bool = True
    set_id: Identifier | None = None
    version: int = 0
    replaces: tuple[Identifier, ...] = ()
    number: str = ""
    parent_number: str = ""
    visibility_only: bool = False


@dataclass(frozen=True, slots=True)
class StudyNotice:
    """OMI^O23: an imaging study changed, or is no more (drim-m.md B.2).

    cancelled: ORC-1 says that the exam is taken back. accession: IPC-1. patient: PID-3 alone is trusted.
    """

    message_id: str
    message: bytes = field(repr=False)
    study_uid: str
    cancelled: bool
    accession: str = ""
    ins: Identifier | None = None
    local_id: Identifier | None = None


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """ADT^A40: the identifiers `gone` are from now on those of `survivor` (HL7 v2.5 §3.3.40)."""

    message_id: str
    message: bytes = field(repr=False)
    survivor: Patient
    gone: tuple[Identifier, ...]


# --- Submission ----------------------------------------------------------------------------------------------------

JobState = Literal["due", "leased", "frozen", "done", "parked", "discarded"]
JobKind = Literal["publish", "replace", "update", "withdraw"]


@dataclass(frozen=True, slots=True)
class Submission:
    """What we promise to tell the DMP. Its ids and bytes are durable before the first attempt (promise P7).

    manifest: the KOS, Part 10. metadata: lcm:SubmitObjectsRequest, UTF-8 XML. signature: the XAdES document of the
    submission set (drim-m.md B.7). unique_id: SOP Instance UID of the KOS and XDSDocumentEntry.uniqueId. set_uid:
    XDSSubmissionSet.uniqueId. entry_uuid: DocumentEntry.entryUUID. structure: id of the care structure whose
    certificates speak for it (drim-m.md FAQ:9313).

    kind `update` and `withdraw` change an entry that is registered (ITI-57): they name the document of unique_id,
    manifest is the one it has, and there is nothing to sign.
    """

    study_uid: str
    kind: JobKind
    unique_id: str
    set_uid: str
    entry_uuid: str
    structure: str
    manifest: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)
