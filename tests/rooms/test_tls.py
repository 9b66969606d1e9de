"""The TLS of our doors: PS3.15 B.13, mutual, renewed without a restart. In memory, no socket."""

import ssl
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from certificates import Authority

from drimbox.errors import Unavailable
from drimbox.tls import SUITES, ServerFiles, ServerTls, build_server_context, find_subject

# PS3.15 B.13, by the names of the IANA registry.
PROFILE_12 = {
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("RSA", "ECDSA")
    for cipher in (
        "AES_128_GCM_SHA256",
        "AES_256_GCM_SHA384",
        "CHACHA20_POLY1305_SHA256",
        "CAMELLIA_128_GCM_SHA256",
        "CAMELLIA_256_GCM_SHA384",
    )
} | {f"TLS_ECDHE_ECDSA_WITH_AES_{bits}_CCM{tag}" for bits in (128, 256) for tag in ("", "_8")}
PROFILE_13 = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}


def iana(name: str) -> str:
    """The IANA name of one of OpenSSL's."""
    key, rest = name.removeprefix("ECDHE-").split("-", 1)
    rest = rest.replace("AES128", "AES_128").replace("AES256", "AES_256").replace("CCM8", "CCM-8")
    rest = rest.replace("CAMELLIA128", "CAMELLIA_128").replace("CAMELLIA256", "CAMELLIA_256")
    suffix = "_SHA256" if rest.endswith("POLY1305") else ""
    return f"TLS_ECDHE_{key}_WITH_{rest.replace('-', '_')}{suffix}"


def client(authority: Authority, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if pair:
        context.load_cert_chain(*pair)
    return context


def handshake(server: ssl.SSLContext, context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends once they have agreed; raises what the first one to complain raises, the server before the client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for each in (theirs, ours):
            with suppress(ssl.SSLWantReadError):
                each.do_handshake()
    ours.write(b"ready")
    assert theirs.read(5) == b"ready"
    return ours, theirs


def test_the_suites_are_those_of_the_profile_and_no_others(tmp_path: Path) -> None:
    assert {iana(name) for name in SUITES} == PROFILE_12
    offered = [suite["name"] for suite in build_server_context(Authority(tmp_path).server()).get_ciphers()]
    assert {name for name in offered if name.startswith("TLS_")} == PROFILE_13
    assert [name for name in offered if not name.startswith("TLS_")] == [n for n in SUITES if n in offered]
    assert {"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM"} <= set(offered)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_rsa", [True, False])
def test_both_versions_with_both_kinds_of_key(tmp_path: Path, version: ssl.TLSVersion, is_rsa: bool) -> None:
    authority = Authority(tmp_path)
    context = client(authority, authority.issue("ct1"))
    context.minimum_version = context.maximum_version = version
    ours, _ = handshake(build_server_context(authority.server(is_rsa=is_rsa)), context)
    assert ours.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert find_subject(ours) == "CN=ct1,O=Hospital"


@pytest.mark.parametrize("suite", [name for name in SUITES if "CAMELLIA" not in name and "CCM8" not in name])
def test_each_suite_that_the_conformance_statement_says_is_done_is(tmp_path: Path, suite: str) -> None:
    authority = Authority(tmp_path)
    context = client(authority, authority.issue("ct1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    ours, _ = handshake(build_server_context(authority.server(is_rsa="-RSA-" in suite)), context)
    assert (ours.cipher() or ("",))[0] == suite


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_older_versions_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = client(authority, authority.issue("ct1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(build_server_context(authority.server()), context)


@pytest.mark.parametrize("suites", ["AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_suites_outside_the_profile_are_refused(tmp_path: Path, suites: str) -> None:
    """Static RSA, CBC, DHE."""
    authority = Authority(tmp_path)
    context = client(authority, authority.issue("ct1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suites)
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        handshake(build_server_context(authority.server(is_rsa=True)), context)


def test_a_client_must_show_a_certificate_of_our_authority_that_has_not_ended(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    server = build_server_context(authority.server())
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(server, client(authority))
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(server, client(authority, other.issue("ct1")))
    with pytest.raises(ssl.SSLError, match="certificate has expired"):
        handshake(server, client(authority, authority.issue("ct2", ends=-timedelta(minutes=1))))


def test_where_the_certificate_is_optional_a_wrong_one_is_still_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = build_server_context(authority.server(client="optional"))
    ours, _ = handshake(server, client(authority))
    assert find_subject(ours) == ""
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(server, client(authority, Authority(tmp_path / "other").issue("ct1")))


def test_a_revoked_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, bad = authority.issue("good"), authority.issue("bad")
    authority.ca.write_bytes(authority.ca.read_bytes() + authority.revoke(authority.last))
    server = build_server_context(authority.server())
    handshake(server, client(authority, good))
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        handshake(server, client(authority, bad))


@pytest.mark.parametrize("way", ["current", "entrance"])
def test_renewed_files_are_taken_up_authorities_included(tmp_path: Path, way: str) -> None:
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    files = first.server()
    tls = ServerTls("dicom", files)
    assert not tls.refresh()
    open_before, _ = handshake(getattr(tls, way), client(first, first.issue("ct1")))

    renewed = second.server()
    files.certificate.write_bytes(renewed.certificate.read_bytes())
    files.key.write_bytes(renewed.key.read_bytes())
    files.ca.write_bytes(renewed.ca.read_bytes())
    assert tls.refresh()
    ours, _ = handshake(getattr(tls, way), client(second, second.issue("ct2")))
    assert find_subject(ours) == "CN=ct2,O=Hospital"
    context = client(second, (tmp_path / "1" / "ct1.pem", tmp_path / "1" / "ct1-key.pem"))
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(getattr(tls, way), context)
    assert find_subject(open_before) == "CN=ct1,O=Hospital"


@pytest.mark.parametrize("broken", ["certificate", "key", "ca"])
def test_a_bad_renewal_keeps_the_old_and_says_so(tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    files = authority.server()
    tls = ServerTls("dicom", files)
    context = client(authority, authority.issue("ct1"))
    sound = getattr(files, broken).read_bytes()
    getattr(files, broken).write_text("half a file")
    assert not tls.refresh()
    assert not tls.refresh()
    assert [record.getMessage() for record in caplog.records] == ["certificate_not_renewed"]
    handshake(tls.current, context)
    getattr(files, broken).unlink()
    assert not tls.refresh()
    getattr(files, broken).write_bytes(sound)
    assert tls.refresh()


@pytest.mark.parametrize("missing", ["certificate", "key", "ca"])
def test_a_door_does_not_start_with_files_it_cannot_use(tmp_path: Path, missing: str) -> None:
    files = Authority(tmp_path).server()
    getattr(files, missing).unlink()
    with pytest.raises(Unavailable, match=r"dicom\.tls_certificate"):
        ServerTls("dicom", files)


def test_a_key_of_another_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.server("one"), authority.server("two")
    with pytest.raises(Unavailable, match="do not fit"):
        ServerTls("dicom", ServerFiles(one.certificate, two.key, one.ca))
