"""The metadata of each series as they are served, a file each below `metadata/`: written once, read until it changes.

Disposable: a file that is damaged, of an older revision of the series, or of another form is as good as none. It holds
a header that says so, then the deflate blocks of `dicom.packed_json`.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from drimbox.dicom import checksum
from drimbox.dicom.packed_json import Packed
from drimbox.durable import make_folder, remove_file, write_disposable
from drimbox.storage.database import Database, Transaction
from drimbox.storage.rejections import shown_series

log = logging.getLogger(__name__)

_MAGIC: Final = b"DRIMmeta"
# Magic, revision, bytes of blocks and of text, CRC-32 of text and of blocks, date of the newest instance.
_HEADER: Final = struct.Struct("<8s8sQQIId16x")


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """One series, and the form its metadata are wanted in: a short name of all they depend on beside the instances."""

    study_uid: str
    series_uid: str
    form: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A series as it is now. name: 8 bytes, other ones after each change."""

    series_uid: str
    name: bytes


class Metadata:
    """Of one archive. root: of the archive."""

    def __init__(self, root: Path, database: Database) -> None:
        self._folder = root / "metadata"
        self._database = database
        self._building: WeakValueDictionary[SeriesKey, asyncio.Lock] = WeakValueDictionary()

    # --- What is, and what is to be done ---------------------------------------------------------------------------

    def revisions(self, study_uid: str, series_uid: str = "") -> list[Revision]:
        """Of the shown series of a study in their order, or of one; a look-up of microseconds, empty when unknown."""
        where, values = ("AND s.series_uid = ?", (study_uid, series_uid)) if series_uid else ("", (study_uid,))
        order = "" if series_uid else " ORDER BY s.series_number, s.series_uid"
        shown = f"s.study_uid = ? AND {shown_series('s')}"
        sql = f"SELECT s.series_uid, s.revision FROM series s WHERE {shown} {where}{order}"  # noqa: S608 constants
        return [Revision(*row) for row in self._database.read_here(sql, values)]

    async def due(self, before: float, most: int) -> list[tuple[str, Revision]]:
        """Study and revision of series that last changed before then and have not been written since."""
        sql = "SELECT study_uid, series_uid, revision FROM series WHERE changed_at < ? ORDER BY changed_at LIMIT ?"
        return [(row[0], Revision(*row[1:])) for row in await self._database.read(sql, (before, most))]

    async def settle(self, study_uid: str, revision: Revision) -> None:
        """It was written, unless it changed since; or it cannot be."""

        def settle(transaction: Transaction) -> None:
            sql = "UPDATE series SET changed_at = NULL WHERE study_uid = ? AND series_uid = ? AND revision = ?"
            transaction.execute(sql, (study_uid, revision.series_uid, revision.name))

        # Not synced alone: what is forgotten is only written once more.
        await asyncio.wrap_future(self._database.submit(settle, durable=False))

    async def remove_gone(self) -> int:
        """Remove the metadata of series that are no more; of how many."""
        gone = await self._database.read("SELECT study_uid, series_uid FROM series_gone LIMIT 1000")
        if not gone:
            return 0
        await asyncio.to_thread(self._remove, gone)

        def forget(transaction: Transaction) -> None:
            for key in gone:
                transaction.execute("DELETE FROM series_gone WHERE study_uid = ? AND series_uid = ?", key)

        await self._database.write(forget)
        return len(gone)

    # --- Files ----------------------------------------------------------------------------------------------------

    def building(self, key: SeriesKey) -> asyncio.Lock:
        """Held by whoever makes these metadata: the others wait for the file."""
        return self._building.setdefault(key, asyncio.Lock())

    def read(self, key: SeriesKey, revision: Revision) -> tuple[Packed, float] | None:
        """The metadata of this very revision, and the date of its newest instance; None when they are not there."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        if len(content) < _HEADER.size:
            return None
        magic, name, length, text_bytes, text_crc32, crc32, newest = _HEADER.unpack_from(content)
        blocks = content[_HEADER.size :]
        if (magic, name, length, crc32) != (_MAGIC, revision.name, len(blocks), checksum.crc32(blocks)):
            return None
        return Packed(blocks, text_bytes, text_crc32), newest

    def write(self, key: SeriesKey, revision: Revision, packed: Packed, newest: float) -> None:
        """Write them, or leave a line in the log: they can be made again."""
        lengths, blocks_crc32 = (len(packed.blocks), packed.text_bytes), checksum.crc32(packed.blocks)
        header = _HEADER.pack(_MAGIC, revision.name, *lengths, packed.crc32, blocks_crc32, newest)
        path = self._path(key)
        try:
            make_folder(path.parent)
            write_disposable(path, header + packed.blocks)  # its checksum tells what a crash left of it
        except OSError as error:
            log.warning("metadata_not_written", extra={"errno": error.errno})

    def shrink(self, most_bytes: int) -> int:
        """Remove those written longest ago until the others take `most_bytes` at most; how many went.

        There may be a million: only those of the minute in which enough are removed are held in memory.
        """
        by_minute: Counter[int] = Counter()
        for written_at, size, _ in self._files():
            by_minute[int(written_at // 60)] += size
        excess, last = sum(by_minute.values()) - most_bytes, -1
        if excess <= 0:
            return 0
        for last in sorted(by_minute):
            excess -= by_minute[last]
            if excess <= 0:
                break
        excess += by_minute[last]  # what is to go of that minute
        removed, of_last = 0, []
        for written_at, size, path in self._files():
            if written_at // 60 < last:
                remove_file(path)
                removed += 1
            elif written_at // 60 == last:
                of_last.append((written_at, size, path))
        for _, size, path in sorted(of_last):
            if excess <= 0:
                break
            remove_file(path)
            excess, removed = excess - size, removed + 1
        return removed

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each was written, its size and place."""
        for folder in self._folder.glob("??"):
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if told := _stat(entry):
                        yield told.st_mtime, told.st_size, Path(entry.path)

    def _remove(self, gone: list[tuple[str, str]]) -> None:
        for study_uid, series_uid in gone:
            name = _series_name(study_uid, series_uid)
            with contextlib.suppress(FileNotFoundError):
                for path in (self._folder / name[:2]).iterdir():
                    if path.name.startswith(name):
                        remove_file(path)

    def _path(self, key: SeriesKey) -> Path:
        name = _series_name(key.study_uid, key.series_uid)
        return self._folder / name[:2] / f"{name}-{key.form}"


def _series_name(study_uid: str, series_uid: str) -> str:
    """No name on disk comes from the wire: a hash of the two UIDs."""
    return hashlib.sha256(f"{study_uid}/{series_uid}".encode()).hexdigest()[:32]


def _stat(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
