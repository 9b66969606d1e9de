"""One instance on its way in: bytes nobody sees yet, in memory while they are few, else at the end of a pack."""

import mmap
import os
import threading
from collections.abc import Callable
from typing import Final

from drimbox.dicom.checksum import Digest, crc32
from drimbox.dicom.part10 import Preface, Readable
from drimbox.durable import GrowingFile
from drimbox.errors import TooLarge
from drimbox.storage.records import HEADER_BYTES, Record, aligned, build_header

BUFFER_BYTES: Final = 2**20
_MOST_BUFFERS: Final = 256  # of instances that arrive at once; those beyond go to the disk as they come
_IDLE_BUFFERS: Final = 16  # kept for the next ones: memory that was touched before costs nothing to touch again


class Buffers:
    """Memory lent to spools, straight from the system: what is not needed goes back there. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[mmap.mmap] = []
        self._lent = 0

    def take(self) -> mmap.mmap | None:
        """A buffer whose content is not to be read, None when too many are lent."""
        with self._lock:
            if self._lent >= _MOST_BUFFERS:
                return None
            self._lent += 1
            return self._idle.pop() if self._idle else mmap.mmap(-1, BUFFER_BYTES)

    def give(self, buffer: mmap.mmap) -> None:
        """Give a buffer back."""
        with self._lock:
            self._lent -= 1
            if len(self._idle) < _IDLE_BUFFERS:
                self._idle.append(buffer)


class Spool(Readable):
    """A Part 10 object while it arrives, a `Readable` whose first byte is the first of its preface.

    preface: as its sender announced the instance. size: bytes so far, preface included. pack, offset:
    where its record will be; None while it is in memory.
    """

    def __init__(
        self,
        buffers: Buffers,
        take_pack: Callable[[], GrowingFile],
        give_pack: Callable[[GrowingFile, int], None],
        preface: Preface,
        written: bytes,
        limit_bytes: int,
    ) -> None:
        self.preface: Preface = preface
        self.size = 0
        self.pack: GrowingFile | None = None
        self.offset = 0
        self._take_pack, self._give_pack = take_pack, give_pack
        self._buffers = buffers
        self._limit_bytes = limit_bytes
        self._running = Digest()  # only of what went to a pack
        self._buffer = buffers.take()
        self._memory = memoryview(self._buffer or b"")
        try:
            self._append(written)
        except BaseException:
            self.discard()
            raise

    @property
    def in_memory(self) -> bool:
        """Is all of it in memory?"""
        return self.pack is None

    def write(self, view: bytes | memoryview) -> None:
        """Append to the data set. Raises TooLarge past the limit, NoSpace, Unavailable; then it must be discarded."""
        if self.size + len(view) > self._limit_bytes:
            raise TooLarge("object", f"more than {self._limit_bytes} bytes")
        self._append(view)

    def _append(self, view: bytes | memoryview) -> None:
        start = HEADER_BYTES + self.size
        if self.pack is None:
            end = start + len(view)
            if end <= len(self._memory) - HEADER_BYTES:
                self._memory[start:end] = view
                self.size += len(view)
                return
            self._overflow()
        if self.pack is not None:
            self.pack.write([view], self.offset + start)
            if self.size:
                self._running.update(view)
            self.size += len(view)

    def _overflow(self) -> None:
        """Go on at the end of a pack that is ours until we give it back."""
        self.pack = self._take_pack()
        self.offset = self.pack.end
        if self.size:
            self.pack.write([self._memory[HEADER_BYTES : HEADER_BYTES + self.size]], self.offset + HEADER_BYTES)
            self._running.update(self._memory[HEADER_BYTES + self.preface.data_set_offset : HEADER_BYTES + self.size])
        self._give_buffer()

    def digest(self) -> bytes:
        """Of the data set bytes written so far."""
        if self.pack is not None:
            return self._running.digest()
        return Digest(self._memory[HEADER_BYTES + self.preface.data_set_offset : HEADER_BYTES + self.size]).digest()

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; short only at the end."""
        length = max(0, min(length, self.size - offset))
        start = HEADER_BYTES + offset
        if self.pack is not None:
            return os.pread(self.pack.file, length, self.offset + start)
        return bytes(self._memory[start : start + length])

    def crc32_at(self, offset: int, length: int) -> int:
        """CRC-32 of `length` bytes from `offset`."""
        if self.pack is None:
            return crc32(self._memory[HEADER_BYTES + offset : HEADER_BYTES + min(offset + length, self.size)])
        return super().crc32_at(offset, length)

    def record(self, digest: bytes, kept_at: float) -> Record:
        """What its header will say."""
        return Record(
            self.size, kept_at, digest, self.preface.data_set_offset, self.crc32_at(0, self.preface.data_set_offset)
        )

    def framed(self, record: Record) -> memoryview:
        """Of one in memory: header, object and padding, as they will lie in a pack."""
        end = HEADER_BYTES + self.size
        padded = aligned(end)
        self._memory[:HEADER_BYTES] = build_header(record)
        self._memory[end:padded] = bytes(padded - end)
        return self._memory[:padded]

    def discard(self) -> None:
        """Forget the bytes, unless the pack's end moved past them. Safe to call twice, and from any thread."""
        self._give_buffer()
        pack, self.pack = self.pack, None
        if pack is not None:
            self._give_pack(pack, self.offset)

    def __del__(self) -> None:
        """Nobody waits any more for what becomes of it: a caller that was cancelled, say."""
        self.discard()

    def _give_buffer(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._memory = memoryview(b"")
            self._buffers.give(buffer)
