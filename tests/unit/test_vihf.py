"""The VIHF: what it says, and that two libraries believe its signature inside the envelope."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, InvalidInput, InvalidSignature
from signxml.verifier import SignatureConfiguration, XMLVerifier

import drimbox.sandbox
from drimbox.dmp.signer import Signer, read_signer
from drimbox.dmp.vihf import LIFE, Speaker, build_vihf, read_roles, speaker_of
from drimbox.errors import Malformed
from drimbox.model import Code, Exam, Identifier, Patient, Professional, Report, Structure
from drimbox.sandbox.certificates import make_certificates
from drimbox.settings import Software
from drimbox.xds.soap import build_envelope

RPPS = "1.2.250.1.71.4.2.1"
JOINED = Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)")
DOCTOR = Professional(Identifier("801234560801", RPPS), "MARTIN", "Claude", profession=JOINED)
CENTRE = Structure(Identifier("1750803447", "1.2.250.1.71.4.2.2"), "Centre", sector=Code("SA08", "1.2.250.1.71.4.2.4"))
SPEAKER = Speaker(DOCTOR, CENTRE)
INS = Identifier("269054958815780", "1.2.250.1.213.1.4.10")
NOW = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = {
    "a": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "hl7": "urn:hl7-org:v3",
}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    made = make_certificates(tmp_path_factory.mktemp("vihf"))
    return read_signer(made.own.sign_certificate.read_bytes(), made.own.sign_key.read_bytes())


def build(signer: Signer, speaker: Speaker = SPEAKER, secret: bool = False) -> etree._Element:
    software = Software(id="42", name="DRIMbox", version="1.0", homologation="H-1")
    return build_vihf(speaker, INS, software, signer, assertion_id="_1", now=NOW, secret=secret)


def in_envelope(assertion: etree._Element) -> bytes:
    return build_envelope(
        etree.Element("b"), action="urn:a", to="https://d", message_id="urn:uuid:1", assertion=assertion
    )


def texts(assertion: etree._Element) -> dict[str, str | None]:
    return {
        str(attribute.get("Name")): attribute.findtext("a:AttributeValue", None, NAMES)
        for attribute in assertion.iterfind("a:AttributeStatement/a:Attribute", NAMES)
    }


def test_it_says_who_speaks_for_whom_from_where(signer: Signer) -> None:
    assertion = build(signer)
    assert texts(assertion) == {
        "VIHF_Version": "3.0",
        "Authentification_Mode": "INDIRECTE",
        "Identifiant_Structure": "1750803447",
        "Secteur_Activite": "SA08^1.2.250.1.71.4.2.4",
        "urn:oasis:names:tc:xacml:2.0:resource:resource-id": "269054958815780^^^&1.2.250.1.213.1.4.10&ISO^NH",
        "Ressource_URN": "urn:dmp",
        "urn:oasis:names:tc:xspa:1.0:subject:subject-id": "Claude MARTIN",
        "LPS_ID": "42",
        "LPS_Nom": "DRIMbox",
        "LPS_Version": "1.0",
        "LPS_ID_HOMOLOGATION_DMP": "H-1",
        "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse": "",
        "urn:oasis:names:tc:xacml:2.0:subject:role": "",
    }
    roles = [(role.get("code"), role.get("codeSystem")) for role in assertion.iter("{urn:hl7-org:v3}Role")]
    assert roles == [("10", "1.2.250.1.71.1.2.7"), ("SM44", "1.2.250.1.71.4.2.5")]
    (purpose,) = assertion.iter("{urn:hl7-org:v3}PurposeOfUse")
    assert (purpose.get("code"), purpose.get("codeSystem")) == ("normal", "1.2.250.1.213.1.1.4.248")
    assert assertion.findtext("a:Subject/a:NameID", None, NAMES) == "801234560801"
    assert assertion.findtext("a:Issuer", None, NAMES) == "CN=Sandbox structure,OU=1750803447,O=Sandbox structure,C=FR"


def test_it_lives_five_minutes(signer: Signer) -> None:
    assertion = build(signer)
    conditions = assertion.find("a:Conditions", NAMES)
    assert conditions is not None
    assert assertion.get("IssueInstant") == conditions.get("NotBefore") == "2026-07-01T12:00:00.123Z"
    assert conditions.get("NotOnOrAfter") == "2026-07-01T12:05:00.123Z"
    assert timedelta(minutes=5) == LIFE


def test_a_secret_connection_is_told(signer: Signer) -> None:
    name = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"
    assert texts(build(signer, secret=True))[name] == "INVISIBLE_REPRESENTANTS_LEGAUX^1.2.250.1.213.1.1.4.13"


def test_its_children_are_in_the_order_of_the_schema(signer: Signer) -> None:
    folder = Path(drimbox.sandbox.__file__).parent / "schemas" / "saml"
    schema = etree.XMLSchema(etree.parse(folder / "sstc-saml-schema-assertion-2.0.xsd"))
    written = etree.fromstring(etree.tostring(build(signer)))
    for coded in list(written.iter("{urn:hl7-org:v3}*")):  # xsi:type CE is of HL7 v3, whose schema is not here
        parent = coded.getparent()
        assert parent is not None
        parent.remove(coded)
    schema.assertValid(written)


def verify(envelope: bytes, signer: Signer) -> etree._Element:
    (assertion,) = etree.fromstring(envelope).iter(f"{{{NAMES['a']}}}Assertion")
    config = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
    )
    verified = XMLVerifier().verify(assertion, x509_cert=signer.certificate, id_attribute="ID", expect_config=config)
    assert not isinstance(verified, list)
    assert verified.signed_xml is not None
    return verified.signed_xml


def verify_with_libxmlsec(envelope: bytes, signer: Signer) -> None:
    (assertion,) = etree.fromstring(envelope).iter(f"{{{NAMES['a']}}}Assertion")
    context = xmlsec.SignatureContext()
    context.register_id(assertion, "ID")
    pem = signer.certificate.public_bytes(Encoding.PEM)
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem)
    signature = assertion.find("ds:Signature", NAMES)
    assert signature is not None
    context.verify(signature)


def test_two_libraries_verify_it_inside_the_written_envelope(signer: Signer) -> None:
    envelope = in_envelope(build(signer))
    assert verify(envelope, signer).get("ID") == "_1"
    verify_with_libxmlsec(envelope, signer)
    assert b"<ds:Signature " in envelope


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"801234560801", b"801234560802"),
        (b"INDIRECTE", b"DIRECTE"),
        (b"12:05:00", b"13:05:00"),
        (b"normal", b"urgent"),
    ],
)
def test_one_change_kills_the_signature(before: bytes, after: bytes, signer: Signer) -> None:
    envelope = in_envelope(build(signer))
    assert envelope.count(before) >= 1
    changed = envelope.replace(before, after)
    with pytest.raises((InvalidDigest, InvalidSignature, InvalidInput)):
        verify(changed, signer)
    with pytest.raises(xmlsec.Error):
        verify_with_libxmlsec(changed, signer)


@pytest.mark.parametrize(
    ("profession", "specialty", "expected"),
    [
        (JOINED, None, [("10", "1.2.250.1.71.1.2.7"), ("SM44", "1.2.250.1.71.4.2.5")]),
        (None, JOINED, [("10", "1.2.250.1.71.1.2.7"), ("SM44", "1.2.250.1.71.4.2.5")]),
        (JOINED, JOINED, [("10", "1.2.250.1.71.1.2.7"), ("SM44", "1.2.250.1.71.4.2.5")]),
        (replace(JOINED, value="G15_60"), None, [("60", "1.2.250.1.71.1.2.7")]),
        (Code("10", "1.2.250.1.71.1.2.7"), Code("SM26", "x"), [("10", "1.2.250.1.71.1.2.7"), ("SM26", "x")]),
        (None, None, []),
    ],
)
def test_roles_are_profession_then_specialty(
    profession: Code | None, specialty: Code | None, expected: list[tuple[str, str]]
) -> None:
    roles = read_roles(replace(DOCTOR, profession=profession, specialty=specialty))
    assert [(role.value, role.scheme) for role in roles] == expected


@pytest.mark.parametrize(
    "speaker",
    [Speaker(replace(DOCTOR, profession=None), CENTRE), Speaker(DOCTOR, replace(CENTRE, sector=None))],
)
def test_a_speaker_who_lacks_what_the_vihf_requires_is_malformed(speaker: Speaker, signer: Signer) -> None:
    with pytest.raises(Malformed):
        build(signer, speaker)


def test_the_speaker_of_a_report_is_who_answers_for_it() -> None:
    signed = replace(DOCTOR, profession=None)
    report = Report(
        "m", b"", b"", Identifier("1"), "F", Patient(INS, None, "F", "G"), DOCTOR, CENTRE, signed,
        replace(CENTRE, name="Other", sector=None), (Exam("1.2"),),
    )  # fmt: skip
    assert speaker_of(report) == Speaker(DOCTOR, replace(CENTRE, name="Other"))
    other = replace(signed, id=Identifier("899", RPPS))
    assert speaker_of(replace(report, legal_authenticator=other)).professional == other


def test_a_key_that_does_not_fit_is_malformed(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate = made.own.sign_certificate.read_bytes()
    assert x509.load_pem_x509_certificate(certificate)
    for key in (made.own.tls_key.read_bytes(), elliptic, b"", certificate):
        with pytest.raises(Malformed):
            read_signer(certificate, key)
