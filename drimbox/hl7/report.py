"""From an HL7 v2 message to a Report: ORU^R01, MDM^T02, T10 and T04 of the CI-SIS, CDA inside (drim-m.md B.1)."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from drimbox.errors import Malformed, NotAcceptable
from drimbox.hl7.cda import STRUCTURE, ClinicalDocument, read_cda
from drimbox.hl7.identity import read_patient
from drimbox.hl7.message import Message, Segment, message_id
from drimbox.model import Identifier, Report, Structure

_STATUS_OF: dict[str, Literal["F", "C", "D"]] = {"": "F", "F": "F", "U": "F", "C": "C", "D": "D", "X": "D", "W": "D"}
_CANCELLED = frozenset({"CA", "OC", "CR"})
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

    Raises NotAcceptable for a status that is none of a finished report, Conflict when HL7 and CDA name two patients,
    Malformed and TooLarge for the rest.
    """
    observation = _observation(message)
    status = _status(message, observation)
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
        patient=read_patient(message.find("PID"), document.patient),
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
        set_id=document.set_id,
        version=document.version,
        replaces=document.replaces,
        number=_number(message, 12),
        parent_number=_number(message, 13),
        visibility_only=flags.get("MODIF_CONF_CODE", False),
    )


def _number(message: Message, field_number: int) -> str:
    """A document number of TXA; empty without one."""
    document = message.find("TXA")
    return document.text(field_number) if document is not None else ""


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


def _status(message: Message, observation: Segment) -> Literal["F", "C", "D"]:
    """By the event of an MDM; of an ORU by OBX-11, or ORC-1 when the order is cancelled (HL7 tables 0085, 0119)."""
    event, control = message.header.text(9, 2), message.find("ORC")
    told = _STATUS_OF.get(observation.text(11))
    if told is None:
        raise NotAcceptable("OBX-11", "only final (F), corrected (C) and deleted (D, X, W) reports are accepted")
    if event == "T04" or told == "D" or (control is not None and control.text(1) in _CANCELLED):
        return "D"
    return "C" if event == "T10" else told


def _embedded(observation: Segment) -> bytes:
    value = observation.all(5)[0]
    if value.has_components() and value.text(4).upper() != "BASE64":
        raise Malformed("OBX-5", "the encoding of the CDA must be Base64")
    text = _SPACE.sub("", value.text(5) if value.has_components() else value.text())
    try:
        # An official sample has lost the padding; nothing else can be lost with it.
        cda = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
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
