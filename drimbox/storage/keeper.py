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
from drimbox.storage.index import Entry
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
        self._group: GroupCommit[Incoming, Outcome] = GroupCommit("pack-writer", self._commit, _MOST)

    def submit(self, incoming: Incoming) -> "Future[Outcome]":
        """Keep it; the spool is ours from here on. The future raises NoSpace, Unavailable: nothing is visible then."""
        return self._group.submit(incoming)

    async def wait(self, incoming: Incoming) -> Outcome:
        """As `submit`, for a coroutine."""
        return await self._group.wait(incoming)

    def forget(self, entries: Sequence[Entry]) -> None:
        """These have their rows, or will have none."""
        for entry in entries:
            if entry.aside:
                self._claims_aside.pop(version(entry), None)
            elif self._claims.get(entry.summary.ref.sop_uid) is entry:
                del self._claims[entry.summary.ref.sop_uid]

    def _commit(self, group: Sequence[Incoming]) -> list[Outcome | BaseException]:
        fresh: list[Incoming] = []
        try:
            outcomes: list[Outcome | BaseException] = []
            for incoming in group:
                outcome = self._claim(incoming.entry)
                if outcome is None:
                    fresh.append(incoming)
                    ref = incoming.entry.summary.ref
                    outcome = SetAside(ref) if incoming.entry.aside else Kept(ref)
                outcomes.append(outcome)
            if fresh:
                self._write(fresh)
            return outcomes
        except BaseException:
            self.forget([incoming.entry for incoming in fresh])
            raise
        finally:
            for incoming in group:
                incoming.spool.discard()

    def _claim(self, entry: Entry) -> Outcome | None:
        """What became of it already; None when it is to be written, aside or not."""
        ref = entry.summary.ref
        known = self._claims.get(ref.sop_uid)
        first = version(known) if known else None
        if known is None and (held := index.find_instance(self._read, ref.sop_uid)):
            first = held.ref, held.digest, held.transfer_syntax
        if first is None or (known is None and entry.mends is not None):
            self._claims[ref.sop_uid] = entry
            return None
        if first == version(entry):
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
