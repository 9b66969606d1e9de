"""What a sender was told, and whether an archive that is opened again keeps to it (promises P1, P2, P5).

A ledger is a list of lines, one an acknowledgement: `kept UID SHA-256`, `aside UID SHA-256`, `report ID SHA-256`,
`trace WHO`. Digests are made here, from what was sent.
"""

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
from making import STUDY, ct, data_set_bytes, report

from drimbox.audit.trail import Trail, verify_trail
from drimbox.errors import DrimboxError
from drimbox.flows.admit import Admit
from drimbox.flows.exams import Exams
from drimbox.flows.ingest import Ingest
from drimbox.flows.lifecycle import Lifecycle
from drimbox.flows.publish import Publish
from drimbox.model import Credentials
from drimbox.settings import Settings
from drimbox.storage.archive import Archive, SetAside
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.recover import recover
from drimbox.storage.reports import Reports
from drimbox.storage.scrub import scrub

Tell = Callable[[str], None]

TWIN = ct(1, 1, PixelData=bytes(512))
SENT = [ct(1, 1), ct(1, 2), ct(2, 1), ct(1, 1), TWIN, ct(study=f"{STUDY}.9")]
INSTANCES, ASIDE = 4, 1  # of what was sent, once all of it came in
REPORT = report()


class Site:
    """An archive with its trail, and what enters it."""

    def __init__(self, base: Path) -> None:
        self.trail = Trail(base / "trail" / "trail.jsonl")
        try:
            self.outbox = Outbox(open_outbox(base / "own"))
        except BaseException:
            self.trail.close()
            raise
        try:
            self.archive = Archive(base / "own")
            self.recovered = recover(self.archive, adopt=True)
        except BaseException:
            _close(self.outbox.database, self.outbox.database)
            self.trail.close()
            raise
        admit = Admit(Settings(), self.trail)
        self.ingest = Ingest(self.archive, admit, 1 << 30)
        nobody: Any = None  # nothing is sent to the DMP here
        exams = Exams(self.archive, Reports(self.outbox), Settings(), "https://localhost/dicom-web")
        self.publish = Publish(Lifecycle(exams, self.outbox, nobody), admit, Settings())

    async def associate(self, tell: Tell, calling: str) -> None:
        reader = await self.ingest.association(Credentials("dicom", "127.0.0.1", calling))
        tell(f"trace {reader.identity}")

    async def store(self, tell: Tell, made: Any) -> None:
        data_set = data_set_bytes(made)
        spool = self.ingest.open(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID)
        try:
            spool.write(data_set)
        except BaseException:
            spool.discard()
            raise
        outcome = await self.ingest.instance(spool)
        word = "aside" if isinstance(outcome, SetAside) else "kept"
        tell(f"{word} {made.SOPInstanceUID} {hashlib.sha256(data_set).hexdigest()}")
        await self.archive.caught_up()  # what comes next has its number whatever the threads do

    async def report(self, tell: Tell) -> None:
        await self.publish.report_arrived(REPORT, Credentials("hl7", "127.0.0.1", "RIS"))
        tell(f"report {REPORT.message_id} {hashlib.sha256(REPORT.message).hexdigest()}")

    def close(self) -> None:
        _close(self.archive, self.archive.database)
        _close(self.outbox.database, self.outbox.database)
        self.trail.close()


def _close(part: Any, database: Any) -> None:
    try:
        part.close()
    except apsw.Error:  # of a test's own VFS: SQLite itself does not mind at the end
        for connection in database._open:
            connection.close()


async def arrive(base: Path, tell: Tell) -> list[DrimboxError]:
    """Everything arrives, one after the other, and once more what was refused; the first refusals."""
    site = Site(base)
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: site.associate(tell, "FIRST"),
        *((lambda made=made: site.store(tell, made)) for made in SENT),  # type: ignore[misc]
        lambda: site.report(tell),
        lambda: site.associate(tell, "LAST"),
    ]
    refused: list[DrimboxError] = []
    again = []
    try:
        for step in steps:
            try:
                await step()
            except DrimboxError as error:
                refused.append(error)
                again.append(step)
        for step in again:
            try:
                await step()
            except DrimboxError:
                continue
    finally:
        site.close()
    return refused


def check(base: Path, ledger: Sequence[str]) -> None:
    """Open what is there and hold it against the ledger; then everything comes again, and is there once."""
    Site(base).close()
    # No row speaks of what retrieve cannot give.
    assert list(scrub(base / "own", 0, lambda size: None)) == []
    asyncio.run(_check(base, ledger))
    assert list(scrub(base / "own", 0, lambda size: None)) == []


async def _check(base: Path, ledger: Sequence[str]) -> None:
    site = Site(base)
    try:
        assert site.recovered.damaged == []
        await compare(site, ledger)
        told: list[str] = []
        for made in SENT:
            await site.store(told.append, made)
        await site.report(told.append)
        await site.associate(told.append, "AFTER")
        await compare(site, told)
        assert await site.archive.database.read("SELECT count(*) FROM instance") == [(INSTANCES,)]
        assert await site.archive.database.read("SELECT count(*) FROM set_aside") == [(ASIDE,)]
        assert await site.outbox.database.read("SELECT count(*) FROM report") == [(1,)]
        assert await site.outbox.database.read("SELECT count(*) FROM job") == [(1,)]
        assert sum(1 for _ in kept_records(base / "own")) == INSTANCES + ASIDE
    finally:
        site.close()


async def compare(site: Site, ledger: Sequence[str]) -> None:
    """Each line of the ledger against what the archive and the trail hold."""
    await site.archive.caught_up()
    rows = await site.archive.database.read("SELECT sop_uid, file, offset, size_bytes FROM instance")
    kept = {uid: digest_of_part(site.archive.root, *place) for uid, *place in rows}
    rows = await site.archive.database.read("SELECT sop_uid, file, offset, size_bytes FROM set_aside")
    aside = {(uid, digest_of_part(site.archive.root, *place)) for uid, *place in rows}
    rows = await site.outbox.database.read("SELECT message_id, message FROM report JOIN job ON report_id = report.id")
    reports = {(message_id, hashlib.sha256(message).hexdigest()) for message_id, message in rows}
    verify_trail(site.trail.path)
    traces = site.trail.path.read_text()
    for line in ledger:
        word, name, *digest = line.split()
        if word == "kept":
            assert kept.get(name) == digest[0], line
        elif word == "aside":
            assert (name, digest[0]) in aside, line
        elif word == "report":
            assert (name, digest[0]) in reports, line
        else:
            assert f'"{name}"' in traces, line


def kept_records(root: Path) -> Iterator[tuple[str, int, int]]:
    """(pack, offset of the object, its length), found without any reader under test: see docs/operations.md."""
    for pack in sorted(root.glob("packs/*")):
        content, offset = pack.read_bytes(), 0
        while content[offset : offset + 8] == b"DRIMpack":
            (length,), (state,) = (
                struct.unpack_from("<Q", content, offset + 8),
                struct.unpack_from("<I", content, offset + 48),
            )
            if state == 1:
                yield f"packs/{pack.name}", offset + 64, length
            offset += (64 + length + 63) // 64 * 64


def digest_of_part(root: Path, file: str, offset: int, length: int) -> str:
    """Of the data set, found without any reader under test: PS3.10 §7.1, by the group length."""
    with (root / file).open("rb") as pack:
        pack.seek(offset)
        part10 = pack.read(length)
    return hashlib.sha256(part10[144 + int.from_bytes(part10[140:144], "little") :]).hexdigest()
