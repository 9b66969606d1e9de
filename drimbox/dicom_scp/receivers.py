"""The DIMSE door: one place that accepts, a few threads that receive, each with its own event loop.

A thread serves many associations: none is kept for a socket that says nothing. Threads overlap because reading,
writing, hashing and syncing let go of the interpreter lock. With TLS there is one thread more, for handshakes.
"""

import asyncio
import itertools
import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvloop

from drimbox import clock
from drimbox.dicom_scp.association import Association
from drimbox.dicom_scp.counts import Counts
from drimbox.dicom_scp.descriptors import allow_descriptors
from drimbox.dicom_scp.handshakes import Handshakes
from drimbox.dicom_scp.limits import CountedHere, Limits, Places, kept_back
from drimbox.dicom_scp.link import BUFFER_BYTES, Link, Shared
from drimbox.dicom_scp.processes import ReceivingProcess
from drimbox.dicom_scp.refusals import Refusals
from drimbox.dicom_scp.sealed import SEALED_BYTES, Sealed, Session
from drimbox.errors import Unavailable
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.settings import Dicom
from drimbox.tls import ServerFiles, ServerTls

log = logging.getLogger(__name__)

_BACKLOG: Final = 512
# Connections beyond the associations allowed, so that there is somebody to answer "local limit exceeded".
_SPARE_CONNECTIONS: Final = 64
_ACCEPT_AGAIN_S: Final = 1.0
_LAST_WRITES_S: Final = 10.0  # for what was accepted to reach the disk, after the sockets are gone


