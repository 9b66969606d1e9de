"""A report arrives; its manifest reaches the DMP. Exactly one, whatever crashes in between."""

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from drimbox import clock
from drimbox.dicom.attributes import text
from drimbox.dicom.match import OneOf, Query
from drimbox.dmp.client import DmpClient
from drimbox.dmp.verdict import AlreadyThere, Refused, Registered
from drimbox.errors import Conflict, DrimboxError, NoSpace, NotFound, Unavailable
from drimbox.flows.admit import Admit
from drimbox.kos.build import build_manifest
from drimbox.kos.codes import KEY_OBJECT_SELECTION
from drimbox.kos.document import MAX_BYTES
from drimbox.kos.gather import gather_series
from drimbox.kos.manifest import Manifest, ManifestSeries, new_uid
from drimbox.kos.read import is_selection_of_images, read_manifest
from drimbox.model import Credentials, Exam, Report, Submission
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.outbox import Job
from drimbox.xds.ebxml import submit_objects
from drimbox.xds.entry import describe_manifest

log = logging.getLogger(__name__)

_MAX_INSTANCES = 200_000


@dataclass(frozen=True)
class Publish:
    """From the report to the DMP. Only the outbox retries; only frozen bytes are sent.

    retrieve_base: the DICOMweb root other DRIMboxes reach us by; it goes into each manifest.
    """

    archive: Archive
    admit: Admit
    dmp: DmpClient
    settings: Settings
    retrieve_base: str

    # --- a report arrives --------------------------------------------------------------------------------------------

    async def report_arrived(self, report: Report, credentials: Credentials) -> Literal["accepted", "replayed"]:
        """Return once the report, and the jobs it causes, would survive a power cut.

        The same message again changes nothing. Raises Denied, Unidentified, NoSpace, Unavailable.
        """
        studies = " ".join(exam.study_uid for exam in report.exams)
        await self.admit(credentials, "report", studies, "report received")
        digest = hashlib.sha256(report.message).digest()
        new = await self.archive.outbox.report_arrived(report, digest, parked=_unpublishable(report))
        return "accepted" if new else "replayed"

    # --- the work ----------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Run what is due, for ever; the node cancels it when it stops. A failing job never ends the loop."""
        released = busy = False
        while True:
            try:
                if not released:
                    await self.archive.outbox.release_leases()
                    released = True
                busy = await self.run_due()
            except DrimboxError as error:  # the outbox itself does not answer: nothing was lost, ask again
                log.warning("outbox_unavailable", extra={"reason": str(error)})
                busy = False
            except Exception:
                log.exception("outbox_failed", extra={"incident": secrets.token_hex(8)})
                busy = False
            if not busy:
                await asyncio.sleep(self.settings.publish.poll_s)

    async def run_due(self) -> bool:
        """Attempt the most overdue job; False when there was none."""
        job = await self.archive.outbox.lease()
        if job is None:
            return False
        try:
            await self._attempt(job)
        except (NotFound, Unavailable, NoSpace) as reason:
            retry = self.settings.publish
            await self.archive.outbox.later(job, str(reason), retry.retry_first_s, retry.retry_most_s)
        except DrimboxError as reason:
            await self.archive.outbox.park(job.id, str(reason))
        except Exception:  # a bug of ours must not send a job round and round: a human looks at it
            incident = secrets.token_hex(8)
            log.exception("publish_failed", extra={"incident": incident, "job": job.id})
            await self.archive.outbox.park(job.id, f"internal error, incident {incident} in the log")
        return True

    async def _attempt(self, job: Job) -> None:
        report = await self.archive.outbox.report(job.report_id)
        submission = job.submission
        if submission is None:
            submission = await self._submission(job, report)
            if submission is None:
                await self.archive.outbox.done(job)
                return
            await self.archive.outbox.freeze(job, submission)
        await self._deliver(job, submission, report)

    async def _deliver(self, job: Job, submission: Submission, report: Report) -> None:
        """One attempt with the frozen bytes. If it raises, the outcome may be unknown: the same bytes go again."""
        match await self.dmp.register(submission, report):
            case Registered() | AlreadyThere():
                await self.archive.outbox.done(job)
                log.info("manifest_published", extra={"job": job.id, "kind": submission.kind})
            case Refused(reason):
                await self.archive.outbox.park(job.id, reason)
                log.warning("manifest_refused", extra={"job": job.id, "reason": reason})

    async def _submission(self, job: Job, report: Report) -> Submission | None:
        """Build what will be sent, ids included; None when the DMP already holds exactly this."""
        exam = next(exam for exam in report.exams if exam.study_uid == job.study_uid)
        now = clock.now()
        manifest = await self._manifest(report, exam, now)
        published = await self.archive.outbox.published(job.study_uid)
        before = published.manifest if published and published.report_id == job.report_id else None
        if before is not None and await asyncio.to_thread(_same_references, manifest, before):
            return None
        kos = await asyncio.to_thread(build_manifest, manifest)
        entry_uuid, set_entry_uuid = uuid4(), uuid4()
        entry, submission_set = describe_manifest(
            report,
            exam,
            kos=kos,
            unique_id=manifest.uid,
            entry_uuid=entry_uuid.urn,
            set_uid=self._new_uid(),
            set_entry_uuid=set_entry_uuid.urn,
            created=manifest.created,
            submitted=now,
            source_id=self.settings.dmp.source_id,
            modalities=tuple(dict.fromkeys(series.modality for series in manifest.series if series.modality)),
        )
        return Submission(
            study_uid=job.study_uid,
            kind="replace" if published else "publish",
            unique_id=manifest.uid,
            set_uid=submission_set.unique_id,
            entry_uuid=entry_uuid.urn,
            structure=report.legal_structure.id.value,
            manifest=kos,
            metadata=submit_objects(entry, submission_set, replaces=published.entry_uuid if published else ""),
        )

    async def _manifest(self, report: Report, exam: Exam, now: datetime) -> Manifest:
        """The manifest of what we hold of the exam now. Raises NotFound while we hold nothing of it."""
        study = await self.archive.study(exam.study_uid)
        _consistent(study, report, exam)
        return Manifest(
            uid=self._new_uid(),
            series_uid=self._new_uid(),
            study_uid=exam.study_uid,
            study_date=text(study, "00080020"),
            study_time=text(study, "00080030"),
            study_description=text(study, "00081030"),
            study_id=text(study, "00200010"),
            referring_physician=text(study, "00080090"),
            accession=exam.accession,
            order=exam.order,
            patient=report.patient,
            created=now,
            institution=self.settings.kos.institution or report.legal_structure.name,
            structure_id=report.legal_structure.id.value,
            manufacturer="DRIMbox",
            instance_number=1,
            act=exam.acts[0].meaning if exam.acts else "",
            series=await self._series(exam.study_uid),
        )

    async def _series(self, study_uid: str) -> tuple[ManifestSeries, ...]:
        """Evidence is what we hold, without rejection notes and manifests of others (drim-m.md B.5)."""
        query = Query("instance", {"0020000D": OneOf((study_uid,))}, None, _MAX_INSTANCES, 0)
        items = await self.archive.search(query)
        left_out = set()
        for held in await self.archive.held(study_uid):
            if held.sop_class_uid == KEY_OBJECT_SELECTION:
                data = await self.archive.read(held, 0, min(held.size_bytes, MAX_BYTES + 1))  # one more is too large
                if not await asyncio.to_thread(is_selection_of_images, data):
                    left_out.add(held.ref.sop_uid)
        base = f"{self.retrieve_base}/studies/{study_uid}/series"
        series = gather_series((item for item in items if text(item, "00080018") not in left_out), base)
        if not series:
            raise NotFound("study", "no image of it is here yet")
        return series

    def _new_uid(self) -> str:
        return new_uid(self.settings.kos.uid_root, UUID(bytes=secrets.token_bytes(16), version=4))

    # --- looking -----------------------------------------------------------------------------------------------------

    async def outbox(self, credentials: Credentials) -> list[dict[str, Any]]:
        """What is owed to the DMP, newest first."""
        await self.admit(credentials, "operate", detail="outbox listed")
        return await self.archive.outbox.list()

    async def outbox_item(self, credentials: Credentials, job_id: int) -> dict[str, Any]:
        """One job. Raises NotFound."""
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} shown")
        return await self.archive.outbox.show(job_id)

    async def retry(self, credentials: Credentials, job_id: int) -> dict[str, Any]:
        """Attempt a job now, parked ones included. Raises NotFound."""
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} retried")
        await self.archive.outbox.retry(job_id)
        return await self.archive.outbox.show(job_id)

    async def current_manifest(self, credentials: Credentials, study_uid: str) -> bytes:
        """The manifest the DMP holds of a study. Raises NotFound."""
        await self.admit(credentials, "retrieve", study_uid, "manifest")
        published = await self.archive.outbox.published(study_uid)
        if published is None:
            raise NotFound("manifest", "none was published for this study")
        return published.manifest


