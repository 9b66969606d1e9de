"""The places of the elements of a header, remembered for the next instance that has them at the same places.

The slices of a series differ in values, seldom in the places of their elements. A header whose tags, VRs, lengths and
delimiters are byte for byte where they were before would be walked with the same result, so it is not walked: one
comparison of two large integers, values masked out, costs a fiftieth of the walk.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.elements import ElementReader, Event

_MOST_LAYOUTS: Final = 256
_MOST_OF_ONE_SIZE: Final = 8
MOST_BYTES: Final = 2**15
"""Of a header that is remembered."""
_MOST_EVENTS: Final = MOST_BYTES // 8


class Noted:
    """The elements of a reader, and those that passed, as many as a header to remember may have."""

    def __init__(self, reader: ElementReader) -> None:
        self.events: list[Event] = []
        self.value = reader.value
        self._reader = reader

    @property
    def little_endian(self) -> bool:
        """How the value of the event just given is written."""
        return self._reader.little_endian

    @property
    def is_whole(self) -> bool:
        """Are they so few that all are here?"""
        return len(self.events) < _MOST_EVENTS

    def __iter__(self) -> Iterator[Event]:
        for event in self._reader:
            if len(self.events) < _MOST_EVENTS:
                self.events.append(event)
            yield event


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets are from the start of the file. start, end: of the header. wanted: the events of a walk over it."""

    start: int
    end: int
    mask: int
    structure: int
    wanted: tuple[Event, ...]


class Layouts:
    """The layouts seen last, by what a header is likely to have in common with one seen before. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], tuple[Layout, ...]] = OrderedDict()

    def has(self, transfer_syntax: str, size: int) -> bool:
        """Was an object like that seen before?"""
        return (transfer_syntax, size) in self._known

    def find(self, transfer_syntax: str, size: int, start: int, head: bytes) -> Layout | None:
        """The layout of a header that begins at `start`, of an object of `size` bytes.

        head: what follows `start`, at least the header or MOST_BYTES.
        """
        for layout in self._known.get((transfer_syntax, size), ()):
            if layout.start == start and _structure(head, layout) == layout.structure:
                return layout
        return None

    def learn(
        self, transfer_syntax: str, size: int, start: int, head: bytes, values: Iterable[Event], wanted: Iterable[Event]
    ) -> None:
        """Remember a header, which is `head`. values: every element in it whose value is no sequence."""
        masked = bytearray(b"\xff" * len(head))
        for _, _, _, offset, length in values:
            masked[offset - start : offset - start + length] = bytes(length)
        mask = int.from_bytes(masked, "little")
        structure = int.from_bytes(head, "little") & mask
        layout = Layout(start, start + len(head), mask, structure, tuple(wanted))
        with self._lock:
            others = self._known.pop((transfer_syntax, size), ())
            self._known[transfer_syntax, size] = (layout, *others)[:_MOST_OF_ONE_SIZE]
            if len(self._known) > _MOST_LAYOUTS:
                self._known.popitem(last=False)


def _structure(head: bytes, layout: Layout) -> int:
    return int.from_bytes(head[: layout.end - layout.start], "little") & layout.mask
