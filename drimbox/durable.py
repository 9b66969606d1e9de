"""GATE to disk: nobody else opens a file for writing.

The order is the promise (reliability-security.md §1): bytes at the end of a pack, `fdatasync`, and only then an answer
or a row that speaks of them. The worst crash leaves bytes nobody was told of, never a promise without its bytes. An
error of the medium is never retried: after a failed fsync the kernel may have dropped the dirty pages.
"""

import contextlib
import ctypes
import errno
import fcntl
import io
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from drimbox.errors import NoSpace, Unavailable

log = logging.getLogger(__name__)

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_PASSING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_SUSPECT: Final = "an I/O error was seen: check the medium, then restart"
_NO_ALLOCATION: Final = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_MOST_VIEWS: Final = 512  # of one call; the system takes 1024
_PUNCH_HOLE: Final = 0x02 | 0x01  # of <linux/falloc.h>, FALLOC_FL_KEEP_SIZE with it
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Disk:
    """The system calls that make bytes durable, one method each: the seam where tests fail, delay and kill."""

    def open(self, path: str | Path, flags: int, mode: int = 0o640, folder: int | None = None) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=folder)

    def write(self, file: int, data: bytes | memoryview) -> int:
        return os.write(file, data)

    def pwritev(self, file: int, views: Sequence[bytes | memoryview], offset: int) -> int:
        return os.pwritev(file, views, offset)

    def allocate(self, file: int, offset: int, length: int) -> None:
        """Take space and let the file end there. Where the file system does not know how, it grows as it is written."""
        if _libc.fallocate(file, 0, offset, length) and ctypes.get_errno() not in _NO_ALLOCATION:
            raise _last_error()

    def punch(self, file: int, offset: int, length: int) -> None:
        """Give the space of a range back; it reads as zeros."""
        if _libc.fallocate(file, _PUNCH_HOLE, offset, length):
            raise _last_error()

    def fdatasync(self, file: int) -> None:
        os.fdatasync(file)

    def fsync(self, file: int) -> None:
        os.fsync(file)

    def rename(self, source: str | Path, target: str | Path) -> None:
        os.replace(source, target)

    def unlink(self, path: str | Path) -> None:
        os.unlink(path)

    def truncate(self, file: int, length: int) -> None:
        os.ftruncate(file, length)

    def mkdir(self, path: Path) -> None:
        path.mkdir(mode=0o750)

    def rmdir(self, path: Path) -> None:
        path.rmdir()


disk = Disk()


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


