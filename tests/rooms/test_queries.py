"""The index answers as `satisfies` would over all it holds, whichever way it is walked."""

import warnings
from pathlib import Path

import pytest
from making import ct, data_set_bytes

from drimbox.dicom.match import Query, criterion, satisfies, together
from drimbox.dicom.part10 import InMemory, build_preface
from drimbox.dicom.scan import scan
from drimbox.storage import index, queries
from drimbox.storage.database import Database

NAMES = [
    "PAT-TROIS^DOMINIQUE",
    "Dupont^Zoé",
    "DUPOND^ANNE MARIE",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "D*[A]^X",
    None,
]
DATES = ["20260101", "20260102", "20260103", "2026.01.02", None]
TIMES = ["080000", "101530.5", "235959", None]


def made():
    """Forty studies in which every attribute has several values, and none at times."""
    for n in range(40):
        for series in range(1, 2 + n % 3):
            for number in range(1, 2 + n % 2):
                yield ct(
                    series,
                    number,
                    f"1.2.3.{n}",
                    SpecificCharacterSet="ISO_IR 192",
                    PatientName=NAMES[n % len(NAMES)],
                    PatientID=f"P{n % 9}" if n % 5 else None,
                    PatientBirthDate=["19500101", "1950.01.02", None, "19491231"][n % 4],
                    AccessionNumber=f"A{n}" if n % 4 else None,
                    StudyID=str(n % 3),
                    StudyDate=DATES[n % len(DATES)],
                    StudyTime=TIMES[n % len(TIMES)],
                    StudyDescription=["TDM \\ thorax", 'IRM "crâne"', "100 % [x]", None][n % 4],
                    ReferringPhysicianName=["Lefèvre^Luc", "MARTIN^ÈVE", None][n % 3],
                    Modality=["CT", "MR", "US"][(n + series) % 3],
                    BodyPartExamined=["CHEST", None][series % 2],
                    AcquisitionDateTime=["20260101101530+0100", "202601020930", None][n % 3],
                )


def written():
    with warnings.catch_warnings():  # some values are such as pydicom would not write
        warnings.simplefilter("ignore", UserWarning)
        yield from made()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory):
    database = Database(tmp_path_factory.mktemp("index") / "index.db")

    def fill(transaction):
        for n, one in enumerate(written()):
            preface = build_preface(one.SOPClassUID, one.SOPInstanceUID, "1.2.840.10008.1.2.1")
            source = InMemory(preface + data_set_bytes(one))
            index.insert(transaction, [index.build_entry(source, scan(source), bytes(16), 1e9 + n)])

    database.submit(fill).result()
    yield database
    database.close()


