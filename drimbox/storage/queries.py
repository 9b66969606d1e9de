"""Answers to queries, from the rows of the index.

A criterion on a matching column is SQL, with its value always bound; one that has no column is checked row by row with
`satisfy`, so every attribute of `dicom.scan`'s lists can be asked for. Studies come newest first, so a page is found
by walking the index of dates until it is full, unless a criterion names so few that they are looked up and sorted:
which of the two is decided by asking for a handful, since no statistics know what a person will type.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

import orjson

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.dictionary import vr_of
from drimbox.dicom.found import ONLINE, Found
from drimbox.dicom.match import (
    UNIVERSAL,
    Between,
    Criterion,
    Empty,
    Fuzzy,
    Level,
    OneOf,
    Query,
    Together,
    Wildcard,
    satisfies,
    satisfy,
)
from drimbox.dicom.names import is_near, pieces
from drimbox.dicom.scan import INDEXED
from drimbox.storage.database import Row, Values
from drimbox.storage.rejections import hidden_count, shown_instance, shown_series, shown_study

Rows = Callable[[str, Values], Iterator[Row]]
_Plain = OneOf | Wildcard | Between | Empty  # what a column can answer

_FEW: Final = 1000
"""Rows that are looked up and sorted, in about a millisecond, rather than met on a walk."""
_AT_ONCE: Final = 50
"""Rows that are looked up where nothing may wait: some tenths of a millisecond."""

MOST_STEPS: Final = 200_000_000
"""What a search may take, in steps of SQLite: a walk past a million studies or so, in some seconds."""

_STUDY_DATE, _PATIENT_NAME, _BIRTH_DATE = "00080020", "00100010", "00100030"
# What is answered at once: of studies, by these; of series and instances, when they are named.
_AT_HAND: Final = frozenset(
    {"0020000D", _PATIENT_NAME, "00100020", _BIRTH_DATE, _STUDY_DATE, "00080050", "00200010", "00080061"}
)
_NAMING: Final = {"series": frozenset({"0020000D", "0020000E"}), "instance": frozenset({"00080018"})}

_COLUMNS: Final = {
    "0020000D": "st.study_uid",
    "00100020": "st.patient_id",
    _BIRTH_DATE: "st.birth_date",
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
    "st.birth_date": ("study", "study_uid"),
    "st.accession_number": ("study", "study_uid"),
    "st.study_id": ("study", "study_uid"),
    "s.modality": ("series", "series_uid"),
}
# Attributes whose values lie in rows below, or beside: table and column of them.
_INSIDE: Final = {
    _PATIENT_NAME: ("patient_name", "name"),
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
_MODALITIES: Final = f"(SELECT json_group_array(DISTINCT nullif(c.modality, '')) {_SERIES_OF_STUDY})"
# What a row of `Found` holds.
_TOLD: Final = {
    "study": f"st.attributes, st.study_uid, {_COUNTED['00201206']}, {_COUNTED['00201208']}, {_MODALITIES}",
    "series": f"st.attributes, s.attributes, {_COUNTED['00201209']}",
    "instance": "st.attributes, s.attributes, i.attributes, i.transfer_syntax",
}
# By level: the tables, from the highest down; the key of a row; its attributes; what an answer says of it; its place.
_TABLES: Final = {
    "study": "study st{walk}",
    "series": "study st{walk} {join} series s USING (study_uid)",
    "instance": "study st{walk} {join} series s USING (study_uid) {join} instance i USING (study_uid, series_uid)",
}
_KEY: Final = {"study": "st.study_uid", "series": "st.study_uid, s.series_uid", "instance": "i.id"}
_ATTRIBUTES: Final = {"study": "st.attributes", "series": "s.attributes", "instance": "i.attributes"}
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
_MOST_KNOWN: Final = 10_000  # decisions that are remembered while rows are walked past
_VERBATIM: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"})  # written as compared


@dataclass(slots=True)
class _Where:
    """The conditions of a search, with the values they bind.

    most: rows that are a handful. is_narrow: one condition leaves no more. rest: what no condition answers.
    """

    most: int
    clauses: list[str] = field(default_factory=list)
    values: list[str | bytes | int] = field(default_factory=list)
    is_narrow: bool = False
    rest: dict[str, Criterion] = field(default_factory=dict)

    def add(self, clause: str, *values: str | bytes | int, narrow: bool = False) -> None:
        self.clauses.append(clause)
        self.values += values
        self.is_narrow |= narrow


def search(rows: Rows, query: Query) -> list[Attributes]:
    """What matches, as the DICOM JSON model; only `query.include` unless it is None."""
    return tell(find(rows, query), query)


def tell(found: Sequence[Found], query: Query) -> list[Attributes]:
    """The attributes of what was found; only `query.include` unless it is None."""
    told = [one.attributes() for one in found]
    if query.include is None:
        return told
    return [{tag: item[tag] for tag in item.keys() & query.include} for item in told]


def find(rows: Rows, query: Query) -> list[Found]:
    """A page of what matches, in order. Rows are read whole once it is known which: a walk past thousands is cheap."""
    where = _translated(rows, query, _FEW)
    if not where.rest:
        page = [*where.values, query.limit, query.offset]
        keys = list(rows(f"SELECT {_KEY[query.level]}{_sql(query, where)}", page))
    else:
        keys = list(islice(_sifted(rows, query, where), query.offset, query.offset + query.limit))
    sql = f"SELECT {_TOLD[query.level]} FROM {_FOUND[query.level]} ORDER BY k.key"  # noqa: S608 constants
    return [Found(query.level, row) for row in rows(sql, [orjson.dumps(keys).decode()])]


def find_at_once(rows: Rows, query: Query) -> list[Found] | None:
    """The same in well under a millisecond, for whoever must not wait longer; None when it may take more than that."""
    if not _is_simple(query):
        return None
    where = _translated(rows, query, _AT_ONCE)
    is_short_walk = query.criteria.keys() <= {_STUDY_DATE} and query.limit + query.offset <= _AT_ONCE
    if not (where.is_narrow or is_short_walk):
        return None
    sql = f"SELECT {_TOLD[query.level]}{_sql(query, where)}"
    return [Found(query.level, row) for row in rows(sql, [*where.values, query.limit, query.offset])]


def _is_simple(query: Query) -> bool:
    """Can the indexes alone answer, by looking at little more than what is found?"""
    if query.level == "study":
        return query.criteria.keys() <= _AT_HAND and all(map(_is_plain, query.criteria.values()))
    named = query.criteria.keys() & _NAMING[query.level]
    return bool(named) and query.criteria.keys() <= {*_COLUMNS} and all(map(_is_plain, query.criteria.values()))


def _is_plain(criterion: Criterion) -> bool:
    match criterion:
        case OneOf(values):
            return len(values) <= _AT_ONCE
        case Wildcard(pattern):
            return pattern.endswith("*") and not any(wild in pattern[:-1] for wild in "*?")
        case Between():
            return True
        case _:
            return False


def _sql(query: Query, where: _Where) -> str:
    """What is asked, without the columns: a page of it, in order."""
    # SQLite takes a CROSS JOIN for an order: studies first, newest first. Otherwise the handful decides.
    join, walk = ("JOIN", "") if where.is_narrow else ("CROSS JOIN", " INDEXED BY study_by_date")
    return (
        f" FROM {_TABLES[query.level].format(join=join, walk=walk)}"
        f" WHERE {' AND '.join((_SHOWN[query.level], *where.clauses))} ORDER BY {_ORDER[query.level]} LIMIT ? OFFSET ?"
    )


def _sifted(rows: Rows, query: Query, where: _Where) -> Iterator[Row]:
    """The keys of what satisfies what no condition answers.

    SQLite takes the attributes out of a row that are asked for; most rows have the same as one seen before.
    """
    key = _KEY[query.level]
    width = key.count(",") + 1
    tags = list(_needed(where.rest))
    columns = [key, *(_attribute(query.level, tag) for tag in tags)]
    known: dict[Row, bool] = {}
    for row in rows(f"SELECT {', '.join(columns)}{_sql(query, where)}", [*where.values, -1, 0]):
        texts = row[width:]
        wanted = known.get(texts)
        if wanted is None:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            held = {tag: orjson.loads(text) for tag, text in zip(tags, texts, strict=True) if text is not None}
            wanted = known[texts] = satisfy(where.rest, held)
        if wanted:
            yield row[:width]


def _needed(criteria: Mapping[str, Criterion]) -> frozenset[str]:
    """The attributes that these criteria look at."""
    dates = {one.date_tag for one in criteria.values() if isinstance(one, Together)}
    return frozenset({*dates, *(tag[:8] for tag in criteria)})


def _attribute(level: Level, tag: str) -> str:
    """SQL for the text of an attribute, from the lowest of the rows that may have it; NULL where it is absent."""
    levels = list(_ATTRIBUTES)[: list(_ATTRIBUTES).index(level) + 1]
    holding = [_ATTRIBUTES[one] for one in reversed(levels) if tag in INDEXED[cast(Level, one)]]
    texts = [f"CAST({column} AS TEXT) -> '$.{tag}'" for column in holding]  # of INDEXED, so hexadecimal
    return f"coalesce({', '.join(texts)})" if len(texts) > 1 else next(iter(texts), "NULL")


def _translated(rows: Rows, query: Query, most: int) -> _Where:
    """most: rows that are a handful."""
    where = _Where(most)
    for tag, criterion in query.criteria.items():
        column = _COLUMNS.get(tag, "")
        if criterion == UNIVERSAL:
            continue
        if tag in ONLINE:
            if not satisfies(criterion, tag, ONLINE):
                where.add("0")
        elif isinstance(criterion, Fuzzy | Together):
            if tag == _PATIENT_NAME and isinstance(criterion, Fuzzy):
                where.add("st.study_uid IN (SELECT value FROM json_each(?))", _near(rows, criterion), narrow=True)
            else:
                where.rest[tag] = criterion
        elif tag in _INSIDE:
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


def _add_column(rows: Rows, where: _Where, column: str, criterion: _Plain) -> None:
    clause, values = _clause(column, criterion)
    if column in _CROWDED:
        table, key = _CROWDED[column]
        bare, _ = _clause(column.partition(".")[2], criterion)
        few = _handful(rows, where.most, f"SELECT {key} FROM {table} WHERE {bare}", values)  # noqa: S608
        if few is not None:
            where.add(f"{column.partition('.')[0]}.{key} IN (SELECT value FROM json_each(?))", few, narrow=True)  # noqa: S608
            return
        clause, _ = _clause(f"+{column}", criterion)  # the plus keeps its index out of a walk by date
    where.add(clause, *values, narrow=column in _UNIQUE)


def _add_inside(rows: Rows, where: _Where, table: str, column: str, criterion: _Plain) -> None:
    """A criterion on rows of another table, of which a study has several: one that satisfies is enough."""
    shown = f"SELECT x.study_uid FROM {table} x WHERE {_SHOWN_INSIDE[table]}"  # noqa: S608
    same_study = f"{shown} AND x.study_uid = st.study_uid"
    if isinstance(criterion, Empty):
        where.add(f"NOT EXISTS ({same_study} AND x.{column} <> '')")
        return
    clause, values = _clause(f"x.{column}", criterion)
    few = None
    if column not in _UNINDEXED:
        few = _handful(rows, where.most, f"{shown} AND {clause}", values)
    if few is not None:
        where.add("st.study_uid IN (SELECT value FROM json_each(?))", few, narrow=True)
    else:
        clause, _ = _clause(f"+x.{column}", criterion)
        where.add(f"EXISTS ({same_study} AND {clause})", *values)


def _handful(rows: Rows, most: int, sql: str, values: list[str]) -> str | None:
    """The keys that a SELECT gives, as JSON; None when they are more than `most`."""
    keys = [key for (key,) in rows(f"{sql} LIMIT {most + 1}", values)]
    return orjson.dumps(keys).decode() if len(keys) <= most else None


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


def _clause(column: str, criterion: _Plain) -> tuple[str, list[str]]:
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
