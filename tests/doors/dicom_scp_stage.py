"""What the tests of the DIMSE door play on: the door on a thread of its own, and an ingest that keeps in memory."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drimbox.auth.policy import CALLED_TITLE
from drimbox.dicom_scp.receivers import DicomDoor
from drimbox.errors import Denied, TooLarge
from drimbox.model import Credentials, InstanceRef, Reader
from drimbox.settings import Dicom
from drimbox.storage.archive import Kept

Answer = TypeVar("Answer")


@dataclass
class MemorySpool:
    """Bytes in memory, up to `limit`."""

    announced: tuple[str, str, str]
    limit: int
    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0
    is_discarded: bool = False

    def write(self, view: memoryview) -> None:
        assert not self.is_discarded
        if len(self.data) + len(view) > self.limit:
            raise TooLarge("object", f"more than {self.limit} bytes")
        self.pieces += 1
        self.data += view

    def discard(self) -> None:
        self.is_discarded = True


@dataclass
class MemoryIngest:
    """The shape of flows.ingest.Ingest. keep: what `instance` does with a whole spool."""

    keep: Callable[[MemorySpool], Any] = lambda spool: Kept(InstanceRef("1", "2", spool.announced[1]))
    limit: int = 2**24
    on_open: Callable[[], None] = lambda: None
    wait: Callable[[], Coroutine[Any, Any, None]] | None = None
    spools: list[MemorySpool] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    admitted: list[Credentials] = field(default_factory=list)
    turned_away: list[tuple[str, str]] = field(default_factory=list)
    ended: list[tuple[int, int]] = field(default_factory=list)
    end: threading.Event = field(default_factory=threading.Event)

    async def association(self, credentials: Credentials, proof: Callable[[], Awaitable[None]]) -> Reader:
        self.admitted.append(credentials)
        if credentials.calling == "STRANGER":
            raise Denied("association", "not in dicom.callers")
        if credentials.called == "SOMEBODY":
            raise Denied(CALLED_TITLE, "not ours")
        await proof()
        return Reader(credentials.calling, "dicom", credentials.address)

    async def refused(self, address: str, why: str) -> None:
        self.turned_away.append((address, why))

    async def finished(self, reader: Reader, stored: int, failed: int) -> None:
        self.ended.append((stored, failed))
        self.end.set()

    def open(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str) -> MemorySpool:
        self.on_open()
        self.spools.append(MemorySpool((sop_class_uid, sop_uid, transfer_syntax), self.limit))
        return self.spools[-1]

    async def instance(self, spool: MemorySpool) -> Any:
        if self.wait is not None:
            await self.wait()
        outcome = self.keep(spool)
        self.kept[spool.announced[1]] = bytes(spool.data)
        return outcome


@dataclass
class Stage:
    """An open door. call: run a coroutine on the door's own loop, and wait for it. places: by `dicom`, `dicom-tls`."""

    door: DicomDoor
    places: dict[str, tuple[str, int]]
    call: Callable[[Coroutine[Any, Any, Answer]], Answer]
    stopped: bool = False

    @property
    def place(self) -> tuple[str, int]:
        return self.places["dicom"]

    def stop(self, grace_s: float = 5) -> None:
        self.stopped = True
        self.call(self.door.stop(grace_s))


@contextmanager
def open_door(ingest: Any, retrieve: Any = None, **settings: Any) -> Iterator[Stage]:
    """The door at a free port of loopback, closed at the end."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def call(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(150)

        try:
            door = DicomDoor(Dicom(**{"port": 0, "receivers": 2, **settings}), ingest, retrieve)
            stage = Stage(door, call(door.start()), call)
            try:
                yield stage
            finally:
                if not stage.stopped:
                    stage.stop()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
