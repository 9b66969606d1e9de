"""An operator takes a wrong rejection back: what a note, or a removal, took out of use is shown again."""

import re
from dataclasses import dataclass
from typing import Final

from drimbox import clock
from drimbox.errors import Malformed, NotFound
from drimbox.flows.admit import Admit
from drimbox.model import Credentials
from drimbox.storage import changes, rejections
from drimbox.storage.database import Database, Transaction
from drimbox.storage.rejections import REMOVED, Note

__all__ = ["REMOVED", "Note", "Readmit", "Readmitted"]

MOST: Final = 200
_NOTE: Final = re.compile(r"(removed-)?[0-9.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Readmitted:
    """instances: of the note. still_out: those of them that another note keeps out of use."""

    instances: int
    still_out: int


@dataclass(frozen=True)
class Readmit:
    """What notes took out of use, for people (docs/decisions/0020-rejected-is-hidden.md). database: of the archive."""

    database: Database
    admit: Admit

    async def list(self, credentials: Credentials, study_uid: str = "") -> list[Note]:
        """The newest notes and removals; of one study, when it is told."""
        await self.admit(credentials, "operate", study_uid, "rejections listed")
        return await self.database.reading(lambda: rejections.list_notes(self.database.read_here, study_uid, MOST))

    async def undo(self, credentials: Credentials, note_uid: str) -> Readmitted:
        """Take back what this note did, in one transaction; its studies become due at the DMP again.

        Traced for each study before anything changes. Raises Malformed, NotFound when nothing of it is in force.
        """
        if not _NOTE.fullmatch(note_uid):
            raise Malformed("note", "its SOP Instance UID is wanted, or the name of a removal: drimbox rejections")
        await self.admit(credentials, "operate", detail=f"rejection {note_uid} to be undone")
        studies = await self.database.reading(lambda: rejections.list_studies(self.database.read_here, note_uid))
        for study_uid in studies:
            await self.admit(credentials, "operate", study_uid, f"rejection {note_uid} undone")

        def work(transaction: Transaction) -> Readmitted:
            now = clock.now().timestamp()
            readmitted = Readmitted(*rejections.undo(transaction, note_uid, now))
            for study_uid in studies if readmitted.instances else ():
                changes.note(transaction, study_uid, now)
            return readmitted

        readmitted = await self.database.write(work)
        if not readmitted.instances:
            raise NotFound("rejection", "nothing that this note named is out of use because of it: drimbox rejections")
        return readmitted
