"""QIDO-RS: the query parameters, and the forms of the answer (PS3.18 §8.3.4 and §10.6). Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode

from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.keywords import find_tag
from drimbox.dicom.levels import MATCHED, is_among
from drimbox.dicom.match import Criterion, Level, OneOf, Query, criterion, together
from drimbox.dicomweb.accept import Choice, MediaRange, weigh
from drimbox.dicomweb.media_types import DICOM, DICOM_JSON, DICOM_XML, JSON
from drimbox.errors import Malformed, NotAcceptable

DEFAULT_LIMIT: Final = 100
MOST_RESULTS: Final = 1000
"""A page at most; the rest is asked for with `offset`, as the Warning header of the answer says."""

MOST_DIGITS: Final = 9

NO_SEVERAL: Final = (
    "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed."
)
NOT_INCLUDED: Final = "Attributes of includefield that the index does not hold were left out: "
MORE: Final = "There are additional results that can be requested"

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_SAFE_NAME = re.compile(r"[0-9A-Za-z.]{1,64}", re.ASCII)  # may be repeated to the caller
_NUMBER = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}", re.ASCII)
_SWITCHES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_OF_THE_ANSWER = frozenset({"accept", "charset"})  # PS3.18 §8.3.3; text is UTF-8 whatever is preferred (§8.8)
_ONCE = frozenset({"limit", "offset", *_SWITCHES})
# Of a series or an instance, what is counted for its study can be asked for too.
_ASKED: Final[Mapping[Level, frozenset[str]]] = {
    "study": MATCHED["study"],
    "series": MATCHED["study"] | MATCHED["series"],
    "instance": MATCHED["study"] | MATCHED["series"] | MATCHED["instance"],
}
_ADDED = frozenset({"00081190"})  # Retrieve URL, which every answer has


@dataclass(frozen=True, slots=True)
class Search:
    """A query, and what must be told about how it was understood."""

    query: Query
    warnings: tuple[str, ...]


def read_search(level: Level, within: Mapping[str, str], parameters: Iterable[tuple[str, str]]) -> Search:
    """Read the parameters of a search. within: tag to UID, from the path.

    Names are keywords or tags, joined by dots inside sequences. What is asked must be among what the index holds at
    this level or above: a criterion passed over would answer with the wrong patients. Raises Malformed, TooLarge.
    A UID that is asked for several times is a list of them, as older editions had it (2015c, §6.7.1).

    The answer holds every attribute of the index, so `includefield` adds none; what it names that the index does not
    hold is told in a warning, and what is no attribute at all is a wrong value (§8.3). The creator of a private one is
    named by a parameter of its own (§8.3.4.3), which is no criterion then.
    """
    named: list[tuple[str, str]] = []
    options: dict[str, str] = {}
    left_out: list[str] = []
    for name, value in parameters:
        if name in _OF_THE_ANSWER:
            continue
        if name == "includefield":
            left_out += _left_out(level, value)
        elif name in _ONCE:
            if name in options:
                raise Malformed("query", f"{name} is given twice")
            options[name] = value
        else:
            named.append((name, value))
    asked = _read_asked(level, within, named, {_creator_of(tag) for tag in left_out})
    fuzzy, empty, several = (_read_switch(options, name) for name in _SWITCHES)
    criteria: dict[str, Criterion] = {tag: OneOf((uid,)) for tag, uid in within.items()}
    criteria |= {tag: criterion(tag, value, fuzzy=fuzzy, empty=empty) for tag, value in asked.items()}
    limit = min(_read_number(options, "limit", DEFAULT_LIMIT), MOST_RESULTS)
    offset = _read_number(options, "offset", 0)
    warnings = [NO_SEVERAL] if several else []
    if left_out:
        warnings.append(NOT_INCLUDED + " ".join(dict.fromkeys(left_out)))
    return Search(Query(level, together(criteria), None, limit, offset), tuple(warnings))


def next_page(parameters: Iterable[tuple[str, str]], query: Query) -> str:
    """The query component that asks for what follows this page."""
    kept = [(name, value) for name, value in parameters if name != "offset"]
    return urlencode([*kept, ("offset", str(query.offset + query.limit))])


def choose_form(ranges: Sequence[MediaRange]) -> str:
    """The media type to answer a search in: JSON, or parts of XML (PS3.18 §10.6.4). Raises NotAcceptable."""
    return _choose_form(tuple(ranges))


@lru_cache(maxsize=256)
def _choose_form(ranges: Sequence[MediaRange]) -> str:
    plain = [MediaRange(r.type, r.related_type, "*", r.q) for r in ranges if r.content_type != DICOM]
    offers = (Choice("", DICOM_JSON, False), Choice("", JSON, False), Choice("", DICOM_XML, True))
    best, chosen = max(((weigh(plain, offer, strict_parts=False), offer) for offer in offers), key=lambda pair: pair[0])
    if best <= 0:
        raise NotAcceptable("Accept", f'possible here: {DICOM_JSON}, {JSON}, multipart/related; type="{DICOM_XML}"')
    return chosen.media_type


def _read_asked(
    level: Level, within: Mapping[str, str], named: Iterable[tuple[str, str]], creators: Collection[str]
) -> dict[str, str]:
    """What is asked for by tag. creators: tags that say whose the private attributes of includefield are."""
    asked: dict[str, str] = {}
    for name, value in named:
        tag = _read_name(name)
        if tag in creators:
            continue
        if tag in within or (tag in asked and vr_of(int(tag[-8:], 16)) != "UI"):
            raise Malformed("query", f"{_shown(name)} is given twice")
        if not is_among(tag, _ASKED[level]):
            raise Malformed("query", f"{_shown(name)} cannot be asked for at the {level} level")
        asked[tag] = f"{asked[tag]},{value}" if tag in asked else value
    return asked


def _left_out(level: Level, value: str) -> list[str]:
    """What of an includefield the index does not hold, as tags."""
    names = [name for name in (part.strip() for part in value.split(",")) if name not in ("", "all")]
    tags = [_read_name(name) for name in names]
    return [tag for tag in tags if not is_among(tag, MATCHED[level] | _ADDED)]


def _creator_of(tag: str) -> str:
    """The tag of the private creator of a private attribute (PS3.5 §7.8.1), empty for others."""
    return f"{tag[:4]}00{tag[4:6]}" if tag[3] in "13579BDF" and tag[4:6] >= "10" else ""


def _read_switch(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false").lower()
    if value not in ("true", "false"):
        raise Malformed("query", f"{name} is true or false")
    return value == "true"


def _read_name(name: str) -> str:
    """The tag, or tags joined by dots, that `name` means."""
    parts = name.split(".")
    tags = [part.upper() if _TAG.fullmatch(part) else find_tag(part) for part in parts[:4]]
    if None in tags or len(parts) > 4:
        raise Malformed("query", f"{_shown(name)} is no attribute: write its keyword or its 8 hexadecimal digits")
    return ".".join(tag for tag in tags if tag)


def _shown(name: str) -> str:
    """`name` when it can do no harm in an answer or a log."""
    return name if _SAFE_NAME.fullmatch(name) else "a parameter"


def _read_number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise Malformed("query", f"{name} is a whole number of at most {MOST_DIGITS} digits")
    return int(text)
