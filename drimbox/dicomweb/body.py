"""The body of a request, as it comes: bounded in time, and in what is held of it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from drimbox import clock
from drimbox.dicomweb.answers import Receive
from drimbox.errors import Unavailable

SILENCE_S: Final = 60
"""How long a caller may send nothing."""

GRACE_S: Final = 10
SLOWEST_BYTES_S: Final = 1024
"""After the first seconds, a body that comes more slowly on the whole is given up (reliability-security.md §3.3)."""


async def read_body(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The pieces of a body. Raises Unavailable when the caller goes away or is too slow."""
    started, size = clock.ticks(), 0
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                message = await receive()
        except TimeoutError as error:
            raise Unavailable("caller", f"sends nothing for {SILENCE_S} s") from error
        if message["type"] == "http.disconnect":
            raise Unavailable("caller", "went away before the end of the body")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        yield chunk
        if not message.get("more_body", False):
            return
        elapsed = clock.ticks() - started
        if elapsed > GRACE_S and size < elapsed * SLOWEST_BYTES_S:
            raise Unavailable("caller", f"sends less than {SLOWEST_BYTES_S} bytes a second")
