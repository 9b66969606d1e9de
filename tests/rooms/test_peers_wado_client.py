"""Fetching a series from a peer played on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from drimbox.dicom.part10 import build_preface
from drimbox.dicom.parts import Limits
from drimbox.egress import Egress
from drimbox.errors import (
    Denied,
    DrimboxError,
    Malformed,
    NotAcceptable,
    NotFound,
    TooLarge,
    Unavailable,
    Unidentified,
)
from drimbox.peers.wado_client import PeerClient
from drimbox.settings import KnownPeer, Peers

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_LS = "1.2.840.10008.1.2.4.80"
# test a blanc/Simulateur client wadoRS/OK_Requete_CISIS_TSLossless.txt of the national test set
OFFICIAL_ACCEPT = (
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.70;q=0.9;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.80;q=0.8;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.91;q=0.6;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.50;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.51;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.100;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.101;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.102;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.103;q=0.5;boundary=**,'
    'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1;q=0.4;boundary=**,'
)


class Peer:
    """Answers each request on a connection with the next of `answers`; keeps the request heads."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[dict[str, str]] = []
        self.connections = 0
        self.origin = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                fields = dict(line.split(": ", 1) for line in lines)
                self.heads.append({"request": request} | {name.lower(): value for name, value in fields.items()})
                writer.write(self.answers.pop(0))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def playing(peer: Peer, limits: Limits | None = None) -> AsyncIterator[tuple[PeerClient, KnownPeer]]:
    server = await asyncio.start_server(peer.connected, "127.0.0.1", 0)
    peer.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    egress = Egress([peer.origin])
    try:
        client = PeerClient(egress, Peers(timeout_s=60), limits=limits or Limits())
        yield client, KnownPeer(name="north", url=f"{peer.origin}/rs")
    finally:
        await egress.close()
        server.close()
        await server.wait_closed()


def part(sop_uid: str, data_set: bytes, media_type: str = "application/dicom") -> bytes:
    head = b"--b\r\nContent-Type: %b;transfer-syntax=%b\r\n\r\n" % (media_type.encode(), JPEG_LS.encode())
    return head + build_preface(CT, sop_uid, JPEG_LS) + data_set + b"\r\n"


def answer(body: bytes, status: str = "200 OK", media_type: str = "application/dicom") -> bytes:
    content_type = f'multipart/related;type="{media_type}"; boundary=b'
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def fetch(client: PeerClient, known: KnownPeer, token: str = "secret") -> dict[str, bytes]:
    received = {}
    async with aclosing(client.fetch_series(known, "1.2", "1.2.3", "1.2.9", token)) as instances:
        async for incoming in instances:
            assert (incoming.sop_class_uid, incoming.transfer_syntax) == (CT, JPEG_LS)
            received[incoming.sop_uid] = b"".join([bytes(chunk) async for chunk in incoming.chunks])
    return received


BIG = bytes(range(256)) * 1000
TWO = part("1.1", BIG) + part("1.2", b"small") + b"--b--\r\n"


async def test_the_request_is_the_official_one_and_every_byte_arrives() -> None:
    peer = Peer(answer(TWO))
    async with playing(peer) as (client, known):
        assert await fetch(client, known) == {"1.1": BIG, "1.2": b"small"}
    (head,) = peer.heads
    assert head["request"] == "GET /rs/studies/1.2/series/1.2.3 HTTP/1.1"
    assert head["accept"] == OFFICIAL_ACCEPT
    assert head["kos-sopinstanceuid"] == "1.2.9"
    assert head["authorization"] == "Bearer secret"


async def test_without_a_token_none_is_sent() -> None:
    peer = Peer(answer(TWO))
    async with playing(peer) as (client, known):
        await fetch(client, known, token="")
    assert "authorization" not in peer.heads[0]


async def test_the_connection_serves_the_next_series() -> None:
    peer = Peer(answer(TWO), answer(TWO))
    async with playing(peer) as (client, known):
        await fetch(client, known)
        await fetch(client, known)
    assert (len(peer.heads), peer.connections) == (2, 1)


