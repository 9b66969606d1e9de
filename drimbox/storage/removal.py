"""Bytes that have no rows any more go: the record is marked, its space is given back, an empty pack is removed.

The rows go first, with a note of what is to be removed in the same transaction; so a crash leaves bytes to be removed
at the next start, never rows without bytes.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from drimbox.storage import index
from drimbox.storage.packs import walk
from drimbox.storage.records import HEADER_BYTES, Record, State, build_header
from drimbox.storage.whole import opened

if TYPE_CHECKING:
    from drimbox.storage.archive import Archive


def remove_bytes(archive: "Archive") -> None:
    """Do what the notes say. Raises NoSpace, Unavailable; what was not done is done at the next call."""
    rows = archive.database.read_here("SELECT file, offset, size_bytes FROM removal ORDER BY file, offset")
    for name, group in groupby(rows, key=lambda row: str(row[0])):
        notes = [(int(offset), int(size)) for _, offset, size in group]
        _remove(archive, name, notes)
        archive.database.submit(
            partial(index.drop_removals, file=name, offsets=[offset for offset, _ in notes])
        ).result()


def _remove(archive: "Archive", name: str, notes: list[tuple[int, int]]) -> None:
    try:
        with opened(archive.root, name) as pack:
            records = dict(walk(pack.file, 0, pack.size))
    except FileNotFoundError:
        return
    marks = list(_marks(records, notes))
    archive.volume.erase(name, marks, notes)
    gone = {offset for offset, _ in marks}
    left = any(record.state is State.KEPT and offset not in gone for offset, record in records.items())
    if not left and not archive.packs.is_growing(name):
        archive.volume.remove(name)
        archive.forget_file(name)


def _marks(records: dict[int, Record], notes: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    for begin, _ in notes:
        offset = begin - HEADER_BYTES
        if record := records.get(offset):
            yield offset, build_header(record.as_state(State.REMOVED))
