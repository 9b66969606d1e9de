"""The DIMSE door: one place that accepts, a few threads that receive, each with its own event loop.

A thread serves many associations: none is kept for a socket that says nothing. Threads overlap because reading,
writing, hashing and syncing let go of the interpreter lock.
"""

import asyncio
import itertools
import logging
import socket
import threading
from typing import Final

import uvloop

from drimbox.dicom_scp.association import Association
from drimbox.dicom_scp.counts import Counts
from drimbox.dicom_scp.link import BUFFER_BYTES, Link, Shared
from drimbox.dicom_scp.processes import ReceivingProcess
from drimbox.errors import Unavailable
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.settings import Dicom

log = logging.getLogger(__name__)

_BACKLOG: Final = 512
# Connections beyond the associations allowed, so that there is somebody to answer "local limit exceeded".
_SPARE_CONNECTIONS: Final = 64
_ACCEPT_AGAIN_S: Final = 1.0
_LAST_WRITES_S: Final = 10.0  # for what was accepted to reach the disk, after the sockets are gone


class Receiver:
    """A thread, its loop, and the connections it was given."""

    is_gone: Final = False  # a thread does not die without the node

    def __init__(self, name: str, settings: Dicom, ingest: Ingest, retrieve: Retrieve, counts: Counts) -> None:
        self._shared = Shared(settings, ingest, retrieve, counts, memoryview(bytearray(BUFFER_BYTES)))
        self._links: dict[asyncio.Task[None], Link] = {}
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Return once the loop runs."""
        self._thread.start()
        self._is_ready.wait()

    def take(self, connection: socket.socket, address: str) -> None:
        """Serve an accepted connection. Called from any thread."""
        self._loop.call_soon_threadsafe(self._take, connection, address)

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

    def _take(self, connection: socket.socket, address: str) -> None:
        link = Link(self._shared, connection, address)
        task = self._loop.create_task(self._serve(connection, link))
        self._links[task] = link
        task.add_done_callback(self._links.pop)

    async def _serve(self, connection: socket.socket, link: Link) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: link, connection)
            await Association(self._shared, link).serve()
        except OSError:  # gone before it was served
            connection.close()
        finally:
            self._shared.counts.add("connections", -1)

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
    """Accept on `settings.host` and `settings.port`, receive on `settings.receivers` threads and in other processes.

    counts: for the metrics. workers: how many processes receive, this one included. whole: the node's settings as
    JSON, for the others.
    """

    def __init__(self, settings: Dicom, ingest: Ingest, retrieve: Retrieve, workers: int = 1, whole: str = "") -> None:
        self.counts = Counts()
        self._settings = settings
        self._listener: socket.socket | None = None
        self._receivers = [
            Receiver(f"dicom-receiver-{number}", settings, ingest, retrieve, self.counts)
            for number in range(1, settings.receivers + 1)
        ]
        self._processes = [ReceivingProcess(number, whole, self.counts) for number in range(1, workers)]
        # Each process has one turn in a round for each of its threads; a worker has one.
        self._all: list[Receiver | ReceivingProcess] = [*self._receivers, *self._processes]
        self._turns = itertools.cycle(self._all)

    async def start(self) -> tuple[str, int]:
        """Open the door; the address it is at, with the real port. Raises Unavailable when the port is taken."""
        try:
            family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
            place = (self._settings.host, self._settings.port)
            listener = socket.create_server(place, family=family, backlog=_BACKLOG)
        except OSError as error:
            text = f"cannot listen on {self._settings.host}:{self._settings.port} (errno {error.errno}): choose another"
            raise Unavailable("dicom.port", text) from error
        listener.setblocking(False)
        self._listener = listener
        for receiver in self._receivers:
            receiver.start()
        await asyncio.gather(*(process.start() for process in self._processes))
        self._listen(listener)
        host, port = listener.getsockname()[:2]
        return str(host), int(port)

    async def stop(self, grace_s: float) -> None:
        """Accept nobody more, finish what was accepted, close. Nothing to do when the door was not opened."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        await asyncio.gather(*(each.stop(grace_s) for each in self._all))

    def _listen(self, listener: socket.socket) -> None:
        if listener is self._listener:  # else stopped meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            for _ in range(_BACKLOG):
                connection, place = listener.accept()
                self._hand_over(connection, str(place[0]))
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptor left, mostly: asking again at once would only burn the processor
            log.error("accept_failed", extra={"errno": error.errno})
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_AGAIN_S, self._listen, listener)

    def _hand_over(self, connection: socket.socket, address: str) -> None:
        if not self.counts.enter("connections", self._settings.max_associations + _SPARE_CONNECTIONS):
            log.warning("connection_refused", extra={"address": address})
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        next(each for each in self._turns if not each.is_gone).take(connection, address)
