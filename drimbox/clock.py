"""The only two clocks: `now` for dates that people read, `ticks` for durations.

The system date may jump (promise P19); a duration measured with `ticks` does not. Tests replace both.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The date and time, aware, in UTC."""
    return datetime.now(UTC)


def ticks() -> float:
    """Seconds on a clock that only goes forward; the origin means nothing."""
    return time.monotonic()
