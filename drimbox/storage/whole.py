"""Reading records of packs whole, to see whether they are what was received."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from drimbox.dicom.checksum import Digest, crc32
from drimbox.dicom.part10 import InMemory, Preface, Readable, read_preface
from drimbox.dicom.scan import scan
from drimbox.errors import Corrupt, DrimboxError, NotFound
from drimbox.storage.files import OpenFile
from drimbox.storage.index import Entry, Held, build_entry
from drimbox.storage.records import HEADER_BYTES, Record, State, read_header

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


def read_again(
    pack: OpenFile, begin: int, size: int, digest: bytes, pace: Callable[[int], None] = lambda size: None
) -> Preface:
    """Read a kept object from the medium, header and all; what its preface says. Raises Corrupt, OSError."""
    extent = begin - HEADER_BYTES, HEADER_BYTES + size
    # What the page cache remembers is no proof of what the medium still holds.
    os.posix_fadvise(pack.file, *extent, os.POSIX_FADV_DONTNEED)
    record = read_header(pack.read_at(begin - HEADER_BYTES, HEADER_BYTES))
    if record is None or (record.state, record.size_bytes, record.digest) != (State.KEPT, size, digest):
        raise Corrupt("record", "its header is not the one it was kept with")
    source = OpenFile(pack.file, min(size, max(0, pack.size - begin)), begin)
    check_record(source, record, pace)
    preface = read_preface(source)
    os.posix_fadvise(pack.file, *extent, os.POSIX_FADV_DONTNEED)
    return preface


def verify_held(root: Path, held: Held) -> None:
    """Return when every byte of an instance was read again and is right (promise P4). Raises Corrupt."""
    try:
        with opened(root, held.file) as pack:
            preface = read_again(pack, held.offset, held.size_bytes, held.digest)
    except (OSError, DrimboxError) as error:
        raise Corrupt("instance", "it cannot be read as it was kept", detail=f"{held.file}: {error}") from error
    told = (preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax, preface.data_set_offset)
    if told != (held.sop_class_uid, held.sop_uid, held.transfer_syntax, held.data_set_offset):
        raise Corrupt("instance", "its preface is not the one it was kept with", detail=held.file)


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
