"""How pynetdicom's thread that reads is kept still while an answer is awaited.

An association of pynetdicom has a thread that takes messages for requests of the other end. Whoever awaits an answer
stops it with an Event, but goes on while it may still be on its way out of `Event.wait`: an answer that comes then is
taken for a request and thrown away. An image is missing in a listing, or nobody ever hears the end of a C-MOVE.
"""

import threading
from typing import Any


class Stillness:
    """Stands in for that Event. reader: the thread. Its gate is open at first, as the library has it."""

    def __init__(self, reader: threading.Thread) -> None:
        self._reader = reader
        self._changed = threading.Condition()
        self._is_open = True
        self._is_waiting = False

    def wait(self) -> None:
        """For the reader: return once the gate is open."""
        with self._changed:
            self._is_waiting = True
            self._changed.notify_all()
            while not self._is_open:
                self._changed.wait()
            self._is_waiting = False

    def clear(self) -> None:
        """Close the gate; return once the reader stands before it, or has ended."""
        with self._changed:
            self._is_open = False
            while not self._is_waiting and self._reader.is_alive() and self._reader is not threading.current_thread():
                self._changed.wait(0.01)  # nobody says that it ends

    def set(self) -> None:
        """Open the gate."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


def keep_still(association: Any) -> None:
    """Give an association of pynetdicom that has not begun a gate that holds."""
    association._reactor_checkpoint = Stillness(association)
