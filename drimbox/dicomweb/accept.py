"""What the caller can read: the Accept header, parsed once, and the choice of a representation. Pure.

Sources: RFC 9110 §5.3, §5.6 and §12.5.1; PS3.18 §8.7.3 to §8.7.8. The parser is forgiving, because viewers and peers in
service send unquoted types, trailing commas, `boundary=**`, ten headers instead of one, and parameters nobody knows.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from drimbox.dicomweb.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    EXPLICIT_LITTLE_ENDIAN,
    JSON,
    OCTET_STREAM,
    frame_media_types,
    is_lossy,
)
from drimbox.errors import Malformed, NotAcceptable

MOST_CHARACTERS = 16384
MOST_RANGES = 100
STORED_IS_WORTH = 0.5
"""Stored bytes are given while their q is at least this share of the best q: transcoding costs more than it pleases."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the `token` of RFC 9110 §5.6.2, no secret
# A parameter value is a token, a quoted string, or, out of tolerance, what unquoted media types hold: `/`.
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))')
_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_SECTION = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One member of Accept. Types in lower case.

    related_type: of `multipart/related; type=`, else "". transfer_syntax: a UID, `*`, or "" when not told.
    """

    type: str
    related_type: str = ""
    transfer_syntax: str = ""
    q: float = 1.0

    @property
    def is_multipart(self) -> bool:
        return self.type.startswith("multipart/")

    @property
    def content_type(self) -> str:
        """The type of the bytes themselves, inside the multipart if there is one."""
        return (self.related_type or "*/*") if self.is_multipart else self.type


ANYTHING = (MediaRange("*/*"),)


@dataclass(frozen=True, slots=True)
class Choice:
    """What will be sent: these bytes, called so, in parts or alone."""

    transfer_syntax: str
    media_type: str
    multipart: bool


def parse_accept(fields: Iterable[str]) -> tuple[MediaRange, ...]:
    """Read the Accept fields, best q first, in order of writing within a q. No field, or only empty ones: anything.

    A member that cannot be read is passed over: it accepts nothing, which the answer 406 then explains.
    Raises Malformed beyond MOST_CHARACTERS or MOST_RANGES.
    """
    return _parsed(",".join(fields))


@lru_cache(maxsize=256)  # a viewer sends the same for each of a thousand frames
def _parsed(text: str) -> tuple[MediaRange, ...]:
    if len(text) > MOST_CHARACTERS:
        raise Malformed("Accept", f"more than {MOST_CHARACTERS} characters")
    members = [member for part in _MEMBER.findall(text) if (member := part.strip())]
    if not members:
        return ANYTHING
    if len(members) > MOST_RANGES:
        raise Malformed("Accept", f"more than {MOST_RANGES} media ranges")
    ranges = [found for member in members if (found := _read_range(member)) is not None]
    return tuple(sorted(ranges, key=lambda r: -r.q))


def _read_range(member: str) -> MediaRange | None:
    sections = [section.strip() for section in _SECTION.findall(member)]
    media_type = sections[0].lower() if sections else ""
    if media_type == "*":  # sent by the Java library's default client
        media_type = "*/*"
    if not _TYPE.fullmatch(media_type):
        return None
    parameters: dict[str, str] = {}
    for section in sections[1:]:
        if match := _PARAMETER.fullmatch(section):
            name, quoted, plain = match.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value.strip())
    q = _read_q(parameters.get("q", "1"))
    related = ""
    if media_type.startswith("multipart/"):
        # `type="image/jls; transfer-syntax=..."` was written by some: what follows the type is not part of it.
        related = parameters.get("type", "").partition(";")[0].strip().lower()
        if related and not _TYPE.fullmatch(related):
            return None
    if q is None:
        return None
    return MediaRange(media_type, related, parameters.get("transfer-syntax", ""), q)


def _read_q(text: str) -> float | None:
    """A weight, brought back between 0 and 1; None when it is no number."""
    if not re.fullmatch(r"-?[0-9]{0,9}(\.[0-9]{0,9})?", text, re.ASCII) or not any(c.isdigit() for c in text):
        return None
    return min(max(float(text), 0.0), 1.0)


# --- Choosing -----------------------------------------------------------------------------------------------------


def choose_instance(ranges: Sequence[MediaRange], possible: Sequence[str], *, one: bool) -> Choice:
    """Which of the `possible` transfer syntaxes (the stored one first) to give whole instances in.

    one: a single instance is asked; then plain `application/dicom` means one part alone. PS3.18 knows only the
    multipart form; too many programs know only the other. Raises NotAcceptable.
    """
    return _choose_instance(tuple(ranges), tuple(possible), one)


@lru_cache(maxsize=512)  # a viewer asks the same of each of a thousand images
def _choose_instance(ranges: Sequence[MediaRange], possible: Sequence[str], one: bool) -> Choice:
    offers = [
        Choice(syntax, DICOM, multipart) for syntax in possible for multipart in ((True, False) if one else (True,))
    ]
    return _choose(ranges, offers, possible[0], one)


def choose_frame(ranges: Sequence[MediaRange], possible: Sequence[str], *, one: bool) -> Choice:
    """Which of the `possible` transfer syntaxes (the stored one first) to give frames in, and as what media type.

    `application/octet-stream` with a transfer syntax, or `transfer-syntax=*`, may name compressed bytes: the viewers of
    today ask so. The national sample request asks for frames as `application/dicom`: its ranges are read for their
    transfer syntax alone. Raises NotAcceptable.
    """
    return _choose_frame(tuple(ranges), tuple(possible), one)


@lru_cache(maxsize=512)
def _choose_frame(ranges: Sequence[MediaRange], possible: Sequence[str], one: bool) -> Choice:
    offers = [
        Choice(syntax, media_type, multipart)
        for syntax in possible
        for media_type in frame_media_types(syntax)
        for multipart in ((True, False) if one else (True,))
    ]
    return _choose(ranges, offers, possible[0], one)


def _choose(ranges: Sequence[MediaRange], offers: Sequence[Choice], stored: str, one: bool) -> Choice:
    weighed = [(q, offer) for offer in offers if (q := weigh(ranges, offer, strict_parts=one)) > 0]
    if not weighed:
        # In offer order, each once; all are words of ours.
        raise NotAcceptable("Accept", "possible here: " + ", ".join(dict.fromkeys(map(_words, offers))))
    # What must be encoded is made for who names it, or for who accepts nothing cheaper.
    ready = (stored, EXPLICIT_LITTLE_ENDIAN)
    weighed = [w for w in weighed if w[1].transfer_syntax in ready or _is_named(ranges, w[1])] or weighed
    best = max(q for q, _ in weighed)
    kept = [(q, offer) for q, offer in weighed if offer.transfer_syntax == stored and q >= best * STORED_IS_WORTH]
    return max(kept or weighed, key=lambda pair: pair[0])[1]  # of equals, the first offered


def _is_named(ranges: Sequence[MediaRange], offer: Choice) -> bool:
    return any(r.transfer_syntax == offer.transfer_syntax and r.q > 0 for r in ranges)


def _words(offer: Choice) -> str:
    """How a caller would ask for it."""
    media_type = f'multipart/related; type="{offer.media_type}"' if offer.multipart else offer.media_type
    return f"{media_type}; transfer-syntax={offer.transfer_syntax}" if offer.transfer_syntax else media_type


def weigh(ranges: Sequence[MediaRange], offer: Choice, *, strict_parts: bool = True) -> float:
    """The q of the most precise range that covers `offer` (RFC 9110 §12.5.1); 0 when none does.

    strict_parts: a plain range covers only a part sent alone; when several must be sent it covers the multipart too.
    """
    covering = [(_precision(r), r.q) for r in ranges if _covers(r, offer, strict_parts)]
    return max(covering)[1] if covering else 0.0


def _precision(media_range: MediaRange) -> tuple[int, int]:
    stars = media_range.content_type.count("*") + (media_range.type.count("*") if media_range.is_multipart else 0)
    return (-stars, 1 if media_range.transfer_syntax not in ("", "*") else 0)


def _covers(media_range: MediaRange, offer: Choice, strict_parts: bool) -> bool:
    if media_range.is_multipart:
        if not offer.multipart or media_range.type not in ("multipart/related", "multipart/*"):
            return False
    elif offer.multipart and strict_parts and media_range.type != "*/*":
        return False
    wanted = media_range.content_type
    as_instance = wanted == DICOM and offer.media_type != DICOM
    if not as_instance and not covers_type(wanted, offer.media_type):
        return False
    if media_range.transfer_syntax:
        return media_range.transfer_syntax in ("*", offer.transfer_syntax)
    return _covers_by_default(wanted, offer)


def _covers_by_default(wanted: str, offer: Choice) -> bool:
    """Is this syntax what the range means when it names none (PS3.18 §8.7.3.5.2 and the tables of §8.7.3)?"""
    if wanted == OCTET_STREAM:
        return offer.transfer_syntax == EXPLICIT_LITTLE_ENDIAN
    if wanted == DICOM:
        # Lossy pixels are given as kept: the standard excepts them from its default.
        lossy_instance = offer.media_type == DICOM and is_lossy(offer.transfer_syntax)
        return offer.transfer_syntax == EXPLICIT_LITTLE_ENDIAN or lossy_instance
    # A wildcard, or an image type, whose several syntaxes one decoder reads: octets stay under their own name.
    return offer.media_type != OCTET_STREAM or offer.transfer_syntax == EXPLICIT_LITTLE_ENDIAN


def covers_type(pattern: str, media_type: str) -> bool:
    """Does a pattern such as `image/*` or `*/*` cover this type?"""
    if pattern in ("*/*", media_type):
        return True
    return pattern.endswith("/*") and media_type.startswith(pattern[:-1])


def choose_rendered(ranges: Sequence[MediaRange], offered: Sequence[str], *, one: bool) -> Choice:
    """Which of the `offered` types to show something as; alone if it is the only one. Raises NotAcceptable."""
    offers = [Choice("", name, multipart) for name in offered for multipart in ((False, True) if one else (True,))]
    return _choose(_without_syntax(ranges), offers, "", one)


def choose_plain(ranges: Sequence[MediaRange], offered: Sequence[str]) -> str:
    """Which of the `offered` types to answer with, where no transfer syntax matters; the first of equals.

    Raises NotAcceptable.
    """
    plain = _without_syntax(ranges)
    weighed = [(weigh(plain, Choice("", media_type, False)), media_type) for media_type in offered]
    best, chosen = max(weighed, key=lambda pair: pair[0])
    if best <= 0:
        raise NotAcceptable("Accept", "possible here: " + ", ".join(offered))
    return chosen


def choose_metadata(ranges: Sequence[MediaRange], *, one: bool) -> Choice:
    """How to tell metadata: JSON, or XML in parts; that of one instance also alone. Raises NotAcceptable."""
    return _choose_metadata(tuple(ranges), one)


@lru_cache(maxsize=512)
def _choose_metadata(ranges: Sequence[MediaRange], one: bool) -> Choice:
    offers = [Choice("", DICOM_JSON, False), Choice("", JSON, False), Choice("", DICOM_XML, True)]
    if one:
        offers.append(Choice("", DICOM_XML, False))
    return _choose(_without_syntax(ranges), offers, "", one)


def choose_bulkdata(ranges: Sequence[MediaRange]) -> bool:
    """Whether a value of bulk data goes as a multipart. Alone when both are as welcome: it can then be resumed.

    A value has no syntax of its own: a transfer syntax in the range is passed over. Raises NotAcceptable.
    """
    offers = [Choice("", OCTET_STREAM, multipart) for multipart in (False, True)]
    return _choose(_without_syntax(ranges), offers, "", True).multipart


def _without_syntax(ranges: Sequence[MediaRange]) -> list[MediaRange]:
    return [replace(media_range, transfer_syntax="*") for media_range in ranges]


def accepts_gzip(accept_encoding: str) -> bool:
    """Does Accept-Encoding (RFC 9110 §12.5.3) name gzip, with a q that is not zero?"""
    for member in accept_encoding[:MOST_CHARACTERS].split(","):
        coding, _, weight = member.replace(" ", "").lower().partition(";")
        if coding in ("gzip", "x-gzip"):
            return (_read_q(weight.removeprefix("q=")) if weight else 1.0) not in (None, 0.0)
    return False
