"""The multipart reader: bodies worked by hand, hostile bodies, and any way the network may cut them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.parts import End, Event, Limits, PartBegin, PartData, PartEnd, PartReader, read_boundary
from drimbox.errors import DrimboxError, Malformed, TooLarge

Part = tuple[dict[str, str], bytes]
DEFAULT = Limits()


def read(body: bytes, boundary: bytes = b"b", limits: Limits = DEFAULT, cuts: tuple[int, ...] = ()) -> list[Part]:
    """The parts of a body, fed in pieces cut at `cuts`."""
    reader = PartReader(boundary, limits)
    events: list[Event] = []
    edges = [0, *sorted(cuts), len(body)]
    for start, stop in pairwise(edges):
        events += reader.feed(body[start:stop])
    reader.close()
    parts: list[tuple[dict[str, str], bytearray]] = []
    ended = 0
    for event in events:
        match event:
            case PartBegin(headers):
                assert ended == len(parts)
                parts.append((dict(headers), bytearray()))
            case PartData(view):
                parts[-1][1].extend(view)
            case PartEnd():
                ended += 1
    assert ended == len(parts)
    assert [event for event in events if isinstance(event, End)] == [events[-1]]
    return [(headers, bytes(content)) for headers, content in parts]


TWO = b"--b\r\nContent-Type: application/dicom\r\nX:y \r\n\r\nfirst\r\n--b\r\n\r\n\r\n-\r\n--\r\n--a\r\n--b--\r\n"
TWO_PARTS = [({"content-type": "application/dicom", "x": "y"}, b"first"), ({}, b"\r\n-\r\n--\r\n--a")]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (TWO, TWO_PARTS),
        (b"\r\n" + TWO, TWO_PARTS),
        (b"to be ignored\r\n" + TWO + b"to be ignored too", TWO_PARTS),
        (TWO.removesuffix(b"\r\n"), TWO_PARTS),
        (b"--b--", []),
        (b"--b\r\nA: 1\r\n\r\n\r\n--b--", [({"a": "1"}, b"")]),
        (b"--b\r\n\r\n\r\r\n\r\n--b--", [({}, b"\r\r\n")]),
        (b"--b\r\n\r\n--b\r\n--b--", [({}, b"--b")]),
    ],
)
def test_bodies_worked_by_hand(body: bytes, parts: list[Part]) -> None:
    assert read(body) == parts
    assert read(body, cuts=tuple(range(1, len(body)))) == parts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n\r\nfirst",
        b"--b\r\n\r\nfirst\r\n--b",
        b"--b\r\n\r\nfirst\r\n--b-",
        TWO.removesuffix(b"--\r\n"),
        b"--c\r\n\r\nfirst\r\n--c--",
        b"--b\r\n\r\nfirst\r\n--b2\r\n\r\nnested\r\n--b--",
        b"--b \r\n\r\nfirst\r\n--b--",
        b"--b\n\nfirst\n--b--\n",
        b"--b\r\nno colon\r\n\r\nx\r\n--b--",
        b"--b\r\nA : 1\r\n\r\nx\r\n--b--",
        b"--b\r\nA: 1\r\n folded\r\n\r\nx\r\n--b--",
        b"--b\r\nA: 1\r\na: 2\r\n\r\nx\r\n--b--",
        b"--b\r\nA: 1\x00\r\n\r\nx\r\n--b--",
        b"--b\r\nA: 1\nB: 2\r\n\r\nx\r\n--b--",
    ],
)
def test_what_is_not_multipart_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)
    with pytest.raises(Malformed):
        read(body, cuts=tuple(range(1, len(body))))


SMALL = Limits(parts=2, part_bytes=10, header_bytes=40, headers=2)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (b"--b\r\n\r\n0123456789\r\n--b--", True),
        (b"--b\r\n\r\n01234567890\r\n--b--", False),
        (b"--b\r\n\r\n" + b"0" * 10_000, False),
        (b"--b\r\n\r\n\r\n" * 2 + b"--b--", True),
        (b"--b\r\n\r\n\r\n" * 3 + b"--b--", False),
        (b"--b\r\nA: 1\r\nB: 2\r\n\r\n\r\n--b--", True),
        (b"--b\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n\r\n--b--", False),
        (b"--b\r\nA: " + b"1" * 30 + b"\r\n\r\n\r\n--b--", True),
        (b"--b\r\nA: " + b"1" * 50 + b"\r\n\r\n\r\n--b--", False),
        (b"--b\r\nA: " + b"1" * 1_000_000, False),
        (b"x" * 70_000 + b"\r\n--b--", False),
        (b"--b--" + b"x" * 70_000, False),
    ],
)
def test_limits(body: bytes, fits: bool) -> None:
    for cuts in ((), tuple(range(0, len(body), 13))):
        if fits:
            read(body, limits=SMALL, cuts=cuts)
        else:
            with pytest.raises(TooLarge):
                read(body, limits=SMALL, cuts=cuts)


boundaries = st.text("abZ09'()+_,./:=?-", min_size=1, max_size=70).map(lambda text: text.encode())
near_delimiters = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"b", b"\r\n--", b"x", b"\r\n--b"]), max_size=12)


@given(st.data(), boundaries, st.lists(st.binary(max_size=40) | near_delimiters.map(b"".join), max_size=5))
def test_any_cut_gives_the_same_parts(data: st.DataObject, boundary: bytes, contents: list[bytes]) -> None:
    delimiter = b"\r\n--" + boundary
    contents = [content for content in contents if delimiter not in b"\r\n" + content + b"\r\n--"]
    body = b"".join(b"--%b\r\nI: %d\r\n\r\n%b\r\n" % (boundary, i, content) for i, content in enumerate(contents))
    body += b"--%b--\r\n" % boundary
    expected = [({"i": str(i)}, content) for i, content in enumerate(contents)]
    cuts = tuple(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))
    assert read(body, boundary, cuts=cuts) == expected


@given(st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"A: 1", b":", b"x", b"\r", b"\r\n--b\r\n\r\n", b"\x00"])))
def test_any_bytes_are_read_or_refused_alike_however_cut(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    outcomes = []
    for cuts in ((), tuple(range(1, len(body)))):
        try:
            outcomes.append(read(body, cuts=cuts))
        except DrimboxError as error:
            outcomes.append([({"refused": type(error).__name__}, b"")])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('Multipart/Related;BOUNDARY="a b:c"; Type=application/dicom', b"a b:c"),
        (
            'multipart/related;start="<4d39@resteasy-multipart>";transfer-syntax=1.2.840.10008.1.2.1;'
            'type="application/dicom"; boundary=7544a517-4f5a-4007-9762-690998213829',
            b"7544a517-4f5a-4007-9762-690998213829",
        ),
        ("multipart/related; boundary=abc", b"abc"),
        ("multipart/related; boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_boundary_of_a_content_type(content_type: str, boundary: bytes) -> None:
    assert read_boundary(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/dicom",
        "multipart/form-data; boundary=abc",
        "multipart/related",
        "multipart/related; boundary=",
        'multipart/related; boundary=""',
        'multipart/related; boundary="abc "',
        'multipart/related; boundary="abc',
        "multipart/related; boundary=a; boundary=b",
        "multipart/related; boundary=" + "a" * 201,
        "multipart/related; boundary=é",
        "multipart/related; boundary=abc; type=text/html",
        "multipart/related; boundary=abc" + ";" * 70_000,
        "multipart/related; boundary=abc, multipart/related; boundary=d",
    ],
)
def test_a_content_type_without_a_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(Malformed):
        read_boundary(content_type)
