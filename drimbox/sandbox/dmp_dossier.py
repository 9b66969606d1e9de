"""Whether the sandbox's patients have a DMP, and who may open it: TD0.2 and TD0.3 (drim-m.md C.2).

Everybody has one here, but the patients in `without`; a professional may open it once they said that the patient was
informed. The answers have the shape that public clients of the DMP read.
"""

from collections.abc import Container
from typing import Any
from xml.sax.saxutils import quoteattr

from drimbox.sandbox.dmp_assertion import Vihf
from drimbox.sandbox.dmp_store import Store
from drimbox.sandbox.dmp_wire import NAMES, Fault


def answer_existence(body: Any, vihf: Vihf, store: Store, without: Container[str]) -> str:
    """Answer PRPA_IN201307UV02 with PRPA_IN201308UV02. without: INS of patients that have no DMP. Raises Fault."""
    _require(body.tag == f"{{{NAMES['hl7']}}}PRPA_IN201307UV02", "PRPA_IN201307UV02")
    for path, wanted in (
        ("@ITSVersion", "XML_1.0"),
        ("hl7:interactionId/@extension", "PRPA_IN201307UV02"),
        ("hl7:receiver/hl7:device/hl7:softwareName/text()", "DMP"),
        ("hl7:controlActProcess/hl7:reasonCode/@code", "TEST_EXST"),
        ("hl7:controlActProcess/hl7:reasonCode/@codeSystem", "1.2.250.1.213.1.1.4.11"),
        ("hl7:controlActProcess/hl7:queryByParameter/hl7:statusCode/@code", "new"),
        ("//hl7:patientIdentifier/hl7:semanticsText/text()", "Patient.id"),
    ):
        _require([str(found) for found in body.xpath(path, namespaces=NAMES)] == [wanted], path)
    (value,) = body.xpath("//hl7:parameterList/hl7:patientIdentifier/hl7:value", namespaces=NAMES)
    ins, authority = value.get("extension"), value.get("root")
    _require(vihf.patient_id == f"{ins}^^^&{authority}&ISO^NH", "the patient is that of the assertion")
    exists = ins not in without
    allowed = "VALIDE" if store.is_authorised(vihf.patient_id, vihf.person) else "INEXISTANTE"
    line = (
        '<attentionLine><keyWordText code="AUTORISATION"/>'
        f'<value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CV" code="{allowed}"/></attentionLine>'
    )
    patient = (
        f'<subject1><patient classCode="PAT"><id root={quoteattr(authority)} extension={quoteattr(ins)}/>'
        '<statusCode code="active"/></patient></subject1>'
    )
    return (
        f'<PRPA_IN201308UV02 xmlns="{NAMES["hl7"]}" ITSVersion="XML_1.0">{line if exists else ""}'
        '<acknowledgement typeCode="AA"/><controlActProcess classCode="CACT" moodCode="EVN">'
        f"{patient if exists else ''}"
        f'<queryAck><queryResponseCode code="{"OK" if exists else "NF"}"/></queryAck>'
        "</controlActProcess></PRPA_IN201308UV02>"
    )


def answer_authorisation(body: Any, vihf: Vihf, store: Store, without: Container[str]) -> str:
    """Answer setAuthorization. Raises Fault."""
    _require(body.tag == f"{{{NAMES['h']}}}setAuthorization", "setAuthorization")
    _require(body.xpath("h:action/text()", namespaces=NAMES) == ["AJOUT"], "action")
    exists = vihf.patient_id.partition("^")[0] not in without
    if exists:
        store.authorise(vihf.patient_id, vihf.person)
    status = "DMPOk" if exists else "DMPPatientUnknown"
    return f'<setAuthorizationResponse xmlns="{NAMES["h"]}"><status>{status}</status></setAuthorizationResponse>'


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Fault(f"not as it should be: {what}")
