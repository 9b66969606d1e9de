"""Frames that were made once, on disk, so that they are not made again. Bounded, and disposable at any time.

A file a frame, in a folder a study, both named by a hash: no name on disk ever comes from the wire. Nothing is synced:
each file begins with its checksum, and one that a crash tore, or a medium changed, is a frame that is not there.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import struct
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Final

from drimbox.dicom.checksum import crc32
from drimbox.durable import disk, make_folder, write_disposable
from drimbox.errors import DrimboxError

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<4sIQ")  # magic, CRC-32, length
_MAGIC: Final = b"DBF1"  # another one when an encoder or this layout changes
_BLOCK: Final = 4096


class FrameCache:
    """At most `most_bytes` on disk, the frames unused for longest leave first. Safe from several threads.

    most_bytes 0: keeps nothing. The order of use is known since the start only; before that, the order of writing.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self.most_bytes = most_bytes
        self._lock = Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # name relative to the folder -> bytes on disk
        self._total = 0
        self._being_written = 0  # bytes, by all threads
        if most_bytes:
            make_folder(folder)
            self._scan()
        elif folder.is_dir():
            shutil.rmtree(folder)

    def _scan(self) -> None:
        found = []
        for study in os.scandir(self._folder):
            for file in os.scandir(study.path) if study.is_dir(follow_symlinks=False) else ():
                status = file.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, f"{study.name}/{file.name}", status.st_size))
        for _, name, size in sorted(found):
            self._count(name, size)
        self._make_room(0)

    def _count(self, name: str, size: int) -> None:
        size = -(-size // _BLOCK) * _BLOCK
        self._total += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def find(self, study_uid: str, key: str) -> bytes | None:
        """The frame of this key, if it is whole."""
        name = _name(study_uid, key)
        with self._lock:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
        try:
            stored = (self._folder / name).read_bytes()
        except OSError:
            stored = b""
        content = memoryview(stored)[_HEAD.size :]
        if stored[: _HEAD.size] == _HEAD.pack(_MAGIC, crc32(content), len(content)):
            return bytes(content)
        log.warning("cached_frame_damaged", extra={"file": name})
        self._remove([name])
        return None

    def keep(self, study_uid: str, key: str, content: bytes) -> None:
        """Keep a frame, if there is room for it. A disk that refuses costs the next caller the time, and no more."""
        name = _name(study_uid, key)
        size = _HEAD.size + len(content)
        if size > self.most_bytes // 4:
            return
        size = -(-size // _BLOCK) * _BLOCK
        self._make_room(size)
        try:
            make_folder((self._folder / name).parent)
            head = _HEAD.pack(_MAGIC, crc32(content), len(content))
            write_disposable(self._folder / name, head + content)
        except (OSError, DrimboxError) as error:
            log.warning("frame_not_cached", extra={"reason": type(error).__name__})
            with self._lock:
                self._being_written -= size
            return
        with self._lock:
            self._being_written -= size
            self._count(name, size)

    def forget(self, study_uid: str) -> None:
        """Remove the frames of a study that goes."""
        folder = _folder(study_uid)
        with self._lock:
            gone = [name for name in self._sizes if name.startswith(f"{folder}/")]
        self._remove(gone)
        with contextlib.suppress(OSError):
            disk.rmdir(self._folder / folder)

    def _make_room(self, size: int) -> None:
        """For `size` bytes that will be written now, beside those that other threads are writing."""
        with self._lock:
            self._being_written += size
            while self._sizes and self._total + self._being_written > self.most_bytes:
                self._drop(next(iter(self._sizes)))

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with self._lock:
                self._drop(name)

    def _drop(self, name: str) -> None:
        """The caller has the lock: no two threads count on the room that one frame leaves."""
        with contextlib.suppress(OSError):
            disk.unlink(self._folder / name)
        self._total -= self._sizes.pop(name, 0)


def _folder(study_uid: str) -> str:
    return hashlib.sha256(study_uid.encode()).hexdigest()[:32]


def _name(study_uid: str, key: str) -> str:
    return f"{_folder(study_uid)}/{hashlib.sha256(key.encode()).hexdigest()[:40]}"
