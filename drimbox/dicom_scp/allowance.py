"""How many bytes one caller may have on their way in, so that it cannot fill the volume with what it never finishes.

Whoever passes it is refused that instance with A700, and may send it again: waiting instead could wait for ever, since
what would make room may be other halves of the same caller.
"""

import threading
from collections import Counter
from functools import partial
from typing import Final

from drimbox.errors import TooLarge
from drimbox.flows.ingest import Spool as Content

_STEP_BYTES: Final = 2**20  # counted at a time, from the first byte of an instance on


class Allowances:
    """What the callers of a process have on their way in. For any thread."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: str, size_bytes: int, most_bytes: int) -> None:
        """Count that much more. Raises TooLarge beyond `most_bytes`."""
        with self._lock:
            if self._held[caller] + size_bytes > most_bytes:
                why = f"more than {most_bytes} bytes under way: send fewer instances at once"
                raise TooLarge("dicom.max_unfinished_bytes_per_caller", why)
            self._held[caller] += size_bytes

    def give(self, caller: str, size_bytes: int) -> None:
        """Count that much less."""
        with self._lock:
            self._held[caller] -= size_bytes
            if self._held[caller] <= 0:
                del self._held[caller]

    def held(self, caller: str) -> int:
        """Bytes under way."""
        with self._lock:
            return self._held.get(caller, 0)


class Spool:
    """One instance on its way in, counted until it is answered. Raises what `content` does, and TooLarge."""

    __slots__ = ("_counted", "_give", "_left", "_take", "content")

    def __init__(self, content: Content, allowances: Allowances, caller: str, most_bytes: int) -> None:
        self.content = content
        self._take = partial(allowances.take, caller, most_bytes=most_bytes)
        self._give = partial(allowances.give, caller)
        self._counted = self._left = 0
        try:
            self._count()
        except TooLarge:
            content.discard()
            raise

    def write(self, view: memoryview) -> None:
        """Append to the data set."""
        self._left -= len(view)
        while self._left < 0:
            self._count()
        self.content.write(view)

    def _count(self) -> None:
        self._take(_STEP_BYTES)
        self._counted += _STEP_BYTES
        self._left += _STEP_BYTES

    def release(self) -> None:
        """It was answered. Safe to call twice."""
        counted, self._counted = self._counted, 0
        if counted:
            self._give(counted)

    def discard(self) -> None:
        """Forget the bytes."""
        self.release()
        self.content.discard()
