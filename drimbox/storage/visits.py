"""Consultation state of the visiting archive: what the DMP listed, and which studies are on loan until when."""

from dataclasses import dataclass
from typing import Final

from drimbox import clock
from drimbox.errors import NotFound
from drimbox.storage.database import Database, Transaction

_DOCUMENT_S: Final = 8 * 3600.0  # how long a search result may still be opened


@dataclass(frozen=True, slots=True)
class Visit:
    """A study on loan. manifest: the KOS it was opened from."""

    visit_id: str
    study_uid: str
    manifest: bytes


class Visits:
    """Rows of `document` and `visit`. A document id is ours, opaque, and bound to one patient in context."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_document(self, document_id: str, in_context: bytes) -> None:
        """Remember a document the DMP listed, and the patient it was listed for."""
        row = (document_id, in_context, clock.now().timestamp())
        sql = "INSERT INTO document (document_id, in_context, listed_at) VALUES (?, ?, ?)"
        await self._database.write(lambda transaction: transaction.execute(sql, row))

    async def document(self, document_id: str) -> bytes:
        """What `list_document` was given. Raises NotFound."""
        rows = await self._database.read("SELECT in_context FROM document WHERE document_id = ?", (document_id,))
        if not rows:
            raise NotFound("document", "it was not listed here, or too long ago: search the patient again")
        return bytes(rows[0][0])

    async def open(self, visit: Visit, lasts_s: float) -> None:
        """Begin a visit."""
        now = clock.now().timestamp()
        row = (visit.visit_id, visit.study_uid, visit.manifest, now, now + lasts_s)
        sql = "INSERT INTO visit (visit_id, study_uid, manifest, opened_at, expires_at) VALUES (?, ?, ?, ?, ?)"
        await self._database.write(lambda transaction: transaction.execute(sql, row))

    async def find(self, visit_id: str) -> Visit:
        """A visit that has not expired. Raises NotFound."""
        rows = self._database.read_here(
            "SELECT visit_id, study_uid, manifest FROM visit WHERE visit_id = ? AND expires_at > ?",
            (visit_id, clock.now().timestamp()),
        )
        if not rows:
            raise NotFound("visit", "it has ended: open the document again")
        return Visit(*rows[0])

    async def end(self, before: float) -> tuple[list[str], list[str]]:
        """End what has expired by `before`: the ids of the visits, and the studies nobody visits any more."""

        def work(transaction: Transaction) -> tuple[list[str], list[str]]:
            transaction.execute("DELETE FROM document WHERE listed_at <= ?", (before - _DOCUMENT_S,))
            sql = "DELETE FROM visit WHERE expires_at <= ? RETURNING visit_id, study_uid"
            ended = [(str(row[0]), str(row[1])) for row in transaction.execute(sql, (before,))]
            still = {str(row[0]) for row in transaction.execute("SELECT study_uid FROM visit")}
            return [visit_id for visit_id, _ in ended], sorted({study_uid for _, study_uid in ended} - still)

        return await self._database.write(work)
