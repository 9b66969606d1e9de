"""What the DMP may hold and nobody knows; what it chokes on each time; the hour after an outage (P7, P8)."""

from dataclasses import replace

import pytest_asyncio
from publication_neighbours import visibility
from publication_stage import RIS, patient, report, settings_for, staged

from drimbox.kos.read import read_manifest
from drimbox.model import Credentials, Identifier
from drimbox.sandbox.certificates import make_certificates
from drimbox.sandbox.dmp import serve
from drimbox.sandbox.dmp_misbehave import Misbehaviour
from drimbox.storage import outbox as outbox_module

OPERATOR = Credentials("operator", "127.0.0.1")
AN_HOUR = {"retry_first_s": 3600, "retry_most_s": 3600}
CUT = Misbehaviour("cut", after_commit=True)


@pytest_asyncio.fixture
async def dmp(tmp_path):
    async with serve(tmp_path / "dmp", make_certificates(tmp_path / "certificates")) as running:
        yield running


@pytest_asyncio.fixture
async def stage(tmp_path, dmp):
    settings = settings_for(
        make_certificates(tmp_path / "certificates"), dmp.port, retry_first_s=3600, retry_most_s=3600
    )
    async with staged(tmp_path / "node", settings) as stage:
        yield stage


async def exam(stage, number, **changes):
    """An exam with its report; its study."""
    study_uid, about = f"1.2.3.{number}", patient(number)
    await stage.image(study_uid, 1, 1, about)
    await stage.publish.report_arrived(report(number, (study_uid,), about, **changes), RIS)
    return study_uid


async def states(stage):
    return [(job["kind"], job["state"]) for job in reversed(await stage.outbox.list())]


async def test_what_was_discarded_in_doubt_is_asked_about_before_anything_new_is_said(stage, dmp):
    dmp.app.misbehave("register", CUT)
    dmp.app.misbehave("query", Misbehaviour("503"))
    study_uid = await exam(stage, 1)
    await stage.work()
    assert await states(stage) == [("publish", "frozen")]
    await stage.desk.discard(OPERATOR, 1, "registered by hand")
    correction = report(2, (study_uid,), patient(1), status="C", confidentiality=("MASQUE_PS",))
    await stage.publish.report_arrived(correction, RIS)
    await stage.work()
    assert await states(stage) == [("publish", "done"), ("replace", "done")]
    assert [visibility(held.metadata) for held in dmp.app.documents() if held.is_approved] == [{"N", "MASQUE_PS"}]


async def test_what_was_discarded_and_never_arrived_is_published_anew(stage, dmp):
    dmp.app.misbehave("register", Misbehaviour("503"))
    dmp.app.misbehave("query", Misbehaviour("503"))
    study_uid = await exam(stage, 1)
    await stage.work()
    await stage.desk.discard(OPERATOR, 1, "of a test")
    await stage.publish.report_arrived(report(2, (study_uid,), patient(1), status="C"), RIS)
    await stage.work()
    assert await states(stage) == [("publish", "discarded"), ("publish", "done")]
    assert [held.is_approved for held in dmp.app.documents()] == [True]


async def test_an_exam_the_dmp_chokes_on_holds_up_nobody(stage, dmp):
    poison = Misbehaviour("500")
    dmp.app.mood = lambda transaction, content: poison if b">1.2.3.666^^^^" in content else None
    for number in (666, *range(1, 13)):
        await exam(stage, number)
    await stage.work()
    published = {read_manifest(held.content).study_uid for held in dmp.app.documents()}
    assert published == {f"1.2.3.{number}" for number in range(1, 13)}
    [item] = [item for item in await stage.outbox.list() if item["state"] != "done"]
    assert (item["study_uid"], item["state"], item["attempts"]) == ("1.2.3.666", "frozen", 1)


async def test_what_an_outage_left_behind_goes_once_the_dmp_answers(stage, dmp, monkeypatch):
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 0)
    down = Misbehaviour("503")
    dmp.app.mood = lambda transaction, content: down
    for number in range(1, 9):
        await exam(stage, number)
    await stage.work()
    assert {(item["state"], item["attempts"]) for item in await stage.outbox.list()} == {("frozen", 1)}
    await stage.work()  # their next try is an hour away
    assert {item["attempts"] for item in await stage.outbox.list()} == {1}
    dmp.app.mood = lambda transaction, content: None
    await exam(stage, 9)
    await stage.work()
    assert {item["state"] for item in await stage.outbox.list()} == {"done"}
    assert len(dmp.app.documents()) == 9


async def test_the_certificate_is_that_of_the_legal_authenticators_structure(tmp_path, dmp):
    settings = settings_for(
        make_certificates(tmp_path / "certificates"), dmp.port, retry_first_s=3600, retry_most_s=3600
    )
    [right] = settings.dmp.structures
    nothing = tmp_path / "nothing.pem"
    files = dict.fromkeys(("tls_certificate", "tls_key", "sign_certificate", "sign_key"), nothing)
    first = right.model_copy(update={"id": "1750000011", **files})
    settings = settings.model_copy(update={"dmp": settings.dmp.model_copy(update={"structures": (first, right)})})
    async with staged(tmp_path / "node", settings) as stage:
        legal = report(1, (), patient(1)).legal_structure
        other = {"legal_structure": named(legal, "1750000011")}
        nobody = {"legal_structure": named(legal, "1750000029")}
        for number, changes in ((1, {}), (2, other), (3, nobody)):
            await exam(stage, number, **changes)
        await stage.work()
        ends = [(item["state"], item["last_error"].partition(":")[0]) for item in reversed(await stage.outbox.list())]
        assert ends == [("done", ""), ("due", "signing certificate"), ("parked", "structure")]


def named(structure, identifier):
    return replace(structure, id=Identifier(identifier, structure.id.authority))
