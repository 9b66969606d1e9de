"""In whose name a submission comes, in each mode, and what the DMP makes of one that is not what it says.

The modes EG, EJ and EJ/EG: drim-m.md B.8. What the DMP holds against each other: the certificate of the channel, the
VIHF and who signed it, authorInstitution of the set and of its documents (DMP guide, EX_2.1-1140), who signed the set.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from certificates import signer_in, unit_of

from drimbox import clock
from drimbox.dmp.client import DmpClient
from drimbox.dmp.verdict import Refused, Registered
from drimbox.egress import Egress
from drimbox.errors import Unavailable
from drimbox.model import Identifier, Report, Submission
from drimbox.sandbox.certificates import SandboxCertificates
from drimbox.sandbox.dmp import RunningDmp
from drimbox.sandbox.dmp_store import Holding
from drimbox.settings import Dmp, DmpStructure

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN, OTHER, ENTITY, SITE = "1750803447", "1750000011", "1750000003", "1750000029"
METADATA = "XDSRepositoryMetadataError"

FINESS = "1.2.250.1.71.4.2.2"

ReportFrom = Callable[[str], Report]
KosOf = Callable[..., bytes]
ClientOf = Callable[[DmpStructure], DmpClient]
StructureOf = Callable[..., DmpStructure]


@pytest.fixture
def structure_of(certificates: SandboxCertificates) -> StructureOf:
    """A structure of the settings. files: names of the certificates it has instead of its own, by kind."""

    def make(number: str, mode: str = "EG", sites: tuple[str, ...] = (), **files: str) -> DmpStructure:
        of = {kind: certificates.structures[files.get(kind, number)].settings() for kind in ("tls", "sign")}
        paths = {key: path for kind, held in of.items() for key, path in held.items() if key.startswith(kind)}
        return DmpStructure.model_validate({"id": number, "name": "n", "mode": mode, "sites": sites, **paths})

    return make


@pytest.fixture
def client_of(settings: Dmp, egress: Egress) -> ClientOf:
    return lambda structure: DmpClient(settings.model_copy(update={"structures": (structure,)}), egress, clock)


@pytest.fixture
def report_from(report: Report) -> ReportFrom:
    """A report that somebody of this structure answers for."""

    def make(number: str) -> Report:
        return replace(report, legal_structure=replace(report.legal_structure, id=Identifier(number, FINESS)))

    return make


async def prepared(client: DmpClient, report: Report, kos_of: KosOf) -> Submission:
    unique_id = f"2.25.{uuid4().int}"
    exam = report.exams[0]
    return await client.prepare(
        report,
        exam,
        kos=kos_of(unique_id, exam.study_uid),
        unique_id=unique_id,
        created=datetime(2026, 1, 4, 10, 0, tzinfo=UTC),
        new_uid=lambda: f"2.25.{uuid4().int}",
        modalities=("CT",),
    )


def institutions(held: Holding) -> list[str]:
    return re.findall(r"IDNST\^\^\^([0-9]+)<", held.metadata)


@pytest.mark.parametrize(
    ("number", "mode", "sites", "legal", "in_vihf", "in_metadata"),
    [
        (OTHER, "EG", (), OTHER, OTHER, OTHER),
        (ENTITY, "EJ/EG", (SITE,), SITE, ENTITY, SITE),
        (ENTITY, "EJ", (SITE,), SITE, ENTITY, ENTITY),
    ],
)
async def test_each_mode_is_taken_with_its_numbers(
    number: str, mode: str, sites: tuple[str, ...], legal: str, in_vihf: str, in_metadata: str,
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf,
) -> None:  # fmt: skip
    client, report = client_of(structure_of(number, mode, sites)), report_from(legal)
    assert await client.submit(await prepared(client, report, kos_of), report) == Registered()
    [heard] = dmp.app.heard
    assert unit_of(heard.client) == number
    assert (heard.vihf.structure, heard.vihf.person) == (in_vihf, "801234560801")
    assert heard.vihf.issuer == f"CN=Sandbox structure,OU={number},O=Sandbox structure,C=FR"
    [document], [signature] = dmp.app.documents(), dmp.app.signatures()
    assert institutions(document) == institutions(signature) == [in_metadata]
    assert unit_of(signer_in(signature.content)) == number


async def test_of_an_entity_the_vihf_may_name_the_site(
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf
) -> None:
    """In mode EJ/EG the VIHF has either number (drim-m.md B.8). We send the entity's; this one is made by hand."""
    client, report = client_of(structure_of(SITE, tls=ENTITY, sign=ENTITY)), report_from(SITE)
    assert await client.submit(await prepared(client, report, kos_of), report) == Registered()
    assert dmp.app.heard[0].vihf.structure == SITE


