"""The outbox: one job a study at a time, in order; frozen bytes stay; nothing is lost by a kill."""

from dataclasses import replace

import pytest
from making import STUDY, report

from drimbox import clock
from drimbox.errors import Conflict, NotFound
from drimbox.model import Identifier, Submission
from drimbox.storage import outbox as outbox_module
from drimbox.storage import reports as reports_module
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import Reports


class Time:
    """A clock that goes when told."""

    def __init__(self):
        self.later = 0.0

    def now(self):
        from datetime import timedelta

        return clock.now() + timedelta(seconds=self.later)


@pytest.fixture
def time(monkeypatch):
    time = Time()
    for module in (outbox_module, reports_module):
        monkeypatch.setattr(module, "clock", time)
    return time


@pytest.fixture
def database(tmp_path):
    database = open_outbox(tmp_path)
    yield database
    database.close()


@pytest.fixture
def outbox(database, time):
    return Outbox(database)


@pytest.fixture
def reports(outbox):
    return Reports(outbox)


async def told(outbox, job, frozen=None):
    """The DMP is told something, and takes it."""
    await outbox.freeze(job, frozen or submission(), job.report_id, INS)
    await outbox.done(job)


INS = "279035121518989^1.2.250.1.213.1.4.10"


def submission(unique_id="2.25.1"):
    return Submission(STUDY, "publish", unique_id, "2.25.9", f"urn:uuid:{unique_id}", "101235555", b"KOS", b"<xml/>")


async def test_a_report_is_kept_as_it_came_with_a_job_for_each_exam(outbox, reports, time):
    sent = report(studies=("1.2.1", "1.2.2"))
    assert await reports.arrived(sent, b"d")
    assert [item["study_uid"] for item in await outbox.list()] == ["1.2.2", "1.2.1"]
    time.later = 6
    job = await outbox.lease()
    assert await reports.report(job.report_id) == sent


async def test_the_same_message_a_hundred_times_is_one_job(outbox, reports):
    assert [await reports.arrived(report(), b"d") for _ in range(100)].count(True) == 1
    assert len(await outbox.list()) == 1


async def test_a_report_that_is_not_for_the_dmp_causes_no_job(outbox, reports):
    assert await reports.arrived(report(to_dmp=False), b"d")
    assert await outbox.list() == []


async def test_a_study_whose_images_still_come_is_due_when_it_is_quiet(outbox, reports, time):
    await reports.arrived(report(), b"d")
    start = time.now().timestamp()
    await outbox.images_changed({STUDY: start}, 5)
    assert await outbox.lease() is None
    time.later = 4
    await outbox.images_changed({STUDY: start + 4}, 5)
    time.later = 6
    assert await outbox.lease() is None
    time.later = 10
    assert (await outbox.lease()).study_uid == STUDY


async def test_images_no_report_speaks_of_are_nothing_to_the_outbox(outbox, reports):
    await outbox.images_changed({STUDY: 0}, 5)
    assert await outbox.list() == []


async def test_a_clock_that_was_set_back_makes_no_study_wait_for_long(outbox, reports, time):
    await reports.arrived(report(), b"d")
    await outbox.images_changed({STUDY: time.now().timestamp() + 86_400}, 5)
    time.later = 6
    assert await outbox.lease() is not None


async def test_a_second_job_waits_for_the_first_of_its_study_only(outbox, reports, time):
    await reports.arrived(report("RIS|1"), b"1")
    first = await outbox.lease()
    await reports.arrived(report("RIS|2"), b"2")
    await reports.arrived(report("RIS|3", studies=("1.2.9",), document_id=Identifier("", "1.2.7")), b"3")
    assert (await outbox.lease()).study_uid == "1.2.9"
    assert await outbox.lease() is None
    await outbox.done(first)
    assert (await outbox.lease()).report_id == 2


async def test_a_parked_exam_is_looked_at_again_when_a_report_comes(outbox, reports, time):
    await reports.arrived(report("RIS|1"), b"1")
    await outbox.park((await outbox.lease()).id, "the identity is not qualified")
    await reports.arrived(report("RIS|2"), b"2")
    [item] = await outbox.list()
    assert (item["state"], item["attempts"]) == ("due", 0)
    assert (await outbox.lease()).report_id == 2


