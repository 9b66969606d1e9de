"""The sandbox DMP refuses what a real one may: each rule is broken once, by one change in a right message."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drimbox.dmp.client import DmpClient
from drimbox.dmp.verdict import Refused
from drimbox.egress import Answer, Egress, Identity
from drimbox.errors import Unavailable
from drimbox.model import Identifier, Report, Submission
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates
from drimbox.sandbox.dmp import RunningDmp
from drimbox.settings import Dmp

pytestmark = pytest.mark.asyncio(loop_scope="session")

Submit = Callable[..., Submission]
SECOND_ASSERTION = b'<saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"/>'
METADATA = "XDSRepositoryMetadataError"


@dataclass
class Captured:
    url: str
    content: bytes
    content_type: str


class Capturing(Egress):
    """Keeps what would be sent, and sends nothing."""

    def __init__(self) -> None:
        super().__init__([])
        self.captured: list[Captured] = []

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        identity: Identity | None = None,
        ca: Path | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        self.captured.append(Captured(url, content, headers["Content-Type"]))
        raise Unavailable("DMP", "captured")


@dataclass(frozen=True)
class At:
    moment: datetime

    def now(self) -> datetime:
        return self.moment


async def capture(settings: Dmp, report: Report, submission: Submission, moment: datetime | None = None) -> Captured:
    gate = Capturing()
    with pytest.raises(Unavailable):
        await DmpClient(settings, gate, At(moment or datetime.now(UTC))).submit(submission, report)
    return gate.captured[0]


async def send(captured: Captured, egress: Egress, settings: Dmp) -> Answer:
    structure = settings.structures[0]
    return await egress.post(
        captured.url,
        content=captured.content,
        headers={"Content-Type": captured.content_type},
        identity=Identity(structure.tls_certificate, structure.tls_key, settings.ca),
        timeout_s=60,
        max_bytes=2**20,
    )


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b"http://www.w3.org/2003/05/soap-envelope", b"http://schemas.xmlsoap.org/soap/envelope/", b"SOAP 1.2"),
        (b"<soap:Envelope", b"<!DOCTYPE x><soap:Envelope", b"DOCTYPE"),
        (b"/repository</wsa:To>", b"/elsewhere</wsa:To>", b": To"),
        (b"<wsa:MessageID>urn:uuid:", b"<wsa:MessageID>uuid:", b"MessageID"),
        (b'<wsa:Action soap:mustUnderstand="true">', b"<wsa:Action>", b"s:mustUnderstand"),
        (b"addressing/anonymous", b"addressing/none", b"ReplyTo"),
        (b'href="cid:', b'href="cid:x', b"cid references"),
        (b"801234560801</saml2:NameID>", b"801234560802</saml2:NameID>", b"FailedCheck"),
        (b"</soap:Header>", SECOND_ASSERTION + b"</soap:Header>", b"one assertion"),
        (b"</soap:Envelope>", b"", b">XML<"),
        (b"Content-ID: <envelope", b"Content-ID: <other", b"root is the first part"),
        (b'type="application/soap+xml"; action', b'type="text/xml"; action', b"root type parameter"),
    ],
)  # fmt: skip
async def test_a_message_that_breaks_a_rule_gets_a_fault(
    before: bytes,
    after: bytes,
    why: bytes,
    settings: Dmp,
    egress: Egress,
    dmp: RunningDmp,
    report: Report,
    submit: Submit,
) -> None:
    captured = await capture(settings, report, submit(report))
    assert before in captured.content
    captured.content = captured.content.replace(before, after)
    answer = await send(captured, egress, settings)
    assert answer.status == 400
    assert why in answer.content
    assert dmp.app.documents() == []


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ('start-info="application/soap+xml"; ', "", 400),
        ('type="application/xop+xml"', 'type="text/xml"', 400),
        ("boundary=", "x=", 400),
        ("multipart/related", "text/xml", 400),
        ("RegisterDocumentSet-b", "RegisterDocumentSet", 404),
    ],
)
async def test_a_media_type_that_breaks_a_rule_is_refused(
    before: str, after: str, status: int, settings: Dmp, egress: Egress, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    captured = await capture(settings, report, submit(report))
    assert before in captured.content_type
    captured.content_type = captured.content_type.replace(before, after)
    assert (await send(captured, egress, settings)).status == status
    assert dmp.app.documents() == []


async def test_a_message_is_taken_once(
    settings: Dmp, egress: Egress, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    captured = await capture(settings, report, submit(report))
    assert (await send(captured, egress, settings)).status == 200
    replayed = await send(captured, egress, settings)
    assert replayed.status == 400
    assert b"used before" in replayed.content
    assert len(dmp.app.documents()) == 1


@pytest.mark.parametrize("away", [timedelta(minutes=-10), timedelta(minutes=10)])
async def test_an_assertion_out_of_its_time_is_refused(
    away: timedelta, settings: Dmp, egress: Egress, report: Report, submit: Submit
) -> None:
    captured = await capture(settings, report, submit(report), datetime.now(UTC) + away)
    answer = await send(captured, egress, settings)
    assert answer.status == 400
    assert b"MessageExpired" in answer.content


async def test_a_signer_of_another_authority_is_refused(
    tmp_path: Path, settings: Dmp, egress: Egress, report: Report, submit: Submit
) -> None:
    other = make_certificates(tmp_path / "other")
    signs = {"sign_certificate": other.own.sign_certificate, "sign_key": other.own.sign_key}
    forged = settings.model_copy(update={"structures": (settings.structures[0].model_copy(update=signs),)})
    captured = await capture(forged, report, submit(report))
    answer = await send(captured, egress, settings)
    assert answer.status == 400
    assert b"signer not trusted" in answer.content


async def test_without_client_certificate_there_is_no_connection(
    dmp: RunningDmp, egress: Egress, certificates: SandboxCertificates
) -> None:
    with pytest.raises(Unavailable):
        await egress.post(
            dmp.repository_url, content=b"", headers={}, ca=certificates.ca, timeout_s=60, max_bytes=2**20
        )


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (b'name="hash"><rim:ValueList><rim:Value>', b'name="hash"><rim:ValueList><rim:Value>0', METADATA),
        (b'name="size"><rim:ValueList><rim:Value>', b'name="size"><rim:ValueList><rim:Value>1', METADATA),
        (b"AssociationType:HasMember", b"AssociationType:HasNoMember", "XDSRegistryMetadataError"),
        (b"<rim:Value>Original</rim:Value>", b"<rim:Value>Reference</rim:Value>", METADATA),
        (b'nodeRepresentation="31"', b'nodeRepresentation=""', METADATA),
        (b"1.2.250.1.213.1.1.4.12", b"1.2.250.1.213.1.1.4.99", METADATA),
        (b"1.2.250.1.213.2.5", b"1.2.250.1.215.300.1", METADATA),
        (b'nodeRepresentation="N"', b'nodeRepresentation="R"', METADATA),
        (b"<rim:Value>fr-FR</rim:Value>", b"<rim:Value>en-US</rim:Value>", METADATA),
        (b"20260104082200", b"20260104092200+0100", METADATA),
        (b"^IDNPS", b"^RPPS", METADATA),
        (b"<rim:Value>1.2.3.4^^^^urn", b"<rim:Value>1.2.3.5^^^^urn", METADATA),
        (b'value="1.2.250.1.213.4.5.9"', b'value="local"', METADATA),
        (b"application/dicom", b"application/pdf", METADATA),
        (b'value="269054958815780', b'value="255069999999934', "XDSPatientIdDoesNotMatch"),
        (b"<rim:Name>", b"<rim:Nom>", "not well-formed"),
    ],
)  # fmt: skip
async def test_metadata_that_break_a_rule_are_refused(
    before: bytes, after: bytes, code: str, client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit
) -> None:
    submission = submit(report)
    assert before in submission.metadata
    result = await client.submit(replace(submission, metadata=submission.metadata.replace(before, after)), report)
    assert isinstance(result, Refused)
    assert code in result.reason
    assert dmp.app.documents() == []


async def test_a_manifest_of_somebody_else_is_refused(
    client: DmpClient, dmp: RunningDmp, report: Report, submit: Submit, kos_of: Callable[..., bytes]
) -> None:
    wrong_patient = submit(report, unique_id="2.25.1", kos=kos_of("2.25.1", "1.2.3.4", patient_id="255069999999934"))
    wrong_uid = submit(report, unique_id="2.25.2", kos=kos_of("2.25.3", "1.2.3.4"))
    no_dicom = submit(report, kos=b"not DICOM")
    reasons = []
    for submission in (wrong_patient, wrong_uid, no_dicom):
        refused = await client.submit(submission, report)
        assert isinstance(refused, Refused)
        reasons.append(refused.reason.split(" ")[0])
    assert reasons == ["XDSPatientIdDoesNotMatch", METADATA, METADATA]
    assert dmp.app.documents() == []


async def test_only_a_known_entry_is_replaced_and_only_for_its_patient(
    client: DmpClient, report: Report, submit: Submit, with_ins: Callable[[Report, Identifier], Report]
) -> None:
    refused = await client.submit(submit(report, replaces="urn:uuid:00000000-0000-4000-8000-000000000009"), report)
    assert isinstance(refused, Refused)
    assert "UnresolvedReferenceException" in refused.reason
    first = submit(report)
    await client.submit(first, report)
    somebody = with_ins(report, Identifier("255069999999934", "1.2.250.1.213.1.4.10"))
    refused = await client.submit(submit(somebody, replaces=first.entry_uuid), somebody)
    assert isinstance(refused, Refused)
    assert "XDSPatientIdDoesNotMatch" in refused.reason


async def test_the_controls_list_and_misbehave_over_http(
    client: DmpClient, dmp: RunningDmp, egress: Egress, settings: Dmp, report: Report, submit: Submit
) -> None:
    base = dmp.repository_url.removesuffix("/repository")
    structure = settings.structures[0]
    identity = Identity(structure.tls_certificate, structure.tls_key, settings.ca)
    order = b'{"transaction": "register", "how": "no-dmp"}'
    answer = await egress.post(
        f"{base}/control/misbehave", content=order, headers={}, identity=identity, timeout_s=60, max_bytes=1000
    )
    assert answer.status == 200
    assert isinstance(await client.submit(submit(report), report), Refused)
    await client.submit(submit(report, unique_id="2.25.7"), report)
    listing = await egress.get(
        f"{base}/control/documents", headers={}, identity=identity, timeout_s=60, max_bytes=10_000
    )
    assert b'"unique_id": "2.25.7"' in listing.content
