"""One connection: bytes in, events out, last words, deadlines. The asyncio part of the Upper Layer (PS3.8 §9)."""

import asyncio
import logging
import secrets
import socket
from dataclasses import dataclass, field
from typing import Final, cast

from drimbox.dicom.pdu import (
    AbortSource,
    AssociateRequest,
    Pdu,
    Rejection,
    build_abort,
    build_associate_reject,
    build_release_response,
    read_associate_request,
)
from drimbox.dicom_scp.counts import Counts
from drimbox.dicom_scp.framing import Breach, Framing, State, wrong_pdu
from drimbox.dicom_scp.limits import Limits
from drimbox.dicom_scp.messages import Assembly, Message
from drimbox.dicom_scp.refusals import Refusals
from drimbox.errors import Malformed
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.settings import Dicom

log = logging.getLogger(__name__)

Event = AssociateRequest | Message

BUFFER_BYTES: Final = 2**19  # one per loop, not per association: an idle association holds no buffer
_MOST_REQUEST_BYTES: Final = 64 * 2**20  # of association requests still arriving, all connections of a loop together
_LINGER_S: Final = 1.0  # after an abort: time for it to be read before the socket goes
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux only


@dataclass(slots=True)
class Shared:
    """What the connections of one loop share. buffer: every read lands there, and is used up before the next."""

    settings: Dicom
    ingest: Ingest
    retrieve: Retrieve
    counts: Counts
    limits: Limits
    buffer: memoryview
    refusals: Refusals = field(default_factory=Refusals)
    request_bytes: int = 0


