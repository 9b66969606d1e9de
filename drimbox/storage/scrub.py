"""Read every kept byte again, from the medium, and compare it with what was received (promises P3, P4)."""

import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from drimbox import clock
from drimbox.dicom.part10 import read_preface
from drimbox.errors import Corrupt, DrimboxError
from drimbox.storage.database import ReadOnly, Row
from drimbox.storage.upkeep import digest_of, opened

_ROWS: Final = 500
_HEAD_BYTES: Final = 144
_DAMAGED: Final = "SQLite finds it damaged: run drimbox rebuild-index"
_INSTANCES: Final = (
    "SELECT id, file, sop_uid, digest, transfer_syntax, data_set_offset FROM instance WHERE id > ? ORDER BY id LIMIT ?"
)
_ASIDE: Final = (
    "SELECT id, file, sop_uid, digest, transfer_syntax, NULL FROM set_aside WHERE id > ? ORDER BY id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not what was kept; or the index itself, when file is index.db. why: what was seen."""

    kind: Literal["damaged", "missing"]
    file: str
    sop_uid: str
    why: str


def scrub(root: Path, rate_bytes_s: int, read: Callable[[int], None]) -> Iterator[Finding]:
    """Each finding, as it is made. Beside a running node too; nothing is changed.

    rate_bytes_s: read no faster than this; 0 means as fast as the medium gives. read: told the size of each file that
    was read. Memory: a few hundred rows. Raises NotFound or Corrupt when there is no index at all.
    """
    index = ReadOnly(root / "index.db")
    pace = _Pace(rate_bytes_s)
    try:
        if index.rows("PRAGMA quick_check(1)") != [("ok",)]:
            yield Finding("damaged", "index.db", "", _DAMAGED)
        for sql in (_INSTANCES, _ASIDE):
            last = 0
            while rows := index.rows(sql, (last, _ROWS)):
                for row in rows:
                    last = row[0]
                    finding, size = _look(root, row, pace)
                    read(size)
                    if finding:
                        yield finding
    except Corrupt:
        yield Finding("damaged", "index.db", "", _DAMAGED)
    finally:
        index.close()


def count_files(root: Path) -> int:
    """How many files `scrub` will read; 0 when the index cannot say."""
    index = ReadOnly(root / "index.db")
    try:
        return sum(index.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("instance", "set_aside"))  # noqa: S608
    except Corrupt:
        return 0
    finally:
        index.close()


def _look(root: Path, row: Row, pace: "_Pace") -> tuple[Finding | None, int]:
    _, file, sop_uid, digest, transfer_syntax, data_set_offset = row
    size = 0
    try:
        with opened(root, file) as source:
            size = source.size
            # What the page cache remembers is no proof of what the medium still holds.
            os.posix_fadvise(source.file, 0, 0, os.POSIX_FADV_DONTNEED)
            preface = read_preface(source)
            offset = preface.data_set_offset
            told = (preface.sop_uid, preface.transfer_syntax, offset, source.read_at(0, _HEAD_BYTES))
            if told != (sop_uid, transfer_syntax, data_set_offset or offset, _head(offset)):
                raise Corrupt("file", "its preface is not the one it was kept with")
            if digest_of(source, offset, pace) != digest:
                raise Corrupt("file", "its data set is not the one that was received")
            os.posix_fadvise(source.file, 0, 0, os.POSIX_FADV_DONTNEED)
    except FileNotFoundError:
        return Finding("missing", file, sop_uid, "no such file"), size
    except OSError as error:
        return Finding("damaged", file, sop_uid, f"cannot be read (errno {error.errno})"), size
    except DrimboxError as error:
        return Finding("damaged", file, sop_uid, str(error)), size
    return None, size


def _head(data_set_offset: int) -> bytes:
    """How every kept file begins: 128 zeros, the prefix, the group length (PS3.10 §7.1)."""
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 0x0002, 0, b"UL", 4, data_set_offset - _HEAD_BYTES)


class _Pace:
    """Waits so that no more than so many bytes a second are read, on the whole."""

    def __init__(self, rate_bytes_s: int) -> None:
        self._rate_bytes_s = rate_bytes_s
        self._began = clock.ticks()
        self._read = 0

    def __call__(self, size: int) -> None:
        self._read += size
        if self._rate_bytes_s:
            time.sleep(max(0.0, self._began + self._read / self._rate_bytes_s - clock.ticks()))
