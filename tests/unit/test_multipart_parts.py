"""The bytes of a multipart body, and what a frame list or a byte range means."""

import pytest

from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.ranges import read_range
from drimbox.dicomweb.wado import read_frame_list
from drimbox.errors import Malformed

PARTS = Multipart("0123456789abcdef", "application/dicom", "1.2.840.10008.1.2.1")


def test_a_body_of_two_parts_is_written_as_rfc_2046_says() -> None:
    body = b"".join(
        (
            PARTS.opening("1.2.840.10008.1.2.1", "http://box.example/a", 3, first=True) + b"one",
            PARTS.opening("1.2.840.10008.1.2.4.80", "http://box.example/b", None, first=False) + b"two",
            PARTS.closing(),
        )
    )
    assert body == (
        b"--0123456789abcdef\r\n"
        b"Content-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n"
        b"Content-Location: http://box.example/a\r\n"
        b"Content-Length: 3\r\n"
        b"\r\n"
        b"one\r\n"
        b"--0123456789abcdef\r\n"
        b"Content-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.4.80\r\n"
        b"Content-Location: http://box.example/b\r\n"
        b"\r\n"
        b"two\r\n"
        b"--0123456789abcdef--\r\n"
    )


def test_the_content_type_quotes_the_type_of_the_parts() -> None:
    assert PARTS.content_type == (
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; boundary=0123456789abcdef'
    )
    assert Multipart("b", "image/jls").content_type == 'multipart/related; type="image/jls"; boundary=b'


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", (1,)), ("3,1,2", (3, 1, 2)), ("007", (7,)), ("0", (0,)), ("9,2-4", (9, 2, 3, 4))]
)
def test_frames_are_listed_with_commas(text: str, numbers: tuple[int, ...]) -> None:
    assert read_frame_list(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1,",
        ",1",
        "3-1",
        "1-2-3",
        "1-",
        "1-3,2",
        "1-10001",
        "1-5000,6000-12000",
        "-1",
        "1.5",
        "1, 2",
        "1,1",
        "9999999999",
        "١",
        ",".join(map(str, range(10_001))),
    ],
)
def test_another_frame_list_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_frame_list(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", None),
        ("bytes=0-99", (0, 100)),
        ("bytes=900-", (900, 100)),
        ("bytes=990-5000", (990, 10)),
        ("bytes=-10", (990, 10)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=1000-", (1000, 0)),
        ("bytes=-0", (1000, 0)),
        ("bytes=5-2", None),
        ("bytes=0-1,5-6", None),
        ("bytes=" + "0-0," * 20000, None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_one_byte_range_is_honoured_and_anything_else_is_the_whole(text: str, part: tuple[int, int] | None) -> None:
    assert read_range(text, 1000) == part
