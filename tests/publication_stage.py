"""The outbox of a node with all it works with, and no doors: archive, reports, trail, and a DMP on loopback to tell."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from archiving import keep
from making import ct

from drimbox import clock
from drimbox.audit.trail import Trail
from drimbox.dmp.client import DmpClient
from drimbox.egress import Egress
from drimbox.flows.admit import Admit
from drimbox.flows.desk import Desk
from drimbox.flows.exams import Exams
from drimbox.flows.lifecycle import Lifecycle
from drimbox.flows.publish import Publish
from drimbox.model import Code, Credentials, Exam, Identifier, Patient, Professional, Report, Structure
from drimbox.sandbox.certificates import SandboxCertificates
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.recover import recover
from drimbox.storage.reports import Reports

INS_AUTHORITY = "1.2.250.1.213.1.4.10"
IPP_AUTHORITY = "1.2.250.1.213.4.5.2.4"
RIS = Credentials("hl7", "127.0.0.1", "RIS", "DRIMBOX")
CENTRE = Structure(
    Identifier("1750803447", "1.2.250.1.71.4.2.2"),
    "Centre d'imagerie de l'Exemple",
    sector=Code("SA08", "1.2.250.1.71.4.2.4", "Cabinet de groupe"),
    practice=Code("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire"),
)
RADIOLOGIST = Professional(
    Identifier("801234560801", "1.2.250.1.71.4.2.1"),
    "MARTIN",
    "Claude",
    profession=Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)"),
)


def patient(number: int, ins: int = 0, *, qualified: bool = True) -> Patient:
    """An invented patient. number: makes the local identifier; ins: makes the INS, the same number by default."""
    return Patient(
        Identifier(f"2{ins or number:014}", INS_AUTHORITY, "ASIP-SANTE-INS-NIR"),
        Identifier(f"IPP{number}", IPP_AUTHORITY),
        "EXEMPLE",
        "Dominique",
        birth_date="19690515",
        sex="F",
        birth_place="49588",
        qualified=qualified,
    )


def report(number: int, studies: tuple[str, ...], about: Patient, **changes: Any) -> Report:
    """A report of these studies; number makes its message and its document. changes: by field, over these."""
    made = Report(
        message_id=f"RIS|CENTRE|{number}",
        message=f"MSH {number}".encode(),
        cda=b"<ClinicalDocument/>",
        document_id=Identifier(f"1.2.3.9.{number}"),
        status="F",
        patient=about,
        author=RADIOLOGIST,
        author_structure=CENTRE,
        legal_authenticator=RADIOLOGIST,
        legal_structure=CENTRE,
        exams=tuple(exam(study_uid) for study_uid in studies),
    )
    return replace(made, **changes)


def exam(study_uid: str) -> Exam:
    return Exam(
        study_uid,
        accession=Identifier("ACC1", "1.2.250.1.213.4.5.2.5"),
        order=Identifier("ORD1", "1.2.250.1.213.4.5.2.6"),
        acts=(Code("ACQH004", "1.2.250.1.215.300.1", "Scanographie du crâne"),),
        regions=(Code("69536005", "2.16.840.1.113883.6.96", "tête"),),
        started="20260104092200+0100",
    )


def settings_for(certificates: SandboxCertificates, port: int, *, timeout_s: float = 60, **publish: Any) -> Settings:
    """Of a node whose DMP listens at `port` of loopback. publish: keys of that section.

    timeout_s: of a message to the DMP; short only where a DMP says nothing, and what is lost may be said again.
    """
    base = f"https://localhost:{port}"
    structure = {
        "id": CENTRE.id.value,
        "name": CENTRE.name,
        **certificates.own.settings(),
    }
    dmp = {"repository_url": f"{base}/repository", "registry_url": f"{base}/registry", "ca": certificates.ca}
    quick = {"settle_s": 0, "poll_s": 0.01, "retry_first_s": 0.001, "retry_most_s": 0.002, "most_per_s": 10_000}
    return Settings(dmp=dmp | {"structures": [structure], "timeout_s": timeout_s}, publish=quick | publish)


class Stage:
    """Opened as a node does; `close`, or leave it open to play a node that was killed."""

    def __init__(self, base: Path, settings: Settings, egress: Egress) -> None:
        self.trail = Trail(base / "trail" / "trail.jsonl")
        self.outbox = Outbox(open_outbox(base / "own"))
        self.archive = Archive(base / "own")
        recover(self.archive, adopt=True)
        self.reports = Reports(self.outbox)
        admit = Admit(settings, self.trail)
        exams = Exams(self.archive, self.reports, settings, "https://box.example.org/dicom-web")
        lifecycle = Lifecycle(exams, self.outbox, DmpClient(settings.dmp, egress, clock))
        self.publish = Publish(lifecycle, admit, settings)
        self.desk = Desk(self.outbox, admit)

    async def image(self, study_uid: str, series: int, number: int, about: Patient) -> None:
        """An instance of the study arrives."""
        await self.kept(ct(series, number, study_uid, PatientID=about.local_id and about.local_id.value))

    async def kept(self, made: Any) -> None:
        """This instance arrives."""
        await keep(self.archive, made)

    async def work(self, senders: int = 4) -> None:
        """Work side by side until nothing is due."""

        async def sender() -> None:
            while await self.publish.run_due():
                continue

        await asyncio.gather(*(sender() for _ in range(senders)))

    def close(self) -> None:
        self.archive.close()
        self.outbox.database.close()
        self.trail.close()


@contextlib.asynccontextmanager
async def staged(base: Path, settings: Settings) -> AsyncIterator[Stage]:
    """A stage with its way out."""
    egress = Egress([settings.dmp.repository_url])
    stage = Stage(base, settings, egress)
    try:
        yield stage
    finally:
        stage.close()
        await egress.close()
