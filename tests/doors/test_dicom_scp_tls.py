"""DICOM over TLS: DCMTK, OpenSSL, pynetdicom and bare sockets at the door; hostile handshakes beside plain senders."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from making import ct
from network import running
from pynetdicom import AE

sys.path.append(str(Path(__file__).parent))
from dicom_scp_stage import MemoryIngest, Stage, open_door
from raw_scu import CT, EXPLICIT, RawScu, build_request, build_store

from drimbox.dicom.command import VERIFICATION
from drimbox.dicom.pdu import Pdu
from drimbox.dicom_scp import handshakes
from drimbox.sandbox.nodes import free_port
from drimbox.tls import ServerFiles

needs_dcmtk = pytest.mark.skipif(not shutil.which("storescu"), reason="DCMTK is not installed")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


def tls_settings(files: ServerFiles, **others: Any) -> dict[str, Any]:
    named = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_ca": files.ca}
    return {"tls_port": 0, "tls_client": files.client, **named, **others}


class TlsScu(RawScu):
    """A RawScu under TLS."""

    def __init__(self, stage: Stage, context: ssl.SSLContext) -> None:
        super().__init__(stage.places["dicom-tls"])
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    """What a modality with a certificate of the authority does."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(*authority.issue("ct1"))
    return context


@pytest.fixture
def ingest() -> MemoryIngest:
    return MemoryIngest()


@pytest.fixture
def stage(authority: Authority, ingest: MemoryIngest) -> Iterator[Stage]:
    with open_door(ingest, **tls_settings(authority.server())) as stage:
        yield stage


# --- Sound peers ----------------------------------------------------------------------------------------------------


def test_an_association_under_tls_is_one_like_any_other(
    stage: Stage, client: ssl.SSLContext, ingest: MemoryIngest
) -> None:
    data = os.urandom(3_000_000)
    with TlsScu(stage, client) as scu:
        scu.associate()
        assert scu.echo().status == 0
        assert scu.store("1.2.3", data).status == 0
        assert scu.store("1.2.4", b"short").status == 0
        scu.release()
    assert ingest.kept == {"1.2.3": data, "1.2.4": b"short"}
    assert [(it.calling, it.certificate) for it in ingest.admitted] == [("SCANNER", "CN=ct1,O=Hospital")]


def test_many_messages_at_once_are_answered_in_order(
    stage: Stage, client: ssl.SSLContext, ingest: MemoryIngest
) -> None:
    """The link reads no further than one message: what lies opened and sealed behind it waits."""
    data = {f"1.2.{number}": os.urandom(20_000) for number in range(12)}  # all of it fits in the buffers of a socket
    with TlsScu(stage, client) as scu:
        scu.associate()
        scu.send(b"".join(build_store(1, CT, uid, it, index) for index, (uid, it) in enumerate(data.items())))
        assert [scu.response().message_id for _ in data] == list(range(12))
        scu.release()
    assert ingest.kept == data


