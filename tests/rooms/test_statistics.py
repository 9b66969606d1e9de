"""The statistics file: one line an operation, from the trail and the outbox, and nobody in it."""

import io
from datetime import UTC, date, datetime, timedelta

import pytest
from making import report as a_report

from drimbox.audit import reading
from drimbox.audit.reading import first_moment, traces_between
from drimbox.audit.trail import Trail
from drimbox.errors import Malformed
from drimbox.flows import statistics as statistics_module
from drimbox.flows.statistics import Statistics, operation_of
from drimbox.model import Submission, Trace
from drimbox.storage import outbox as outbox_module
from drimbox.storage import reports as reports_module
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import Reports

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, 0).astimezone()
HEAD = "\ufeffDate;Heure;Role;Operation;Nombre_Appel;Statut_Appel"


class Time:
    """A clock that stands where it is put."""

    def __init__(self):
        self.at = NOON

    def now(self):
        return self.at.astimezone(UTC)


@pytest.fixture
def time(monkeypatch):
    time = Time()
    for module in (outbox_module, reports_module, statistics_module):
        monkeypatch.setattr(module, "clock", time)
    return time


@pytest.fixture
def node(tmp_path, time):
    """The folder of a node, its trail and its outbox."""
    database, trail = open_outbox(tmp_path / "own"), Trail(tmp_path / "trail" / "trail.jsonl")
    yield tmp_path, trail, Outbox(database)
    database.close()
    trail.close()


def trace(at, action="report", door="hl7", detail="report received", outcome="success"):
    return Trace(at, action, outcome, "hl7:RIS|CENTRE@10.0.0.1", door, "10.0.0.1", "1.2.3", detail)


async def told(outbox, kind="publish", unique_id="1.2.9"):
    job = await outbox.lease()
    await outbox.freeze(job, Submission(job.study_uid, kind, unique_id, "1", "u", "s", b"kos", b"xml"), 1, "1^2")
    await outbox.done(job)


async def test_a_day_as_it_was(node, time):
    folder, trail, outbox = node
    for at, change in (
        (NOON - timedelta(days=1), {}),
        (NOON, {}),
        (NOON + timedelta(minutes=1), {"action": "consult", "door": "http", "detail": "documents of a patient listed"}),
        (NOON + timedelta(minutes=3), {"action": "consult", "door": "http", "detail": "why", "outcome": "refused"}),
        (NOON + timedelta(minutes=4), {"action": "store", "door": "dicom", "detail": "association opened"}),
        (NOON + timedelta(minutes=5), {"action": "retrieve", "door": "http", "detail": "series 1.2.3.4"}),
        (NOON + timedelta(days=1), {}),
    ):
        await trail.write(trace(at, **change))
    time.at = NOON + timedelta(minutes=2)
    await Reports(outbox).arrived(a_report(studies=("1.2.1", "1.2.2")), b"digest")
    await told(outbox)
    time.at += timedelta(minutes=8)
    await outbox.park((await outbox.lease()).id, "no")
    time.at = NOON + timedelta(days=2)
    path = await Statistics(folder, outbox).write_day(DAY)
    assert path.name == "KPI_DRIMbox_20260302.csv"
    assert path.read_bytes().decode().split("\r\n") == [
        HEAD,
        "2026-03-02;12:00;source;Reception_CR;1;succes",
        "2026-03-02;12:01;consommatrice;TD3.1_Recherche_DMP;1;succes",
        "2026-03-02;12:02;source;TD2.1a_Publication_KOS;1;succes",
        "2026-03-02;12:03;consommatrice;TD3.1_Recherche_DMP;1;erreur",
        "2026-03-02;12:05;source;WADO_RS;1;succes",
        "2026-03-02;12:10;source;TD2.1a_Publication_KOS;1;erreur",
        "",
    ]


