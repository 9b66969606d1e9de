"""Values of elements, from bytes to the DICOM JSON model (PS3.18 annex F, PS3.5 §6.2). Never fails on a value.

Spaces and NUL that pad a value are left out; a value that is empty among others is null (PS3.18 §F.2.5).
"""

import struct
from array import array
from base64 import b64encode
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from drimbox.dicom.charset import decode_text

Values = list[Any]

_PADDING = " \x00"
_LARGEST_EXACT = 2**53  # beyond, a reader in JavaScript would see another number: written as text (PS3.18 §F.2.3)
_IS_RANGE = range(-(2**31), 2**31)
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

BINARY: Final[frozenset[str]] = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
# VR -> how Python unpacks one value of it. Sizes are those of the standard, since an order is always written before.
NUMBERS: Final[dict[str, str]] = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_WORDS: Final[dict[str, str]] = {"OW": "H", "OL": "I", "OF": "I", "OD": "Q", "OV": "Q"}


def to_json(
    vr: str, value: bytes, codecs: tuple[str, ...], little_endian: bool, *, as_written: bool = False
) -> dict[str, Any]:
    """One element as the DICOM JSON model has it: `{"vr": ..., "Value": [...]}` or with InlineBinary.

    as_written: DS and IS stay the text they are in the file, for models where a number is text too.
    """
    if not value:
        return {"vr": vr}
    if vr in BINARY:
        return {"vr": vr, "InlineBinary": b64encode(_swapped(vr, value, little_endian)).decode("ascii")}
    read = _read_codes if as_written and vr in ("DS", "IS") else _READERS.get(vr)
    if read:
        values = read(value, codecs)
    elif vr == "AT":
        values = _read_tags(value, little_endian)
    elif vr in NUMBERS:
        values = _read_numbers(vr, value, little_endian)
    else:
        return {"vr": vr}
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _swapped(vr: str, value: bytes, little_endian: bool) -> bytes:
    """Binary values are little endian in JSON (PS3.18 §F.2.7)."""
    if little_endian or vr not in _WORDS or len(value) % struct.calcsize("=" + _WORDS[vr]):
        return value
    words = array(_WORDS[vr], value)
    words.byteswap()
    return words.tobytes()


def _read_codes(value: bytes, codecs: tuple[str, ...]) -> Values:
    """AE, AS, CS, DA, DT, TM, UI: of the default repertoire, whatever the character set."""
    text = value.decode("latin-1").strip(_PADDING)
    if "\\" in text:
        return [part.strip(_PADDING) or None for part in text.split("\\")]
    return [text] if text else []


def _read_texts(value: bytes, codecs: tuple[str, ...]) -> Values:
    """LO, SH, UC: several values, in the declared character set. Leading spaces stay, as stored."""
    text = decode_text(value, codecs).rstrip(_PADDING)
    if "\\" in text:
        return [part.rstrip(_PADDING) or None for part in text.split("\\")]
    return [text] if text else []


def _read_text(value: bytes, codecs: tuple[str, ...]) -> Values:
    """LT, ST, UT, UR: one value, a backslash is a character of it."""
    text = decode_text(value, codecs).rstrip(_PADDING)
    return [text] if text else []


def _read_names(value: bytes, codecs: tuple[str, ...]) -> Values:
    """PN: three groups of components, separated by `=` (PS3.5 §6.2.1)."""
    return [_name(part) for part in _read_texts(value, codecs)]


def _name(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    if "=" not in text:
        return {"Alphabetic": text}
    groups = [group.strip(_PADDING) for group in text.split("=", 2)]
    return {name: group for name, group in zip(_GROUPS, groups, strict=False) if group} or None


def _read_integers(value: bytes, codecs: tuple[str, ...]) -> Values:
    return [_integer(part) for part in _read_codes(value, codecs)]


def _integer(text: str | None) -> int | str | None:
    """IS as a number when it is one, else as the text that was stored (PS3.18 §F.2.3 allows both)."""
    if text is None or "_" in text:  # Python would skip the underscore
        return text
    try:
        number = int(text)
    except ValueError:
        return text
    return number if number in _IS_RANGE else text


def _read_decimals(value: bytes, codecs: tuple[str, ...]) -> Values:
    return [_decimal(part) for part in _read_codes(value, codecs)]


def _decimal(text: str | None) -> float | str | None:
    if text is None or "_" in text:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text


_READERS: Final[dict[str, Callable[[bytes, tuple[str, ...]], Values]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "TM", "UI"), _read_codes),
    **dict.fromkeys(("LO", "SH", "UC"), _read_texts),
    **dict.fromkeys(("LT", "ST", "UT", "UR"), _read_text),
    "PN": _read_names,
    "IS": _read_integers,
    "DS": _read_decimals,
}


def _read_tags(value: bytes, little_endian: bool) -> Values:
    order, count = "<" if little_endian else ">", len(value) // 4
    numbers = struct.unpack_from(f"{order}{2 * count}H", value)
    return [f"{group:04X}{element:04X}" for group, element in zip(numbers[::2], numbers[1::2], strict=True)]


def _read_numbers(vr: str, value: bytes, little_endian: bool) -> Values:
    """Bytes after the last whole number are dropped."""
    code = NUMBERS[vr]
    order, count = "<" if little_endian else ">", len(value) // struct.calcsize("=" + code)
    numbers = struct.unpack_from(f"{order}{count}{code}", value)
    if code in "fd":
        return [number if isfinite(number) else _NOT_FINITE[str(number)] for number in numbers]
    if code in "Qq":
        return [number if abs(number) <= _LARGEST_EXACT else str(number) for number in numbers]
    return list(numbers)


_NOT_FINITE = {"nan": "NaN", "inf": "inf", "-inf": "-inf"}  # as text, in the words of PS3.18 §F.2.3
