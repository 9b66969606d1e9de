"""The client of the DMP against a strict DMP over mutual TLS, in every way it can go wrong (P6, P7, P8)."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drimbox import clock
from drimbox.dmp.client import DmpClient
from drimbox.dmp.verdict import AlreadyThere, Refused, Registered
from drimbox.dmp.vihf import Speaker
from drimbox.egress import Egress
from drimbox.errors import Denied, NotFound, TooLarge, Unavailable
from drimbox.model import Identifier, Report, Submission
from drimbox.sandbox.certificates import SandboxCertificates
from drimbox.sandbox.dmp import RunningDmp, serve
from drimbox.sandbox.dmp_misbehave import How, Misbehaviour
from drimbox.settings import Dmp

pytestmark = pytest.mark.asyncio(loop_scope="session")

Submit = Callable[..., Submission]
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"


async def test_a_manifest_is_registered_then_found_then_fetched(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    submission = submit(report)
    assert await client.submit(submission, report) == Registered()
    assert [held.unique_id for held in dmp.app.documents()] == [submission.unique_id]
    assert report.patient.ins is not None
    (listed,) = await client.find(report.patient.ins, speaker)
    assert listed.entry_uuid == submission.entry_uuid
    assert listed.unique_id == submission.unique_id
    assert listed.status == APPROVED
    assert listed.hash == hashlib.sha1(submission.manifest).hexdigest()
    assert listed.modalities == ("CT",)
    assert [region.value for region in listed.regions] == ["69536005"]
    assert listed.institution == "Centre d'imagerie de l'Exemple"
    assert listed.service_start == "20260104082200"
    assert "ACC1^^^&1.2.250.1.213.4.5.2.5&ISO^urn:ihe:iti:xds:2013:accession" in listed.reference_ids
    assert await client.fetch(listed, speaker) == submission.manifest


async def test_a_replacement_deprecates_what_it_replaces(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    first = submit(report)
    second = submit(report, replaces=first.entry_uuid)
    assert await client.submit(first, report) == Registered()
    assert await client.submit(second, report) == Registered()
    assert [(h.unique_id, h.status) for h in dmp.app.documents()] == [
        (first.unique_id, DEPRECATED),
        (second.unique_id, APPROVED),
    ]
    assert report.patient.ins is not None
    assert [listed.unique_id for listed in await client.find(report.patient.ins, speaker)] == [second.unique_id]
    third = submit(report, replaces=first.entry_uuid)
    refused = await client.submit(third, report)
    assert isinstance(refused, Refused)
    assert "XDSRegistryDeprecatedDocumentError" in refused.reason


async def test_sending_twice_is_already_there(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    assert await client.submit(submission, report) == Registered()
    assert await client.submit(submission, report) == AlreadyThere()
    assert len(dmp.app.documents()) == 1


async def test_the_same_unique_id_with_other_bytes_is_refused(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit, kos_of: Callable[..., bytes]
) -> None:
    first = submit(report)
    other = kos_of(first.unique_id, "1.2.3.4", note="other")
    second = submit(report, unique_id=first.unique_id, kos=other)
    assert await client.submit(first, report) == Registered()
    refused = await client.submit(second, report)
    assert isinstance(refused, Refused)
    assert "another document is registered under this unique id" in refused.reason
    assert len(dmp.app.documents()) == 1


async def test_a_set_known_for_another_document_is_refused(client: DmpClient, report: Report, submit: Submit) -> None:
    first = submit(report)
    assert await client.submit(first, report) == Registered()
    refused = await client.submit(submit(report, set_uid=first.set_uid), report)
    assert isinstance(refused, Refused)
    assert "XDSDuplicateUniqueIdInRegistry" in refused.reason


LOST: list[How] = [
    "cut",
    "cut-half-way",
    "500",
    "html",
    "other-message",
    "50-mb",
    "partial-success",
    "fault",
    "expired",
]


@pytest.mark.parametrize("how", LOST)
async def test_a_lost_answer_is_settled_by_asking(
    how: How, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    dmp.app.misbehave("register", Misbehaviour(how, after_commit=True))
    assert await client.submit(submit(report), report) == AlreadyThere()
    assert len(dmp.app.documents()) == 1


NOT_DONE: list[How] = [how for how in LOST if how != "partial-success"]


@pytest.mark.parametrize("how", [*NOT_DONE, "busy"])
async def test_what_was_not_done_is_tried_again(
    how: How, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    dmp.app.misbehave("register", Misbehaviour(how))
    with pytest.raises(Unavailable):
        await client.submit(submission, report)
    assert dmp.app.documents() == []
    assert await client.submit(submission, report) == Registered()


@pytest.mark.parametrize("after_commit", [True, False])
async def test_silence_is_not_waited_for(
    after_commit: bool, impatient: DmpClient, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    dmp.app.misbehave("register", Misbehaviour("silence", after_commit))
    dmp.app.misbehave("query", Misbehaviour("silence"))
    with pytest.raises(Unavailable):
        await impatient.submit(submission, report)
    assert await client.submit(submission, report) == (AlreadyThere() if after_commit else Registered())
    assert len(dmp.app.documents()) == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no-dmp", "XDSUnknownPatientId (the patient has no DMP, or it is closed)"),
        ("refusal", "SOAP fault Sender"),
    ],
)
async def test_a_clear_no_is_a_refusal(
    how: How, reason: str, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    dmp.app.misbehave("register", Misbehaviour(how))
    refused = await client.submit(submit(report), report)
    assert isinstance(refused, Refused)
    assert refused.reason.startswith(reason)
    assert dmp.app.received["query"] == 1  # the try before may have gone through


async def test_accepting_and_cutting_the_line_leaves_one_document_each(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    """P7: the registry cannot be asked either, so the same bytes go again, until an answer comes through."""
    submissions = [submit(report) for _ in range(8)]
    for submission in submissions:
        dmp.app.misbehave("register", *[Misbehaviour("cut", after_commit=True)] * 3)
        dmp.app.misbehave("query", *[Misbehaviour("cut")] * 3)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await client.submit(submission, report)
        assert await client.submit(submission, report) == AlreadyThere()
    assert [held.unique_id for held in dmp.app.documents()] == [s.unique_id for s in submissions]


async def test_the_state_survives_a_restart(
    tmp_path: Path, certificates: SandboxCertificates, settings: Dmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    outcomes = []
    for _ in range(2):
        async with serve(tmp_path / "restarted", certificates) as again:
            urls = {"repository_url": again.repository_url, "registry_url": again.registry_url}
            gate = Egress([again.repository_url])
            client = DmpClient(settings.model_copy(update=urls), gate, clock)
            outcomes.append(await client.submit(submission, report))
            await gate.close()
    assert outcomes == [Registered(), AlreadyThere()]


@pytest.mark.parametrize(
    "how", ["cut", "cut-half-way", "500", "html", "other-message", "50-mb", "fault", "other-bytes"]
)
async def test_a_document_that_does_not_come_whole_is_never_given(
    how: How, client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    submission = submit(report)
    await client.submit(submission, report)
    assert report.patient.ins is not None
    (listed,) = await client.find(report.patient.ins, speaker)
    dmp.app.misbehave("retrieve", Misbehaviour(how, after_commit=True))
    with pytest.raises(Unavailable):
        await client.fetch(listed, speaker)
    assert await client.fetch(listed, speaker) == submission.manifest


async def test_odd_but_legal_mime_is_read(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    submission = submit(report)
    await client.submit(submission, report)
    assert report.patient.ins is not None
    (listed,) = await client.find(report.patient.ins, speaker)
    dmp.app.misbehave("retrieve", Misbehaviour("odd-mime"))
    assert await client.fetch(listed, speaker) == submission.manifest


async def test_a_document_the_dmp_does_not_have_is_not_found(
    client: DmpClient, report: Report, speaker: Speaker, submit: Submit
) -> None:
    await client.submit(submit(report), report)
    assert report.patient.ins is not None
    (listed,) = await client.find(report.patient.ins, speaker)
    with pytest.raises(NotFound):
        await client.fetch(replace(listed, unique_id="1.2.3"), speaker)
    with pytest.raises(TooLarge):
        await client.fetch(replace(listed, size_bytes=2**40), speaker)


@pytest.mark.parametrize("how", ["cut", "500", "html", "busy", "other-message", "other-patient", "50-mb"])
async def test_a_search_that_goes_wrong_is_unavailable_not_empty(
    how: How, client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker, submit: Submit
) -> None:
    await client.submit(submit(report), report)
    dmp.app.misbehave("query", Misbehaviour(how))
    assert report.patient.ins is not None
    with pytest.raises(Unavailable):
        await client.find(report.patient.ins, speaker)


async def test_a_patient_without_dmp_is_not_found(
    client: DmpClient, dmp: RunningDmp, report: Report, speaker: Speaker
) -> None:
    dmp.app.misbehave("query", Misbehaviour("no-dmp"))
    assert report.patient.ins is not None
    with pytest.raises(NotFound, match="no DMP"):
        await client.find(report.patient.ins, speaker)


async def test_another_patient_sees_nothing(
    client: DmpClient, report: Report, speaker: Speaker, submit: Submit
) -> None:
    await client.submit(submit(report), report)
    assert await client.find(Identifier("255069999999934", "1.2.250.1.213.1.4.10"), speaker) == []


async def test_a_structure_without_certificate_is_told_to_a_human(
    client: DmpClient, report: Report, speaker: Speaker, submit: Submit
) -> None:
    refused = await client.submit(replace(submit(report), structure="unknown"), report)
    assert isinstance(refused, Refused)
    assert "dmp.structures" in refused.reason
    elsewhere = replace(speaker, structure=replace(speaker.structure, id=Identifier("unknown")))
    assert report.patient.ins is not None
    with pytest.raises(Denied):
        await client.find(report.patient.ins, elsewhere)


async def test_a_report_that_lacks_what_the_vihf_requires_is_refused(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    unknown = replace(report.legal_authenticator, profession=None, id=Identifier("899", "1.2.250.1.71.4.2.1"))
    refused = await client.submit(submit(report), replace(report, legal_authenticator=unknown))
    assert refused == Refused("professional: the profession is not told, and the VIHF requires it")
    assert dmp.app.received["register"] == 0


async def test_without_address_or_with_a_closed_port_it_is_unavailable(
    settings: Dmp, egress: Egress, report: Report, submit: Submit
) -> None:
    nowhere = DmpClient(settings.model_copy(update={"repository_url": ""}), egress, clock)
    with pytest.raises(Unavailable, match="not configured"):
        await nowhere.submit(submit(report), report)
    forbidden = DmpClient(settings.model_copy(update={"repository_url": "https://localhost:1/x"}), egress, clock)
    with pytest.raises(Unavailable, match="not usable"):
        await forbidden.submit(submit(report), report)


async def test_an_unusable_signing_key_is_unavailable(
    settings: Dmp, egress: Egress, report: Report, submit: Submit, certificates: SandboxCertificates
) -> None:
    wrong = settings.structures[0].model_copy(update={"sign_key": certificates.own.tls_key})
    client = DmpClient(settings.model_copy(update={"structures": (wrong,)}), egress, clock)
    with pytest.raises(Unavailable, match="signing certificate"):
        await client.submit(submit(report), report)
