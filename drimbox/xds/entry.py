"""The metadata of a document and of its submission set, as values (IHE ITI TF-3 §4.2.3).

`describe_manifest` fills them for a KOS, as the DMP wants them: drim-m.md B.6.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from drimbox.errors import Malformed
from drimbox.model import Code, Exam, Identifier, Patient, Professional, Report, Structure
from drimbox.xds import codes

_HL7_TIME = re.compile(r"(\d{4}(?:\d{2}){0,5})(?:\.\d{1,4})?([+-]\d{4})?", re.ASCII)
_HL7_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_UNESCAPED = {"E": "\\", "F": "|", "S": "^", "T": "&", "R": "~"}

KOS_TITLE = "Reference d'Objets d'un Examen d'Imagerie"
KOS_COMMENTS = "KOS"


@dataclass(frozen=True, slots=True)
class Author:
    """person: XCN. institution: XON. specialty: CE, empty when not known."""

    person: str
    institution: str
    specialty: str = ""


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """XDSDocumentEntry, ITI TF-3 §4.2.3.2. Times are UTC, `YYYYMMDDhhmmss`, or shorter when the source was.

    entry_uuid: `urn:uuid:` and a UUID. hash: SHA-1 of the document in lower case hexadecimal. patient_id,
    source_patient_id: CX. source_patient_info: PID fields, `PID-5|...`. reference_ids: CXi.
    """

    entry_uuid: str
    unique_id: str
    mime_type: str
    hash: str
    size_bytes: int
    created: str
    submitted: str
    language: str
    patient_id: str
    source_patient_id: str
    source_patient_info: tuple[str, ...]
    legal_authenticator: str
    author: Author
    title: str
    comments: str
    class_code: Code
    type_code: Code
    format_code: Code
    facility_type: Code
    practice_setting: Code
    confidentiality: tuple[Code, ...]
    events: tuple[Code, ...]
    reference_ids: tuple[str, ...]
    service_start: str = ""
    service_stop: str = ""


@dataclass(frozen=True, slots=True)
class SubmissionSet:
    """XDSSubmissionSet, ITI TF-3 §4.2.3.3. entry_uuid: `urn:uuid:` and a UUID. source_id: OID of the installation."""

    entry_uuid: str
    unique_id: str
    source_id: str
    patient_id: str
    submitted: str
    author: Author
    content_type: Code
    title: str


def describe_manifest(
    report: Report,
    exam: Exam,
    *,
    kos: bytes,
    unique_id: str,
    entry_uuid: str,
    set_uid: str,
    set_entry_uuid: str,
    created: datetime,
    submitted: datetime,
    source_id: str,
    modalities: tuple[str, ...] = (),
) -> tuple[DocumentEntry, SubmissionSet]:
    """Say what the DMP must know of the manifest `kos` of one exam of a report.

    unique_id: SOP Instance UID of the KOS. created: its Instance Creation Date and Time. modalities: as the images
    say them. The author is the professional of the report: one of the two forms of the official samples, and the one
    that needs no identity of the device. Raises Malformed when the report lacks what XDS requires.
    """
    submission_set = describe_submission_set(
        report, set_uid=set_uid, set_entry_uuid=set_entry_uuid, submitted=submitted, source_id=source_id
    )
    ins = read_cx(submission_set.patient_id)
    entry = DocumentEntry(
        entry_uuid=entry_uuid,
        unique_id=unique_id,
        mime_type="application/dicom",
        hash=_sha1(kos),
        size_bytes=len(kos),
        created=utc_time(created),
        submitted=submission_set.submitted,
        language="fr-FR",
        patient_id=submission_set.patient_id,
        source_patient_id=cx(report.patient.local_id or ins, "PI"),
        source_patient_info=_traits(report.patient),
        legal_authenticator=xcn(report.legal_authenticator),
        author=submission_set.author,
        title=KOS_TITLE,
        comments=KOS_COMMENTS,
        class_code=codes.CLASS_IMAGING,
        type_code=codes.TYPE_KOS,
        format_code=codes.FORMAT_KOS,
        facility_type=_first(
            "healthcareFacilityTypeCode", report.legal_structure.sector, report.author_structure.sector
        ),
        practice_setting=_first(
            "practiceSettingCode", report.author_structure.practice, report.legal_structure.practice
        ),
        confidentiality=(codes.NORMAL, *confidentiality_codes(report.confidentiality)),
        events=_events(exam, modalities),
        reference_ids=exam_references(exam),
        service_start=hl7_time_to_utc(exam.started),
        service_stop=hl7_time_to_utc(exam.stopped),
    )
    return entry, submission_set


def describe_submission_set(
    report: Report, *, set_uid: str, set_entry_uuid: str, submitted: datetime, source_id: str
) -> SubmissionSet:
    """Say what the DMP must know of one submission. Raises Malformed when the report carries no INS.

    The author speaks from the structure of the legal authenticator, wherever they work: the DMP takes a submission only
    when an authorInstitution is the structure that the VIHF and the certificate name (its guide, EX_2.1-1140), and that
    of the documents is that of their set (IG-CDA, mapping).
    """
    if report.patient.ins is None:
        raise Malformed("report", "it carries no INS: it cannot be published")
    return SubmissionSet(
        entry_uuid=set_entry_uuid,
        unique_id=set_uid,
        source_id=source_id,
        patient_id=ins_cx(report.patient.ins),
        submitted=utc_time(submitted),
        author=Author(xcn(report.author), xon(report.legal_structure), _specialty(report.author)),
        content_type=codes.CONTENT_TYPE_EXTERNAL,
        title=KOS_TITLE,
    )


def describe_signature(
    signed: DocumentEntry, *, signature: bytes, unique_id: str, entry_uuid: str, created: datetime
) -> DocumentEntry:
    """Say what the DMP must know of the document that signs the submission set of `signed` (drim-m.md B.6).

    Its author is the legal authenticator's structure; neither professionals nor the patient are shown it.
    """
    moment = utc_time(created)
    return replace(
        signed,
        entry_uuid=entry_uuid,
        unique_id=unique_id,
        mime_type="text/xml",
        hash=_sha1(signature),
        size_bytes=len(signature),
        created=moment,
        language="art",
        source_patient_id=signed.patient_id,
        source_patient_info=(),
        author=Author(signed.legal_authenticator, signed.author.institution),
        title=codes.PURPOSE_SOURCE.meaning,
        comments="",
        class_code=codes.CLASS_SIGNATURE,
        type_code=codes.TYPE_SIGNATURE,
        format_code=codes.FORMAT_SIGNATURE,
        confidentiality=(codes.NORMAL, *(codes.CONFIDENTIALITY[name] for name in ("MASQUE_PS", "INVISIBLE_PATIENT"))),
        events=(codes.PURPOSE_SOURCE,),
        service_start=moment,
        service_stop=moment,
    )


# --- HL7 v2 data types inside XDS (ITI TF-3 §4.2.3.1.7) -------------------------------------------------------------


def escaped(text: str) -> str:
    """Protect the separators of HL7 v2 inside a component (HL7 v2.5 §2.7)."""
    return text.translate(_HL7_ESCAPES)


def _plain(text: str) -> str:
    """The reverse of `escaped`."""
    return re.sub(r"\\([EFSTR])\\", lambda escape: _UNESCAPED[escape[1]], text)


def cx(identifier: Identifier, kind: str) -> str:
    """Write an identifier as CX: `value^^^&OID&ISO^kind`."""
    return f"{escaped(identifier.value)}^^^&{identifier.authority}&ISO^{kind}"


def ins_cx(ins: Identifier) -> str:
    """Write an INS as XDS patientId: CX of type NH."""
    return cx(ins, "NH")


def read_cx(text: str) -> Identifier:
    """Read the value and the authority of a CX; what is missing stays empty."""
    components = text.split("^")
    authority = components[3].split("&") if len(components) > 3 else []
    return Identifier(components[0], authority[1] if len(authority) > 1 else "")


def xcn(person: Professional) -> str:
    """Write a professional as XCN, with the French types of name (D) and of identifier (IDNPS)."""
    name = f"{escaped(person.family)}^{escaped(person.given)}"
    return f"{escaped(person.id.value)}^{name}^^^^^^&{person.id.authority}&ISO^D^^^IDNPS"


def read_xcn(text: str, specialty: str = "") -> Professional | None:
    """Read a professional of an XCN. specialty: authorSpecialty, CE, in which the CDA had the profession too."""
    parts = text.strip().split("^")
    authority = parts[8].split("&") if len(parts) > 8 else []
    if not parts[0] or len(parts) < 3:
        return None
    value, _, rest = specialty.partition("^")
    meaning, _, scheme = rest.partition("^")
    profession = Code(value, scheme, _plain(meaning)) if value and scheme else None
    identifier = Identifier(_plain(parts[0]), authority[1] if len(authority) > 1 else codes.PROFESSIONALS)
    return Professional(identifier, _plain(parts[1]), _plain(parts[2]), profession)


def xon(structure: Structure) -> str:
    """Write a care structure as XON, with the French type of identifier (IDNST)."""
    return f"{escaped(structure.name)}^^^^^&{structure.id.authority}&ISO^IDNST^^^{escaped(structure.id.value)}"


def read_xon(text: str, sector: Code | None = None, practice: Code | None = None) -> Structure | None:
    """Read a care structure of an XON."""
    parts = text.strip().split("^")
    if len(parts) < 10 or not parts[9]:
        return None
    authority = parts[5].split("&")
    identifier = Identifier(_plain(parts[9]), authority[1] if len(authority) > 1 else codes.STRUCTURES)
    return Structure(identifier, _plain(parts[0]), sector, practice)


def utc_time(moment: datetime) -> str:
    """Write an aware moment as XDS wants it: UTC, to the second, no offset (ITI TF-3 §4.2.3.1.7 DTM)."""
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def hl7_time_to_utc(text: str) -> str:
    """Turn an HL7 TS into an XDS DTM in UTC, keeping its precision; empty stays empty.

    Without an offset the time is passed as written: guessing a zone would be wrong overseas. Raises Malformed.
    """
    if not text:
        return ""
    found = _HL7_TIME.fullmatch(text)
    if found is None:
        raise Malformed("time", "an HL7 TS is YYYY[MM[DD[hh[mm[ss]]]]][+-ZZZZ]")
    digits, offset = found.groups()
    if offset is None or len(digits) < 10:
        return digits
    pattern = "%Y%m%d%H%M%S"[: len(digits) - 2]
    try:
        return datetime.strptime(digits + offset, pattern + "%z").astimezone(UTC).strftime(pattern)
    except (ValueError, OverflowError) as error:
        raise Malformed("time", "no such date or time") from error


# --- Parts of the entry ---------------------------------------------------------------------------------------------


def _sha1(content: bytes) -> str:
    """What XDSDocumentEntry.hash is, by definition (ITI TF-3 §4.2.3.2.10)."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _first(name: str, *candidates: Code | None) -> Code:
    """The first code that is told. XDS requires it, and inventing one would misplace the document."""
    found = next((code for code in candidates if code is not None), None)
    if found is None:
        raise Malformed("report", f"it does not give the {name} that XDS requires")
    return found


