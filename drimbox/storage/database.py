"""SQLite: one writer thread with group commit, readers beside it.

Through apsw, which carries its own current SQLite: the host's may hold the WAL-reset fault that loses committed rows
(docs/decisions/0003). WAL with synchronous=FULL: when a future resolves, its rows survive a power cut.
"""

import asyncio
import contextlib
import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import apsw

from drimbox.durable import make_folder
from drimbox.errors import Corrupt, NoSpace, NotFound, TooLarge, Unavailable
from drimbox.group_commit import GroupCommit

log = logging.getLogger(__name__)

T = TypeVar("T")
Values = Sequence[Any] | dict[str, Any]
Row = tuple[Any, ...]
Read = Callable[[str, Values], Sequence[Row]]

_BUSY_S: Final = 0.0002
_BUSY_TRIES: Final = 50_000
_CHECKPOINT_PAGES: Final = 1000  # SQLite's own measure
_STEPS_A_LOOK: Final = 10_000
_READER_CACHE_KIB: Final = 16 * 1024  # of each reading thread, when it has read so much
_REBUILD: Final = "run drimbox rebuild-index (a visiting archive holds only loans: remove its folder)"


class Transaction:
    """What a piece of work may do inside a group commit."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Values = ()) -> Iterable[Row]:
        """Run one statement."""
        return self._connection.execute(sql, values)

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """All rows: a `Read` that sees what the transaction did."""
        return list(self._connection.execute(sql, values))

    def row(self, sql: str, values: Values = ()) -> Row | None:
        """The first row, or None."""
        found: Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def last_id(self) -> int:
        """The rowid of the last INSERT."""
        return int(self._connection.last_insert_rowid())

    def changes(self) -> int:
        """How many rows the last statement changed."""
        return int(self._connection.changes())


Work = Callable[[Transaction], Any]


class Database:
    """The index of an archive, or the outbox beside it: one file of rows.

    schema: the folder of its numbered scripts. may_be_new: False when there are files that the index must know already.
    Then a database without its tables is a lost one, and is refused: to begin anew would hide what was acknowledged.
    suspect: the medium answered an I/O error, or the rows are damaged; nothing is written until someone looked at it
    (promise P10). Reads go on.
    """

    def __init__(self, path: Path, *, may_be_new: bool = True, schema: str = "migrations") -> None:
        make_folder(path.parent)
        self.path = path
        self.suspect = False
        self._open: list[apsw.Connection] = []
        self._local = threading.local()
        self._lock = threading.Lock()
        try:
            self._writer = self._connect()
            self._writer.set_wal_hook(self._checkpoint)
            _migrate(self._writer, path, schema, may_be_new=may_be_new)
        except BaseException as error:
            for connection in self._open:
                with contextlib.suppress(apsw.Error):
                    connection.close()
            if isinstance(error, apsw.CorruptError | apsw.NotADBError):
                raise Corrupt("index", f"{path} is no sound SQLite database: {_REBUILD}") from error
            if isinstance(error, apsw.Error):
                raise Unavailable("index", f"{path}: {type(error).__name__}", detail=str(error)) from error
            raise
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="index-reader")
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="index-check", initializer=_let_others_go_first)
        self._closing = threading.Event()
        self._is_synced = True
        self._group: GroupCommit[tuple[Work, bool], Any] = GroupCommit("index-writer", self._commit)

    def _connect(self, *, reader: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        with self._lock:
            self._open.append(connection)
        connection.set_busy_handler(_wait)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "trusted_schema=OFF",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if reader:  # only the writer checkpoints
            connection.execute("PRAGMA wal_autocheckpoint=0").fetchall()
            connection.execute("PRAGMA query_only=ON").fetchall()
            connection.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}").fetchall()
            connection.execute("PRAGMA automatic_index=OFF").fetchall()  # one made for a query costs more than it
        return connection

    def _checkpoint(self, connection: apsw.Connection, schema: str, pages: int) -> int:
        """Once in a while after a commit. SQLite's own checkpoint would keep an I/O error to itself."""
        if pages >= _CHECKPOINT_PAGES:
            try:
                connection.wal_checkpoint(schema)
            except apsw.Error as error:
                self._refusal(error)
        return int(apsw.SQLITE_OK)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in the next group commit; return its result once that group is durable.

        A work that raises undoes its own rows only. Raises NoSpace or Unavailable when the commit itself fails.
        """
        result: T = await self._group.wait((work, True))
        return result

    def submit(self, work: Callable[[Transaction], T], *, durable: bool = True) -> "Future[T]":
        """As `write`, for callers on a thread. durable: False for rows that the packs can restore, not synced alone."""
        return self._group.submit((work, durable))

    def _commit(self, group: Sequence[tuple[Work, bool]]) -> list[Any]:
        if self.suspect:
            raise Unavailable("index", "an I/O error or damage was seen: check the medium, then restart")
        results: list[Any] = []
        works = [work for work, _ in group]
        transaction = Transaction(self._writer)
        try:
            self._sync_commits(any(durable for _, durable in group))
            self._writer.execute("BEGIN IMMEDIATE")
            for work in works:
                results.append(self._attempt(transaction, work))
            self._writer.execute("COMMIT")
        except Exception as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failure = self._refusal(error)
            return [result if isinstance(result, BaseException) else failure for result in results] + [failure] * (
                len(works) - len(results)
            )
        return results

    def _sync_commits(self, synced: bool) -> None:
        """A commit that is not synced is so with the next one that is, and survives the process in any case."""
        if synced != self._is_synced:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._is_synced = synced

    def _attempt(self, transaction: Transaction, work: Work) -> Any:
        self._writer.execute("SAVEPOINT work")
        try:
            result = work(transaction)
        except Exception as error:  # handed to its caller, who awaits it
            if not self._writer.in_transaction:
                raise  # of a full or failing medium SQLite undoes the whole group
            result = self._refusal(error)
            self._writer.execute("ROLLBACK TO work")
        self._writer.execute("RELEASE work")
        return result

    def _refusal(self, error: BaseException) -> BaseException:
        """What the callers of a failed write are told. No sync is tried again after one that failed."""
        if isinstance(error, apsw.IOError) and self._writer.system_errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpace("index", "the volume is full: free some space")
        if isinstance(error, apsw.IOError | apsw.ReadOnlyError | apsw.CorruptError | apsw.NotADBError):
            self._suspect(type(error).__name__)
        return _public(error)

    def _suspect(self, reason: str) -> None:
        if not self.suspect:
            self.suspect = True
            log.error("index_suspect", extra={"path": str(self.path), "reason": reason})

    def read_here(self, sql: str, values: Values = ()) -> list[Row]:
        """Run one quick SELECT on the calling thread's own connection: point look-ups take microseconds."""
        return list(self.each_here(sql, values))

    def each_here(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """As `read_here`, each row as it is found: for whoever may stop before the last."""
        try:
            yield from self._here().execute(sql, values)
        except apsw.Error as error:
            raise _public(error) from error

    def _here(self) -> apsw.Connection:
        """The connection of the calling thread."""
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(reader=True)
        return connection

    @contextlib.contextmanager
    def at_most(self, steps: int) -> Iterator[None]:
        """What the calling thread reads meanwhile takes so many steps of SQLite at most, else raises TooLarge.

        Ten or twenty million are a second.
        """
        connection = self._here()
        looks = iter(range(steps // _STEPS_A_LOOK))
        connection.set_progress_handler(lambda: next(looks, None) is None, _STEPS_A_LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None)

    async def read(self, sql: str, values: Values = ()) -> list[Row]:
        """Run one SELECT on a reader thread."""
        return await asyncio.wrap_future(self._readers.submit(self.read_here, sql, values))

    async def reading(self, work: Callable[[], T]) -> T:
        """Run `work`, which calls `read_here`, on a reader thread."""
        return await asyncio.wrap_future(self._readers.submit(work))

    async def check_beside(self) -> None:
        """As `check`, on a thread that waits for all others: an index of gigabytes takes minutes of a processor."""
        await asyncio.wrap_future(self._checker.submit(self.check))

    def check(self) -> None:
        """Look at every page of the database. Raises Corrupt, and nothing more is written, when it is damaged.

        Returns early, with nothing said, when the database is closed meanwhile.
        """
        self._here().set_progress_handler(self._closing.is_set, _STEPS_A_LOOK)
        try:
            sound = self.read_here("PRAGMA quick_check(1)") == [("ok",)]
        except TooLarge:
            return
        except Corrupt:
            sound = False
        finally:
            self._here().set_progress_handler(None)
        if not sound:
            self._suspect("quick_check")
            raise Corrupt("index", f"the database is damaged: {_REBUILD}")

    def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        self._closing.set()
        self._group.close()
        self._readers.shutdown()
        self._checker.shutdown()
        while self._open:  # the writer last: it folds the log in
            connection = self._open.pop()
            # A sync that succeeds after one that failed proves nothing: the log is folded in at a start.
            if self.suspect or connection is not self._writer:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close()


class ReadOnly:
    """A database read beside the node that has it, or on a medium that takes no writes. For one thread."""

    def __init__(self, path: Path) -> None:
        """Raises Corrupt, NotFound, Unavailable."""
        if not path.is_file():
            raise NotFound("index", f"there is no {path}: run drimbox rebuild-index")
        name = f"file:{quote(str(path.absolute()))}"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        try:
            try:
                self._connection = apsw.Connection(f"{name}?mode=ro", flags=flags)
                version = self.rows("PRAGMA user_version")
            except Unavailable:  # the write-ahead log wants a file beside it, and cannot have one
                self._connection = apsw.Connection(f"{name}?immutable=1", flags=flags)
                version = self.rows("PRAGMA user_version")
        except apsw.Error as error:
            raise _public(error) from error
        if version == [(0,)]:
            self.close()
            raise Corrupt("index", f"{path} has no tables: {_REBUILD}")

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """Run one SELECT."""
        return list(self.each(sql, values))

    def each(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Run one SELECT; its rows as they are read. Raises after those that can be."""
        try:
            yield from self._connection.execute(sql, values)
        except apsw.Error as error:
            raise _public(error) from error

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def _let_others_go_first() -> None:
    """The calling thread from now on. Linux has a priority for each thread; elsewhere it would be the process's."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _wait(tries: int) -> bool:
    """Another process of the node commits: that takes a millisecond or two. Ten seconds at most."""
    time.sleep(_BUSY_S)
    return tries < _BUSY_TRIES


def _public(error: BaseException) -> BaseException:
    """SQLite's errors as leaves of our tree; everything else as it is."""
    if isinstance(error, apsw.FullError):
        return NoSpace("index", "the volume is full: free some space")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Corrupt("index", f"the database is damaged: {_REBUILD}")
    if isinstance(error, apsw.InterruptError):
        return TooLarge("query", "too much to look through: ask for a patient, a study or days as well")
    if isinstance(error, apsw.IOError | apsw.BusyError | apsw.LockedError | apsw.ReadOnlyError | apsw.CantOpenError):
        return Unavailable("index", type(error).__name__, detail=str(error))
    return error


def _migrate(connection: apsw.Connection, path: Path, schema: str, *, may_be_new: bool) -> None:
    """Bring the schema to the newest numbered file, one transaction each: a kill in between resumes."""
    folder = files("drimbox.storage") / schema
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    version = int(str(connection.execute("PRAGMA user_version").fetchall()[0][0]))
    if version == 0 and not may_be_new:
        raise Corrupt("index", f"{path} is lost while its files are there: {_REBUILD}")
    numbered = {int(script.name[:4]): script for script in scripts}
    if version > max(numbered):
        raise Unavailable("index", f"schema {version} is newer than this program knows: install the newer program")
    for number, script in numbered.items():
        if number > version:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(script.read_text("utf-8"))
            connection.execute(f"PRAGMA user_version={number}")
            connection.execute("COMMIT")
