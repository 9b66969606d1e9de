"""HL7 v2 messages: bytes in, fields out, by the grammar of HL7 v2.5 chapter 2.

Segments and fields stay bytes until somebody asks for a value: a report is mostly base64, and text costs four times
its size as soon as one character is rare. Escapes are undone last, after every split, so that `\\X0D\\` in a name
never becomes a segment.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from drimbox.errors import Malformed, TooLarge

MAX_SEGMENTS = 5_000
MAX_ESCAPE_MARKS = 500_000  # in one value; a CDA of 15 MB broken over lines by `\.br\` has 400,000
MAX_PARTS = 2_000  # fields in a segment, repetitions in a field, components, subcomponents
MAX_HEADER_BYTES = MAX_PARTS  # so that no field of MSH has too many parts: an answer can always be built from it

CHARSETS = {  # HL7 table 0211, the rows seen in France
    "": "ascii",
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/15": "iso8859-15",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
}
Value = str | tuple["Value", ...] | list[Any]
_ESCAPES = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
    | {chr(code): f"\\X{code:02X}\\" for code in range(32)}
)
_SEGMENT_ID = re.compile(rb"[A-Z][A-Z0-9]{2}")
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Encoding:
    """MSH-1, MSH-2 and the character set. Each separator is one byte; b"" when the sender has none.

    charset: a Python codec, the one that reads the bytes; MSH-18 may say another.
    """

    field: bytes = b"|"
    component: bytes = b"^"
    repetition: bytes = b"~"
    escape: bytes = b"\\"
    subcomponent: bytes = b"&"
    charset: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Repetition:
    """One occurrence of a field, not yet cut in components."""

    raw: bytes
    encoding: Encoding

    def text(self, component_number: int = 1, subcomponent_number: int = 1) -> str:
        """The value of a component, unescaped and stripped; empty when absent or explicitly null (`""`)."""
        component = _nth(self.raw, self.encoding.component, component_number)
        part = _nth(component, self.encoding.subcomponent, subcomponent_number)
        return "" if part == b'""' else _unescaped(part, self.encoding).strip()

    def has_components(self) -> bool:
        return self.encoding.component in self.raw


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. Fields are numbered as in the standard, MSH included."""

    name: str
    fields: tuple[bytes, ...]
    encoding: Encoding

    def all(self, field_number: int) -> tuple[Repetition, ...]:
        """The repetitions of a field; none when it is empty or absent."""
        raw = self.fields[field_number] if field_number < len(self.fields) else b""
        if not raw:
            return ()
        return tuple(Repetition(part, self.encoding) for part in _split(raw, self.encoding.repetition))

    def text(self, field_number: int, component_number: int = 1, subcomponent_number: int = 1) -> str:
        """A value of the first repetition; empty when absent."""
        found = self.all(field_number)
        return found[0].text(component_number, subcomponent_number) if found else ""


@dataclass(frozen=True)
class Message:
    """A parsed message. raw: the bytes as received."""

    raw: bytes
    segments: tuple[Segment, ...]

    @cached_property
    def header(self) -> Segment:
        return self.segments[0]

    def all(self, name: str) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.name == name)

    def find(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)


def parse_message(data: bytes) -> Message:
    """Cut `data` (the content of one MLLP frame) into segments. Raises Malformed, TooLarge.

    Segments end with CR (HL7 v2.5 §2.6.1). A message without any CR is cut at LF instead, as files are; there, a line
    that does not begin like a segment continues the one above (fault seen in the public prototype's samples).
    """
    if b"\0" in data or b"\x0b" in data or b"\x1c" in data:
        raise Malformed("message", "a NUL or a framing byte inside the message")
    header = parse_header(data)
    body = data.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n ")
    by_line = b"\r" not in body
    lines = body.split(b"\n" if by_line else b"\r", MAX_SEGMENTS)
    if len(lines) > MAX_SEGMENTS:
        raise TooLarge("message", f"more than {MAX_SEGMENTS} segments")
    whole: list[bytes] = []
    for line in lines:
        line = line.strip(b"\n")
        if _begins_segment(line, header.encoding):
            whole.append(line)
        elif by_line and whole:
            whole[-1] += b"\n" + line
        elif line.strip():
            raise Malformed("message", "a segment does not begin with its three-letter name")
    return Message(data, (header, *(_segment(line, header.encoding) for line in whole[1:])))


def message_id(message: Message) -> str:
    """What identifies a message for replays: MSH-3, MSH-4 and MSH-10. Raises Malformed without MSH-10."""
    if not message.header.text(10):
        raise Malformed("required field", "MSH-10, the control id, is empty")
    return "|".join(message.header.text(number) for number in (3, 4, 10))


