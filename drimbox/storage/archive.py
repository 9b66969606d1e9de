"""The archive: packs + index under one promise. When `keep` returns, the instance survives a power cut.

It owns the order of things and nothing else: bytes durable in a pack (keeper.py), then rows (index.py) and the studies
they change (changes.py) in one transaction of the group commit (database.py), which the answer does not wait for
(follower.py): whoever reads here does.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from drimbox import clock
from drimbox.dicom.attributes import Attributes
from drimbox.dicom.checksum import crc32
from drimbox.dicom.found import Found
from drimbox.dicom.match import OneOf, Query
from drimbox.dicom.part10 import Preface, build_preface
from drimbox.dicom.scan import Limits, Summary
from drimbox.durable import Volume
from drimbox.errors import Conflict, Corrupt, NotFound, TooLarge, Unavailable
from drimbox.model import InstanceRef, Place, Span
from drimbox.storage import changes, index, queries, rejections
from drimbox.storage.changes import Change
from drimbox.storage.database import Database, Transaction
from drimbox.storage.files import Files, OpenFile
from drimbox.storage.follower import Follower
from drimbox.storage.index import Entry, Held
from drimbox.storage.keeper import Again, AlreadyKept, Incoming, Keeper, Kept, Outcome, SetAside, version, version_of
from drimbox.storage.metadata import Metadata
from drimbox.storage.near import expect, read_near
from drimbox.storage.packs import Packs
from drimbox.storage.records import aligned
from drimbox.storage.rejections import Rejected
from drimbox.storage.removal import remove_bytes
from drimbox.storage.spool import Spool
from drimbox.storage.whole import digest_of, verify_held

log = logging.getLogger(__name__)

__all__ = ["AlreadyKept", "Archive", "Held", "Kept", "Outcome", "SetAside"]

T = TypeVar("T")

# What is summed up on the loop that received it: the element count of most instances, tenfold.
_QUICK: Final = Limits(max_elements=3000, max_fragments=3000)
_FEW_FRAMES: Final = 200
_ROWS_WAIT_S: Final = 0.03  # for others to share their transaction, while nobody reads
_FILE_THREADS: Final = 16
_BLOCK_BYTES: Final = 2**20


class Archive:
    """One folder: `packs/` and `index.db`. The node has two, `own` and `visiting`.

    draft: the name of an index under construction (rebuild.py). is_shared: other processes of the node read the index,
    and cannot ask for rows that wait. Raises Corrupt when the index is lost or damaged.
    Whoever has the folder's lock calls `recover.recover` before anything is kept.
    """

    def __init__(self, root: Path, *, draft: str = "", is_shared: bool = False) -> None:
        self.root = root
        if any(root.glob("files/*")):
            text = f"{root} is of an earlier layout: choose a new node.data_dir, then drimbox import {root / 'files'}"
            raise Unavailable("node.data_dir", text)
        self.volume = Volume(root)
        may_be_new = bool(draft) or not any(root.glob("packs/*"))
        self.database = Database(root / (draft or "index.db"), may_be_new=may_be_new)
        self.on_forget: list[Callable[[str], None]] = []  # called with the UID of each study that went
        self.metadata = Metadata(root, self.database)
        self.packs = Packs(self.volume)
        self._files = Files(root)
        self._threads = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="archive-files")
        longest_s = 0.0 if is_shared else _ROWS_WAIT_S
        self._follower = Follower(self.database, self.record, lambda entries: self._keeper.forget(entries), longest_s)
        self._keeper = Keeper(self.packs, self.database, self._follower)

    @property
    def suspect(self) -> bool:
        """The medium answered an I/O error, or the index is damaged: nothing new is taken, reads go on."""
        return self.volume.suspect or self.database.suspect

    @property
    def kept(self) -> int:
        """How many instances this process has kept since it began: whether any arrive now."""
        return self._follower.submitted

    def open_spool(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str, limit_bytes: int) -> Spool:
        """A spool that will be a Part 10 object of this instance. Raises NoSpace, Unavailable."""
        if self.suspect:
            raise Unavailable("archive", "an I/O error or damage was seen: check the medium, then restart")
        if self._follower.refusal is not None:
            raise self._follower.refusal
        written = build_preface(sop_class_uid, sop_uid, transfer_syntax)
        preface = Preface(sop_class_uid, sop_uid, transfer_syntax, len(written))
        return self.packs.spool(preface, written, limit_bytes)

    async def keep(self, spool: Spool, summarise: Callable[[Spool, Limits], Summary]) -> Outcome:
        """Make the instance durable; its rows and the change of its study follow. The spool is ours from here on.

        summarise: reads the spool. Raises what it raises, NoSpace, Unavailable; then nothing is visible.
        """
        entry = self._quick_entry(spool, summarise) if spool.in_memory else None
        if entry is not None:
            outcome = await self._keeper.wait(Incoming(spool, entry))
            if not isinstance(outcome, Again):
                return outcome
            working = self._threads.submit(self._keep_again, spool, entry, outcome.held)
        else:
            working = self._threads.submit(self._keep, spool, summarise)
        # Not by the caller: one that is cancelled would take the bytes from under the thread that works on them.
        return await asyncio.wrap_future(working)

    def _keep(self, spool: Spool, summarise: Callable[[Spool, Limits], Summary]) -> Outcome:
        """As `keep`, for what may take a while: a large instance, a long header."""
        try:
            entry = _summed_up(spool, summarise, Limits())
            if spool.pack is not None:
                spool.pack.sync()  # most of it, while others are kept
        except BaseException:
            spool.discard()
            raise
        outcome = self._keeper.submit(Incoming(spool, entry)).result()
        return self._keep_again(spool, entry, outcome.held) if isinstance(outcome, Again) else outcome

    def _keep_again(self, spool: Spool, entry: Entry, held: Held) -> Outcome:
        """As `keep`, for what has the digest of the instance that is held under its UID."""
        try:
            if self._holds(held, spool):
                spool.discard()
                self.database.submit(lambda transaction: self._restore(transaction, held.ref)).result()
                return AlreadyKept(held.ref)
        except BaseException:
            spool.discard()
            raise
        entry.mends = held.row_id
        outcome = self._keeper.submit(Incoming(spool, entry)).result()
        return AlreadyKept(held.ref) if isinstance(outcome, Again) else outcome

    def _quick_entry(self, spool: Spool, summarise: Callable[[Spool, Limits], Summary]) -> Entry | None:
        """On the caller's loop: reading a header of some hundred elements costs less than the way to a thread."""
        try:
            return _summed_up(spool, summarise, _QUICK)
        except TooLarge:
            return None
        except BaseException:
            spool.discard()
            raise

    def _holds(self, held: Held, spool: Spool) -> bool:
        """Are the bytes that were kept still those that came again? Raises Conflict when only the digests agree."""
        try:
            with self.open(held) as kept:
                for offset in range(0, spool.size, _BLOCK_BYTES):
                    if kept.read_at(offset, _BLOCK_BYTES) != spool.read_at(offset, _BLOCK_BYTES):
                        break
                else:
                    return kept.size == spool.size
                damaged = digest_of(kept, held.data_set_offset) != held.digest
        except Corrupt:
            damaged = True
        if not damaged:
            raise Conflict("instance", "another one of the same digest is kept under its UID")
        log.error("kept_bytes_damaged", extra={"file": held.file, "offset": held.offset})
        return False

    def record(self, transaction: Transaction, entries: Sequence[Entry], quiet: Collection[str] = frozenset()) -> None:
        """The rows of instances that lie in packs, and the studies they change; the packs are known up to there.

        quiet: SOP Instance UIDs of those that were known before.
        """
        ends: dict[str, int] = {}
        new = [entry for entry in entries if not entry.aside and entry.mends is None]
        for entry in index.insert(transaction, new):
            self._record_second(transaction, entry)
        for entry in entries:
            ends[entry.file] = max(ends.get(entry.file, 0), aligned(entry.offset + entry.size_bytes))
            if entry.aside:
                index.set_aside(transaction, entry)
            elif entry.mends is not None:
                index.move(transaction, entry.mends, entry)
        for file, end in ends.items():
            index.set_pack_end(transaction, file, end)
        changed: dict[str, None] = {}
        rejected = rejections.known(transaction.rows, [entry.summary.ref.sop_uid for entry in new])
        for entry in new:
            ref, studies = entry.summary.ref, frozenset[str]()
            if ref.sop_uid in rejected and ref.sop_uid not in quiet:
                rejections.restore(transaction, ref.sop_uid, entry.kept_at)
            if entry.note:
                studies = rejections.record(transaction, entry.note, entry.kept_at)
                rejected |= {named.sop_uid for named in entry.note.rejected}
            if ref.sop_uid not in quiet:
                changed |= dict.fromkeys((ref.study_uid, *studies))
        now = clock.now().timestamp()
        for study_uid in changed:
            changes.note(transaction, study_uid, now)

    def _restore(self, transaction: Transaction, ref: InstanceRef) -> None:
        """It came again: what was hidden only because its retention had expired is shown again."""
        now = clock.now().timestamp()
        if rejections.restore(transaction, ref.sop_uid, now):
            changes.note(transaction, ref.study_uid, now)

    def _record_second(self, transaction: Transaction, entry: Entry) -> None:
        """Two processes kept the same UID at one time: the first row stays."""
        held = index.find_instance(transaction.rows, entry.summary.ref.sop_uid)
        index.drop_empty(transaction, entry.summary.ref)
        if held is not None and version_of(held) == version(entry):
            if (held.file, held.offset) != (entry.file, entry.offset):
                index.add_removals(transaction, [entry])
            return
        index.set_aside(transaction, entry)
        log.warning("instance_set_aside", extra={"file": entry.file, "offset": entry.offset})

    async def caught_up(self) -> None:
        """Return once what was acknowledged before has its rows."""
        mark = self._follower.mark()
        if mark is not None:
            await asyncio.wrap_future(mark)

    async def search(self, query: Query) -> list[Attributes]:
        """What matches, as DICOM JSON items."""
        return await self.find(query, lambda found: queries.tell(found, query))

    async def find(self, query: Query, tell: Callable[[Sequence[Found]], T]) -> T:
        """What matches, as `tell` tells it, where it was read. Raises TooLarge when that takes seconds."""
        await self.caught_up()
        found = queries.find_at_once(self.database.each_here, query)
        if found is not None:  # costs less than the way to another thread
            return tell(found)

        def work() -> T:
            with self.database.at_most(queries.MOST_STEPS):
                return tell(queries.find(self.database.each_here, query))

        return await self.database.reading(work)

    async def changed_studies(self, most: int) -> list[Change]:
        """Studies whose images are others than they were, oldest change first, until `looked_at` says enough."""
        await self.caught_up()
        return await self.database.reading(lambda: changes.list_changes(self.database.read_here, most))

    async def looked_at(self, seen: Sequence[Change]) -> None:
        """These changes led to what they had to; one that came meanwhile stays."""
        await self.database.write(lambda transaction: changes.forget(transaction, seen))

    async def newest(self, study_uid: str) -> float:
        """When the newest instance of a study was kept, in seconds since 1970; 0 when there is none."""
        await self.caught_up()
        rows = await self.database.read("SELECT max(kept_at) FROM instance WHERE study_uid = ?", (study_uid,))
        return rows[0][0] or 0

    async def held(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
        """What we hold of a study, a series or an instance and show; empty when unknown, or rejected."""
        await self.caught_up()
        if sop_uid:  # a point look-up costs less than the way to another thread
            return index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        return await self.database.reading(
            lambda: index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        )

    async def held_frames(self, ref: InstanceRef, frame_numbers: Sequence[int]) -> tuple[Held, tuple[Span, ...]] | None:
        """An instance we hold and show, and where these frames of it lie; None when unknown, or rejected."""
        await self.caught_up()
        if len(frame_numbers) <= _FEW_FRAMES:
            return index.find_frames(self.database.read_here, ref, frame_numbers)
        return await self.database.reading(lambda: index.find_frames(self.database.read_here, ref, frame_numbers))

    async def rejected(self, study_uid: str) -> list[Rejected]:
        """What rejection notes took out of use of a study."""
        await self.caught_up()
        return await self.database.reading(lambda: rejections.list_rejected(self.database.read_here, study_uid))

    async def known(self, study_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of all that came of a study, or was taken out of use before it came; shown or not."""
        await self.caught_up()
        sql = (
            "SELECT sop_uid FROM instance WHERE study_uid = ? "
            "UNION SELECT sop_uid FROM rejected WHERE study_uid = ? AND restored_at IS NULL"
        )
        return frozenset(str(row[0]) for row in await self.database.read(sql, (study_uid, study_uid)))

    async def take_out(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> int:
        """Take what is shown of a study, a series or an instance out of use; how many instances there were."""

        def work(transaction: Transaction) -> int:
            now = clock.now().timestamp()
            count = rejections.take_out(transaction, study_uid, series_uid, sop_uid, now)
            if count:
                changes.note(transaction, study_uid, now)
            return count

        await self.caught_up()
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
        """`length` bytes of the instance. Raises Corrupt when its file is shorter or gone."""
        return await asyncio.wrap_future(self._threads.submit(self._files.read, held, offset, length))

    async def read_into(self, held: Held, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`. Raises Corrupt when the file is shorter or gone."""
        with self._files.open(held) as source:
            is_filled = read_near(source, offset, view)
        if not is_filled:
            view[:] = await self.read(held, offset, len(view))

    def expect(self, expected: Sequence[Held]) -> None:
        """These will be read soon, in this order."""

        def work() -> None:
            for held in expected:
                with contextlib.suppress(Corrupt), self.open(held) as source:  # who reads it then will say so
                    expect(source)

        self._threads.submit(work)

    async def fill_span(self, held: Held, span: Span, view: memoryview) -> None:
        """Put a span into `view`, of its length. Raises Corrupt when its bytes are not those that were kept."""
        await self.read_into(held, span.offset, view)
        if crc32(view) != span.crc32:
            raise Corrupt("frame", "its checksum is not the one it was kept with: run drimbox scrub", detail=held.file)

    def open(self, held: Held) -> AbstractContextManager[OpenFile]:
        """The instance as a `Readable`, for a thread that reads here and there. Raises Corrupt when it is gone."""
        return self._files.open(held)

    def place(self, held: Held) -> Place:
        """Where its bytes lie, for a worker that reads them itself."""
        return Place(self.root / held.file, held.offset, held.size_bytes)

    async def verify(self, sop_uid: str) -> Held | None:
        """The instance of this UID, once all of it was read again from the medium (promise P4); None if unknown.

        Raises Corrupt when it is not what was kept, Conflict when another version was set aside: whose is it then?
        """
        await self.caught_up()
        held, is_aside = index.find_by_uid(self.database.read_here, sop_uid)
        if held is not None and is_aside:
            raise Conflict("instance", "kept in two versions: the second one is set aside")
        if held is not None:
            await self.with_files(partial(verify_held, self.root, held))
        return held

    async def forget(self, study_uid: str) -> int:
        """Remove a study: rows first, then bytes. For images on loan only; returns how many instances went."""
        await self.caught_up()
        count = await self.database.write(lambda transaction: index.remove_study(transaction, study_uid))
        await self.remove_bytes()
        for forget in self.on_forget:
            await asyncio.to_thread(forget, study_uid)
        return count

    async def remove_bytes(self) -> None:
        """Overwrite with nothing what has no rows any more, a crash before that included."""
        await asyncio.wrap_future(self._threads.submit(remove_bytes, self))

    def forget_file(self, name: str) -> None:
        """A pack is gone: close it."""
        self._files.forget(name)

    async def with_files(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads many bytes, on a thread that `close` waits for."""
        return await asyncio.wrap_future(self._threads.submit(work))

    async def study(self, study_uid: str) -> Attributes:
        """The attributes of a study, patient's included. Raises NotFound."""
        found = await self.search(Query("study", {"0020000D": OneOf((study_uid,))}, None, 1, 0))
        if not found:
            raise NotFound("study", "not held here")
        return found[0]

    def close(self) -> None:
        """Finish what was begun, then close everything."""
        self._threads.shutdown()
        self._keeper.close()
        self._follower.close()
        self.packs.close()
        self.database.close()
        self._files.close()


def _summed_up(spool: Spool, summarise: Callable[[Spool, Limits], Summary], limits: Limits) -> Entry:
    return index.build_entry(spool, summarise(spool, limits), spool.digest(), clock.now().timestamp())
