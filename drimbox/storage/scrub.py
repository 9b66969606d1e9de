"""Read every kept byte again, from the medium, and compare it with what was received (promises P3, P4)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from drimbox import clock
from drimbox.errors import Corrupt, DrimboxError
from drimbox.storage.database import ReadOnly, Row
from drimbox.storage.whole import opened, read_again

_ROWS: Final = 500
_DAMAGED: Final = "SQLite finds it damaged: run drimbox rebuild-index"
_COLUMNS: Final = "id, file, offset, size_bytes, sop_uid, digest, transfer_syntax"
_INSTANCES: Final = f"SELECT {_COLUMNS} FROM instance WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
_ASIDE: Final = f"SELECT {_COLUMNS} FROM set_aside WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Finding:
    """An instance that is not what was kept, or the index itself. why: what was seen.

    file: PACK@OFFSET, or index.db.
    """

    kind: Literal["damaged", "missing"]
    file: str
    sop_uid: str
    why: str


def scrub(root: Path, rate_bytes_s: int, read: Callable[[int], None]) -> Iterator[Finding]:
    """Each finding, as it is made. Beside a running node too; nothing is changed.

    rate_bytes_s: read no faster than this; 0 means as fast as the medium gives. read: told the size of each instance
    that was read. Memory: a few hundred rows. Raises NotFound or Corrupt when there is no index at all.
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


def count_instances(root: Path) -> int:
    """How many instances `scrub` will read; 0 when the index cannot say."""
    index = ReadOnly(root / "index.db")
    try:
        return sum(index.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("instance", "set_aside"))  # noqa: S608
    except Corrupt:
        return 0
    finally:
        index.close()


def _look(root: Path, row: Row, pace: "_Pace") -> tuple[Finding | None, int]:
    _, name, offset, size, sop_uid, digest, transfer_syntax = row
    place, read = f"{name}@{offset}", 0
    try:
        with opened(root, name) as pack:
            read = min(size, max(0, pack.size - offset))
            preface = read_again(pack, offset, size, digest, pace)
            if (preface.sop_uid, preface.transfer_syntax) != (sop_uid, transfer_syntax):
                raise Corrupt("record", "it is of another instance than the index says")
    except FileNotFoundError:
        return Finding("missing", place, sop_uid, "no such file"), read
    except OSError as error:
        return Finding("damaged", place, sop_uid, f"cannot be read (errno {error.errno})"), read
    except DrimboxError as error:
        return Finding("damaged", place, sop_uid, str(error)), read
    return None, read


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