def test_the_request_may_come_with_the_last_of_the_handshake(stage: Stage, client: ssl.SSLContext) -> None:
    """One segment holds both: nothing may wait for a read that does not come."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(stage.places["dicom-tls"], 60) as connection:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        tls.write(build_request([(VERIFICATION, ["1.2.840.10008.1.2"])]))
        connection.sendall(outgoing.read())
        while True:
            try:
                assert tls.read(1) == bytes((Pdu.ASSOCIATE_AC.value,))
                break
            except ssl.SSLWantReadError:
                incoming.write(connection.recv(65536))


def test_a_peer_that_does_not_read_is_dropped(authority: Authority, client: ssl.SSLContext) -> None:
    settings = tls_settings(authority.server(), request_timeout_s=2)
    with open_door(MemoryIngest(), **settings) as stage, TlsScu(stage, client) as scu:
        scu.associate()
        request = build_store(1, CT, "1.2.3", b"x")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            while True:
                scu.send(request * 1000)


def test_an_idle_association_is_aborted_in_words(authority: Authority, client: ssl.SSLContext) -> None:
    settings = tls_settings(authority.server(), idle_timeout_s=0.2)
    with open_door(MemoryIngest(), **settings) as stage, TlsScu(stage, client) as scu:
        scu.associate()
        assert scu.receive() == (Pdu.ABORT, bytes((0, 0, 2, 0)))
        assert scu.socket.recv(1) == b""  # close_notify, not a cut


def test_a_forged_record_ends_the_association(stage: Stage, client: ssl.SSLContext, ingest: MemoryIngest) -> None:
    with TlsScu(stage, client) as scu:
        scu.associate()
        raw = socket.socket(fileno=os.dup(scu.socket.fileno()))
        raw.sendall(b"\x17\3\3\0\x20" + bytes(32))
        raw.close()
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            scu.response()
    assert ingest.end.wait(60)


def test_pynetdicom_comes_in(stage: Stage, client: ssl.SSLContext) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(VERIFICATION)
    client.check_hostname = False
    host, port = stage.places["dicom-tls"]
    association = ae.associate(host, port, tls_args=(client, "localhost"))
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


# --- DCMTK and OpenSSL ------------------------------------------------------------------------------------------------


def storescu(stage: Stage, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    host, port = stage.places["dicom-tls"]
    command = ["storescu", *options, "-aec", "DRIMBOX", host, str(port), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def slice_file(tmp_path: Path) -> Path:
    file = tmp_path / "slice.dcm"
    ct().save_as(file, enforce_file_format=True)
    return file


@needs_dcmtk
@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_storescu_with_a_certificate(stage: Stage, authority: Authority, slice_file: Path, profile: str) -> None:
    certificate, key = map(str, authority.issue("ct1"))
    done = storescu(stage, slice_file, "+tls", key, certificate, "+cf", str(authority.ca), profile)
    assert done.returncode == 0, done.stderr


@needs_dcmtk
def test_storescu_without_a_certificate(stage: Stage, authority: Authority, slice_file: Path) -> None:
    assert storescu(stage, slice_file, "+tla", "+cf", str(authority.ca)).returncode != 0


@needs_dcmtk
def test_storescu_without_a_certificate_where_it_is_optional(
    authority: Authority, slice_file: Path, ingest: MemoryIngest
) -> None:
    with open_door(ingest, **tls_settings(authority.server(client="optional"))) as stage:
        done = storescu(stage, slice_file, "+tla", "+cf", str(authority.ca))
        assert done.returncode == 0, done.stderr
    assert [it.certificate for it in ingest.admitted] == [""]


@needs_dcmtk
@pytest.mark.parametrize("fault", ["other authority", "expired"])
def test_storescu_with_a_wrong_certificate(
    stage: Stage, authority: Authority, slice_file: Path, ingest: MemoryIngest, fault: str, tmp_path: Path
) -> None:
    if fault == "expired":
        certificate, key = authority.issue("old", ends=-timedelta(minutes=1))
    else:
        certificate, key = Authority(tmp_path / "other").issue("ct1")
    done = storescu(stage, slice_file, "+tls", str(key), str(certificate), "+cf", str(authority.ca))
    assert done.returncode != 0
    assert ingest.kept == {}
    while not ingest.turned_away:
        threading.Event().wait(0.01)
    assert ingest.turned_away == [("127.0.0.1", "CERTIFICATE_VERIFY_FAILED")]


@needs_dcmtk
def test_storescu_that_does_not_trust_us(stage: Stage, authority: Authority, slice_file: Path, tmp_path: Path) -> None:
    certificate, key = map(str, authority.issue("ct1"))
    other = Authority(tmp_path / "other")
    assert storescu(stage, slice_file, "+tls", key, certificate, "+cf", str(other.ca)).returncode != 0


@needs_openssl
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-tls1_3"], "TLS_AES_256_GCM_SHA384"),
        (["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
        (["-tls1_2"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM"], "ECDHE-ECDSA-AES128-CCM"),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ""),
        (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], ""),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"], ""),
        (["-tls1_2", "-cipher", "AES256-GCM-SHA384"], ""),
        (["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], ""),
    ],
)
def test_openssl_agrees_on_what_the_profile_allows(
    stage: Stage, authority: Authority, options: list[str], expected: str
) -> None:
    certificate, key = map(str, authority.issue("ct1"))
    place = "{}:{}".format(*stage.places["dicom-tls"])
    command = [
        "openssl",
        "s_client",
        "-connect",
        place,
        "-cert",
        certificate,
        "-key",
        key,
        "-CAfile",
        str(authority.ca),
    ]
    said = subprocess.run(
        [*command, *options], input="", capture_output=True, text=True, timeout=120, check=False
    ).stdout
    assert f"Cipher is {expected or '(NONE)'}" in said


# --- Hostile handshakes -----------------------------------------------------------------------------------------------


def test_handshakes_that_do_not_end_delay_nobody(
    stage: Stage, client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more than are made at once say nothing, half a ClientHello, or rubbish that looks like the start of one."""
    monkeypatch.setattr(handshakes, "_OF_ONE_ADDRESS", 16)
    with TlsScu(stage, client) as before, contextlib.ExitStack() as held:
        before.associate()
        for number in range(45):
            scu = held.enter_context(RawScu(stage.places["dicom-tls"]))
            scu.send((b"", b"\x16\3\1", b"\x16\3\1\2\0\1\0\1\xfc\3\3")[number % 3])
        with RawScu(stage.place) as plain:
            plain.associate()
            assert plain.store("1.2.3", b"plain").status == 0
        assert before.store("1.2.4", b"sealed").status == 0