async def test_what_the_dmp_refused_holds_back_nothing_and_goes_when_something_else_was_taken(outbox, reports):
    await reports.arrived(report("RIS|1"), b"1")
    job = await outbox.lease()
    await outbox.freeze(job, submission(), 1, INS)
    await outbox.park(job.id, "refused", refused=True)
    await reports.arrived(report("RIS|2"), b"2")
    await told(outbox, await outbox.lease(), submission("2.25.2"))
    assert [(item["id"], item["state"]) for item in await outbox.list()] == [(2, "done"), (1, "discarded")]


async def test_what_may_be_in_the_dmp_is_settled_before_anything_else_is_said(outbox, reports):
    await reports.arrived(report("RIS|1"), b"1")
    job = await outbox.lease()
    await outbox.freeze(job, submission(), 1, INS)
    await outbox.later(job, "DMP: does not answer", 0.001, 0.001)
    await outbox.park(job.id, "by hand")
    await reports.arrived(report("RIS|2"), b"2")
    again = await outbox.lease()
    assert (again.id, again.submission) == (job.id, submission())


async def test_what_may_be_in_the_dmp_stands_before_what_came_later_when_it_is_parked_too(outbox, reports, time):
    await reports.arrived(report("RIS|1"), b"1")
    job = await outbox.lease()
    await outbox.freeze(job, submission(), 1, INS)
    await reports.arrived(report("RIS|2"), b"2")
    await outbox.park(job.id, "by hand")
    time.later = outbox_module.LEASE_S + 1
    assert await outbox.lease() is None
    await reports.arrived(report("RIS|3"), b"3")
    assert (await outbox.lease()).id == job.id


async def test_frozen_bytes_survive_a_kill_and_are_sent_again_as_they_are(outbox, reports, database, time):
    await reports.arrived(report(), b"d")
    time.later = 6
    job = await outbox.lease()
    await outbox.freeze(job, submission(), job.report_id, INS)
    after_restart = Outbox(database)
    assert await after_restart.lease() is None  # the lease of the killed node still runs
    time.later = 6 + outbox_module.LEASE_S + 1
    again = await after_restart.lease()
    assert again.submission == submission()


async def test_a_restarted_node_takes_up_its_leases_at_once(outbox, reports, time):
    await reports.arrived(report(), b"d")
    time.later = 6
    await outbox.lease()
    await outbox.release_leases()
    assert await outbox.lease() is not None


async def test_attempts_come_later_and_later_and_say_why(outbox, reports, time):
    await reports.arrived(report(), b"d")
    time.later = 6
    pauses = []
    for _ in range(4):
        job = await outbox.lease()
        before = time.now().timestamp()
        await outbox.later(job, "DMP: does not answer", 10, 50)
        [item] = await outbox.list()
        pauses.append(item["next_try"] - before)
        time.later += 100
    assert (item["state"], item["attempts"], item["last_error"]) == ("due", 4, "DMP: does not answer")
    for pause, known in zip(pauses, (10, 20, 40, 50), strict=True):
        assert known * 0.8 - 1 <= pause <= known * 1.2 + 1


async def test_a_job_that_waits_makes_room_for_the_one_that_came_meanwhile(outbox, reports, time):
    await reports.arrived(report(), b"d")
    job = await outbox.lease()
    await reports.arrived(report("RIS|2", status="C"), b"2")  # while the first one looks for images
    await outbox.later(job, "study: not held here", 3600, 3600)
    await outbox.images_changed({STUDY: time.now().timestamp()}, 0)
    [item] = await outbox.list()
    assert (item["id"], item["cause"]) == (2, "images")
    assert (await outbox.lease()).report_id == 2


async def test_what_the_dmp_did_not_answer_goes_when_it_answers_again(outbox, reports, time):
    for number, reason in enumerate(("DMP: does not answer", "study: not held here"), start=1):
        document = Identifier(f"1.2.3.{number}")
        await reports.arrived(report(f"RIS|{number}", (f"1.2.{number}",), document_id=document), b"%d" % number)
        await outbox.later(await outbox.lease(), reason, 3600, 3600, unanswered=reason.startswith("DMP"))
    assert await outbox.lease(unanswered=True) is None  # it was asked just now
    time.later = outbox_module.PATIENCE_S + 1
    assert await outbox.lease() is None
    assert (await outbox.lease(unanswered=True)).study_uid == "1.2.1"
    assert await outbox.lease(unanswered=True) is None


