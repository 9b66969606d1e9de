"""The first line of every story: who asks, may they, and the trace of it; refusals too.

Nothing is read, stored or sent before this returned; a search is looked up while its trace is written, and answered
after.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from drimbox import clock
from drimbox.audit.trail import Trail
from drimbox.auth.policy import decide
from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Reader, Trace
from drimbox.settings import Settings

Outcome = Literal["success", "refused", "failed"]

Proof = Callable[[], Awaitable[None]]
"""What it takes to believe the user that credentials name, once the rest of them is right. Raises Unidentified."""

COVERED_S: Final = 60.0
"""How long one trace covers further accesses of the same reader to the same images in the same form: PS3.15 §A.5.3.6
lets one message tell the access to a study, whatever the number of its images."""

_MOST_COVERED: Final = 10_000


@dataclass(frozen=True)
class Admit:
    """Identify, authorise, trace: in this order, for every door."""

    settings: Settings
    trail: Trail
    _covered: dict[tuple[Reader, str, str, str], float] = field(
        default_factory=dict, repr=False
    )  # until when, in ticks

    async def __call__(
        self,
        credentials: Credentials,
        action: Action,
        study_uid: str = "",
        detail: str = "",
        proof: Proof | None = None,
    ) -> Reader:
        """Return the Reader once the trace is durable.

        Raises Unidentified or Denied (traced as refused), NoSpace or Unavailable when the trail cannot be written.
        """
        try:
            reader = decide(credentials, action, self.settings)
            if proof is not None:
                await proof()
        except (Unidentified, Denied) as refusal:
            who = credentials.calling or "unidentified"
            await self._write(action, "refused", who, credentials, study_uid, refusal.why)
            raise
        await self._write(action, "success", reader.identity, credentials, study_uid, detail)
        return reader

    async def begin(
        self, credentials: Credentials, action: Action, study_uid: str, detail: str
    ) -> "asyncio.Future[None]":
        """As `admit`, for a story that looks something up while its trace is written; it is durable when this is done.

        Nothing may be answered before (docs/decisions/0008). Raises Unidentified or Denied.
        """
        try:
            reader = decide(credentials, action, self.settings)
        except (Unidentified, Denied):
            await self(credentials, action, study_uid, detail)  # which traces the refusal
            raise
        who, door, address = reader.identity, credentials.door, credentials.address
        return self.trail.begin(Trace(clock.now(), action, "success", who, door, address, study_uid, detail))

    async def refused(self, credentials: Credentials, action: Action, why: str) -> None:
        """Trace that somebody was turned away before they could say what they want. Raises as above."""
        await self._write(action, "refused", "unidentified", credentials, "", why)

    async def images(self, credentials: Credentials, study_uid: str, detail: str) -> Reader:
        """As `admit`, for images of one study. detail: their form and series, not which of them.

        Who asks is decided each time. The trace may be one that was durable before: a viewer draws a thousand frames a
        minute, each a request (docs/decisions/0008).
        """
        try:
            reader = decide(credentials, "retrieve", self.settings)
        except (Unidentified, Denied):
            return await self(credentials, "retrieve", study_uid, detail)  # which traces the refusal
        access = (reader, credentials.manifest_uid, study_uid, detail)
        started = clock.ticks()
        if self._covered.get(access, 0.0) > started:
            return reader
        reader = await self(credentials, "retrieve", study_uid, detail)
        if len(self._covered) >= _MOST_COVERED:
            self._covered.clear()  # costs each of them one trace more
        self._covered[access] = started + COVERED_S
        return reader

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
