"""Scanning instances built by hand: what is found, what is forgiven, what is refused, and at what cost."""

import struct
import tracemalloc
import zlib
from typing import Any

import pytest

from drimbox.dicom.part10 import InMemory, Readable, build_preface
from drimbox.dicom.scan import INDEXED, Limits, Summary, scan
from drimbox.errors import Malformed, TooLarge
from drimbox.model import InstanceRef, Span

IMPLICIT, EXPLICIT, BIG, DEFLATED, J2K, JPEG, RLE, MPEG = (
    f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2", ".1.99", ".4.90", ".4.50", ".5", ".4.102")
)
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Explicit VR little endian; `length` to lie about it."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(*elements: bytes, undefined: bool = False) -> bytes:
    content = b"".join(elements)
    if undefined:
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


END = b"\xfe\xff\xdd\xe0\0\0\0\0"
NAMES = element(0x00080016, "UI", CT.encode() + b"\0") + element(0x00080018, "UI", b"1.2.3\0")
STUDY = element(0x0020000D, "UI", b"1.2\0") + element(0x0020000E, "UI", b"1.2.2\0")


def image(
    rows: int, columns: int, bits: int = 8, frames: int | None = None, samples: int = 1, kind: bytes = b""
) -> bytes:
    return b"".join(
        (
            element(0x00280002, "US", struct.pack("<H", samples)),
            element(0x00280004, "CS", kind or b"MONOCHROME2 "),
            element(0x00280008, "IS", b"%d " % frames) if frames is not None else b"",
            element(0x00280010, "US", struct.pack("<H", rows)),
            element(0x00280011, "US", struct.pack("<H", columns)),
            element(0x00280100, "US", struct.pack("<H", bits)),
        )
    )


def fragments(*values: bytes, table: bytes = b"", closed: bool = True) -> bytes:
    return element(0x7FE00010, "OB", b"", UNDEFINED) + b"".join(map(item, (table, *values))) + (END if closed else b"")


def scanned(data_set: bytes, syntax: str = EXPLICIT, limits: Limits | None = None) -> Summary:
    return scan(InMemory(build_preface(CT, "1.2.3", syntax) + data_set), limits)


def frames(summary: Summary, content: bytes, syntax: str) -> list[tuple[int, bytes]]:
    """The bytes each span points at, CRC checked."""
    content = build_preface(CT, "1.2.3", syntax) + content
    found = [(span.frame_number, content[span.offset : span.offset + span.length]) for span in summary.spans]
    assert [zlib.crc32(value) for _, value in found] == [span.crc32 for span in summary.spans]
    return found


def test_an_image_is_summed_up() -> None:
    header = NAMES + element(0x00080060, "CS", b"CT") + element(0x00100010, "PN", b"Doe^Jane") + STUDY + image(2, 3)
    summary = scanned(header + element(0x7FE00010, "OB", b"abcdef"))
    offset = len(build_preface(CT, "1.2.3", EXPLICIT))
    assert summary == Summary(
        ref=InstanceRef("1.2", "1.2.2", "1.2.3"),
        sop_class_uid=CT,
        transfer_syntax=EXPLICIT,
        data_set_offset=offset,
        pixel_data_offset=offset + len(header),
        number_of_frames=1,
        spans=(Span(1, offset + len(header) + 12, 6, zlib.crc32(b"abcdef")),),
        study={
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
            "0020000D": {"vr": "UI", "Value": ["1.2"]},
        },
        series={"00080060": {"vr": "CS", "Value": ["CT"]}, "0020000E": {"vr": "UI", "Value": ["1.2.2"]}},
        instance={
            "00080016": {"vr": "UI", "Value": [CT]},
            "00080018": {"vr": "UI", "Value": ["1.2.3"]},
            "00280010": {"vr": "US", "Value": [2]},
            "00280011": {"vr": "US", "Value": [3]},
            "00280100": {"vr": "US", "Value": [8]},
        },
    )


def test_what_is_no_image_has_no_frame() -> None:
    summary = scanned(NAMES + STUDY)
    assert (summary.number_of_frames, summary.spans, summary.pixel_data_offset) == (0, (), None)


def test_every_answer_the_standard_requires_is_indexed() -> None:
    """PS3.18 tables 10.6.3-3 to 10.6.3-5, without what is counted or computed."""
    study = (
        "00080005 00080020 00080030 00080050 00080090 00080201 00100010 00100020 00100030 00100040 0020000D 00200010"
    )
    series = "00080005 00080060 00080201 0008103E 0020000E 00200011 00400244 00400245 00400275"
    instance = "00080005 00080016 00080018 00080201 00200013 00280008 00280010 00280011 00280100"
    assert set(study.split()) <= INDEXED["study"].keys()
    assert set(series.split()) <= INDEXED["series"].keys()
    assert set(instance.split()) <= INDEXED["instance"].keys()


