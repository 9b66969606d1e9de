"""An index made again from the packs alone, and what else of it can be read."""

import errno
import os

import pytest
from archiving import crashing, flip, keep, opened, scribble, served, told
from ledger import kept_records
from making import STUDY, ct, data_set_bytes

from drimbox import durable
from drimbox.dicom.match import Query
from drimbox.errors import Corrupt, DrimboxError
from drimbox.storage.archive import Archive, Kept
from drimbox.storage.rebuild import rebuild_index


@pytest.fixture
def root(tmp_path):
    """Where `filled` makes an archive that is closed again."""
    return tmp_path / "own"


def ignore(*_):
    """Progress nobody looks at."""


FILLED = [ct(series, number) for series in (1, 2) for number in range(1, 6)] + [ct(study=f"{STUDY}.9")]
TWIN = ct(1, 1, PixelData=bytes(512))


async def filled(root):
    """An archive with eleven instances and one set aside; what queries answer."""
    archive = Archive(root)
    for made in (*FILLED, TWIN):
        await keep(archive, made)
    answers = await everything(archive)
    archive.close()
    return answers


async def everything(archive):
    """What is answered at every level, and what is served, byte for byte."""
    found = [await archive.search(Query(level, {}, None, 100, 0)) for level in ("study", "series", "instance")]
    held = [await archive.held(study) for study in (STUDY, f"{STUDY}.9")]
    spans = [await archive.spans(one) for study in held for one in study]
    aside = await archive.database.read("SELECT sop_uid, file, offset, digest FROM set_aside")
    return found, await served(archive), await served(archive, f"{STUDY}.9"), spans, aside


def remove(path):
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (path / name).unlink(missing_ok=True)


LOSSES = {
    "missing": remove,
    "empty": lambda root: os.truncate(root / "index.db", 0),
    "one page": lambda root: os.truncate(root / "index.db", 4096),
    "cut": lambda root: os.truncate(root / "index.db", (root / "index.db").stat().st_size // 2),
    "no database": lambda root: scribble(root / "index.db", 0, 100),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_a_lost_index_is_refused_and_made_again_from_the_packs(root, loss):
    before = await filled(root)
    loss(root)
    for _ in range(2):  # a refusal must not leave a new empty index behind
        with pytest.raises(Corrupt, match="rebuild-index"):
            Archive(root)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.rows == {"instance": 11, "set_aside": 1, "removal": 0, "rejected": 0, "commitment": 0}
    assert rebuilt.damaged == ()
    assert any("commitments" in lost for lost in rebuilt.lost)
    archive = Archive(root)
    assert await everything(archive) == before
    archive.close()


async def test_a_readable_index_is_made_again_and_kept_aside(root):
    before = await filled(root)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.rows == {"instance": 11, "set_aside": 1, "removal": 0, "rejected": 0, "commitment": 0}
    assert rebuilt.lost == ()
    assert rebuilt.old.exists()
    archive = Archive(root)
    assert await everything(archive) == before
    archive.close()


async def test_an_index_that_is_made_from_the_packs_alone_tells_of_every_study(root):
    await filled(root)
    archive = Archive(root)
    changes = await archive.changed_studies(100)
    assert {change.study_uid for change in changes} == {STUDY, f"{STUDY}.9"}
    await archive.looked_at(changes)
    assert await archive.changed_studies(100) == []
    archive.close()
    remove(root)
    rebuild_index(root, ignore)
    archive = Archive(root)
    assert {change.study_uid for change in await archive.changed_studies(100)} == {STUDY, f"{STUDY}.9"}
    archive.close()


async def test_a_damaged_record_is_left_out_and_mended_when_it_comes_again(root):
    await filled(root)
    archive = Archive(root)
    [held] = await archive.held(STUDY, sop_uid=FILLED[1].SOPInstanceUID)
    archive.close()
    flip(root, held, -5)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.damaged == (f"{held.file}@{held.offset}",)
    archive, _ = opened(root)
    assert await archive.held(STUDY, sop_uid=FILLED[1].SOPInstanceUID) == []
    assert isinstance(await keep(archive, FILLED[1]), Kept)
    assert (await served(archive))[FILLED[1].SOPInstanceUID] == data_set_bytes(FILLED[1])
    archive.close()


@pytest.mark.parametrize("known", [True, False], ids=["as the old index says", "by age"])
async def test_the_first_version_stays_the_one_that_is_served(root, known):
    """TWIN came before, but only the old index can know that it was not the one that was served."""
    with crashing(root) as archive:
        await keep(archive, TWIN)
    archive = Archive(root)
    await keep(archive, FILLED[0])
    archive.close()
    if not known:
        remove(root)
    assert rebuild_index(root, ignore).rows["set_aside"] == 1
    archive = Archive(root)
    assert await served(archive) == told(FILLED[0] if known else TWIN)
    archive.close()


async def test_records_of_several_packs_are_taken_in_the_order_they_were_kept(root):
    """Two processes, each with a pack of its own, in turns."""
    one, two = Archive(root), Archive(root)
    for number in range(1, 7):
        await keep((one, two)[number % 2], ct(series=number, StudyDescription=f"from series {number}"))
    one.close()
    two.close()
    assert len(list((root / "packs").iterdir())) == 2
    remove(root)
    rebuild_index(root, ignore)
    archive = Archive(root)
    assert (await archive.study(STUDY))["00081030"]["Value"] == ["from series 1"]
    assert [row[0][-4:] for row in await archive.database.read("SELECT sop_uid FROM instance ORDER BY id")] == [
        f".{number}.1" for number in range(1, 7)
    ]
    archive.close()


async def test_what_is_being_removed_stays_removed(root, monkeypatch):
    archive = Archive(root)
    await keep(archive, ct())
    monkeypatch.setattr(archive, "remove_bytes", done := _Done())
    await archive.forget(STUDY)
    assert done.called
    archive.close()
    assert len(list(kept_records(root))) == 1
    assert rebuild_index(root, ignore).rows["instance"] == 0


class _Done:
    """A removal that a kill comes before."""

    called = False

    async def __call__(self):
        self.called = True


class Failing(durable.Disk):
    """Fails at its n-th call that changes something, and from then on."""

    def __init__(self, at):
        self.left = at

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "test")
            return found(*args, **kwargs)

        return call


@pytest.mark.parametrize("readable", [True, False], ids=["readable", "unreadable"])
async def test_a_rebuild_that_is_interrupted_anywhere_is_done_again(root, readable, monkeypatch):
    before = await filled(root)
    if not readable:
        scribble(root / "index.db", 0, 100)
    for at in range(100):
        monkeypatch.setattr(durable, "disk", Failing(at))
        try:
            rebuild_index(root, ignore)
        except (DrimboxError, OSError):
            monkeypatch.undo()
            continue
        monkeypatch.undo()
        break
    else:
        pytest.fail("never whole")
    assert at > 10
    archive = Archive(root)
    assert await everything(archive) == before
    archive.close()
