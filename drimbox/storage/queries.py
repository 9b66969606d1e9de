"""Answers to queries, from the rows of the index.

A criterion on a matching column is SQL; one that has no column is checked row by row with `satisfies`, so every
attribute of `dicom.scan`'s lists can be asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.match import Between, Criterion, OneOf, Query, Wildcard, satisfies
from drimbox.storage.database import Read, Row
from drimbox.storage.rejections import hidden_count, shown_instance, shown_series, shown_study

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
}
# Attributes whose values lie in rows below, or beside: table and column of them.
_INSIDE: Final = {
    "00100010": ("patient_name", "name"),
    "00080061": ("series", "modality"),
    "00080062": ("instance", "sop_class_uid"),
}
_FROM: Final = {
    "study": "study st",
    "series": "study st JOIN series s USING (study_uid)",
    "instance": "study st JOIN series s USING (study_uid) JOIN instance i USING (study_uid, series_uid)",
}
# What a rejection note took out of use is in no answer, in no count and matches nothing.
_SHOWN: Final = {
    "study": shown_study("st"),
    "series": shown_series("s"),
    "instance": shown_instance("i"),
}
_SHOWN_INSIDE: Final = {
    "patient_name": "1",
    "series": shown_series("series"),
    "instance": shown_instance("instance"),
}
_ORDER: Final = {
    "study": "st.study_date DESC, st.study_uid",
    "series": "st.study_date DESC, st.study_uid, s.series_number, s.series_uid",
    "instance": "st.study_date DESC, st.study_uid, s.series_number, s.series_uid, i.instance_number, i.sop_uid",
}
_SERIES_OF_STUDY: Final = f"FROM series c WHERE c.study_uid = st.study_uid AND {shown_series('c')}"
_COUNTS: Final = {
    "study": (
        f"(SELECT count(*) {_SERIES_OF_STUDY}), "  # noqa: S608 constants, as below
        f"(SELECT count(*) FROM instance c WHERE c.study_uid = st.study_uid) - {hidden_count('st', 'study_uid')}, "
        f"(SELECT group_concat(DISTINCT nullif(c.modality, '')) {_SERIES_OF_STUDY})"
    ),
    "series": (
        "(SELECT count(*) FROM instance c WHERE c.study_uid = st.study_uid AND c.series_uid = s.series_uid)"  # noqa: S608
        f" - {hidden_count('s', 'study_uid', 'series_uid')}, s.attributes"
    ),
    "instance": "s.attributes, i.attributes, i.transfer_syntax",
}


def search(read: Read, query: Query) -> list[Attributes]:
    """What matches, as DICOM JSON, with the attributes of the levels above; only `query.include` unless it is None."""
    clauses, values, rest = _translated(query)
    sql = (
        f"SELECT st.attributes, {_COUNTS[query.level]} FROM {_FROM[query.level]}"  # noqa: S608 constants; values are bound
        f" WHERE {' AND '.join(clauses)} ORDER BY {_ORDER[query.level]}"
    )
    if not rest:
        found = [
            _answer(query.level, row) for row in read(f"{sql} LIMIT ? OFFSET ?", [*values, query.limit, query.offset])
        ]
    else:
        found = _page(read(sql, values), query, rest)
    if query.include is None:
        return found
    return [{tag: item[tag] for tag in sorted(item.keys() & query.include)} for item in found]


def _page(rows: Sequence[Row], query: Query, rest: Mapping[str, Criterion]) -> list[Attributes]:
    """The page of `rows` that satisfy the criteria no column answers."""
    matching: Iterator[Attributes] = (
        item
        for item in (_answer(query.level, row) for row in rows)
        if all(satisfies(criterion, tag, item) for tag, criterion in rest.items())
    )
    page: list[Attributes] = []
    for position, item in enumerate(matching):
        if position >= query.offset + query.limit:
            break
        if position >= query.offset:
            page.append(item)
    return page


def _translated(query: Query) -> tuple[list[str], list[str], dict[str, Criterion]]:
    clauses = [_SHOWN[query.level]]
    values: list[str] = []
    rest: dict[str, Criterion] = {}
    for tag, criterion in query.criteria.items():
        column = _COLUMNS.get(tag)
        if tag in _INSIDE:
            table, inside = _INSIDE[tag]
            clause, bound = _clause(inside, criterion)
            if bound:
                clause += f" AND {_SHOWN_INSIDE[table]}"
                clauses.append(f"st.study_uid IN (SELECT study_uid FROM {table} WHERE {clause})")  # noqa: S608
                values += bound
        elif (
            column is None
            or (column[:2] == "s." and query.level == "study")
            or (column[:2] == "i." and query.level != "instance")
        ):
            rest[tag] = criterion
        else:
            clause, bound = _clause(column, criterion)
            clauses.append(clause)
            values += bound
    return clauses, values, rest


def _clause(column: str, criterion: Criterion) -> tuple[str, list[str]]:
    """A criterion as SQL on a column that holds values as `match` compares them."""
    match criterion:
        case OneOf(values):
            return (f"{column} IN ({', '.join('?' * len(values))})", list(values)) if values else ("1", [])
        case Wildcard(pattern):
            return f"{column} GLOB ?", [pattern.replace("[", "[[]")]
        case Between(low, high):
            return f"{column} >= ? AND {column} <= ?", [low or "0", high or "~"]


def _answer(level: str, row: Row) -> Attributes:
    answer: Attributes = orjson.loads(row[0])
    answer["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    if level == "study":
        answer["00201206"] = {"vr": "IS", "Value": [row[1]]}
        answer["00201208"] = {"vr": "IS", "Value": [row[2]]}
        answer["00080061"] = {"vr": "CS", "Value": sorted(row[3].split(","))} if row[3] else {"vr": "CS"}
    elif level == "series":
        answer |= orjson.loads(row[2])
        answer["00201209"] = {"vr": "IS", "Value": [row[1]]}
    else:
        answer |= orjson.loads(row[1])
        answer |= orjson.loads(row[2])
        answer["00083002"] = {"vr": "UI", "Value": [row[3]]}
    return answer
