"""From a study that is due to what will be sent to the DMP, ids and bytes; or to the reason why nothing is."""

import asyncio
from dataclasses import dataclass, replace

from drimbox import clock
from drimbox.dmp.client import DmpClient
from drimbox.errors import Conflict, NotFound
from drimbox.flows.decide import Standing, decide, ins_of
from drimbox.flows.exams import Exams, Found, exam_of, modalities_of, references_of, version_of
from drimbox.kos.build import build_manifest
from drimbox.model import Identifier, Report, Submission
from drimbox.storage.outbox import Job, Outbox, Published
from drimbox.xds.answers import Listed

_GONE = "the manifest we published is not current there any more: somebody else withdrew or replaced it"


@dataclass(frozen=True, slots=True)
class Step:
    """What to send, and the report whose identity speaks; again: it is the first of two.

    already_so: the DMP is as it should be without it; only we did not know.
    """

    submission: Submission
    report_id: int
    report: Report
    again: bool = False
    already_so: bool = False


@dataclass(frozen=True)
class Lifecycle:
    """Decides and builds. Only for the job that is leased: nobody else looks at its study meanwhile."""

    exams: Exams
    outbox: Outbox
    dmp: DmpClient

    async def next_step(self, job: Job) -> Step | None:
        """What is to be sent for the study of `job`; None when that is settled, or put off, without sending anything.

        Raises NotFound when it must be tried later, Conflict when a human has to look, and as `DmpClient.prepare`.
        """
        await self._ask_about_discarded(job.study_uid)
        found = await self.exams.look(job.study_uid)
        published = await self.outbox.published(job.study_uid)
        decision = decide(found.truth, await self._standing(published))
        match decision.action:
            case "nothing":
                await self.outbox.nothing_to_do(job)
            case "wait" if found.quiet_at:
                await self.outbox.wait(job, found.quiet_at, found.waiting)
            case "wait":
                raise NotFound(*_split(decision.reason))
            case "park":
                raise Conflict(*_split(decision.reason))
            case "withdraw" if published:
                return replace(await self._withdrawal(job, published), again=decision.again)
            case "update" if published:
                return await self._masking(found, published)
            case _:
                return await self._publication(found, published)
        return None

    async def _ask_about_discarded(self, study_uid: str) -> None:
        """A human ended our attempts, not those that reached the DMP: nothing new is said before that is known."""
        for job_id, doubtful in await self.outbox.doubtful(study_uid):
            report = await self.exams.reports.report(doubtful.report_id)
            is_there = await self._registered(doubtful, report) is not None
            await self.outbox.known(job_id, is_done=is_there != (doubtful.submission.kind == "withdraw"))

    async def _standing(self, published: Published | None) -> Standing | None:
        if published is None:
            return None
        report = await self.exams.reports.report(published.report_id)
        held = await asyncio.to_thread(references_of, published.submission.manifest)
        return Standing(report, held, published.ins or ins_of(report.patient))

    async def _publication(self, found: Found, published: Published | None) -> Step:
        """A new manifest, which takes the place of the published one."""
        report = _in_force(found)
        exam = exam_of(report, found.study_uid, found.study)
        replaced = await self._registered(published, report) if published else None
        if published and replaced is None and published.report_id == found.report_id:
            raise Conflict("DMP", _GONE)  # a new report is reason enough to publish anew, an image is not
        version = 1 + await asyncio.to_thread(version_of, published.submission.manifest) if published else 1
        manifest = self.exams.manifest(found, report, exam, version, clock.now())
        submission = await self.dmp.prepare(
            report,
            exam,
            kos=await asyncio.to_thread(build_manifest, manifest),
            unique_id=manifest.uid,
            created=manifest.created,
            new_uid=self.exams.new_uid,
            modalities=modalities_of(found.series),
            replaces=replaced.entry_uuid if replaced else "",
        )
        return Step(submission, found.report_id, report)

    async def _masking(self, found: Found, published: Published) -> Step:
        """The same manifest, for whom the report in force now says."""
        report = _in_force(found)
        registered = await self._registered(published, report)
        if registered is None:
            raise Conflict("DMP", _GONE)
        submission = await self.dmp.prepare_masking(
            report, published.submission, registered, new_uid=self.exams.new_uid
        )
        return Step(submission, found.report_id, report)

    async def _withdrawal(self, job: Job, published: Published) -> Step:
        """The end of what was published. Its identity is that of the deletion, else of the submission before."""
        report_id, report = published.report_id, await self.exams.reports.report(published.report_id)
        if job.report_id:
            cause = await self.exams.reports.report(job.report_id)
            if cause.status == "D" and ins_of(cause.patient) == published.ins:
                report_id, report = job.report_id, cause
        report = about(report, published.ins)
        registered = await self._registered(published, report)
        if registered is None:
            return Step(_ended(published.submission), report_id, report, already_so=True)
        submission = await self.dmp.prepare_withdrawal(
            report, published.submission, registered, new_uid=self.exams.new_uid
        )
        return Step(submission, report_id, report)

    async def _registered(self, published: Published, report: Report) -> Listed | None:
        """What the registry calls the manifest it has from us; None when it shows none."""
        frozen = published.submission
        return await self.dmp.entry(frozen.unique_id, about(report, published.ins), frozen.structure)


def about(report: Report, ins: str) -> Report:
    """The report, speaking of the patient a submission was about: a merge may have changed who that is."""
    value, _, authority = ins.partition("^")
    if not value or ins == ins_of(report.patient):
        return report
    return replace(report, patient=replace(report.patient, ins=Identifier(value, authority)))


def _in_force(found: Found) -> Report:
    if found.truth.report is None:
        raise NotFound("report", "none documents this study")
    return found.truth.report


def _ended(published: Submission) -> Submission:
    return replace(published, kind="withdraw", metadata=b"", signature=b"")


def _split(reason: str) -> tuple[str, str]:
    what, _, why = reason.partition(": ")
    return (what, why) if why else ("report", what)
