"""QIDO-RS query parameters (PS3.18 §8.3.4 and §10.6). Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.keywords import find_tag
from drimbox.dicom.levels import MATCHED
from drimbox.dicom.match import Criterion, Level, OneOf, Query, criterion
from drimbox.errors import Malformed

DEFAULT_LIMIT: Final = 100
MOST_RESULTS: Final = 1000
"""A page at most; the rest is asked for with `offset`, as the Warning header of the answer says."""

MOST_DIGITS: Final = 9

NO_FUZZY: Final = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
MORE: Final = "There are additional results that can be requested"

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_SAFE_NAME = re.compile(r"[0-9A-Za-z.]{1,64}", re.ASCII)  # may be repeated to the caller
_NUMBER = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}", re.ASCII)
_ONCE = frozenset({"limit", "offset", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"})


@dataclass(frozen=True, slots=True)
class Search:
    """A query, and what must be told about how it was understood."""

    query: Query
    warnings: tuple[str, ...]


def read_search(level: Level, within: Mapping[str, str], parameters: Iterable[tuple[str, str]]) -> Search:
    """Read the parameters of a search. within: tag to UID, from the path.

    Names are keywords or tags, joined by dots inside sequences. What is asked must be among what the index holds at
    this level or above: a criterion passed over would answer with the wrong patients. Raises Malformed, TooLarge.

    `includefield` is checked and no more: the answer always holds every attribute of the index.
    """
    criteria: dict[str, Criterion] = {tag: OneOf((uid,)) for tag, uid in within.items()}
    options: dict[str, str] = {}
    for name, value in parameters:
        if name == "accept":
            continue
        if name == "includefield":
            _check_fields(value)
        elif name in _ONCE:
            if name in options:
                raise Malformed("query", f"{name} is given twice")
            options[name] = value
        else:
            tag = _read_name(name)
            if tag in criteria:
                raise Malformed("query", f"{_shown(name)} is given twice")
            if tag[:8] not in MATCHED[level]:
                raise Malformed("query", f"{_shown(name)} cannot be asked for at the {level} level")
            criteria[tag] = criterion(tag, value)
    limit = min(_read_number(options, "limit", DEFAULT_LIMIT), MOST_RESULTS)
    offset = _read_number(options, "offset", 0)
    warnings = (NO_FUZZY,) if options.get("fuzzymatching", "").lower() == "true" else ()
    return Search(Query(level, criteria, None, limit, offset), warnings)


def _check_fields(value: str) -> None:
    for name in value.split(","):
        if name.strip() not in ("", "all"):
            _read_name(name.strip())


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