ASKED = [
    ("study", {"00100020": "P1"}),
    ("study", {"00100020": "P?"}),
    ("study", {"00100020": "?1"}),
    ("study", {"00100020": "P1\\P2\\NOBODY"}),
    ("study", {"00100020": '""'}),
    ("study", {"00100010": "dup*"}),
    ("study", {"00100010": "DUPONT^ZOE"}),
    ("study", {"00100010": "*山田*"}),
    ("study", {"00100010": "d[*"}),
    ("study", {"00100010": '""'}),
    ("study", {"00100010": "dup*", "00080020": "20260101-20260102"}),
    ("study", {"00100030": "19500101"}),
    ("study", {"00100030": "19500102"}),
    ("study", {"00100030": "1950.01.01-19500102"}),
    ("study", {"00100030": "-19491231"}),
    ("study", {"00100030": "19500102-"}),
    ("study", {"00100030": '""'}),
    ("study", {"00100030": "19500101", "00100010": "d*"}),
    ("study", {"00100030": "19500101-19500102", "00100010": "dup*", "00080020": "20260102-"}),
    ("instance", {"00100030": "19491231", "00080060": "US"}),
    ("study", {"00080020": "20260102"}),
    ("study", {"00080020": "-20260102"}),
    ("study", {"00080020": "20260102-"}),
    ("study", {"00080020": '""'}),
    ("study", {"00080020": "20260101-20260102", "00080030": "1000-0830"}),
    ("study", {"00080020": "20260102-", "00080030": "1000-"}),
    ("study", {"00080020": "20260101-20260103", "00080030": "080000"}),
    ("study", {"00080030": "0800-1015"}),
    ("study", {"00080050": "A1*"}),
    ("study", {"00080050": "A1\\A2\\A3"}),
    ("study", {"00200010": "1"}),
    ("study", {"00081030": 'IRM "crâne"'}),
    ("study", {"00081030": "TDM \\ thorax"}),
    ("study", {"00081030": "100 % [x]"}),
    ("study", {"00081030": "*[x]"}),
    ("study", {"00081030": '""'}),
    ("study", {"00080090": "martin*"}),
    ("study", {"00080061": "MR"}),
    ("study", {"00080061": "MR\\US", "00100020": "P3"}),
    ("study", {"00201206": "3"}),
    ("study", {"00201208": "2\\4"}),
    ("study", {"00201208": "many"}),
    ("study", {"00080056": "ONLINE"}),
    ("study", {"00080056": "OFFLINE"}),
    ("study", {"0020000D": "1.2.3.4\\1.2.3.5\\9.9"}),
    ("series", {"00080060": "CT"}),
    ("series", {"00080060": "C*", "00080020": "20260102"}),
    ("series", {"00180015": "CHEST"}),
    ("series", {"00180015": "CH*", "00100010": "dup*"}),
    ("series", {"00180015": '""'}),
    ("series", {"0020000E": "1.2.3.4.1"}),
    ("series", {"00200011": "2"}),
    ("series", {"00201209": "2"}),
    ("instance", {"00080018": "1.2.3.4.1.1\\1.2.3.5.1.2"}),
    ("instance", {"00200013": "2", "00080060": "US"}),
    ("instance", {"00080016": "1.2.840.10008.5.1.4.1.1.2", "00100020": "P1"}),
    ("instance", {"00083002": "1.2.840.10008.1.2.1"}),
    ("instance", {"00083002": "1.2.840.10008.1.2"}),
    ("instance", {"0008002A": "20260101"}),
    ("instance", {"0008002A": "20260101101530+0100"}),
    ("instance", {"0008002A": "20260101091530"}),
    ("instance", {"0008002A": "2026010110+0100-20260102"}),
]


@pytest.mark.parametrize("few", [0, 3, 1000], ids=["walked", "mixed", "looked up"])
@pytest.mark.parametrize(("level", "asked"), ASKED, ids=str)
def test_the_index_answers_as_comparing_everything_would(database, monkeypatch, level, asked, few):
    monkeypatch.setattr(queries, "_FEW", few)
    _compare(database, level, together({tag: criterion(tag, text, empty=True) for tag, text in asked.items()}))


@pytest.mark.parametrize("name", ["dupont", "zoe dup", "marie anne", "yamda", "山田", "luc", "d"])
@pytest.mark.parametrize("tag", ["00100010", "00080090"])
def test_fuzzy_matching_too(database, tag, name):
    _compare(database, "series", {tag: criterion(tag, name, fuzzy=True)})


def _compare(database, level, criteria):
    everything = queries.search(database.each_here, Query(level, {}, None, 10_000))
    expected = [item for item in everything if all(satisfies(one, tag, item) for tag, one in criteria.items())]
    assert queries.search(database.each_here, Query(level, criteria, None, 10_000)) == expected
    query = Query(level, criteria, None, 3, 2)
    page = queries.search(database.each_here, query)
    assert page == expected[2:5]
    at_once = queries.find_at_once(database.each_here, query)
    assert at_once is None or queries.tell(at_once, query) == page


AT_ONCE = [
    ("study", {"00100020": "P1"}),
    ("study", {"00100020": "P1", "00080020": "20260101-", "00080061": "CT"}),
    ("study", {"00100010": "dup*"}),
    ("study", {"00080050": "A1*"}),
    ("study", {"00100030": "19500101"}),
    ("study", {"00100030": "19500101-19500102", "00100010": "dup*"}),
    ("study", {"0020000D": "1.2.3.4\\1.2.3.5"}),
    ("study", {"00080020": "20260102"}),
    ("study", {}),
    ("series", {"0020000D": "1.2.3.4", "00080060": "CT"}),
    ("instance", {"00080018": "1.2.3.4.1.1"}),
]
NOT_AT_ONCE = [
    ("study", {"00100020": "*1"}),
    ("study", {"00100010": "d*t*"}),
    ("study", {"00100010": '""'}),
    ("study", {"00080061": "CT", "00080020": "20260101-"}),
    ("study", {"00100020": "P1", "00081030": "TDM"}),
    ("study", {"00201208": "1"}),
    ("series", {"00080060": "CT"}),
    ("instance", {"0020000D": "1.2.3.4"}),
]


