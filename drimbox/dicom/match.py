"""Query matching, shared by C-FIND and QIDO-RS so that both give the same answer (PS3.4 §C.2.2.2, PS3.18 §8.3.4)."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.uid import checked_uid
from drimbox.errors import Malformed, TooLarge

Level = Literal["study", "series", "instance"]

MOST_VALUES: Final = 1000  # in one list
MOST_CHARACTERS: Final = 1024  # of one value that is not a list of UIDs

_TAG_PATH = re.compile(r"[0-9A-F]{8}(\.[0-9A-F]{8}){0,3}", re.ASCII)
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TEXT = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is part of the value
# Letters that Unicode does not take apart into a base and an accent.
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "’": "'"})


@dataclass(frozen=True, slots=True)
class OneOf:
    """Single Value Matching, or List of UID Matching. No value at all: Universal Matching, everything satisfies it.

    Names are folded; dates are YYYYMMDD; times are HHMMSS.ffffff.
    """

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wild Card Matching: `*` any characters, `?` any one. A pattern for names is folded."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """Range Matching, both ends in it; an empty end is open. Dates are YYYYMMDD, times HHMMSS.ffffff."""

    low: str
    high: str


Criterion = OneOf | Wildcard | Between
UNIVERSAL: Final = OneOf(())


@dataclass(frozen=True, slots=True)
class Query:
    """What C-FIND or QIDO-RS asks. Tags are 8 upper-case hexadecimal digits, or such digits joined by dots for an
    attribute inside a sequence. include: tags wanted in the answer, None for all of the level.
    """

    level: Level
    criteria: Mapping[str, Criterion]
    include: frozenset[str] | None = None
    limit: int = 1000
    offset: int = 0


def criterion(tag: str, text: str) -> Criterion:
    """Read what the caller wrote for `tag` as a criterion.

    Raises Malformed when it cannot be a value of the tag's VR, TooLarge when it is too long or has too many values.
    Lists are separated by backslashes, and by commas too for UIDs (PS3.18 §8.3.4.1).
    """
    if not _TAG_PATH.fullmatch(tag):
        raise Malformed("query", "an attribute is 8 hexadecimal digits, joined by dots inside sequences")
    vr = vr_of(int(tag[-8:], 16))
    text = text.strip(" \x00")
    if text in ("", "*"):
        return UNIVERSAL
    if vr == "UI":
        return OneOf(tuple(checked_uid(uid.strip(" \x00")) for uid in _split(text.replace(",", "\\"))))
    if len(text) > MOST_CHARACTERS:
        raise TooLarge("query", f"a value has more than {MOST_CHARACTERS} characters")
    if vr == "SQ":
        raise Malformed("query", f"{tag} is a sequence: ask for an attribute inside it")
    if vr in ("DA", "TM"):
        return _moment(vr, text)
    if vr in _WILD and ("*" in text or "?" in text):
        if "\\" in text and vr not in _TEXT:
            raise Malformed("query", f"{tag}: one value at a time may hold wild cards")
        return Wildcard(canonical(vr, text))
    values = [text] if vr in _TEXT else _split(text)
    return OneOf(tuple(canonical(vr, value) for value in values))


def _split(text: str) -> list[str]:
    values = text.split("\\", MOST_VALUES)
    if len(values) > MOST_VALUES:
        raise TooLarge("query", f"a list has more than {MOST_VALUES} values")
    return values


def _moment(vr: str, text: str) -> Criterion:
    low, hyphen, high = (part.strip() for part in text.partition("-"))
    if not low and not high:
        raise Malformed("query", "a range has at least one end")
    read = _date if vr == "DA" else _time
    ends = read(low) if low else "", read(high, latest=True) if high else ""
    if None in ends:
        raise Malformed("query", f"not a {vr}: YYYYMMDD" if vr == "DA" else f"not a {vr}: HHMMSS.ffffff, or its start")
    return Between(ends[0] or "", ends[1] or "") if hyphen else OneOf((ends[0] or "",))


def _date(text: str, *, latest: bool = False) -> str | None:
    """YYYYMMDD, from that or from the form with dots of ACR-NEMA (PS3.5 §6.2, DA)."""
    found = _DATE.fullmatch(text)
    return "".join(found.groups()) if found else None


def _time(text: str, *, latest: bool = False) -> str | None:
    """HHMMSS.ffffff; what is not written is its first moment, or its last (PS3.4 §C.2.2.2.5)."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hour, minute, second, fraction = found.groups()
    rest = "59" if latest else "00"
    return f"{hour}{minute or rest}{second or rest}.{(fraction or '').ljust(6, '9' if latest else '0')}"


def canonical(vr: str, text: str) -> str:
    """The form in which two equal values are the same text; empty for a date or time that is none."""
    if vr == "PN":
        return folded(text).rstrip("^= ")
    if vr == "DA":
        return _date(text.strip()) or ""
    if vr == "TM":
        return _time(text.strip()) or ""
    return text.strip(" ")


def folded(text: str) -> str:
    """`text` without case and accents: two spellings of one name give the same (`ŒUVRARD-Zoé` -> `oeuvrard-zoe`)."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def satisfies(criterion: Criterion, tag: str, attributes: Mapping[str, Any]) -> bool:
    """Does what we hold satisfy the criterion? attributes: DICOM JSON model. Of several values one is enough."""
    if criterion == UNIVERSAL:
        return True
    return any(_matches(criterion, vr, value) for vr, value in _values(tag.split("."), attributes))


def _values(path: list[str], attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    held = attributes.get(path[0], {})
    for value in held.get("Value", ()):
        if len(path) == 1:
            yield held["vr"], value
        elif isinstance(value, Mapping):
            yield from _values(path[1:], value)


def _matches(criterion: Criterion, vr: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_text_matches(criterion, text) for text in _spellings(value))
    if isinstance(value, int | float):
        return isinstance(criterion, OneOf) and any(_number(text) == value for text in criterion.values)
    return isinstance(value, str) and _text_matches(criterion, canonical(vr, value))


def spellings(names: Mapping[str, Any]) -> list[str]:
    """Every text by which a PN attribute of the DICOM JSON model is found, in canonical form."""
    return sorted({text for name in names.get("Value", ()) if isinstance(name, Mapping) for text in _spellings(name)})


def _spellings(name: Mapping[str, Any]) -> list[str]:
    """Any of its three groups, or all of them joined (PS3.5 §6.2.1)."""
    groups = [str(name.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return [canonical("PN", text) for text in [*(group for group in groups if group), "=".join(groups)]]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text_matches(criterion: Criterion, text: str) -> bool:
    match criterion:
        case OneOf(values):
            return text in values
        case Wildcard(pattern):
            return _wildcard_matches(pattern, text)
        case Between(low, high):
            return bool(text) and low <= text and (not high or text <= high)


def _wildcard_matches(pattern: str, text: str) -> bool:
    """Compare in at most len(pattern) x len(text) steps, whatever the pattern: no regular expression of a stranger."""
    at, star, marked = 0, -1, 0
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, marked, at = at, position, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            marked += 1
            at, position = star + 1, marked
        else:
            return False
    return all(letter == "*" for letter in pattern[at:])
