"""One reader for every data set: iterative, bounded, over bytes that may not fit in memory (PS3.5 §7).

It yields one event an element, in the order of the file, and reads values only when asked. Where the structure is
damaged it skips the smallest enclosing sequence or item whose length is known; what cannot be told is Malformed. It
accepts what modalities in service send: odd lengths, absent delimiters at the end of a parent, delimiters too many,
implicit VR under a name of explicit VR and the reverse, UN for known attributes, bytes after the data set.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from drimbox.dicom.dictionary import KNOWN, vr_of
from drimbox.dicom.part10 import LONG_FORM, SHORT_FORM, Readable
from drimbox.errors import Malformed, TooLarge

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})  # float, double float, and integer

_WINDOW_BYTES = 2**16  # the whole header of most instances
_FRAGMENT_WINDOW_BYTES = 2**12
_PADDING = bytes(16)  # after a short window, so that a header can always be unpacked; its place is checked apart

# VR as written -> (VR, is it of the long form)
_VRS: Final[dict[bytes, tuple[str, bool]]] = {
    written: (written.decode("ascii"), written in LONG_FORM) for written in LONG_FORM | SHORT_FORM
}
_IN_FRAGMENTS = frozenset({"OB", "OW", "OD", "OF", "OL", "OV"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may ask of us. Beyond: TooLarge.

    max_depth: sequences in sequences. max_elements: elements and items, at all depths. max_fragments: of Pixel Data,
    and frames of it. max_inflated_bytes, max_inflation: of a deflated data set, in bytes and as a ratio, the latter
    only looked at past 32 MiB.
    """

    max_depth: int = 64
    max_elements: int = 1_000_000
    max_fragments: int = 500_000
    max_inflated_bytes: int = 2**30
    max_inflation: int = 200


# (level, tag, VR or US_OR_SS, offset of the value, length of the value or UNDEFINED). Level 0 is the data set; the
# elements of an item are one level below its sequence, and so is the event that opens it: (level, ITEM, "", offset,
# length). A tuple, not a class: a million of them are made for one large enhanced object.
Event = tuple[int, int, str, int, int]


class Fragments(NamedTuple):
    """The items of encapsulated Pixel Data (PS3.5 §A.4), the first of which is the Basic Offset Table.

    items: (offset, length) of the values. end: after the last byte. closed: the sequence delimiter was found.
    """

    items: list[tuple[int, int]]
    end: int
    closed: bool


class _Container(NamedTuple):
    """The data set, a sequence or an item, while it is read.

    end: not to be passed, and its true end unless `undefined`. told_by_item: VRs may be written or not (in UN).
    """

    level: int
    end: int
    undefined: bool
    is_sequence: bool
    explicit: bool
    little_endian: bool
    told_by_item: bool = False


