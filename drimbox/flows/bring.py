"""The images of a reported study that stay in the PACS: what is missing here is brought in, a few studies at a time.

Whoever looks at an exam asks what the PACS lists and has the rest come, but does not wait for it: the job of the exam
is due again when images came, and from time to time. Nothing of this is kept over a restart: what is missing then is
asked for again.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import Final

from drimbox.dicom.attributes import text
from drimbox.errors import Conflict, DrimboxError, Unavailable
from drimbox.flows.fetch import Fetch
from drimbox.model import Credentials
from drimbox.pacs.client import Listing
from drimbox.settings import Pacs

log = logging.getLogger(__name__)

_OURSELVES: Final = Credentials("operator", "127.0.0.1")
_SHORT_QUEUE: Final = 10
_MOST_ERRANDS: Final = 100
"""Each knows the UIDs that are missing. After a long outage the other exams wait in the outbox, and the PACS is not
asked about all of them at once."""
_OUTSIDE: Final = 20


@dataclass
class _Errand:
    """One study that is being brought in, or is to be. missing: instances, by series. task: the retrieval."""

    missing: dict[str, frozenset[str]]
    task: asyncio.Task[None] | None = None


@dataclass
class _Trouble:
    """A study that did not come. missing: what still lacked then. reason: not told yet; None once it was."""

    missing: frozenset[str]
    attempts: int
    reason: DrimboxError | None


@dataclass
class Bring:
    """Errands to the PACS. `work` runs them."""

    fetch: Fetch
    settings: Pacs
    _queue: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _errands: dict[str, _Errand] = field(default_factory=dict)
    _troubles: dict[str, _Trouble] = field(default_factory=dict)

    async def listing(self, study_uid: str) -> Listing:
        """What the PACS holds of a study. Raises Unavailable, NotAcceptable, TooLarge."""
        return await self.fetch.listing(_OURSELVES, study_uid)

    async def has_elsewhere(self, study_uid: str, accession_number: str) -> bool:
        """Has the PACS another study of this accession number? Raises as `listing`."""
        found = await self.fetch.find_studies(_OURSELVES, accession_number=accession_number)
        return any(text(study, "0020000D") != study_uid for study in found)

    def place(self, study_uid: str) -> int:
        """How far a study is from its turn: 0 when it may ask for one, 1 when it runs or is among the next."""
        ahead = 1 + self._queue.qsize() // _SHORT_QUEUE
        if study_uid in self._errands:
            return ahead
        return ahead + _OUTSIDE if len(self._errands) >= _MOST_ERRANDS else 0

    def have(self, study_uid: str, listing: Listing, known: frozenset[str]) -> bool:
        """Is all that the PACS lists known here? If not, see to it that it comes.

        Raises the reason why the last errand brought nothing, once: Unavailable while another one may help, Conflict
        when there were too many.
        """
        missing = {uid: left for uid, instances in listing.series.items() if (left := instances - known)}
        if not missing:
            self._troubles.pop(study_uid, None)
            return True
        lacking = frozenset[str]().union(*missing.values())
        trouble = self._troubles.get(study_uid)
        if trouble and lacking < trouble.missing:  # something came: go for the rest
            del self._troubles[study_uid]
        elif trouble and trouble.reason is not None:
            reason, trouble.reason = trouble.reason, None
            if trouble.attempts >= self.settings.fetch_attempts:
                del self._troubles[study_uid]
                raise Conflict("PACS", f"its images do not come, after {trouble.attempts} attempts: {reason}")
            raise Unavailable("PACS", f"its images do not come: {reason}")
        if study_uid not in self._errands:
            self._errands[study_uid] = _Errand(missing)
            self._queue.put_nowait(study_uid)
        return False

    def forget(self, study_uid: str) -> None:
        """Nobody needs the study any more: what has not come yet does not come."""
        self._troubles.pop(study_uid, None)
        errand = self._errands.pop(study_uid, None)
        if errand is not None and errand.task is not None:
            errand.task.cancel()

    async def work(self) -> None:
        """Run errands, for ever; the node cancels it when it stops. One that fails never ends the loops."""
        async with asyncio.TaskGroup() as loops:
            for _ in range(self.settings.fetch_at_once):
                loops.create_task(self._for_ever())

    async def _for_ever(self) -> None:
        while True:
            study_uid = await self._queue.get()
            errand = self._errands.get(study_uid)
            if errand is None or errand.task is not None:  # forgotten, and perhaps asked for anew
                continue
            errand.task = asyncio.create_task(self._run(study_uid, errand))
            try:
                await asyncio.wait([errand.task])
            except asyncio.CancelledError:  # the node stops
                errand.task.cancel()
                await asyncio.wait([errand.task])
                raise
            if self._errands.get(study_uid) is errand:
                del self._errands[study_uid]

    async def _run(self, study_uid: str, errand: _Errand) -> None:
        """Have each series come that lacks something; why nothing came, if nothing did, is told at the next look."""
        reason: DrimboxError = Unavailable("PACS", "it said that it sent them, and nothing came")
        try:
            for series_uid in errand.missing:
                done = await self.fetch.retrieve(_OURSELVES, study_uid, series_uid)
                if done.failed:
                    reason = Unavailable("PACS", f"it could not send {done.failed} of the instances it lists")
        except DrimboxError as refusal:
            reason = refusal
            log.warning("study_not_brought_in", extra={"reason": str(refusal)})
        except Exception:  # a bug of ours: the exam is tried again, and parked in the end
            incident = secrets.token_hex(8)
            log.exception("study_not_brought_in", extra={"incident": incident})
            reason = Unavailable("PACS", f"internal error, incident {incident} in the log")
        attempts = self._troubles[study_uid].attempts if study_uid in self._troubles else 0
        lacking = frozenset[str]().union(*errand.missing.values())
        self._troubles[study_uid] = _Trouble(lacking, attempts + 1, reason)
