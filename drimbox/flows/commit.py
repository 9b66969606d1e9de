"""Someone wants to be sure that what they sent is safe, before they delete it (PS3.4 annex J, promise P4).

The request is durable before it is answered. Each instance is read again from the medium; what was found is durable
before it is told; it is told until it was heard: on the association of the request while that is open, else on one of
our own.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from drimbox import clock
from drimbox.dicom.commitment import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE, Report, Request
from drimbox.errors import Conflict, Corrupt, DrimboxError, Unavailable
from drimbox.flows.admit import Admit
from drimbox.model import Credentials, Reader
from drimbox.pacs.report import open_reporting
from drimbox.settings import Destination, Dicom
from drimbox.storage.archive import Archive
from drimbox.storage.commitments import Commitment, Commitments

__all__ = ["Commit", "Owed"]  # doors learn of what is owed here: they do not import rooms

Owed = Commitment

log = logging.getLogger(__name__)

_HOLD_S: Final = 300.0  # the association of the request has so long before another one is opened beside it
_LEASE_S: Final = 3600.0
_POLL_S: Final = 1.0
_RETRY_FIRST_S: Final = 5.0
_RETRY_MOST_S: Final = 3600.0
_GIVEN_UP_S: Final = 30 * 86400.0
_TRY_AGAIN: Final = frozenset({0x0110, 0x0213})  # processing failure, resource limitation (PS3.7 annex C)


@dataclass(frozen=True)
class Commit:
    """Answer for the instances of one archive."""

    archive: Archive
    admit: Admit
    settings: Dicom

    @property
    def pending(self) -> Commitments:
        """What was asked for and not told yet."""
        return Commitments(self.archive.database)

    async def ask(self, credentials: Credentials, request: Request) -> Owed:
        """Return once the report is owed, whatever crashes. Raises Denied, Unidentified, NoSpace, Unavailable."""
        what = f"commitment of {len(request.instances)} instances: {request.transaction_uid}"
        await self.admit(credentials, "store", detail=what)
        return await self.pending.ask(credentials.calling, request.transaction_uid, request.instances, _HOLD_S)

    async def report(self, commitment: Owed) -> Report:
        """What is true of its instances: found once, by reading them, and then kept. Raises NoSpace, Unavailable."""
        failures = commitment.failures
        if failures is None:
            failures = {}
            for sop_class_uid, sop_uid in commitment.instances:
                if reason := await self._look(sop_class_uid, sop_uid):
                    failures[sop_uid] = reason
            await self.pending.looked_at(commitment.id, failures, _HOLD_S)
        return Report(commitment.transaction_uid, commitment.instances, failures)

    async def _look(self, sop_class_uid: str, sop_uid: str) -> int:
        """The Failure Reason of an instance, 0 when it is safe."""
        try:
            held = await self.archive.verify(sop_uid)
        except Corrupt as refusal:
            log.error("instance_corrupt", extra={"what": refusal.what, "why": refusal.why, "detail": refusal.detail})
            return PROCESSING_FAILURE
        except Conflict:
            return PROCESSING_FAILURE
        if held is None:
            return NO_SUCH_INSTANCE
        return 0 if held.sop_class_uid == sop_class_uid else CLASS_INSTANCE_CONFLICT

    async def told(self, commitment: Owed, report: Report, status: int, address: str) -> None:
        """The other end answered the report with `status`: it is done with, unless it asks to be told again."""
        if status in _TRY_AGAIN:
            raise Unavailable("N-EVENT-REPORT", f"status {status:04X}")
        failed = len(report.failed)
        what = f"commitment reported, status {status:04X}: {len(report.instances) - failed} safe, {failed} failed"
        reader = Reader(f"ae:{commitment.ae_title}@{address}", "dicom", address)
        await self.admit.outcome(reader, "store", failed > 0, detail=f"{what}: {report.transaction_uid}")
        await self.pending.delivered(commitment.id)

    async def release(self, commitment: Owed) -> None:
        """Its association has ended before it was told: `work` goes on."""
        try:
            await self.pending.release(commitment.id)
        except DrimboxError as error:  # then it is due when its hold ends
            log.warning("commitments_unavailable", extra={"reason": str(error)})

    # --- On an association of our own ---------------------------------------------------------------------------------

    async def work(self) -> None:
        """Report what is due, for ever; the node cancels it when it stops. One that is down holds up no other."""
        calls: dict[str, asyncio.Task[None]] = {}
        released = False
        try:
            while True:
                try:
                    if not released:
                        await self.pending.release()
                        released = True
                    calls = {title: call for title, call in calls.items() if not call.done()}
                    due = await self.pending.lease(_LEASE_S, frozenset(calls))
                    for title, group in groupby(sorted(due, key=_title), key=_title):
                        calls[title] = asyncio.create_task(self._call(title, list(group)), name=f"commitment {title}")
                except DrimboxError as error:  # nothing was lost: ask again
                    log.warning("commitments_unavailable", extra={"reason": str(error)})
                except Exception:
                    log.exception("commitment_failed", extra={"incident": secrets.token_hex(8)})
                await asyncio.sleep(_POLL_S)
        finally:
            for call in calls.values():
                call.cancel()
            await asyncio.gather(*calls.values(), return_exceptions=True)

    async def _call(self, title: str, owed: Sequence[Owed]) -> None:
        """Tell one application entity all it is owed, or put it off."""
        left = list(owed)
        try:
            reports = [await self.report(commitment) for commitment in owed]
            place = self._place(title)
            async with open_reporting(place, self.settings.ae_title) as send:
                for commitment, report in zip(owed, reports, strict=True):
                    await self.told(commitment, report, await send(report), place.host)
                    left.remove(commitment)
        except DrimboxError as reason:
            await self._put_off(left, str(reason))
        except Exception:  # a bug of ours must not end the others' reports
            incident = secrets.token_hex(8)
            log.exception("commitment_failed", extra={"incident": incident})
            await self._put_off(left, f"internal error, incident {incident} in the log")

    def _place(self, title: str) -> Destination:
        for destination in self.settings.destinations:
            if destination.ae_title == title:
                return destination
        raise Unavailable("dicom.destinations", f"{title} asked for commitment: add where its reports go")

    async def _put_off(self, owed: Sequence[Owed], reason: str) -> None:
        for commitment in owed:
            extra = {"ae_title": commitment.ae_title, "attempts": commitment.attempts + 1, "reason": reason}
            if clock.now().timestamp() - commitment.asked_at > _GIVEN_UP_S:
                log.error("commitment_given_up", extra=extra)
                await self.pending.delivered(commitment.id)
                continue
            log.warning("commitment_not_told", extra=extra)
            pause_s = min(_RETRY_FIRST_S * 2 ** min(commitment.attempts, 20), _RETRY_MOST_S)
            await self.pending.later(commitment.id, reason, pause_s * random.uniform(0.8, 1.0))  # noqa: S311 no secret


def _title(commitment: Owed) -> str:
    return commitment.ae_title
