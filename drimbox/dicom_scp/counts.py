"""What the door counts of itself, for the metrics and for its own limits."""

import threading
from collections import Counter
from typing import Literal

Name = Literal["connections", "associations", "stored", "refused", "rejected", "aborted"]


class Counts:
    """Counters that several receivers move at once.

    connections: sockets open, with or without an association. associations: accepted and not ended yet.
    stored, refused: C-STORE answered with success or warning, and with failure. rejected, aborted: associations we
    did not accept, or ended ourselves for cause.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[Name] = Counter()

    def __getitem__(self, name: Name) -> int:
        return self._values[name]

    def add(self, name: Name, step: int = 1) -> None:
        """Move a counter."""
        with self._lock:
            self._values[name] += step
