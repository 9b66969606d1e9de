"""Signature wrapping: the assertion that is signed is moved away, another stands in its place (Somorovsky, XSW1-8).

The sandbox DMP is the only place where assertions are verified; what it takes must be what was signed.
"""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from lxml import etree

from drimbox.dmp.signer import read_signer
from drimbox.dmp.vihf import build_vihf, speaker_of
from drimbox.model import Report
from drimbox.sandbox.certificates import SandboxCertificates
from drimbox.sandbox.dmp_assertion import check_vihf
from drimbox.sandbox.dmp_wire import NAMES, Fault
from drimbox.settings import Software
from drimbox.xds.soap import build_envelope

SOMEBODY = "255069999999934"


@cache
def now() -> datetime:
    """One moment for the module, read once the certificates are made: they are not valid before."""
    return datetime.now(UTC)


def forged(assertion: Any) -> Any:
    """What the attacker wants believed: the same, about another patient, under another ID."""
    text = etree.tostring(assertion).replace(b"269054958815780", SOMEBODY.encode())
    made: Any = etree.fromstring(text)
    made.set("ID", "_forged")
    return made


def without_signature(assertion: Any) -> Any:
    made = deepcopy(assertion)
    made.remove(made.find("ds:Signature", NAMES))
    return made


def beside(security: Any, assertion: Any) -> None:
    security.insert(0, without_signature(forged(assertion)))


def beside_with_signature(security: Any, assertion: Any) -> None:
    security.insert(0, forged(assertion))


def original_in_signature(security: Any, assertion: Any) -> None:
    false = forged(assertion)
    holder = etree.SubElement(false.find("ds:Signature", NAMES), f"{{{NAMES['ds']}}}Object")
    holder.append(without_signature(assertion))
    security.replace(assertion, false)


def original_as_child(security: Any, assertion: Any) -> None:
    false = forged(assertion)
    false.append(deepcopy(assertion))
    security.replace(assertion, false)


def original_in_extension(security: Any, assertion: Any) -> None:
    false = without_signature(forged(assertion))
    etree.SubElement(false, "{urn:x}Extensions").append(deepcopy(assertion))
    security.replace(assertion, false)


def original_elsewhere(security: Any, assertion: Any) -> None:
    false = forged(assertion)
    security.replace(assertion, false)
    security.getparent().append(assertion)


def same_id_twice(security: Any, assertion: Any) -> None:
    false = forged(assertion)
    false.set("ID", assertion.get("ID"))
    security.insert(0, false)


def changed_in_place(security: Any, assertion: Any) -> None:
    security.replace(assertion, forged(assertion))


WAYS: list[Callable[[Any, Any], None]] = [
    beside, beside_with_signature, original_in_signature, original_as_child, original_in_extension,
    original_elsewhere, same_id_twice, changed_in_place,
]  # fmt: skip


@pytest.mark.parametrize("wrap", WAYS)
def test_nothing_but_what_was_signed_is_believed(
    wrap: Callable[[Any, Any], None], certificates: SandboxCertificates, report: Report
) -> None:
    signer = read_signer(certificates.own.sign_certificate.read_bytes(), certificates.own.sign_key.read_bytes())
    assert report.patient.ins is not None
    assertion = build_vihf(
        speaker_of(report), report.patient.ins, Software(id="1"), signer, assertion_id="_1", now=now()
    )
    envelope: Any = etree.fromstring(
        build_envelope(etree.Element("b"), action="a", to="b", message_id="c", assertion=assertion)
    )
    ca, client = map(_certificate, (certificates.ca, certificates.own.sign_certificate))
    assert check_vihf(envelope, ca, client, now(), {}).patient_id.startswith("269054958815780^")
    security = envelope.find("s:Header/o:Security", NAMES)
    wrap(security, security.find("saml:Assertion", NAMES))
    wrapped = etree.fromstring(etree.tostring(envelope))
    with pytest.raises(Fault):
        check_vihf(wrapped, ca, client, now(), {})


def _certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())
