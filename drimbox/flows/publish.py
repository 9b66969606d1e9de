"""A report arrives; its manifest reaches the DMP and follows the exam for its whole life. Exactly one, crash or not.

Whatever arrives only makes its exam due. What the DMP is told is decided when the exam's turn comes (decide.py), built
and frozen (lifecycle.py), and only then sent: the same bytes until the DMP has them.
"""

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from drimbox import clock
from drimbox.dmp.verdict import AlreadyThere, Refused, Registered
from drimbox.errors import DrimboxError, NoSpace, NotFound, Unavailable
from drimbox.flows.admit import Admit
from drimbox.flows.decide import ins_of
from drimbox.flows.lifecycle import Lifecycle, about
from drimbox.model import Credentials, PatientMerge, Report, StudyNotice, Submission
from drimbox.settings import Settings
from drimbox.storage.outbox import Job

log = logging.getLogger(__name__)

Arrival = Literal["accepted", "replayed"]
_LOOKED_AT_ONCE: Final = 5_000


@dataclass(frozen=True)
class Publish:
    """From what arrives to the DMP. Only the outbox retries; only frozen bytes are sent."""

    lifecycle: Lifecycle
    admit: Admit
    settings: Settings
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)  # by the DMP, the last time it was told something
    _pace: "_Pace" = field(default_factory=lambda: _Pace())

    # --- what arrives ------------------------------------------------------------------------------------------------

    async def report_arrived(self, report: Report, credentials: Credentials) -> Arrival:
        """Return once the report, and the jobs it causes, would survive a power cut.

        The same message again changes nothing. Raises Denied, Unidentified, Conflict, NoSpace, Unavailable.
        """
        studies = " ".join(exam.study_uid for exam in report.exams)
        await self.admit(credentials, "report", studies, "report received")
        return self._kept(await self.lifecycle.exams.reports.arrived(report, hashlib.sha256(report.message).digest()))

    async def study_noticed(self, notice: StudyNotice, credentials: Credentials) -> Arrival:
        """The same for an OMI^O23."""
        await self.admit(credentials, "report", notice.study_uid, "study-change notice received")
        return self._kept(await self.lifecycle.exams.reports.noticed(notice, hashlib.sha256(notice.message).digest()))

    async def patients_merged(self, merge: PatientMerge, credentials: Credentials) -> Arrival:
        """The same for an ADT^A40."""
        await self.admit(credentials, "report", detail="patient merge received")
        return self._kept(await self.lifecycle.exams.reports.merged(merge, hashlib.sha256(merge.message).digest()))

    def _kept(self, new: bool) -> Arrival:
        if new:
            self._news.set()
        return "accepted" if new else "replayed"

    async def look_at_images(self) -> bool:
        """Make due each exam whose images changed since last time; False when none did."""
        archive, outbox = self.lifecycle.exams.archive, self.lifecycle.outbox
        async with self._looking:
            changes = await archive.changed_studies(_LOOKED_AT_ONCE)
            if not changes:
                return False
            newest = {change.study_uid: change.at for change in changes}
            await outbox.images_changed(newest, self.settings.publish.settle_s)
            await archive.looked_at(changes)
            return True

    # --- the work ----------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Run what is due, for ever; the node cancels it when it stops. A failing job never ends the loops."""
        while not await self._survived(self._take_up):
            self._news.clear()
            await self._pause()
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._for_ever(self.look_at_images))
            for _ in range(self.settings.publish.senders):
                loops.create_task(self._for_ever(self.run_due))

    async def _take_up(self) -> bool:
        await self.lifecycle.outbox.release_leases()
        return True

    async def _for_ever(self, step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            if not await self._survived(step):
                self._news.clear()
                await self._pause()

    async def _pause(self) -> None:
        """Until something new is due, or it is time to look by oneself."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.publish.poll_s):
                await self._news.wait()

    async def _survived(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await step()
        except DrimboxError as error:  # the outbox itself does not answer: nothing was lost, ask again
            log.warning("outbox_unavailable", extra={"reason": str(error)})
        except Exception:
            log.exception("outbox_failed", extra={"incident": secrets.token_hex(8)})
        return False

    async def run_due(self) -> bool:
        """Attempt the most overdue job; False when there was none.

        Images first: one this job will see must not make its exam due once more afterwards.
        """
        outbox = self.lifecycle.outbox
        while await self.look_at_images():
            continue
        job = await outbox.lease(unanswered=self._answered.is_set())
        if job is None:
            return False
        try:
            await self._attempt(job)
        except (NotFound, Unavailable, NoSpace) as reason:
            retry, unanswered = self.settings.publish, isinstance(reason, Unavailable)
            if unanswered:
                self._answered.clear()
            await outbox.later(job, str(reason), retry.retry_first_s, retry.retry_most_s, unanswered=unanswered)
        except DrimboxError as reason:
            await outbox.park(job.id, str(reason))
            log.warning("exam_parked", extra={"job": job.id, "reason": str(reason)})
        except Exception:  # a bug of ours must not send a job round and round: a human looks at it
            incident = secrets.token_hex(8)
            log.exception("publish_failed", extra={"incident": incident, "job": job.id})
            await outbox.park(job.id, f"internal error, incident {incident} in the log")
        return True

    async def _attempt(self, job: Job) -> None:
        if job.submission is not None and job.report_id is not None:
            report = await self.lifecycle.exams.reports.report(job.report_id)
            await self._deliver(job, job.submission, about(report, job.ins))
        elif step := await self.lifecycle.next_step(job):
            ins = ins_of(step.report.patient)
            await self.lifecycle.outbox.freeze(job, step.submission, step.report_id, ins, again=step.again)
            if step.already_so:
                await self._done(job, step.submission)
            else:
                await self._deliver(job, step.submission, step.report)

    async def _deliver(self, job: Job, submission: Submission, report: Report) -> None:
        """One attempt with the frozen bytes. If it raises, the outcome may be unknown: the same bytes go again."""
        await self._pace.wait(self.settings.publish.most_per_s)
        verdict = await self.lifecycle.dmp.submit(submission, report)
        self._answered.set()
        match verdict:
            case Registered():
                await self._done(job, submission)
            case AlreadyThere(entry_uuid):
                await self._done(job, submission, entry_uuid)
            case Refused(reason):
                await self.lifecycle.outbox.park(job.id, reason, refused=True)
                log.warning("manifest_refused", extra={"job": job.id, "reason": reason})

    async def _done(self, job: Job, submission: Submission, entry_uuid: str = "") -> None:
        await self.lifecycle.outbox.done(job, entry_uuid)
        self._news.set()
        log.info("exam_told", extra={"job": job.id, "kind": submission.kind})


@dataclass
class _Pace:
    """Lets so many go a second, one after the other: what an outage left behind must not become a flood."""

    next: float = 0  # in ticks

    async def wait(self, most_per_s: float) -> None:
        """Return when it is the caller's turn."""
        now = clock.ticks()
        turn = max(now, self.next)
        self.next = turn + 1 / most_per_s
        if turn > now:
            await asyncio.sleep(turn - now)
