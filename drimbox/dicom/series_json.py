"""The metadata of the slices of a series as JSON, one after the other: what they have in common is read once.

A slice differs from one before it in a dozen values, seldom in the places of its elements. So the header is compared
with one that was read, byte by byte and all at once: where nothing but values differs, only the attributes that hold
these are read anew. The text is to the byte what `json_model.read_metadata` gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from drimbox.dicom.charset import read_charset
from drimbox.dicom.data_set import DataSet, open_data_set
from drimbox.dicom.dictionary import US_OR_SS
from drimbox.dicom.elements import ITEM, PIXELS, UNDEFINED, Event, Limits, read_fragments
from drimbox.dicom.json_model import CHARSET, PIXEL_REPRESENTATION, Recurring, bulkdata_paths, read_elements
from drimbox.dicom.layout import MOST_BYTES, Noted
from drimbox.dicom.part10 import Readable

_MOST_FORMS: Final = 8  # of one series: numbers that get longer make another
_MOST_VAIN: Final = 64  # headers in a row that were like none before: there is nothing in common


class _Replayed:
    """Elements that were met before, in a header that has them at the same places."""

    little_endian = True

    def __init__(self, events: Sequence[Event], head: bytes, start: int) -> None:
        self._events, self._head, self._start = events, head, start

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def value(self, offset: int, length: int) -> bytes:
        return self._head[offset - self._start : offset - self._start + length]


@dataclass(slots=True)
class _Form:
    """A header that was read, and the text of each attribute of the data set.

    kind: transfer syntax, offset of the data set, offset of Pixel Data as it was told. head: up to the value of Pixel
    Data, which is `pixels`. starts, ends: of every value in it that is no sequence; owners: the attribute of the data
    set each is in, -1 when nothing is told of it. keys, events, texts: by attribute. always: those told anew each time.
    charset: declared by the data set, by the attribute charset_at.
    """

    kind: tuple[str, int, int | None]
    head: bytes
    pixels: Event | None
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    owners: NDArray[np.int64]
    keys: list[str]
    events: list[list[Event]]
    texts: list[bytes]
    always: frozenset[int]
    charset: tuple[str, ...]
    charset_at: int

    def changed(self, head: bytes) -> set[int] | None:
        """The attributes whose bytes are others in `head`; None when more than values is."""
        places = np.flatnonzero(np.frombuffer(head, np.uint8) != np.frombuffer(self.head, np.uint8))
        if not places.size:
            return set()
        at = np.searchsorted(self.starts, places, "right") - 1
        if at[0] < 0 or (places >= self.ends[at]).any():
            return None
        found: set[int] = set(self.owners[at].tolist())
        return None if self.charset_at in found else found - {-1}


class SeriesJson:
    """Give it the instances of a series in turn. For one thread at a time."""

    def __init__(self) -> None:
        self._recurring: Recurring = {}
        self._forms: list[_Form] = []  # the one met last first
        self._vain = 0

    def text(self, file: Readable, bulkdata_url: str, pixel_data_offset: int | None) -> bytes:
        """The JSON of one instance. Raises as `read_metadata`, which says what `bulkdata_url` is.

        pixel_data_offset: of the element, None when it is not known.
        """
        data_set = open_data_set(file, Limits())
        kind = (data_set.preface.transfer_syntax, data_set.preface.data_set_offset, pixel_data_offset)
        if text := self._like_before(data_set, kind, bulkdata_url):
            self._vain = 0
            return text
        noted = Noted(data_set.reader)
        found = read_elements(noted, bulkdata_url, recurring=self._recurring)
        self._vain += 1
        if self._vain < _MOST_VAIN and noted.is_whole and (form := _form_of(data_set, kind, noted.events, found)):
            self._forms = [form, *self._forms[: _MOST_FORMS - 1]]
        return orjson.dumps(found)

    def _like_before(self, data_set: DataSet, kind: tuple[str, int, int | None], url: str) -> bytes | None:
        start, head = kind[1], b""
        for number, form in enumerate(self._forms):
            if form.kind != kind:
                continue
            if len(head) != len(form.head):
                head = data_set.source.read_at(start, len(form.head))
            if len(head) != len(form.head) or (changed := form.changed(head)) is None:
                continue
            if not _ends_with(data_set, form.pixels, start + len(head)):
                return None
            anew = sorted(changed | form.always)
            replayed = _Replayed([event for index in anew for event in form.events[index]], head, start)
            told = read_elements(replayed, url, recurring=self._recurring, charset=form.charset)
            for index in anew:
                form.texts[index] = _text(form.keys[index], told[form.keys[index]])
            form.head = head
            self._forms.insert(0, self._forms.pop(number))
            return b"{" + b",".join(form.texts) + b"}"
        return None


def _form_of(
    data_set: DataSet, kind: tuple[str, int, int | None], events: Sequence[Event], found: dict[str, Any]
) -> _Form | None:
    """The form of a header that was read; None when it is one in which others could hide something."""
    if data_set.syntax.deflated or not data_set.syntax.little_endian or not found:
        return None
    start, source = kind[1], data_set.source
    last = events[-1]
    pixels = last if last[0] == 0 and last[1] in PIXELS else None
    end = pixels[3] if pixels else source.size
    if end - start > MOST_BYTES or not _ends_with(data_set, pixels, end):
        return None
    by_attribute: dict[int, list[Event]] = {}
    values: list[tuple[int, int, int]] = []  # start, end, attribute
    for event in events:
        level, tag, vr, offset, length = event
        if level == 0:
            if by_attribute and tag <= next(reversed(by_attribute)):
                return None
            by_attribute[tag] = []
        attribute = next(reversed(by_attribute))
        by_attribute[attribute].append(event)
        if tag != ITEM and vr != "SQ" and event is not pixels:
            if length == UNDEFINED:
                return None
            values.append((offset - start, offset - start + length, attribute))
    tags = [tag for tag in by_attribute if f"{tag:08X}" in found]
    keys = [f"{tag:08X}" for tag in tags]
    if keys != list(found):
        return None
    index = {tag: number for number, tag in enumerate(tags)}
    told = [by_attribute[tag] for tag in tags]
    places = np.array(values, np.int64).reshape(-1, 3)
    head = source.read_at(start, end - start)
    declared = found.get(f"{CHARSET:08X}")
    return _Form(
        kind,
        head,
        pixels,
        places[:, 0],
        places[:, 1],
        np.array([index.get(tag, -1) for _, _, tag in values], np.int64),
        keys,
        told,
        [_text(key, found[key]) for key in keys],
        _told_always(told, found, keys),
        () if declared is None else read_charset(_value(by_attribute[CHARSET][0], head, start)),
        index.get(CHARSET, -2),
    )


def _told_always(events: Sequence[Sequence[Event]], found: dict[str, Any], keys: Sequence[str]) -> frozenset[int]:
    """Attributes that name the instance (bulk data), and those that say how others are read (of implicit VR)."""
    is_unsure = any(event[2] == US_OR_SS for own in events for event in own)
    return frozenset(
        number
        for number, key in enumerate(keys)
        if any(bulkdata_paths({key: found[key]}))
        or (is_unsure and any(event[1] == PIXEL_REPRESENTATION for event in events[number]))
    )


def _ends_with(data_set: DataSet, pixels: Event | None, end: int) -> bool:
    """Does nothing come after the header that ends there, but the Pixel Data that begin there?"""
    source = data_set.source
    if pixels is None or pixels[4] != UNDEFINED:
        return end + (pixels[4] if pixels else 0) == source.size
    fragments = read_fragments(source, end, source.size, True, Limits())
    return fragments.closed and fragments.end == source.size


def _value(event: Event, head: bytes, start: int) -> bytes:
    return head[event[3] - start : event[3] - start + event[4]]


def _text(key: str, element: dict[str, Any]) -> bytes:
    return b'"%b":%b' % (key.encode(), orjson.dumps(element))
