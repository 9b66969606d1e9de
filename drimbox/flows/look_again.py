"""Images that reach the PACS after a manifest was published: nobody tells us, so its exam is looked at again."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from drimbox import clock
from drimbox.errors import DrimboxError
from drimbox.storage.manifests import Manifests
from drimbox.storage.outbox import Outbox

log = logging.getLogger(__name__)

_LONGEST_TICK_S: Final = 60.0


@dataclass(frozen=True)
class LookAgain:
    """Make exams due once more. after_s: how long after they reached the DMP, one or several times."""

    manifests: Manifests
    outbox: Outbox
    after_s: tuple[float, ...]

    async def work(self) -> None:
        """For ever, if there is anything to do; the node cancels it when it stops. A failure never ends it.

        At the start all those are due that were published in the longest of these times: the node was not there.
        """
        if not self.after_s:
            return
        tick_s = min(_LONGEST_TICK_S, *self.after_s)
        before = clock.now().timestamp() - max(self.after_s)
        while True:
            try:
                before = await self.look(before)
            except DrimboxError as error:
                log.warning("outbox_unavailable", extra={"reason": str(error)})
            await asyncio.sleep(tick_s)

    async def look(self, before: float) -> float:
        """Make due those whose time came since `before`, in seconds since 1970; until when that is."""
        now = clock.now().timestamp()
        studies: dict[str, float] = {}
        for after_s in self.after_s:
            for study_uid in await self.manifests.published_between(before - after_s, now - after_s):
                studies[study_uid] = 0.0
        if studies:
            await self.outbox.images_changed(studies, 0)
        return now
