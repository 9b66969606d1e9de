"""How the sandbox DMP judges the XAdES document of a submission set (drim-m.md B.7).

Two signature libraries, the schemas, and then what no library looks at: that the manifest which is signed names each
document of the set with the digest of the bytes that came, and that it is signed by whom it says, now.
"""

import base64
import copy
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidInput
from signxml.verifier import SignatureConfiguration, XMLVerifier

from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.dmp_second_opinion import agrees
from drimbox.sandbox.dmp_wire import NAMES

_DS = NAMES["ds"]
_XADES = "http://uri.etsi.org/01903/v1.1.1#"
_NAMES = {"ds": _DS, "x": _XADES}
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_SIGNED = {"#IHEManifest": f"{_DS}Manifest", "#S0-SignedProperties": f"{_XADES}SignedProperties"}
_LATEST = timedelta(days=7)  # a submission may wait that long for the DMP; its signature does not change meanwhile


class SignatureRefusedError(Exception):
    """The signature document is not right: in one of its parts, named here."""


def check_signature(
    content: bytes, unique_id: str, set_uid: str, documents: Mapping[str, bytes], ca: x509.Certificate, now: datetime
) -> x509.Certificate:
    """Check the document `unique_id` that signs the set `set_uid` of `documents`; returns the signer's certificate.

    Raises SignatureRefusedError.
    """
    _require(b"<!DOCTYPE" not in content, "DOCTYPE")
    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise SignatureRefusedError("XML") from error
    _require(root.tag == f"{{{_DS}}}Signature" and root.get("Id") == unique_id, "root")
    identifiers = [str(found) for found in cast(list[object], root.xpath("//@Id"))]
    _require(len(identifiers) == len(set(identifiers)), "an Id is used twice")
    _check_schema(root)
    certificate = _certificate(root, ca, now)
    _check_references(root)
    _verify(content, certificate, set_uid, documents)
    _check_manifest(_one(root, "ds:Object/ds:Manifest[@Id='IHEManifest']"), set_uid, documents)
    _require(
        _one(root, ".//ds:SignatureProperty[@Id='purposeOfSignature']").text == "1.2.840.10065.1.12.1.14", "purpose"
    )
    _check_properties(_one(root, "ds:Object/x:QualifyingProperties"), unique_id, certificate, now)
    return certificate


def _check_schema(root: Any) -> None:
    """The profile leaves the schema in two places, and the schema is shown what it wants there.

    An OID, which the Id of the root is, is no XML name; and a SignatureProperty holds elements, where the profile has
    the bare code.
    """
    shown: Any = copy.deepcopy(root)
    shown.set("Id", f"oid-{root.get('Id')}")
    for purpose in shown.iterfind(".//ds:SignatureProperty", _NAMES):
        etree.SubElement(purpose, "{urn:oid:1.2.840.10065.1.12}code")
    schema = read_schema("xades/XAdES-1.1.1.xsd")
    _require(schema.validate(etree.fromstring(etree.tostring(shown))), f"schema: {schema.error_log}")


def _certificate(root: Any, ca: x509.Certificate, now: datetime) -> x509.Certificate:
    text = _one(root, "ds:KeyInfo/ds:X509Data/ds:X509Certificate").text
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text))
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise SignatureRefusedError("signer not trusted") from error
    _require(certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc, "signer's validity")
    return certificate


def _check_references(root: Any) -> None:
    """Exactly the manifest and the signed properties are signed, untransformed, each where it belongs."""
    told = {ref.get("URI"): ref.get("Type") for ref in root.findall("ds:SignedInfo/ds:Reference", _NAMES)}
    _require(told == _SIGNED, "references")
    _require(not root.xpath("//ds:Transforms", namespaces=_NAMES), "no transform")
    _one(root, "ds:Object/x:QualifyingProperties/x:SignedProperties[@Id='S0-SignedProperties']")


def _verify(content: bytes, certificate: x509.Certificate, set_uid: str, documents: Mapping[str, bytes]) -> None:
    expected = SignatureConfiguration(
        location="./",
        expect_references=2,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
    )
    try:
        XMLVerifier().verify(
            content, x509_cert=certificate, id_attribute="Id", expect_config=expected, validate_schema=False
        )
    except (InvalidInput, InvalidSignature, ValueError) as error:
        raise SignatureRefusedError("signature") from error
    root: Any = etree.fromstring(content)
    identified = ("ds:Object/ds:Manifest", "ds:Object/x:QualifyingProperties/x:SignedProperties")
    named = {f"urn:oid:{uid}": document for uid, document in documents.items()}
    named[f"urn:oid:{set_uid}"] = b""
    if not agrees(root, [(_one(root, path), "Id") for path in identified], certificate, named):
        raise SignatureRefusedError("signature, says libxmlsec")


def _check_manifest(manifest: Any, set_uid: str, documents: Mapping[str, bytes]) -> None:
    told = {}
    for reference in manifest.findall("ds:Reference", _NAMES):
        _require(_one(reference, "ds:DigestMethod").get("Algorithm") == _SHA256, "digest method")
        told[reference.get("URI")] = base64.b64decode(_one(reference, "ds:DigestValue").text)
    expected = {f"urn:oid:{uid}": hashlib.sha256(content).digest() for uid, content in documents.items()}
    _require(told == {f"urn:oid:{set_uid}": b"\0", **expected}, "manifest")


def _check_properties(qualifying: Any, unique_id: str, certificate: x509.Certificate, now: datetime) -> None:
    _require(qualifying.get("Target") == f"#{unique_id}", "target")
    signed_at = datetime.fromisoformat(_one(qualifying, ".//x:SigningTime").text)
    _require(signed_at.tzinfo is not None, "signing time has a zone")
    _require(now - _LATEST <= signed_at.astimezone(UTC) <= now + timedelta(minutes=2), "signing time")
    digest = base64.b64decode(_one(qualifying, ".//x:CertDigest/x:DigestValue").text)
    _require(digest == hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest(), "certificate digest")
    issuer = _one(qualifying, ".//x:IssuerSerial")
    _require(_one(issuer, "ds:X509IssuerName").text == certificate.issuer.rfc4514_string(), "certificate issuer")
    _require(_one(issuer, "ds:X509SerialNumber").text == str(certificate.serial_number), "certificate number")
    _one(qualifying, ".//x:SignaturePolicyImplied")


def _one(node: Any, path: str) -> Any:
    found = node.xpath(path, namespaces=_NAMES)
    _require(len(found) == 1, path)
    return found[0]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise SignatureRefusedError(what)
