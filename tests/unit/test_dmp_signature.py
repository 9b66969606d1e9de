"""The document that signs a submission set: three judges, its layout, and forgeries (drim-m.md B.7)."""

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from lxml import etree

from drimbox.dmp.signature import build_signature
from drimbox.dmp.signer import Signer, read_signer
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates
from drimbox.sandbox.dmp_second_opinion import agrees
from drimbox.sandbox.dmp_signature import SignatureRefusedError, check_signature

KOS = b"a manifest"
NAMES = {"ds": "http://www.w3.org/2000/09/xmldsig#", "x": "http://uri.etsi.org/01903/v1.1.1#"}
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"


@cache
def now() -> datetime:
    """One moment for the module, read once the certificates are made: they are not valid before."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SandboxCertificates:
    return make_certificates(tmp_path_factory.mktemp("signature"))


@pytest.fixture(scope="module")
def signer(made: SandboxCertificates) -> Signer:
    return read_signer(made.own.sign_certificate.read_bytes(), made.own.sign_key.read_bytes())


def sign(signer: Signer, algorithm: str = "sha256") -> bytes:
    return build_signature(
        [("1.2.3", KOS)], set_uid="1.2.9", signature_uid="2.25.44", signer=signer, signed_at=now(), algorithm=algorithm
    )


def check(made: SandboxCertificates, content: bytes, kos: bytes = KOS) -> None:
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    check_signature(content, "2.25.44", "1.2.9", {"1.2.3": kos}, ca, now())


def test_schemas_and_two_libraries_believe_it(made: SandboxCertificates, signer: Signer) -> None:
    content = sign(signer)
    check(made, content)
    assert sign(signer) == content


def test_it_has_the_layout_of_the_official_sample(signer: Signer) -> None:
    root = etree.fromstring(sign(signer))
    assert [etree.QName(child).localname for child in root] == [
        "SignedInfo", "SignatureValue", "KeyInfo", "Object", "Object", "Object",
    ]  # fmt: skip
    assert root.get("Id") == "2.25.44"
    method = root.find("ds:SignedInfo/ds:CanonicalizationMethod", NAMES)
    assert method is not None
    assert method.get("Algorithm") == "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
    references = root.findall("ds:SignedInfo/ds:Reference", NAMES)
    assert [(ref.get("URI"), ref.get("Type")) for ref in references] == [
        ("#IHEManifest", "http://www.w3.org/2000/09/xmldsig#Manifest"),
        ("#S0-SignedProperties", "http://uri.etsi.org/01903/v1.1.1#SignedProperties"),
    ]
    purpose = root.find("ds:Object/ds:SignatureProperties/ds:SignatureProperty", NAMES)
    assert purpose is not None
    assert (purpose.get("Id"), purpose.get("Target"), purpose.text) == (
        "purposeOfSignature", "#2.25.44", "1.2.840.10065.1.12.1.14",
    )  # fmt: skip
    listed = {
        ref.get("URI"): ref.findtext("ds:DigestValue", "", NAMES)
        for ref in root.iterfind("ds:Object/ds:Manifest[@Id='IHEManifest']/ds:Reference", NAMES)
    }
    assert listed == {
        "urn:oid:1.2.9": "AA==",
        "urn:oid:1.2.3": base64.b64encode(hashlib.sha256(KOS).digest()).decode(),
    }
    signed = "ds:Object/x:QualifyingProperties/x:SignedProperties/x:SignedSignatureProperties"
    properties = root.find(signed, NAMES)
    assert properties is not None
    assert [etree.QName(child).localname for child in properties] == [
        "SigningTime", "SigningCertificate", "SignaturePolicyIdentifier",
    ]  # fmt: skip


def test_sha1_is_there_for_a_dmp_that_asks_for_it(made: SandboxCertificates, signer: Signer) -> None:
    content = sign(signer, "sha1")
    root = etree.fromstring(content)
    assert {node.get("Algorithm") for node in root.iter("{*}DigestMethod")} == {SHA1}
    method = root.find("ds:SignedInfo/ds:SignatureMethod", NAMES)
    assert method is not None
    assert method.get("Algorithm") == "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
    identified = [
        (root.find(path, NAMES), "Id")
        for path in ("ds:Object/ds:Manifest", "ds:Object/x:QualifyingProperties/x:SignedProperties")
    ]
    assert agrees(root, identified, signer.certificate, {"urn:oid:1.2.3": KOS, "urn:oid:1.2.9": b""})
    with pytest.raises(SignatureRefusedError):  # our own DMP asks for SHA-256
        check(made, content)


MANIFEST = b'<ds:Manifest xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="IHEManifest">'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"urn:oid:1.2.3", b"urn:oid:1.2.4"),  # another document
        (b'Id="2.25.44"', b'Id="2.25.45"'),  # another signature
        (b"AA==", b"AQ=="),
        (b"1.2.840.10065.1.12.1.14", b"1.2.840.10065.1.12.1.1"),  # another purpose
        (b"<x:SignaturePolicyImplied></x:SignaturePolicyImplied>", b""),
        (b"</x:SigningTime>", b" </x:SigningTime>"),
        (b"#rsa-sha256", b"#hmac-sha256"),  # HMAC confusion
        (b"xmldsig-more#rsa-sha256", b"xmldsig-more#rsa-sha384"),
        (b"<ds:Signature ", b"<!DOCTYPE x><ds:Signature "),
        (b"<ds:Object>", b"<ds:Object>" + MANIFEST + b"</ds:Manifest></ds:Object><ds:Object>"),  # wrapped: two of an Id
        (b'URI="#IHEManifest">', b'URI="#IHEManifest"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/TR/'
         b'1999/REC-xpath-19991116"><ds:XPath>0</ds:XPath></ds:Transform></ds:Transforms>'),
        (b"#S0-SignedProperties", b"#purposeOfSignature"),  # the properties are not what is signed
    ],
)  # fmt: skip
def test_a_change_anywhere_is_seen(before: bytes, after: bytes, made: SandboxCertificates, signer: Signer) -> None:
    content = sign(signer)
    assert before in content
    with pytest.raises(SignatureRefusedError):
        check(made, content.replace(before, after, 1))


def test_other_bytes_than_those_signed_are_refused(made: SandboxCertificates, signer: Signer) -> None:
    with pytest.raises(SignatureRefusedError, match="manifest"):
        check(made, sign(signer), kos=b"another manifest")


def test_a_key_of_nobody_we_trust_is_refused(tmp_path: Path, made: SandboxCertificates) -> None:
    other = make_certificates(tmp_path)
    with pytest.raises(SignatureRefusedError, match="not trusted"):
        check(made, sign(read_signer(other.own.sign_certificate.read_bytes(), other.own.sign_key.read_bytes())))
