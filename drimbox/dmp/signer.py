"""Who signs for a care structure: key and certificate ORG SIGN of IGC-Santé, and the algorithms asked for."""

from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from drimbox.errors import Malformed

# Digest and signature: RSA with this hash. sha1 is what the oldest samples have, for a DMP that still asks for it.
Algorithm = Literal["sha256", "sha1"]


@dataclass(frozen=True, slots=True)
class Signer:
    """The key and certificate ORG SIGN of a structure, loaded once: reading the key costs twenty signatures."""

    key: RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate


def read_signer(certificate: bytes, key: bytes) -> Signer:
    """Read both from PEM. Raises Malformed when they are not an RSA pair."""
    try:
        loaded = load_pem_private_key(key, password=None)
        leaf = x509.load_pem_x509_certificate(certificate)
    except (ValueError, TypeError) as error:
        raise Malformed("signing certificate", "the certificate or its key is not PEM without a password") from error
    if not isinstance(loaded, RSAPrivateKey) or leaf.public_key() != loaded.public_key():
        raise Malformed("signing certificate", "the key is not RSA, or is not that of the certificate")
    return Signer(loaded, leaf)