class ElementReader:
    """The elements of one data set, once, in order. An iterator of `Event`; raises Malformed, TooLarge.

    wanted: only these tags, and sequences and items, make events; all is walked and checked just the same.
    fragments: those of the data set's Pixel Data, known once its event is passed; None if it is not encapsulated.
    """

    def __init__(
        self,
        source: Readable,
        offset: int,
        *,
        explicit: bool,
        little_endian: bool,
        limits: Limits,
        wanted: frozenset[int] | None = None,
    ) -> None:
        self._source = source
        self._limits = limits
        self._wanted = wanted
        self._left = self._limits.max_elements
        self._past_pixels = False
        self._position = offset
        self._window, self._window_offset = b"", offset
        self.fragments: Fragments | None = None
        written = _is_written(self.value(offset + 4, 2), explicit)
        self._stack = [_Container(0, source.size, False, False, written, little_endian)]

    @property
    def little_endian(self) -> bool:
        """How the value of the event just given is written."""
        return self._stack[-1].little_endian

    def value(self, offset: int, length: int) -> bytes:
        """The bytes of a value whose event was given; from the window when they are in it."""
        start = offset - self._window_offset
        if start >= 0 and start + length <= len(self._window):
            return self._window[start : start + length]
        return self._source.read_at(offset, length)

    def __iter__(self) -> Iterator[Event]:
        while self._stack:
            here = self._stack[-1]
            try:
                yield from self._items(here) if here.is_sequence else self._elements(here)
            except Malformed:
                if not self._skip_damage():
                    raise

    def _skip_damage(self) -> bool:
        """Go on after the smallest thing of known length around the damage; False when that is the data set."""
        while len(self._stack) > 1:
            left = self._stack.pop()
            if not left.undefined:
                self._position = left.end
                return True
        if self._past_pixels:  # bytes after the data set
            self._stack.clear()
        return not self._stack

    def _load(self, position: int) -> bytes:
        window = self._source.read_at(position, _WINDOW_BYTES)
        if len(window) < _WINDOW_BYTES:
            window += _PADDING
        self._window, self._window_offset = window, position
        return window

    def _elements(self, here: _Container) -> Iterator[Event]:
        """The elements of the data set or of an item, up to its end or to a sequence in it, which is then opened."""
        level, end, explicit = here.level, here.end, here.explicit
        header, word = _LITTLE if here.little_endian else _BIG
        position, left, wanted = self._position, self._left, self._wanted
        window, base = self._window, self._window_offset
        reach = base + len(window) - 12
        while end - position >= 8:
            if position > reach or position < base:
                window, base = self._load(position), position
                reach = base + len(window) - 12
            at = position - base
            group, number, vr_bytes, length = header(window, at)
            tag = group << 16 | number
            left -= 1
            if left < 0:
                raise TooLarge("data set", f"more than {self._limits.max_elements} elements")
            if group == 0xFFFE or not group:
                self._position, self._left = position, left
                if self._is_closed_by(tag, here):
                    return
                position = self._position
                continue

            form = _VRS.get(vr_bytes) if explicit else None
            if form is None:
                vr, length, start = _unusual_form(tag, vr_bytes if explicit else b"", word, window, at, position)
            elif form[1]:
                vr, length, start = form[0], word(window, at + 8)[0], position + 12
            else:
                vr, start = form[0], position + 8
            is_unknown = vr == "UN" and explicit
            if is_unknown and here.little_endian:
                vr = vr_of(tag)  # written by a relay that did not know it (PS3.5 §6.2.2)

            if length == UNDEFINED:
                self._left = left
                yield from self._undefined_length(here, tag, "UN" if is_unknown else vr, start)
                if self._stack[-1] is not here:
                    return
                position, left = self._position, self._left
                continue
            position = start + length
            if position > end:
                if level == 0 and tag in PIXELS:
                    self._past_pixels = True
                    yield 0, tag, vr, start, length  # cut: the caller takes what there is
                raise Malformed("data set", "a value is longer than what holds it")
            if wanted is None or tag in wanted or vr == "SQ":
                yield level, tag, vr, start, length
            if vr == "SQ" and length:
                self._position, self._left = start, left
                self._stack.append(
                    _Container(
                        level,
                        position,
                        undefined=False,
                        is_sequence=True,
                        explicit=explicit and not is_unknown,
                        little_endian=here.little_endian,
                        told_by_item=is_unknown,
                    )
                )
                return
            if group == 0x7FE0 and level == 0 and tag in PIXELS:
                self._past_pixels = True
        if position < end and (level or any(self._source.read_at(position, end - position))):
            raise Malformed("data set", "cut inside the header of an element")
        self._position, self._left = end, left
        self._stack.pop()

    def _is_closed_by(self, tag: int, here: _Container) -> bool:
        """Deal with a tag that is no attribute: it closes `here`, or is one too many, or is damage."""
        if tag == ITEM_END and here.undefined:
            self._position += 8
            self._stack.pop()
            return True
        if here.undefined and tag in (ITEM, SEQUENCE_END):  # the item was not closed: its sequence will see to it
            self._stack.pop()
            return True
        if tag in (ITEM_END, SEQUENCE_END):
            self._position += 8
            return False
        if not tag & 0xFFFF0000 and here.level == 0:
            rest = self._source.read_at(self._position, _WINDOW_BYTES)
            if self._past_pixels or not any(rest):  # zeros after the data set
                self._stack.pop()
                return True
        raise Malformed("data set", "an item outside a sequence, or a command element")

    def _undefined_length(self, here: _Container, tag: int, vr: str, start: int) -> Iterator[Event]:
        """A sequence is opened; fragments are passed over."""
        if vr in _IN_FRAGMENTS:
            yield here.level, tag, vr, start, UNDEFINED
            fragments = read_fragments(self._source, start, here.end, here.little_endian, self._limits)
            self._left -= len(fragments.items)
            self._position = fragments.end
            if here.level == 0 and tag == PIXEL_DATA:
                self.fragments, self._past_pixels = fragments, True
            if not fragments.closed:
                raise Malformed("data set", "fragments without end")
        elif vr in ("SQ", "UN"):
            yield here.level, tag, "SQ", start, UNDEFINED
            self._position = start
            self._stack.append(
                _Container(
                    here.level,
                    here.end,
                    undefined=True,
                    is_sequence=True,
                    explicit=here.explicit and vr == "SQ",
                    little_endian=here.little_endian or vr == "UN",
                    told_by_item=vr == "UN",
                )
            )
        else:
            raise Malformed("data set", f"a value of VR {vr} has no length")

    def _items(self, here: _Container) -> Iterator[Event]:
        """Open the next item of a sequence, or close the sequence."""
        position = self._position
        if here.end - position < 8:
            if position < here.end:
                raise Malformed("data set", "cut inside the header of an item")
            self._stack.pop()  # a delimiter that would be the last thing in the parent is not missed
            return
        at = position - self._window_offset
        if at < 0 or at + 8 > len(self._window):
            self._load(position)
            at = 0
        group, number, length = (_ITEM_LITTLE if here.little_endian else _ITEM_BIG)(self._window, at)
        tag = group << 16 | number
        self._left -= 1
        if self._left < 0:
            raise TooLarge("data set", f"more than {self._limits.max_elements} items")
        self._position = start = position + 8
        if tag == ITEM:
            if here.level >= self._limits.max_depth:
                raise TooLarge("data set", f"sequences are nested deeper than {self._limits.max_depth}")
            undefined = length == UNDEFINED
            end = here.end if undefined else start + length
            if end > here.end:
                raise Malformed("data set", "an item is longer than its sequence")
            yield here.level + 1, ITEM, "", start, length
            explicit = here.explicit
            if here.told_by_item:  # implicit VR says PS3.5 §6.2.2, and not every writer knows
                explicit = self.value(start + 4, 2) in _VRS
            self._stack.append(_Container(here.level + 1, end, undefined, False, explicit, here.little_endian))
        elif tag != SEQUENCE_END:
            raise Malformed("data set", "something else than items in a sequence")
        elif here.undefined:
            self._stack.pop()