async def test_what_is_not_read_of_an_instance_is_skipped() -> None:
    async with (
        playing(Peer(answer(TWO))) as (client, known),
        aclosing(client.fetch_series(known, "1.2", "1.2.3", "1.2.9", "")) as instances,
    ):
        assert [incoming.sop_uid async for incoming in instances] == ["1.1", "1.2"]


async def test_an_empty_series_gives_nothing() -> None:
    async with playing(Peer(answer(b"--b--"))) as (client, known):
        assert await fetch(client, known) == {}


async def test_after_406_the_stored_form_is_asked_for_once() -> None:
    refusal = b"HTTP/1.1 406 Not Acceptable\r\nContent-Length: 0\r\n\r\n"
    peer = Peer(refusal, answer(TWO))
    async with playing(peer) as (client, known):
        assert len(await fetch(client, known)) == 2
    assert peer.heads[1]["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    async with playing(Peer(refusal, refusal)) as (client, known):
        with pytest.raises(NotAcceptable):
            await fetch(client, known)


@pytest.mark.parametrize(
    ("status", "leaf"),
    [
        ("404 Not Found", NotFound),
        ("410 Gone", NotFound),
        ("401 Unauthorized", Unidentified),
        ("403 Forbidden", Denied),
        ("503 Service Unavailable", Unavailable),
        ("500 Internal Server Error", Unavailable),
        ("400 Bad Request", Unavailable),
        ("302 Found", Unavailable),
    ],
)
async def test_a_refusal_of_the_peer(status: str, leaf: type[DrimboxError]) -> None:
    async with playing(Peer(answer(b"1.2.3 is of DUPONT", status))) as (client, known):
        with pytest.raises(leaf) as refused:
            await fetch(client, known)
    assert "DUPONT" not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "leaf"),
    [
        (answer(TWO[:-8]), Malformed),
        (answer(TWO)[:-8], Unavailable),
        (answer(b"<html>hello</html>"), Malformed),
        (answer(TWO, media_type="text/html"), Malformed),
        (answer(part("1.1", b"x", "text/html") + b"--b--"), Malformed),
        (answer(b"--b\r\n\r\nnot DICOM at all\r\n--b--"), Malformed),
        (answer(b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nz\r\n--b--"), TooLarge),
        (answer(part("1.1", bytes(3_000_000)) + b"--b--"), TooLarge),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Malformed),
    ],
)
async def test_an_answer_that_cannot_be_read(raw: bytes, leaf: type[DrimboxError]) -> None:
    async with playing(Peer(raw), Limits(part_bytes=2_000_000)) as (client, known):
        with pytest.raises(leaf):
            await fetch(client, known)


async def test_instances_before_a_cut_are_given() -> None:
    received = []
    cut = answer(part("1.1", b"whole") + b"--b\r\n\r\n")
    async with playing(Peer(cut)) as (client, known):
        with pytest.raises(Malformed):
            async with aclosing(client.fetch_series(known, "1.2", "1.2.3", "1.2.9", "")) as instances:
                async for incoming in instances:
                    received.append(b"".join([bytes(chunk) async for chunk in incoming.chunks]))
    assert received == [b"whole"]


async def test_leaving_early_leaves_nothing_open() -> None:
    async with (
        playing(Peer(answer(TWO))) as (client, known),
        aclosing(client.fetch_series(known, "1.2", "1.2.3", "1.2.9", "")) as instances,
    ):
        async for _incoming in instances:
            break


async def test_a_bad_uid_calls_nobody() -> None:
    peer = Peer(answer(TWO))
    async with playing(peer) as (client, known):
        for uids in (("../1", "1", "1"), ("1", "1/2", "1"), ("1", "1", "1\r\nX: y")):
            with pytest.raises(Malformed):
                async with aclosing(client.fetch_series(known, *uids, token="")) as instances:
                    await anext(instances)
    assert peer.heads == []
