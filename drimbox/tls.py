"""TLS of our doors, and of the DIMSE we speak: versions, suites, whose certificates we believe, how renewed files are
taken up.

The profile is PS3.15 B.13 (modified BCP 195), which is also what the ANSSI guide on TLS asks for: TLS 1.2 and 1.3,
ephemeral elliptic curves, authenticated encryption, no compression, no renegotiation. Doors choose a context for each
connection with `current`, or open a server with `entrance`, which leads to it.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from drimbox.errors import Unavailable

log = logging.getLogger(__name__)

SUITES: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-CAMELLIA256-GCM-SHA384",
    "ECDHE-RSA-CAMELLIA256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-CAMELLIA128-GCM-SHA256",
    "ECDHE-RSA-CAMELLIA128-GCM-SHA256",
)
"""TLS 1.2 in PS3.15 B.13, by OpenSSL's names; it passes over those it was built without (Camellia in GCM, today).

DHE is left out: the profile forbids it to implementations that cannot set its length. Of TLS 1.3 we have what OpenSSL
enables by itself: TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256; all in the profile.
"""

LOOK_AGAIN_S: Final = 10.0
"""How often `watch` looks whether the files were renewed."""

ClientCertificate = Literal["required", "optional"]


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """PEM files: our chain, its key without passphrase, and the authorities of clients.

    When the file of authorities also holds revocation lists, the whole chain of a client is checked against them, and
    a list that has expired refuses everybody. client: `optional` also lets in those that show no certificate; one that
    is shown must be sound.
    """

    certificate: Path
    key: Path
    ca: Path
    client: ClientCertificate = "required"


def build_server_context(files: ServerFiles) -> ssl.SSLContext:
    """A context with these certificates. Raises OSError, of which ssl.SSLError is one."""
    context = _in_profile(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = ssl.CERT_REQUIRED if files.client == "required" else ssl.CERT_OPTIONAL
    believe(context, files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def build_client_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """A context to call somebody with: the chain and the name of the other end are checked. Raises OSError."""
    context = _in_profile(ssl.PROTOCOL_TLS_CLIENT)
    believe(context, ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def believe(context: ssl.SSLContext, ca: Path | None) -> None:
    """Trust these authorities; revocation lists beside them are checked for the whole chain. Raises OSError."""
    context.load_verify_locations(ca)
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _in_profile(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


class ServerTls:
    """The context in force of one door, renewed with its files.

    door: for the log and for refusals. Raises Unavailable when the files cannot be used. Serves any number of threads.
    """

    def __init__(self, door: str, files: ServerFiles) -> None:
        self._door = door
        self._files = files
        self._dates = self._look()
        try:
            self.current = build_server_context(files)
            self.entrance = build_server_context(files)
        except OSError as error:
            raise Unavailable(f"{door}.tls_certificate", _why(error)) from error
        self.entrance.sni_callback = self._move
        # A session taken up again would be believed by the context that began it, whatever `current` believes since.
        self.entrance.options |= ssl.OP_NO_TICKET
        self.entrance.num_tickets = 0

    def refresh(self) -> bool:
        """Take renewed files up, if there are any; connections that are open keep theirs. True when they were.

        Files that cannot be used change nothing but the log: half of a renewal may be there, or a wrong one.
        """
        dates = self._look()
        if dates == self._dates:
            return False
        self._dates = dates
        try:
            self.current = build_server_context(self._files)
        except OSError as error:
            log.error("certificate_not_renewed", extra={"door": self._door, "reason": _why(error)})
            return False
        log.info("certificate_renewed", extra={"door": self._door})
        return True

    async def watch(self) -> None:
        """Look every ten seconds, for ever."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await asyncio.to_thread(self.refresh)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._files.certificate, self._files.key, self._files.ca))

    def _move(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        """At each ClientHello, with or without a name in it: from the context the server was opened with to ours."""
        connection.context = self.current


def find_subject(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """The subject of the verified client certificate, RFC 4514 (`CN=ct1,O=Hospital`); empty when none was shown."""
    shown = connection.getpeercert(binary_form=True)
    if not shown:
        return ""
    return x509.load_der_x509_certificate(shown).subject.rfc4514_string()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"certificate, key and authorities do not fit or are no PEM files ({error.reason or 'unreadable'})"
    return f"{error.filename or 'a file'} cannot be read (errno {error.errno})"
