"""Reports, notices and merges: each once, each with the exams it makes due, none about another patient."""

from dataclasses import replace

import pytest
from making import STUDY, report

from drimbox.errors import Conflict
from drimbox.model import Identifier, PatientMerge, StudyNotice
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import Reports

AUTHORITY = "1.2.250.1.213.4.5.2.4"
IPP = Identifier("IPP101", AUTHORITY)
BASE = report()
KNOWN = replace(BASE, patient=replace(BASE.patient, local_id=IPP, qualified=True))


@pytest.fixture
def reports(tmp_path):
    database = open_outbox(tmp_path)
    yield Reports(Outbox(database))
    database.close()


async def jobs(reports):
    return [(item["study_uid"], item["state"], item["cause"]) for item in await reports._outbox.list()]


def notice(message_id="RIS|N|1", **changes):
    made = StudyNotice(message_id, b"OMI", STUDY, True, "ACC1", KNOWN.patient.ins, IPP)
    return replace(made, **changes)


def merge(**survivor):
    patient = replace(KNOWN.patient, local_id=Identifier("IPP999", AUTHORITY), **survivor)
    return PatientMerge("RIS|A|1", b"ADT", patient, (IPP,))


async def test_the_newest_report_that_was_not_cancelled_documents_an_exam(reports):
    second = replace(KNOWN, message_id="RIS|2", document_id=Identifier("", "1.2.9"))
    await reports.arrived(KNOWN, b"1")
    await reports.arrived(second, b"2")
    assert (await reports.current(STUDY))[1].message_id == "RIS|2"
    await reports.arrived(replace(second, message_id="RIS|3", status="D"), b"3")
    assert (await reports.current(STUDY))[1].message_id == KNOWN.message_id


async def test_an_exam_a_correction_no_longer_documents_is_due_too(reports):
    await reports.arrived(report(studies=("1.2.1", "1.2.2")), b"1")
    for item in await reports._outbox.list():
        await reports._outbox.nothing_to_do(await reports._outbox.lease())
        assert item["state"] == "due"
    await reports.arrived(report("RIS|2", studies=("1.2.1",), status="C"), b"2")
    assert {study for study, _, _ in await jobs(reports)} == {"1.2.1", "1.2.2"}
    assert await reports.current("1.2.2") is None


async def test_an_exam_is_due_when_the_report_that_kept_it_from_the_dmp_is_deleted(reports):
    await reports.arrived(report("RIS|1"), b"1")
    other = report("RIS|2", document_id=Identifier("1.2.4"), to_dmp=False)
    await reports.arrived(other, b"2")
    await reports._outbox.nothing_to_do(await reports._outbox.lease())
    await reports.arrived(replace(other, message_id="RIS|3", status="D"), b"3")
    assert (await reports._outbox.lease()).study_uid == STUDY
    assert (await reports.current(STUDY))[0] == 1


async def test_a_refused_deletion_leaves_no_row(reports):
    await reports.arrived(KNOWN, b"1")
    other = replace(KNOWN.patient, ins=Identifier("1" * 15, "1.2.250.1.213.1.4.10"))
    with pytest.raises(Conflict):
        await reports.arrived(replace(KNOWN, message_id="RIS|2", status="D", patient=other), b"2")
    assert (await reports.current(STUDY))[1] == KNOWN
    assert await reports._database.read("SELECT count(*) FROM report") == [(1,)]


async def test_an_exam_taken_back_is_due_and_known_as_such_until_a_report_comes(reports):
    await reports.arrived(KNOWN, b"1")
    assert await reports.noticed(notice(), b"n")
    assert not await reports.noticed(notice(), b"n")
    assert await reports.is_cancelled(STUDY)
    assert await jobs(reports) == [(STUDY, "due", "study-change notice")]
    await reports.arrived(replace(KNOWN, message_id="RIS|2", status="C"), b"2")
    assert not await reports.is_cancelled(STUDY)


async def test_a_notice_of_an_unknown_exam_is_kept_and_causes_nothing(reports):
    assert await reports.noticed(notice(study_uid="1.2.77"), b"n")
    assert await jobs(reports) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"ins": Identifier("1" * 15, "1.2.250.1.213.1.4.10")},
        {"local_id": Identifier("IPP7", AUTHORITY)},
        {"accession": "ACC7"},
    ],
)
async def test_a_notice_about_another_patient_or_order_is_refused(reports, wrong):
    await reports.arrived(KNOWN, b"1")
    with pytest.raises(Conflict):
        await reports.noticed(notice(**wrong), b"n")
    assert not await reports.is_cancelled(STUDY)


async def test_after_a_merge_the_images_may_carry_either_identifier(reports):
    await reports.arrived(KNOWN, b"1")
    assert await reports.merged(merge(qualified=True), b"m")
    _, known = await reports.current(STUDY)
    assert known.patient.local_id.value == "IPP999"
    assert known.patient.qualified
    assert known.message == KNOWN.message  # what came stays as it came
    assert await reports.names_of(known.patient.local_id) == {"IPP101", "IPP999"}
    assert await jobs(reports) == [(STUDY, "due", "patient merge")]
    await reports.noticed(notice(local_id=IPP), b"n")  # the RIS may go on with the old one


async def test_a_merge_into_an_identity_that_is_not_qualified_stops_publication(reports):
    await reports.arrived(KNOWN, b"1")
    await reports.merged(merge(ins=None, qualified=False), b"m")
    assert not (await reports.current(STUDY))[1].patient.qualified


async def test_a_merge_into_another_ins_is_taken_over(reports):
    await reports.arrived(KNOWN, b"1")
    other = Identifier("2" * 15, "1.2.250.1.213.1.4.10")
    await reports.merged(merge(ins=other, qualified=True), b"m")
    assert (await reports.current(STUDY))[1].patient.ins == other


async def test_a_merge_in_a_circle_ends(reports):
    await reports.arrived(KNOWN, b"1")
    there = merge(qualified=True)
    back = PatientMerge("RIS|A|2", b"ADT2", KNOWN.patient, (Identifier("IPP999", AUTHORITY),))
    await reports.merged(there, b"1")
    await reports.merged(back, b"2")
    assert await reports.names_of(IPP) == {"IPP101", "IPP999"}
