"""Someone who looks at an exam asks for its report: admitted as for its images."""

import asyncio
from dataclasses import dataclass

from drimbox.errors import NotFound
from drimbox.flows.admit import Admit
from drimbox.model import Credentials, Report
from drimbox.storage.reports import Reports
from drimbox.xds.cda_body import ReportBody, read_body


@dataclass(frozen=True)
class ShowReport:
    """The report of an exam as a person reads it. Nothing of it is kept in another form: it is read anew each time."""

    reports: Reports
    admit: Admit

    async def __call__(self, credentials: Credentials, study_uid: str) -> ReportBody:
        """What the report in force says of the exam: a PDF, a picture, or a page.

        Raises NotFound without one, NotAcceptable when it is in no form a browser shows, Malformed, TooLarge.
        """
        await self.admit.images(credentials, study_uid, "report")
        current = await self.reports.current(study_uid)
        if current is None or not current[1].cda:
            raise NotFound("report", "none of this exam is held here")
        report = current[1]
        return await asyncio.to_thread(read_body, report.cda, _heading(report))


def _heading(report: Report) -> tuple[str, ...]:
    """Whose report it is, of whom, by whom: the traits a reader compares."""
    patient, signer = report.patient, report.legal_authenticator
    born = f"{patient.birth_date[6:8]}/{patient.birth_date[4:6]}/{patient.birth_date[:4]}"
    who = f"{patient.family} {patient.given}" + (f", {born}" if len(born) == 10 else "")
    signed = f"{signer.given} {signer.family}, {report.legal_structure.name}"
    return report.title or "Compte rendu d’imagerie", who, signed
