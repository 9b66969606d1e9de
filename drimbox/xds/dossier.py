"""Does a patient have a DMP, and may we open it? TD0.2 and TD0.3 of the DMP (drim-m.md C.2).

TD0.2 is HL7 v3, interactions PRPA_IN201307UV02 and 308; TD0.3 is a service of the DMP's own. The answers are read by
the few elements that matter and refused when one is not there: their schemas are not public.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from lxml import etree

from drimbox.errors import Malformed
from drimbox.model import Identifier
from drimbox.xds import codes
from drimbox.xds.entry import utc_time
from drimbox.xds.xml import NAMESPACES, added

_DMP_DEVICE = "1.2.250.1.213.4.1.1.1"
_INTERACTIONS = "2.16.840.1.113883.1.6"
_TEST_OF_EXISTENCE = {
    "code": "TEST_EXST",
    "codeSystem": "1.2.250.1.213.1.1.4.11",
    "displayName": "Test d'existence de dossier",
}
_TEST_IDENTITIES = ("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.11")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Dossier:
    """What TD0.2 says of a patient's DMP.

    exists: there is one and it is open. status: statusCode of the patient in it, empty when not told.
    authorisation: of the professional who asks, `VALIDE` or why not, empty when not told.
    """

    exists: bool
    status: str = ""
    authorisation: str = ""

    @property
    def may_be_read(self) -> bool:
        """It exists, and who asks was authorised by the patient."""
        return self.exists and self.authorisation == "VALIDE"


def existence_query(
    ins: Identifier, *, source_id: str, software: str, message: UUID, query: UUID, now: datetime
) -> etree._Element:
    """Build PRPA_IN201307UV02: is there a DMP for this INS? source_id: OID of the installation."""
    root = etree.Element(f"{{{codes.HL7}}}PRPA_IN201307UV02", nsmap={None: codes.HL7})  # type: ignore[dict-item]
    root.set("ITSVersion", "XML_1.0")
    _hl7(root, "id", root=f"{source_id}.1", extension=str(message))
    _hl7(root, "creationTime", value=utc_time(now))
    _hl7(root, "interactionId", root=_INTERACTIONS, extension="PRPA_IN201307UV02")
    _hl7(root, "processingCode", code="D" if ins.authority in _TEST_IDENTITIES else "P")
    _hl7(root, "processingModeCode", code="T")
    _hl7(root, "acceptAckCode", code="AL")
    for role, kind, device, name in (
        ("receiver", "RCV", _DMP_DEVICE, "DMP"),
        ("sender", "SND", source_id, software),
    ):
        holder = _hl7(_hl7(root, role, typeCode=kind), "device", classCode="DEV", determinerCode="INSTANCE")
        _hl7(holder, "id", root=device)
        added(holder, codes.HL7, "softwareName", text=name)
    act = _hl7(root, "controlActProcess", classCode="CACT", moodCode="EVN")
    _hl7(act, "reasonCode", **_TEST_OF_EXISTENCE)
    parameters = _hl7(act, "queryByParameter")
    _hl7(parameters, "queryId", root=f"{source_id}.2", extension=str(query))
    _hl7(parameters, "statusCode", code="new")
    asked = _hl7(parameters, "parameterList")
    patient = _hl7(asked, "patientIdentifier")
    _hl7(patient, "value", root=ins.authority, extension=ins.value)
    added(patient, codes.HL7, "semanticsText", text="Patient.id")
    return root


def read_existence(body: etree._Element, ins: Identifier) -> Dossier:
    """Read PRPA_IN201308UV02.

    Raises Malformed when it is not that, does not say yes or no, or speaks of another patient than `ins`.
    """
    if body.tag != f"{{{codes.HL7}}}PRPA_IN201308UV02":
        raise Malformed("TD0.2 answer", "not a PRPA_IN201308UV02")
    answered = _attribute(body, ".//hl7:queryAck/hl7:queryResponseCode", "code")
    if answered == "NF":
        return Dossier(exists=False)
    accepted = _attribute(body, "hl7:acknowledgement", "typeCode")
    if answered != "OK" or accepted not in ("AA", "CA"):
        raise Malformed("TD0.2 answer", f"it says {_word(accepted) or 'nothing'} and {_word(answered) or 'nothing'}")
    known = [
        (found.get("root", ""), found.get("extension", ""))
        for found in body.iterfind(".//hl7:subject1/hl7:patient/hl7:id", NAMESPACES)
    ]
    if known and (ins.authority, ins.value) not in known:
        raise Malformed("TD0.2 answer", "it is about another patient")
    authorisation = ""
    for line in body.iterfind(".//hl7:attentionLine", NAMESPACES):
        if _attribute(line, "hl7:keyWordText", "code") == "AUTORISATION":
            authorisation = _attribute(line, "hl7:value", "code") or _attribute(line, "hl7:value", "value")
    status = _attribute(body, ".//hl7:subject1/hl7:patient/hl7:statusCode", "code")
    return Dossier(status in ("", "active"), _word(status), _word(authorisation).upper())


def set_authorization() -> etree._Element:
    """Build setAuthorization: the patient was informed and does not object; the professional may open the DMP."""
    root = etree.Element(f"{{{codes.HABILITATIONS}}}setAuthorization", nsmap={None: codes.HABILITATIONS})  # type: ignore[dict-item]
    added(root, codes.HABILITATIONS, "action", text="AJOUT")
    return root


def read_authorization(body: etree._Element) -> str:
    """The status of setAuthorizationResponse, a code of the DMP's own. Raises Malformed when there is none."""
    if body.tag != f"{{{codes.HABILITATIONS}}}setAuthorizationResponse":
        raise Malformed("TD0.3 answer", "not a setAuthorizationResponse")
    told = next((_word((found.text or "").strip()) for found in body.iter("{*}status")), "")
    if not told:
        raise Malformed("TD0.3 answer", "it has no status")
    return told


def _hl7(parent: etree._Element, name: str, /, **attributes: str) -> etree._Element:
    return added(parent, codes.HL7, name, attributes)


def _attribute(parent: etree._Element, path: str, name: str) -> str:
    found = parent.find(path, NAMESPACES)
    return (found.get(name) or "").strip() if found is not None else ""


def _word(text: str) -> str:
    """A code may be shown and kept; anything else may be a name."""
    return text if _WORD.fullmatch(text) else ""
