"""The HTTP listener bounds what uvicorn does not: how long a request's head may take, and how large it may be."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from drimbox.errors import Unavailable
from drimbox.portal import listener as listener_module
from drimbox.portal.listener import HEAD_MAX_BYTES, Listener

WAIT_S = 60  # for what comes in milliseconds on a machine that has nothing else to do


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def port():
    listener = Listener(hello, "127.0.0.1", 0)
    await listener.open()
    yield listener.address[1]
    await listener.close()


@pytest.fixture
def short_heads(monkeypatch):
    """From the next head on."""
    monkeypatch.setattr(listener_module, "HEAD_TIMEOUT_S", 0.3)


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return await asyncio.wait_for(reader.readuntil(b"hello"), WAIT_S)


@pytest.mark.usefixtures("short_heads")
async def test_a_head_that_trickles_in_is_cut_at_its_absolute_deadline(port):
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")

        async def trickle():
            while True:
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        trickling.cancel()


@pytest.mark.usefixtures("short_heads")
async def test_a_connection_that_says_nothing_is_closed(port):
    async with connected(port) as (reader, _):
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""


async def test_a_second_request_on_the_connection_has_a_deadline_of_its_own(port, monkeypatch):
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)
        assert b"200 OK" in await ask(reader, writer)
        monkeypatch.setattr(listener_module, "HEAD_TIMEOUT_S", 0.3)
        writer.write(b"GET / HT")
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""


async def test_a_head_without_end_is_cut_by_its_size(port):
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-A: " + b"a" * (2 * HEAD_MAX_BYTES))
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(), WAIT_S)).startswith(b"HTTP/1.1 431 ")
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)


async def test_garbage_is_a_400_and_the_next_connection_is_served(port):
    async with connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        assert b"400" in await asyncio.wait_for(reader.read(), WAIT_S)
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)


async def test_a_port_that_is_taken_is_told_plainly(port):
    with pytest.raises(Unavailable, match=r"http\.port"):
        Listener(hello, "127.0.0.1", port)


# --- Bodies and readers that are too slow ----------------------------------------------------------------------------


async def lengthy(scope, receive, send):
    """Reads all of the body, then answers with 32 MiB in one piece."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 2**25)]})
    await send({"type": "http.response.body", "body": bytes(2**25)})


@pytest.fixture
async def patient_port(monkeypatch):
    monkeypatch.setattr(listener_module, "PACE_S", 2)
    listener = Listener(lengthy, "127.0.0.1", 0)
    await listener.open()
    yield listener.address[1]
    await listener.close()


async def test_a_body_that_trickles_in_is_cut(patient_port):
    async with connected(patient_port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")

        async def trickle():
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        trickling.cancel()


async def test_a_body_of_a_fair_pace_may_take_long(patient_port):
    """Much longer than any of its looks: in each 1000 bytes come some sixty times, where twice and a bit is enough."""
    async with connected(patient_port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
        for _ in range(200):
            writer.write(bytes(1000))
            await asyncio.sleep(0.03)
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), WAIT_S)


async def test_a_reader_who_never_reads_is_dropped_and_its_answer_forgotten(patient_port):
    async with connected(patient_port) as (_, writer):
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            while not writer.transport.is_closing() and await _is_open(patient_port, writer):
                await asyncio.sleep(0.05)


async def _is_open(port, writer):
    """Does the other end still know the connection? Told by the kernel's table, for nobody reads here."""
    ours = writer.get_extra_info("sockname")[1]
    lines = Path("/proc/net/tcp").read_text().splitlines()
    wanted = (f":{port:04X}", f":{ours:04X}")
    return any(f[1].endswith(wanted[0]) and f[2].endswith(wanted[1]) and f[3] == "01" for f in map(str.split, lines))


async def test_a_reader_who_reads_gets_it_all(patient_port):
    async with connected(patient_port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
        assert b"200 OK" in head
        assert len(await asyncio.wait_for(reader.readexactly(2**25), WAIT_S)) == 2**25


# --- Two readings of one request -------------------------------------------------------------------------------------

SECOND = b"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
AMBIGUOUS = {
    "length and chunked": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length with sign": POST + b"Content-Length: +5\r\n\r\nhello",
    "length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "length list": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "length past 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "space before colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "folded header": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice and more": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "bare line feed in head": b"GET /a HTTP/1.1\nHost: x\n\n",
    "bare carriage return": b"GET /a HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "null in header": b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "chunk size with sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    "chunk size in 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk size past 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\n1" + b"0" * 17 + b"\r\n",
    "chunk end without CR": POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "chunk longer than said": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "header without colon": b"GET /a HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n",
    "empty header name": b"GET /a HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "header name with a space": b"GET /a HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n",
    "space before first header": b"GET /a HTTP/1.1\r\n Host: x\r\n\r\n",
    "unknown method": b"G\x01T /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "version of two digits": b"GET /a HTTP/1.11\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /a ICE/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_done(request_bytes):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await hello(scope, receive, send)

    listener = Listener(app, "127.0.0.1", 0)
    await listener.open()
    try:
        async with connected(listener.address[1]) as (reader, writer):
            writer.write(request_bytes + SECOND)
            answer = await asyncio.wait_for(reader.read(), WAIT_S)
            assert b" 200 " not in answer
    finally:
        await listener.close()
    assert "/second" not in seen


# --- Behind a proxy -------------------------------------------------------------------------------------------------


async def test_a_proxy_of_ours_says_who_asks_and_nobody_else_does():
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["client"][0])
        await hello(scope, receive, send)

    for trusted, header in (
        (["127.0.0.1"], b"X-Forwarded-For: 192.0.2.7"),
        (["127.0.0.1"], b"X-Other: 192.0.2.7"),
        ([], b"X-Forwarded-For: 192.0.2.7"),
    ):
        listener = Listener(app, "127.0.0.1", 0, trusted)
        await listener.open()
        async with connected(listener.address[1]) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
            await asyncio.wait_for(reader.readuntil(b"hello"), WAIT_S)
        await listener.close()
    assert asked == ["192.0.2.7", "", "127.0.0.1"]
