"""The HTTP listener bounds what uvicorn does not: how long a request's head may take, and how large it may be."""

import asyncio
import contextlib

import pytest

from drimbox.errors import Unavailable
from drimbox.portal import listener as listener_module
from drimbox.portal.listener import HEAD_MAX_BYTES, Listener


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def port(monkeypatch):
    monkeypatch.setattr(listener_module, "HEAD_TIMEOUT_S", 0.3)
    listener = Listener(hello, "127.0.0.1", 0)
    await listener.open()
    yield listener.address[1]
    await listener.close()


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
    return await asyncio.wait_for(reader.readuntil(b"hello"), 5)


async def test_a_head_that_trickles_in_is_cut_at_its_absolute_deadline(port):
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")

        async def trickle():
            while True:
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        trickling.cancel()


async def test_a_connection_that_says_nothing_is_closed(port):
    async with connected(port) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_second_request_on_the_connection_has_a_deadline_of_its_own(port):
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)
        assert b"200 OK" in await ask(reader, writer)
        writer.write(b"GET / HT")
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_head_without_end_is_cut_by_its_size(port):
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-A: " + b"a" * (2 * HEAD_MAX_BYTES))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)


async def test_garbage_is_a_400_and_the_next_connection_is_served(port):
    async with connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        assert b"400" in await asyncio.wait_for(reader.read(), 5)
    async with connected(port) as (reader, writer):
        assert b"200 OK" in await ask(reader, writer)


async def test_a_port_that_is_taken_is_told_plainly(port):
    with pytest.raises(Unavailable, match=r"http\.port"):
        Listener(hello, "127.0.0.1", port)
