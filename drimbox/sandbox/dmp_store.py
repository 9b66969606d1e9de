"""What the sandbox DMP keeps: one SQLite file, so that it survives a restart."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import apsw

APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
ARCHIVED = "urn:asip:ci-sis:2010:StatusType:Archived"
DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS document (
    entry_uuid TEXT PRIMARY KEY, unique_id TEXT NOT NULL UNIQUE, patient_id TEXT NOT NULL, hash TEXT NOT NULL,
    status TEXT NOT NULL, mime_type TEXT NOT NULL, metadata TEXT NOT NULL, content BLOB NOT NULL,
    logical_id TEXT NOT NULL, version INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS document_patient ON document (patient_id);
CREATE TABLE IF NOT EXISTS submission_set (unique_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS authorised (patient_id TEXT, person TEXT, PRIMARY KEY (patient_id, person));
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY);
"""
_COLUMNS = "entry_uuid, unique_id, patient_id, hash, status, mime_type, metadata, content, logical_id, version"


@dataclass(frozen=True, slots=True)
class Holding:
    """A document the DMP holds, and the newest version of its entry.

    metadata: its rim:ExtrinsicObject as it was submitted. logical_id: entryUUID of the first version.
    """

    entry_uuid: str
    unique_id: str
    patient_id: str
    hash: str
    status: str
    mime_type: str
    metadata: str
    content: bytes
    logical_id: str = ""
    version: int = 1

    @property
    def is_approved(self) -> bool:
        """Is it the current one?"""
        return self.status == APPROVED


class Store:
    """The registry and the repository, in one file of `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = apsw.Connection(str(folder / "registry.sqlite"))
        self._database.set_busy_timeout(5000)
        self._database.execute(_SCHEMA).fetchall()  # the statements run as their rows are read

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def forget(self) -> None:
        """Drop everything."""
        self._database.execute("DELETE FROM document; DELETE FROM submission_set").fetchall()
        self._database.execute("DELETE FROM authorised; DELETE FROM seen").fetchall()

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing."""
        database: AbstractContextManager[object] = self._database
        return database

    def first_time(self, identifier: str) -> bool:
        """Note a message or assertion id; False when it was noted before."""
        self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (identifier,))
        return bool(self._database.changes())

    def add_set(self, unique_id: str) -> bool:
        """Note a submission set; False when it is known."""
        self._database.execute("INSERT OR IGNORE INTO submission_set VALUES (?)", (unique_id,))
        return bool(self._database.changes())

    def add(self, holding: Holding) -> None:
        """Keep a document."""
        self._database.execute(
            f"INSERT INTO document ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  fixed names
            (
                holding.entry_uuid,
                holding.unique_id,
                holding.patient_id,
                holding.hash,
                holding.status,
                holding.mime_type,
                holding.metadata,
                holding.content,
                holding.logical_id or holding.entry_uuid,
                holding.version,
            ),
        )

    def set_status(self, entry_uuid: str, status: str) -> None:
        """Give an entry another availabilityStatus."""
        self._database.execute("UPDATE document SET status = ? WHERE entry_uuid = ?", (status, entry_uuid))

    def new_version(self, entry_uuid: str, changed: Holding) -> None:
        """Put a newer version of an entry in the place of the one `entry_uuid`."""
        self._database.execute(
            "UPDATE document SET entry_uuid = ?, metadata = ?, version = version + 1 WHERE entry_uuid = ?",
            (changed.entry_uuid, changed.metadata, entry_uuid),
        )

    def authorise(self, patient_id: str, person: str) -> None:
        """Note that a professional may open the DMP of a patient."""
        self._database.execute("INSERT OR IGNORE INTO authorised VALUES (?, ?)", (patient_id, person))

    def is_authorised(self, patient_id: str, person: str) -> bool:
        """May they?"""
        found = self._database.execute(
            "SELECT 1 FROM authorised WHERE patient_id = ? AND person = ?", (patient_id, person)
        )
        return bool(list(found))

    def by_unique_id(self, unique_id: str) -> Holding | None:
        """The document of that uniqueId."""
        return next(iter(self._select("unique_id = ?", (unique_id,))), None)

    def by_entry(self, entry_uuid: str) -> Holding | None:
        """The document of that entryUUID."""
        return next(iter(self._select("entry_uuid = ?", (entry_uuid,))), None)

    def by_patient(self, patient_id: str = "") -> list[Holding]:
        """The documents of a patient (CX), or all, in order of arrival."""
        return self._select("? IN ('', patient_id)", (patient_id,))

    def _select(self, condition: str, values: Sequence[str]) -> list[Holding]:
        query = f"SELECT {_COLUMNS} FROM document WHERE {condition} ORDER BY rowid"  # noqa: S608  fixed words
        return [Holding(*row) for row in self._database.execute(query, values)]
