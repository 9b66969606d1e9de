"""What a structured report says, as lines to be read: its content tree (PS3.3 §C.17.3), from DICOM JSON. Pure.

Lenient: an item without what it should have becomes a line with less on it. Nothing is left out in silence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from drimbox.errors import NotAcceptable
from drimbox.model import InstanceRef

Item = Mapping[str, Any]
"""One item of the JSON model: elements by tag."""

MOST_LINES: Final = 100_000
TOO_LONG: Final = "[texte trop long pour cette page : voir l'objet / text too long for this page: see the object]"

_REFERENCES: Final = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})
_SIMPLE: Final = {
    "TEXT": "0040A160", "UIDREF": "0040A124", "DATE": "0040A121", "TIME": "0040A122", "DATETIME": "0040A120",
    "SCOORD": "00700023", "SCOORD3D": "00700023", "TCOORD": "0040A130",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One content item. number: its position, such as `1.2.1`. kind: its value type, "" for a pointer to another line.

    words: its value; those of a measure with its unit. about: modifiers of the name. target, frames: of an object it
    points at; target is None when nothing tells which series that is in. to: the number of the line it points at.
    """

    number: str
    kind: str
    name: str
    words: str
    about: tuple[str, ...] = ()
    target: InstanceRef | None = None
    frames: tuple[int, ...] = ()
    to: str = ""

    @property
    def depth(self) -> int:
        """0 for the title."""
        return self.number.count(".")


def read_lines(report: Item) -> Iterator[Line]:
    """The lines of a report, its title first, in the order of the tree. Raises NotAcceptable past MOST_LINES."""
    places = {ref.sop_uid: ref for ref in _evidence(report)}
    open_items: list[Iterator[tuple[str, Item]]] = [iter([("1", report)])]
    count = 0
    while open_items:
        found = next(open_items[-1], None)
        if found is None:
            open_items.pop()
            continue
        number, item = found
        count += 1
        if count > MOST_LINES:
            raise NotAcceptable("report", f"more than {MOST_LINES} content items: retrieve it as it is kept")
        yield _line(number, item, places)
        open_items.append(_children(number, item))


def _children(number: str, item: Item) -> Iterator[tuple[str, Item]]:
    """Those that are lines of their own, numbered among all, as references count them (PS3.3 §C.17.3.2.5)."""
    for index, child in enumerate(items_of(item, "0040A730"), 1):
        if text_of(child, "0040A010") != "HAS CONCEPT MOD":
            yield f"{number}.{index}", child


def _line(number: str, item: Item, places: Mapping[str, InstanceRef]) -> Line:
    kind, name = text_of(item, "0040A040"), meaning_of(item, "0040A043")
    pointer = values_of(item, "0040DB73")
    if pointer:
        return Line(number, "", name, "", to=".".join(str(one) for one in pointer))
    about = tuple(
        f"{meaning_of(one, '0040A043')}: {_words(one)}"
        for one in items_of(item, "0040A730")
        if text_of(one, "0040A010") == "HAS CONCEPT MOD"
    )
    if kind not in _REFERENCES:
        return Line(number, kind, name, _words(item), about)
    object_ = next(iter(items_of(item, "00081199")), {})
    uid = text_of(object_, "00081155")
    frames = tuple(int(one) for one in map(str, values_of(object_, "00081160")) if one.isascii() and one.isdigit())
    return Line(number, kind, name, "" if uid in places else uid, about, places.get(uid), frames)


def _words(item: Item) -> str:
    """The value of a content item that points at nothing."""
    match text_of(item, "0040A040"):
        case "CODE":
            return meaning_of(item, "0040A168")
        case "PNAME":
            return person_of(item, "0040A123")
        case "NUM":
            measured = next(iter(items_of(item, "0040A300")), {})
            unit = next(iter(items_of(measured, "004008EA")), {})
            sign = "" if text_of(unit, "00080100") == "1" else text_of(unit, "00080100") or text_of(unit, "00080104")
            number = text_of(measured, "0040A30A") or meaning_of(item, "0040A301")
            return f"{number} {sign}".strip()
        case "DATE" | "TIME" | "DATETIME" as kind:
            return moment(text_of(item, _SIMPLE[kind]), with_date=kind != "TIME")
        case kind if kind in _SIMPLE:
            return text_of(item, _SIMPLE[kind])
    return ""


def _evidence(report: Item) -> Iterator[InstanceRef]:
    """Where the objects are that a report points at (PS3.3 §C.17.2)."""
    for tag in ("0040A375", "0040A385"):
        for study in items_of(report, tag):
            for series in items_of(study, "00081115"):
                for one in items_of(series, "00081199"):
                    uids = text_of(study, "0020000D"), text_of(series, "0020000E"), text_of(one, "00081155")
                    if all(uid and uid.replace(".", "").isdigit() for uid in uids):
                        yield InstanceRef(*uids)


# --- Of the JSON model ---------------------------------------------------------------------------------------------


def values_of(item: Item, tag: str) -> list[Any]:
    """The values of an element; none when it is absent, empty, or too large to be within."""
    found = item.get(tag, {}).get("Value", [])
    return found if isinstance(found, list) else []


def items_of(item: Item, tag: str) -> list[Item]:
    """The items of a sequence."""
    return [one for one in values_of(item, tag) if isinstance(one, dict)]


def text_of(item: Item, tag: str) -> str:
    """The values as one text."""
    if "BulkDataURI" in item.get(tag, {}):
        return TOO_LONG
    return "\\".join(str(one) for one in values_of(item, tag) if one is not None and not isinstance(one, dict))


def meaning_of(item: Item, tag: str) -> str:
    """What the code in a sequence means, else the code itself (PS3.3 §8)."""
    code = next(iter(items_of(item, tag)), {})
    return next((found for one in ("00080104", "00080100", "00080119") if (found := text_of(code, one))), "")


def person_of(item: Item, tag: str) -> str:
    """The names of persons: prefix, given, middle, family, suffix; family in capitals as it is written."""
    names = []
    for one in items_of(item, tag):
        written = str(one.get("Alphabetic") or one.get("Ideographic") or one.get("Phonetic") or "")
        family, given, middle, prefix, suffix, *_ = [*written.split("^"), "", "", "", "", ""]
        names.append(" ".join(part for part in (prefix, given, middle, family, suffix) if part.strip()))
    return ", ".join(names)


def moment(text: str, *, with_date: bool = True) -> str:
    """A DA, TM or DT as people write it: 05/01/2026 10:15; as it is when it is none."""
    digits = text.replace(":", "").split(".")[0].split("+")[0].split("-")[0].strip()
    if not digits.isdigit() or (with_date and len(digits) < 8):
        return text
    date, time = (digits[:8], digits[8:]) if with_date else ("", digits)
    told = [f"{date[6:8]}/{date[4:6]}/{date[:4]}"] if date else []
    if len(time) >= 4:
        told.append(f"{time[:2]}:{time[2:4]}")
    return " ".join(told) or text