class Volume:
    """A folder on one file system, in which files grow and their bytes become durable.

    suspect: the medium answered an I/O error; nothing new is taken until someone looked at it (promise P10).
    """

    def __init__(self, root: Path, reserve_bytes: int = 64 * 2**20) -> None:
        self.root = root
        self.reserve_bytes = reserve_bytes
        self.suspect = False
        with self.guard("open the archive's folder"):
            make_folder(root)
            for folder in (root, root.parent):  # names a crash may have left without their sync
                _sync_path(folder)

    @contextlib.contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Turn an OSError into NoSpace, or into Unavailable with the volume marked suspect.

        From then on nothing is attempted: a sync that succeeds after one that failed proves nothing.
        """
        if self.suspect:
            raise Unavailable("volume", _SUSPECT)
        try:
            yield
        except OSError as error:
            raise self.refusal(error, doing) from error

    def refusal(self, error: OSError, doing: str) -> NoSpace | Unavailable:
        """What the callers of a failed call are told; see `guard`."""
        if error.errno in _FULL:
            return NoSpace("volume", "full: free some space, what was kept is safe")
        if error.errno in _PASSING:
            return Unavailable("volume", f"could not {doing} (errno {error.errno}): too much at once")
        self.suspect = True
        log.error("volume_suspect", extra={"folder": str(self.root), "doing": doing, "errno": error.errno})
        return Unavailable("volume", f"could not {doing} (errno {error.errno}): check the medium, then restart")

    def check_room(self, size_bytes: int = 0) -> None:
        """Raises NoSpace when taking `size_bytes` would touch the reserve: outbox, index and trail live on it."""
        if self.suspect:
            raise Unavailable("volume", _SUSPECT)
        room = os.statvfs(self.root)
        if room.f_bavail * room.f_frsize < self.reserve_bytes + size_bytes:
            raise NoSpace("volume", f"under {self.reserve_bytes >> 20} MiB are free: make room")

    def create(self, name: str) -> "GrowingFile":
        """A new file, whose name is durable. Raises NoSpace, Unavailable."""
        with self.guard("create a file"):
            path = self.root / name
            make_folder(path.parent)
            file = disk.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
            try:
                _sync_path(path.parent)
            except BaseException:
                os.close(file)
                with contextlib.suppress(OSError):
                    disk.unlink(path)
                raise
            return GrowingFile(self, name, file, 0)

    def reopen(self, name: str, end: int) -> "GrowingFile | None":
        """A file that exists, to grow from `end`; None when someone else has it. Raises NoSpace, Unavailable."""
        with self.guard("open a file"):
            file = disk.open(self.root / name, os.O_RDWR | os.O_NOFOLLOW)
            grown = GrowingFile(self, name, file, end)
            if grown.lock():
                return grown
            os.close(file)
            return None

    def erase(self, name: str, marks: Sequence[tuple[int, bytes]], holes: Sequence[tuple[int, int]]) -> None:
        """Write the marks, (offset, bytes), and make the ranges, (offset, length), zeros that take no space."""
        with self.guard("erase a part of a file"):
            file = disk.open(self.root / name, os.O_RDWR | os.O_NOFOLLOW)
            try:
                for offset, data in marks:
                    disk.pwritev(file, [data], offset)
                for offset, length in holes:
                    self._make_hole(file, offset, length)
                disk.fdatasync(file)
            finally:
                os.close(file)

    def _make_hole(self, file: int, offset: int, length: int) -> None:
        try:
            disk.punch(file, offset, length)
        except OSError as error:
            if error.errno not in _NO_ALLOCATION:
                raise
            while length > 0:  # this file system has no holes: at least nothing of the bytes stays
                written = disk.pwritev(file, [bytes(min(length, 2**20))], offset)
                offset, length = offset + written, length - written

    def remove(self, name: str) -> None:
        """Remove the file `name`; not an error when it is gone already."""
        with self.guard("remove a file"), contextlib.suppress(FileNotFoundError):
            disk.unlink(self.root / name)


class GrowingFile:
    """A file that is written at its end, by one writer. Space is taken ahead: a sync then has less to do.

    name: relative to the volume. end: what the writer counts as written; it moves only by `end = ...`.
    """

    _ALLOCATIONS: Final = (2**20, 2**23, 2**25)  # the first one, the second, all others

    def __init__(self, volume: Volume, name: str, file: int, end: int) -> None:
        self.name = name
        self.file = file
        self.end = end
        self._volume = volume
        self._allocated = os.fstat(file).st_size
        self._step = 0

    def lock(self) -> bool:
        """Take it for this descriptor alone, until it is closed; False when someone else has it."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def write(self, views: Sequence[bytes | memoryview], offset: int) -> int:
        """Write them one after the other at `offset`; how many bytes that was. Raises NoSpace, Unavailable."""
        size = sum(map(len, views))
        with self._volume.guard("write to a pack"):
            if offset + size > self._allocated:
                self._allocate(offset + size)
            left = list(views)
            while left:
                written = disk.pwritev(self.file, left[:_MOST_VIEWS], offset)
                offset += written
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = memoryview(left[0])[written:]
        return size

    def _allocate(self, wanted: int) -> None:
        step = max(self._ALLOCATIONS[self._step], wanted - self._allocated)
        self._step = min(self._step + 1, len(self._ALLOCATIONS) - 1)
        self._volume.check_room(step)
        disk.allocate(self.file, self._allocated, step)
        self._allocated += step

    def sync(self) -> None:
        """Make its bytes durable."""
        with self._volume.guard("sync a pack"):
            disk.fdatasync(self.file)

    def cut(self) -> None:
        """Forget what lies beyond `end`, space taken ahead included."""
        with self._volume.guard("cut a pack"):
            disk.truncate(self.file, self.end)
            self._allocated = self.end

    def close(self) -> None:
        """Close it; whoever wants may have it then."""
        os.close(self.file)


