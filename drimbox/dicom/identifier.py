"""The Identifier of C-FIND, C-GET and C-MOVE: data set to query, and what was found to data set (PS3.4 §C.4).

Matching is that of `match`, so C-FIND and QIDO-RS give the same answer to the same question.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from drimbox.dicom.attributes import Attributes, integer, text
from drimbox.dicom.charset import UNDECLARED, decode_text, read_charset
from drimbox.dicom.dictionary import US_OR_SS, vr_of
from drimbox.dicom.elements import ITEM, ElementReader, Limits
from drimbox.dicom.levels import MATCHED, is_among
from drimbox.dicom.match import UNIVERSAL, Criterion, Level, OneOf, Query, criterion, together
from drimbox.dicom.part10 import InMemory
from drimbox.dicom.scan import INDEXED
from drimbox.dicom.uid import TRANSFER_SYNTAXES, TransferSyntax
from drimbox.dicom.values import BINARY, NUMBERS, to_json
from drimbox.dicom.writing import build_data_set
from drimbox.errors import NotAcceptable

Root = Literal["patient", "study"]
QueryLevel = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]

_LIMITS: Final = Limits(max_depth=3, max_elements=4000)
_CHARSET, _LEVEL, _RETRIEVE_AE, _TIMEZONE = "00080005", "00080052", "00080054", "00080201"
_PATIENT_ID, _ISSUER, _NAME, _BIRTH_DATE = "00100020", "00100021", "00100010", "00100030"
_UNIQUE: Final[Mapping[QueryLevel, str]] = {
    "PATIENT": _PATIENT_ID, "STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018",
}  # fmt: skip
_SEARCHED: Final[Mapping[QueryLevel, Level]] = {
    "PATIENT": "study", "STUDY": "study", "SERIES": "series", "IMAGE": "instance",
}  # fmt: skip
# Said of the question or of the answer, never compared with what is held.
_NOT_MATCHED: Final = frozenset({_CHARSET, _LEVEL, _RETRIEVE_AE, _TIMEZONE})
# NumberOfPatientRelated Studies, Series, Instances: how they are added up from the studies of a patient.
_PATIENT_COUNTS: Final = {"00201200": "", "00201202": "00201206", "00201204": "00201208"}
_PATIENT: Final = frozenset(tag for tag in INDEXED["study"] if tag.startswith("0010"))
_NEEDED_TO_GROUP: Final = frozenset({_PATIENT_ID, _ISSUER, _NAME, _BIRTH_DATE, "00201206", "00201208"})


@dataclass(frozen=True, slots=True)
class Identifier:
    """What was asked. keys: text by tag, or by tags joined by dots inside sequences, empty when only the value is
    wanted. wanted: VR of the attributes to answer, by tag.
    """

    level: QueryLevel
    keys: Mapping[str, str] = field(repr=False)
    wanted: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Search:
    """A query made from an Identifier. is_partial: some keys are not supported, thus not matched (FF01)."""

    query: Query
    is_partial: bool


def read_identifier(data: bytes, transfer_syntax: str, root: Root) -> Identifier:
    """Read an Identifier in one of the uncompressed transfer syntaxes.

    Raises Malformed when it cannot be read, NotAcceptable when it is none of this information model, TooLarge.
    """
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    reader = ElementReader(
        InMemory(data), 0, explicit=syntax.explicit, little_endian=syntax.little_endian, limits=_LIMITS
    )
    codecs = UNDECLARED
    keys: dict[str, str] = {}
    wanted: dict[str, str] = {}
    path: list[str] = []
    items: list[int] = []  # by level, how many the open sequence had
    for depth, tag, written, offset, length in reader:
        if tag == ITEM:
            items[depth - 1] += 1
            if items[depth - 1] > 1:
                raise NotAcceptable("Identifier", "a sequence of keys has more than one item")
            continue
        path[depth:] = [f"{tag:08X}"]
        known = vr_of(tag)
        vr = written if known == "UN" else known
        if vr == US_OR_SS:
            vr = "US"
        if written == "SQ":
            items[depth:] = [0]
        if not tag & 0xFFFF:
            continue  # a group length
        if depth == 0:
            wanted[path[0]] = vr
        if "SQ" in (written, vr):
            continue
        value = reader.value(offset, length)
        if path == [_CHARSET]:
            codecs = read_charset(value)
        keys[".".join(path)] = _read_text(vr, value, codecs, syntax.little_endian)
    return Identifier(_read_level(keys, root), keys, wanted)


def _read_text(vr: str, value: bytes, codecs: tuple[str, ...], little_endian: bool) -> str:
    if vr in NUMBERS or vr == "AT":
        return "\\".join(str(number) for number in to_json(vr, value, codecs, little_endian).get("Value", ()))
    return "" if vr in BINARY else decode_text(value, codecs).strip(" \x00")


def _read_level(keys: Mapping[str, str], root: Root) -> QueryLevel:
    told = keys.get(_LEVEL, "").upper()
    for level in get_args(QueryLevel):
        if told == level and (root == "patient" or level != "PATIENT"):
            found: QueryLevel = level
            return found
    raise NotAcceptable("Identifier", "no Query/Retrieve Level of this model")


def build_search(identifier: Identifier, most: int, *, fuzzy: bool = False, combined: bool = False) -> Search:
    """What to look for. Keys above the level are matched like others: a relational query needs no more.

    fuzzy: names are matched nearly (PS3.4 §C.2.2.2.1.1). combined: the ranges of a date and its time are one range
    (§C.2.2.2.5); both only where that was negotiated.

    A key that is not supported is not matched, and answered without value (PS3.4 §C.2.2.1.3). Raises Malformed,
    TooLarge.
    """
    level = _SEARCHED[identifier.level]
    supported = _PATIENT if identifier.level == "PATIENT" else MATCHED[level]
    keys = {tag: value for tag, value in identifier.keys.items() if is_among(tag, supported)}
    criteria = _criteria(keys, fuzzy=fuzzy)
    if combined:
        criteria = together(criteria)
    include = frozenset(identifier.wanted)
    counted: frozenset[str] = frozenset()
    if identifier.level == "PATIENT":
        counted = frozenset(tag for tag in _PATIENT_COUNTS if not identifier.keys.get(tag))
        include |= _NEEDED_TO_GROUP
    inside = {tag for tag in identifier.keys.keys() - keys.keys() if "." in tag}
    is_partial = bool(inside | (identifier.wanted.keys() - supported - _NOT_MATCHED - counted))
    return Search(Query(level, criteria, include, most, 0), is_partial)


def build_selection(identifier: Identifier, root: Root, most: int, *, relational: bool = False) -> Query:
    """What to retrieve: one value of each unique key above the level, one or more of that of the level.

    Only unique keys select (PS3.4 §C.4.2.2.1, §C.4.3.2.1). relational: those above the level may be left out
    (§C.4.2.2.2, §C.4.3.2.2). Raises NotAcceptable, Malformed, TooLarge.
    """
    levels = get_args(QueryLevel)[0 if root == "patient" else 1 :]
    needed = levels[: levels.index(identifier.level) + 1]
    criteria = _criteria({_UNIQUE[level]: identifier.keys.get(_UNIQUE[level], "") for level in needed})
    for level in needed:
        if relational and level != identifier.level and not identifier.keys.get(_UNIQUE[level]):
            continue
        named = criteria.get(_UNIQUE[level])
        count = len(named.values) if isinstance(named, OneOf) else 0
        if count == 0 or (count > 1 and (level != identifier.level or level == "PATIENT")):
            raise NotAcceptable("Identifier", "a unique key is absent, or has several values")
    return Query(_SEARCHED[identifier.level], criteria, frozenset(_UNIQUE.values()), most, 0)


def _criteria(keys: Mapping[str, str], *, fuzzy: bool = False) -> dict[str, Criterion]:
    read = {tag: criterion(tag, value, fuzzy=fuzzy) for tag, value in keys.items() if value and tag not in _NOT_MATCHED}
    return {tag: one for tag, one in read.items() if one != UNIVERSAL}


def group_patients(studies: Iterable[Attributes]) -> list[Attributes]:
    """One answer a patient, from theirs for studies: the first study tells, series and instances are added up.

    Two identifiers are two patients, and so are two names or birth dates without identifier.
    """
    patients: dict[tuple[str, ...], Attributes] = {}
    for study in studies:
        identity = tuple(text(study, tag) for tag in (_PATIENT_ID, _ISSUER))
        if not identity[0]:
            identity = (*(text(study, tag) for tag in (_NAME, _BIRTH_DATE)), "")
        patient = patients.setdefault(identity, {tag: study[tag] for tag in study.keys() & _PATIENT})
        for tag, counted in _PATIENT_COUNTS.items():
            step = (integer(study, counted) or 0) if counted else 1
            patient[tag] = {"vr": "IS", "Value": [(integer(patient, tag) or 0) + step]}
    return list(patients.values())


def build_answer(identifier: Identifier, found: Mapping[str, Any], ae_title: str, syntax: TransferSyntax) -> bytes:
    """The Identifier of one pending response: every attribute asked for, of no length where nothing is known."""
    answer = {
        tag: found[tag] if tag in found and found[tag]["vr"] != "UN" else {"vr": vr}
        for tag, vr in identifier.wanted.items()
    }
    answer[_CHARSET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    answer[_LEVEL] = {"vr": "CS", "Value": [identifier.level]}
    answer[_RETRIEVE_AE] = {"vr": "AE", "Value": [ae_title]}
    return build_data_set(answer, syntax)