def test_a_handshake_has_one_deadline_and_gives_its_turn_back(
    authority: Authority, client: ssl.SSLContext, ingest: MemoryIngest
) -> None:
    """More slow ones than there are turns; a byte now and then re-arms nothing; then a good one comes in."""
    settings = tls_settings(authority.server(), tls_handshake_timeout_s=3)
    with open_door(ingest, **settings) as stage:
        slow = [RawScu(stage.places["dicom-tls"]) for _ in range(40)]
        pause = threading.Event()
        with contextlib.suppress(ConnectionError):
            for byte in b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(1000):
                slow[0].send(bytes((byte,)))
                pause.wait(0.02)
        for scu in slow:
            assert scu.receive() is None
            scu.socket.close()
        with TlsScu(stage, client) as scu:
            scu.associate()
            assert scu.echo().status == 0
        while stage.door.counts["connections"]:
            pause.wait(0.01)
    assert ingest.turned_away == [("127.0.0.1", "TimeoutError")]  # forty, and one line


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        build_request([(CT, [EXPLICIT])]),
        bytes(100),
        b"\x16\3\1\xff\xff" + bytes(70000),
    ],
    ids=["http", "plain DICOM", "zeros", "huge record"],
)
def test_what_is_no_tls_is_closed(stage: Stage, ingest: MemoryIngest, first: bytes) -> None:
    with RawScu(stage.places["dicom-tls"]) as scu:
        with contextlib.suppress(ConnectionError):
            scu.send(first)
        with contextlib.suppress(ConnectionError):
            while scu.socket.recv(4096):  # perhaps an alert
                pass
    while stage.door.counts["connections"]:
        threading.Event().wait(0.01)
    assert ingest.admitted == []


def test_tls_on_the_plain_port_is_a_breach_not_a_wait(stage: Stage, client: ssl.SSLContext) -> None:
    with RawScu(stage.place) as scu, pytest.raises((ssl.SSLError, ConnectionError)):
        client.wrap_socket(scu.socket, server_hostname="localhost")


def test_a_stop_does_not_wait_for_handshakes(authority: Authority) -> None:
    with open_door(MemoryIngest(), **tls_settings(authority.server(), tls_handshake_timeout_s=3600)) as stage:
        silent = [RawScu(stage.places["dicom-tls"]) for _ in range(30)]
        silent[0].send(b"\x16")
        stage.stop(5)
        for scu in silent:
            assert scu.receive() is None
            scu.socket.close()


def test_hundreds_of_idle_associations_under_tls_cost_little(authority: Authority, client: ssl.SSLContext) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with open_door(MemoryIngest(), **tls_settings(authority.server())) as stage, contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(TlsScu(stage, client)).associate()
        threads, before = set(threading.enumerate()), resident()
        scus = [held.enter_context(TlsScu(stage, client)) for _ in range(200)]
        for scu in scus:
            scu.associate()
        assert {thread.name for thread in set(threading.enumerate()) - threads} <= {"asyncio_0"}  # certificates, again
        assert resident() - before < 200 * 2 * 100_000  # both ends are in this process
        for scu in scus:
            assert scu.echo().status == 0


# --- The whole node ---------------------------------------------------------------------------------------------------


def node_settings(files: ServerFiles, port: int, **others: Any) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in tls_settings(files).items()} | {
        "tls_port": port,
        **others,
    }


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_caller_with_its_certificate_through_every_process(
    tmp_path: Path, authority: Authority, client: ssl.SSLContext, workers: int
) -> None:
    port = free_port()
    callers = [{"ae_title": "SCANNER", "address": "127.0.0.1", "certificate": "CN=ct1,O=Hospital"}]
    settings = node_settings(authority.server(), port, callers=callers, plain=False)
    other = ssl.create_default_context(cafile=str(authority.ca))
    other.load_cert_chain(*authority.issue("ct2"))

    def ask(context: ssl.SSLContext) -> Pdu:
        with RawScu(("127.0.0.1", port)) as scu:
            scu.socket = context.wrap_socket(scu.socket, server_hostname="localhost")
            scu.send(build_request([(CT, [EXPLICIT])], called="NODE"))
            answer = scu.receive()
            assert answer is not None
            return answer[0]

    async with running(tmp_path, node={"workers": workers}, dicom=settings) as site:
        for _ in range(2 * workers + 2):
            assert await asyncio.to_thread(ask, client) is Pdu.ASSOCIATE_AC
            assert await asyncio.to_thread(ask, other) is Pdu.ASSOCIATE_RJ
        with pytest.raises(ConnectionRefusedError):  # dicom.plain is false
            socket.create_connection(("127.0.0.1", site.node.dicom_port))
    trail = "".join(path.read_text() for path in (tmp_path / "node" / "trail").iterdir())
    assert trail.count('"ae:SCANNER@127.0.0.1 [CN=ct1,O=Hospital]"') >= 2 * workers + 2
    assert len(list((tmp_path / "node" / "trail").iterdir())) == workers
