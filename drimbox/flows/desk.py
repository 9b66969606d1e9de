"""What an operator sees of the outbox, and may do with it."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from drimbox.errors import Malformed, NotFound
from drimbox.flows.admit import Admit
from drimbox.kos.build import Profile
from drimbox.kos.rewrite import manifest_in_profile
from drimbox.model import Credentials
from drimbox.storage.outbox import Outbox

MOST_REASON: Final = 200


@dataclass(frozen=True)
class Desk:
    """The outbox, for people. Every method is traced."""

    outbox: Outbox
    admit: Admit

    async def list(self, credentials: Credentials, state: str = "") -> list[dict[str, Any]]:
        """What is owed to the DMP, newest first. state: only what is in this one."""
        await self.admit(credentials, "operate", detail="outbox listed")
        return await self.outbox.list(state=state)

    async def show(self, credentials: Credentials, job_id: int) -> dict[str, Any]:
        """One job. Raises NotFound."""
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} shown")
        return await self.outbox.show(job_id)

    async def retry(self, credentials: Credentials, job_id: int) -> dict[str, Any]:
        """Attempt a job now, parked ones included. Raises NotFound."""
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} retried")
        await self.outbox.retry(job_id)
        return await self.outbox.show(job_id)

    async def park(self, credentials: Credentials, job_id: int, reason: str) -> dict[str, Any]:
        """No further attempt until someone says retry. Raises Malformed, NotFound."""
        reason = _checked(reason)
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} parked")
        await self.outbox.park(job_id, reason)
        return await self.outbox.show(job_id)

    async def discard(self, credentials: Credentials, job_id: int, reason: str) -> dict[str, Any]:
        """It is not owed any more, for this reason. Raises Malformed, NotFound."""
        reason = _checked(reason)
        await self.admit(credentials, "operate", detail=f"outbox item {job_id} discarded")
        await self.outbox.discard(job_id, reason)
        return await self.outbox.show(job_id)

    async def current_manifest(self, credentials: Credentials, study_uid: str, profile: Profile = "drim") -> bytes:
        """The manifest the DMP holds of a study, or the same references in another profile. Raises NotFound."""
        await self.admit(credentials, "retrieve", study_uid, "manifest")
        published = await self.outbox.published(study_uid)
        if published is None:
            raise NotFound("manifest", "the DMP holds none of this study from us")
        return await asyncio.to_thread(manifest_in_profile, published.submission.manifest, profile)


def _checked(reason: str) -> str:
    """A decision without a reason, or with one nobody can print, helps nobody later."""
    text = " ".join(reason.split())
    if not 0 < len(text) <= MOST_REASON or not text.isprintable():
        raise Malformed("reason", f"one line of 1 to {MOST_REASON} characters is wanted")
    return text
