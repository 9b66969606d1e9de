"""Files against rows: orphans, an index made again from the files, every byte read again."""

import asyncio
import errno
import os

import pytest
from making import STUDY, ct, data_set_bytes

from drimbox import durable
from drimbox.dicom.match import Query
from drimbox.dicom.scan import scan
from drimbox.errors import Corrupt, DrimboxError, Unavailable
from drimbox.storage.archive import AlreadyKept, Archive, Kept, SetAside
from drimbox.storage.rebuild import rebuild_index
from drimbox.storage.scrub import count_files, scrub
from drimbox.storage.upkeep import Settled, settle_orphans


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


@pytest.fixture
def root(tmp_path):
    """Where `filled` makes an archive that is closed again."""
    return tmp_path / "own"


async def keep(archive, made):
    spool = archive.open_spool(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, 1 << 20)
    spool.write(data_set_bytes(made))
    return await archive.keep(spool, scan)


async def orphan(archive, made):
    """Its file has its name; a crash came before the commit."""

    def crash(folder):
        raise Unavailable("test", "crash")

    archive.volume.sync_folder = crash
    with pytest.raises(Unavailable):
        await keep(archive, made)
    del archive.volume.sync_folder


async def served(archive, study=STUDY):
    """SOP Instance UID -> data set bytes, of every instance the archive shows."""
    return {
        held.ref.sop_uid: await archive.read(held, held.data_set_offset, held.size_bytes - held.data_set_offset)
        for held in await archive.held(study)
    }


def told(*made):
    return {one.SOPInstanceUID: data_set_bytes(one) for one in made}


def ignore(*_):
    """Progress nobody looks at."""


# --- Orphans ----------------------------------------------------------------------------------------------------------


async def test_an_orphan_is_adopted_and_told_to_whoever_publishes(archive):
    await keep(archive, ct(number=1))
    await archive.looked_at(await archive.changed_studies(100))
    await orphan(archive, ct(number=2))
    assert await served(archive) == told(ct(number=1))
    assert await settle_orphans(archive, adopt=True) == Settled(1, 0, 0, ())
    assert await served(archive) == told(ct(number=1), ct(number=2))
    assert [change.study_uid for change in await archive.changed_studies(100)] == [STUDY]
    assert await settle_orphans(archive, adopt=True) == Settled(0, 0, 0, ())
    assert isinstance(await keep(archive, ct(number=2)), AlreadyKept)


async def test_an_orphan_in_a_series_without_rows_is_adopted(archive):
    await orphan(archive, ct(series=7))
    await settle_orphans(archive, adopt=True)
    assert await served(archive) == told(ct(series=7))


async def test_an_orphan_with_the_uid_of_another_is_set_aside(archive):
    await orphan(archive, ct(PixelData=bytes(512)))
    await keep(archive, ct())
    assert await settle_orphans(archive, adopt=True) == Settled(0, 1, 0, ())
    assert await served(archive) == told(ct())
    assert len(list((archive.root / "files").rglob("*.dcm"))) == 1
    [aside] = (archive.root / "aside").iterdir()
    assert aside.read_bytes().endswith(data_set_bytes(ct(PixelData=bytes(512))))
    assert await settle_orphans(archive, adopt=True) == Settled(0, 0, 0, ())
    assert isinstance(await keep(archive, ct(PixelData=bytes(512))), SetAside)


async def test_an_orphan_that_was_to_be_set_aside_is(archive):
    await keep(archive, ct())
    await orphan(archive, ct(PixelData=bytes(512)))
    assert await settle_orphans(archive, adopt=True) == Settled(0, 1, 0, ())
    assert await archive.database.read("SELECT count(*) FROM set_aside") == [(1,)]
    assert await served(archive) == told(ct())


async def test_a_damaged_orphan_is_told_left_and_mended_when_it_comes_again(archive):
    await orphan(archive, ct())
    [path] = (archive.root / "files").rglob("*.dcm")
    flip(path, 400)
    assert await settle_orphans(archive, adopt=True) == Settled(0, 0, 0, (str(path.relative_to(archive.root)),))
    assert await served(archive) == {}
    assert isinstance(await keep(archive, ct()), Kept)
    assert await served(archive) == told(ct())