class Receiver:
    """A thread, its loop, and the connections it was given.

    ended: told, on this thread, of the address of each connection that is over. handshakes: of connections under TLS.
    """

    is_gone: Final = False  # a thread does not die without the node

    def __init__(
        self,
        name: str,
        settings: Dicom,
        ingest: Ingest,
        retrieve: Retrieve,
        counts: Counts,
        limits: Limits,
        ended: Callable[[str], None],
        handshakes: Handshakes | None,
    ) -> None:
        self._shared = Shared(settings, ingest, retrieve, counts, limits, memoryview(bytearray(BUFFER_BYTES)))
        self._sealed = memoryview(bytearray(SEALED_BYTES if handshakes else 0))
        self._end = ended
        self._handshakes = handshakes
        self._links: dict[asyncio.Task[None], Link] = {}
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Return once the loop runs."""
        self._thread.start()
        self._is_ready.wait()

    def take(self, connection: socket.socket, address: str, under_tls: bool) -> None:
        """Serve an accepted connection. Called from any thread."""
        if under_tls and self._handshakes is not None:
            self._handshakes.take(connection, address, self._hand_over)
        else:
            self._hand_over(connection, address, None)

    def _hand_over(self, connection: socket.socket, address: str, session: Session | None) -> None:
        self._loop.call_soon_threadsafe(self._take, connection, address, session)

    async def stop(self, grace_s: float) -> None:
        """Let the messages that are arriving end, within the grace; then close all. Awaited on another loop."""
        stopping = asyncio.run_coroutine_threadsafe(self._finish(grace_s), self._loop)
        await asyncio.wrap_future(stopping)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._is_ready.set()
        await self._finished.wait()

    def _take(self, connection: socket.socket, address: str, session: Session | None) -> None:
        link = Link(self._shared, connection, address, session.subject if session else "")
        protocol = Sealed(session, link, self._sealed) if session else link
        task = self._loop.create_task(self._serve(connection, link, protocol))
        self._links[task] = link
        task.add_done_callback(self._links.pop)

    async def _serve(self, connection: socket.socket, link: Link, protocol: asyncio.BufferedProtocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
            await Association(self._shared, link).serve()
        except OSError:  # gone before it was served
            connection.close()
        finally:
            self._end(link.address)

    async def _finish(self, grace_s: float) -> None:
        for link in list(self._links.values()):
            link.stop()
        if self._links:
            await asyncio.wait(self._links, timeout=grace_s)
        for link in list(self._links.values()):
            link.kill()
        if self._links:
            await asyncio.wait(self._links, timeout=_LAST_WRITES_S)
        self._finished.set()


class DicomDoor:
    """Accept on the ports of `settings`, receive on `settings.receivers` threads and in other processes.

    counts: for the metrics. workers: how many processes receive, this one included. whole: the node's settings as
    JSON, for the others. Raises Unavailable when the files of TLS cannot be used.
    """

    def __init__(self, settings: Dicom, ingest: Ingest, retrieve: Retrieve, workers: int = 1, whole: str = "") -> None:
        self.counts = Counts()
        self._settings = settings
        self._listeners: dict[socket.socket, bool] = {}  # and whether it is of TLS
        self._refusals = Refusals()
        most = settings.max_associations
        each = settings.max_associations_per_caller or most
        self._connections = Places(most + kept_back(most) + _SPARE_CONNECTIONS, most + _SPARE_CONNECTIONS)
        associations = Places(most, each)
        self._handshakes = build_handshakes(settings, ingest, self._ended)
        shared = (settings, ingest, retrieve, self.counts, Limits(CountedHere(associations)))
        self._receivers = [
            Receiver(f"dicom-receiver-{number}", *shared, self._ended, self._handshakes)
            for number in range(1, settings.receivers + 1)
        ]
        self._processes = [ReceivingProcess(number, whole, self._ended, associations) for number in range(1, workers)]
        # Each process has one turn in a round for each of its threads; a worker has one.
        self._all: list[Receiver | ReceivingProcess] = [*self._receivers, *self._processes]
        self._turns = itertools.cycle(self._all)

    async def start(self) -> dict[str, tuple[str, int]]:
        """Open the door; where, by `dicom` and `dicom-tls`, with the real ports. Raises Unavailable."""
        found = {}
        for name, listener in self._listen().items():
            host, port = listener.getsockname()[:2]
            found[name] = (str(host), int(port))
            self._listeners[listener] = name != "dicom"
        allow_descriptors(self._settings.max_associations)  # the workers inherit them
        if self._handshakes is not None:
            self._handshakes.start()
        for receiver in self._receivers:
            receiver.start()
        await asyncio.gather(*(process.start() for process in self._processes))
        for listener in self._listeners:
            self._watch(listener)
        return found

    def _listen(self) -> dict[str, socket.socket]:
        """All the ports or none. Raises Unavailable when one is taken."""
        settings, listeners = self._settings, {}
        try:
            if settings.plain:
                listeners["dicom"] = listen(settings.host, settings.port, "dicom.port")
            if settings.tls_port is not None:
                listeners["dicom-tls"] = listen(settings.host, settings.tls_port, "dicom.tls_port")
        except Unavailable:
            for listener in listeners.values():
                listener.close()
            raise
        return listeners

    async def stop(self, grace_s: float) -> None:
        """Accept nobody more, finish what was accepted, close. Nothing to do when the door was not opened."""
        listeners, self._listeners = self._listeners, {}
        if not listeners:
            return
        for listener in listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        if self._handshakes is not None:
            await self._handshakes.stop()
        await asyncio.gather(*(each.stop(grace_s) for each in self._all))

    def _watch(self, listener: socket.socket) -> None:
        if listener in self._listeners:  # else stopped meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            for _ in range(_BACKLOG):
                connection, place = listener.accept()
                self._hand_over(connection, str(place[0]), self._listeners[listener])
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptor left, mostly: asking again at once would only burn the processor
            log.error("accept_failed", extra={"errno": error.errno})
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_AGAIN_S, self._watch, listener)

    def _hand_over(self, connection: socket.socket, address: str, under_tls: bool) -> None:
        if not self._connections.enter(address):
            if times := self._refusals.count(address, clock.ticks()):
                log.warning("connection_refused", extra={"address": address, "times": times})
            connection.close()
            return
        self.counts.add("connections")
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        next(each for each in self._turns if not each.is_gone).take(connection, address, under_tls)

    def _ended(self, address: str) -> None:
        """A connection is over. Called from any thread."""
        self.counts.add("connections", -1)
        self._connections.leave(address)


def build_handshakes(settings: Dicom, ingest: Ingest, ended: Callable[[str], None]) -> Handshakes | None:
    """For a process that takes connections under TLS; None where TLS is off. Raises Unavailable."""
    if settings.tls_port is None or not (settings.tls_certificate and settings.tls_key and settings.tls_ca):
        return None
    files = ServerFiles(settings.tls_certificate, settings.tls_key, settings.tls_ca, settings.tls_client)
    return Handshakes(ServerTls("dicom", files), settings.tls_handshake_timeout_s, ended, ingest.refused)


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket that does not block. Raises Unavailable with the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(setting, f"cannot listen on {host}:{port} (errno {error.errno}): choose another") from error
    listener.setblocking(False)
    return listener
