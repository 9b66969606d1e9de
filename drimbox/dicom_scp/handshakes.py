"""TLS handshakes, on a thread of their own: slow and hostile ones delay neither plain associations nor open ones.

Each has one absolute deadline from the moment the connection was accepted, waiting for its turn included. So many are
under way at once, of one address fewer: the others wait without costing more than their socket.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Final

import uvloop

from drimbox import clock
from drimbox.dicom_scp.refusals import Refusals
from drimbox.dicom_scp.sealed import Session
from drimbox.dicom_scp.turns import Turns
from drimbox.errors import DrimboxError
from drimbox.tls import ServerTls, find_subject

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64
_OF_ONE_ADDRESS: Final = 16
_READ_BYTES: Final = 2**14

Done = Callable[[socket.socket, str, Session], None]
Trace = Callable[[str, str], Coroutine[None, None, None]]


class Handshakes:
    """A thread, its loop, and the connections that are not under TLS yet.

    ended: told, on this thread, of the address of each connection that came to nothing; it is closed already.
    trace: told of its address and why, when that is worth a line in the log.
    """

    def __init__(self, tls: ServerTls, timeout_s: float, ended: Callable[[str], None], trace: Trace) -> None:
        self._tls = tls
        self._timeout_s = timeout_s
        self._end = ended
        self._trace = trace
        self._turns = Turns(_AT_ONCE, _OF_ONE_ADDRESS)
        self._refusals = Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicom-handshakes")

    def start(self) -> None:
        """Return once the loop runs."""
        self._thread.start()
        self._is_ready.wait()

    def take(self, connection: socket.socket, address: str, done: Done) -> None:
        """Make the handshake of an accepted connection, then call `done` with it. Called from any thread."""
        self._loop.call_soon_threadsafe(self._take, connection, address, done)

    async def stop(self) -> None:
        """Close what has not ended. Awaited on another loop; nothing is done later."""
        self._loop.call_soon_threadsafe(self._ended.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        watch = asyncio.create_task(self._tls.watch())
        self._is_ready.set()
        await self._ended.wait()
        for task in (watch, *self._tasks):
            task.cancel()
        await asyncio.gather(watch, *self._tasks, return_exceptions=True)

    def _take(self, connection: socket.socket, address: str, done: Done) -> None:
        task = self._loop.create_task(self._serve(connection, address, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, address: str, done: Done) -> None:
        try:
            async with asyncio.timeout(self._timeout_s), self._turns.turn(address):
                session = await self._shake_hands(connection)
        except asyncio.CancelledError:
            connection.close()
            self._end(address)
            raise
        except Exception as error:  # the outermost: whatever it is, the connection must not stay open
            connection.close()
            self._end(address)
            await self._refuse(address, error)
        else:
            done(connection, address, session)

    async def _refuse(self, address: str, error: Exception) -> None:
        reason = (error.reason if isinstance(error, ssl.SSLError) else "") or type(error).__name__
        if not (times := self._refusals.count((address, reason), clock.ticks())):
            return
        log.warning("tls_handshake_failed", extra={"address": address, "reason": reason, "times": times})
        try:
            await self._trace(address, reason)
        except DrimboxError as refusal:
            log.error("association_failed", extra={"what": refusal.what, "why": refusal.why, "detail": refusal.detail})

    async def _shake_hands(self, connection: socket.socket) -> Session:
        """Raises OSError, of which ssl.SSLError is one; the other side was told why when that is possible."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._tls.current.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                await self._send(connection, outgoing)
                return Session(tls, incoming, outgoing, find_subject(tls))
            except ssl.SSLWantReadError:
                await self._send(connection, outgoing)
            except ssl.SSLError:
                await self._send(connection, outgoing)  # the alert
                raise
            data = await self._loop.sock_recv(connection, _READ_BYTES)
            if not data:
                raise ConnectionResetError("closed in the middle of the handshake")
            incoming.write(data)

    async def _send(self, connection: socket.socket, outgoing: ssl.MemoryBIO) -> None:
        if outgoing.pending:
            await self._loop.sock_sendall(connection, outgoing.read())
