"""The XAdES document that signs a submission set (drim-m.md B.7; IHE ITI TF-3 §5.5 DSG; ETSI TS 101 903 v1.1.1).

Pure: the moment, the ids and the key are arguments. A manifest (XML Signature §5.1) names the set and each document
with its digest; the manifest and the signed properties are what the signature covers. The layout, attribute by
attribute, is that of the official sample; the algorithms are ours to choose.
"""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from drimbox.dmp.signer import Algorithm, Signer
from drimbox.xds.codes import PURPOSE_SOURCE
from drimbox.xds.xml import added

DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.1.1#"
MANIFEST_ID = "IHEManifest"
PROPERTIES_ID = "S0-SignedProperties"

_C14N_WITH_COMMENTS = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
_DIGEST_URIS: dict[Algorithm, str] = {"sha256": "http://www.w3.org/2001/04/xmlenc#sha256", "sha1": f"{DS}sha1"}
_SIGNATURE_URIS: dict[Algorithm, str] = {
    "sha256": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "sha1": f"{DS}rsa-sha1",
}
_HASHES: dict[Algorithm, HashAlgorithm] = {"sha256": SHA256(), "sha1": SHA1()}  # noqa: S303 the DMP's choice, not ours
# The set has no bytes of its own to digest: the profile wants its uniqueId named beside one byte of zero.
_NO_DIGEST = b"\0"


def build_signature(
    documents: Iterable[tuple[str, bytes]],
    *,
    set_uid: str,
    signature_uid: str,
    signer: Signer,
    signed_at: datetime,
    algorithm: Algorithm = "sha256",
) -> bytes:
    """Sign a submission set of the documents (uniqueId, bytes). The same arguments give the same bytes.

    set_uid: its uniqueId. signature_uid: uniqueId of the document this makes, and Id of its root as the DMP wants it,
    though an OID is no XML name. Both are OIDs, checked before. signed_at: aware.
    """
    manifest = _element(DS, "Manifest", Id=MANIFEST_ID)
    _add_reference(manifest, f"urn:oid:{set_uid}", _NO_DIGEST, algorithm)
    for unique_id, content in documents:
        _add_reference(manifest, f"urn:oid:{unique_id}", _digest(content, algorithm), algorithm)
    listed = _canonical(manifest)
    properties = _canonical(_signed_properties(signer, signed_at, algorithm))
    info = _element(DS, "SignedInfo")
    added(info, DS, "CanonicalizationMethod", {"Algorithm": _C14N_WITH_COMMENTS})
    added(info, DS, "SignatureMethod", {"Algorithm": _SIGNATURE_URIS[algorithm]})
    _add_reference(info, f"#{MANIFEST_ID}", _digest(listed, algorithm), algorithm, f"{DS}Manifest")
    _add_reference(info, f"#{PROPERTIES_ID}", _digest(properties, algorithm), algorithm, f"{XADES}SignedProperties")
    signed = _canonical(info)
    value = _base64(signer.key.sign(signed, PKCS1v15(), _HASHES[algorithm]))
    certificate = _base64(signer.certificate.public_bytes(Encoding.DER))
    purpose = f'<ds:SignatureProperty Id="purposeOfSignature" Target="#{signature_uid}">{PURPOSE_SOURCE.value}'
    return b"".join(
        [
            f'<?xml version="1.0" encoding="UTF-8"?>\n<ds:Signature xmlns:ds="{DS}" Id="{signature_uid}">'.encode(),
            signed,
            f"<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>".encode(),
            f"{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>".encode(),
            f"<ds:Object><ds:SignatureProperties>{purpose}</ds:SignatureProperty>".encode(),
            b"</ds:SignatureProperties></ds:Object><ds:Object>",
            listed,
            f'</ds:Object><ds:Object><x:QualifyingProperties xmlns:x="{XADES}" Target="#{signature_uid}">'.encode(),
            properties,
            b"</x:QualifyingProperties></ds:Object></ds:Signature>",
        ]
    )


def _signed_properties(signer: Signer, signed_at: datetime, algorithm: Algorithm) -> etree._Element:
    """XAdES: when, and with which certificate."""
    signed = _element(XADES, "SignedProperties", Id=PROPERTIES_ID)
    properties = added(signed, XADES, "SignedSignatureProperties")
    added(properties, XADES, "SigningTime", text=signed_at.isoformat(timespec="milliseconds"))
    certificate = added(added(properties, XADES, "SigningCertificate"), XADES, "Cert")
    digest = added(certificate, XADES, "CertDigest")
    added(digest, XADES, "DigestMethod", {"Algorithm": _DIGEST_URIS[algorithm]})
    der = signer.certificate.public_bytes(Encoding.DER)
    added(digest, XADES, "DigestValue", text=_base64(_digest(der, algorithm)))
    issued = added(certificate, XADES, "IssuerSerial")
    for name, text in (
        ("X509IssuerName", signer.certificate.issuer.rfc4514_string()),
        ("X509SerialNumber", str(signer.certificate.serial_number)),
    ):
        added(issued, DS, name, text=text)
    added(added(properties, XADES, "SignaturePolicyIdentifier"), XADES, "SignaturePolicyImplied")
    added(signed, XADES, "SignedDataObjectProperties")
    return signed


def _add_reference(parent: etree._Element, uri: str, digest: bytes, algorithm: Algorithm, kind: str = "") -> None:
    reference = added(parent, DS, "Reference", {"Type": kind, "URI": uri} if kind else {"URI": uri})
    added(reference, DS, "DigestMethod", {"Algorithm": _DIGEST_URIS[algorithm]})
    added(reference, DS, "DigestValue", text=_base64(digest))


def _element(namespace: str, name: str, **attributes: str) -> etree._Element:
    """A root that declares what is in scope where it is going to stand."""
    scope = {"ds": DS} if namespace == DS else {"ds": DS, "x": XADES}
    return etree.Element(f"{{{namespace}}}{name}", attributes, nsmap=scope)


def _canonical(root: etree._Element) -> bytes:
    """Canonical XML 1.0 of a whole document; put into another one as it is, it stays what it was.

    It is made apart, and with prefixes, because lxml, which canonicalises for us and for verifiers such as signxml,
    makes mistakes with what an element has from its ancestors.
    """
    return etree.tostring(root, method="c14n", exclusive=False, with_comments=True)


def _digest(content: bytes, algorithm: Algorithm) -> bytes:
    return hashlib.new(algorithm, content, usedforsecurity=algorithm != "sha1").digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
