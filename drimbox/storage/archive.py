"""The archive: files + index under one promise. When `keep` returns, the instance survives a power cut.

It owns the order of things and nothing else: bytes durable (durable.py), then a name, then rows (index.py) and the
jobs they cause (outbox.py) in one transaction of the group commit (database.py).
"""

import asyncio
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drimbox import clock
from drimbox.dicom.attributes import Attributes
from drimbox.dicom.match import OneOf, Query
from drimbox.dicom.part10 import Readable, build_preface
from drimbox.dicom.scan import Summary
from drimbox.durable import Spool, Volume
from drimbox.errors import Corrupt, NotFound
from drimbox.model import InstanceRef, Span
from drimbox.storage import index
from drimbox.storage.database import Database, Transaction
from drimbox.storage.index import Held
from drimbox.storage.outbox import Outbox

_FEW_FRAMES: Final = 200


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


class _OpenFile:
    """A kept file as a `Readable`."""

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)


class Archive:
    """One folder: `files/`, `aside/` and `index.db`. The node has two, `own` and `visiting`."""

    def __init__(self, root: Path, settle_s: float = 0) -> None:
        self.root = root
        self.volume = Volume(root)
        self.database = Database(root / "index.db")
        self.outbox = Outbox(self.database, settle_s)
        self._files = ThreadPoolExecutor(8, thread_name_prefix="archive-files")

    def open_spool(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str, limit_bytes: int) -> Spool:
        """A spool that will be a Part 10 file of this instance. Raises NoSpace, Unavailable."""
        return self.volume.spool(build_preface(sop_class_uid, sop_uid, transfer_syntax), limit_bytes)

    async def keep(self, spool: Spool, summary: Summary) -> Outcome:
        """Make the instance durable and visible, with the jobs it causes. The caller still discards the spool.

        Raises NoSpace, Unavailable; then nothing is visible.
        """
        await asyncio.wrap_future(self._files.submit(spool.sync))
        digest = spool.digest()
        return await self.database.write(lambda transaction: self._keep(transaction, spool, summary, digest))

    def _keep(self, transaction: Transaction, spool: Spool, summary: Summary, digest: bytes) -> Outcome:
        """On the writer's thread, so that two senders of one UID are decided one after the other."""
        held = index.find_instance(transaction, summary.ref.sop_uid)
        if held and (held.ref, held.digest, held.transfer_syntax) == (summary.ref, digest, summary.transfer_syntax):
            return AlreadyKept(summary.ref)
        now = clock.now().timestamp()
        folder = "aside" if held else _folder(summary.ref.series_uid)
        file = f"{folder}/{digest.hex()}.dcm"
        self.volume.place(spool, file)
        transaction.before_commit[folder] = lambda: self.volume.sync_folder(folder)
        if held:
            transaction.execute(
                "INSERT INTO set_aside (sop_uid, file, digest, transfer_syntax, seen_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (summary.ref.sop_uid, file, digest, summary.transfer_syntax, now),
            )
            return SetAside(summary.ref)
        index.insert(transaction, summary, file, spool.size, digest, now)
        self.outbox.study_changed(transaction, summary.ref.study_uid, now)
        return Kept(summary.ref)

    async def search(self, query: Query) -> list[Attributes]:
        """What matches, as DICOM JSON items."""
        return await self.database.reading(lambda: index.search(self.database.read_here, query))

    async def held(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
        """What we hold of a study, a series or an instance; empty when unknown."""
        if sop_uid:  # a point look-up costs less than the way to another thread
            return index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        return await self.database.reading(
            lambda: index.list_held(self.database.read_here, study_uid, series_uid, sop_uid)
        )

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
            yield _OpenFile(file, held.size_bytes)
        finally:
            os.close(file)

    def path(self, held: Held) -> Path:
        """Where the kept file lies, for a worker that opens it itself, read only."""
        return self.root / held.file

    async def forget(self, study_uid: str) -> int:
        """Remove a study: rows first, then files. For images on loan only; returns how many instances went."""

        def rows(transaction: Transaction) -> list[str]:
            found = transaction.execute("SELECT file FROM instance WHERE study_uid = ?", (study_uid,))
            files = [str(row[0]) for row in found]
            transaction.execute("DELETE FROM study WHERE study_uid = ?", (study_uid,))
            return files

        files = await self.database.write(rows)
        for file in files:
            await asyncio.wrap_future(self._files.submit(self.volume.remove, file))
        return len(files)

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


def _folder(series_uid: str) -> str:
    """One folder a series, named by a hash: no name on disk ever comes from the wire."""
    name = hashlib.sha256(series_uid.encode()).hexdigest()
    return f"files/{name[:2]}/{name[2:34]}"
