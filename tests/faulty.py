"""Every durable call of a process in one numbering: those of `durable.disk`, and SQLite's own through a VFS.

At a chosen number something happens instead: an errno, or the end of the process. Or nothing does, and `PowerLoss`
keeps what a disk would hold if the power went at that instant.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from drimbox import durable
from drimbox.storage.database import Database


class Seam:
    """calls: (name, path) of each call so far. before: told of each before it is made. after: once it was."""

    def __init__(self, before: Callable[[int, str], None], after: Callable[[str, str], None] | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self._before = before
        self._after = after
        self._lock = threading.Lock()

    def call(self, name: str, path: str, real: Callable[[], Any]) -> Any:
        with self._lock:
            self.calls.append((name, path))
            self._before(len(self.calls) - 1, name)
        result = real()
        if self._after:
            with self._lock:
                self._after(name, path)
        return result


def fail_at(at: int, code: int, *, lasting: bool = False) -> Callable[[int, str], None]:
    """Answer `code` at call number `at`, and from then on when `lasting`."""

    def before(number: int, name: str) -> None:
        if number == at or (lasting and number > at):
            raise OSError(code, os.strerror(code))

    return before


def die_at(at: int) -> Callable[[int, str], None]:
    """kill -9 before call number `at`."""

    def before(number: int, name: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def first_of_each_kind(names: Sequence[str]) -> list[int]:
    """The instants without those that follow one of the same kind: SQLite writes many pages in a row."""
    return [at for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


def _path(file: int) -> str:
    return os.readlink(f"/proc/self/fd/{file}")


class _Disk(durable.Disk):
    def __init__(self, seam: Seam) -> None:
        self._seam = seam

    def open(self, path: str | Path, flags: int, mode: int = 0o640, folder: int | None = None) -> int:
        file: int = self._seam.call("open", str(path), lambda: super(_Disk, self).open(path, flags, mode, folder))
        return file

    def write(self, file: int, data: bytes | memoryview) -> int:
        # Not always at once: the kernel may write less, and a crash may come in the middle.
        half = memoryview(data)[: len(data) // 2 if len(data) > 1000 else len(data)]
        written: int = self._seam.call("write", _path(file), lambda: super(_Disk, self).write(file, half))
        return written

    def fdatasync(self, file: int) -> None:
        self._seam.call("fdatasync", _path(file), lambda: super(_Disk, self).fdatasync(file))

    def fsync(self, file: int) -> None:
        self._seam.call("fsync", _path(file), lambda: super(_Disk, self).fsync(file))

    def pwritev(self, file: int, views: Sequence[bytes | memoryview], offset: int) -> int:
        data = b"".join(views)  # and not always at once, as above
        half = [data[: len(data) // 2 if len(data) > 1000 else len(data)]]
        written: int = self._seam.call("pwritev", _path(file), lambda: super(_Disk, self).pwritev(file, half, offset))
        return written

    def allocate(self, file: int, offset: int, length: int) -> None:
        self._seam.call("allocate", _path(file), lambda: super(_Disk, self).allocate(file, offset, length))

    def punch(self, file: int, offset: int, length: int) -> None:
        self._seam.call("punch", _path(file), lambda: super(_Disk, self).punch(file, offset, length))

    def rename(self, source: str | Path, target: str | Path) -> None:
        self._seam.call("rename", str(target), lambda: super(_Disk, self).rename(source, target))

    def unlink(self, path: str | Path) -> None:
        self._seam.call("unlink", str(path), lambda: super(_Disk, self).unlink(path))

    def mkdir(self, path: Path) -> None:
        self._seam.call("mkdir", str(path), lambda: super(_Disk, self).mkdir(path))

    def truncate(self, file: int, length: int) -> None:
        self._seam.call("truncate", _path(file), lambda: super(_Disk, self).truncate(file, length))


def _as_sqlite(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OSError as error:
        raise (apsw.FullError if error.errno == errno.ENOSPC else apsw.IOError)("test") from error


class _File(apsw.VFSFile):
    def __init__(self, seam: Seam, name: Any, flags: Any) -> None:
        super().__init__("unix", name, flags)
        self._seam = seam
        self._path = name if isinstance(name, str) else (name.filename() if name else "")

    def xWrite(self, data: bytes, offset: int) -> None:
        _as_sqlite(lambda: self._seam.call("sqlite write", self._path, lambda: super(_File, self).xWrite(data, offset)))

    def xSync(self, flags: int) -> None:
        _as_sqlite(lambda: self._seam.call("sqlite sync", self._path, lambda: super(_File, self).xSync(flags)))

    def xTruncate(self, length: int) -> None:
        _as_sqlite(lambda: self._seam.call("sqlite truncate", self._path, lambda: super(_File, self).xTruncate(length)))


class _Vfs(apsw.VFS):
    def __init__(self, seam: Seam) -> None:
        super().__init__("faulty", "unix", makedefault=True)
        self._seam = seam

    def xOpen(self, name: Any, flags: Any) -> _File:
        return _File(self._seam, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        _as_sqlite(lambda: self._seam.call("sqlite delete", name, lambda: super(_Vfs, self).xDelete(name, sync)))


@contextmanager
def through(seam: Seam, *, commits: bool = False) -> Iterator[Seam]:
    """Everything durable goes through the seam. commits: the instants before and after each group commit count too."""
    disk, commit = durable.disk, Database._commit

    def counted(self: Database, group: Any) -> Any:
        results = seam.call("commit", str(self.path), lambda: commit(self, group))
        seam.call("answer", str(self.path), lambda: None)
        return results

    vfs = _Vfs(seam)
    durable.disk = _Disk(seam)
    if commits:
        Database._commit = counted  # type: ignore[method-assign]
    try:
        yield seam
    finally:
        durable.disk = disk
        Database._commit = commit  # type: ignore[method-assign]
        vfs.unregister()


class PowerLoss:
    """What is on the disk when the power goes, at the strictest: what was not synced is not there.

    The bytes of a file are those of its last sync. A name is there since its folder was synced, and so is its removal.
    SQLite's files get their names with their first sync (it syncs the folder itself). Use `after` as the seam's.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bytes: dict[int, bytes] = {}  # by inode
        self._names: dict[str, dict[str, int | None]] = {}  # folder -> name -> inode, None for a folder

    def after(self, name: str, path: str) -> None:
        if name in ("fdatasync", "fsync"):
            if os.path.isdir(path):
                self._names[path] = {
                    entry.name: None if entry.is_dir() else entry.inode() for entry in os.scandir(path)
                }
            else:  # a nameless file has a path too: /.../#1234 (deleted)
                self._sync_file(path)
        elif name == "sqlite sync":
            folder, leaf = os.path.split(path)
            self._bytes[os.stat(path).st_ino] = Path(path).read_bytes()
            self._names.setdefault(folder, {})[leaf] = os.stat(path).st_ino
        elif name == "sqlite delete":
            folder, leaf = os.path.split(path)
            self._names.get(folder, {}).pop(leaf, None)

    def _sync_file(self, path: str) -> None:
        for file in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{file}") == path:
                    size = os.fstat(int(file)).st_size
                    self._bytes[os.fstat(int(file)).st_ino] = os.pread(int(file), size, 0)
                    return
            except OSError:
                continue

    def write_to(self, target: Path) -> None:
        """Lay out what would be there under `target`, as it is under the root."""
        self._lay(str(self._root), target)

    def _lay(self, folder: str, target: Path) -> None:
        target.mkdir(parents=True)
        for name, inode in self._names.get(folder, {}).items():
            if name.endswith("-shm"):  # SQLite makes it again
                continue
            if inode is None:
                self._lay(os.path.join(folder, name), target / name)
            else:
                (target / name).write_bytes(self._bytes.get(inode, b""))