@pytest.mark.parametrize(
    ("level", "asked", "is_at_once"), [(*a, True) for a in AT_ONCE] + [(*a, False) for a in NOT_AT_ONCE], ids=str
)
def test_only_what_the_indexes_answer_is_answered_at_once(database, monkeypatch, level, asked, is_at_once):
    monkeypatch.setattr(queries, "_AT_ONCE", 20)
    criteria = {tag: criterion(tag, text, empty=True) for tag, text in asked.items()}
    found = queries.find_at_once(database.each_here, Query(level, criteria, None, 10))
    assert (found is not None) is is_at_once


def test_many_are_not_answered_at_once(database, monkeypatch):
    monkeypatch.setattr(queries, "_AT_ONCE", 3)
    assert queries.find_at_once(database.each_here, Query("study", {"00100020": criterion("00100020", "P*")})) is None
    assert queries.find_at_once(database.each_here, Query("study", {}, None, 2, 2)) is None
    assert len(queries.find_at_once(database.each_here, Query("study", {}, None, 2, 1)) or ()) == 2


@pytest.mark.parametrize("few", [0, 1000])
def test_a_series_can_be_asked_for_by_what_else_is_in_its_study(database, monkeypatch, few):
    monkeypatch.setattr(queries, "_FEW", few)
    asked = {"00080061": criterion("00080061", "CT"), "00080060": criterion("00080060", "MR")}
    found = queries.search(database.each_here, Query("series", asked, None, 10_000))
    with_ct = queries.search(database.each_here, Query("study", {"00080061": asked["00080061"]}, None, 10_000))
    with_both = [item for item in with_ct if "MR" in item["00080061"]["Value"]]
    assert {item["0020000D"]["Value"][0] for item in found} == {item["0020000D"]["Value"][0] for item in with_both}
    assert len(found) == len(with_both) > 3


def test_what_is_asked_is_not_all_or_nothing(database):
    """The table above means little when an answer is empty or everything: most are neither."""
    told = 0
    for level, asked in ASKED:
        criteria = together({tag: criterion(tag, text, empty=True) for tag, text in asked.items()})
        found = queries.search(database.each_here, Query(level, criteria, None, 10_000))
        told += 0 < len(found) < len(queries.search(database.each_here, Query(level, {}, None, 10_000)))
    assert told >= len(ASKED) - 8


def test_studies_come_newest_first(database):
    found = queries.search(database.each_here, Query("study", {}, None, 10_000))
    dates = [item["00080020"]["Value"][0].replace(".", "") if "00080020" in item else "" for item in found]
    assert dates == sorted(dates, reverse=True)
    assert len({item["0020000D"]["Value"][0] for item in found}) == len(found) == 40


def test_the_counts_are_those_of_the_rows(database):
    for item in queries.search(database.each_here, Query("study", {}, None, 10_000)):
        number = int(item["0020000D"]["Value"][0].rpartition(".")[2])
        assert item["00201206"]["Value"] == [1 + number % 3]
        assert item["00201208"]["Value"] == [(1 + number % 3) * (1 + number % 2)]


def test_a_count_goes_down_with_what_goes(tmp_path: Path):
    database = Database(tmp_path / "index.db")

    def fill(transaction):
        for number in (1, 2, 3):
            one = ct(1, number)
            preface = build_preface(one.SOPClassUID, one.SOPInstanceUID, "1.2.840.10008.1.2.1")
            source = InMemory(preface + data_set_bytes(one))
            index.insert(transaction, [index.build_entry(source, scan(source), bytes(16), 1e9)])
        transaction.execute("DELETE FROM instance WHERE instance_number = 2")

    database.submit(fill).result()
    [study] = queries.search(database.each_here, Query("study", {}))
    assert study["00201208"]["Value"] == [2]
    database.close()