def _unpublishable(report: Report) -> str:
    """Why no manifest of this report may reach the DMP, or nothing (P16)."""
    if report.patient.ins is None:
        return "the report carries no INS: send it again once the identity is qualified"
    if not report.patient.qualified:
        return "the identity is not qualified (PID-32 is not VALI): send it again once it is"
    return ""


def _consistent(study: dict[str, Any], report: Report, exam: Exam) -> None:
    """Images and report must speak of the same exam of the same patient (drim-m.md B.4). Raises Conflict."""
    accession, patient_id = text(study, "00080050"), text(study, "00100020")
    if accession and exam.accession and accession != exam.accession.value:
        raise Conflict("accession number", "the images and the report do not carry the same one: correct one of them")
    if patient_id and report.patient.local_id and patient_id != report.patient.local_id.value:
        raise Conflict("patient identifier", "the images and the report do not carry the same one: correct one of them")


def _same_references(manifest: Manifest, published: bytes) -> bool:
    """Would the DMP learn nothing new? Compared by what is referenced, not by dates and ids."""
    return _references(manifest) == _references(read_manifest(published))


def _references(manifest: Manifest) -> set[tuple[str, str, str]]:
    return {
        (series.series_uid, series.retrieve_url, instance.sop_uid)
        for series in manifest.series
        for instance in series.instances
    }