def _specialty(person: Professional) -> str:
    code = person.specialty or person.profession
    return f"{code.value}^{escaped(code.meaning)}^{code.scheme}" if code else ""


def _traits(patient: Patient) -> tuple[str, ...]:
    """sourcePatientInfo: birth name, birth date, sex, and the birth place as PID-11 of type BDL (INSEE code)."""
    lines = [f"PID-5|{escaped(patient.family)}^{escaped(patient.given)}^^^^^L"]
    if patient.birth_date:
        lines.append(f"PID-7|{patient.birth_date}")
    if patient.sex:
        lines.append(f"PID-8|{patient.sex}")
    if patient.birth_place:
        lines.append(f"PID-11|^^^^^^BDL^^{escaped(patient.birth_place)}")
    return tuple(lines)


def confidentiality_codes(asked: Iterable[str]) -> tuple[Code, ...]:
    """The codes to write beside `N`, of their values in a report, each once. Raises Malformed on an unknown one."""
    unknown = [code for code in asked if code not in codes.CONFIDENTIALITY]
    if unknown:
        raise Malformed("report", "a confidentiality code is not one the DMP knows")
    return tuple(codes.CONFIDENTIALITY[code] for code in dict.fromkeys(asked))


def _events(exam: Exam, modalities: tuple[str, ...]) -> tuple[Code, ...]:
    """Act, modalities, regions, each once, each in the French scheme."""
    acts = [Code(act.value, codes.ACT_SCHEME, act.meaning) for act in exam.acts if act.scheme in codes.ACT_SCHEMES]
    seen = {code.value: code.meaning for code in exam.modalities}
    acquired = dict.fromkeys([*modalities, *seen])
    ways = [
        Code(modality, codes.MODALITY_SCHEME, seen.get(modality) or codes.MODALITIES.get(modality, modality))
        for modality in acquired
        if modality and modality not in codes.NOT_ACQUISITION
    ]
    regions = [Code(region.value, codes.REGION_SCHEME, region.meaning) for region in exam.regions]
    return tuple({(code.value, code.scheme): code for code in [*acts, *ways, *regions]}.values())


def exam_references(exam: Exam) -> tuple[str, ...]:
    """referenceIdList: how the report, the order and the manifest find each other (ITI TF-3 §4.2.3.2.28)."""
    references = [f"{exam.study_uid}^^^^{codes.REFERENCE_STUDY}"]
    for identifier, kind in ((exam.accession, codes.REFERENCE_ACCESSION), (exam.order, codes.REFERENCE_ORDER)):
        if identifier is not None:
            authority = f"&{identifier.authority}&ISO" if identifier.authority else ""
            references.append(f"{escaped(identifier.value)}^^^{authority}^{kind}")
    return tuple(references)
