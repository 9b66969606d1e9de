"""Dates and times in the one form in which they compare as text: DA, TM and DT (PS3.5 §6.2, PS3.4 §C.2.2.2.5).

Dates are YYYYMMDD, times HHMMSS.ffffff, date times both. What is not written is its first moment, or its last.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATE_TIME_TEXT: Final = r"\d{4}(?:\d{2}(?:\d{2}(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)?)?"
_OFFSET_TEXT: Final = r"\+(?:0\d|1[0-4])[0-5]\d|-(?:0\d|1[0-2])[0-5]\d"
_DATE_TIME = re.compile(rf"({_DATE_TIME_TEXT})({_OFFSET_TEXT})?", re.ASCII)
# The hyphen of an offset is no range; 1400 and what follows is a year (PS3.4 §C.2.2.2.5.3).
_DATE_TIMES = re.compile(
    rf"({_DATE_TIME_TEXT}(?:{_OFFSET_TEXT})?)?\s*-\s*({_DATE_TIME_TEXT}(?:{_OFFSET_TEXT})?)?", re.ASCII
)
_EARLIEST, _LATEST = "00000101000000.000000", "99991231235959.999999"


def read_date(text: str, *, latest: bool = False) -> str | None:
    """YYYYMMDD, from that or from the form with dots of ACR-NEMA; None for anything else."""
    found = _DATE.fullmatch(text)
    return "".join(found.groups()) if found else None


def read_time(text: str, *, latest: bool = False) -> str | None:
    """HHMMSS.ffffff; what is not written is its first moment, or its `latest`."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hour, minute, second, fraction = found.groups()
    rest = "59" if latest else "00"
    return f"{hour}{minute or rest}{second or rest}.{(fraction or '').ljust(6, '9' if latest else '0')}"


def read_date_time(text: str, *, latest: bool = False) -> str | None:
    """YYYYMMDDHHMMSS.ffffff, in UTC when the offset from it is written, else as it is."""
    found = _DATE_TIME.fullmatch(text)
    if not found:
        return None
    written, offset = found.groups()
    day_and_time = written + (_LATEST if latest else _EARLIEST)[len(written) :]
    if latest and 6 <= len(written) < 8:
        day_and_time = day_and_time[:6] + _last_day(day_and_time) + day_and_time[8:]
    if not offset:
        return day_and_time
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    zone = timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes))
    try:
        moment = datetime.strptime(day_and_time, "%Y%m%d%H%M%S.%f").replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment.year:04}{moment:%m%d%H%M%S.%f}"


def _last_day(text: str) -> str:
    month = int(text[4:6])
    return "31" if month in (1, 3, 5, 7, 8, 10, 12) else "30" if month != 2 else "29"  # no text lies after the 28th


READERS: Final = {"DA": read_date, "TM": read_time, "DT": read_date_time}
FORMS: Final = {"DA": "YYYYMMDD", "TM": "HHMMSS.ffffff, or its start", "DT": "YYYYMMDDHHMMSS.ffffff&ZZXX, or its start"}


def read_range(vr: str, text: str) -> tuple[str, str] | None:
    """The two ends of a range, an open one empty; None when `text` is no range. Raises ValueError when an end is none.

    vr: DA, TM or DT.
    """
    if vr == "DT":
        if _DATE_TIME.fullmatch(text) or "-" not in text:
            return None
        found = _DATE_TIMES.fullmatch(text)
        if not found:
            raise ValueError(text)
        low, high = found[1] or "", found[2] or ""
    else:
        low, hyphen, high = (part.strip() for part in text.partition("-"))
        if not hyphen:
            return None
    if not low and not high:
        raise ValueError(text)
    read = READERS[vr]
    ends = read(low) if low else "", read(high, latest=True) if high else ""
    if ends[0] is None or ends[1] is None:
        raise ValueError(text)
    return ends[0], ends[1]
