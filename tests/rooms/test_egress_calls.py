"""The gate against real servers on loopback: what is sent, what is refused, when it gives up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from drimbox import clock
from drimbox.egress import Egress
from drimbox.errors import Denied, DrimboxError, Malformed, Unavailable

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that hands each request head to `handler`, then closes; gives its origin."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def gate(*allowed: str, private: tuple[str, ...] = ()) -> AsyncIterator[Egress]:
    egress = Egress(allowed, private)
    try:
        yield egress
    finally:
        await egress.close()


def answering(raw: bytes) -> Handler:
    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return handler


async def silent(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def trickling(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_post_sends_the_bytes_and_returns_the_answer() -> None:
    seen: list[bytes] = []

    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend([head, await reader.readexactly(5)])
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope")
        await writer.drain()

    async with serving(handler) as origin, gate(origin) as egress:
        answer = await egress.post(
            f"{origin}/a?b=c", content=b"hello", headers={"SOAPAction": "x"}, timeout_s=60, max_bytes=10
        )
    assert (answer.status, answer.headers["content-type"], answer.content) == (404, "text/plain", b"nope")
    head = seen[0].lower()
    assert head.startswith(b"post /a?b=c http/1.1\r\n")
    assert b"host: " + origin.removeprefix("http://").encode() + b"\r\n" in head
    assert b"accept-encoding: identity\r\n" in head
    assert seen[1] == b"hello"


async def test_stream_gives_the_body_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()

    async with (
        serving(handler) as origin,
        gate(origin) as egress,
        egress.stream(origin, headers={}, timeout_s=60, idle_s=60) as answer,
    ):
        received = []
        async for chunk in answer.chunks:
            received.append(chunk)
            go_on.set()
    assert received == [b"first", b"last"]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nelevenbytes",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
    ids=["redirect", "compressed", "too big", "cut", "bad chunk", "huge header", "not http", "closed"],
)
async def test_an_answer_we_cannot_trust_is_unavailable(raw: bytes) -> None:
    async with serving(answering(raw)) as origin, gate(origin) as egress:
        with pytest.raises(Unavailable) as refused:
            await egress.get(f"{origin}/patient/1234?ins=5678", headers={}, timeout_s=60, max_bytes=10)
    assert "1234" not in str(refused.value)
    assert "5678" not in str(refused.value)


@pytest.mark.parametrize("handler", [silent, trickling])
async def test_the_deadline_is_absolute(handler: Handler) -> None:
    async with serving(handler) as origin, gate(origin) as egress:
        with pytest.raises(Unavailable, match=r"0\.2 s"):
            await egress.get(origin, headers={}, timeout_s=0.2, max_bytes=1 << 20)


async def test_a_slow_reader_is_told_at_its_next_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    start = clock.ticks()
    monkeypatch.setattr(clock, "ticks", lambda: start)
    async with (
        serving(trickling) as origin,
        gate(origin) as egress,
        egress.stream(origin, headers={}, timeout_s=60, idle_s=60) as answer,
    ):
        assert await anext(answer.chunks)
        monkeypatch.setattr(clock, "ticks", lambda: start + 61)
        with pytest.raises(Unavailable, match="60 s"):
            await anext(answer.chunks)


async def test_silence_ends_a_stream() -> None:
    async with serving(silent) as origin, gate(origin) as egress:
        with pytest.raises(Unavailable, match="silent"):
            async with egress.stream(origin, headers={}, timeout_s=60, idle_s=1):
                pass


async def test_an_error_of_the_reader_is_left_alone() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with serving(answering(whole)) as origin, gate(origin) as egress:
        for error in (OSError(28, "disk"), TimeoutError("other")):
            with pytest.raises(type(error)) as raised:
                async with egress.stream(origin, headers={}, timeout_s=60, idle_s=60):
                    raise error
            assert raised.value is error


async def test_no_cookie_is_kept_between_calls() -> None:
    heads: list[bytes] = []

    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=someone; Path=/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(handler) as origin, gate(origin) as egress:
        for _ in range(2):
            await egress.get(origin, headers={}, timeout_s=60, max_bytes=10)
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as origin, gate(origin) as egress:
        assert (await egress.get(origin, headers={}, timeout_s=60, max_bytes=10)).status == 204


async def test_nobody_listening_is_unavailable() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    async with gate(origin) as egress:
        with pytest.raises(Unavailable, match="no connection"):
            await egress.get(origin, headers={}, timeout_s=60, max_bytes=10)


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\x00", "é\u4e2d"])
async def test_a_header_that_is_not_http_is_malformed(value: str) -> None:
    async with serving(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as origin, gate(origin) as egress:
        with pytest.raises(Malformed):
            await egress.get(origin, headers={"Authorization": value}, timeout_s=60, max_bytes=10)


async def test_an_origin_that_is_not_configured_gets_no_connection() -> None:
    connections = 0

    async def canary(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1

    async with serving(canary) as origin, gate("http://127.0.0.1:1", "https://peer.example") as egress:
        port = origin.rpartition(":")[2]
        for url in (
            origin,
            f"http://127.0.0.1:1@127.0.0.1:{port}/",
            f"https://peer.example@127.0.0.1:{port}/",
            f"https://peer.example#@127.0.0.1:{port}/",
            f"http://2130706433:{port}/",
            f"http://0x7f.1:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/",
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "//127.0.0.1/",
            "http://",
            "http://[::1",
            "",
        ):
            with pytest.raises(DrimboxError) as refused:
                await egress.get(url, headers={}, timeout_s=60, max_bytes=10)
            assert isinstance(refused.value, Denied | Malformed | Unavailable), url
    assert connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "fe80::1",
        "fd00::1",
        "224.0.0.1",
        "ff0e::1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "2002:7f00:1::1",
        "64:ff9b::7f00:1",
    ],
)
async def test_a_name_that_resolves_inside_is_denied(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", ("192.0.43.8", 443)), (2, 1, 6, "", (address, 443))]
    )
    async with gate("https://peer.example") as egress:
        with pytest.raises(Denied, match="not public"):
            await egress.get("https://peer.example/x", headers={}, timeout_s=60, max_bytes=10)


async def test_the_address_is_resolved_once_and_the_next_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def resolve(*_args: object, **_named: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        nonlocal calls
        calls += 1
        return [(2, 1, 6, "", ("127.0.0.2", 0)), (2, 1, 6, "", ("127.0.0.1", 0))]

    async with serving(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as origin:
        named = origin.replace("127.0.0.1", "localhost")
        async with gate(named) as egress:
            monkeypatch.setattr("socket.getaddrinfo", resolve)
            assert (await egress.get(named, headers={}, timeout_s=60, max_bytes=10)).status == 204
    assert calls == 1
