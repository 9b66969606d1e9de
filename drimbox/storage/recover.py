"""What a crash left in the packs without rows, at the start of a node: whole records get theirs, a torn one is cut.

Only the tails are read: the index knows up to where each pack has its rows. So a start takes as long as there was work
under way, whatever the archive holds (promise P22).
"""

from dataclasses import dataclass, field
from typing import Final

from drimbox.errors import DrimboxError
from drimbox.storage import index
from drimbox.storage.archive import Archive
from drimbox.storage.index import Entry
from drimbox.storage.packs import pack_names, walk
from drimbox.storage.records import HEADER_BYTES, State, build_header
from drimbox.storage.removal import remove_bytes
from drimbox.storage.whole import examine, opened

_BATCH: Final = 256


@dataclass(slots=True)
class Recovered:
    """How many records had no rows and were adopted or removed, and how many were torn.

    damaged: PACK@OFFSET of those whose bytes are not those that were received.
    """

    adopted: int = 0
    removed: int = 0
    torn: int = 0
    damaged: list[str] = field(default_factory=list)


def recover(archive: Archive, *, adopt: bool) -> Recovered:
    """Give each whole record without rows the rows it would have had; or, when not `adopt`, remove it.

    For whoever has the folder's lock, before anything is kept. Raises NoSpace, Unavailable, Corrupt.
    """
    done = Recovered()
    for name in pack_names(archive.root):
        known = index.pack_end(archive.database.read_here, name)
        if (archive.root / name).stat().st_size > known:
            known = _settle(archive, name, known, done, adopt=adopt)
        archive.packs.go_on_with(name, known)
    remove_bytes(archive)
    return done


def _settle(archive: Archive, name: str, end: int, done: Recovered, *, adopt: bool) -> int:
    """The end of a pack, once all its records have rows, and nothing is behind them."""
    grown = archive.volume.reopen(name, end)
    if grown is None:
        return end  # another process of the node has it, and gives its records their rows
    try:
        batch: list[Entry] = []
        with opened(archive.root, name) as pack:
            for offset, record in walk(pack.file, end, pack.size):
                grown.end = record.after(offset)
                if record.state is not State.KEPT:
                    continue
                try:
                    batch.append(examine(pack, name, offset, record))
                except DrimboxError:
                    is_last = next(walk(pack.file, grown.end, pack.size), None) is None
                    if is_last:
                        grown.write([build_header(record.as_state(State.TORN))], offset)
                    done.torn += is_last
                    done.damaged += [] if is_last else [f"{name}@{offset + HEADER_BYTES}"]
                if len(batch) == _BATCH:
                    _give_rows(archive, batch, done, adopt=adopt)
                    batch = []
        _give_rows(archive, batch, done, adopt=adopt)
        grown.cut()
        grown.sync()
        archive.database.submit(lambda transaction: index.set_pack_end(transaction, name, grown.end)).result()
        return grown.end
    finally:
        grown.close()


def _give_rows(archive: Archive, batch: list[Entry], done: Recovered, *, adopt: bool) -> None:
    if adopt:
        archive.database.submit(lambda transaction: archive.record(transaction, batch)).result()
        done.adopted += len(batch)
    else:
        archive.database.submit(lambda transaction: index.add_removals(transaction, batch)).result()
        done.removed += len(batch)
