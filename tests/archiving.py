"""An archive in tests: how something gets in, what a crash leaves, how bytes rot."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from making import STUDY, data_set_bytes

from drimbox.dicom.scan import scan
from drimbox.storage.archive import Archive, Outcome
from drimbox.storage.index import Held
from drimbox.storage.recover import Recovered, recover


async def keep(archive: Archive, made: Any, limit: int = 1 << 24) -> Outcome:
    """Keep it as a C-STORE does; its rows are there when this returns."""
    spool = archive.open_spool(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, limit)
    spool.write(data_set_bytes(made))
    outcome = await archive.keep(spool, scan)
    await archive.caught_up()
    return outcome


@contextmanager
def crashing(root: Path) -> Iterator[Archive]:
    """An archive whose node is killed after the answer, before the index followed: its records have no rows."""
    archive = Archive(root)
    archive._follower.submit = lambda entries: None  # type: ignore[method-assign]
    yield archive
    archive.close()


def opened(root: Path, *, adopt: bool = True) -> tuple[Archive, Recovered]:
    """As a node opens it."""
    archive = Archive(root)
    return archive, recover(archive, adopt=adopt)


async def served(archive: Archive, study: str = STUDY) -> dict[str, bytes]:
    """SOP Instance UID -> data set bytes, of every instance the archive shows."""
    return {
        held.ref.sop_uid: await archive.read(held, held.data_set_offset, held.size_bytes - held.data_set_offset)
        for held in await archive.held(study)
    }


def told(*made: Any) -> dict[str, bytes]:
    """As `served`, of what was sent."""
    return {one.SOPInstanceUID: data_set_bytes(one) for one in made}


def flip(root: Path, held: Held, offset: int) -> None:
    """One bit of a kept instance turns, at `offset` from its first byte, or from its end when that is negative."""
    flip_at(root / held.file, held.offset + (offset if offset >= 0 else held.size_bytes + offset))


def flip_at(path: Path, offset: int) -> None:
    """One bit of a file turns."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def scribble(path: Path, start: int, end: int) -> None:
    """Other bytes where there were some."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (end - start))