async def test_what_was_on_loan_is_removed_and_what_is_kept_stays(archive):
    await keep(archive, ct(number=1))
    await keep(archive, ct(number=1, PixelData=bytes(512)))
    await orphan(archive, ct(number=2))
    [held] = await archive.held(STUDY)
    flip(archive.path(held), 140)  # its preface tells nothing any more: the row still speaks of it
    assert (await settle_orphans(archive, adopt=False)).removed == 1
    assert archive.path(held).exists()
    assert len(list(archive.root.rglob("*.dcm"))) == 2


async def test_instances_on_their_way_are_no_orphans(archive):
    """The pass that removes, again and again while instances arrive: none is lost."""
    made = [ct(number=number) for number in range(60)]

    async def arrive():
        for first in range(0, 60, 6):
            await asyncio.gather(*(keep(archive, one) for one in made[first : first + 6]))

    arriving = asyncio.create_task(arrive())
    while not arriving.done():
        assert (await settle_orphans(archive, adopt=False)).removed == 0
    await arriving
    assert await served(archive) == told(*made)


async def test_a_damaged_index_is_seen_and_nothing_more_is_written(root):
    await filled(root)
    scribble(root / "index.db", 4096 * 3, 4096 * 6)
    archive = Archive(root)
    with pytest.raises(Corrupt, match="rebuild-index"):
        await settle_orphans(archive, adopt=True)
    assert archive.suspect
    with pytest.raises(Unavailable):
        await keep(archive, ct(number=99))
    archive.close()


# --- The index, made again --------------------------------------------------------------------------------------------

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
    aside = await archive.database.read("SELECT sop_uid, file, digest FROM set_aside")
    return found, await served(archive), await served(archive, f"{STUDY}.9"), spans, aside


def remove(path):
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (path / name).unlink(missing_ok=True)


def scribble(path, start, end):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (end - start))


def flip(path, offset):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


