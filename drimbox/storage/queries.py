"""Answers to queries, from the rows of the index.

A criterion on a matching column is SQL, with its value always bound; one that has no column is checked row by row with
`satisfies`, so every attribute of `dicom.scan`'s lists can be asked for. Studies come newest first, so a page is found
by walking the index of dates until it is full, unless a criterion names so few that they are looked up and sorted:
which of the two is decided by asking for a handful, since no statistics know what a person will type.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import orjson

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.match import (
    UNIVERSAL,
    Between,
    Criterion,
    Empty,
    Fuzzy,
    OneOf,
    Query,
    Together,
    Wildcard,
    satisfies,
)
from drimbox.dicom.names import is_near, pieces
from drimbox.dicom.scan import INDEXED
from drimbox.storage.database import Row, Values
from drimbox.storage.rejections import hidden_count, shown_instance, shown_series, shown_study

Rows = Callable[[str, Values], Iterator[Row]]

_FEW: Final = 1000
"""Rows that are looked up and sorted, in about a millisecond, rather than met on a walk."""

_COLUMNS: Final = {
    "0020000D": "st.study_uid",
    "00100020": "st.patient_id",
    "00080020": "st.study_date",
    "00080050": "st.accession_number",
    "00200010": "st.study_id",
    "0020000E": "s.series_uid",
    "00080060": "s.modality",
    "00080018": "i.sop_uid",
    "00080016": "i.sop_class_uid",
    "00083002": "i.transfer_syntax",
}
_UNIQUE: Final = frozenset({"st.study_uid", "s.series_uid", "i.sop_uid"})
# Columns in which one value, or one prefix, may have many rows: table, and the key that a handful is told by.
_CROWDED: Final = {
    "st.patient_id": ("study", "study_uid"),
    "st.accession_number": ("study", "study_uid"),
    "st.study_id": ("study", "study_uid"),
    "s.modality": ("series", "series_uid"),
}
# Attributes whose values lie in rows below, or beside: table and column of them.
_INSIDE: Final = {
    "00100010": ("patient_name", "name"),
    "00080061": ("series", "modality"),
    "00080062": ("instance", "sop_class_uid"),
}
_UNINDEXED: Final = frozenset({"sop_class_uid"})  # looked at study by study
# What a rejection note took out of use is in no answer, in no count and matches nothing.
_SHOWN: Final = {"study": shown_study("st"), "series": shown_series("s"), "instance": shown_instance("i")}
_SHOWN_INSIDE: Final = {"patient_name": "1", "series": shown_series("x"), "instance": shown_instance("x")}
_SERIES_OF_STUDY: Final = f"FROM series c WHERE c.study_uid = st.study_uid AND {shown_series('c')}"
# How many studies, series or instances an answer says there are.
_COUNTED: Final = {
    "00201206": f"(SELECT count(*) {_SERIES_OF_STUDY})",
    "00201208": f"(st.instances - {hidden_count('st', 'study_uid')})",
    "00201209": (
        "((SELECT count(*) FROM instance c WHERE c.study_uid = s.study_uid AND c.series_uid = s.series_uid)"  # noqa: S608
        f" - {hidden_count('s', 'study_uid', 'series_uid')})"
    ),
}
_MODALITIES: Final = f"(SELECT group_concat(DISTINCT nullif(c.modality, '')) {_SERIES_OF_STUDY})"
# By level: the tables, from the highest down; the key of a row; its attributes; what an answer says of it; its place.
_TABLES: Final = {
    "study": "study st{walk}",
    "series": "study st{walk} {join} series s USING (study_uid)",
    "instance": "study st{walk} {join} series s USING (study_uid) {join} instance i USING (study_uid, series_uid)",
}
_KEY: Final = {"study": "st.study_uid", "series": "st.study_uid, s.series_uid", "instance": "i.id"}
_ATTRIBUTES: Final = {"study": "st.attributes", "series": "s.attributes", "instance": "i.attributes"}
_TOLD: Final = {
    "study": f"st.attributes, {_COUNTED['00201206']}, {_COUNTED['00201208']}, {_MODALITIES}",
    "series": f"st.attributes, s.attributes, {_COUNTED['00201209']}",
    "instance": "st.attributes, s.attributes, i.attributes, i.transfer_syntax",
}
# Both columns of study downwards, as the index of dates is read backwards.
_ORDER: Final = {
    "study": "st.study_date DESC, st.study_uid DESC",
    "series": "st.study_date DESC, st.study_uid DESC, s.series_number, s.series_uid",
    "instance": "st.study_date DESC, st.study_uid DESC, s.series_number, s.series_uid, i.instance_number, i.sop_uid",
}
_FOUND: Final = {
    "study": "json_each(?) k JOIN study st ON st.study_uid = k.value ->> 0",
    "series": (
        "json_each(?) k JOIN study st ON st.study_uid = k.value ->> 0 "
        "JOIN series s ON s.study_uid = k.value ->> 0 AND s.series_uid = k.value ->> 1"
    ),
    "instance": (
        "json_each(?) k JOIN instance i ON i.id = k.value ->> 0 "
        "JOIN series s USING (study_uid, series_uid) JOIN study st USING (study_uid)"
    ),
}
_LAST: Final = chr(0x10FFFF)
_VERBATIM: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"})  # written as compared


@dataclass(slots=True)
class _Where:
    """The conditions of a search, with the values they bind.

    rest: what no condition answers. is_narrow: one of them leaves a handful of rows at most.
    """

    clauses: list[str] = field(default_factory=list)
    values: list[str | bytes | int] = field(default_factory=list)
    is_narrow: bool = False
    rest: dict[str, Criterion] = field(default_factory=dict)

    def add(self, clause: str, *values: str | bytes | int, narrow: bool = False) -> None:
        self.clauses.append(clause)
        self.values += values
        self.is_narrow |= narrow


def search(rows: Rows, query: Query) -> list[Attributes]:
    """What matches, as DICOM JSON, with the attributes of the levels above; only `query.include` unless it is None."""
    keys = _matching(rows, query)
    sql = f"SELECT {_TOLD[query.level]} FROM {_FOUND[query.level]} ORDER BY k.key"  # noqa: S608 constants
    found = [_answer(query.level, row) for row in rows(sql, [orjson.dumps(keys).decode()])]
    if query.include is None:
        return found
    return [{tag: item[tag] for tag in item.keys() & query.include} for item in found]


def _matching(rows: Rows, query: Query) -> list[Row]:
    """The keys of a page of what matches, in order. Rows are read whole afterwards: a walk past thousands is cheap."""
    where = _translated(rows, query)
    # SQLite takes a CROSS JOIN for an order: studies first, newest first. Otherwise the handful decides.
    join, walk = ("JOIN", "") if where.is_narrow else ("CROSS JOIN", " INDEXED BY study_by_date")
    sql = (
        f" FROM {_TABLES[query.level].format(join=join, walk=walk)}"
        f" WHERE {' AND '.join((_SHOWN[query.level], *where.clauses))} ORDER BY {_ORDER[query.level]}"
    )
    key = _KEY[query.level]
    if not where.rest:
        return list(rows(f"SELECT {key}{sql} LIMIT ? OFFSET ?", [*where.values, query.limit, query.offset]))
    levels = list(_ATTRIBUTES)[: list(_ATTRIBUTES).index(query.level) + 1]
    width = key.count(",") + 1
    matching = (
        row[:width]
        for row in rows(f"SELECT {key}, {', '.join(_ATTRIBUTES[level] for level in levels)}{sql}", where.values)
        if _is_wanted(row[width:], where.rest)
    )
    return list(islice(matching, query.offset, query.offset + query.limit))


def _is_wanted(levels: Row, rest: Mapping[str, Criterion]) -> bool:
    attributes: Attributes = dict(_ONLINE)
    for level in levels:
        attributes |= orjson.loads(level)
    return all(satisfies(criterion, tag, attributes) for tag, criterion in rest.items())


def _translated(rows: Rows, query: Query) -> _Where:
    where = _Where()
    for tag, criterion in query.criteria.items():
        column = _COLUMNS.get(tag, "")
        if criterion == UNIVERSAL:
            continue
        if tag in _INSIDE:
            _add_inside(rows, where, *_INSIDE[tag], criterion)
        elif tag in _COUNTED and isinstance(criterion, OneOf):
            numbers = [int(value) for value in criterion.values if value.isdecimal()]
            where.add(f"{_COUNTED[tag]} IN ({', '.join('?' * len(numbers))})", *numbers)
        elif _is_at(column, query.level):
            _add_column(rows, where, column, criterion)
        else:
            where.rest[tag] = criterion
            _add_trace(where, tag, criterion)
    return where


def _is_at(column: str, level: str) -> bool:
    levels = {"st": ("study", "series", "instance"), "s": ("series", "instance"), "i": ("instance",)}
    return level in levels.get(column.partition(".")[0], ())


def _add_column(rows: Rows, where: _Where, column: str, criterion: Criterion) -> None:
    clause, values = _clause(column, criterion)
    if column in _CROWDED:
        table, key = _CROWDED[column]
        bare, _ = _clause(column.partition(".")[2], criterion)
        few = _handful(rows, f"SELECT {key} FROM {table} WHERE {bare}", values)  # noqa: S608
        if few is not None:
            where.add(f"{column.partition('.')[0]}.{key} IN (SELECT value FROM json_each(?))", few, narrow=True)  # noqa: S608
            return
        clause, _ = _clause(f"+{column}", criterion)  # the plus keeps its index out of a walk by date
    where.add(clause, *values, narrow=column in _UNIQUE)


def _add_inside(rows: Rows, where: _Where, table: str, column: str, criterion: Criterion) -> None:
    """A criterion on rows of another table, of which a study has several: one that satisfies is enough."""
    if isinstance(criterion, Fuzzy):
        where.add("st.study_uid IN (SELECT value FROM json_each(?))", _near(rows, criterion), narrow=True)
        return
    shown = f"SELECT x.study_uid FROM {table} x WHERE {_SHOWN_INSIDE[table]}"  # noqa: S608
    same_study = f"{shown} AND x.study_uid = st.study_uid"
    if isinstance(criterion, Empty):
        where.add(f"NOT EXISTS ({same_study} AND x.{column} <> '')")
        return
    clause, values = _clause(f"x.{column}", criterion)
    few = None
    if column not in _UNINDEXED:
        few = _handful(rows, f"{shown} AND {clause}", values)
    if few is not None:
        where.add("st.study_uid IN (SELECT value FROM json_each(?))", few, narrow=True)
    else:
        clause, _ = _clause(f"+x.{column}", criterion)
        where.add(f"EXISTS ({same_study} AND {clause})", *values)


def _handful(rows: Rows, sql: str, values: list[str]) -> str | None:
    """The keys that a SELECT gives, as JSON; None when they are many."""
    keys = [key for (key,) in rows(f"{sql} LIMIT {_FEW + 1}", values)]
    return orjson.dumps(keys).decode() if len(keys) <= _FEW else None


def _near(rows: Rows, criterion: Fuzzy) -> str:
    """The studies of the names that are near: SQLite finds those that share a piece, `is_near` decides."""
    cut = [pieces(word) for word in criterion.words]
    likely = " AND ".join(f"({' OR '.join(['instr(name, ?)'] * len(parts))})" for parts in cut)
    sql = f"SELECT study_uid, name FROM patient_name WHERE {likely}"  # noqa: S608 question marks only
    found = rows(sql, [part for parts in cut for part in parts])
    return orjson.dumps([study_uid for study_uid, name in found if is_near(name, criterion.words)]).decode()


def _add_trace(where: _Where, tag: str, criterion: Criterion) -> None:
    """What must be somewhere in the attributes of a row that satisfies: SQLite sees it faster than we do."""
    levels = [level for level, tags in INDEXED.items() if tag[:8] in tags]
    if isinstance(criterion, OneOf) and len(levels) == 1 and vr_of(int(tag[-8:], 16)) in _VERBATIM:
        looked_for = " OR ".join([f"instr({_ATTRIBUTES[levels[0]]}, ?)"] * len(criterion.values))
        where.add(f"({looked_for})", *(orjson.dumps(value)[1:-1] for value in criterion.values))


def _clause(column: str, criterion: Criterion) -> tuple[str, list[str]]:
    """A criterion as SQL on a column that holds values as `match` compares them; absent ones are empty there."""
    match criterion:
        case OneOf(values):
            return f"{column} IN ({', '.join('?' * len(values))})", list(values)
        case Wildcard(pattern):
            escaped = pattern.replace("[", "[[]")
            start = pattern[: min(pattern.index(wild) for wild in "*?" if wild in pattern)]
            if not start:
                return f"{column} GLOB ?", [escaped]
            return f"{column} >= ? AND {column} < ? AND {column} GLOB ?", [start, start + _LAST, escaped]
        case Between(low, high):
            return f"{column} >= ? AND {column} <= ?", [low or "0", high or "~"]
        case Empty():
            return f"{column} = ''", []
        case Together() | Fuzzy():
            raise NotImplementedError(criterion)  # of times and names: no column is one


_ONLINE: Final[Attributes] = {"00080056": {"vr": "CS", "Value": ["ONLINE"]}}


def _answer(level: str, row: Row) -> Attributes:
    answer: Attributes = orjson.loads(row[0]) | _ONLINE
    if level == "study":
        _, series, instances, modalities = row
        answer["00201206"] = {"vr": "IS", "Value": [series]}
        answer["00201208"] = {"vr": "IS", "Value": [instances]}
        answer["00080061"] = {"vr": "CS", "Value": sorted(modalities.split(","))} if modalities else {"vr": "CS"}
    elif level == "series":
        answer |= orjson.loads(row[1])
        answer["00201209"] = {"vr": "IS", "Value": [row[2]]}
    else:
        answer |= orjson.loads(row[1])
        answer |= orjson.loads(row[2])
        answer["00083002"] = {"vr": "UI", "Value": [row[3]]}
    return answer
