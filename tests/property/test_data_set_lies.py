"""Data sets by their grammar, with lengths that lie: read in bounded work, and a lie spoils no more than it must.

A tree of sequences, items, values and fragments is drawn and written in one of the three ways; then some of its lengths
are made wrong: negative, endless, one too many, odd, longer than everything.
"""

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1]))
from fuzz.targets import LIMITS, Counting, a_file

from drimbox.dicom.part10 import LONG_FORM, build_preface
from drimbox.dicom.scan import Summary, scan
from drimbox.errors import DrimboxError

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
UNDEFINED = 0xFFFFFFFF
LIES = [0, 1, 2, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFD, 0xFFFFFFFE, UNDEFINED]


@dataclass
class Element:
    """A value, or a sequence when `items` is not None, each item a list of elements."""

    tag: int
    vr: str
    value: bytes = b""
    items: list[list["Element"]] | None = None
    undefined: bool = False


@dataclass
class Written:
    """Bytes, and where their length fields are: offset and size of each."""

    syntax: str
    data: bytearray = field(default_factory=bytearray)
    lengths: list[tuple[int, int]] = field(default_factory=list)

    @property
    def order(self) -> str:
        return ">" if self.syntax == BIG else "<"

    def header(self, tag: int, vr: str, length: int) -> None:
        self.data += struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if vr == "" or self.syntax == IMPLICIT:
            self.length(length, 4)
        elif vr.encode() in LONG_FORM:
            self.data += vr.encode() + b"\0\0"
            self.length(length, 4)
        else:
            self.data += vr.encode()
            self.length(length, 2)

    def length(self, length: int, size: int) -> None:
        self.lengths.append((len(self.data), size))
        self.data += struct.pack(self.order + ("I" if size == 4 else "H"), length)

    def element(self, each: Element) -> None:
        if each.items is None:
            self.header(each.tag, each.vr, len(each.value))
            self.data += each.value
            return
        inside = Written(self.syntax)
        for item in each.items:
            content = Written(self.syntax)
            for child in item:
                content.element(child)
            if each.undefined:
                inside.header(0xFFFEE000, "", UNDEFINED)
                inside.append(content)
                inside.header(0xFFFEE00D, "", 0)
            else:
                inside.header(0xFFFEE000, "", len(content.data))
                inside.append(content)
        self.header(each.tag, each.vr, UNDEFINED if each.undefined else len(inside.data))
        self.append(inside)
        if each.undefined:
            self.header(0xFFFEE0DD, "", 0)

    def append(self, other: "Written") -> None:
        self.lengths += [(len(self.data) + offset, size) for offset, size in other.lengths]
        self.data += other.data

    def lie(self, place: tuple[int, int], length: int) -> None:
        offset, size = place
        self.data[offset : offset + size] = (length & (2 ** (8 * size) - 1)).to_bytes(
            size, "big" if self.syntax == BIG else "little"
        )


texts = st.sampled_from([b"", b"AB", b"ABCD", b"1.2.3\0", bytes(40)])
values = st.builds(
    Element,
    st.sampled_from([0x00080100, 0x00080102, 0x00080104, 0x00091010, 0x00100010, 0x00104000, 0x00280010, 0x0040A30A]),
    st.sampled_from(["LO", "UN", "OB", "UT", "PN", "US", "ZZ"]),
    texts,
)


def sequences(children: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
    return st.builds(
        Element,
        st.sampled_from([0x00081140, 0x00091011, 0x0040A730, 0x00400275]),
        st.sampled_from(["SQ", "SQ", "UN"]),
        st.just(b""),
        st.lists(st.lists(children, max_size=4), max_size=3),
        st.booleans(),
    )


trees = st.recursive(values, sequences, max_leaves=12)


def head(syntax: str) -> list[Element]:
    return [
        Element(0x00080016, "UI", CT.encode() + b"\0"),
        Element(0x00080018, "UI", b"1.2.3\0"),
        Element(0x00100020, "LO", b"PATIENT1"),
    ]


TAIL = [
    Element(0x0020000D, "UI", b"1.2\0"),
    Element(0x0020000E, "UI", b"1.2.2\0"),
    Element(0x00200011, "IS", b"12"),
    Element(0x00280010, "US", b"\1\1"),
]


def summary(written: Written, syntax: str) -> Summary:
    content = build_preface(CT, "1.2.3", syntax) + bytes(written.data)
    return scan(Counting(content), LIMITS)


def told(found: Summary) -> tuple[Any, ...]:
    return found.ref, found.study["00100020"], found.series["00200011"], found.instance["00280010"]


def drawn_lies(data: st.DataObject, written: Written, places: list[tuple[int, int]]) -> None:
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        offset, size = place
        true = int.from_bytes(written.data[offset : offset + size], "big" if written.syntax == BIG else "little")
        nearby = [true + 1, true - 1, true + 2, true * 2, true + 100]
        written.lie(place, data.draw(st.sampled_from([*nearby, *LIES])))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(trees, max_size=5), st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.data())
def test_lengths_that_lie_are_read_or_refused_in_bounded_work(
    middle: list[Element], syntax: str, data: st.DataObject
) -> None:
    written = Written(syntax)
    for each in [*head(syntax), *middle, *TAIL]:
        written.element(each)
    drawn_lies(data, written, written.lengths)
    content = build_preface(CT, "1.2.3", syntax) + bytes(written.data)
    a_file(content)
    source = Counting(content)
    try:
        scan(source, LIMITS)
        event("read")
    except DrimboxError:
        event("refused")
    assert source.calls <= 40 + len(content) // 4, "a read for each of the smallest elements, no more"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(trees, max_size=4), min_size=1, max_size=3), st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.data()
)
def test_a_lie_inside_a_sequence_of_known_length_spoils_nothing_outside(
    items: list[list[Element]], syntax: str, data: st.DataObject
) -> None:
    written = Written(syntax)
    for each in head(syntax):
        written.element(each)
    start = len(written.lengths)
    written.element(Element(0x00101002, "SQ", items=items))
    inside = written.lengths[start + 1 :]  # the first is the sequence's own
    assume(inside)
    for each in TAIL:
        written.element(each)
    honest = told(summary(written, syntax))
    drawn_lies(data, written, inside)
    assert told(summary(written, syntax)) == honest


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=20).map(lambda b: b + b"\0" * (len(b) % 2)), max_size=8), st.data())
def test_fragments_that_lie_give_no_byte_outside_the_file(fragments: list[bytes], data: st.DataObject) -> None:
    written = Written(EXPLICIT)
    for each in [*head(EXPLICIT), *TAIL, Element(0x00280008, "IS", b"3 ")]:
        written.element(each)
    written.header(0x7FE00010, "OB", UNDEFINED)
    first = len(written.lengths)
    for fragment in [b"", *fragments]:
        written.header(0xFFFEE000, "", len(fragment))
        written.data += fragment
    written.header(0xFFFEE0DD, "", 0)
    drawn_lies(data, written, written.lengths[first:])
    a_file(build_preface(CT, "1.2.3", JPEG) + bytes(written.data))


@given(st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_without_a_lie_all_is_told(syntax: str) -> None:
    written = Written(syntax)
    for each in [*head(syntax), *TAIL]:
        written.element(each)
    found = summary(written, syntax)
    assert (found.ref.study_uid, found.ref.series_uid, found.ref.sop_uid) == ("1.2", "1.2.2", "1.2.3")
    assert told(found)[1:] == (
        {"vr": "LO", "Value": ["PATIENT1"]},
        {"vr": "IS", "Value": [12]},
        {"vr": "US", "Value": [257]},
    )
