"""GATE to disk: nobody else opens a file for writing.

The order is the promise (reliability-security.md §1): bytes into a nameless spool, `fdatasync`, a name, `fsync` of
the folder, and only then a row that speaks of it. The worst crash leaves a file nobody knows, never a row without
its file. An error of the medium is never retried: after a failed fsync the kernel may have dropped the dirty pages.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from drimbox.errors import NoSpace, TooLarge, Unavailable

log = logging.getLogger(__name__)

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_PASSING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_SUSPECT: Final = "an I/O error was seen: check the medium, then restart"
_NO_TMPFILE: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOTSUP}


class Disk:
    """The system calls that make bytes durable, one method each: the seam where tests fail, delay and kill."""

    def open(self, path: str | Path, flags: int, mode: int = 0o640, folder: int | None = None) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=folder)

    def write(self, file: int, data: bytes | memoryview) -> int:
        return os.write(file, data)

    def fdatasync(self, file: int) -> None:
        os.fdatasync(file)

    def fsync(self, file: int) -> None:
        os.fsync(file)

    def link(self, source: str, name: str, folder: int) -> None:
        # dst_dir_fd makes CPython call linkat with AT_SYMLINK_FOLLOW, which a nameless file needs.
        os.link(source, name, dst_dir_fd=folder)

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


class Volume:
    """A folder on one file system in which whole files become durable under names we choose.

    suspect: the medium answered an I/O error; nothing new is taken until someone looked at it (promise P10).
    """

    def __init__(self, root: Path, reserve_bytes: int = 64 * 2**20) -> None:
        self.root = root
        self.reserve_bytes = reserve_bytes
        self.suspect = False
        self._folders: dict[str, int] = {}
        self._named: set[str] = set()
        self._spools = root.absolute() / "spool"
        with self._guard("open the archive's folder"):
            make_folder(self._spools)
            for folder in (root, root.parent):  # names a crash may have left without their sync
                _sync_path(folder)
            self._nameless = self._takes_nameless()

    def sweep(self) -> None:
        """Remove what a crash left of unfinished spools. Only for whoever has the folder's lock: others may be live."""
        with self._guard("sweep the spools"):
            for left in self._spools.iterdir():
                disk.unlink(left)

    def _takes_nameless(self) -> bool:
        try:
            os.close(disk.open(self._spools, os.O_TMPFILE | os.O_RDWR))
        except OSError as error:
            if error.errno in _NO_TMPFILE:
                return False
            raise
        return Path("/proc/self/fd").is_dir()

    @contextlib.contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        """Turn an OSError into NoSpace, or into Unavailable with the volume marked suspect.

        From then on nothing is attempted: a sync that succeeds after one that failed proves nothing.
        """
        if self.suspect:
            raise Unavailable("volume", _SUSPECT)
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace("volume", "full: free some space, what was kept is safe") from error
            if error.errno in _PASSING:
                raise Unavailable("volume", f"could not {doing} (errno {error.errno}): too much at once") from error
            self.suspect = True
            log.error("volume_suspect", extra={"folder": str(self.root), "doing": doing, "errno": error.errno})
            text = f"could not {doing} (errno {error.errno}): check the medium, then restart"
            raise Unavailable("volume", text) from error

    def spool(self, preface: bytes, limit_bytes: int) -> "Spool":
        """Open a new spool that begins with `preface`. Raises NoSpace, or Unavailable when the volume is suspect."""
        with self._guard("create a spool"):
            room = os.statvfs(self.root)
            if room.f_bavail * room.f_frsize < self.reserve_bytes:
                raise NoSpace("volume", f"under {self.reserve_bytes >> 20} MiB are free: make room")
            path = None
            if self._nameless:
                file = disk.open(self._spools, os.O_TMPFILE | os.O_RDWR)
            else:
                path = self._spools / secrets.token_hex(16)
                file = disk.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        return Spool(self, file, path, preface, limit_bytes)

    def place(self, spool: "Spool", name: str) -> None:
        """Give a synced spool its final `name`, relative to the root. Durable only after `sync_folder`.

        A file already there under this name is replaced in one step. Names are made from the content: it holds the
        same data set, or it is damaged, and then these bytes mend it.
        """
        self._name(str(spool.path) if spool.path else f"/proc/self/fd/{spool.file}", name)

    def name_again(self, known: str, name: str) -> None:
        """Give the placed file `known` a second name. Durable only after `sync_folder`."""
        self._name(str(self.root.absolute() / known), name)

    def _name(self, source: str, name: str) -> None:
        folder, _, leaf = name.rpartition("/")
        with self._guard("name a file"):
            file = self._folder(folder)
            try:
                disk.link(source, leaf, file)
            except FileExistsError:
                draft = self._spools / secrets.token_hex(16)
                disk.link(source, str(draft), file)
                disk.rename(draft, self.root / name)
                with contextlib.suppress(FileNotFoundError):  # it stays when both names were of one file already
                    disk.unlink(draft)

    def sync_folder(self, folder: str) -> None:
        """Make the names inside `folder` durable."""
        with self._guard("sync a folder"):
            disk.fsync(self._folder(folder))

    def _folder(self, folder: str) -> int:
        """An open descriptor of `folder`, made when needed; a few stay open, the oldest is closed."""
        if (known := self._folders.get(folder)) is not None:
            return known
        self._name_folder(folder)
        file = disk.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if len(self._folders) >= 128:
            os.close(self._folders.pop(next(iter(self._folders))))
        self._folders[folder] = file
        return file

    def _name_folder(self, folder: str) -> None:
        """Make `folder` and its name durable: also one that is there, for a crash may have come before its sync."""
        if folder in self._named:
            return
        if parent := folder.rpartition("/")[0]:
            self._name_folder(parent)
        path = self.root / folder
        with contextlib.suppress(FileExistsError):
            disk.mkdir(path)
        _sync_path(path.parent)
        if len(self._named) >= 4096:
            self._named.clear()  # costs a sync each to learn again
        self._named.add(folder)

    def remove(self, name: str) -> None:
        """Remove the file `name`; not an error when it is gone already."""
        with self._guard("remove a file"), contextlib.suppress(FileNotFoundError):
            disk.unlink(self.root / name)

    def remove_folder(self, folder: str) -> None:
        """Remove `folder` if it is empty. By the thread that places files, or one would be placed into nothing."""
        if (file := self._folders.pop(folder, None)) is not None:
            os.close(file)
        self._named.discard(folder)
        with contextlib.suppress(OSError):
            disk.rmdir(self.root / folder)

    def close(self) -> None:
        """Close the folders held open."""
        while self._folders:
            os.close(self._folders.popitem()[1])