async def test_what_was_told_is_found_by_its_moment_not_by_reading_manifests(node, monkeypatch):
    folder, _, outbox = node
    asked = []
    read = outbox.database.read
    monkeypatch.setattr(outbox.database, "read", lambda *told: asked.append(told) or read(*told))
    await Statistics(folder, outbox).write(DAY, DAY, io.BytesIO())
    [(sql, values)] = asked
    [(*_, plan)] = await read(f"EXPLAIN QUERY PLAN {sql}", values)
    assert "USING COVERING INDEX job_by_settled" in plan


async def test_several_days_in_one_file_and_none_beyond_a_year(node):
    folder, trail, outbox = node
    for days in range(3):
        await trail.write(trace(NOON + timedelta(days=days)))
    file = io.BytesIO()
    await Statistics(folder, outbox).write(DAY, DAY + timedelta(days=1), file)
    assert [line[:10] for line in file.getvalue().decode().split("\r\n")[1:-1]] == ["2026-03-02", "2026-03-03"]
    for last in (DAY - timedelta(days=1), DAY + timedelta(days=366)):
        with pytest.raises(Malformed):
            await Statistics(folder, outbox).write(DAY, last, io.BytesIO())


async def test_each_day_that_is_over_gets_its_file_once(node, time):
    folder, trail, outbox = node
    statistics = Statistics(folder, outbox)
    assert statistics._missing(time.now()) == []
    await trail.write(trace(NOON))
    assert statistics._missing(NOON + timedelta(hours=12, seconds=30)) == []
    assert statistics._missing(NOON + timedelta(hours=13)) == [DAY]
    assert statistics._missing(NOON + timedelta(days=2)) == [DAY, DAY + timedelta(days=1)]
    await statistics.write_day(DAY)
    assert statistics._missing(NOON + timedelta(days=2)) == [DAY + timedelta(days=1)]
    assert len(statistics._missing(NOON + timedelta(days=100))) == 31


@pytest.mark.parametrize(
    ("trace", "operation"),
    [
        (("consult", "http", "document opened", "success"), ("consommatrice", "TD3.2_Ouverture_KOS")),
        (("consult", "http", "manifests read from a file", "success"), ("consommatrice", "Import_KOS")),
        (("consult", "http", "visit looked at", "success"), None),
        (("retrieve", "http", "report", "success"), ("source", "Lecture_CR")),
        (("retrieve", "http", "frames 1.2.3", "success"), ("source", "WADO_RS")),
        (("retrieve", "http", "report of no one", "refused"), ("source", "WADO_RS")),
        (("report", "hl7", "patient merge received", "success"), ("source", "Reception_ADT")),
        (("operate", "http", "outbox listed", "success"), None),
        (("retrieve", "operator", "exported as XDM", "success"), None),
    ],
)
def test_which_traces_are_operations(trace, operation):
    assert operation_of(*trace) == operation


async def test_a_day_is_found_in_a_long_trail_without_reading_it_whole(tmp_path, monkeypatch):
    trail = Trail(tmp_path / "trail.jsonl")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    trail._commit([trace(start + timedelta(minutes=10 * number)) for number in range(3000)])
    trail.close()
    monkeypatch.setattr(reading, "_NEAR", 2000)
    read = []
    original = reading._read
    monkeypatch.setattr(reading, "_read", lambda line: read.append(line) or original(line))
    first, last = start + timedelta(days=10), start + timedelta(days=11)
    found = list(traces_between(tmp_path / "trail.jsonl", first, last))
    assert len(found) == 144
    assert found[0]["at"].startswith("2026-01-11T00:00")
    assert len(read) < 144 + 60
    assert first_moment(tmp_path / "trail.jsonl") == start


async def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    trail = Trail(tmp_path / "trail.jsonl")
    await trail.write(trace(NOON))
    trail.close()
    with (tmp_path / "trail.jsonl").open("ab") as file:
        file.write(b'{"n":2,"at":"2026-03-02T12:0')
    assert len(list(traces_between(tmp_path / "trail.jsonl", NOON - timedelta(1), NOON + timedelta(1)))) == 1
