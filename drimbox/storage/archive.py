"""The archive: files + index under one promise. When `keep` returns, the instance survives a power cut.

It owns the order of things and nothing else: bytes durable (durable.py), then a name, then rows (index.py) and the
studies they change (changes.py) in one transaction of the group commit (database.py).
"""

import asyncio
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from drimbox import clock
from drimbox.dicom.attributes import Attributes
from drimbox.dicom.match import OneOf, Query
from drimbox.dicom.part10 import Readable, build_preface
from drimbox.dicom.scan import Summary
from drimbox.durable import Spool, Volume
from drimbox.errors import Conflict, Corrupt, NotFound, Unavailable
from drimbox.kos.rejection import Rejection
from drimbox.model import InstanceRef, Place, Span
from drimbox.storage import changes, index, queries, rejections
from drimbox.storage.changes import Change
from drimbox.storage.database import Database, Row, Transaction
from drimbox.storage.index import Held
from drimbox.storage.metadata import Metadata
from drimbox.storage.near import expect, read_near
from drimbox.storage.rejections import Rejected
from drimbox.storage.reread import read_again

T = TypeVar("T")

_FEW_FRAMES: Final = 200
_FILE_THREADS: Final = 32  # as many instances may wait for one commit


@dataclass(frozen=True, slots=True)
class Kept:
    """The instance is new and durable."""

    ref: InstanceRef


@dataclass(frozen=True, slots=True)
class AlreadyKept:
    """The same bytes were kept before: one copy, and success again (promise P5)."""

    ref: InstanceRef


@dataclass(frozen=True, slots=True)
class SetAside:
    """The UID was kept before with other bytes: these are durable too, out of sight, for a human to look at."""

    ref: InstanceRef


Outcome = Kept | AlreadyKept | SetAside


@dataclass(frozen=True, slots=True)
class Found:
    """A whole file found on the disk, relative to the root: what its row should say. written_at: as `kept_at`.

    note: what it says when it is a rejection note.
    """

    file: str
    summary: Summary
    digest: bytes
    size_bytes: int
    written_at: float
    note: Rejection | None = None


class OpenFile:
    """A kept file as a `Readable`."""

    def __init__(self, file: int, size: int) -> None:
        self.file = file
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.file, length, offset)


