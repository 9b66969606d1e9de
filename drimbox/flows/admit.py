"""The first line of every story: who asks, may they, and the trace of it; refusals too.

Nothing is read, stored or sent before this returned.
"""

from dataclasses import dataclass
from typing import Literal

from drimbox import clock
from drimbox.audit.trail import Trail
from drimbox.auth.policy import decide
from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Reader, Trace
from drimbox.settings import Settings

Outcome = Literal["success", "refused", "failed"]


@dataclass(frozen=True)
class Admit:
    """Identify, authorise, trace: in this order, for every door."""

    settings: Settings
    trail: Trail

    async def __call__(self, credentials: Credentials, action: Action, study_uid: str = "", detail: str = "") -> Reader:
        """Return the Reader once the trace is durable.

        Raises Unidentified or Denied (traced as refused), NoSpace or Unavailable when the trail cannot be written.
        """
        try:
            reader = decide(credentials, action, self.settings)
        except (Unidentified, Denied) as refusal:
            who = credentials.calling or "unidentified"
            await self._write(action, "refused", who, credentials, study_uid, refusal.why)
            raise
        await self._write(action, "success", reader.identity, credentials, study_uid, detail)
        return reader

    async def refused(self, credentials: Credentials, action: Action, why: str) -> None:
        """Trace that somebody was turned away before they could say what they want. Raises as above."""
        await self._write(action, "refused", "unidentified", credentials, "", why)

    async def _write(
        self, action: Action, outcome: Outcome, who: str, credentials: Credentials, study_uid: str, detail: str
    ) -> None:
        trace = Trace(clock.now(), action, outcome, who, credentials.door, credentials.address, study_uid, detail)
        await self.trail.write(trace)

    async def outcome(
        self, reader: Reader, action: Action, failed: bool, study_uid: str = "", detail: str = ""
    ) -> None:
        """Trace how an admitted action ended, when that is only known later."""
        outcome: Outcome = "failed" if failed else "success"
        trace = Trace(clock.now(), action, outcome, reader.identity, reader.door, reader.address, study_uid, detail)
        await self.trail.write(trace)
