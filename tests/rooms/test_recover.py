"""What a crash left in the packs without rows: adopted at the next start, or removed; what is torn is cut."""

import os
import sys
import threading

import pytest
from archiving import crashing, flip_at, keep, opened, scribble, served, told
from ledger import kept_records
from making import STUDY, ct, data_set_bytes

from drimbox.errors import Corrupt, Unavailable
from drimbox.storage.archive import AlreadyKept, Archive, SetAside
from drimbox.storage.recover import Recovered, recover


@pytest.fixture
def root(tmp_path):
    return tmp_path / "own"


async def test_a_record_without_rows_is_adopted_and_told_to_whoever_publishes(root):
    archive, _ = opened(root)
    await keep(archive, ct(number=1))
    await archive.looked_at(await archive.changed_studies(100))
    archive.close()
    with crashing(root) as archive:
        await keep(archive, ct(number=2))
        await keep(archive, ct(series=7))
    archive, done = opened(root)
    assert done == Recovered(adopted=2)
    assert await served(archive) == told(ct(number=1), ct(number=2), ct(series=7))
    assert [change.study_uid for change in await archive.changed_studies(100)] == [STUDY]
    assert isinstance(await keep(archive, ct(number=2)), AlreadyKept)
    archive.close()
    archive, done = opened(root)
    assert done == Recovered()
    archive.close()


async def test_a_second_version_without_rows_is_set_aside(root):
    archive, _ = opened(root)
    await keep(archive, ct())
    archive.close()
    other = ct(PixelData=bytes(512))
    with crashing(root) as archive:
        await keep(archive, other)
    archive, done = opened(root)
    assert done.adopted == 1
    assert await served(archive) == told(ct())
    [(file, offset, size)] = await archive.database.read("SELECT file, offset, size_bytes FROM set_aside")
    assert (root / file).read_bytes()[offset : offset + size].endswith(data_set_bytes(other))
    assert isinstance(await keep(archive, other), SetAside)
    assert len(list(kept_records(root))) == 2
    archive.close()


@pytest.mark.parametrize("at", [-1, 200, 70], ids=["pixels", "preface", "preamble"])
async def test_a_torn_last_record_is_cut_off_and_may_come_again(root, at):
    """Some sectors of it did not reach the disk: nobody was told that it was kept."""
    with crashing(root) as archive:
        await keep(archive, ct(number=1))
        await keep(archive, ct(number=2))
    [_, (file, offset, size)] = kept_records(root)
    flip_at(root / file, offset + (at if at >= 0 else size + at))
    archive, done = opened(root)
    assert done == Recovered(adopted=1, torn=1)
    assert await served(archive) == told(ct(number=1))
    await keep(archive, ct(number=2))
    assert await served(archive) == told(ct(number=1), ct(number=2))
    archive.close()
    assert opened(root)[1] == Recovered()


@pytest.mark.parametrize("left", [0, 63, 64, 500], ids=["nothing", "half a header", "a header", "half"])
async def test_a_cut_pack_ends_where_its_last_whole_record_does(root, left):
    with crashing(root) as archive:
        await keep(archive, ct(number=1))
        await keep(archive, ct(number=2))
    [_, (file, offset, _)] = kept_records(root)
    os.truncate(root / file, offset - 64 + left)
    archive, done = opened(root)
    assert done.adopted == 1
    await keep(archive, ct(number=3))
    assert await served(archive) == told(ct(number=1), ct(number=3))
    archive.close()
    assert opened(root)[1] == Recovered()


async def test_a_damaged_record_before_others_is_told_and_kept(root):
    """What was acknowledged after it proves that it was durable: the medium damaged it."""
    with crashing(root) as archive:
        await keep(archive, ct(number=1))
        await keep(archive, ct(number=2))
    [(file, offset, size), _] = kept_records(root)
    flip_at(root / file, offset + size - 1)
    archive, done = opened(root)
    assert done == Recovered(adopted=1, damaged=[f"{file}@{offset}"])
    assert await served(archive) == told(ct(number=2))
    archive.close()
    assert len(list(kept_records(root))) == 2


async def test_what_was_on_loan_is_removed_and_what_has_rows_stays(root):
    archive, _ = opened(root)
    await keep(archive, ct(number=1))
    await keep(archive, ct(number=1, PixelData=bytes(512)))
    archive.close()
    with crashing(root) as archive:
        await keep(archive, ct(number=2))
    archive, done = opened(root, adopt=False)
    assert done == Recovered(removed=1)
    assert await served(archive) == told(ct(number=1))
    archive.close()
    assert len(list(kept_records(root))) == 2


async def test_a_removal_that_was_interrupted_is_done_at_the_next_start(root, monkeypatch):
    archive, _ = opened(root)
    await keep(archive, ct(number=1))
    await keep(archive, ct(study="1.2.3"))

    def crash(*_):
        raise Unavailable("test", "crash")

    monkeypatch.setattr(archive.volume, "erase", crash)
    with pytest.raises(Unavailable):
        await archive.forget(STUDY)
    archive.close()
    assert len(list(kept_records(root))) == 2
    archive, _ = opened(root)
    assert await served(archive) == {}
    archive.close()
    assert len(list(kept_records(root))) == 1


async def test_a_pack_another_process_grows_is_left_to_it(root):
    with crashing(root) as first:
        await keep(first, ct())
        second = Archive(root)
        assert recover(second, adopt=True) == Recovered()
        second.close()


async def with_a_damaged_index(root):
    archive, _ = opened(root)
    for number in range(1, 200):
        await keep(archive, ct(number=number))
    archive.close()
    scribble(root / "index.db", 4096 * 4, 4096 * 7)
    return Archive(root)


async def test_a_damaged_index_takes_nothing_more(root):
    archive = await with_a_damaged_index(root)
    with pytest.raises(Corrupt, match="rebuild-index"):
        archive.database.check()
    assert archive.suspect
    with pytest.raises(Unavailable):
        await keep(archive, ct(number=999))
    archive.close()


async def test_looking_at_the_index_lets_others_go_first(root):
    archive, _ = opened(root)
    await archive.database.check_beside()
    looking = archive.database._checker.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert (looking.result(), os.getpriority(os.PRIO_PROCESS, 0)) == (19 if sys.platform == "linux" else 0, 0)
    archive.close()


async def test_looking_at_the_index_ends_when_the_archive_is_closed(root, monkeypatch):
    archive = await with_a_damaged_index(root)
    monkeypatch.setattr("drimbox.storage.database._STEPS_A_LOOK", 1)
    archive.database._closing.set()  # as `close` does, before it waits
    archive.database.check()  # would tell of the damage
    assert not archive.suspect
    archive.close()


async def test_an_old_copy_of_the_index_catches_up_with_the_packs(root):
    archive, _ = opened(root)
    for made in (ct(1, 1), ct(1, 2)):
        await keep(archive, made)
    archive.close()
    old = (root / "index.db").read_bytes()
    archive, _ = opened(root)
    for made in (ct(1, 50), ct(3, 1), ct(1, 2, PixelData=bytes(512))):
        await keep(archive, made)
    now = await served(archive)
    archive.close()
    for path in root.glob("index.db*"):
        path.unlink()
    (root / "index.db").write_bytes(old)
    archive, done = opened(root)
    assert done == Recovered(adopted=3)
    assert await served(archive) == now
    assert await archive.database.read("SELECT count(*) FROM set_aside") == [(1,)]
    archive.close()
