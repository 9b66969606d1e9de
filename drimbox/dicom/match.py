"""Query matching, shared by C-FIND and QIDO-RS so that both give the same answer (PS3.4 §C.2.2.2, PS3.18 §8.3.4)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.moments import FORMS, READERS, read_range
from drimbox.dicom.names import MOST_WORDS, canonical_name, is_near, spellings_of_name, words
from drimbox.dicom.uid import checked_uid
from drimbox.errors import Malformed, TooLarge

Level = Literal["study", "series", "instance"]

MOST_VALUES: Final = 1000  # in one list
MOST_CHARACTERS: Final = 1024  # of one value that is not a list of UIDs

_TAG_PATH = re.compile(r"[0-9A-F]{8}(\.[0-9A-F]{8}){0,3}", re.ASCII)
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TEXT = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is part of the value


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


@dataclass(frozen=True, slots=True)
class Together:
    """Range Matching of a date and its time as one moment (PS3.18 §8.3.4.1), from `low` to `high`, the two joined.

    It is the criterion of the time; that of the date stays beside it, as an index wants it. date_tag: of the date.
    An instance that has the date and not the time may be of any moment of that day.
    """

    date_tag: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Fuzzy Semantic Matching of a name: every word begins one of its words, in any order, nearly (`names.is_near`)."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """Empty Value Matching: the attribute is absent, or has no value."""


Criterion = OneOf | Wildcard | Between | Together | Fuzzy | Empty
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


# A date and its time, of one moment.
_TIMES: Final = {
    "00080030": "00080020",
    "00080031": "00080021",
    "00080032": "00080022",
    "00080033": "00080023",
    "00100032": "00100030",
    "00400245": "00400244",
}


def criterion(tag: str, text: str, *, fuzzy: bool = False, empty: bool = False) -> Criterion:
    """Read what the caller wrote for `tag` as a criterion.

    fuzzy: names are matched nearly. empty: `""` asks for what has no value (PS3.4 §C.2.2.2.7).
    Raises Malformed when it cannot be a value of the tag's VR, TooLarge when it is too long or has too many values.
    Lists are separated by backslashes, and by commas too for UIDs (PS3.18 §8.3.4.1) and for code strings, which hold
    none: OHIF asks so for two modalities.
    """
    if not _TAG_PATH.fullmatch(tag):
        raise Malformed("query", "an attribute is 8 hexadecimal digits, joined by dots inside sequences")
    vr = vr_of(int(tag[-8:], 16))
    text = text.strip(" \x00")
    if text in ("", "*"):
        return UNIVERSAL
    if empty and text == '""':
        return Empty()
    if vr == "UI":
        return OneOf(tuple(checked_uid(uid.strip(" \x00")) for uid in _split(text.replace(",", "\\"))))
    if len(text) > MOST_CHARACTERS:
        raise TooLarge("query", f"a value has more than {MOST_CHARACTERS} characters")
    if vr == "SQ":
        raise Malformed("query", f"{tag} is a sequence: ask for an attribute inside it")
    if vr in READERS:
        return _moment(vr, text)
    if vr == "PN" and fuzzy and (asked := words(text)):
        return Fuzzy(asked[:MOST_WORDS])
    if vr in _WILD and ("*" in text or "?" in text):
        if "\\" in text and vr not in _TEXT:
            raise Malformed("query", f"{tag}: one value at a time may hold wild cards")
        return Wildcard(canonical(vr, text))
    values = [text] if vr in _TEXT else _split(text.replace(",", "\\") if vr == "CS" else text)
    return OneOf(tuple(canonical(vr, value) for value in values))


def together(criteria: Mapping[str, Criterion]) -> dict[str, Criterion]:
    """The same, where the ranges of a date and of its time are the two ends of one range (PS3.18 §8.3.4.1)."""
    joined = dict(criteria)
    for time_tag, date_tag in _TIMES.items():
        date, time = criteria.get(date_tag), criteria.get(time_tag)
        if isinstance(date, Between) and isinstance(time, Between):
            low = date.low and date.low + (time.low or "000000.000000")
            high = date.high and date.high + (time.high or "235959.999999")
            joined[time_tag] = Together(date_tag, low, high)
    return joined


def _split(text: str) -> list[str]:
    values = text.split("\\", MOST_VALUES)
    if len(values) > MOST_VALUES:
        raise TooLarge("query", f"a list has more than {MOST_VALUES} values")
    return values


def _moment(vr: str, text: str) -> Criterion:
    try:
        ends = read_range(vr, text)
    except ValueError as error:
        raise Malformed("query", f"not a range of {vr}: one end or two, {FORMS[vr]}") from error
    if ends is not None:
        return Between(*ends)
    low, high = READERS[vr](text), READERS[vr](text, latest=True)
    if low is None or high is None:
        raise Malformed("query", f"not a {vr}: {FORMS[vr]}")
    # Of a date time, what is not written was not asked (PS3.4 §C.2.2.2.1.3); of a time it is zero, as we always had it.
    return Between(low, high) if vr == "DT" and low != high else OneOf((low,))


def canonical(vr: str, text: str) -> str:
    """The form in which two equal values are the same text; empty for a date or time that is none."""
    if vr == "PN":
        return canonical_name(text)
    if vr in READERS:
        return READERS[vr](text.strip()) or ""
    return text.strip(" ")


def satisfies(criterion: Criterion, tag: str, attributes: Mapping[str, Any]) -> bool:
    """Does what we hold satisfy the criterion? attributes: DICOM JSON model. Of several values one is enough."""
    if criterion == UNIVERSAL:
        return True
    if isinstance(criterion, Empty):
        return all(value in (None, "", {}) for _, value in _values(tag.split("."), attributes))
    if isinstance(criterion, Together):
        return _is_between(criterion, tag, attributes)
    return any(_matches(criterion, vr, value) for vr, value in _values(tag.split("."), attributes))


def satisfy(criteria: Mapping[str, Criterion], attributes: Mapping[str, Any]) -> bool:
    """Does what we hold satisfy all of them? Those inside a sequence by one and the same item (PS3.4 §C.2.2.2.6)."""
    inside: dict[str, dict[str, Criterion]] = {}
    for tag, one in criteria.items():
        outer, _, inner = tag.partition(".")
        if inner:
            inside.setdefault(outer, {})[inner] = one
        elif not satisfies(one, tag, attributes):
            return False
    return all(any(satisfy(asked, item) for item in _items(attributes, tag)) for tag, asked in inside.items())


def _items(attributes: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    """Of a sequence; one without attributes where there is none, as what is absent is in no item either."""
    return [item for item in attributes.get(tag, {}).get("Value", ()) if isinstance(item, Mapping)] or [{}]


def _is_between(criterion: Together, tag: str, attributes: Mapping[str, Any]) -> bool:
    date, time = (
        next((canonical(vr, value) for vr, value in _values([name], attributes) if isinstance(value, str)), "")
        for name in (criterion.date_tag, tag)
    )
    if not date:
        return False
    latest, earliest = date + (time or "235959.999999"), date + (time or "000000.000000")
    return criterion.low <= latest and (not criterion.high or earliest <= criterion.high)


def _values(path: list[str], attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    held = attributes.get(path[0], {})
    for value in held.get("Value", ()):
        if len(path) == 1:
            yield held["vr"], value
        elif isinstance(value, Mapping):
            yield from _values(path[1:], value)


def _matches(criterion: Criterion, vr: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_text_matches(criterion, text) for text in spellings_of_name(value))
    if isinstance(value, int | float):
        return isinstance(criterion, OneOf) and any(_number(text) == value for text in criterion.values)
    return isinstance(value, str) and _text_matches(criterion, canonical(vr, value))


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
        case Fuzzy(asked):
            return is_near(text, asked)
        case Together() | Empty():
            return False  # `satisfies` answers these


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