class Archive:
    """One folder: `files/`, `aside/` and `index.db`. The node has two, `own` and `visiting`.

    draft: the name of an index under construction (rebuild.py). Raises Corrupt when the index is lost or damaged.
    """

    def __init__(self, root: Path, *, draft: str = "") -> None:
        self.root = root
        self.volume = Volume(root)
        may_be_new = bool(draft) or not any(root.glob("files/*"))
        self.database = Database(root / (draft or "index.db"), may_be_new=may_be_new)
        self.on_forget: list[Callable[[str], None]] = []  # called with the UID of each study that went
        self.metadata = Metadata(root, self.database)
        self._files = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="archive-files")

    @property
    def suspect(self) -> bool:
        """The medium answered an I/O error, or the index is damaged: nothing new is taken, reads go on."""
        return self.volume.suspect or self.database.suspect

    def open_spool(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str, limit_bytes: int) -> Spool:
        """A spool that will be a Part 10 file of this instance. Raises NoSpace, Unavailable."""
        if self.suspect:
            raise Unavailable("archive", "an I/O error or damage was seen: check the medium, then restart")
        return self.volume.spool(build_preface(sop_class_uid, sop_uid, transfer_syntax), limit_bytes)

    async def keep(self, spool: Spool, summarise: Callable[[Spool], Summary]) -> Outcome:
        """Make the instance durable and visible, with the change it makes of its study. The spool is ours from here on.

        summarise: reads the spool, on the thread that syncs it. Raises what it raises, NoSpace, Unavailable; then
        nothing is visible.
        """
        work = self._files.submit(self._keep_here, spool, summarise)
        # Not by the caller: one that is cancelled would close the file under the thread that syncs and names it.
        work.add_done_callback(lambda _: spool.discard())
        return await asyncio.wrap_future(work)

    def _keep_here(self, spool: Spool, summarise: Callable[[Spool], Summary]) -> Outcome:
        """All of it on one thread: each way to another one costs as much as half a scan."""
        summary = summarise(spool)
        spool.sync()
        digest = spool.digest()
        note = rejections.read_note(spool, summary)
        return self.database.submit(lambda transaction: self._keep(transaction, spool, summary, digest, note)).result()

    def _keep(
        self, transaction: Transaction, spool: Spool, summary: Summary, digest: bytes, note: Rejection | None
    ) -> Outcome:
        """On the writer's thread, so that two senders of one UID are decided one after the other."""
        now = clock.now().timestamp()
        held = index.find_instance(transaction, summary.ref.sop_uid)
        if held and _is_same(held, summary, digest):
            if rejections.restore(transaction, summary.ref.sop_uid, now):
                changes.note(transaction, summary.ref.study_uid, now)
            return AlreadyKept(summary.ref)
        file = _file(summary, digest, aside=held is not None)
        self.volume.place(spool, file)
        if held is None:
            rejections.restore(transaction, summary.ref.sop_uid, now)
        found = Found(file, summary, digest, spool.size, now, note)
        return self._record(transaction, found, aside=held is not None)

    def _record(self, transaction: Transaction, found: Found, *, aside: bool, changed: bool = True) -> Outcome:
        """The rows of a file that has its name. changed: the study's manifest does not know of the instance."""
        folder = found.file.rpartition("/")[0]
        transaction.before_commit[folder] = lambda: self.volume.sync_folder(folder)
        ref = found.summary.ref
        if aside:
            transaction.execute(
                "INSERT INTO set_aside (sop_uid, file, digest, transfer_syntax, seen_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (ref.sop_uid, found.file, found.digest, found.summary.transfer_syntax, found.written_at),
            )
            return SetAside(ref)
        index.insert(transaction, found.summary, found.file, found.size_bytes, found.digest, found.written_at)
        studies = {ref.study_uid}
        if found.note:
            studies |= rejections.record(transaction, found.note, found.written_at)
        for study_uid in studies if changed else ():
            changes.note(transaction, study_uid, clock.now().timestamp())
        return Kept(ref)

    def adopt(self, transaction: Transaction, found: Found, *, changed: bool = True, aside: bool = False) -> Outcome:
        """On the writer's thread: rows for a whole file no row speaks of, under the rules of `keep`.

        aside: it was set aside before, or another version is known to be the first. After the commit, see
        `remove_orphan`: a file set aside has a second name.
        """
        held = index.find_instance(transaction, found.summary.ref.sop_uid)
        if held and _is_same(held, found.summary, found.digest):
            return AlreadyKept(found.summary.ref)
        aside = aside or held is not None
        file = _file(found.summary, found.digest, aside=aside)
        if file != found.file:
            self.volume.name_again(found.file, file)
        return self._record(transaction, replace(found, file=file), aside=aside, changed=changed)

    def remove_orphan(self, transaction: Transaction, file: str, sop_uid: str) -> bool:
        """On the writer's thread, where nobody can be naming it: remove `file` unless a row speaks of it.

        sop_uid: of the instance in it, empty when that cannot be read; the look-up then takes longer.
        """
        where, values = ("sop_uid = ? AND file = ?", (sop_uid, file)) if sop_uid else ("file = ?", (file,))
        for sql in (f"SELECT 1 FROM instance WHERE {where}", f"SELECT 1 FROM set_aside WHERE {where}"):  # noqa: S608
            if transaction.row(sql, values):
                return False
        self.volume.remove(file)
        return True

    async def search(self, query: Query) -> list[Attributes]:
        """What matches, as DICOM JSON items."""
        return await self.database.reading(lambda: queries.search(self.database.each_here, query))

    async def changed_studies(self, most: int) -> list[Change]:
        """Studies whose images are others than they were, oldest change first, until `looked_at` says enough."""
        return await self.database.reading(lambda: changes.list_changes(self.database.read_here, most))

    async def looked_at(self, seen: Sequence[Change]) -> None:
        """These changes led to what they had to; one that came meanwhile stays."""
        await self.database.write(lambda transaction: changes.forget(transaction, seen))

    async def newest(self, study_uid: str) -> float:
        """When the newest instance of a study was kept, in seconds since 1970; 0 when there is none."""
        rows = await self.database.read("SELECT max(kept_at) FROM instance WHERE study_uid = ?", (study_uid,))
        return rows[0][0] or 0

    async def held(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
        """What we hold of a study, a series or an instance and show; empty when unknown, or rejected."""
        if sop_uid:  # a point look-up costs less than the way to another thread
            return index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        return await self.database.reading(
            lambda: index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        )

    async def rejected(self, study_uid: str) -> list[Rejected]:
        """What rejection notes took out of use of a study."""
        return await self.database.reading(lambda: rejections.list_rejected(self.database.read_here, study_uid))

    async def take_out(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> int:
        """Take what is shown of a study, a series or an instance out of use; how many instances there were."""

        def work(transaction: Transaction) -> int:
            now = clock.now().timestamp()
            count = rejections.take_out(transaction, study_uid, series_uid, sop_uid, now)
            if count:
                changes.note(transaction, study_uid, now)
            return count

        return await self.database.write(work)

    async def spans(self, held: Held, frame_numbers: Sequence[int] | None = None) -> tuple[Span, ...]:
        """Where its frames lie, or those asked for, in order."""
        count = held.number_of_frames if frame_numbers is None else len(frame_numbers)
        if count <= _FEW_FRAMES:  # a point look-up costs less than the way to another thread
            return index.list_spans(self.database.read_here, held.row_id, frame_numbers)
        return await self.database.reading(
            lambda: index.list_spans(self.database.read_here, held.row_id, frame_numbers)
        )

    async def read(self, held: Held, offset: int, length: int) -> bytes:
        """`length` bytes of the kept file. Raises Corrupt when the file is shorter or gone."""
        return await asyncio.wrap_future(self._files.submit(self._read, held, offset, length))

    async def read_into(self, held: Held, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`. Raises Corrupt when the file is shorter or gone."""
        if not read_near(self.place(held), offset, view):
            view[:] = await self.read(held, offset, len(view))

    def expect(self, expected: Sequence[Held]) -> None:
        """These will be read soon, in this order."""
        places = [self.place(held) for held in expected]
        self._files.submit(lambda: [*map(expect, places)])

    async def read_span(self, held: Held, span: Span) -> bytes:
        """The bytes of a span, checked. Raises Corrupt when they are not those that were kept."""
        data = await self.read(held, span.offset, span.length)
        if zlib.crc32(data) != span.crc32:
            raise Corrupt("frame", "its checksum is not the one it was kept with: run drimbox scrub", detail=held.file)
        return data

    def _read(self, held: Held, offset: int, length: int) -> bytes:
        with self.open(held) as source:
            data = source.read_at(offset, length)
        if len(data) != length:
            raise Corrupt("file", "shorter than when it was kept", detail=held.file)
        return data

    @contextmanager
    def open(self, held: Held) -> Iterator[Readable]:
        """The kept file, for a thread that reads here and there. Raises Corrupt when it is gone."""
        try:
            file = os.open(self.root / held.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise Corrupt("file", f"cannot be opened (errno {error.errno})", detail=held.file) from error
        try:
            yield OpenFile(file, held.size_bytes)
        finally:
            os.close(file)

    def path(self, held: Held) -> Path:
        """Where the kept file lies, for a worker that opens it itself, read only."""
        return self.root / held.file

    def place(self, held: Held) -> Place:
        """Where its bytes lie, for a worker that reads them itself."""
        return Place(self.path(held), 0, held.size_bytes)

    async def verify(self, sop_uid: str) -> Held | None:
        """The instance of this UID, once all of it was read again from the medium (promise P4); None if unknown.

        Raises Corrupt when it is not what was kept, Conflict when another version was set aside: whose is it then?
        """
        held, is_aside = index.find_by_uid(self.database.read_here, sop_uid)
        if held is not None and is_aside:
            raise Conflict("instance", "kept in two versions: the second one is set aside")
        if held is not None:
            await self.with_files(partial(read_again, self.place(held), held))
        return held

    async def forget(self, study_uid: str) -> int:
        """Remove a study: rows first, then files. For images on loan only; returns how many instances went."""

        def rows(transaction: Transaction) -> tuple[list[Row], list[Row]]:
            held = list(transaction.execute("SELECT file, sop_uid FROM instance WHERE study_uid = ?", (study_uid,)))
            gone = "DELETE FROM set_aside WHERE sop_uid = ? RETURNING file, sop_uid"
            aside = [row for _, sop_uid in held for row in transaction.execute(gone, (sop_uid,))]
            transaction.execute("DELETE FROM study WHERE study_uid = ?", (study_uid,))
            rejections.forget(transaction, study_uid)
            return held, aside

        def files(transaction: Transaction) -> None:
            for file, sop_uid in (*held, *aside):
                self.remove_orphan(transaction, file, sop_uid)
            for folder in {str(file).rpartition("/")[0] for file, _ in held}:
                self.volume.remove_folder(folder)

        held, aside = await self.database.write(rows)
        await self.database.write(files)
        for forget in self.on_forget:
            await asyncio.to_thread(forget, study_uid)
        return len(held)

    async def with_files(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads many bytes, on a thread that `close` waits for."""
        return await asyncio.wrap_future(self._files.submit(work))

    async def study(self, study_uid: str) -> Attributes:
        """The attributes of a study, patient's included. Raises NotFound."""
        found = await self.search(Query("study", {"0020000D": OneOf((study_uid,))}, None, 1, 0))
        if not found:
            raise NotFound("study", "not held here")
        return found[0]

    def close(self) -> None:
        """Finish what was begun, then close everything."""
        self._files.shutdown()
        self.database.close()
        self.volume.close()


def _is_same(held: Held, summary: Summary, digest: bytes) -> bool:
    return (held.ref, held.digest, held.transfer_syntax) == (summary.ref, digest, summary.transfer_syntax)


def _file(summary: Summary, digest: bytes, *, aside: bool) -> str:
    """One folder a series, one file a data set, both named by a hash: no name on disk ever comes from the wire."""
    if aside:
        return f"aside/{digest.hex()}.dcm"
    name = hashlib.sha256(summary.ref.series_uid.encode()).hexdigest()
    return f"files/{name[:2]}/{name[2:34]}/{digest.hex()}.dcm"
