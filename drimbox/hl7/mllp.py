"""The MLLP door (HL7 Transport Specification: MLLP, release 1): framing, one answer a message, in order.

A frame is 0x0B, the message, 0x1C 0x0D. Each connection is served by one task, one message at a time: the sender waits
for its answer, so that is all the backpressure there is to give.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from drimbox import clock
from drimbox.auth.policy import is_hl7_sender
from drimbox.errors import DrimboxError, TooLarge, Unavailable
from drimbox.hl7.ack import build_ack
from drimbox.hl7.inbound import Inbound, read_inbound
from drimbox.hl7.message import Segment, parse_header, parse_message
from drimbox.model import Credentials, PatientMerge, Report, StudyNotice
from drimbox.settings import Hl7
from drimbox.tls import ServerFiles, ServerTls

log = logging.getLogger(__name__)

START = b"\x0b"
END = b"\x1c\x0d"
_CHUNK_BYTES = 65536
_SHORT_BYTES = 16384
_CLOSE_TIMEOUT_S = 5.0
_HANDSHAKE_TIMEOUT_S = 10.0


_T = TypeVar("_T")
Outcome = Literal["accepted", "replayed"]


class Publishing(Protocol):
    """The flow behind this door."""

    async def report_arrived(self, report: Report, credentials: Credentials) -> Outcome: ...
    async def study_noticed(self, notice: StudyNotice, credentials: Credentials) -> Outcome: ...
    async def patients_merged(self, merge: PatientMerge, credentials: Credentials) -> Outcome: ...


class Hl7Door:
    """Listens, frames, parses, calls `publish`, answers."""

    def __init__(self, settings: Hl7, publish: Publishing) -> None:
        self._settings = settings
        self._publish = publish
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()  # those with a whole message in hand
        self._stopping = False
        self._name = secrets.token_hex(5)  # MSH-10 of answers: this, and a number
        self._numbers = itertools.count(1)
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> tuple[str, int]:
        """Listen. Returns the host and the port, a free one when the settings say 0. Raises Unavailable."""
        settings = self._settings
        secured: dict[str, Any] = {}
        if settings.tls_certificate and settings.tls_key and settings.tls_ca:
            tls = ServerTls("hl7", ServerFiles(settings.tls_certificate, settings.tls_key, settings.tls_ca))
            self._renewal = asyncio.create_task(tls.watch(), name="hl7-certificates")
            secured = {"ssl": tls.entrance, "ssl_handshake_timeout": _HANDSHAKE_TIMEOUT_S}
        try:
            self._server = await asyncio.start_server(self._connected, settings.host, settings.port, **secured)
        except OSError as error:
            reason = f"{settings.host}:{settings.port} cannot be listened on (errno {error.errno}): choose another"
            raise Unavailable("hl7.port", reason) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        log.info("hl7_listening", extra={"host": host, "port": port})
        return str(host), int(port)

    async def stop(self) -> None:
        """Stop listening, answer the messages in hand, close. A message half received is the sender's to repeat."""
        self._stopping = True
        if self._renewal is not None:
            self._renewal.cancel()
        if self._server is not None:
            self._server.close()
        for task in self._connections - self._answering:
            task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=self._settings.message_timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = writer.get_extra_info("peername")  # None when the other end is already gone
        try:
            if task is not None and peer and self._is_welcome(peer[0]):
                self._connections.add(task)
                await self._serve(_Frames(reader, self._settings), writer, peer[0], task)
        except (OSError, TimeoutError) as error:
            log.info("hl7_connection_lost", extra={"address": peer[0], "reason": type(error).__name__})
        except Exception:
            log.exception("hl7_connection_failed", extra={"address": peer[0]})
        finally:
            writer.close()
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await writer.wait_closed()
            except (OSError, TimeoutError):
                writer.transport.abort()
            if task is not None:
                self._connections.discard(task)

    def _is_welcome(self, address: str) -> bool:
        if self._stopping or not is_hl7_sender(address, self._settings):
            log.warning("hl7_connection_refused", extra={"address": address})
            return False
        if len(self._connections) >= self._settings.max_connections:
            log.warning("hl7_too_many_connections", extra={"address": address})
            return False
        return True

    async def _serve(
        self, frames: "_Frames", writer: asyncio.StreamWriter, address: str, task: asyncio.Task[None]
    ) -> None:
        while not self._stopping and (frame := await frames.next()) is not None:
            self._answering.add(task)
            try:
                writer.write(START + await self._answer(frame, address) + END)
                async with asyncio.timeout(self._settings.message_timeout_s):
                    await writer.drain()
            finally:
                self._answering.discard(task)

    async def _hand_over(self, inbound: Inbound, credentials: Credentials) -> Outcome:
        match inbound:
            case Report():
                return await self._publish.report_arrived(inbound, credentials)
            case StudyNotice():
                return await self._publish.study_noticed(inbound, credentials)
            case PatientMerge():
                return await self._publish.patients_merged(inbound, credentials)

    async def _answer(self, frame: "_Frame", address: str) -> bytes:
        """The answer to one message. Never raises: whatever happens, the sender is told."""
        header: Segment | None = None
        error: DrimboxError | None = None
        size = {"address": address, "size_bytes": len(frame.data)}
        try:
            header = await _read_by(parse_header, frame.data)
            if not frame.is_whole:
                raise TooLarge("message", f"over {self._settings.max_message_bytes} bytes")
            inbound = await _read_by(_read, frame.data)
            credentials = Credentials("hl7", address, calling=header.text(3), called=header.text(5))
            async with asyncio.timeout(self._settings.message_timeout_s):
                outcome = await self._hand_over(inbound, credentials)
            log.info("hl7_message_kept", extra={**size, "kind": type(inbound).__name__, "outcome": outcome})
        except DrimboxError as refusal:
            error = refusal
            log.warning("hl7_message_refused", extra={**size, "reason": str(refusal), "detail": refusal.detail})
        except TimeoutError:
            error = Unavailable("node", "it could not be kept in time: send it again")
            log.exception("hl7_message_not_kept_in_time", extra=size)
        except Exception:
            incident = secrets.token_hex(8)
            error = Unavailable("node", f"internal error, incident {incident}")
            log.exception("hl7_message_failed", extra={**size, "incident": incident})
        return build_ack(header, error, clock.now(), f"{self._name}{next(self._numbers):x}")


