"""Reading a `multipart/related` body as it comes (RFC 2046 §5.1, RFC 2387, PS3.18 §8.6.1.2). No I/O.

Bytes are fed in whatever pieces the network made of them; events come out. Memory is one piece and what cannot be
decided yet: the headers of a part, or the first bytes of what may be a delimiter. Everything has a limit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from drimbox.errors import Malformed, TooLarge

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*;\s*(?P<name>{_WORD})=(?:"(?P<quoted>[^"\\]*)"|(?P<token>[^\s;"]+))', re.ASCII)
_MEDIA_TYPE = re.compile(rf"\s*(?P<type>{_WORD}/{_WORD})", re.ASCII)
# RFC 2046 §5.1.1 allows 70 characters; Orthanc sends 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_FIELD_NAME = re.compile(_WORD.encode("ascii"))
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_HEADER_CHARACTERS = 2048
_MOST_AROUND_BYTES = 65536  # what RFC 2046 calls preamble and epilogue, to be ignored


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one body. part_bytes: of one part's content."""

    parts: int = 100_000
    part_bytes: int = 16 * 2**30
    header_bytes: int = 8192
    headers: int = 32


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins. Names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the part. The view stays good as long as somebody holds it."""

    view: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is whole."""


@dataclass(frozen=True, slots=True)
class End:
    """The closing delimiter was seen: nothing is missing."""


Event = PartBegin | PartData | PartEnd | End


def read_content_type(text: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters by name in lower case (RFC 9110 §8.3.1). Raises Malformed."""
    media = _MEDIA_TYPE.match(text) if len(text) <= _MOST_HEADER_CHARACTERS else None
    if media is None:
        raise Malformed("Content-Type", f"no media type, or over {_MOST_HEADER_CHARACTERS} characters")
    parameters: dict[str, str] = {}
    position = media.end()
    while found := _PARAMETER.match(text, position):
        name, position = found["name"].lower(), found.end()
        if name in parameters:
            raise Malformed("Content-Type", "a parameter is there twice")
        parameters[name] = found["token"] if found["quoted"] is None else found["quoted"]
    if text[position:].strip(" \t;"):
        raise Malformed("Content-Type", "its parameters cannot be read")
    return media["type"].lower(), parameters


def checked_boundary(parameters: Mapping[str, str]) -> bytes:
    """The boundary that the parameters of a multipart name. Raises Malformed."""
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Malformed(
            "Content-Type", "a boundary is required, of letters and digits, 200 characters at most (RFC 2046 §5.1.1)"
        )
    return boundary.encode("ascii")


def read_boundary(content_type: str) -> bytes:
    """The boundary of a `multipart/related` of `application/dicom` parts. Raises Malformed.

    A missing `type` parameter is forgiven (PS3.18 demands it, servers in service forget it).
    """
    media_type, parameters = read_content_type(content_type)
    if media_type != "multipart/related":
        raise Malformed("Content-Type", "multipart/related is required")
    if parameters.get("type", "application/dicom").lower() != "application/dicom":
        raise Malformed("Content-Type", "type is not application/dicom")
    return checked_boundary(parameters)


class PartReader:
    """Feed it the body; it gives the events. After the last bytes, `close` it: a body without its end is Malformed."""

    def __init__(self, boundary: bytes, limits: Limits = Limits()) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._limits = limits
        self._held = b"\r\n"  # a body may begin with a delimiter: its CRLF is then the one before the body
        self._state: Literal["preamble", "delimited", "headers", "content", "epilogue"] = "preamble"
        self._around_bytes = 0
        self._part_bytes = 0
        self._parts = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events these bytes complete. Raises Malformed and TooLarge; nothing may be fed after that."""
        events: list[Event] = []
        data, self._held = self._held + data if self._held else data, b""
        position = 0
        while True:
            match self._state:
                case "preamble" | "content":
                    after = self._find_delimiter(data, position, events)
                case "delimited":
                    after = self._read_delimiter_end(data, position, events)
                case "headers":
                    after = self._read_headers(data, position, events)
                case "epilogue":
                    self._skip(len(data) - position)
                    return events
            if after < 0:
                return events
            position = after

    def close(self) -> None:
        """No more bytes will come. Raises Malformed when the closing delimiter was not among them."""
        if self._state != "epilogue":
            raise Malformed("multipart", "the body ends before its closing delimiter")

    # Each step returns where the next one begins, or -1 when more bytes are needed; what must be seen again is held.

    def _find_delimiter(self, data: bytes, position: int, events: list[Event]) -> int:
        found = data.find(self._delimiter, position)
        end = found if found >= 0 else _sure_end(data, position, self._delimiter)
        if self._state == "content":
            self._part_bytes += end - position
            if self._part_bytes > self._limits.part_bytes:
                raise TooLarge("multipart", f"a part is over {self._limits.part_bytes} bytes")
            if end > position:
                events.append(PartData(memoryview(data)[position:end]))
        else:
            self._skip(end - position)
        if found < 0:
            self._held = data[end:]
            return -1
        if self._state == "content":
            events.append(PartEnd())
        self._state = "delimited"
        return found + len(self._delimiter)

    def _read_delimiter_end(self, data: bytes, position: int, events: list[Event]) -> int:
        """`--` ends the body, CRLF begins a part. The padding RFC 2046 allows for mail is not HTTP's: refused."""
        following = data[position : position + 2]
        if len(following) < 2:
            self._held = following
            return -1
        if following == b"--":
            self._state = "epilogue"
            events.append(End())
            return position + 2
        if following != b"\r\n":
            raise Malformed("multipart", "the boundary is followed by neither `--` nor the end of its line")
        self._parts += 1
        if self._parts > self._limits.parts:
            raise TooLarge("multipart", f"over {self._limits.parts} parts")
        self._state = "headers"
        return position

    def _read_headers(self, data: bytes, position: int, events: list[Event]) -> int:
        """From the CRLF that ends the delimiter to the empty line: no header at all is CRLF CRLF."""
        end = data.find(b"\r\n\r\n", position, position + self._limits.header_bytes + 4)
        if end < 0:
            if len(data) - position >= self._limits.header_bytes + 4:
                raise TooLarge("multipart", f"the headers of a part are over {self._limits.header_bytes} bytes")
            self._held = data[position:]
            return -1
        lines = data[position:end].split(b"\r\n")[1:]
        if len(lines) > self._limits.headers:
            raise TooLarge("multipart", f"over {self._limits.headers} headers in a part")
        events.append(PartBegin(_read_fields(lines)))
        self._part_bytes = 0
        self._state = "content"
        return end + 4

    def _skip(self, count: int) -> None:
        self._around_bytes += count
        if self._around_bytes > _MOST_AROUND_BYTES:
            raise TooLarge("multipart", f"over {_MOST_AROUND_BYTES} bytes outside the parts")


def _sure_end(data: bytes, position: int, delimiter: bytes) -> int:
    """Up to where these bytes cannot be the beginning of a delimiter that goes on in the next piece."""
    tail = data.find(b"\r", max(position, len(data) - len(delimiter) + 1))
    while tail >= 0:
        if delimiter.startswith(data[tail:]):
            return tail
        tail = data.find(b"\r", tail + 1)
    return len(data)


def _read_fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _FIELD_NAME.fullmatch(name) or _CONTROL.search(value):
            raise Malformed("multipart", "a header of a part cannot be read (folded lines are not allowed)")
        key = name.decode("ascii").lower()
        if key in fields:
            raise Malformed("multipart", "a header of a part is there twice")
        fields[key] = value.strip(b" \t").decode("latin-1")
    return fields
