"""The packs of one archive: files that only grow, in which instances lie one after the other (see `records`).

Creating a file for each instance is what limits receiving (docs/decisions/0007). Small instances of all senders share
one pack, and one sync; a large one has a pack to itself while it arrives, which the next large one goes on with.
"""

import contextlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from drimbox import clock
from drimbox.dicom.part10 import Preface
from drimbox.durable import GrowingFile, Volume
from drimbox.errors import DrimboxError
from drimbox.storage.records import HEADER_BYTES, Record, State, build_header, read_header
from drimbox.storage.spool import Buffers, Spool

FOLDER: Final = "packs"
_LOOK_AGAIN_S: Final = 0.1  # for room; a pack looks whenever it grows
FULL_BYTES: Final = 2**30  # a pack that is so long gets no further record


class Packs:
    """Where records are written. `shared` is for the one thread that commits, all else for any thread."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._buffers = Buffers()
        self._lock = threading.Lock()
        self._shared: GrowingFile | None = None
        self._idle: deque[GrowingFile] = deque()  # open, for the next large instance
        self._free: deque[tuple[str, int]] = deque()  # of an earlier run, with room: name and end
        self._open: set[GrowingFile] = set()
        self._looked = -_LOOK_AGAIN_S  # for room, in ticks

    def spool(self, preface: Preface, written: bytes, limit_bytes: int) -> Spool:
        """A spool that begins with `preface`, as it is `written`; see `Spool`. Raises NoSpace, Unavailable."""
        now = clock.ticks()
        if now - self._looked >= _LOOK_AGAIN_S:
            self.volume.check_room()
            self._looked = now
        return Spool(self._buffers, self._take, self._give, preface, written, limit_bytes)

    def go_on_with(self, name: str, end: int) -> None:
        """A pack of an earlier run may grow on from `end`."""
        if end < FULL_BYTES:
            self._free.append((name, end))

    def write(self, framed: Sequence[memoryview]) -> tuple[GrowingFile, list[int]]:
        """Write records into the shared pack, not synced; where each begins. Raises NoSpace, Unavailable."""
        if self._shared is not None and self._shared.end >= FULL_BYTES:
            self._retire(self._shared)
            self._shared = None
        if self._shared is None:
            self._shared = self._new()
        pack = self._shared
        offset, offsets = pack.end, []
        for view in framed:
            offsets.append(offset)
            offset += len(view)
        pack.write(framed, pack.end)
        return pack, offsets

    def finish(self, spool: Spool, record: Record) -> None:
        """Write the header of a spool that is in a pack of its own, not synced. Raises NoSpace, Unavailable."""
        if spool.pack is not None:
            spool.pack.write([build_header(record)], spool.offset)

    def cut(self, packs: Sequence[GrowingFile]) -> None:
        """After a write that failed: nothing may lie behind the end."""
        with contextlib.suppress(DrimboxError):  # then the volume is suspect: nothing more is written to it
            for pack in packs:
                pack.cut()

    def _take(self) -> GrowingFile:
        """A pack for one large instance."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new()

    def _give(self, pack: GrowingFile, offset: int) -> None:
        """It is not written to any more. offset: where the spool began; what was not committed is cut off."""
        if pack.end == offset:
            self.cut([pack])
        if pack.end >= FULL_BYTES:
            self._retire(pack)
            return
        with self._lock:
            self._idle.append(pack)

    def _new(self) -> GrowingFile:
        pack = None
        while pack is None:
            with self._lock:
                known = self._free.popleft() if self._free else None
            if known is None:
                pack = self.volume.create(f"{FOLDER}/{clock.now().timestamp():017.6f}-{secrets.token_hex(4)}.pack")
                pack.lock()
            else:
                pack = self.volume.reopen(*known)
        with self._lock:
            self._open.add(pack)
        return pack

    def _retire(self, pack: GrowingFile) -> None:
        with self._lock:
            self._open.discard(pack)
        with contextlib.suppress(DrimboxError):  # what it gives back is only the space it took ahead
            pack.cut()
        pack.close()

    def is_growing(self, name: str) -> bool:
        """Is it open for writing here?"""
        with self._lock:
            return any(pack.name == name for pack in self._open) or any(name == free for free, _ in self._free)

    def close(self) -> None:
        """Give back the space taken ahead, and close."""
        while self._open:
            self._retire(next(iter(self._open)))


def pack_names(root: Path) -> list[str]:
    """The packs of an archive, relative to its root, by age."""
    try:
        return sorted(f"{FOLDER}/{path.name}" for path in (root / FOLDER).iterdir() if path.suffix == ".pack")
    except FileNotFoundError:
        return []


def walk(file: int, offset: int, size: int) -> Iterator[tuple[int, Record]]:
    """The records of an open pack of `size` bytes, and where their headers are; it ends where none begins."""
    while record := read_header(os.pread(file, HEADER_BYTES, offset)):
        if offset + HEADER_BYTES + record.size_bytes > size and record.state is State.KEPT:
            return  # its bytes are not all there
        yield offset, record
        offset = record.after(offset)
