"""What the trail says of a stretch of time. Nothing here judges the chain: that is `verify_trail`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

_NEAR: Final = 256 * 1024  # bytes: from here on it is quicker to read than to halve


def first_moment(path: Path) -> datetime | None:
    """When the first trace of a file was made; None for a file without one."""
    with path.open("rb") as file:
        return _moment(_read(file.readline()))


def traces_between(path: Path, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """The traces made from `start` up to, not including, `end`, in the order of the file.

    The file is in the order of time, but for a clock that was set back: then a trace beyond the jump may be left out. A
    line that is still being written is left out too.
    """
    with path.open("rb") as file:
        file.seek(_begin(file, start))
        for line in file:
            trace = _read(line)
            moment = _moment(trace)
            if trace is None or moment is None or moment < start:
                continue
            if moment >= end:
                return
            yield trace


def _begin(file: BinaryIO, start: datetime) -> int:
    """A place at which a line begins, before the first trace of `start` or later."""
    low, high = 0, file.seek(0, 2)
    while high - low > _NEAR:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()  # the rest of the line `middle` is in
        begins = file.tell()
        moment = _moment(_read(file.readline()))
        if moment is None or moment >= start:
            high = middle
        else:
            low = begins
    return low


def _read(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        trace: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return trace


def _moment(trace: dict[str, Any] | None) -> datetime | None:
    try:
        return datetime.fromisoformat(str(trace["at"])).astimezone(UTC) if trace else None
    except (KeyError, ValueError):
        return None
