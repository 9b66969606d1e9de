"""The whole life of a manifest in the DMP: published, replaced, masked, withdrawn, and found again meanwhile."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from drimbox import clock
from drimbox.dmp.client import DmpClient
from drimbox.dmp.verdict import ERRORS, AlreadyThere, Refused, Registered
from drimbox.dmp.vihf import Speaker
from drimbox.egress import Egress
from drimbox.errors import Denied, NotFound, Unavailable
from drimbox.model import Code, Identifier, Report, Submission
from drimbox.sandbox.dmp import RunningDmp
from drimbox.sandbox.dmp_misbehave import How, Misbehaviour
from drimbox.settings import Dmp
from drimbox.xds.answers import Listed
from drimbox.xds.codes import APPROVED

pytestmark = pytest.mark.asyncio(loop_scope="session")

Submit = Callable[..., Submission]
DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"
MASKED = "MASQUE_PS"


def new_uid() -> str:
    return f"2.25.{uuid4().int}"


async def published(client: DmpClient, report: Report, submit: Submit) -> tuple[Submission, Listed]:
    submission = submit(report)
    assert await client.submit(submission, report) == Registered()
    listed = await client.entry(submission.unique_id, report)
    assert listed is not None
    return submission, listed


async def test_a_manifest_is_prepared_signed_and_published(
    client: DmpClient, dmp: RunningDmp, report: Report, kos_of: Callable[..., bytes]
) -> None:
    unique_id = new_uid()
    submission = await client.prepare(
        report,
        report.exams[0],
        kos=kos_of(unique_id, "1.2.3.4"),
        unique_id=unique_id,
        created=datetime(2026, 1, 4, 10, tzinfo=UTC),
        new_uid=new_uid,
    )
    assert (submission.kind, submission.unique_id) == ("publish", unique_id)
    assert await client.submit(submission, report) == Registered()
    assert [held.content for held in dmp.app.documents()] == [submission.manifest]


async def test_the_signature_is_checked_by_the_dmp(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    other = submit(report)
    refused = await client.submit(replace(submission, signature=other.signature), report)
    assert isinstance(refused, Refused)
    assert dmp.app.documents() == []


async def test_a_withdrawn_manifest_is_not_shown_any_more(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    submission, listed = await published(client, report, submit)
    withdrawal = await client.prepare_withdrawal(report, submission, listed, new_uid=new_uid)
    assert (withdrawal.kind, withdrawal.unique_id) == ("withdraw", submission.unique_id)
    assert await client.submit(withdrawal, report) == Registered()
    assert [held.status for held in dmp.app.documents()] == [DELETED]
    assert report.patient.ins is not None
    assert await client.find(report.patient.ins, speaker) == []
    assert await client.entry(submission.unique_id, report) is None
    assert await client.submit(withdrawal, report) == AlreadyThere()


async def test_masking_changes_who_sees_it_and_nothing_else(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission, listed = await published(client, report, submit)
    masked = replace(report, confidentiality=(MASKED,))
    change = await client.prepare_masking(masked, submission, listed, new_uid=new_uid)
    assert change.kind == "update"
    assert await client.submit(change, masked) == Registered()
    now = await client.entry(submission.unique_id, report)
    assert now is not None
    assert [code.value for code in now.confidentiality] == ["N", MASKED]
    assert (now.version, now.logical_id, now.entry_uuid) == ("2", listed.entry_uuid, change.entry_uuid)
    assert (now.hash, now.title, now.reference_ids) == (listed.hash, listed.title, listed.reference_ids)
    assert [held.status for held in dmp.app.documents()] == [APPROVED]
    # Unmasked again, then withdrawn: each names the version the registry has now.
    back = await client.prepare_masking(report, submission, now, new_uid=new_uid)
    assert await client.submit(back, report) == Registered()
    last = await client.entry(submission.unique_id, report)
    assert last is not None
    assert [code.value for code in last.confidentiality] == ["N"]
    withdrawal = await client.prepare_withdrawal(report, submission, last, new_uid=new_uid)
    assert await client.submit(withdrawal, report) == Registered()


async def test_a_change_of_what_somebody_else_changed_goes_to_a_human(
    client: DmpClient, report: Report, submit: Submit
) -> None:
    submission, listed = await published(client, report, submit)
    masked, hidden = (replace(report, confidentiality=(name,)) for name in (MASKED, "INVISIBLE_PATIENT"))
    first = await client.prepare_masking(masked, submission, listed, new_uid=new_uid)
    second = await client.prepare_masking(hidden, submission, listed, new_uid=new_uid)
    assert await client.submit(first, masked) == Registered()
    refused = await client.submit(second, hidden)
    assert isinstance(refused, Refused)
    assert "XDSMetadataVersionError" in refused.reason


LOST: list[How] = ["cut", "cut-half-way", "500", "503", "html", "fault", "other-message", "twice", "50-mb"]


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("after_commit", [True, False])
async def test_a_lost_answer_to_a_change_is_settled_by_asking(
    how: How, after_commit: bool, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission, listed = await published(client, report, submit)
    masked = replace(report, confidentiality=(MASKED,))
    mask = await client.prepare_masking(masked, submission, listed, new_uid=new_uid)
    for change in ("mask", "withdraw"):
        if change == "withdraw":
            current = await client.entry(submission.unique_id, report)
            assert current is not None
            mask = await client.prepare_withdrawal(report, submission, current, new_uid=new_uid)
        dmp.app.misbehave("update", Misbehaviour(how, after_commit))
        if after_commit:
            assert await client.submit(mask, masked) == AlreadyThere()
        else:
            with pytest.raises(Unavailable):
                await client.submit(mask, masked)
            assert await client.submit(mask, masked) == Registered()
    assert [held.status for held in dmp.app.documents()] == [DELETED]


async def test_a_registry_that_gives_entries_its_own_ids_is_followed(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    dmp.app.misbehave("register", Misbehaviour("own-ids"))
    submission, listed = await published(client, report, submit)
    assert listed.entry_uuid != submission.entry_uuid
    second = submit(report, replaces=listed.entry_uuid)
    assert await client.submit(second, report) == Registered()
    known = await client.entry(second.unique_id, report)
    assert known is not None
    withdrawal = await client.prepare_withdrawal(report, second, known, new_uid=new_uid)
    assert await client.submit(withdrawal, report) == Registered()
    assert APPROVED not in [held.status for held in dmp.app.documents()]


async def test_a_replacement_whose_answer_was_lost_is_not_refused_for_what_it_did(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    """Sent again, it replaces an entry that is deprecated: by itself."""
    _, listed = await published(client, report, submit)
    second = submit(report, replaces=listed.entry_uuid)
    dmp.app.misbehave("register", Misbehaviour("cut", after_commit=True))
    dmp.app.misbehave("query", Misbehaviour("503"))
    with pytest.raises(Unavailable):
        await client.submit(second, report)
    dmp.app.misbehave("register", Misbehaviour("error", code="XDSRegistryDeprecatedDocumentError"))
    assert await client.submit(second, report) == AlreadyThere()


ROUNDS = int(os.environ.get("DRIMBOX_TEST_ROUNDS", "20"))


async def test_accepting_then_cutting_leaves_exactly_one_document_each(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    """P7. Every other time the registry cannot be asked either, and the same bytes go again."""
    sent = []
    for number in range(ROUNDS):
        submission = submit(report)
        sent.append(submission.unique_id)
        dmp.app.misbehave("register", Misbehaviour("cut", after_commit=True))
        if number % 2:
            dmp.app.misbehave("query", Misbehaviour("cut"))
            with pytest.raises(Unavailable):
                await client.submit(submission, report)
        assert await client.submit(submission, report) == AlreadyThere()
    assert [held.unique_id for held in dmp.app.documents()] == sent


@pytest.mark.parametrize("code", [*ERRORS, "DmpUnheardOf"])
async def test_each_business_error_ends_where_its_row_says(
    code: str, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    dmp.app.misbehave("register", Misbehaviour("error", code=code))
    if code in ERRORS and ERRORS[code].then == "retry":
        with pytest.raises(Unavailable):
            await client.submit(submission, report)
    else:
        refused = await client.submit(submission, report)
        assert isinstance(refused, Refused)
        assert refused.reason.startswith(code)
    assert dmp.app.documents() == []
    # And when it had been done all the same, nobody is bothered.
    dmp.app.misbehave("register", Misbehaviour("error", after_commit=True, code=code))
    assert await client.submit(submission, report) == AlreadyThere()


async def test_a_warning_is_kept_beside_the_success(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    dmp.app.misbehave("register", Misbehaviour("warning", code="XDSExtraMetadataNotSaved"))
    assert await client.submit(submit(report), report) == Registered(("XDSExtraMetadataNotSaved",))


async def test_a_slow_dmp_is_waited_for_until_the_deadline(
    client: DmpClient, impatient: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    dmp.app.misbehave("register", Misbehaviour("slow", after_commit=True))
    dmp.app.misbehave("query", Misbehaviour("503"))
    with pytest.raises(Unavailable):
        await impatient.submit(submission, report)
    assert await client.submit(submission, report) == AlreadyThere()
    assert len(dmp.app.documents()) == 1


async def test_a_dmp_that_is_down_is_unavailable(settings: Dmp, report: Report, submit: Submit) -> None:
    nowhere = "https://localhost:1"
    gate = Egress([nowhere])
    try:
        urls = {"repository_url": f"{nowhere}/repository", "registry_url": f"{nowhere}/registry"}
        client = DmpClient(settings.model_copy(update=urls), gate, clock)
        with pytest.raises(Unavailable):
            await client.submit(submit(report), report)
    finally:
        await gate.close()


# --- Reading --------------------------------------------------------------------------------------------------------


async def test_documents_are_found_by_reference_and_narrowed(
    client: DmpClient, report: Report, speaker: Speaker, submit: Submit
) -> None:
    submission, _ = await published(client, report, submit)
    assert report.patient.ins is not None
    ins = report.patient.ins
    accession = "ACC1^^^&1.2.250.1.213.4.5.2.5&ISO^urn:ihe:iti:xds:2013:accession"
    found = await client.find_by_reference(ins, speaker, accession, "other^^^&1.2&ISO^urn:x")
    assert submission.unique_id in [listed.unique_id for listed in found]
    assert await client.find_by_reference(ins, speaker, accession.replace("ACC1", "ACC2")) == []

    ct, mr = (Code(value, "1.2.250.1.213.1.1.5.618") for value in ("CT", "MR"))
    head = Code("69536005", "1.2.250.1.213.1.1.5.695")
    for events, created, expected in (
        (((ct, mr),), ("", ""), 1),
        (((mr,),), ("", ""), 0),
        (((ct,), (head,)), ("", ""), 1),
        (((ct,), (mr,)), ("", ""), 0),
        ((), ("20260104", "20260105"), 1),
        ((), ("20260105", ""), 0),
    ):
        assert len(await client.find(ins, speaker, events=events, created=created)) == expected


async def test_a_patient_is_looked_up_and_the_professional_authorised(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker
) -> None:
    assert report.patient.ins is not None
    ins = report.patient.ins
    before = await client.dossier(ins, speaker)
    assert (before.exists, before.may_be_read) == (True, False)
    assert await client.authorise(ins, speaker) == "DMPOk"
    assert (await client.dossier(ins, speaker)).may_be_read
    dmp.app.without.add(ins.value)
    assert not (await client.dossier(ins, speaker)).exists


@pytest.mark.parametrize("how", ["cut", "503", "html", "fault", "other-message", "other-patient", "twice", "50-mb"])
async def test_a_lookup_that_goes_wrong_is_unavailable_never_a_no(
    how: How, client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker
) -> None:
    assert report.patient.ins is not None
    dmp.app.misbehave("existence", Misbehaviour(how, after_commit=True))
    with pytest.raises(Unavailable):
        await client.dossier(report.patient.ins, speaker)


async def test_without_address_nothing_is_asked(
    settings: Dmp, egress: Egress, report: Report, speaker: Speaker, kos_of: Callable[..., bytes]
) -> None:
    off = {"repository_url": "", "patients_url": "", "habilitations_url": ""}
    client = DmpClient(settings.model_copy(update=off), egress, clock)
    assert report.patient.ins is not None
    with pytest.raises(Unavailable, match="not configured"):
        await client.dossier(report.patient.ins, speaker)
    with pytest.raises(Unavailable, match="not configured"):
        await client.authorise(report.patient.ins, speaker)
    with pytest.raises(Unavailable, match="not configured"):
        await client.prepare(
            report, report.exams[0], kos=b"", unique_id="1.2", created=datetime.now(UTC), new_uid=new_uid
        )


async def test_a_report_of_a_structure_we_do_not_speak_for_is_not_signed(client: DmpClient, report: Report) -> None:
    elsewhere = replace(report, legal_structure=replace(report.legal_structure, id=Identifier("unknown")))
    with pytest.raises(Denied, match="certificate"):
        await client.prepare(
            elsewhere, report.exams[0], kos=b"", unique_id="1.2", created=datetime.now(UTC), new_uid=new_uid
        )


async def test_a_patient_without_dmp_has_no_entry(client: DmpClient, dmp: RunningDmp, report: Report) -> None:
    dmp.app.misbehave("query", Misbehaviour("no-dmp"))
    with pytest.raises(NotFound, match="no DMP"):
        await client.entry("1.2.3", report)