LOSSES = {
    "missing": remove,
    "empty": lambda root: os.truncate(root / "index.db", 0),
    "one page": lambda root: os.truncate(root / "index.db", 4096),
    "cut": lambda root: os.truncate(root / "index.db", (root / "index.db").stat().st_size // 2),
    "no database": lambda root: scribble(root / "index.db", 0, 100),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_a_lost_index_is_refused_and_made_again_from_the_files(root, loss):
    before = await filled(root)
    loss(root)
    for _ in range(2):  # a refusal must not leave a new empty index behind
        with pytest.raises(Corrupt, match="rebuild-index"):
            Archive(root)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.rows == {"instance": 11, "set_aside": 1, "rejected": 0, "commitment": 0}
    assert rebuilt.damaged == ()
    assert any("was the first" in lost for lost in rebuilt.lost)
    archive = Archive(root)
    assert await everything(archive) == before
    archive.close()


async def test_a_readable_index_is_made_again_and_kept_aside(root):
    before = await filled(root)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.rows == {"instance": 11, "set_aside": 1, "rejected": 0, "commitment": 0}
    assert rebuilt.lost == ()
    assert rebuilt.old.exists()
    archive = Archive(root)
    assert await everything(archive) == before
    archive.close()


async def test_an_index_that_is_made_from_the_files_alone_tells_of_every_study(root):
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


async def test_a_damaged_file_is_left_out_and_mended_when_it_comes_again(root):
    await filled(root)
    archive = Archive(root)
    [held] = await archive.held(STUDY, sop_uid=FILLED[1].SOPInstanceUID)
    archive.close()
    flip(root / held.file, held.size_bytes - 5)
    rebuilt = rebuild_index(root, ignore)
    assert rebuilt.damaged == (held.file,)
    archive = Archive(root)
    assert await archive.held(STUDY, sop_uid=FILLED[1].SOPInstanceUID) == []
    assert isinstance(await keep(archive, FILLED[1]), Kept)
    assert (await served(archive))[FILLED[1].SOPInstanceUID] == data_set_bytes(FILLED[1])
    archive.close()


@pytest.mark.parametrize("known", [True, False], ids=["as the old index says", "by age"])
async def test_the_first_version_stays_the_one_that_is_served(root, known):
    archive = Archive(root)
    await orphan(archive, TWIN)
    await keep(archive, FILLED[0])
    archive.close()
    for path in root.rglob("*.dcm"):
        first = path.read_bytes().endswith(data_set_bytes(FILLED[0]))
        os.utime(path, (1, 1) if first is not known else (2, 2))
    if not known:
        remove(root)
    assert rebuild_index(root, ignore).rows == {"instance": 1, "set_aside": 1, "rejected": 0, "commitment": 0}
    archive = Archive(root)
    assert await served(archive) == told(FILLED[0])
    assert len(list((root / "files").rglob("*.dcm"))) == 1
    archive.close()


async def test_what_the_first_instance_told_of_the_study_is_told_again(root):
    archive = Archive(root)
    for series in (3, 1, 2):
        await keep(archive, ct(series, StudyDescription=f"from series {series}"))
    archive.close()
    for path in root.rglob("*.dcm"):  # nanoseconds apart in a test: as far apart as on a real day
        series = next(series for series in (1, 2, 3) if path.read_bytes().endswith(
            data_set_bytes(ct(series, StudyDescription=f"from series {series}"))))  # fmt: skip
        os.utime(path, (series % 3, series % 3))
    remove(root)
    rebuild_index(root, ignore)
    archive = Archive(root)
    assert (await archive.study(STUDY))["00081030"]["Value"] == ["from series 3"]
    archive.close()


async def test_an_old_copy_of_the_index_catches_up_with_the_files(root):
    await filled(root)
    old = (root / "index.db").read_bytes()
    archive = Archive(root)
    for made in (ct(1, 50), ct(3, 1), ct(1, 2, PixelData=bytes(512))):
        await keep(archive, made)
    now = await everything(archive)
    archive.close()
    remove(root)
    (root / "index.db").write_bytes(old)
    archive = Archive(root)
    assert await settle_orphans(archive, adopt=True) == Settled(2, 1, 0, ())
    assert await everything(archive) == now
    archive.close()


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


# --- Every byte again -------------------------------------------------------------------------------------------------


async def test_a_sound_archive_scrubs_clean_beside_a_node(archive):
    for made in (*FILLED, TWIN):
        await keep(archive, made)
    sizes = []
    assert list(scrub(archive.root, 0, sizes.append)) == []
    assert len(sizes) == count_files(archive.root) == 12
    assert sum(sizes) == sum(path.stat().st_size for path in archive.root.rglob("*.dcm"))


async def test_each_damaged_and_missing_file_is_named(archive):
    for made in (*FILLED, TWIN):
        await keep(archive, made)
    first, second, third, *_ = await archive.held(STUDY)
    flip(archive.path(first), first.size_bytes - 1)
    flip(archive.path(second), 140)  # the group length of its preface
    archive.path(third).unlink()
    [aside] = (archive.root / "aside").iterdir()
    aside.unlink()
    found = {(finding.kind, finding.file, finding.sop_uid) for finding in scrub(archive.root, 0, ignore)}
    assert found == {
        ("damaged", first.file, first.ref.sop_uid),
        ("damaged", second.file, second.ref.sop_uid),
        ("missing", third.file, third.ref.sop_uid),
        ("missing", f"aside/{aside.name}", TWIN.SOPInstanceUID),
    }


async def test_a_damaged_index_is_a_finding(root):
    await filled(root)
    scribble(root / "index.db", 4096 * 3, 4096 * 6)
    assert "index.db" in [finding.file for finding in scrub(root, 0, ignore)]


async def test_the_rate_is_kept(archive, monkeypatch):
    from drimbox.storage import scrub as module

    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    for made in FILLED:
        await keep(archive, made)
    list(scrub(archive.root, 1000, ignore))
    read = sum(len(data_set_bytes(made)) for made in FILLED)
    assert max(slept) == pytest.approx(read / 1000, rel=0.1)
