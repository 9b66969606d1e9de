"""A DIMSE connection under TLS, whose plain end pynetdicom gets (PS3.15 B.13).

A TLS connection is of one thread at a time, and pynetdicom reads on one while we write on another: so the loop keeps
it, and copies what goes through.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from drimbox.errors import Unavailable
from drimbox.settings import Destination
from drimbox.tls import build_client_context

_CONNECT_S: Final = 30.0
_BLOCK_BYTES: Final = 2**18


@asynccontextmanager
async def tunnel(place: Destination, name: str) -> AsyncIterator[socket.socket]:
    """The plain end of a connection to `place`, which is closed at the end. Raises Unavailable. name: for refusals."""
    files = (place.tls_ca, place.tls_certificate, place.tls_key)
    try:
        context = await asyncio.to_thread(build_client_context, *files)
    except OSError as error:
        raise Unavailable(name, "the files of its TLS cannot be used: see tls_ca, tls_certificate, tls_key") from error
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(
                place.host, place.port, ssl=context, server_hostname=place.tls_name or place.host, limit=_BLOCK_BYTES
            )
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(name, f"its certificate is not believed: {error.verify_message}") from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(name, "no TLS connection: address, port, or our certificate is not believed") from error
    plain, far = socket.socketpair()
    try:
        far_reader, far_writer = await asyncio.open_unix_connection(sock=far, limit=_BLOCK_BYTES)
        copies = [
            asyncio.create_task(_copy(reader, far_writer), name="tls-in"),
            asyncio.create_task(_copy(far_reader, writer), name="tls-out"),
        ]
        try:
            yield plain
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            far_writer.close()
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one end is gone; then the other one is told."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
