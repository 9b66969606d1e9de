"""Which manifests name a study to those who ask for its images, and what they are: read from the rows of the outbox."""

from drimbox import clock
from drimbox.errors import NotFound
from drimbox.storage.database import Database


class Manifests:
    """Manifests by study, in the database of the outbox. Nothing here writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def in_force(self, study_uid: str, replaced_s: float) -> list[str]:
        """SOP Instance UIDs that name the study now, the newest first; none once it was withdrawn.

        The one the DMP holds, those on their way to it, which it may hold already, and those that were replaced in the
        last `replaced_s` seconds.
        """
        rows = await self._database.read(
            "SELECT unique_id, kind, state, settled_at FROM job WHERE study_uid = ? AND unique_id <> '' "
            "AND state IN ('done', 'frozen') ORDER BY id DESC",
            (study_uid,),
        )
        found: dict[str, None] = {}
        replaced_at: float | None = None
        for unique_id, kind, state, settled_at in rows:
            if kind == "withdraw" or (replaced_at is not None and clock.now().timestamp() - replaced_at >= replaced_s):
                break
            found[unique_id] = None
            if state == "done":
                replaced_at = settled_at
        return list(found)

    async def published_between(self, after: float, until: float) -> list[str]:
        """Studies of which the DMP accepted a manifest after one moment and not after the other, since 1970."""
        rows = await self._database.read(
            "SELECT study_uid FROM job INDEXED BY job_by_settled WHERE state = 'done' AND kind <> 'withdraw' "
            "AND settled_at > ? AND settled_at <= ?",
            (after, until),
        )
        return list(dict.fromkeys(str(row[0]) for row in rows))

    async def manifest(self, unique_id: str) -> bytes:
        """The KOS of this SOP Instance UID. Raises NotFound."""
        rows = await self._database.read("SELECT manifest FROM job WHERE unique_id = ? LIMIT 1", (unique_id,))
        if not rows:
            raise NotFound("manifest", "no such one was published from here")
        return bytes(rows[0][0])
