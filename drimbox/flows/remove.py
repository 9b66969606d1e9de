"""An operator removes a study, a series or an instance: it is shown to nobody any more, and no byte is lost."""

from dataclasses import dataclass

from drimbox.errors import NotFound
from drimbox.flows.admit import Admit
from drimbox.model import Credentials
from drimbox.storage.archive import Archive


@dataclass(frozen=True)
class Remove:
    """Take out of use (docs/decisions/0023-removed-is-hidden.md). What is sent again is shown again."""

    archive: Archive
    admit: Admit

    async def __call__(self, credentials: Credentials, study_uid: str, series_uid: str = "", sop_uid: str = "") -> int:
        """How many instances are out of use now. Raises Denied, Unidentified, NotFound when none was shown."""
        what = " ".join(filter(None, ("removed", series_uid, sop_uid)))
        await self.admit(credentials, "operate", study_uid, what)
        count = await self.archive.take_out(study_uid, series_uid, sop_uid)
        if not count:
            raise NotFound("instance" if sop_uid else "series" if series_uid else "study", "not held here")
        return count