class Link(asyncio.BufferedProtocol):
    """The connection under one association.

    `next` gives the association request, then each message, then None when there is nothing more to serve. Between
    two calls nothing is read: at most one buffer is held, so a fast sender waits in its own memory. Every state has
    an absolute deadline that no byte re-arms (promise P13).
    """

    def __init__(self, shared: Shared, connection: socket.socket, address: str, certificate: str = "") -> None:
        self.address = address
        self.certificate = certificate
        self.ending = ""  # in a word or two, for the log
        self.was_cut = False  # in the middle of a message
        self.assembly: Assembly | None = None
        self._shared = shared
        self._settings = shared.settings
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._framing = Framing(shared.settings.max_pdu_bytes)
        self._held = bytearray()  # read, and not looked at yet
        self._request_bytes = 0
        self._is_reading = True
        self._is_in_message = False
        self._is_stopping = False
        self._waiter: asyncio.Future[Event | None] | None = None
        self._expected: asyncio.Future[Event | None] | None = None  # asked for, and not taken yet
        self._drained: asyncio.Future[None] | None = None  # set while the other side does not read
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- What the association does --------------------------------------------------------------------------------

    async def next(self) -> Event | None:
        """The next event; None once the last word was said or heard."""
        await self.sent()
        expected, self._expected = self.expect(), None
        return await expected

    def expect(self) -> asyncio.Future[Event | None]:
        """What `next` will give, for whoever has something to do until it comes. Not to be cancelled."""
        if self._expected is None:
            self._expected = self._begin_wait()
        return self._expected

    async def sent(self) -> None:
        """Wait until the other side has read what was sent to it; then it may be silent as long as between messages."""
        if self._drained is not None:
            await self._drained
        if self._framing.state is State.ASSOCIATED and self._expected is not None and not self._is_in_message:
            self._allow(self._settings.idle_timeout_s)

    def _begin_wait(self) -> asyncio.Future[Event | None]:
        waiter: asyncio.Future[Event | None] = self._loop.create_future()
        if self._is_stopping:
            self.abort("stopping")
        if self.is_closing:
            waiter.set_result(None)
            return waiter
        if self._framing.state is State.ASSOCIATED:
            self._is_in_message = False
            self._allow(self._settings.idle_timeout_s)
        self._waiter = waiter
        if self._held:
            held, self._held = self._held, bytearray()
            self._read(memoryview(held))
        if not (self._is_reading or self._held or self.is_closing):
            self._is_reading = True
            self._transport.resume_reading()
        return waiter

    @property
    def is_closing(self) -> bool:
        """Was the last word said or heard?"""
        return self._framing.state is State.CLOSING

    def accept(self, accept: bytes, assembly: Assembly) -> None:
        """Answer A-ASSOCIATE-AC; messages may follow."""
        if not self.is_closing:
            self.assembly = assembly
            self._framing.state = State.ASSOCIATED
            self._transport.write(accept)

    def send(self, data: bytes) -> None:
        """Send P-DATA-TF, unless the connection is gone."""
        if not self.is_closing:
            self._transport.write(data)

    def reject(self, rejection: Rejection) -> None:
        """Answer A-ASSOCIATE-RJ; the other side then closes (Sta13)."""
        self._end("rejected", build_associate_reject(rejection), self._settings.request_timeout_s)

    def abort(self, ending: str, source: AbortSource = AbortSource.SERVICE_USER) -> None:
        """Say A-ABORT and close."""
        self._end(ending, build_abort(source), _LINGER_S, half_close=True)

    async def closed(self) -> None:
        """Wait until the socket is gone; there is a deadline on it."""
        await self._closed

    # --- What the receiver does -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """End at the next quiet point: now, or once the message that is arriving was answered."""
        self._is_stopping = True
        is_idle = self._waiter is not None and (self.assembly is None or self.assembly.is_empty())
        if is_idle and not self.is_closing:
            self.abort("stopping")

    def kill(self) -> None:
        """Close at once, without a word."""
        self._is_stopping = True
        if self._timer is not None:  # else not connected yet: `next` will see it
            self._drop("killed")

    # --- What the loop does ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # No room of ours for answers: what the system does not take at once counts as not read.
        self._transport.set_write_buffer_limits(high=0)
        self._allow(self._settings.request_timeout_s)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if _QUICKACK is not None:
            # A sender with Nagle on waits 40 ms for a delayed ACK; the system forgets this option, so at each read.
            self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        state = self._framing.state
        if state is State.CLOSING:
            return
        view = self._shared.buffer[:nbytes]
        if state is not State.DECIDING and (self._waiter is None or self._held):
            self._hold(view)
        else:
            self._read(view)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self._allow(self._settings.request_timeout_s)

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def connection_lost(self, error: Exception | None) -> None:
        self.ending = self.ending or "connection lost"
        self._enter_closing()
        self.resume_writing()
        if self._timer is not None:
            self._timer.cancel()
        self._closed.set_result(None)

    # --- What Framing finds ---------------------------------------------------------------------------------------

    def pdu(self, kind: Pdu, body: bytes) -> bool:
        """See Sink."""
        if kind is Pdu.ASSOCIATE_RQ:
            try:
                request = read_associate_request(body)
            except Malformed as error:
                raise wrong_pdu(str(error)) from error
            self._framing.state = State.DECIDING
            self._count_request(-self._request_bytes)
            self._give(request)
            return True
        if kind is Pdu.RELEASE_RQ:
            self._end("released", build_release_response(), self._settings.request_timeout_s)
        else:
            self._drop("aborted by the other side")
        return False

    def fragment(self, context_id: int, control: int, piece: memoryview, is_whole: bool) -> bool:
        """See Sink."""
        message = self.assembly.add(context_id, control, piece, is_whole) if self.assembly else None
        if message is None:
            return True
        self._give(message)
        return False

    # --- Pieces ---------------------------------------------------------------------------------------------------

    def _read(self, view: memoryview) -> None:
        if self._framing.state is State.AWAITING_REQUEST:
            self._count_request(len(view))
            if self._shared.request_bytes > _MOST_REQUEST_BYTES:
                self._drop("too many requests at once")
                return
        try:
            count = self._framing.feed(view, self)
        except Breach as breach:
            self._break(breach)
            return
        except Exception:
            log.exception("dimse_bug", extra={"incident": secrets.token_hex(4)})
            self.abort("bug")
            return
        if self.is_closing:
            return
        if count < len(view):
            self._hold(view[count:])
        if not self._is_in_message and self.assembly is not None and not self.assembly.is_empty():
            self._is_in_message = True
            self._allow(self._settings.message_timeout_s)

    def _hold(self, view: memoryview) -> None:
        self._held += view
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _give(self, event: Event | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(event)

    def _break(self, breach: Breach) -> None:
        extra = {"address": self.address, "why": breach.why, "state": self._framing.state.name}
        log.warning("protocol_breach", extra=extra)
        self._shared.counts.add("aborted")
        self._end("protocol breach", build_abort(breach.source, breach.reason), _LINGER_S, half_close=True)

    def _end(self, ending: str, last_word: bytes, linger_s: float, *, half_close: bool = False) -> None:
        """Say the last word; then whatever still comes is thrown away until the other side closes, or the deadline."""
        if self.is_closing:
            return
        self.ending = ending
        self._enter_closing()
        self._transport.write(last_word)
        if half_close:
            self._transport.write_eof()
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()
        self._allow(linger_s)

    def _drop(self, ending: str) -> None:
        self.ending = self.ending or ending
        self._enter_closing()
        self._transport.abort()

    def _enter_closing(self) -> None:
        self._framing.state = State.CLOSING
        self._count_request(-self._request_bytes)
        self._held = bytearray()
        if self.assembly is not None and not self.assembly.is_empty():
            self.was_cut = True
            self.assembly.discard()
        self._give(None)

    def _count_request(self, step: int) -> None:
        self._request_bytes += step
        self._shared.request_bytes += step

    def _allow(self, seconds: float) -> None:
        """Move the deadline. The timer moves only when it would ring too late: most deadlines are never reached."""
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._deadline < self._timer.when():
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        if self._loop.time() < self._deadline:
            self._set_timer()
        elif self._framing.state is State.ASSOCIATED and self._drained is None:
            extra = {"address": self.address, "in_message": self._is_in_message}
            log.warning("association_timeout", extra=extra)
            self._shared.counts.add("aborted")
            self.abort("timeout", AbortSource.SERVICE_PROVIDER)
        else:
            self._drop("timeout")
