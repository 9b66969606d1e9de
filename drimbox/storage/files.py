"""Reading packs: a few stay open, for opening one costs more than reading a frame of it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from drimbox.dicom.part10 import Readable
from drimbox.errors import Corrupt
from drimbox.storage.index import Held

_MOST_OPEN: Final = 256


class OpenFile(Readable):
    """A part of an open file as a `Readable`: `size` bytes from `start`."""

    def __init__(self, file: int, size: int, start: int = 0) -> None:
        self.file = file
        self.size = size
        self.start = start

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.file, max(0, min(length, self.size - offset)), self.start + offset)


class Files:
    """The files of an archive, for any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, list[None]]] = {}  # name -> descriptor, and an item for each user

    @contextmanager
    def open(self, held: Held) -> Iterator[OpenFile]:
        """The bytes of an instance. Raises Corrupt when its file is gone."""
        file, users = self._take(held.file)
        try:
            yield OpenFile(file, held.size_bytes, held.offset)
        finally:
            users.pop()

    def read(self, held: Held, offset: int, length: int) -> bytes:
        """`length` bytes of an instance. Raises Corrupt when there are fewer."""
        with self.open(held) as source:
            data = source.read_at(offset, length)
        if len(data) != length:
            raise Corrupt("file", "shorter than when it was kept", detail=held.file)
        return data

    def _take(self, name: str) -> tuple[int, list[None]]:
        with self._lock:
            known = self._open.get(name)
            if known is None:
                try:
                    file = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                except OSError as error:
                    raise Corrupt("file", f"cannot be opened (errno {error.errno})", detail=name) from error
                if len(self._open) >= _MOST_OPEN:
                    self._close_idle()
                known = self._open[name] = (file, [])
            known[1].append(None)
            return known

    def _close_idle(self) -> None:
        for name in [name for name, (_, users) in self._open.items() if not users][: _MOST_OPEN // 2]:
            os.close(self._open.pop(name)[0])

    def forget(self, name: str) -> None:
        """Its name is gone: whoever reads it now may finish."""
        with self._lock:
            known = self._open.get(name)
            if known is not None and not known[1]:
                os.close(self._open.pop(name)[0])

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1][0])
