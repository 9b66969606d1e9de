"""SOAP with its documents beside it: MTOM and XOP over multipart/related (W3C MTOM, XOP; RFC 2387, RFC 2392).

Documents travel as raw bytes, never in base64 of ours; answers may use any transfer encoding but quoted-printable.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from drimbox.errors import Malformed, TooLarge

MAX_PARTS = 16
_MAX_HEADER = 4096
_ROOT_ID = "envelope@drimbox"


@dataclass(frozen=True, slots=True)
class Message:
    """A SOAP message as it came: the bytes of its envelope, and its parts by Content-ID."""

    envelope: bytes = field(repr=False)
    parts: Mapping[str, bytes] = field(repr=False)


def build_mtom(envelope: bytes, parts: Mapping[str, bytes], *, action: str, boundary: str) -> tuple[str, bytes]:
    """Pack an envelope and its parts; return the Content-Type and the body.

    parts: raw bytes by Content-ID, in order. boundary: 1 to 70 characters, in none of the contents; a random one
    is not there by chance, and Malformed is raised if it is.
    """
    delimiter = b"--" + boundary.encode("ascii")
    if any(delimiter in content for content in (envelope, *parts.values())):
        raise Malformed("MTOM boundary", "it occurs in a part")
    root_type = f'application/xop+xml; charset=UTF-8; type="application/soap+xml"; action="{action}"'
    pieces = [_opened(delimiter, root_type, _ROOT_ID), envelope]
    for content_id, content in parts.items():
        pieces += [b"\r\n", _opened(delimiter, "application/octet-stream", content_id), content]
    pieces += [b"\r\n", delimiter, b"--\r\n"]
    content_type = (
        f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; start="<{_ROOT_ID}>"; '
        f'start-info="application/soap+xml"; action="{action}"'
    )
    return content_type, b"".join(pieces)


def _opened(delimiter: bytes, media_type: str, content_id: str) -> bytes:
    headers = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{content_id}>\r\n\r\n"
    return delimiter + b"\r\n" + headers.encode("ascii")


def read_message(content_type: str, content: bytes) -> Message:
    """Unpack a SOAP message, MTOM or plain.

    Raises Malformed when the media type is neither, a part is cut short, named twice or not named, or the root is
    not there; TooLarge over 16 parts. The caller bounds `content`.
    """
    media_type, parameters = _read_content_type(content_type)
    if media_type == "application/soap+xml":
        return Message(content, {})
    if media_type != "multipart/related" or "boundary" not in parameters:
        raise Malformed("SOAP message", "neither application/soap+xml nor multipart/related")
    parts = _split(content, parameters["boundary"])
    start = parameters.get("start", "").strip("<> ") or next(iter(parts))
    if start not in parts:
        raise Malformed("SOAP message", "the start part is missing")
    return Message(parts.pop(start), parts)


def resolved(message: Message, href: str) -> bytes:
    """The part that an xop:Include names by its `cid:` URL (RFC 2392). Raises Malformed when there is none."""
    scheme, _, content_id = href.partition(":")
    part = message.parts.get(unquote(content_id)) if scheme.lower() == "cid" else None
    if part is None:
        raise Malformed("SOAP message", "an xop:Include names no part of it")
    return part


class _Collector:
    """What the streaming parser tells us of one message, kept part by part."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.finished = False
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._data: list[bytes] = []

    def part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise TooLarge("SOAP message", f"over {MAX_PARTS} parts")
        self._names, self._values, self._data = [], [], []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._names.append(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._values.append(data[start:end])

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def part_end(self) -> None:
        pairs = zip(self._names, self._values, strict=False)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in pairs}
        content_id = headers.get("content-id", "").strip("<> ")
        if not content_id and not self.parts:
            content_id = _ROOT_ID  # the root may go unnamed when there is no start parameter (RFC 2387 §3.2)
        if not content_id or content_id in self.parts:
            raise Malformed("SOAP message", "a part has no Content-ID, or that of another")
        encoding = headers.get("content-transfer-encoding", "binary").lower()
        self.parts[content_id] = _decoded(b"".join(self._data), encoding)

    def end(self) -> None:
        self.finished = True


def _split(content: bytes, boundary: str) -> dict[str, bytes]:
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary.encode("ascii"),
            {
                "on_part_begin": collector.part_begin,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_part_data": collector.part_data,
                "on_part_end": collector.part_end,
                "on_end": collector.end,
            },
        )
        # A preamble is allowed before the first delimiter (RFC 2046 §5.1.1); the parser knows only of line ends.
        first = content.find(b"--" + boundary.encode("ascii"))
        parser.write(content[max(first, 0) :])
        parser.finalize()
    except (MultipartParseError, UnicodeEncodeError, ValueError) as error:
        raise Malformed("SOAP message", "not multipart") from error
    if not collector.finished or not collector.parts:
        raise Malformed("SOAP message", "cut short")
    return collector.parts


def _decoded(data: bytes, encoding: str) -> bytes:
    if encoding in ("binary", "8bit", "7bit"):
        return data
    if encoding != "base64":
        raise Malformed("SOAP message", "a transfer encoding we do not read")
    return read_base64(data)


def read_base64(data: bytes) -> bytes:
    """Decode base64 that may be folded on several lines. Raises Malformed."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("SOAP message", "broken base64") from error


def _read_content_type(text: str) -> tuple[str, dict[str, str]]:
    if len(text) > _MAX_HEADER:
        raise TooLarge("Content-Type", f"over {_MAX_HEADER} characters")
    media_type, parameters = parse_options_header(text.encode("latin-1", "replace"))
    return (
        media_type.decode("latin-1").lower(),
        {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in parameters.items()},
    )
