"""TLS between a socket and a Link: to the socket it is the protocol, to the link the transport.

The handshake was made elsewhere (`handshakes`), so no public-key operation runs on the loop that receives. Both buffers
are the loop's: a thousand idle connections hold OpenSSL's state and nothing of ours.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, cast

SEALED_BYTES: Final = 2**18  # of ciphertext a read, one buffer a loop
_RECORD_BYTES: Final = 2**14  # the largest record of TLS


@dataclass(slots=True)
class Session:
    """One end of a TLS connection, with what came in and has not been opened yet. subject: of the client; or empty."""

    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    subject: str


class Opened(Protocol):
    """What a Link is to us: a BufferedProtocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...


class Sealed(asyncio.BufferedProtocol, asyncio.Transport):
    """A connection under TLS. buffer: of the loop, for ciphertext; used up before the next read."""

    def __init__(self, session: Session, link: Opened, buffer: memoryview) -> None:
        super().__init__()
        self._session: Session | None = session  # None once the connection is lost
        self._link = link
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._is_reading = True

    # --- What the socket tells ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._link.connection_made(self)
        self._loop.call_soon(self._open)  # the request may have come right behind the handshake

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._session is not None:
            self._session.incoming.write(self._buffer[:nbytes])
            self._open()

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_reading = False
        # OpenSSL's state goes now. We, the link and the transport hold one another, and the collector that would find
        # us counts objects: it does not know that this one weighs a hundred kilobytes.
        self._session = None
        self._link.connection_lost(exc)

    # --- What the link asks ---------------------------------------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and send."""
        if self._session is None:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._session.tls.write(view) :]
        except ssl.SSLError:
            self.abort()
            return
        self._flush(self._session)

    def write_eof(self) -> None:
        """Say that nothing more comes: close_notify, then the end of the stream."""
        if self._session is not None:
            with suppress(ssl.SSLError):  # theirs has not come yet, or never will
                self._session.tls.unwrap()
            self._flush(self._session)
            self._transport.write_eof()

    def pause_reading(self) -> None:
        self._is_reading = False
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on; with what was read and not opened yet, if there is any, but not before the caller is done."""
        if self._session is not None:
            self._is_reading = True
            self._transport.resume_reading()
            self._loop.call_soon(self._open)

    def abort(self) -> None:
        self._transport.abort()

    # --- Pieces ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Give the link what can be opened, a bufferful at a time, for as long as it reads."""
        while self._is_reading and self._session is not None:
            view = self._link.get_buffer(-1)
            length, goes_on = self._fill(self._session, view)
            self._flush(self._session)
            if length:
                self._link.buffer_updated(length)
            if not goes_on:
                return

    def _fill(self, session: Session, view: memoryview) -> tuple[int, bool]:
        """Open records into `view`: how many bytes, and whether there may be more."""
        length = 0
        try:
            while len(view) - length >= _RECORD_BYTES:
                size = cast(int, session.tls.read(len(view) - length, view[length:]))
                if not size:
                    self._loop.call_soon(self._transport.close)  # close_notify: what came before it is whole
                    return length, False
                length += size
        except ssl.SSLWantReadError:
            return length, False
        except ssl.SSLError:  # forged, or not TLS: what was opened before it is sound, nothing follows
            self._loop.call_soon(self.abort)
            return length, False
        return length, True

    def _flush(self, session: Session) -> None:
        if session.outgoing.pending:
            self._transport.write(session.outgoing.read())
