"""A deflated data set (PS3.5 §A.5) seen as if it were not, in bounded memory and time."""

import zlib
from typing import Final

from drimbox.dicom.elements import Limits
from drimbox.dicom.part10 import Preface, Readable
from drimbox.errors import Malformed, TooLarge

_CHUNK_BYTES: Final = 2**16
_RATIO_FREE_BYTES: Final = 2**25


class Inflated(Readable):
    """A `Readable`: the preface as stored, then the data set inflated. Offsets are those of such a file.

    Reading forward costs one inflation; reading backward starts again, so read in order. Nothing but the last
    128 KiB is held. Raises Malformed, TooLarge, when opened: reading never does.
    """

    def __init__(self, source: Readable, preface: Preface, limits: Limits) -> None:
        self._source = source
        self._start = preface.data_set_offset
        self._rewind()
        compressed = source.size - self._start
        most = max(_RATIO_FREE_BYTES, compressed * limits.max_inflation)
        most = min(most, limits.max_inflated_bytes)
        while self._grow():
            if self._end - self._start > most:
                raise TooLarge("deflated data set", f"inflates to more than {most} bytes")
        if self._end == self._start:
            raise Malformed("deflated data set", "not a deflate stream")
        self.size = self._end
        self._rewind()

    def _rewind(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._read = self._end = self._start
        self._kept = b""  # what comes just before `_end`

    def _grow(self) -> bool:
        """Inflate one chunk more; False at the end. A stream that breaks ends there: the reader sees it as cut."""
        while not self._inflate.eof:
            compressed = self._inflate.unconsumed_tail
            if not compressed:
                compressed = self._source.read_at(self._read, _CHUNK_BYTES)
                self._read += len(compressed)
            try:
                chunk = self._inflate.decompress(compressed, _CHUNK_BYTES)
            except zlib.error:
                return False
            if chunk:
                self._kept = self._kept[-_CHUNK_BYTES:] + chunk
                self._end += len(chunk)
                return True
            if not compressed:
                return False
        return False

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset`; fewer only where the end comes first."""
        if offset < self._start:
            head = self._source.read_at(offset, min(length, self._start - offset))
            return head + self.read_at(self._start, length - len(head)) if len(head) < length else head
        if offset < self._end - len(self._kept):
            self._rewind()
        parts = []
        while length > 0:
            first = self._end - len(self._kept)
            if offset < self._end:
                part = self._kept[offset - first : offset - first + length]
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
            elif not self._grow():
                break
        return b"".join(parts)
