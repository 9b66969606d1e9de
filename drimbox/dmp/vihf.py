"""The VIHF: the SAML 2.0 assertion that says to the DMP who speaks, for whom and from where (drim-m.md B.8).

Pure: the moment, the identifier and the key are arguments. An assertion is made anew for each attempt and lives a few
minutes. Sources: SAML 2.0 core; CI-SIS "Transport synchrone pour client lourd"; the official DRIM-M samples.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from drimbox.dmp.signer import Algorithm, Signer
from drimbox.errors import Malformed
from drimbox.model import Code, Identifier, Professional, Report, Structure
from drimbox.settings import Software
from drimbox.xds.codes import CONFIDENTIALITY
from drimbox.xds.entry import ins_cx
from drimbox.xds.xml import added

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
LIFE = timedelta(minutes=5)

# INDIRECTE: the software vouches for the professional (report-driven). INDIRECTE_RENFORCEE: the professional is
# logged in with Pro Santé Connect (consultation).
Mode = Literal["INDIRECTE", "INDIRECTE_RENFORCEE"]

_DS = "http://www.w3.org/2000/09/xmldsig#"
_HL7 = "urn:hl7-org:v3"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SUBJECT_NAME = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
_TLS_CLIENT = "urn:oasis:names:tc:SAML:2.0:ac:classes:TLSClient"
_BROWSER = "APP_BROWSER_AUTH"

_PROFESSION = "1.2.250.1.71.1.2.7"
_SPECIALTY = "1.2.250.1.71.4.2.5"
# The CDA writes both in one code, `G15_10/SM44`: table of the profession, profession, specialty.
_CDA_SPECIALTY = "1.2.250.1.213.1.1.4.5"
_JOINED = re.compile(r"G\d+_(?P<profession>[0-9A-Z]+)(?:/(?P<specialty>[0-9A-Z]+))?", re.ASCII)
_SECTOR = "1.2.250.1.71.4.2.4"
_NORMAL_ACCESS = {
    "code": "normal",
    "codeSystem": "1.2.250.1.213.1.1.4.248",
    "codeSystemName": "mode acces VIHF 1.0",
    "displayName": "Acces normal",
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks to the DMP, and the care structure they speak from."""

    professional: Professional
    structure: Structure


def build_vihf(
    speaker: Speaker,
    patient_ins: Identifier,
    software: Software,
    signer: Signer,
    *,
    assertion_id: str,
    now: datetime,
    mode: Mode = "INDIRECTE",
    secret: bool = False,
    algorithm: Algorithm = "sha256",
) -> etree._Element:
    """Build and sign the assertion; it is ready to be put in wsse:Security, and must not be changed.

    assertion_id: an XML name, new at each call. secret: secret connection, hidden from the legal representatives.
    A professional who is logged in (INDIRECTE_RENFORCEE) is so through a browser, and the DMP wants it said.
    Raises Malformed when the profession of the speaker or the sector of the structure is not told.
    """
    instant = now.astimezone(UTC)
    root = etree.Element(f"{{{SAML}}}Assertion", nsmap={"saml2": SAML, "xsi": _XSI})
    root.set("ID", assertion_id)
    root.set("IssueInstant", _iso(instant))
    root.set("Version", "2.0")
    issuer = signer.certificate.subject.rfc4514_string()
    added(root, SAML, "Issuer", {"Format": _SUBJECT_NAME}, text=issuer)
    # The place the schema wants, with the prefix that will be written: another one would be rewritten after the
    # digest is made.
    etree.SubElement(root, f"{{{_DS}}}Signature", {"Id": "placeholder"}, nsmap={"ds": _DS})
    added(added(root, SAML, "Subject"), SAML, "NameID", text=speaker.professional.id.value)
    added(root, SAML, "Conditions", {"NotBefore": _iso(instant), "NotOnOrAfter": _iso(instant + LIFE)})
    context = added(added(root, SAML, "AuthnStatement", {"AuthnInstant": _iso(instant)}), SAML, "AuthnContext")
    added(context, SAML, "AuthnContextClassRef", text=_TLS_CLIENT)
    if mode == "INDIRECTE_RENFORCEE":
        added(context, SAML, "AuthnContextDecl", text=_BROWSER)
    _add_attributes(added(root, SAML, "AttributeStatement"), speaker, patient_ins, software, mode, secret)
    return _signed(root, signer, algorithm)


