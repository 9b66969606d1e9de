"""From an HL7 v2 message to a Report: ORU^R01 and MDM^T02 of the CI-SIS, CDA inside (drim-m.md B.1)."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from drimbox.errors import Conflict, Malformed, NotAcceptable
from drimbox.hl7.cda import STRUCTURE, ClinicalDocument, read_cda, sex_of
from drimbox.hl7.message import CHARSETS, Message, Repetition, Segment
from drimbox.kos.codes import INS_NAMESPACES
from drimbox.model import Identifier, Patient, Report, Structure

_VERSIONS = frozenset({"2.3.1", "2.4", "2.5", "2.5.1", "2.6"})
_REPORT_CODE = "18748-4"  # LOINC, Diagnostic imaging study
_CONFIDENTIALITY = {  # OBX-3.1 of the table MetaDMPMSS, to XDS; the last row is an old misspelling still in service
    "MASQUE_PS": "MASQUE_PS",
    "INVISIBLE_PATIENT": "INVISIBLE_PATIENT",
    "INVISIBLE_REP_LEGAUX": "INVISIBLE_REPRESENTANTS_LEGAUX",
    "INVISIBLE_REPRENSANTS_LEGAUX": "INVISIBLE_REPRESENTANTS_LEGAUX",
}
_SPACE = re.compile(r"\s+")


def read_report(message: Message) -> Report:
    """Read the report that `message` carries.

    Raises NotAcceptable for a message this version does not serve, Conflict when HL7 and CDA name two patients,
    Malformed and TooLarge for the rest.
    """
    _check_header(message)
    observation = _observation(message)
    status = _status(observation)
    cda = _embedded(observation)
    document = read_cda(cda)
    flags = dict(_flags(message))
    author_structure, legal_structure = _structures(message, document)
    asked = [_CONFIDENTIALITY[name] for name, value in flags.items() if value and name in _CONFIDENTIALITY]
    return Report(
        message_id=message_id(message),
        message=message.raw,
        cda=cda,
        document_id=document.id,
        status=status,
        patient=_patient(message.find("PID"), document.patient),
        author=document.author,
        author_structure=author_structure,
        legal_authenticator=document.legal_authenticator,
        legal_structure=legal_structure,
        exams=document.exams,
        title=document.title,
        created=document.created,
        confidentiality=tuple(dict.fromkeys([*document.confidentiality, *asked])),
        secret_connection=flags.get("CONNEXION_SECRETE", False),
        to_dmp=flags.get("DESTDMP", True),
    )


def message_id(message: Message) -> str:
    """What identifies a message for replays: MSH-3, MSH-4 and MSH-10. Raises Malformed without MSH-10."""
    if not message.header.text(10):
        raise Malformed("required field", "MSH-10, the control id, is empty")
    return "|".join(message.header.text(number) for number in (3, 4, 10))


def _check_header(message: Message) -> None:
    kind, event = message.header.text(9, 1), message.header.text(9, 2)
    if kind not in ("ORU", "MDM"):
        raise NotAcceptable("message type", "only ORU R01 and MDM T02 are accepted")
    if (kind, event) in (("MDM", "T10"), ("MDM", "T04")):
        raise NotAcceptable("trigger event", "replacing or deleting by MDM is not supported in this version")
    if (kind, event) not in (("ORU", "R01"), ("MDM", "T02")):
        raise NotAcceptable("trigger event", "only ORU R01 and MDM T02 are accepted")
    if message.header.text(12) not in _VERSIONS:
        raise NotAcceptable("version", f"MSH-12 must be one of {', '.join(sorted(_VERSIONS))}")
    if message.header.text(18).upper() not in CHARSETS:
        raise NotAcceptable("MSH-18", "the character set must be UNICODE UTF-8, 8859/1 or 8859/15")


# --- The document --------------------------------------------------------------------------------------------------


def _observation(message: Message) -> Segment:
    """The OBX that carries the CDA: type ED, subtype XML. Mail bodies (ED too) have no subtype.

    The public prototype's sample has bare base64 in OBX-5: recognised by its LOINC code.
    """
    for segment in message.all("OBX"):
        if segment.text(2) != "ED":
            continue
        for value in segment.all(5)[:1]:
            if value.text(3).upper() == "XML" or (not value.has_components() and segment.text(3) == _REPORT_CODE):
                return segment
    raise Malformed("required field", "no OBX of type ED carries a CDA: OBX-5 is (empty), TEXT, XML, Base64, data")


def _status(observation: Segment) -> Literal["F", "C"]:
    match observation.text(11):
        case "F" | "":
            return "F"
        case "C":
            return "C"
        case "D":
            raise NotAcceptable("trigger event", "deleting a report (OBX-11 D) is not supported in this version")
    raise NotAcceptable("OBX-11", "only final (F) and corrected (C) reports are accepted")


def _embedded(observation: Segment) -> bytes:
    value = observation.all(5)[0]
    if value.has_components() and value.text(4).upper() != "BASE64":
        raise Malformed("OBX-5", "the encoding of the CDA must be Base64")
    text = value.text(5) if value.has_components() else value.text()
    try:
        cda = base64.b64decode(_SPACE.sub("", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("OBX-5", "the base64 of the CDA is damaged") from error
    if not cda:
        raise Malformed("OBX-5", "the CDA is empty")
    return cda


def _flags(message: Message) -> Iterator[tuple[str, bool]]:
    """Name and value of each Y/N observation (table MetaDMPMSS)."""
    for segment in message.all("OBX"):
        if segment.text(2) in ("CE", "CWE"):
            yield segment.text(3), segment.text(5).upper() == "Y"


# --- The patient ---------------------------------------------------------------------------------------------------


def _patient(pid: Segment | None, told: Patient) -> Patient:
    """The identity of PID, completed by that of the CDA (`told`). Raises Conflict when their INS differ (P16)."""
    if pid is None:
        patient = told
    else:
        ins, local_id = _ins(pid), _local_id(pid)
        if ins and told.ins and (ins.value, ins.authority) != (told.ins.value, told.ins.authority):
            raise Conflict("patient", "PID-3 and the CDA carry two different INS: the report is refused")
        patient = replace(
            _named(pid, told),
            ins=ins or told.ins,
            local_id=_with_authority(local_id, told.local_id),
            birth_date=pid.text(7)[:8] or told.birth_date,
            sex=sex_of(pid.text(8)) or told.sex,
            birth_place=_birth_place(pid) or told.birth_place,
            qualified=ins is not None and any(status.text() == "VALI" for status in pid.all(32)),
        )
    if not patient.family:
        raise Malformed("required field", "neither PID-5 nor the CDA gives the birth name")
    return patient


def _ins(pid: Segment) -> Identifier | None:
    """The INS in force: an identifier with an expiration date (CX-8) is one the patient had before."""
    found = {
        Identifier(cx.text(1), cx.text(4, 2), INS_NAMESPACES[cx.text(4, 2)])
        for cx in pid.all(3)
        if cx.text(4, 2) in INS_NAMESPACES and cx.text(1) and not cx.text(8)
    }
    if len(found) > 1:
        raise Conflict("patient", "PID-3 carries two INS in force: the report is refused")
    return next(iter(found), None)


def _local_id(pid: Segment) -> Identifier | None:
    for cx in pid.all(3):
        if cx.text(5) == "PI" and cx.text(1) and cx.text(4, 2) not in INS_NAMESPACES:
            return Identifier(cx.text(1), cx.text(4, 2), cx.text(4, 1))
    return None


def _with_authority(local_id: Identifier | None, told: Identifier | None) -> Identifier | None:
    """Complete an identifier of PID that has no authority by the same one in the CDA, which always has one."""
    if local_id is None:
        return told
    if told is not None and not local_id.authority and told.value == local_id.value:
        return replace(local_id, authority=told.authority)
    return local_id


def _named(pid: Segment, told: Patient) -> Patient:
    """PID-5: repetition L is the birth name, D the used one (HL7 table 0200). A sole name without type is L."""
    names = pid.all(5)
    birth = _name_of_type(names, "L") or (names[0] if len(names) == 1 and not names[0].text(7) else None)
    used = _name_of_type(names, "D")
    return replace(
        told,
        family=(birth.text(1) if birth else "") or told.family,
        given=(birth.text(2) if birth else "") or told.given,
        birth_given_names=(birth.text(3) if birth else "") or told.birth_given_names,
        used_family=(used.text(1) if used else "") or told.used_family,
        used_given=(used.text(2) if used else "") or told.used_given,
    )


def _name_of_type(names: tuple[Repetition, ...], kind: str) -> Repetition | None:
    return next((name for name in names if name.text(7) == kind), None)


def _birth_place(pid: Segment) -> str:
    return next((address.text(9) for address in pid.all(11) if address.text(7) == "BDL"), "")


# --- The structures ------------------------------------------------------------------------------------------------


def _structures(message: Message, document: ClinicalDocument) -> tuple[Structure, Structure]:
    """Structures of the author and of the legal authenticator, in this order.

    The second chooses the certificate the DMP will see. When the CDA leaves it out, PRT-8 of the signer has it
    (drim-m.md B.1); then the author's stands for it, and the reverse.
    """
    legal = document.legal_structure or _signing_structure(message) or document.author_structure
    author = document.author_structure or legal
    if legal is None or author is None:
        raise Malformed("required field", "neither the CDA nor PRT-8 names the care structure of the report")
    return _located(author, document), _located(legal, document)


def _located(structure: Structure, document: ClinicalDocument) -> Structure:
    return replace(structure, sector=document.sector, practice=structure.practice or document.practice)


def _signing_structure(message: Message) -> Structure | None:
    for segment in message.all("PRT"):
        if segment.text(4) == "SB" and segment.text(8, 10):
            authority = segment.text(8, 6, 2) or STRUCTURE
            return Structure(Identifier(segment.text(8, 10), authority), segment.text(8))
    return None
