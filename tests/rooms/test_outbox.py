"""The outbox: one job a study at a time, in order; frozen bytes stay; nothing is lost by a kill."""

import pytest
from making import STUDY, report

from drimbox import clock
from drimbox.errors import Conflict, NotFound
from drimbox.model import Submission
from drimbox.storage import outbox as outbox_module
from drimbox.storage.database import Database
from drimbox.storage.outbox import Outbox


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
    monkeypatch.setattr(outbox_module, "clock", time)
    return time


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "index.db")
    yield database
    database.close()


@pytest.fixture
def outbox(database, time):
    return Outbox(database, settle_s=5)


def submission(unique_id="2.25.1"):
    return Submission(STUDY, "publish", unique_id, "2.25.9", f"urn:uuid:{unique_id}", "101235555", b"KOS", b"<xml/>")


async def test_a_report_is_kept_as_it_came_with_a_job_for_each_exam(outbox, time):
    sent = report(studies=("1.2.1", "1.2.2"))
    assert await outbox.report_arrived(sent, b"d")
    assert [item["study_uid"] for item in await outbox.list()] == ["1.2.2", "1.2.1"]
    time.later = 6
    job = await outbox.lease()
    assert await outbox.report(job.report_id) == sent


async def test_the_same_message_a_hundred_times_is_one_job(outbox):
    assert [await outbox.report_arrived(report(), b"d") for _ in range(100)].count(True) == 1
    assert len(await outbox.list()) == 1


async def test_a_report_that_is_not_for_the_dmp_causes_no_job(outbox):
    assert await outbox.report_arrived(report(to_dmp=False), b"d")
    assert await outbox.list() == []


async def test_a_study_must_be_quiet_before_its_job_is_due(outbox, database, time):
    await outbox.report_arrived(report(), b"d")
    assert await outbox.lease() is None
    time.later = 4
    await database.write(lambda tx: outbox.study_changed(tx, STUDY, time.now().timestamp()))
    time.later = 6
    assert await outbox.lease() is None
    time.later = 10
    assert (await outbox.lease()).study_uid == STUDY


async def test_a_second_job_waits_for_the_first_of_its_study_only(outbox, time):
    await outbox.report_arrived(report("RIS|1"), b"1")
    await outbox.report_arrived(report("RIS|2"), b"2")
    await outbox.report_arrived(report("RIS|3", studies=("1.2.9",)), b"3")
    time.later = 6
    first, other = await outbox.lease(), await outbox.lease()
    assert {first.study_uid, other.study_uid} == {STUDY, "1.2.9"}
    assert await outbox.lease() is None
    await outbox.done(first)
    assert (await outbox.lease()).study_uid == STUDY


async def test_a_parked_job_does_not_hold_back_the_next_of_its_study(outbox, time):
    await outbox.report_arrived(report("RIS|1"), b"1", parked="the identity is not qualified")
    await outbox.report_arrived(report("RIS|2"), b"2")
    time.later = 6
    job = await outbox.lease()
    assert job.report_id == 2


async def test_frozen_bytes_survive_a_kill_and_are_sent_again_as_they_are(outbox, database, time):
    await outbox.report_arrived(report(), b"d")
    time.later = 6
    job = await outbox.lease()
    await outbox.freeze(job, submission())
    after_restart = Outbox(database, settle_s=5)
    assert await after_restart.lease() is None  # the lease of the killed node still runs
    time.later = 6 + outbox_module.LEASE_S + 1
    again = await after_restart.lease()
    assert again.submission == submission()


async def test_a_restarted_node_takes_up_its_leases_at_once(outbox, time):
    await outbox.report_arrived(report(), b"d")
    time.later = 6
    await outbox.lease()
    await outbox.release_leases()
    assert await outbox.lease() is not None


async def test_attempts_come_later_and_later_and_say_why(outbox, time):
    await outbox.report_arrived(report(), b"d")
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


async def test_an_instance_after_publication_makes_a_replacement_due(outbox, database, time):
    await outbox.report_arrived(report(), b"d")
    time.later = 6
    job = await outbox.lease()
    await outbox.freeze(job, submission())
    await outbox.done(job)
    for _ in range(3):
        await database.write(lambda tx: outbox.study_changed(tx, STUDY, time.now().timestamp()))
    assert [item["state"] for item in await outbox.list()] == ["due", "done"]
    published = await outbox.published(STUDY)
    assert (published.unique_id, published.manifest, published.report_id) == ("2.25.1", b"KOS", 1)


async def test_a_human_retries_and_parks(outbox, time):
    await outbox.report_arrived(report(), b"d")
    await outbox.park(1, "by hand")
    time.later = 100
    assert await outbox.lease() is None
    await outbox.retry(1)
    job = await outbox.lease()
    await outbox.freeze(job, submission())
    await outbox.park(1, "refused")
    await outbox.retry(1)
    assert (await outbox.show(1))["state"] == "frozen"
    assert (await outbox.lease()).submission == submission()
    await outbox.done(job)
    for call in (outbox.retry(1), outbox.park(1, "late"), outbox.retry(77), outbox.show(77)):
        with pytest.raises(NotFound):
            await call


async def test_a_job_parked_while_its_manifest_is_built_is_not_frozen(outbox, time):
    await outbox.report_arrived(report(), b"d")
    time.later = 6
    job = await outbox.lease()
    await outbox.park(job.id, "by hand")
    with pytest.raises(Conflict):
        await outbox.freeze(job, submission())
    assert (await outbox.show(job.id))["state"] == "parked"
    assert await outbox.published(STUDY) is None
