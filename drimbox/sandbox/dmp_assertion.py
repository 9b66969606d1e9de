"""How the sandbox DMP judges a VIHF: two signature libraries, the SAML schema, the dates, and each attribute."""

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidInput
from signxml.verifier import SignatureConfiguration, XMLVerifier

from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.dmp_second_opinion import agrees
from drimbox.sandbox.dmp_wire import NAMES, Fault

Entities = Mapping[str, Collection[str]]
"""The geographic sites of legal entities, by the number of the entity: what the DMP knows from FINESS."""

_SKEW = timedelta(minutes=2)
_LONGEST = timedelta(minutes=15)
_TEXTS = {
    "VIHF_Version": r"[34]\.0",
    "Authentification_Mode": r"INDIRECTE|INDIRECTE_RENFORCEE",
    "Identifiant_Structure": r".+",
    "Secteur_Activite": r"SA\d+\^1\.2\.250\.1\.71\.4\.2\.4",
    "urn:oasis:names:tc:xacml:2.0:resource:resource-id": r"[0-9A-Z]+\^\^\^&1\.2\.250\.1\.213\.1\.4\.\d+&ISO\^NH",
    "Ressource_URN": r"urn:dmp",
    "urn:oasis:names:tc:xspa:1.0:subject:subject-id": r".+",
    "LPS_ID": r".+",
    "LPS_Nom": r".+",
    "LPS_Version": r".+",
    "LPS_ID_HOMOLOGATION_DMP": r".*",
}
_CODED = {
    "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse": ("PurposeOfUse", {"1.2.250.1.213.1.1.4.248"}),
    "urn:oasis:names:tc:xacml:2.0:subject:role": ("Role", {"1.2.250.1.71.1.2.7", "1.2.250.1.71.4.2.5"}),
}


@dataclass(frozen=True, slots=True)
class Vihf:
    """What an accepted assertion says. patient_id: CX. person: number of the professional.

    issuer: subject of the certificate that signed it. structure: Identifiant_Structure. institutions: the numbers that
    a submission may have in authorInstitution: the structure's own and, of a legal entity, those of its sites.
    """

    assertion_id: str
    patient_id: str
    mode: str
    person: str
    issuer: str
    structure: str
    institutions: frozenset[str]


def check_vihf(
    envelope: Any, ca: x509.Certificate, client: x509.Certificate, now: datetime, entities: Entities
) -> Vihf:
    """Verify the one assertion of the envelope and return what the *verified* element says. Raises Fault.

    client: the certificate of the channel. It speaks for its structure (modes EG and EJ), which the VIHF names, and
    that of an entity for its sites too (EJ/EG): the VIHF names either (drim-m.md B.8).
    """
    found = envelope.xpath("s:Header/o:Security/saml:Assertion", namespaces=NAMES)
    _require(len(found) == 1 and len(envelope.xpath("//saml:Assertion", namespaces=NAMES)) == 1, "one assertion")
    claimed = found[0]
    certificate = _certificate(claimed, ca, now)
    assertion = _verified(claimed, certificate)
    _check_schema(assertion)
    _check_dates(assertion, now)
    issuer = _one(assertion, "saml:Issuer/text()")
    _require(issuer == certificate.subject.rfc4514_string(), "issuer is the signer")
    _require(holder(certificate) == holder(client), "signer and TLS client are of the same structure")
    person = str(_one(assertion, "saml:Subject/saml:NameID/text()")).strip()
    _require(bool(person), "NameID")
    _require(not assertion.xpath(".//saml:AudienceRestriction", namespaces=NAMES), "no audience")
    attributes = _check_attributes(assertion)
    declared = assertion.xpath("saml:AuthnStatement/saml:AuthnContext/saml:AuthnContextDecl/text()", namespaces=NAMES)
    structure = attributes["Identifiant_Structure"]
    number = holder(client)[-1]
    _require(structure in (number, *entities.get(number, ())), "Identifiant_Structure is that of the certificates")
    strong = attributes["Authentification_Mode"] == "INDIRECTE_RENFORCEE"
    _require(declared == (["APP_BROWSER_AUTH"] if strong else []), "how the professional was authenticated")
    return Vihf(
        assertion_id=assertion.get("ID"),
        patient_id=attributes["urn:oasis:names:tc:xacml:2.0:resource:resource-id"],
        mode=attributes["Authentification_Mode"],
        person=person,
        issuer=str(issuer),
        structure=structure,
        institutions=frozenset({structure, *entities.get(structure, ())}),
    )