class AppendLog:
    """A file that only grows. `append` returns once the bytes are durable.

    suspect: the medium answered an I/O error; nothing more is taken until someone looked at it (promise P10).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suspect = False
        make_folder(path.parent)
        self._file = disk.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND)
        _sync_path(path.parent)
        self._size = os.fstat(self._file).st_size

    def append(self, data: bytes) -> None:
        """Raises NoSpace, and then nothing of `data` stays, or Unavailable; the next start cuts what that one left."""
        if self.suspect:
            raise Unavailable("log volume", _SUSPECT)
        view = memoryview(data)
        try:
            while view:
                view = view[disk.write(self._file, view) :]
            disk.fdatasync(self._file)
        except OSError as error:
            raise self._refusal(error) from error
        self._size += len(data)

    def _refusal(self, error: OSError) -> NoSpace | Unavailable:
        if error.errno in _FULL:
            with contextlib.suppress(OSError):
                disk.truncate(self._file, self._size)  # the next line must not follow half of this one
                return NoSpace("log volume", "full: free some space")
        self.suspect = True
        log.error("volume_suspect", extra={"folder": str(self.path), "doing": "append", "errno": error.errno})
        return Unavailable("log volume", f"errno {error.errno}: check the medium, then restart")

    def cut(self, length: int) -> None:
        """Cut what follows `length` bytes: a line torn by a crash, which nobody was told of."""
        disk.truncate(self._file, length)
        disk.fdatasync(self._file)
        self._size = length

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def write_file(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all; the old content stays until the new one is durable. Raises OSError."""
    _write_whole(path, data, disk.fsync)
    _sync_path(path.parent)


def write_disposable(path: Path, data: bytes) -> None:
    """Write `path` for whoever can lose it: nothing is synced, a crash may leave any part of it. Raises OSError."""
    _write_whole(path, data, lambda file: None)


def _write_whole(path: Path, data: bytes, sync: Callable[[int], None]) -> None:
    with _draft(path, sync) as file:
        view = memoryview(data)
        while view:
            view = view[disk.write(file, view) :]


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write from its beginning to its end; under its name, durable, once the block has ended well.

    The old content stays until then; a block that raises leaves nothing. Raises OSError.
    """
    with (
        _draft(path, disk.fsync) as file,
        io.BufferedWriter(io.FileIO(file, "wb", closefd=False), 2**20) as buffered,
    ):
        yield buffered
    _sync_path(path.parent)


@contextlib.contextmanager
def _draft(path: Path, sync: Callable[[int], None]) -> Iterator[int]:
    """A file beside `path` that gets its name once the block has ended well and it is synced; else it is gone."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    file = disk.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        yield file
        sync(file)
        disk.rename(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.unlink(draft)
        raise
    finally:
        os.close(file)


def rename_file(source: Path, target: Path) -> None:
    """Give `source` the name `target`, in the same folder, for good. Raises NoSpace, Unavailable."""
    try:
        disk.rename(source, target)
        _sync_path(target.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace("volume", "full: free some space") from error
        raise Unavailable("volume", f"could not rename a file (errno {error.errno}): check the medium") from error


def remove_file(path: Path) -> None:
    """Remove a file that can be made again, for good only in time; not an error when it is gone. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)


def make_folder(path: Path) -> None:
    """Make `path` and its parents, each durable in its own parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        disk.mkdir(path)
    _sync_path(path.parent)


def _sync_path(folder: Path) -> None:
    file = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(file)
    finally:
        os.close(file)


def lock_folder(folder: Path) -> int:
    """Take the folder for this process alone, until it ends. Raises Unavailable when another one has it."""
    make_folder(folder)
    file = disk.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        text = f"{folder} is in use by another node: stop it, or choose another folder"
        raise Unavailable("node.data_dir", text) from error
    return file
