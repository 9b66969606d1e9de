"""How often a refusal is worth a line in the log: whoever is refused may come back a thousand times a second."""

from collections.abc import Hashable
from typing import Final

_SAY_AGAIN_S: Final = 10.0
_MOST_KINDS: Final = 1024


class Refusals:
    """The refusals of one loop, by kind: address and reason, say. Memory is bounded, whoever calls."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[float, int]] = {}  # when it may be said again, and how many were not said

    def count(self, kind: Hashable, now: float) -> int:
        """For how many refusals a line shall stand: 0 for none now. now: seconds that never go back.

        The first of a kind is said at once, the others together, ten seconds later at the soonest.
        """
        again, silent = self._kinds.pop(kind, (now, 0))
        if now < again:
            self._kinds[kind] = (again, silent + 1)
            return 0
        if len(self._kinds) >= _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]  # the one that was not seen for longest
        self._kinds[kind] = (now + _SAY_AGAIN_S, 0)
        return silent + 1