@pytest.mark.parametrize("undefined", [True, False])
def test_requests_are_indexed_with_their_two_identifiers(undefined: bool) -> None:
    inner = element(0x00400007, "LO", b"x ") + element(0x00400009, "SH", b"SPS1") + element(0x00401001, "SH", b"RP")
    content = item(inner, undefined=undefined) + item(undefined=undefined) + (END if undefined else b"")
    request = element(0x00400275, "SQ", content, UNDEFINED if undefined else None)
    other = element(0x00400260, "SQ", item(element(0x00400009, "SH", b"NO")))
    assert scanned(NAMES + STUDY + other + request).series["00400275"] == {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH", "Value": ["RP"]}}, {}],
    }


def test_text_is_unicode_and_says_so() -> None:
    latin = element(0x00080005, "CS", b"ISO_IR 100") + NAMES + element(0x00100010, "PN", "Lefèvre ".encode("latin-1"))
    summary = scanned(latin + STUDY)
    assert summary.study["00100010"]["Value"] == [{"Alphabetic": "Lefèvre"}]
    for level in (summary.study, summary.series, summary.instance):
        assert level["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}


# --- Frames --------------------------------------------------------------------------------------------------------


def found_frames(syntax: str, geometry: bytes, pixels: bytes) -> list[tuple[int, bytes]]:
    content = NAMES + STUDY + geometry + pixels
    return frames(scanned(content, syntax), content, syntax)


NATIVE: list[tuple[bytes, str, bytes, list[bytes]]] = [
    (image(1, 2, frames=3), "OB", b"aabbcc", [b"aa", b"bb", b"cc"]),
    (image(1, 2, bits=16), "OW", b"aabb", [b"aabb"]),
    (image(1, 2, samples=3, kind=b"RGB "), "OB", b"abcdef", [b"abcdef"]),
    (image(1, 2, samples=3, kind=b"YBR_FULL_422"), "OB", b"abcd", [b"abcd"]),
    (image(4, 4, bits=1, frames=2), "OB", b"aabb", [b"aa", b"bb"]),
    (image(3, 3, bits=1), "OB", b"ab", [b"ab"]),
    (image(3, 3, bits=1, frames=2), "OB", b"abcd", []),  # frame 2 begins inside a byte
    (image(1, 2, frames=3), "OB", b"aabbc\0", [b"aa", b"bb", b"c\0"]),
    (image(1, 2, frames=3), "OB", b"aabb", [b"aa", b"bb"]),  # short
    (image(1, 2), "OB", b"aabb", [b"aa"]),  # surplus
    (image(1, 2, frames=0), "OB", b"aa", [b"aa"]),
    (image(0, 2), "OB", b"aa", []),
    (image(2, 2), "OB", b"", []),
    (image(65535, 65535, bits=64, frames=2**31 - 1, samples=3), "OB", b"x" * 100, []),
]


@pytest.mark.parametrize(("geometry", "vr", "value", "expected"), NATIVE)
def test_native_frames_are_cut_where_they_are_whole(
    geometry: bytes, vr: str, value: bytes, expected: list[bytes]
) -> None:
    found = found_frames(EXPLICIT, geometry, element(0x7FE00010, vr, value))
    assert found == list(enumerate(expected, 1))


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
def test_float_pixels_have_their_own_size(tag: int, vr: str, size: int) -> None:
    value = bytes(range(2 * size))
    assert found_frames(EXPLICIT, image(1, 1, frames=2), element(tag, vr, value)) == [
        (1, value[:size]),
        (2, value[size:]),
    ]


SOI = b"\xff\xd8\xff\xe0"
SOC = b"\xff\x4f\xff\x51"
FRAGMENTED: list[tuple[str, str, int, bytes, list[tuple[int, bytes]]]] = [
    ("one frame in two fragments", J2K, 1, fragments(SOC + b"aa", b"bb"), [(1, SOC + b"aa"), (1, b"bb")]),
    ("a fragment a frame", RLE, 2, fragments(b"aa", b"bb"), [(1, b"aa"), (2, b"bb")]),
    (
        "a basic table, two fragments a frame",
        J2K, 2,
        fragments(b"aa", b"bb", b"cccc", b"dd", table=struct.pack("<2I", 0, 20)),
        [(1, b"aa"), (1, b"bb"), (2, b"cccc"), (2, b"dd")],
    ),
    (
        "a basic table that lies",
        J2K, 2,
        fragments(b"aa", b"bb", table=struct.pack("<2I", 0, 11)),
        [(1, b"aa"), (2, b"bb")],
    ),
    ("a basic table that is short", J2K, 2, fragments(b"aa", b"bb", table=bytes(4)), [(1, b"aa"), (2, b"bb")]),
    (
        "a table that goes back, start markers instead",
        JPEG, 2,
        fragments(SOI + b"aa", b"bb", SOI + b"cc", table=struct.pack("<2I", 24, 0)),
        [(1, SOI + b"aa"), (1, b"bb"), (2, SOI + b"cc")],
    ),
    ("no table, markers of too many frames", JPEG, 2, fragments(SOI, SOI, SOI), []),
    ("no table, no markers", RLE, 2, fragments(b"aa", b"bb", b"cc"), []),
    (
        "an extended table",
        J2K, 2,
        element(0x7FE00001, "OV", struct.pack("<2Q", 0, 20))
        + element(0x7FE00002, "OV", struct.pack("<2Q", 4, 4))
        + fragments(b"aa", b"bb", b"cccc"),
        [(1, b"aa"), (1, b"bb"), (2, b"cccc")],
    ),
    ("no delimiter", J2K, 2, fragments(b"aa", b"bb", closed=False), [(1, b"aa"), (2, b"bb")]),
    (
        "cut between frames",
        J2K, 3,
        fragments(SOC + b"aa", SOC + b"bb", closed=False),
        [(1, SOC + b"aa"), (2, SOC + b"bb")],
    ),
    ("cut inside a frame", J2K, 2, fragments(b"aa", b"bbbb", closed=False)[:-2], [(1, b"aa")]),
    ("a delimiter inside a fragment", J2K, 1, fragments(END + b"aa"), [(1, END + b"aa")]),
    ("video", MPEG, 30, fragments(b"aa", b"bb"), [(1, b"aa"), (1, b"bb")]),
    ("nothing", J2K, 1, fragments(), []),
    ("no table either", J2K, 1, element(0x7FE00010, "OB", END, UNDEFINED), []),
    ("native under a compressed name", J2K, 1, element(0x7FE00010, "OB", b"aa"), []),
    ("compressed under a native name", EXPLICIT, 1, fragments(b"aa"), []),
    ("a private syntax", "1.2.826.0.1.3680043.1", 1, fragments(b"aa"), [(1, b"aa")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("syntax", "number", "pixels", "expected"), [row[1:] for row in FRAGMENTED], ids=[row[0] for row in FRAGMENTED]
)
def test_fragments_are_given_to_their_frames(
    syntax: str, number: int, pixels: bytes, expected: list[tuple[int, bytes]]
) -> None:
    assert found_frames(syntax, image(1, 2, frames=number), pixels) == expected


# --- What is forgiven ----------------------------------------------------------------------------------------------

SEQUENCE = 0x00081140
INNER = element(0x00081150, "UI", b"1.2 ")
FORGIVEN: list[tuple[str, bytes]] = [
    ("trailing zeros", NAMES + STUDY + bytes(500)),
    ("trailing padding", NAMES + STUDY + element(0xFFFCFFFC, "OB", bytes(40))),
    ("a group length", element(0x00080000, "UL", bytes(4)) + NAMES + STUDY),
    ("an odd length", NAMES + element(0x00081030, "LO", b"odd") + STUDY),
    ("a wrong VR", NAMES + element(0x00081030, "US", b"text") + STUDY),
    ("a VR of two capitals that is unknown", NAMES + element(0x00091001, "ZZ", b"\2\0\0\0ab", 0) + STUDY),
    ("an element in implicit VR", NAMES + implicit(0x00081030, b"text") + STUDY),
    ("a delimited sequence of a sized item", NAMES + element(SEQUENCE, "SQ", item(INNER), UNDEFINED) + END + STUDY),
    (
        "an item closed by its sequence",
        NAMES + element(SEQUENCE, "SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + INNER, UNDEFINED) + END + STUDY,
    ),
    ("a delimiter too many", NAMES + element(SEQUENCE, "SQ", item(INNER) + END) + END + STUDY),
    (
        "UN of undefined length",
        NAMES + element(0x00091002, "UN", item(implicit(0x00081150, b"1.2 ")), UNDEFINED) + END + STUDY,
    ),
    ("explicit VR inside UN", NAMES + element(0x00091002, "UN", item(INNER), UNDEFINED) + END + STUDY),
    ("garbage in a sequence of known length", NAMES + element(SEQUENCE, "SQ", b"garbage, garbage") + STUDY),
    ("an item longer than its sequence", NAMES + element(SEQUENCE, "SQ", item(INNER)[:-2]) + STUDY),
    ("a value longer than its item", NAMES + element(SEQUENCE, "SQ", item(INNER[:-2])) + STUDY),
    ("garbage after the pixels", NAMES + STUDY + image(1, 2) + element(0x7FE00010, "OB", b"ab") + b"garbage " * 9),
    ("UIDs padded with spaces", NAMES.replace(b"1.2.3\0", b"1.2.3 ") + STUDY),
]


@pytest.mark.parametrize("data_set", [row[1] for row in FORGIVEN], ids=[row[0] for row in FORGIVEN])
def test_faults_seen_in_service_are_forgiven(data_set: bytes) -> None:
    assert scanned(data_set).ref == InstanceRef("1.2", "1.2.2", "1.2.3")


def test_known_attributes_written_as_un_are_understood() -> None:
    header = NAMES + element(0x00100010, "UN", b"Doe^Jane") + STUDY + element(0x00280010, "UN", b"\x02\0")
    summary = scanned(header)
    assert summary.study["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert summary.instance["00280010"]["Value"] == [2]


IMPLICIT_NAMES = (
    implicit(0x00080016, CT.encode() + b"\0")
    + implicit(0x00080018, b"1.2.3\0")
    + implicit(0x0020000D, b"1.2\0")
    + implicit(0x0020000E, b"1.2.2\0")
)


@pytest.mark.parametrize(
    ("content", "syntax"),
    [(IMPLICIT_NAMES, IMPLICIT), (IMPLICIT_NAMES, EXPLICIT), (NAMES + STUDY, IMPLICIT), (IMPLICIT_NAMES, J2K)],
)
def test_the_first_element_tells_whether_vrs_are_written(content: bytes, syntax: str) -> None:
    assert scanned(content, syntax).ref == InstanceRef("1.2", "1.2.2", "1.2.3")


def test_big_endian_is_read() -> None:
    def big(tag: int, vr: str, value: bytes) -> bytes:
        return struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value

    names = big(0x00080016, "UI", CT.encode() + b"\0") + big(0x00080018, "UI", b"1.2.3\0")
    study = big(0x0020000D, "UI", b"1.2\0") + big(0x0020000E, "UI", b"1.2.2\0") + big(0x00280010, "US", b"\0\x05")
    summary = scanned(names + study, BIG)
    assert summary.ref == InstanceRef("1.2", "1.2.2", "1.2.3")
    assert summary.instance["00280010"]["Value"] == [5]


def deflated(content: bytes) -> bytes:
    squeeze = zlib.compressobj(9, wbits=-15)
    return squeeze.compress(content) + squeeze.flush()


def test_deflated_data_set_is_read_and_has_no_offsets() -> None:
    content = NAMES + STUDY + image(2, 2) + element(0x7FE00010, "OB", b"abcd")
    summary = scanned(deflated(content), DEFLATED)
    assert summary.ref == InstanceRef("1.2", "1.2.2", "1.2.3")
    assert (summary.spans, summary.pixel_data_offset, summary.number_of_frames) == ((), None, 1)


@pytest.mark.parametrize(
    ("tag", "vr", "value", "expected"),
    [
        (0x00200011, "IS", b"1.5 ", {"vr": "IS", "Value": ["1.5"]}),
        (0x00200011, "IS", b"1_0 ", {"vr": "IS", "Value": ["1_0"]}),
        (0x00200011, "IS", b"9" * 20, {"vr": "IS", "Value": ["9" * 20]}),
        (0x00200011, "IS", b"\xff\xfe", {"vr": "IS", "Value": ["ÿþ"]}),
        (0x00200011, "IS", b"", {"vr": "IS"}),
        (0x00280008, "IS", b"1A", {"vr": "IS", "Value": ["1A"]}),
    ],
)
def test_values_that_are_none_do_not_refuse_the_instance(tag: int, vr: str, value: bytes, expected: Any) -> None:
    summary = scanned(NAMES + STUDY + element(tag, vr, value))
    assert (summary.series | summary.instance)[f"{tag:08X}"] == expected


# --- What is refused -----------------------------------------------------------------------------------------------


def nested(depth: int, undefined: bool) -> bytes:
    if undefined:
        opening = element(SEQUENCE, "SQ", b"", UNDEFINED) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        return opening * depth + (b"\xfe\xff\x0d\xe0\0\0\0\0" + END) * depth
    content = b""
    for _ in range(depth):
        content = element(SEQUENCE, "SQ", item(content))
    return content


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_nest_64_deep_and_no_deeper(undefined: bool) -> None:
    assert scanned(NAMES + nested(63, undefined) + STUDY)
    for depth in (65, 1000):
        with pytest.raises(TooLarge):
            scanned(NAMES + nested(depth, undefined) + STUDY)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(TooLarge):
        scanned(NAMES + nested(100_000, True) + STUDY)


@pytest.mark.parametrize("missing", [0x00080016, 0x00080018, 0x0020000D, 0x0020000E])
@pytest.mark.parametrize("instead", [None, b"", b"../x", b"1" * 66, b"1.2\\1.3 ", b"1.2\r\nX:"])
def test_an_instance_without_its_four_uids_is_refused(missing: int, instead: bytes | None) -> None:
    uids = {0x00080016: CT.encode(), 0x00080018: b"1.2.3", 0x0020000D: b"1.2", 0x0020000E: b"1.2.2"}
    del uids[missing]
    if instead is not None:
        uids[missing] = instead
    with pytest.raises(Malformed) as refused:
        scanned(b"".join(element(tag, "UI", value) for tag, value in sorted(uids.items())))
    assert "../x" not in str(refused.value)


REFUSED: list[tuple[str, bytes]] = [
    ("a value past the end", NAMES + STUDY + element(0x00400007, "LO", b"abc", 4)),
    ("a length of 4 GiB", NAMES + STUDY + element(0x00091001, "OB", b"abc", 0xFFFFFFFE)),
    ("cut in a header", NAMES + STUDY + element(0x00400007, "LO", b"")[:5]),
    ("cut in a sequence", NAMES + STUDY + element(SEQUENCE, "SQ", item(INNER)[:-2], UNDEFINED)),
    ("text of undefined length", NAMES + STUDY + element(0x00091001, "UT", b"abc", UNDEFINED)),
    ("an item outside", NAMES + STUDY + item(INNER)),
    ("a command", NAMES + STUDY + element(0x00000100, "US", b"\x01\0")),
    ("nothing", b""),
]


@pytest.mark.parametrize("data_set", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_header_that_is_cut_is_refused(data_set: bytes) -> None:
    with pytest.raises(Malformed):
        scanned(data_set)


def test_elements_are_counted() -> None:
    with pytest.raises(TooLarge):
        scanned(NAMES + STUDY + element(0x00400007, "LO", b"") * 100, limits=Limits(max_elements=50))
    with pytest.raises(TooLarge):
        scanned(NAMES + element(SEQUENCE, "SQ", item() * 100) + STUDY, limits=Limits(max_elements=50))


def test_millions_of_empty_fragments_are_refused() -> None:
    bomb = element(0x7FE00010, "OB", b"", UNDEFINED) + item() * 1_000_000 + END
    with pytest.raises(TooLarge):
        scanned(NAMES + STUDY + image(1, 1) + bomb, J2K)


def test_millions_of_frames_are_refused() -> None:
    pixels = element(0x7FE00010, "OB", bytes(600_000))
    with pytest.raises(TooLarge):
        scanned(NAMES + STUDY + image(1, 1, frames=600_000) + pixels)


def test_a_deflate_bomb_is_refused_in_little_memory() -> None:
    squeeze = zlib.compressobj(9, wbits=-15)
    bomb = squeeze.compress(NAMES + STUDY + element(0x7FE00010, "OB", b"", 2**30))
    bomb += b"".join(squeeze.compress(bytes(2**20)) for _ in range(200)) + squeeze.flush()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            scanned(bomb, DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, deflated(NAMES + STUDY)[:-20]])
def test_a_deflated_data_set_that_is_broken_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        scanned(content, DEFLATED)


class Sparse(Readable):
    """Bytes with a hole of zeros after them: a file of any size in no memory. Counts what is read."""

    def __init__(self, head: bytes, size: int) -> None:
        self.head, self.size, self.read = head, size, 0

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        self.read += length
        part = self.head[offset : offset + length]
        return part + bytes(length - len(part))


def test_a_large_value_of_the_header_is_not_read() -> None:
    head = build_preface(CT, "1.2.3", EXPLICIT) + NAMES + STUDY + element(0x00420011, "OB", b"", 2**31)
    source = Sparse(head, len(head) + 2**31)
    assert scan(source).number_of_frames == 0
    assert source.read < 2**18
