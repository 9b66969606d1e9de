"""Authorities and certificates for tests, good ones and bad ones, made on the spot."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from drimbox.tls import ServerFiles

HOUR = timedelta(hours=1)


def unit_of(certificate: x509.Certificate) -> str:
    """The OU of its subject: for certificates of care structures, the number of the structure."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value)


def signer_in(signature: bytes) -> x509.Certificate:
    """The certificate in an XML signature."""
    text: Any = etree.fromstring(signature).findtext(".//{*}X509Certificate")
    return x509.load_der_x509_certificate(base64.b64decode(text))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hospital"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


@dataclass
class Authority:
    """A certification authority whose files go to `folder`."""

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = self._sign(self.name, self.key.public_key(), is_authority=True)
        self.ca = self.folder / f"{self.name}.pem"
        self.ca.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str, *, ends: timedelta = HOUR, is_rsa: bool = False) -> tuple[Path, Path]:
        """A leaf for localhost: certificate, key."""
        key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        self.last = self._sign(common_name, key.public_key(), ends=ends)
        paths = self.folder / f"{common_name}.pem", self.folder / f"{common_name}-key.pem"
        paths[0].write_bytes(self.last.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return paths

    def revoke(self, certificate: x509.Certificate) -> bytes:
        """A revocation list with this certificate in it, PEM."""
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(_name(self.name)).last_update(now - HOUR)
        signed = builder.next_update(now + HOUR).add_revoked_certificate(entry).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def server(self, common_name: str = "server", *, client: str = "required", is_rsa: bool = False) -> ServerFiles:
        """What a door needs, believing the clients of this authority."""
        return ServerFiles(*self.issue(common_name, is_rsa=is_rsa), self.ca, client)  # type: ignore[arg-type]

    def _sign(
        self,
        common_name: str,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        *,
        is_authority: bool = False,
        ends: timedelta = HOUR,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 24 * HOUR)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())
