"""A whole data set as the DICOM JSON model, straight from its bytes (PS3.18 annex F).

Differences from pydicom's `to_json_dict`, each on purpose:

- text is UTF-8, and Specific Character Set says so; undeclared text that is right UTF-8 is read as such;
- an empty sequence has no Value, an empty value among others is null (§F.2.5), an empty group of a name is left out;
- group lengths and padding after the data set are left out (§F.2.2);
- spaces that mean nothing are left out around every value of several, not only at the end;
- an IS or DS that is no number or passes what IS allows, NaN, infinities, and integers past 2^53 are text (§F.2.3);
- binary words are little endian whatever the file (§F.2.7);
- private attributes without a VR in the file are UN, whoever made them;
- what is inside Pixel Data is not looked at, so that an object that is cut there still has metadata.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Protocol

from drimbox.dicom.charset import read_charset
from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.dictionary import US_OR_SS
from drimbox.dicom.elements import ITEM, PIXELS, UNDEFINED, ElementReader, Event, Limits, read_fragments
from drimbox.dicom.part10 import Readable
from drimbox.dicom.values import BINARY, to_json
from drimbox.errors import Malformed, NotAcceptable, NotFound

MOST_INLINE_BINARY_BYTES: Final = 1024
MOST_INLINE_BYTES: Final = 2**16  # of text and numbers: a viewer wants contours and tables without asking again
MOST_INLINE_BYTES_IN_ALL: Final = 2**26

CHARSET: Final = 0x00080005
PIXEL_REPRESENTATION: Final = 0x00280103
_TRAILING_PADDING: Final = 0xFFFCFFFC
_MOST_RECURRING: Final = 8192  # values, and bytes of each: some MiB in all
_RECURRING_BYTES: Final = 128

Recurring = dict[tuple[str, bytes, tuple[str, ...], bool], dict[str, Any]]
"""Values that were read before: nearly all of those of a slice are also those of its neighbours."""

_PATH = re.compile(r"[0-9A-F]{8}(/(0|[1-9][0-9]{0,6})/[0-9A-F]{8})*", re.ASCII)
_MOST_PATH_CHARACTERS: Final = 2048


class Elements(Protocol):
    """What an `ElementReader` is here: its events, and what can be asked about the one just given."""

    @property
    def little_endian(self) -> bool:
        """How its value is written."""
        ...

    def value(self, offset: int, length: int) -> bytes:
        """The bytes of its value."""
        ...

    def __iter__(self) -> Iterator[Event]: ...


def read_metadata(
    file: Readable, bulkdata_url: str, limits: Limits | None = None, *, as_written: bool = False
) -> dict[str, Any]:
    """The data set of a file as one DICOM JSON model object. Pixel Data are not read. Raises Malformed, TooLarge.

    Pixel Data always, binary values past 1 KiB and others past 64 KiB, at any depth, are `BulkDataURI`: `bulkdata_url`,
    a slash, and the path of the attribute, such as `7FE00010`, or `00400275/0/00081199` for an attribute of the
    first item of a sequence; `find_bulkdata` understands it. as_written: DS and IS as the text they are in the file.
    """
    return read_elements(open_data_set(file, limits or Limits()).reader, bulkdata_url, as_written=as_written)


def read_elements(
    reader: Elements,
    bulkdata_url: str,
    *,
    as_written: bool = False,
    recurring: Recurring | None = None,
    charset: tuple[str, ...] = (),
) -> dict[str, Any]:
    """As `read_metadata`. recurring: values read before, for the same `as_written`; what comes out shares them.

    charset: what is declared before the first element.
    """
    known: Recurring = {} if recurring is None else recurring
    if len(known) > _MOST_RECURRING:
        known.clear()
    items: list[dict[str, Any]] = [{}]  # by level, the item being filled
    charsets: list[tuple[str, ...]] = [charset]  # by level, what the item declares or inherits
    sequences: list[tuple[str, dict[str, Any]]] = []  # by level, the open sequence
    inline_left = MOST_INLINE_BYTES_IN_ALL
    signed = False
    for level, tag, vr, offset, length in reader:
        if tag == ITEM:
            item: dict[str, Any] = {}
            sequences[level - 1][1].setdefault("Value", []).append(item)
            items[level:] = [item]
            charsets[level:] = [charsets[level - 1]]
            continue
        key = f"{tag:08X}"
        if vr == "SQ":
            sequence = {"vr": "SQ"}
            items[level][key] = sequence
            sequences[level:] = [(key, sequence)]
            continue
        if vr == US_OR_SS:
            vr = "SS" if signed else "US"
        if not tag & 0xFFFF or tag == _TRAILING_PADDING:
            continue
        most = MOST_INLINE_BINARY_BYTES if vr in BINARY else MOST_INLINE_BYTES
        if length > most or length > inline_left or (tag in PIXELS and length):
            steps = (f"{name}/{len(outer['Value']) - 1}/" for name, outer in sequences[:level])
            items[level][key] = {"vr": vr, "BulkDataURI": f"{bulkdata_url}/{''.join(steps)}{key}"}
            continue
        inline_left -= length
        value = reader.value(offset, length)
        if tag == CHARSET:
            charsets[level] = read_charset(value)
            value = value and b"ISO_IR 192"
        elif tag == PIXEL_REPRESENTATION:
            signed = value[:1] == b"\x01" or value == b"\0\x01"
        told = (vr, value, charsets[level], reader.little_endian)
        one = known.get(told)
        if one is None:
            one = to_json(*told, as_written=as_written)
            if length <= _RECURRING_BYTES:
                known[told] = one
        items[level][key] = one
    return items[0]


def bulkdata_paths(metadata: dict[str, Any], place: str = "") -> Iterator[str]:
    """The paths of the values that `read_metadata` left out, in order. place: of the item itself."""
    for tag, element in metadata.items():
        if "BulkDataURI" in element:
            yield f"{place}{tag}"
        elif element["vr"] == "SQ":  # as deep as the reader goes, no deeper
            for index, item in enumerate(element.get("Value", ())):
                yield from bulkdata_paths(item, f"{place}{tag}/{index}/")


def find_bulkdata(file: Readable, path: str, limits: Limits | None = None) -> tuple[int, int]:
    """Where the value of an attribute lies: (offset, length). path: as `read_metadata` writes it.

    Offsets are those of `open_data_set(file, ...).source`, which is the file itself unless the data set is deflated;
    the value is as stored, big endian in a big endian file. Raises Malformed for what is no path, NotFound, and
    NotAcceptable for Pixel Data in several fragments: they are given out by frame.
    """
    if len(path) > _MOST_PATH_CHARACTERS or not _PATH.fullmatch(path):
        raise Malformed("bulk data", "a path is tags and item numbers between slashes")
    limits = limits or Limits()
    data_set = open_data_set(file, limits)
    offset, length = _find(data_set.reader, path.split("/"))
    if length != UNDEFINED:
        return offset, max(0, min(length, data_set.source.size - offset))
    source = data_set.source
    fragments = read_fragments(source, offset, source.size, data_set.syntax.little_endian, limits)
    if len(fragments.items) != 2:
        raise NotAcceptable("bulk data", "Pixel Data in several fragments: ask for its frames")
    offset, length = fragments.items[1]
    return offset, max(0, min(length, source.size - offset))


def _find(reader: ElementReader, path: list[str]) -> tuple[int, int]:
    """Offset and length of the value, from its event."""
    tags = [int(tag, 16) for tag in path[::2]]
    wanted = [int(index) for index in path[1::2]]
    last = len(wanted)
    matched = 0  # levels of the path that the walk is inside of
    index = [-1] * last  # by level, the item of the wanted sequence that was opened last
    watched = [False] * last  # by level, is the open sequence the wanted one
    for level, tag, vr, offset, length in reader:
        if tag == ITEM:
            outer = level - 1
            if outer <= matched and outer < last and watched[outer]:
                index[outer] += 1
                matched = level if index[outer] == wanted[outer] else outer
        elif level <= matched:
            matched = level
            if level == last and tag == tags[last] and vr != "SQ":
                return offset, length
            if level < last:
                watched[level] = tag == tags[level] and vr == "SQ"
                index[level] = -1
    raise NotFound("bulk data", "no such attribute in this instance")