def speaker_of(report: Report) -> Speaker:
    """Who speaks for a report: the professional who answers for it, from their structure (drim-m.md B.8, FAQ:8801).

    What the CDA tells only of the author is taken from there, when the author is the same one.
    """
    person, structure = report.legal_authenticator, report.legal_structure
    if person.profession is None and person.specialty is None and person.id == report.author.id:
        person = replace(person, profession=report.author.profession, specialty=report.author.specialty)
    return Speaker(person, replace(structure, sector=structure.sector or report.author_structure.sector))


def read_roles(professional: Professional) -> tuple[Code, ...]:
    """The profession, and the specialty when told, in the schemes of the VIHF."""
    roles: list[Code] = []
    for code in filter(None, (professional.profession, professional.specialty)):
        joined = _JOINED.fullmatch(code.value) if code.scheme == _CDA_SPECIALTY else None
        if joined is None:
            roles.append(code)
            continue
        roles.append(Code(joined["profession"], _PROFESSION, code.meaning))
        if joined["specialty"]:
            roles.append(Code(joined["specialty"], _SPECIALTY, code.meaning))
    return tuple({(role.value, role.scheme): role for role in roles}.values())


def _add_attributes(
    statement: etree._Element, speaker: Speaker, ins: Identifier, software: Software, mode: Mode, secret: bool
) -> None:
    professional, structure = speaker.professional, speaker.structure
    if structure.sector is None:
        raise Malformed("structure", "its sector of activity is not told, and the VIHF requires it")
    roles = read_roles(professional)
    if not roles:
        raise Malformed("professional", "the profession is not told, and the VIHF requires it")
    texts = {
        "VIHF_Version": "3.0",
        "Authentification_Mode": mode,
        "Identifiant_Structure": structure.id.value,
        "Secteur_Activite": f"{structure.sector.value}^{_SECTOR}",
        "urn:oasis:names:tc:xacml:2.0:resource:resource-id": ins_cx(ins),
        "Ressource_URN": "urn:dmp",
        "urn:oasis:names:tc:xspa:1.0:subject:subject-id": f"{professional.given} {professional.family}".strip(),
        "LPS_ID": software.id,
        "LPS_Nom": software.name,
        "LPS_Version": software.version,
        "LPS_ID_HOMOLOGATION_DMP": software.homologation,
    }
    if secret:
        hidden = CONFIDENTIALITY["INVISIBLE_REPRESENTANTS_LEGAUX"]
        texts["urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"] = (
            f"{hidden.value}^{hidden.scheme}"
        )
    for name, text in texts.items():
        added(_attribute(statement, name), SAML, "AttributeValue", text=text)
    _add_coded(
        _attribute(statement, "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"), "PurposeOfUse", _NORMAL_ACCESS
    )
    role_attribute = _attribute(statement, "urn:oasis:names:tc:xacml:2.0:subject:role")
    for role in roles:
        coded = {"code": role.value, "codeSystem": role.scheme, "displayName": role.meaning}
        _add_coded(role_attribute, "Role", coded)


def _attribute(statement: etree._Element, name: str) -> etree._Element:
    return added(statement, SAML, "Attribute", {"Name": name})


def _add_coded(attribute: etree._Element, name: str, coded: dict[str, str]) -> None:
    """A coded value, hl7 CE; the type is a QName, so HL7 must be the default namespace there."""
    value = added(attribute, SAML, "AttributeValue")
    element = etree.SubElement(value, f"{{{_HL7}}}{name}", nsmap={None: _HL7})  # type: ignore[dict-item]
    element.set(f"{{{_XSI}}}type", "CE")
    for key, text in coded.items():
        element.set(key, text)


class _Sha1Signer(XMLSigner):
    """signxml refuses to sign with SHA-1 unless told; here the operator told, because their DMP asks for it."""

    def check_deprecated_methods(self) -> None:
        """Allowed."""


def _signed(root: etree._Element, signer: Signer, algorithm: Algorithm) -> etree._Element:
    signature, digest, kind = _METHODS[algorithm]
    method = kind(
        signature_algorithm=signature,
        digest_algorithm=digest,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    method.namespaces = {"ds": _DS}
    signed: etree._Element = method.sign(
        root, key=signer.key, cert=[signer.certificate], reference_uri=str(root.get("ID")), id_attribute="ID"
    )
    return signed


_METHODS: dict[Algorithm, tuple[SignatureMethod, DigestAlgorithm, type[XMLSigner]]] = {
    "sha256": (SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256, XMLSigner),
    "sha1": (SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA1, _Sha1Signer),
}


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