def _certificate(assertion: Any, ca: x509.Certificate, now: datetime) -> x509.Certificate:
    text = _one(assertion, "ds:Signature/ds:KeyInfo/ds:X509Data/ds:X509Certificate/text()")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text))
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Fault("signer not trusted", subcode="InvalidSecurityToken") from error
    _require(certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc, "signer's validity")
    return certificate


def _verified(assertion: Any, certificate: x509.Certificate) -> Any:
    expected = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
    )
    try:
        result = XMLVerifier().verify(assertion, x509_cert=certificate, id_attribute="ID", expect_config=expected)
    except (InvalidInput, InvalidSignature, ValueError) as error:
        raise Fault("signature", subcode="FailedCheck") from error
    verified = result.signed_xml  # type: ignore[union-attr]
    _require(verified is not None and verified.get("ID") == assertion.get("ID"), "the assertion is what is signed")
    if not agrees(assertion.find("ds:Signature", NAMES), [(assertion, "ID")], certificate):
        raise Fault("signature, says libxmlsec", subcode="FailedCheck")
    return verified


def _check_schema(assertion: Any) -> None:
    schema = read_schema("saml/sstc-saml-schema-assertion-2.0.xsd")
    copy: Any = etree.fromstring(etree.tostring(assertion))
    for coded in copy.xpath(
        "//saml:AttributeValue/*", namespaces=NAMES
    ):  # xsi:type of HL7 v3, whose schema is not here
        coded.getparent().remove(coded)
    _require(schema.validate(copy), f"SAML schema: {schema.error_log}")


def _check_dates(assertion: Any, now: datetime) -> None:
    issued = _moment(assertion.get("IssueInstant"))
    conditions = assertion.find("saml:Conditions", NAMES)
    start = _moment(conditions.get("NotBefore")) if conditions is not None else issued
    end = _moment(conditions.get("NotOnOrAfter")) if conditions is not None else issued + _LONGEST
    fresh = start - _SKEW <= now < end + _SKEW and end - start <= _LONGEST and abs(now - issued) <= _LONGEST
    if not fresh:
        raise Fault("assertion not valid now", subcode="MessageExpired")
    _moment(_one(assertion, "saml:AuthnStatement/@AuthnInstant"))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    _require(moment.tzinfo is not None, "dates have a zone")
    return moment.astimezone(UTC)


def _check_attributes(assertion: Any) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, pattern in _TEXTS.items():
        value = _one(assertion, f"saml:AttributeStatement/saml:Attribute[@Name='{name}']/saml:AttributeValue")
        texts[name] = value.text or ""
        _require(re.fullmatch(pattern, texts[name]) is not None, name)
    for name, (tag, schemes) in _CODED.items():
        path = f"saml:AttributeStatement/saml:Attribute[@Name='{name}']/saml:AttributeValue/*"
        values = assertion.xpath(path, namespaces=NAMES)
        _require(bool(values), name)
        for value in values:
            _require(value.tag == f"{{urn:hl7-org:v3}}{tag}" and bool(value.get("code")), name)
            _require(value.get("codeSystem") in schemes, f"{name}: scheme")
            _require(value.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "CE", f"{name}: type")
    return texts


def holder(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whose it is: O, and OU, which is the number of the structure."""
    units = (NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    return tuple(str(name.value) for oid in units for name in certificate.subject.get_attributes_for_oid(oid))


def _one(node: Any, path: str) -> Any:
    found = node.xpath(path, namespaces=NAMES)
    _require(len(found) == 1, path)
    return found[0]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Fault(f"VIHF not as it should be: {what}", subcode="InvalidSecurity")