def parse_header(data: bytes) -> Segment:
    """Read MSH alone, from a message that may be cut or wrong further down. Raises Malformed, TooLarge."""
    body = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n ")
    if not body.startswith(b"MSH") or len(body) < 8:
        raise Malformed("MSH", "the message does not begin with MSH")
    field, second = body[3:4], body[4:12].split(body[3:4], 1)[0]
    separators = [field, *(second[i : i + 1] for i in range(min(len(second), 4)))]
    if len(second) < 2 or any(not mark.isascii() or mark.isalnum() or mark <= b" " for mark in separators):
        raise Malformed("MSH", "MSH-1 and MSH-2 must be different punctuation marks")
    if len(set(separators)) != len(separators):
        raise Malformed("MSH", "MSH-1 and MSH-2 must be different punctuation marks")
    line = re.split(rb"[\r\n]", body[: MAX_HEADER_BYTES + 1], maxsplit=1)[0]
    if len(line) > MAX_HEADER_BYTES:
        raise TooLarge("MSH", f"over {MAX_HEADER_BYTES} bytes")
    marks = [*separators, b"", b"", b"", b""][:5]
    encoding = Encoding(marks[0], marks[1], marks[2], marks[3], marks[4], "ascii")
    # MSH-1 is the separator itself: put it back so that numbers are those of the standard.
    fields = (b"MSH", field, second, *_split(line, field)[2:])
    declared = Segment("MSH", fields, encoding).text(18).upper()
    encoding = replace(encoding, charset=_true_charset(data, declared))
    return Segment("MSH", fields, encoding)


def build_segment(name: str, *fields: Value) -> str:
    """Write a segment with the usual separators, everything else escaped: no value can begin a field or a segment.

    A list is a field that repeats, a tuple its components, a tuple in a tuple subcomponents. For MSH, the fields begin
    with MSH-3. The CR at the end is included.
    """
    written = [_written(field, "^") for field in fields]
    if name == "MSH":
        written.insert(0, "^~\\&")
    return "|".join([name, *written]).rstrip("|") + "\r"


def _written(value: Value, separator: str) -> str:
    match value:
        case str():
            return value.translate(_ESCAPES)
        case list():
            return "~".join(_written(repetition, "^") for repetition in value)
        case tuple():
            return separator.join(_written(part, "&") for part in value)


def _true_charset(data: bytes, declared: str) -> str:
    """The codec that reads `data`. Senders declare 8859/1 and send UTF-8, or the reverse: bytes decide.

    Accented text in 8859 is practically never valid UTF-8, hence UTF-8 first whatever is declared.
    """
    try:
        data.translate(None, _ASCII).decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        codec = CHARSETS.get(declared, "")
        return codec if codec.startswith("iso8859") else "iso8859-15"


def _begins_segment(line: bytes, encoding: Encoding) -> bool:
    return _SEGMENT_ID.match(line) is not None and line[3:4] in (encoding.field, b"")


def _segment(line: bytes, encoding: Encoding) -> Segment:
    return Segment(line[:3].decode("ascii"), tuple(_split(line, encoding.field)), encoding)


def _split(data: bytes, separator: bytes) -> list[bytes]:
    if not separator:
        return [data]
    parts = data.split(separator, MAX_PARTS)
    if len(parts) > MAX_PARTS:
        raise TooLarge("message", f"more than {MAX_PARTS} parts in one field or segment")
    return parts


def _nth(data: bytes, separator: bytes, number: int) -> bytes:
    parts = _split(data, separator)
    return parts[number - 1] if number <= len(parts) else b""


def _unescaped(data: bytes, encoding: Encoding) -> str:
    """Undo the escapes of HL7 v2.5 §2.7. An escape we do not know stays as it is written."""
    marks = data.count(encoding.escape) if encoding.escape else 0
    if marks == 0:
        return data.decode(encoding.charset, "replace")
    if marks > MAX_ESCAPE_MARKS:
        raise TooLarge("message", f"more than {MAX_ESCAPE_MARKS} escape characters in one value")
    mark = re.escape(encoding.escape)

    def meaning(match: re.Match[bytes]) -> bytes:
        name = match.group(1)
        if name[:1] == b"X" and re.fullmatch(rb"([0-9A-Fa-f]{2})+", name[1:]):
            return bytes.fromhex(name[1:].decode("ascii"))
        return {
            b"F": encoding.field,
            b"S": encoding.component,
            b"T": encoding.subcomponent,
            b"R": encoding.repetition,
            b"E": encoding.escape,
            b".br": b"\n",
            b"H": b"",
            b"N": b"",
        }.get(name, match.group(0))

    plain = re.sub(mark + rb"([^" + mark + rb"]{1,64})" + mark, meaning, data)
    return plain.decode(encoding.charset, "replace")
