"""What lies in a pack: records one after the other, each a header of 64 bytes and a Part 10 object. Pure.

    header │ Part 10: 128 zeros, DICM, group 0002, data set as received │ zeros up to the next multiple of 64 │ header …

A pack needs no index to be read: each header says how long its object is and what its digest is, and is checked by a
CRC of its own. It never crosses a sector, so that it is written whole or not at all. The numbers are little endian:

    magic 8 │ object bytes u64 │ kept at f64, seconds since 1970 │ digest 16 │ preface bytes u32 │ CRC-32 of the preface
    u32 │ state u32 │ zeros 8 │ CRC-32 of these 60 bytes u32
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from drimbox.dicom.checksum import DIGEST_BYTES, crc32

MAGIC: Final = b"DRIMpack"
HEADER_BYTES: Final = 64
_FIELDS: Final = struct.Struct(f"<8sQd{DIGEST_BYTES}sIII8x")
_CRC: Final = struct.Struct("<I")


class State(IntEnum):
    """Of a record. TORN: a crash came before it was whole; nobody was told that it was kept."""

    KEPT = 1
    REMOVED = 2
    TORN = 3


@dataclass(frozen=True, slots=True)
class Record:
    """A header. size_bytes: of the object that follows. digest: of its data set, which begins at `preface_bytes`."""

    size_bytes: int
    kept_at: float
    digest: bytes
    preface_bytes: int
    preface_crc32: int
    state: State = State.KEPT

    def after(self, offset: int) -> int:
        """Where the next record begins when this one's header is at `offset`."""
        return aligned(offset + HEADER_BYTES + self.size_bytes)

    def as_state(self, state: State) -> "Record":
        """The same object in another state."""
        return replace(self, state=state)


def aligned(offset: int) -> int:
    """The first place from `offset` on where a record may begin."""
    return -(-offset // HEADER_BYTES) * HEADER_BYTES


def build_header(record: Record) -> bytes:
    """The 64 bytes before an object."""
    fields = _FIELDS.pack(
        MAGIC,
        record.size_bytes,
        record.kept_at,
        record.digest,
        record.preface_bytes,
        record.preface_crc32,
        record.state,
    )
    return fields + _CRC.pack(crc32(fields))


def read_header(header: bytes) -> Record | None:
    """The record these 64 bytes speak of; None when they are no header, or a damaged one."""
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        return None
    if _CRC.unpack_from(header, HEADER_BYTES - _CRC.size)[0] != crc32(header[: -_CRC.size]):
        return None
    _, size_bytes, kept_at, digest, preface_bytes, preface_crc32, state = _FIELDS.unpack_from(header)
    try:
        return Record(size_bytes, kept_at, digest, preface_bytes, preface_crc32, State(state))
    except ValueError:  # of a newer program
        return None
