"""Text as written in a data set, into Unicode: never fails, whatever the bytes (PS3.3 §C.12.1.1.2, PS3.5 §6.1).

What cannot be decoded becomes U+FFFD; the kept file has the bytes.
"""

import re
from typing import Final

# Defined terms without their prefix (`ISO_IR 100` and `ISO 2022 IR 100` decode alike) -> Python codec.
_CODECS: Final[dict[str, str]] = {
    "6": "latin-1",  # ASCII says the standard; some modalities write Latin letters all the same
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin-1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso8859_11",
    "192": "utf-8",
    "203": "iso8859_15",
    "GB18030": "gb18030",
    "GBK": "gb18030",
    "UTF8": "utf-8",
}
_ALONE = frozenset({"utf-8", "gb18030"})  # no code extension beside them (PS3.5 §6.1.2.5.4 d)

# Escape sequences (PS3.3 tables C.12-3, C.12-4). The codecs of the first kind want to see theirs.
_ESCAPED_IN_CODEC: Final[dict[bytes, str]] = {b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2"}
_ESCAPED: Final[dict[bytes, str]] = {
    b"(B": "latin-1",
    b"(J": "shift_jis",
    b")I": "shift_jis",
    b"-A": "latin-1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "iso8859_11",
    b"-b": "iso8859_15",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
}
_ESC = b"\x1b"
_TERM = re.compile(r"(?:ISO)?[ _-]*(?:2022)?[ _-]*(?:IR)?[ _-]*([A-Z0-9]+)", re.ASCII)
# Each of these ends what an escape sequence began (PS3.5 §6.1.2.5.3); in names, so do the last two.
_ENDS = re.compile(rb"[\r\n\f\t\\^=]")

UNDECLARED: Final[tuple[str, ...]] = ()


def read_charset(value: bytes) -> tuple[str, ...]:
    """The codecs of a Specific Character Set (0008,0005) as stored; UNDECLARED when it says nothing we know.

    Lenient: `ISO-IR 100`, `ISO IR 100`, `UTF-8` and lower case are met in service.
    """
    codecs = []
    for term in value.decode("latin-1").split("\\")[:16]:
        found = _TERM.fullmatch(term.strip(" \x00").upper().replace("UTF-8", "UTF8"))
        codecs.append(_CODECS.get(found[1] if found else "", ""))
    if not any(codecs):
        return UNDECLARED
    return tuple(codec or "latin-1" for codec in codecs)


def decode_text(value: bytes, codecs: tuple[str, ...]) -> str:
    """`value` as Unicode. codecs: as `read_charset` gives them."""
    if _ESC not in value and value.isascii():
        return value.decode("ascii")
    if not codecs:
        try:
            return value.decode("utf-8")  # undeclared: bytes that happen to be right UTF-8 are seldom anything else
        except UnicodeDecodeError:
            return value.decode("latin-1")
    first = codecs[0]
    if first in _ALONE or _ESC not in value:
        return value.decode(first, "replace")
    head, *parts = value.split(_ESC)
    return head.decode(first, "replace") + "".join(_decode_escaped(part, first) for part in parts)


def _decode_escaped(part: bytes, first: str) -> str:
    """What follows one escape character, up to the next."""
    for length in (2, 3):
        codec = _ESCAPED_IN_CODEC.get(part[:length])
        if codec:
            return (_ESC + part).decode(codec, "replace")
        codec = _ESCAPED.get(part[:length])
        if codec:
            text = part[length:]
            end = _ENDS.search(text)
            cut = end.start() if end else len(text)
            return text[:cut].decode(codec, "replace") + text[cut:].decode(first, "replace")
    return part.decode(first, "replace")