_LITTLE = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from
_BIG = struct.Struct(">HH2sH").unpack_from, struct.Struct(">I").unpack_from
_ITEM_LITTLE = struct.Struct("<HHI").unpack_from
_ITEM_BIG = struct.Struct(">HHI").unpack_from


def _is_written(vr_bytes: bytes, announced: bool) -> bool:
    """Is the VR written? The first element tells, whatever the transfer syntax pretends.

    Its value is short: read as a length, two letters are more than 16,000 bytes.
    """
    return vr_bytes in _VRS or (announced and _are_letters(vr_bytes))


def _are_letters(vr_bytes: bytes) -> bool:
    return vr_bytes.isalpha() and vr_bytes.isupper()


def _unusual_form(
    tag: int, vr_bytes: bytes, word: Callable[..., tuple[int]], window: bytes, at: int, position: int
) -> tuple[str, int, int]:
    """(VR, length, offset of the value) where no VR that we know is written. vr_bytes: empty in implicit VR.

    A VR made of letters is newer than this program, and has the long form (PS3.5 §6.2).
    """
    if _are_letters(vr_bytes):
        return "UN", word(window, at + 8)[0], position + 12
    return KNOWN.get(tag) or vr_of(tag), word(window, at + 4)[0], position + 8


def read_fragments(source: Readable, offset: int, end: int, little_endian: bool, limits: Limits) -> Fragments:
    """List the items of a value in fragments that begins at `offset`, reading only their headers.

    Stops, not closed, before what is no item, and after an item that is longer than what is there: that one is listed.
    Raises TooLarge.
    """
    unpack = _ITEM_LITTLE if little_endian else _ITEM_BIG
    items: list[tuple[int, int]] = []
    window, base = b"", offset
    while end - offset >= 8:
        at = offset - base
        if at + 8 > len(window):
            window, base, at = source.read_at(offset, _FRAGMENT_WINDOW_BYTES), offset, 0
        group, number, length = unpack(window, at)
        tag = group << 16 | number
        offset += 8
        if tag == SEQUENCE_END:
            return Fragments(items, offset, closed=True)
        if tag != ITEM or length == UNDEFINED:
            return Fragments(items, offset - 8, closed=False)
        if len(items) > limits.max_fragments:
            raise TooLarge("pixel data", f"more than {limits.max_fragments} fragments")
        items.append((offset, length))
        offset += length
    return Fragments(items, min(offset, end), closed=False)