@pytest.mark.parametrize(
    ("number", "files"),
    [
        (OTHER, {"tls": OWN, "sign": OWN}),  # names another structure than its certificates
        (SITE, {"tls": OWN, "sign": OWN}),  # a site, and not of this one
        (OWN, {"tls": OTHER, "sign": OWN}),  # comes through the channel of another
        (OWN, {"tls": OWN, "sign": OTHER}),  # signed by another
    ],
)
async def test_a_vihf_that_is_not_of_its_certificates_is_refused(
    number: str, files: dict[str, str],
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf,
) -> None:  # fmt: skip
    client, report = client_of(structure_of(number, **files)), report_from(number)
    with pytest.raises(Unavailable, match="SOAP fault Sender InvalidSecurity"):
        await client.submit(await prepared(client, report, kos_of), report)
    assert (dmp.app.received["register"], list(dmp.app.heard), dmp.app.documents()) == (1, [], [])


async def test_a_site_that_is_not_of_the_entity_is_refused(
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf
) -> None:
    client, report = client_of(structure_of(ENTITY, "EJ/EG", (OTHER,))), report_from(OTHER)
    refused = await client.submit(await prepared(client, report, kos_of), report)
    assert isinstance(refused, Refused) and METADATA in refused.reason
    assert dmp.app.documents() == []


@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1, 2)])
async def test_an_author_of_another_structure_is_refused(
    places: tuple[int, ...],
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf,
) -> None:  # fmt: skip
    """In the set, in one of the two documents, and everywhere."""
    client, report = client_of(structure_of(OWN)), report_from(OWN)
    submission = await prepared(client, report, kos_of)
    parts = submission.metadata.split(f"IDNST^^^{OWN}".encode())
    numbers = [f"IDNST^^^{OTHER if place in places else OWN}".encode() for place in range(3)]
    others = b"".join(part + number for part, number in zip(parts, [*numbers, b""], strict=True))
    refused = await client.submit(replace(submission, metadata=others), report)
    assert isinstance(refused, Refused) and METADATA in refused.reason
    assert dmp.app.documents() == []


async def test_a_set_signed_by_another_structure_is_refused(
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf
) -> None:
    report = report_from(OWN)
    submission = await prepared(client_of(structure_of(OWN, sign=OTHER)), report, kos_of)
    refused = await client_of(structure_of(OWN)).submit(submission, report)
    assert isinstance(refused, Refused) and METADATA in refused.reason
    assert dmp.app.documents() == []


async def test_a_change_comes_from_the_structure_of_its_author_too(
    dmp: RunningDmp, structure_of: StructureOf, client_of: ClientOf, report_from: ReportFrom, kos_of: KosOf
) -> None:
    client, report = client_of(structure_of(ENTITY, "EJ/EG", (SITE,))), report_from(SITE)
    published = await prepared(client, report, kos_of)
    assert await client.submit(published, report) == Registered()
    listed = await client.entry(published.unique_id, report, published.structure)
    assert listed is not None
    end = await client.prepare_withdrawal(report, published, listed, new_uid=lambda: f"2.25.{uuid4().int}")
    others = end.metadata.replace(f"IDNST^^^{SITE}".encode(), f"IDNST^^^{OTHER}".encode())
    assert others != end.metadata
    refused = await client.submit(replace(end, metadata=others), report)
    assert isinstance(refused, Refused) and METADATA in refused.reason
    assert await client.submit(end, report) == Registered()
    assert {unit_of(heard.client) for heard in dmp.app.heard} == {ENTITY}