def _read(data: bytes) -> Inbound:
    return read_inbound(parse_message(data))


async def _read_by(read: Callable[[bytes], _T], data: bytes) -> _T:
    """On a thread, but for short messages: reading one takes less than the way there and back."""
    return read(data) if len(data) <= _SHORT_BYTES else await asyncio.to_thread(read, data)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The content of a frame; only its beginning when it was over the limit."""

    data: bytes
    is_whole: bool


class _Frames:
    """Cuts the bytes of one connection into frames. Keeps at most the limit of a message, plus one chunk."""

    def __init__(self, reader: asyncio.StreamReader, settings: Hl7) -> None:
        self._reader = reader
        self._settings = settings
        self._received = bytearray()

    async def next(self) -> _Frame | None:
        """The next frame, or None at the end of the stream. Raises TimeoutError.

        Both deadlines are absolute: a byte now and then does not put them off (P13). A frame over the limit is read
        to its end but not kept, so that it gets its answer and the next one is understood.
        """
        async with asyncio.timeout(self._settings.idle_timeout_s):
            if not await self._find_start():
                return None
        async with asyncio.timeout(self._settings.message_timeout_s):
            return await self._to_end()

    async def _find_start(self) -> bool:
        """Drop everything up to the start block, itself included: senders put line ends between frames."""
        while (start := self._received.find(START)) < 0:
            self._received.clear()
            if not await self._more():
                return False
        del self._received[: start + len(START)]
        return True

    async def _to_end(self) -> _Frame | None:
        searched, beginning = 0, b""
        while (end := self._received.find(END, searched)) < 0:
            if len(self._received) > self._settings.max_message_bytes:
                beginning = beginning or bytes(self._received[:_CHUNK_BYTES])
                del self._received[:-1]  # the last byte may be the first half of the end block
            searched = max(0, len(self._received) - 1)
            if not await self._more():
                log.info("hl7_message_cut_short")
                return None
        is_whole = not beginning and end <= self._settings.max_message_bytes
        data = (
            bytes(memoryview(self._received)[:end]) if is_whole else beginning or bytes(self._received[:_CHUNK_BYTES])
        )
        del self._received[: end + len(END)]
        return _Frame(data, is_whole)

    async def _more(self) -> bool:
        chunk = await self._reader.read(_CHUNK_BYTES)
        self._received += chunk
        return bool(chunk)
