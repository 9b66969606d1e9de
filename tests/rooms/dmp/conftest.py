"""An invented report, its manifest and its submission, and a DMP on loopback to send them to."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from uuid import uuid4

import pytest
import pytest_asyncio
from publication_stage import CENTRE, patient
from publication_stage import report as made_report
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from drimbox import clock
from drimbox.dmp.client import DmpClient
from drimbox.dmp.signer import read_signer
from drimbox.dmp.submissions import Ids, Office, build_publication
from drimbox.dmp.vihf import Speaker, speaker_of
from drimbox.egress import Egress
from drimbox.model import Identifier, Report, Submission
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates
from drimbox.sandbox.dmp import RunningDmp, serve
from drimbox.settings import Dmp, DmpStructure, Software

INS = "269054958815780"
OTHER, ENTITY, SITE = "1750000011", "1750000003", "1750000029"


def make_kos(unique_id: str, study_uid: str, patient_id: str = INS, note: str = "") -> bytes:
    """The least a KOS needs for the DMP to believe it."""
    kos = Dataset()
    kos.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.59"
    kos.SOPInstanceUID = unique_id
    kos.PatientID = patient_id
    kos.StudyInstanceUID = study_uid
    kos.StudyDescription = note
    kos.file_meta = FileMetaDataset()
    kos.file_meta.MediaStorageSOPClassUID = kos.SOPClassUID
    kos.file_meta.MediaStorageSOPInstanceUID = kos.SOPInstanceUID
    kos.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = BytesIO()
    kos.save_as(written, enforce_file_format=True)
    return written.getvalue()


def make_ids() -> Ids:
    return Ids(f"2.25.{uuid4().int}", uuid4().urn, uuid4().urn, f"2.25.{uuid4().int}", uuid4().urn)


@pytest.fixture(scope="session")
def submit(certificates: SandboxCertificates) -> Callable[..., Submission]:
    """Make a submission of a report: its manifest and what signs it."""
    structure = structure_of(certificates)
    signer = read_signer(structure.sign_certificate.read_bytes(), structure.sign_key.read_bytes())
    office = Office(structure, signer, "1.2.250.1.213.4.5.9", "sha256")

    def make(
        report: Report, *, unique_id: str = "", kos: bytes = b"", replaces: str = "", set_uid: str = ""
    ) -> Submission:
        exam = report.exams[0]
        unique_id = unique_id or f"2.25.{uuid4().int}"
        ids = make_ids()
        return build_publication(
            report,
            exam,
            office,
            replace(ids, set_uid=set_uid or ids.set_uid),
            kos=kos or make_kos(unique_id, exam.study_uid),
            unique_id=unique_id,
            created=datetime(2026, 1, 4, 10, 0, tzinfo=UTC),
            submitted=datetime.now(UTC),
            modalities=("CT",),
            replaces=replaces,
        )

    return make


def structure_of(certificates: SandboxCertificates) -> DmpStructure:
    return DmpStructure.model_validate({"id": CENTRE.id.value, "name": CENTRE.name, **certificates.own.settings()})


@pytest.fixture
def report() -> Report:
    return made_report(1, ("1.2.3.4",), patient(101, int(INS[1:])))


@pytest.fixture
def speaker(report: Report) -> Speaker:
    return speaker_of(report)


@pytest.fixture
def kos_of() -> Callable[..., bytes]:
    return make_kos


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> SandboxCertificates:
    """Of the centre, of another one, and of a legal entity that has a site."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), (CENTRE.id.value, OTHER, ENTITY))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(
    tmp_path_factory: pytest.TempPathFactory, certificates: SandboxCertificates
) -> AsyncIterator[RunningDmp]:
    async with serve(tmp_path_factory.mktemp("dmp"), certificates, entities={ENTITY: (SITE,)}) as served:
        yield served


@pytest.fixture
def dmp(running: RunningDmp) -> RunningDmp:
    running.app.forget()
    return running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def egress(running: RunningDmp) -> AsyncIterator[Egress]:
    gate = Egress([running.repository_url])
    yield gate
    await gate.close()


@pytest.fixture
def settings(dmp: RunningDmp, certificates: SandboxCertificates) -> Dmp:
    return Dmp(
        repository_url=dmp.repository_url,
        registry_url=dmp.registry_url,
        patients_url=dmp.patients_url,
        habilitations_url=dmp.habilitations_url,
        ca=certificates.ca,
        software=Software(id="1234567890", name="DRIMbox", version="0.1", homologation="TEST-1"),
        structures=(structure_of(certificates),),
        timeout_s=60,
    )


@pytest.fixture
def client(settings: Dmp, egress: Egress) -> DmpClient:
    return DmpClient(settings, egress, clock)


@pytest.fixture
def impatient(settings: Dmp, egress: Egress) -> DmpClient:
    """The same, that waits two seconds only: enough for what it says to be heard, whatever is answered."""
    return DmpClient(settings.model_copy(update={"timeout_s": 2}), egress, clock)


@pytest.fixture
def with_ins() -> Callable[[Report, Identifier], Report]:
    return lambda report, ins: replace(report, patient=replace(report.patient, ins=ins))
