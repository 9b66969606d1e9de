"""Who may hold how much of the door, so that one application cannot keep the others out (promise P14)."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from drimbox.dicom_scp.allowance import Allowances
from drimbox.dicom_scp.identities import Identities
from drimbox.dicom_scp.turns import Turns

_STORES_AT_ONCE: Final = 64  # twice what the archive works on: its threads never wait for us
_KEPT_BACK: Final = 20  # one place in so many, beyond the limit, for when one caller holds most of them
_FEW: Final = 5  # places of a caller that may have one of those


def may_enter(held: Mapping[str, int], caller: str, most: int, each: int) -> bool:
    """May `caller` hold one place more? most: for all together, each: for one caller.

    Whoever comes first may take every place. But while one caller holds more than half of them, the others find a few
    more: they are not turned away because of it.
    """
    total, ours = sum(held.values()), held.get(caller, 0)
    if ours >= each:
        return False
    if total < most:
        return True
    return total < most + kept_back(most) and ours < _FEW and 2 * max(held.values()) > most


def kept_back(most: int) -> int:
    """How many places there are beyond `most`."""
    return -(-most // _KEPT_BACK)


class Places:
    """Places that callers hold: connections, by address; associations, by AE title and address. For any thread."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, caller: str) -> bool:
        """Take a place, if there is one for this caller."""
        with self._lock:
            is_welcome = may_enter(self._held, caller, self._most, self._each)
            self._held[caller] += is_welcome
            if not self._held[caller]:
                del self._held[caller]
            return is_welcome

    def leave(self, caller: str) -> None:
        """Give a place back."""
        with self._lock:
            self._held[caller] -= 1
            if self._held[caller] <= 0:
                del self._held[caller]


class Associations(Protocol):
    """The places of associations, wherever they are counted: here, or in the first process."""

    async def enter(self, caller: str) -> bool:
        """Take a place, if there is one for this caller."""

    def leave(self, caller: str) -> None:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class CountedHere:
    """Associations counted in this process."""

    places: Places

    async def enter(self, caller: str) -> bool:
        return self.places.enter(caller)

    def leave(self, caller: str) -> None:
        self.places.leave(caller)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the associations of a process share. stores: from a whole data set to its answer. identities: of users.

    allowances: bytes on their way in, by caller.
    """

    associations: Associations
    stores: Turns = field(default_factory=lambda: Turns(_STORES_AT_ONCE))
    identities: Identities = field(default_factory=Identities)
    allowances: Allowances = field(default_factory=Allowances)
