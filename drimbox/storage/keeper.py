"""What makes instances durable: one thread decides, writes and syncs for all senders; many share one sync.

One thread, so that two senders of one UID are decided one after the other.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, NamedTuple

from drimbox.durable import GrowingFile
from drimbox.group_commit import GroupCommit
from drimbox.model import InstanceRef
from drimbox.storage import index
from drimbox.storage.database import Database
from drimbox.storage.follower import Follower
from drimbox.storage.index import Entry, Held
from drimbox.storage.packs import Packs
from drimbox.storage.records import HEADER_BYTES, Record, aligned
from drimbox.storage.spool import Spool

_MOST: Final = 32  # instances of one sync


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
class Again:
    """One of the same digest has a row: are its bytes the same, and sound? The spool is still the caller's."""

    held: Held


class Incoming(NamedTuple):
    """A whole instance that is not durable yet, and its rows."""

    spool: Spool
    entry: Entry


class Keeper:
    """The thread, and what was answered that the index does not know yet."""

    def __init__(self, packs: Packs, database: Database, follower: Follower) -> None:
        self._packs = packs
        self._read = database.read_here
        self._follower = follower
        self._claims: dict[str, Entry] = {}  # by SOP Instance UID
        self._claims_aside: dict[tuple[InstanceRef, bytes, str], Entry] = {}
        self._group: GroupCommit[Incoming, Outcome | Again] = GroupCommit("pack-writer", self._commit, _MOST)

    def submit(self, incoming: Incoming) -> "Future[Outcome | Again]":
        """Keep it; the spool is ours from here on, unless it came again. Raises NoSpace, Unavailable: nothing is
        visible then.
        """
        return self._group.submit(incoming)

    async def wait(self, incoming: Incoming) -> Outcome | Again:
        """As `submit`, for a coroutine."""
        return await self._group.wait(incoming)

    def forget(self, entries: Sequence[Entry]) -> None:
        """These have their rows, or will have none."""
        for entry in entries:
            if entry.aside:
                self._claims_aside.pop(version(entry), None)
            elif self._claims.get(entry.summary.ref.sop_uid) is entry:
                del self._claims[entry.summary.ref.sop_uid]

    def _commit(self, group: Sequence[Incoming]) -> list[Outcome | Again | BaseException]:
        fresh: list[Incoming] = []
        finished = {incoming.spool for incoming in group}
        try:
            outcomes: list[Outcome | Again | BaseException] = []
            first = self._first([incoming.entry for incoming in group])
            for incoming in group:
                outcome = self._claim(incoming.entry, first)
                if outcome is None:
                    fresh.append(incoming)
                    ref = incoming.entry.summary.ref
                    outcome = SetAside(ref) if incoming.entry.aside else Kept(ref)
                elif isinstance(outcome, Again):
                    finished.discard(incoming.spool)
                outcomes.append(outcome)
            if fresh:
                self._write(fresh)
            return outcomes
        except BaseException:
            self.forget([incoming.entry for incoming in fresh])
            finished = {incoming.spool for incoming in group}
            raise
        finally:
            for spool in finished:
                spool.discard()

    def _first(self, entries: Sequence[Entry]) -> dict[str, Entry | Held]:
        """Who has the UIDs of these. What is claimed is looked for before the rows: it may get its row meanwhile."""
        uids = {entry.summary.ref.sop_uid for entry in entries}
        first: dict[str, Entry | Held] = {uid: claim for uid in uids if (claim := self._claims.get(uid))}
        if others := [uid for uid in uids if uid not in first]:
            first |= index.find_instances(self._read, others)
        return first

    def _claim(self, entry: Entry, first: dict[str, Entry | Held]) -> Outcome | Again | None:
        """What became of it already; None when it is to be written, aside or not."""
        ref = entry.summary.ref
        known = first.get(ref.sop_uid)
        if known is None or (isinstance(known, Held) and entry.mends is not None):
            if known is None:
                entry.mends = None  # its row went meanwhile
            self._claims[ref.sop_uid] = first[ref.sop_uid] = entry
            return None
        if isinstance(known, Held) and version_of(known) == version(entry):
            return Again(known)
        if isinstance(known, Entry) and version(known) == version(entry):
            return AlreadyKept(ref)
        if version(entry) in self._claims_aside or index.is_set_aside(self._read, *version(entry)):
            return SetAside(ref)
        entry.aside = True
        self._claims_aside[version(entry)] = entry
        return None

    def _write(self, fresh: Sequence[Incoming]) -> None:
        """All of it is durable when this returns, and the index will follow."""
        small = [incoming for incoming in fresh if incoming.spool.in_memory]
        ends: dict[GrowingFile, int] = {}
        try:
            if small:
                framed = [spool.framed(_record(spool, entry)) for spool, entry in small]
                pack, offsets = self._packs.write(framed)
                ends[pack] = offsets[-1] + len(framed[-1])
                for (_, entry), offset in zip(small, offsets, strict=True):
                    entry.file, entry.offset = pack.name, offset + HEADER_BYTES
            for spool, entry in fresh:
                if spool.pack is not None:
                    ends[spool.pack] = aligned(spool.offset + HEADER_BYTES + spool.size)
                    self._packs.finish(spool, _record(spool, entry))
                    entry.file, entry.offset = spool.pack.name, spool.offset + HEADER_BYTES
            for pack in ends:
                pack.sync()
        except BaseException:
            self._packs.cut(list(ends))
            raise
        for pack, end in ends.items():
            pack.end = end
        self._follower.submit([entry for _, entry in fresh])

    def close(self) -> None:
        """Keep what was submitted, then end the thread."""
        self._group.close()


def _record(spool: Spool, entry: Entry) -> Record:
    return spool.record(entry.digest, entry.kept_at)


def version(entry: Entry) -> tuple[InstanceRef, bytes, str]:
    """What makes two instances the same one: their names, the digest of the data set, its transfer syntax."""
    return entry.summary.ref, entry.digest, entry.summary.transfer_syntax


def version_of(held: Held) -> tuple[InstanceRef, bytes, str]:
    """The same of one that has a row."""
    return held.ref, held.digest, held.transfer_syntax
