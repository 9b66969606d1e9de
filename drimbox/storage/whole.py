"""Reading records of packs whole, to see whether they are what was received."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from drimbox.dicom.checksum import Digest, crc32
from drimbox.dicom.part10 import InMemory, Readable
from drimbox.dicom.scan import scan
from drimbox.errors import Corrupt, NotFound
from drimbox.storage.files import OpenFile
from drimbox.storage.index import Entry, build_entry
from drimbox.storage.records import HEADER_BYTES, Record, read_header

_BLOCK_BYTES: Final = 2**20
_AT_ONCE_BYTES: Final = 2**24


@contextmanager
def opened(root: Path, name: str) -> Iterator[OpenFile]:
    """A whole pack, of whatever size it has now. Raises OSError."""
    file = os.open(root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield OpenFile(file, os.fstat(file).st_size)
    finally:
        os.close(file)


def digest_of(source: Readable, offset: int, pace: Callable[[int], None] = lambda size: None) -> bytes:
    """The digest of what follows `offset`. pace: told the size of each block that was read."""
    digest = Digest()
    for begin in range(offset, source.size, _BLOCK_BYTES):
        block = source.read_at(begin, _BLOCK_BYTES)
        digest.update(block)
        pace(len(block))
    return digest.digest()


def check_record(source: Readable, record: Record, pace: Callable[[int], None] = lambda size: None) -> None:
    """Read an object whole. Raises Corrupt when it is not the one its header was written for."""
    if source.size != record.size_bytes or crc32(source.read_at(0, record.preface_bytes)) != record.preface_crc32:
        raise Corrupt("record", "its preface is not the one it was kept with")
    if digest_of(source, record.preface_bytes, pace) != record.digest:
        raise Corrupt("record", "its data set is not the one that was received")


def read_object(root: Path, name: str, begin: int) -> bytes:
    """The object that begins at this offset of a pack, unchecked. Raises NotFound, Corrupt."""
    try:
        with opened(root, name) as pack:
            record = read_header(pack.read_at(begin - HEADER_BYTES, HEADER_BYTES)) if begin >= HEADER_BYTES else None
            if record is None:
                raise NotFound("record", f"none begins at {begin} of {name}")
            return pack.read_at(begin, record.size_bytes)
    except OSError as error:
        raise Corrupt("pack", f"{name} cannot be read (errno {error.errno})") from error


def examine(pack: OpenFile, name: str, offset: int, record: Record) -> Entry:
    """The rows of the record whose header is at `offset`. Raises Corrupt, Malformed, TooLarge.

    Its bytes are checked: rows made from damaged ones would hold checksums of the damage, and vouch for it.
    """
    begin = offset + HEADER_BYTES
    source: Readable = OpenFile(pack.file, record.size_bytes, begin)
    try:
        if record.size_bytes <= _AT_ONCE_BYTES:  # one read for digest and scan
            source = InMemory(source.read_at(0, record.size_bytes))
        check_record(source, record)
        entry = build_entry(source, scan(source), record.digest, record.kept_at)
    except OSError as error:
        raise Corrupt("record", f"cannot be read (errno {error.errno})", detail=name) from error
    entry.file, entry.offset = name, begin
    return entry
