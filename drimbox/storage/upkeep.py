"""Files against rows: what a crash left without a row is adopted, or removed when it was only on loan.

A crash leaves files nobody knows, never rows without a file (reliability-security.md §1). Nothing here is on the way
to the first answer of a node (promise P22): it runs once the doors are open, a folder at a time.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from drimbox.dicom.part10 import InMemory, Readable, read_preface
from drimbox.dicom.scan import scan
from drimbox.errors import Corrupt, DrimboxError
from drimbox.storage.archive import Archive, Found, Kept, OpenFile, SetAside
from drimbox.storage.rejections import read_note

_NAME: Final = re.compile(r"[0-9a-f]{64}\.dcm")
_BLOCK_BYTES: Final = 2**18
_AT_ONCE_BYTES: Final = 2**24


@dataclass(frozen=True, slots=True)
class Settled:
    """How many files had no row and were adopted, set aside or removed; and which cannot be: they are damaged."""

    adopted: int
    set_aside: int
    removed: int
    damaged: tuple[str, ...]


async def settle_orphans(archive: Archive, *, adopt: bool) -> Settled:
    """Give each whole file without a row the rows it would have had; or, when not `adopt`, remove it.

    Beside a working node: what looks like an orphan may be an instance on its way, so each is decided on the writer's
    thread, where names and rows are given. Memory: one folder. Raises Corrupt when the index is damaged.
    """
    await archive.with_files(archive.database.check)
    counts = dict.fromkeys(("adopted", "set_aside", "removed"), 0)
    damaged: list[str] = []
    for folder in folders(archive.root):
        for file in await archive.with_files(partial(_orphans, archive, folder)):
            if not adopt:
                sop_uid = await archive.with_files(partial(_sop_uid, archive.root, file))
                counts["removed"] += await archive.database.write(
                    partial(archive.remove_orphan, file=file, sop_uid=sop_uid)
                )
                continue
            try:
                found = await archive.with_files(partial(examine, archive.root, file))
            except DrimboxError:
                damaged.append(file)
                continue
            outcome = await archive.database.write(partial(archive.adopt, found=found))
            counts["adopted"] += isinstance(outcome, Kept)
            if isinstance(outcome, SetAside):
                counts["set_aside"] += 1
                sop_uid = found.summary.ref.sop_uid
                await archive.database.write(partial(archive.remove_orphan, file=file, sop_uid=sop_uid))
    return Settled(**counts, damaged=tuple(damaged))


def _orphans(archive: Archive, folder: str) -> list[str]:
    """The files of a folder that no row speaks of.

    One preface tells the series, the series tells its files: the index needs no column to be found by file.
    """
    left = dict.fromkeys(files(archive.root, folder))
    read = archive.database.read_here
    if folder == "aside":
        return [file for file in left if not read("SELECT 1 FROM set_aside WHERE file = ?", (file,))]
    orphans = []
    while left:
        file, _ = left.popitem()
        sop_uid = _sop_uid(archive.root, file)
        series = read("SELECT study_uid, series_uid FROM instance WHERE sop_uid = ? AND file = ?", (sop_uid, file))
        if not series:
            orphans.append(file)
            continue
        for (known,) in read("SELECT file FROM instance WHERE study_uid = ? AND series_uid = ?", series[0]):
            left.pop(known, None)
    return orphans


def _sop_uid(root: Path, file: str) -> str:
    """The instance in a file by its preface; empty when that cannot be read."""
    try:
        with opened(root, file) as source:
            return read_preface(source).sop_uid
    except (OSError, DrimboxError):
        return ""


# --- Kept files -------------------------------------------------------------------------------------------------------


def folders(root: Path) -> Iterator[str]:
    """Every folder that may hold kept files, relative to the root: one a series, and `aside`."""
    for first in _names(root / "files"):
        for series in _names(root / "files" / first):
            yield f"files/{first}/{series}"
    yield "aside"


def files(root: Path, folder: str) -> list[str]:
    """The kept files of a folder, relative to the root. Names that are not ours are none of them."""
    return [f"{folder}/{name}" for name in _names(root / folder) if _NAME.fullmatch(name)]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def opened(root: Path, file: str) -> Iterator[OpenFile]:
    """A kept file, of whatever size it has now."""
    descriptor = os.open(root / file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield OpenFile(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def examine(root: Path, file: str) -> Found:
    """Read a kept file whole. Raises Corrupt when its data set is not the one its name was made from.

    Without this an index made from a damaged file would hold checksums of the damage, and vouch for it.
    """
    try:
        with opened(root, file) as source:
            written_at = os.fstat(source.file).st_mtime
            whole: Readable = source
            if source.size <= _AT_ONCE_BYTES:  # one read for digest and scan: a third faster for a CT image
                content = source.read_at(0, source.size)
                whole = InMemory(content)
                digest = hashlib.sha256(memoryview(content)[read_preface(whole).data_set_offset :]).digest()
            else:
                digest = digest_of(source, read_preface(source).data_set_offset)
            if f"{digest.hex()}.dcm" != file.rpartition("/")[2]:
                raise Corrupt("file", "its bytes are not those it was named for", detail=file)
            summary = scan(whole)
            return Found(file, summary, digest, source.size, written_at, read_note(whole, summary))
    except OSError as error:
        raise Corrupt("file", f"cannot be read (errno {error.errno})", detail=file) from error


def digest_of(source: Readable, offset: int, pace: Callable[[int], None] = lambda size: None) -> bytes:
    """SHA-256 of what follows `offset`. pace: told the size of each block that was read."""
    sha = hashlib.sha256()
    for begin in range(offset, source.size, _BLOCK_BYTES):
        block = source.read_at(begin, _BLOCK_BYTES)
        sha.update(block)
        pace(len(block))
    return sha.digest()
