"""TD0.2 and TD0.3: what is asked, and what is believed of the answers (drim-m.md C.2)."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from lxml import etree

from drimbox.errors import Malformed
from drimbox.model import Identifier
from drimbox.xds.dossier import Dossier, existence_query, read_authorization, read_existence, set_authorization

INS = Identifier("269054958815780", "1.2.250.1.213.1.4.10")
HL7 = {"h": "urn:hl7-org:v3"}


def ask(ins: Identifier = INS) -> etree._Element:
    return existence_query(
        ins,
        source_id="1.2.250.1.999.1",
        software="DRIMbox",
        message=UUID(int=1),
        query=UUID(int=2),
        now=datetime(2026, 7, 1, 12, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("@ITSVersion", "XML_1.0"),
        ("h:id/@root", "1.2.250.1.999.1.1"),
        ("h:creationTime/@value", "20260701120000"),
        ("h:interactionId/@root", "2.16.840.1.113883.1.6"),
        ("h:interactionId/@extension", "PRPA_IN201307UV02"),
        ("h:receiver/h:device/h:id/@root", "1.2.250.1.213.4.1.1.1"),
        ("h:sender/h:device/h:softwareName/text()", "DRIMbox"),
        ("h:controlActProcess/h:reasonCode/@code", "TEST_EXST"),
        ("h:controlActProcess/h:queryByParameter/h:parameterList/h:patientIdentifier/h:value/@root", INS.authority),
        ("h:controlActProcess/h:queryByParameter/h:parameterList/h:patientIdentifier/h:value/@extension", INS.value),
    ],
)
def test_the_question_is_that_of_the_prototype(path: str, value: str) -> None:
    assert ask().xpath(path, namespaces=HL7) == [value]


@pytest.mark.parametrize(("authority", "kind"), [("1.2.250.1.213.1.4.8", "P"), ("1.2.250.1.213.1.4.10", "D")])
def test_a_test_identity_is_not_asked_for_in_production(authority: str, kind: str) -> None:
    asked = ask(Identifier(INS.value, authority))
    assert asked.xpath("h:processingCode/@code", namespaces=HL7) == [kind]


def existence(code: str = "OK", ack: str = "AA", ins: str = INS.value, status: str = "active", lines: str = "") -> str:
    return (
        f'<PRPA_IN201308UV02 xmlns="urn:hl7-org:v3">{lines}<acknowledgement typeCode="{ack}"/><controlActProcess>'
        f'<subject><registrationEvent><subject1><patient><id root="1.2.250.1.213.1.4.2" extension="x"/>'
        f'<id root="{INS.authority}" extension="{ins}"/><statusCode code="{status}"/></patient></subject1>'
        f'</registrationEvent></subject><queryAck><queryResponseCode code="{code}"/></queryAck></controlActProcess>'
        "</PRPA_IN201308UV02>"
    )


VALID = '<attentionLine><keyWordText code="AUTORISATION"/><value code="VALIDE"/></attentionLine>'
EXPIRED = '<attentionLine><keyWordText code="AUTORISATION"/><value code="expiree"/></attentionLine>'


@pytest.mark.parametrize(
    ("text", "dossier", "may_be_read"),
    [
        (existence(lines=VALID), Dossier(True, "active", "VALIDE"), True),
        (existence(lines=EXPIRED), Dossier(True, "active", "EXPIREE"), False),
        (existence(), Dossier(True, "active"), False),
        (existence(status="terminated", lines=VALID), Dossier(False, "terminated", "VALIDE"), False),
        (existence(code="NF"), Dossier(False), False),
    ],
)
def test_what_is_told_of_a_dmp(text: str, dossier: Dossier, may_be_read: bool) -> None:
    read = read_existence(etree.fromstring(text), INS)
    assert read == dossier
    assert read.may_be_read == may_be_read


@pytest.mark.parametrize(
    "text",
    [
        "<html/>",
        '<PRPA_IN201308UV02 xmlns="urn:hl7-org:v3"/>',
        existence(code="AE"),
        existence(ack="AE"),
        existence(ins="255069999999934"),  # another patient
    ],
)
def test_what_is_no_answer_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_existence(etree.fromstring(text), INS)
    assert "255069999999934" not in str(refused.value)


def test_an_authorisation_is_asked_for_and_its_status_read() -> None:
    asked = set_authorization()
    assert asked.tag == "{urn:si-dmp-habilitations}setAuthorization"
    assert asked.findtext("{urn:si-dmp-habilitations}action") == "AJOUT"
    answered = (
        '<setAuthorizationResponse xmlns="urn:si-dmp-habilitations"><status>DMPOk</status></setAuthorizationResponse>'
    )
    assert read_authorization(etree.fromstring(answered)) == "DMPOk"
    for wrong in (answered.replace("DMPOk", ""), answered.replace("DMPOk", "a name, and more"), "<x/>"):
        with pytest.raises(Malformed):
            read_authorization(etree.fromstring(wrong))
