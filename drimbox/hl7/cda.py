"""The header of a CDA R2 imaging report: who, about whom, which exams (IMG-CR-IMG of the CI-SIS, PS3.20).

Elements are chosen by their root, their qualifier or their namespace; never by their rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from lxml import etree

from drimbox.dicom.uid import checked_uid
from drimbox.errors import Malformed, TooLarge
from drimbox.hl7.identity import sex_of
from drimbox.kos.codes import INS_NAMESPACES
from drimbox.model import Code, Exam, Identifier, Order, Patient, Professional, Structure
from drimbox.xds.cda_xml import CDA, parse_cda

_ACCESSION = "{urn:dicom-org:ps3-20}accessionNumber"
_MAX_EXAMS = 100

PROFESSIONAL = "1.2.250.1.71.4.2.1"  # authority of RPPS and ADELI numbers
STRUCTURE = "1.2.250.1.71.4.2.2"  # authority of FINESS and SIRET numbers
_VISIBILITY = "1.2.250.1.213.1.1.4.13"

_CCAM = frozenset({"1.2.250.1.213.2.5", "1.2.250.1.215.300.1"})
_MODALITY = frozenset({"1.2.840.10008.2.16.4", "1.2.250.1.213.1.1.5.618"})
_REGION = frozenset({"2.16.840.1.113883.6.96", "1.2.250.1.213.1.1.5.695"})
_FRENCH_MODALITIES = {"RM": "MR"}  # its initials in French, where DICOM has a code: fault of several reports in service
_MODALITY_QUALIFIER, _REGION_QUALIFIER = "121139", "39111-0"


@dataclass(frozen=True, slots=True)
class ClinicalDocument:
    """What the report needs of the CDA header. patient: never qualified, that is told by HL7 v2 only."""

    id: Identifier
    title: str
    created: str
    confidentiality: tuple[str, ...]
    patient: Patient
    author: Professional
    author_structure: Structure | None
    legal_authenticator: Professional
    legal_structure: Structure | None
    sector: Code | None
    practice: Code | None
    exams: tuple[Exam, ...]
    set_id: Identifier | None
    version: int
    replaces: tuple[Identifier, ...]


def read_cda(data: bytes) -> ClinicalDocument:
    """Read the header of a CDA, whatever the size of the PDF and pictures in it. Raises Malformed, TooLarge."""
    root = parse_cda(data, lambda content: b" ")
    author = _find(root, "author/assignedAuthor")
    signer = _find(root, "legalAuthenticator/assignedEntity")
    performers = root.iterfind(_path("documentationOf/serviceEvent/performer/assignedEntity/representedOrganization"))
    return ClinicalDocument(
        id=_document_id(root),
        title=_text(root, "title"),
        created=_value(root, "effectiveTime"),
        confidentiality=tuple(
            code.value for code in map(_code, root.iterfind(_path("confidentialityCode"))) if code.scheme == _VISIBILITY
        ),
        patient=_patient(root),
        author=_professional(author, "author"),
        author_structure=_structure(author),
        legal_authenticator=_professional(signer, "legalAuthenticator"),
        legal_structure=_structure(signer),
        sector=_told(_find(root, "componentOf/encompassingEncounter/location/healthCareFacility/code")),
        practice=next(filter(None, (_told(_find(p, "standardIndustryClassCode")) for p in performers)), None),
        exams=_exams(root),
        set_id=_instance_id(_find(root, "setId")),
        version=_version(root),
        replaces=tuple(_replaced(root)),
    )


def _version(root: etree._Element) -> int:
    """versionNumber; 0 when it is none."""
    number = _value(root, "versionNumber")
    return int(number) if number.isdecimal() and number.isascii() and len(number) < 10 else 0


def _replaced(root: etree._Element) -> Iterator[Identifier]:
    """The documents this one takes the place of; a transformation (XFRM) or an addendum (APND) replaces nothing."""
    for related in root.iterfind(_path("relatedDocument")):
        if related.get("typeCode") == "RPLC":
            for node in related.iterfind(_path("parentDocument/id")):
                if identifier := _instance_id(node):
                    yield identifier


# --- Patient -------------------------------------------------------------------------------------------------------


def _patient(root: etree._Element) -> Patient:
    role = _find(root, "recordTarget/patientRole")
    ids = list(_identifiers(role))
    person = _find(role, "patient")
    name = _find(person, "name")
    sex = _find(person, "administrativeGenderCode")
    first = _qualified(name, "given", "BR")
    listed = _qualified(name, "given", "")
    return Patient(
        ins=next((i for i in ids if i.authority in INS_NAMESPACES), None),
        local_id=next((i for i in ids if i.authority not in INS_NAMESPACES), None),
        # Qualifier SP alone: the birth name of the older reports.
        family=_qualified(name, "family", "BR") or _qualified(name, "family", "SP") or _text(name, "family"),
        given=first or listed.split(" ")[0],
        birth_given_names=listed,
        used_family=_qualified(name, "family", "CL"),
        used_given=_qualified(name, "given", "CL"),
        birth_date=_value(person, "birthTime")[:8],
        sex=sex_of(sex.get("code", "") if sex is not None else ""),
        birth_place=_text(person, "birthplace/place/addr/county"),
    )


def _identifiers(parent: etree._Element | None) -> Iterator[Identifier]:
    for node in parent.iterfind(_path("id")) if parent is not None else ():
        root, extension = node.get("root", ""), node.get("extension", "").strip()
        if extension:
            yield Identifier(extension, root, INS_NAMESPACES.get(root, ""))


# --- Professionals and structures ----------------------------------------------------------------------------------


def _professional(entity: etree._Element | None, role: str) -> Professional:
    """The profession keeps the code of the CDA, which has the specialty in it (`G15_10/SM44`)."""
    ids = list(_identifiers(entity))
    chosen = next((i for i in ids if i.authority == PROFESSIONAL), ids[0] if ids else None)
    if entity is None or chosen is None:
        raise Malformed("required field", f"the CDA does not identify its {role}")
    return Professional(
        id=chosen,
        family=_text(entity, "assignedPerson/name/family"),
        given=_text(entity, "assignedPerson/name/given"),
        profession=_told(_find(entity, "code")),
    )


def _structure(entity: etree._Element | None) -> Structure | None:
    organization = _find(entity, "representedOrganization")
    ids = list(_identifiers(organization))
    chosen = next((i for i in ids if i.authority == STRUCTURE), ids[0] if ids else None)
    if chosen is None:
        return None
    return Structure(
        chosen, _text(organization, "name"), practice=_told(_find(organization, "standardIndustryClassCode"))
    )


# --- Exams ---------------------------------------------------------------------------------------------------------


def _exams(root: etree._Element) -> tuple[Exam, ...]:
    """One exam a study. Acts without a study UID (screening programmes) are not exams.

    Nothing in the CDA ties an order to an act. One order serves all acts; as many orders as acts go by pairs; any
    other number would be a guess: the exams then carry neither accession nor order number, but all of them perhaps.
    """
    events = [
        (event, identifier.get("root", ""))
        for event in root.iterfind(_path("documentationOf/serviceEvent"))
        for identifier in event.iterfind(_path("id"))
        if identifier.get("root")
    ]
    if not events:
        raise Malformed("required field", "the CDA names no study: documentationOf/serviceEvent/id")
    if len(events) > _MAX_EXAMS:
        raise TooLarge("CDA", f"more than {_MAX_EXAMS} acts")
    orders = [_order(node) for node in root.iterfind(_path("inFulfillmentOf/order"))]
    if len(orders) > _MAX_EXAMS:
        raise TooLarge("CDA", f"more than {_MAX_EXAMS} orders")
    is_told = len(orders) in (1, len(events))
    pairs = orders if len(orders) == len(events) else [orders[0] if is_told else Order(None, None)] * len(events)
    exams: dict[str, Exam] = {}
    for (event, study_uid), order in zip(events, pairs, strict=True):
        exam = _exam(event, checked_uid(study_uid), order, () if is_told else tuple(orders))
        known = exams.get(study_uid)
        exams[study_uid] = _merged(known, exam) if known else exam
    return tuple(exams.values())


def _exam(event: etree._Element, study_uid: str, order: Order, perhaps: tuple[Order, ...]) -> Exam:
    main = _find(event, "code")
    nodes = [main, *main.iterfind(_path("translation"))] if main is not None else []
    acts: list[Code] = []
    modalities: list[Code] = []
    regions: list[Code] = []
    other: list[Code] = []
    for node in nodes:
        code = _code(node)
        name = _find(node, "qualifier/name")
        qualifier = name.get("code") if name is not None else None
        if not code.value:
            continue
        if qualifier == _MODALITY_QUALIFIER or code.scheme in _MODALITY:
            modalities.append(replace(code, value=_FRENCH_MODALITIES.get(code.value, code.value)))
        elif qualifier == _REGION_QUALIFIER or code.scheme in _REGION:
            regions.append(code)
        elif code.scheme in _CCAM:
            # A SNOMED number under the OID of CCAM: fault of several reports in service.
            (regions if code.value.isdigit() else acts).append(code)
        else:
            other.append(code)
    return Exam(
        study_uid=study_uid,
        accession=order.accession,
        order=order.number,
        acts=tuple(acts or other),
        modalities=tuple(modalities),
        regions=tuple(regions),
        started=_value(event, "effectiveTime/low"),
        stopped=_value(event, "effectiveTime/high"),
        perhaps=perhaps,
    )


def _merged(one: Exam, other: Exam) -> Exam:
    """Two acts of one study. Where their orders differ, either may be the order of the study."""
    orders = [Order(exam.accession, exam.order) for exam in (one, other) if exam.accession or exam.order]
    differ = one.accession != other.accession or one.order != other.order
    perhaps = tuple(dict.fromkeys([*one.perhaps, *other.perhaps, *(orders if differ else ())]))
    return Exam(
        study_uid=one.study_uid,
        accession=one.accession if one.accession == other.accession else None,
        order=one.order if one.order == other.order else None,
        acts=tuple(dict.fromkeys([*one.acts, *other.acts])),
        modalities=tuple(dict.fromkeys([*one.modalities, *other.modalities])),
        regions=tuple(dict.fromkeys([*one.regions, *other.regions])),
        started=one.started or other.started,
        stopped=other.stopped or one.stopped,
        perhaps=perhaps,
    )


def _order(node: etree._Element) -> Order:
    accession = node.find(_ACCESSION)
    number = accession.get("extension", "").strip() if accession is not None else ""
    return Order(
        Identifier(number, accession.get("root", "")) if accession is not None and number else None,
        next(_identifiers(node), None),
    )


# --- Reading XML ---------------------------------------------------------------------------------------------------


def _document_id(root: etree._Element) -> Identifier:
    identifier = _instance_id(_find(root, "id"))
    if identifier is None:
        raise Malformed("required field", "the CDA has no id")
    return identifier


def _instance_id(node: etree._Element | None) -> Identifier | None:
    """An II of HL7 v3: a root alone is whole."""
    if node is None or not node.get("root"):
        return None
    return Identifier(node.get("extension", ""), node.get("root", ""))


@cache  # of the paths in this file
def _path(path: str) -> str:
    return "/".join(CDA + step for step in path.split("/"))


def _find(parent: etree._Element | None, path: str) -> etree._Element | None:
    return parent.find(_path(path)) if parent is not None else None


def _text(parent: etree._Element | None, path: str) -> str:
    node = _find(parent, path)
    return " ".join((node.text or "").split()) if node is not None else ""


def _value(parent: etree._Element | None, path: str) -> str:
    node = _find(parent, path)
    return node.get("value", "") if node is not None else ""


def _qualified(name: etree._Element | None, element: str, qualifier: str) -> str:
    """The text of the name part with this qualifier, `""` for none at all."""
    for node in name.iterfind(_path(element)) if name is not None else ():
        if node.get("qualifier", "") == qualifier and (node.text or "").strip():
            return " ".join((node.text or "").split())
    return ""


def _code(node: etree._Element) -> Code:
    return Code(node.get("code", ""), node.get("codeSystem", ""), node.get("displayName", ""))


def _told(node: etree._Element | None) -> Code | None:
    return _code(node) if node is not None and node.get("code") else None
