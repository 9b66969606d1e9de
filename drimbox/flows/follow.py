"""A program follows what happens in the archive, from where it stopped reading."""

from dataclasses import dataclass

from drimbox.flows.admit import Admit
from drimbox.model import Credentials
from drimbox.storage.archive import Archive
from drimbox.storage.feed import MOST, Happened, read_feed

__all__ = ["MOST", "Follow", "Happened"]


@dataclass(frozen=True)
class Follow:
    """The feed of changes, for the operator's programs."""

    archive: Archive
    admit: Admit

    async def __call__(self, credentials: Credentials, since: str, most: int) -> tuple[list[Happened], bool]:
        """What follows `since`, in order, and whether there is more. Raises Malformed, Conflict; see `read_feed`."""
        await self.admit(credentials, "operate", detail="changes read")
        await self.archive.caught_up()
        database = self.archive.database
        found = await database.reading(lambda: read_feed(database.read_here, since, most + 1))
        return found[:most], len(found) > most