async def test_a_start_reads_no_job_that_is_settled(outbox):
    rows = await outbox.database.read(f"EXPLAIN QUERY PLAN {outbox_module._RELEASE}")
    assert "USING INDEX job_open" in " ".join(row[3] for row in rows)


async def test_leasing_reads_no_job_that_is_not_due(outbox):
    for order in ("next_try <= 1 ORDER BY next_try", "unanswered_at > 0 AND unanswered_at <= 1 ORDER BY unanswered_at"):
        rows = await outbox.database.read(f"EXPLAIN QUERY PLAN {outbox_module._FREE} AND {order} LIMIT 1", (1,))
        plan = " ".join(row[3] for row in rows)
        assert "SCAN" not in plan and "TEMP B-TREE" not in plan, plan
        assert "job_open" in plan or "job_unanswered" in plan


async def test_images_after_publication_make_the_study_due_once(outbox, reports, time):
    await reports.arrived(report(), b"d")
    await told(outbox, await outbox.lease())
    for _ in range(3):
        await outbox.images_changed({STUDY: time.now().timestamp()}, 5)
    assert [item["state"] for item in await outbox.list()] == ["due", "done"]
    published = await outbox.published(STUDY)
    assert (published.submission, published.report_id, published.ins) == (submission(), 1, INS)


async def test_what_was_withdrawn_is_not_published_any_more(outbox, reports):
    await reports.arrived(report(), b"d")
    await told(outbox, await outbox.lease())
    await reports.arrived(report("RIS|2", status="D"), b"2")
    await told(outbox, await outbox.lease(), replace(submission(), kind="withdraw"))
    assert await outbox.published(STUDY) is None


async def test_a_first_step_makes_the_second_due_when_it_is_done(outbox, reports):
    await reports.arrived(report(), b"d")
    job = await outbox.lease()
    await outbox.freeze(job, submission(), 1, INS, again=True)
    assert [item["state"] for item in await outbox.list()] == ["frozen"]
    await outbox.done(job)
    assert [item["state"] for item in await outbox.list()] == ["due", "done"]


async def test_the_name_the_dmp_gives_an_entry_is_kept(outbox, reports):
    await reports.arrived(report(), b"d")
    job = await outbox.lease()
    await outbox.freeze(job, submission(), 1, INS)
    await outbox.done(job, "urn:uuid:of-the-registry")
    assert (await outbox.published(STUDY)).submission.entry_uuid == "urn:uuid:of-the-registry"


async def test_a_job_with_nothing_to_tell_leaves_no_trace(outbox, reports):
    await reports.arrived(report(), b"d")
    await outbox.nothing_to_do(await outbox.lease())
    assert await outbox.list() == []


async def test_a_human_discards_with_a_reason(outbox, reports):
    await reports.arrived(report(), b"d")
    await outbox.discard(1, "registered by hand")
    assert await outbox.lease() is None
    item = await outbox.show(1)
    assert (item["state"], item["last_error"]) == ("discarded", "registered by hand")
    with pytest.raises(NotFound):
        await outbox.retry(1)


async def test_a_human_retries_and_parks(outbox, reports, time):
    await reports.arrived(report(), b"d")
    await outbox.park(1, "by hand")
    time.later = 100
    assert await outbox.lease() is None
    await outbox.retry(1)
    job = await outbox.lease()
    await outbox.freeze(job, submission(), job.report_id, INS)
    await outbox.park(1, "refused")
    await outbox.retry(1)
    assert (await outbox.show(1))["state"] == "frozen"
    assert (await outbox.lease()).submission == submission()
    await outbox.done(job)
    for call in (outbox.retry(1), outbox.park(1, "late"), outbox.retry(77), outbox.show(77)):
        with pytest.raises(NotFound):
            await call


async def test_a_job_parked_while_its_manifest_is_built_is_not_frozen(outbox, reports, time):
    await reports.arrived(report(), b"d")
    time.later = 6
    job = await outbox.lease()
    await outbox.park(job.id, "by hand")
    with pytest.raises(Conflict):
        await outbox.freeze(job, submission(), job.report_id, INS)
    assert (await outbox.show(job.id))["state"] == "parked"
    assert await outbox.published(STUDY) is None
