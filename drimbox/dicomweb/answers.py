"""Sending answers: whole or streamed, and never a clean end to something cut short."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from drimbox.problems import Headers, refuse

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Stream = AsyncGenerator[bytes | bytearray, None]

_SAFE: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"private, no-store"),  # health data stay out of the caches of shared workstations
    (b"vary", b"accept, accept-encoding"),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """status, headers and a body.

    length: of a streamed body, None when not known before its end; of a body left out because only its head was asked.
    """

    status: int
    headers: Headers
    body: bytes | bytearray | Stream = b""
    length: int | None = None


async def send_answer(answer: Answer, method: str, receive: Receive, send: Send) -> None:
    """Send it. Raises only what making the first bytes raises: nothing has left then.

    A caller who draws too slowly is dropped by the listener; `send` then does nothing, and `receive` tells.
    """
    if isinstance(answer.body, bytes | bytearray):
        length = answer.length
        if length is None and answer.status != 304:  # RFC 9110 §15.4.5: it would be the length of what is not sent
            length = len(answer.body)
        await send(_start(answer, length))
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
        return
    async with aclosing(answer.body) as chunks:
        if method == "HEAD":
            await send(_start(answer, answer.length))
            await send({"type": "http.response.body", "body": b""})
            return
        first = await anext(chunks, b"")
        await send(_start(answer, answer.length))
        watch = asyncio.create_task(_until_gone(receive))
        try:
            await _send_chunks(first, chunks, watch, send)
        except Exception as error:
            # The outermost loop of this door once bytes have left: the server drops a connection left unfinished,
            # so the caller sees a broken answer instead of a short one. `refuse` is called for its log line.
            refuse(error)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def _send_chunks(first: bytes | bytearray, chunks: Stream, watch: "asyncio.Task[None]", send: Send) -> None:
    chunk: bytes | bytearray | None = first
    while chunk is not None:
        if watch.done():
            return  # nobody is reading any more
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        chunk = await anext(chunks, None)
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(answer: Answer, length: int | None) -> dict[str, Any]:
    headers = [*answer.headers, *_SAFE]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def validators(etag: str, kept_at: float) -> Headers:
    """The headers by which a caller that kept an answer can ask whether it still holds (RFC 9110 §8.8)."""
    return [(b"etag", etag.encode()), (b"last-modified", _http_date(int(kept_at)))]


def is_unchanged(etag: str, if_none_match: str) -> bool:
    """Does the caller already hold this (RFC 9110 §13.1.2)? The comparison is weak."""
    names = {name.strip().removeprefix("W/") for name in if_none_match.split(",")}
    return bool(if_none_match) and ("*" in names or etag.removeprefix("W/") in names)


async def gzipped(chunks: Stream) -> Stream:
    """The same in gzip, as it comes. Level 1: three quarters of the gain for a quarter of the time on DICOM JSON."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    async with aclosing(chunks):
        async for chunk in chunks:
            if packed := await asyncio.to_thread(packer.compress, chunk):
                yield packed
    yield packer.flush()
