"""Certificates for the neighbours played on loopback: one authority, and the leaves under it.

They stand in for IGC-Santé: a server certificate for the neighbours, and for us the two of each care structure, ORG
AUTH_CLI (TLS client) and ORG SIGN (signature), whose OU is its number. Nothing outside this machine believes them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from drimbox.sandbox.ris_document import STRUCTURE

_VALID = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=7)
_BITS = 2048


@dataclass(frozen=True, slots=True)
class StructureCertificates:
    """Paths of PEM files of one care structure, by the names they have in `dmp.structures`."""

    tls_certificate: Path
    tls_key: Path
    sign_certificate: Path
    sign_key: Path

    def settings(self) -> dict[str, str]:
        """The keys of a structure in `dmp.structures` that name files."""
        return {key: str(path) for key, path in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class SandboxCertificates:
    """Paths of PEM files. Keys are PKCS#8, without passphrase, readable by their owner only. structures: by number."""

    ca: Path
    server_certificate: Path
    server_key: Path
    structures: Mapping[str, StructureCertificates]

    @property
    def own(self) -> StructureCertificates:
        """Those of the first structure."""
        return next(iter(self.structures.values()))


def make_certificates(folder: Path, structures: Iterable[str] = (STRUCTURE,)) -> SandboxCertificates:
    """Return the certificates in `folder`, making all of them anew unless the ones there are sound.

    structures: numbers of the care structures that need some. Sound: all present, keys fit, issued by the authority to
    the right structure, valid for another week. The authority's key is not kept.
    """
    paths = SandboxCertificates(
        folder / "ca.pem",
        folder / "server.pem",
        folder / "server-key.pem",
        {
            number: StructureCertificates(
                folder / f"{number}-client.pem",
                folder / f"{number}-client-key.pem",
                folder / f"{number}-sign.pem",
                folder / f"{number}-sign-key.pem",
            )
            for number in structures
        },
    )
    if not _are_sound(paths):
        folder.mkdir(parents=True, exist_ok=True)
        _make(paths)
    return paths


@dataclass(frozen=True, slots=True)
class _Leaf:
    certificate: Path
    key: Path
    subject: x509.Name
    extended: tuple[ObjectIdentifier, ...]
    usage: tuple[str, ...]


def _leaves(paths: SandboxCertificates) -> Iterator[_Leaf]:
    server = ("digital_signature", "key_encipherment")
    subject = _name("localhost", "Sandbox structure")
    yield _Leaf(paths.server_certificate, paths.server_key, subject, (ExtendedKeyUsageOID.SERVER_AUTH,), server)
    for number, held in paths.structures.items():
        subject = _name("drimbox.sandbox", "Sandbox structure", number)
        client = (ExtendedKeyUsageOID.CLIENT_AUTH,)
        yield _Leaf(held.tls_certificate, held.tls_key, subject, client, ("digital_signature",))
        subject = _name("Sandbox structure", "Sandbox structure", number)
        yield _Leaf(held.sign_certificate, held.sign_key, subject, (), ("digital_signature", "content_commitment"))


def _are_sound(paths: SandboxCertificates) -> bool:
    soon = datetime.now(UTC) + _RENEW_BEFORE
    try:
        ca = x509.load_pem_x509_certificate(paths.ca.read_bytes())
        for leaf in _leaves(paths):
            certificate = x509.load_pem_x509_certificate(leaf.certificate.read_bytes())
            key = serialization.load_pem_private_key(leaf.key.read_bytes(), None)
            certificate.verify_directly_issued_by(ca)
            if certificate.public_key() != key.public_key() or certificate.not_valid_after_utc < soon:
                return False
            if certificate.subject != leaf.subject:
                return False
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return ca.not_valid_after_utc >= soon


def _make(paths: SandboxCertificates) -> None:
    ca_key = rsa.generate_private_key(65537, _BITS)
    ca_name = _name("Sandbox authority", "DRIMbox sandbox")
    authority_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(authority_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(paths.ca, ca.public_bytes(serialization.Encoding.PEM), 0o644)
    for leaf in _leaves(paths):
        key = rsa.generate_private_key(65537, _BITS)
        builder = (
            _builder(leaf.subject, ca_name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(*leaf.usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        )
        if leaf.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.extended), critical=False)
        if ExtendedKeyUsageOID.SERVER_AUTH in leaf.extended:
            names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(a)) for a in ("127.0.0.1", "::1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(leaf.key, pkcs8, 0o600)
        _write(leaf.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _name(common_name: str, organisation: str, unit: str = "") -> x509.Name:
    parts = [(NameOID.COUNTRY_NAME, "FR"), (NameOID.ORGANIZATION_NAME, organisation)]
    if unit:
        parts.append((NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in [*parts, (NameOID.COMMON_NAME, common_name)]])


def _builder(subject: x509.Name, issuer: x509.Name, public_key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _VALID)
    )


def _usage(*set_bits: str) -> x509.KeyUsage:
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in set_bits for bit in bits})


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write beside and rename, with the mode set from the start: a key is never readable by others."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=mode, exist_ok=False)
    fresh.write_bytes(content)
    fresh.replace(path)
