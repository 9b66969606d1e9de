"""MTOM: what we pack is read back by two other readers; what we read is bounded and whole."""

import base64
from email import message_from_bytes

import pytest
from requests_toolbelt import MultipartDecoder

from drimbox.errors import DrimboxError, Malformed, TooLarge
from drimbox.xds.mtom import build_mtom, read_message, resolved

ENVELOPE = b"<Envelope>\xc3\xa9</Envelope>"
BINARY = bytes(range(256)) * 8 + b"\r\n--\r\n\r\n\n\r--drimbo\r\n"
PACKED = build_mtom(ENVELOPE, {"1.2@drimbox": BINARY, "b": b""}, action="urn:a", boundary="drimbox-1")


def test_the_content_type_has_what_xop_demands() -> None:
    message = message_from_bytes(b"Content-Type: " + PACKED[0].encode() + b"\r\n\r\n")
    assert message.get_content_type() == "multipart/related"
    assert dict(message.get_params() or [])["type"] == "application/xop+xml"
    assert message.get_param("start-info") == "application/soap+xml"
    assert message.get_param("action") == "urn:a"
    assert message.get_param("start") == "<envelope@drimbox>"


def test_the_standard_library_reads_what_we_pack() -> None:
    message = message_from_bytes(b"Content-Type: " + PACKED[0].encode() + b"\r\n\r\n" + PACKED[1])
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part["Content-ID"] for part in parts] == ["<envelope@drimbox>", "<1.2@drimbox>", "<b>"]
    assert [part.get_payload(decode=True) for part in parts] == [ENVELOPE, BINARY, b""]


def test_requests_toolbelt_reads_what_we_pack() -> None:
    parts = MultipartDecoder(PACKED[1], PACKED[0]).parts
    assert [part.content for part in parts] == [ENVELOPE, BINARY, b""]


def test_we_read_what_we_pack() -> None:
    message = read_message(*PACKED)
    assert message.envelope == ENVELOPE
    assert message.parts == {"1.2@drimbox": BINARY, "b": b""}
    assert resolved(message, "cid:1.2%40drimbox") == BINARY


def test_a_boundary_inside_a_document_is_refused() -> None:
    with pytest.raises(Malformed):
        build_mtom(ENVELOPE, {"a": b"..\r\n--drimbox-1\r\n"}, action="urn:a", boundary="drimbox-1")


def packed(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


ROOT = b"Content-ID: <r>\r\n\r\n<e/>"


def test_a_preamble_an_unnamed_root_and_base64_are_read() -> None:
    encoded = base64.encodebytes(BINARY).replace(b"\n", b"\r\n")
    body = b"preamble\r\n" + packed(
        b"Content-Type: application/xop+xml\r\n\r\n<e/>",
        b"content-id: <k>\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + encoded,
    )
    message = read_message('Multipart/Related; boundary="b"; type="application/xop+xml"', body)
    assert message.envelope == b"<e/>"
    assert message.parts == {"k": BINARY}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"<e/>"),
        ("text/html", b"<html/>"),
        ("multipart/related", packed(ROOT)),
        ("multipart/related; boundary=b", b""),
        ("multipart/related; boundary=b", b"<html/>"),
        ("multipart/related; boundary=b", packed(ROOT, end=b"")),
        ("multipart/related; boundary=b", packed(ROOT, end=b"--b")),
        ("multipart/related; boundary=b", packed(ROOT)[:20]),
        ("multipart/related; boundary=b", b"--b--\r\n"),
        ("multipart/related; boundary=b; start=missing", packed(ROOT)),
        ("multipart/related; boundary=b", packed(ROOT, ROOT)),
        ("multipart/related; boundary=b", packed(ROOT, b"Content-Type: x/y\r\n\r\n")),
        ("multipart/related; boundary=b", packed(ROOT, b"Content-ID: <k>\r\nContent-Transfer-Encoding: x\r\n\r\n")),
        (
            "multipart/related; boundary=b",
            packed(ROOT, b"Content-ID: <k>\r\nContent-Transfer-Encoding: base64\r\n\r\nA"),
        ),
        ("multipart/related; boundary=é", packed(ROOT)),
        ("multipart/related; boundary=" + "b" * 5000, packed(ROOT)),
        ("multipart/related; boundary=b", packed(ROOT, *[b"Content-ID: <%d>\r\n\r\n" % n for n in range(20)])),
        ("multipart/related; boundary=b", packed(b"X: " + b"x" * 100_000 + b"\r\n\r\n")),
    ],
)
def test_what_is_not_whole_or_not_mtom_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(DrimboxError) as refused:
        read_message(content_type, body)
    assert type(refused.value) in (Malformed, TooLarge)


@pytest.mark.parametrize("href", ["cid:other", "http://elsewhere/", "", "1.2@drimbox"])
def test_only_parts_of_the_message_are_included(href: str) -> None:
    with pytest.raises(Malformed):
        resolved(read_message(*PACKED), href)