class Spool:
    """Bytes on their way in: hashed as they are written, invisible until placed. One writer at a time.

    size: bytes in the file, preface included. The digest is over what `write` was given, not the preface: it is
    the identity of the data set, whatever we put in front of it.
    """

    def __init__(self, volume: Volume, file: int, path: Path | None, preface: bytes, limit_bytes: int) -> None:
        self._volume = volume
        self.file = file
        self.path = path
        self.size = 0
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        try:
            self._append(memoryview(preface))
        except BaseException:
            self.discard()
            raise

    def write(self, view: bytes | memoryview) -> None:
        """Append. Raises TooLarge past the limit, NoSpace, Unavailable; the spool must then be discarded."""
        if self.size + len(view) > self._limit_bytes:
            raise TooLarge("object", f"more than {self._limit_bytes} bytes")
        self._append(memoryview(view))
        self._hash.update(view)

    def _append(self, view: memoryview) -> None:
        with self._volume._guard("write to a spool"):
            while view:
                written = disk.write(self.file, view)
                self.size += written
                view = view[written:]

    def digest(self) -> bytes:
        """SHA-256 of the data set bytes written so far."""
        return self._hash.digest()

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; short only at the end."""
        return os.pread(self.file, length, offset)

    def sync(self) -> None:
        """Make the bytes durable. The name is not: see `Volume.place`."""
        with self._volume._guard("sync a spool"):
            disk.fdatasync(self.file)

    def discard(self) -> None:
        """Close, and forget the bytes unless they were placed. Safe to call twice."""
        if self.file < 0:
            return
        os.close(self.file)
        self.file = -1
        if self.path is not None:
            with contextlib.suppress(OSError):
                disk.unlink(self.path)


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
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    file = disk.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        view = memoryview(data)
        while view:
            view = view[disk.write(file, view) :]
        disk.fsync(file)
        disk.rename(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.unlink(draft)
        raise
    finally:
        os.close(file)
    _sync_path(path.parent)


def write_disposable(path: Path, data: bytes) -> None:
    """Write `path` for whoever can lose it: nothing is synced, a crash may leave any part of it. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    file = disk.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        view = memoryview(data)
        while view:
            view = view[disk.write(file, view) :]
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
