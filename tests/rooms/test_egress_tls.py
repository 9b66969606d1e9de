"""The gate over TLS, with the sandbox's certificates: whom it believes and how it shows itself."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from drimbox.egress import Egress, Identity
from drimbox.errors import Unavailable
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> SandboxCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def server_context(certificates: SandboxCertificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    context.load_verify_locations(certificates.ca)
    return context


@asynccontextmanager
async def serving(context: ssl.SSLContext, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Answers with the common name of the client's certificate, or nothing; gives its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            shown = writer.get_extra_info("peercert") or {}
            name = dict(pair[0] for pair in shown.get("subject", ())).get("commonName", "")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
            await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # refused handshakes are what is tested
    server = await asyncio.start_server(connected, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_the_client_certificate_is_shown(certificates: SandboxCertificates) -> None:
    context = server_context(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    identity = Identity(certificates.own.tls_certificate, certificates.own.tls_key, certificates.ca)
    async with serving(context) as port:
        egress = Egress([f"https://localhost:{port}"])
        answer = await egress.get(
            f"https://localhost:{port}/", headers={}, identity=identity, timeout_s=60, max_bytes=99
        )
        assert answer.content == b"drimbox.sandbox"
        with pytest.raises(Unavailable):
            await egress.get(f"https://localhost:{port}/", headers={}, ca=certificates.ca, timeout_s=60, max_bytes=99)
        await egress.close()


async def test_the_name_of_the_url_is_asked_for_though_the_address_is_called(
    certificates: SandboxCertificates,
) -> None:
    asked: list[str | None] = []
    context = server_context(certificates)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with serving(context) as port:
        egress = Egress([f"https://localhost:{port}"])
        await egress.get(f"https://localhost:{port}/", headers={}, ca=certificates.ca, timeout_s=60, max_bytes=99)
        await egress.close()
    assert asked == ["localhost"]


async def test_a_certificate_for_another_name_is_refused(certificates: SandboxCertificates) -> None:
    async with serving(server_context(certificates), "127.0.0.9") as port:
        egress = Egress([f"https://127.0.0.9:{port}"])
        with pytest.raises(Unavailable, match="not trusted"):
            await egress.get(f"https://127.0.0.9:{port}/", headers={}, ca=certificates.ca, timeout_s=60, max_bytes=99)
        await egress.close()


async def test_an_unknown_authority_is_refused(certificates: SandboxCertificates) -> None:
    async with serving(server_context(certificates)) as port:
        egress = Egress([f"https://localhost:{port}"])
        with pytest.raises(Unavailable, match="not trusted"):
            await egress.get(f"https://localhost:{port}/", headers={}, timeout_s=60, max_bytes=99)
        await egress.close()


async def test_tls_1_1_is_refused(certificates: SandboxCertificates) -> None:
    context = server_context(certificates)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(context) as port:
        egress = Egress([f"https://localhost:{port}"])
        with pytest.raises(Unavailable):
            await egress.get(f"https://localhost:{port}/", headers={}, ca=certificates.ca, timeout_s=60, max_bytes=99)
        await egress.close()


async def test_a_renewed_certificate_is_taken_up_without_a_restart(
    certificates: SandboxCertificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path / "other")
    context = server_context(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = tmp_path / "client.pem", tmp_path / "client-key.pem"
    certificate.write_bytes(other.own.tls_certificate.read_bytes())
    key.write_bytes(other.own.tls_key.read_bytes())
    identity = Identity(certificate, key, certificates.ca)
    async with serving(context) as port:
        egress = Egress([f"https://localhost:{port}"])
        with pytest.raises(Unavailable):  # signed by an authority this server does not know
            await egress.get(f"https://localhost:{port}/", headers={}, identity=identity, timeout_s=60, max_bytes=99)
        certificate.write_bytes(certificates.own.tls_certificate.read_bytes())
        key.write_bytes(certificates.own.tls_key.read_bytes())
        answer = await egress.get(
            f"https://localhost:{port}/", headers={}, identity=identity, timeout_s=60, max_bytes=99
        )
        assert answer.content == b"drimbox.sandbox"
        await egress.close()


async def test_a_missing_key_is_unavailable_and_its_path_not_told(
    certificates: SandboxCertificates, tmp_path: Path
) -> None:
    egress = Egress(["https://localhost:1"])
    identity = Identity(certificates.own.tls_certificate, tmp_path / "nothing.pem")
    with pytest.raises(Unavailable) as refused:
        await egress.get("https://localhost:1/", headers={}, identity=identity, timeout_s=60, max_bytes=99)
    assert str(tmp_path) not in str(refused.value)
    await egress.close()


def test_sound_certificates_are_kept_and_broken_ones_made_anew(tmp_path: Path) -> None:
    first = make_certificates(tmp_path)
    before = first.server_certificate.read_bytes()
    assert make_certificates(tmp_path) == first
    assert first.server_certificate.read_bytes() == before
    first.own.tls_key.write_bytes(first.own.sign_key.read_bytes())
    make_certificates(tmp_path)
    anew = first.server_certificate.read_bytes()
    assert anew != before
    make_certificates(tmp_path, ("1750000011",))
    assert first.server_certificate.read_bytes() != anew


def test_keys_are_for_their_owner_and_leaves_say_their_use(certificates: SandboxCertificates) -> None:
    for key in (certificates.server_key, certificates.own.tls_key, certificates.own.sign_key):
        assert key.stat().st_mode & 0o777 == 0o600
    sign = x509.load_pem_x509_certificate(certificates.own.sign_certificate.read_bytes())
    assert sign.extensions.get_extension_for_class(x509.KeyUsage).value.content_commitment
    client = x509.load_pem_x509_certificate(certificates.own.tls_certificate.read_bytes())
    uses = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def revocation_list(ca: x509.Certificate, key: rsa.RSAPrivateKey, *serials: int, days: int = 1) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
    builder = builder.last_update(now - timedelta(days=7)).next_update(now + timedelta(days=days))
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_a_revoked_certificate_is_refused(certificates: SandboxCertificates, tmp_path: Path) -> None:
    """The sandbox's authority throws its key away: here another one signs the same server key."""
    served = x509.load_pem_x509_certificate(certificates.server_certificate.read_bytes())
    sandbox_ca = x509.load_pem_x509_certificate(certificates.ca.read_bytes())
    key = rsa.generate_private_key(65537, 2048)
    ca, leaf = (
        _signed(sandbox_ca, key.public_key(), key),
        _signed(served, served.public_key(), key),
    )
    (tmp_path / "server.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", certificates.server_key)
    trusted = tmp_path / "authorities.pem"
    authority = ca.public_bytes(serialization.Encoding.PEM)
    async with serving(context) as port:
        url = f"https://localhost:{port}/"
        egress = Egress([url])
        for content, answers in (
            (authority, True),
            (authority + revocation_list(ca, key, 12345), True),
            (authority + revocation_list(ca, key, leaf.serial_number), False),
            (authority + revocation_list(ca, key, days=-1), False),
        ):
            trusted.write_bytes(content)
            if answers:
                assert (await egress.get(url, headers={}, ca=trusted, timeout_s=60, max_bytes=99)).status == 200
            else:
                with pytest.raises(Unavailable, match="not trusted"):
                    await egress.get(url, headers={}, ca=trusted, timeout_s=60, max_bytes=99)
        await egress.close()


def _signed(like: x509.Certificate, public_key: Any, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """The same certificate, for `public_key`, signed by `key`."""
    builder = x509.CertificateBuilder(like.issuer, like.subject, public_key, like.serial_number)
    builder = builder.not_valid_before(like.not_valid_before_utc).not_valid_after(like.not_valid_after_utc)
    for extension in like.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256())
