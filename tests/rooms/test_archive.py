"""The archive on a real volume and a real SQLite: what is kept, once, and what can be found."""

import asyncio
import os
import threading

import pytest
import xxhash
from archiving import crashing, flip, keep, opened, served, told
from ledger import kept_records
from making import STUDY, ct, data_set_bytes

from drimbox.dicom.match import Query, criterion
from drimbox.dicom.scan import scan
from drimbox.durable import GrowingFile
from drimbox.errors import Corrupt, Malformed, NotFound, TooLarge, Unavailable
from drimbox.storage import database, queries
from drimbox.storage.archive import AlreadyKept, Archive, Kept, SetAside


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


async def read_span(archive, held, span):
    content = bytearray(span.length)
    await archive.fill_span(held, span, memoryview(content))
    return content


async def found(archive, level="study", **asked):
    criteria = {tag: criterion(tag, text) for tag, text in asked.items()}
    return await archive.search(Query(level, criteria, None, 100, 0))


async def test_a_kept_instance_is_byte_identical_and_found(archive):
    made = ct(number=3)
    assert isinstance(await keep(archive, made), Kept)
    [held] = await archive.held(STUDY)
    assert held.ref.sop_uid == made.SOPInstanceUID
    assert await archive.held(STUDY, sop_uid=held.ref.sop_uid) == [held]
    data = await archive.read(held, held.data_set_offset, held.size_bytes - held.data_set_offset)
    assert data == data_set_bytes(made)
    assert held.digest == xxhash.xxh3_128(data).digest()
    [span] = await archive.spans(held)
    assert await read_span(archive, held, span) == made.PixelData


async def test_same_bytes_again_is_one_copy(archive):
    assert isinstance(await keep(archive, ct()), Kept)
    assert isinstance(await keep(archive, ct()), AlreadyKept)
    assert len(await archive.held(STUDY)) == 1
    assert len(list(kept_records(archive.root))) == 1


async def test_same_uid_other_pixels_is_set_aside_and_the_first_stays(archive):
    await keep(archive, ct())
    other = ct(PixelData=bytes(512))
    assert isinstance(await keep(archive, other), SetAside)
    assert isinstance(await keep(archive, other), SetAside)
    [held] = await archive.held(STUDY)
    assert await archive.read(held, held.data_set_offset, 16) == data_set_bytes(ct())[:16]
    [(file, offset, size)] = await archive.database.read("SELECT file, offset, size_bytes FROM set_aside")
    assert (archive.root / file).read_bytes()[offset : offset + size].endswith(data_set_bytes(other))
    assert len(list(kept_records(archive.root))) == 2


async def test_same_uid_in_another_study_is_set_aside(archive):
    await keep(archive, ct())
    elsewhere = ct(study="1.2.3", SOPInstanceUID=ct().SOPInstanceUID)
    assert isinstance(await keep(archive, elsewhere), SetAside)
    assert await archive.held("1.2.3") == []


async def test_instances_are_ordered_by_series_and_instance_number(archive):
    for series, number in [(2, 1), (1, 10), (1, 9)]:
        await keep(archive, ct(series, number))
    uids = [held.ref.sop_uid.removeprefix(STUDY) for held in await archive.held(STUDY)]
    assert uids == [".1.9", ".1.10", ".2.1"]


async def test_counts_and_modalities_are_told_at_study_level(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    await keep(archive, ct(2, 1, Modality="PT"))
    [study] = await found(archive)
    assert study["00201206"]["Value"] == [2]
    assert study["00201208"]["Value"] == [3]
    assert study["00080061"]["Value"] == ["CT", "PT"]


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        ("00100010", "pat-trois*", 1),
        ("00100010", "PAT-TROIS^DOMINIQUE", 1),
        ("00100010", "Pat", 0),
        ("00100010", "*山田*", 1),
        ("00100010", "*müller*", 1),
        ("00100020", "IPP10?", 2),
        ("00100020", "[I]PP101", 0),
        ("00080020", "20260201-20260331", 2),
        ("00080020", "-20260131", 1),
        ("00080020", "20260301", 2),
        ("00080050", "ACC1", 2),
        ("00080061", "PT", 1),
        ("00080062", "1.2.840.10008.5.1.4.1.1.2", 3),
        ("00080030", "1000-1100", 3),
        ("00081030", "*thorax", 3),
        ("0020000D", f"{STUDY}.7,1.2.3", 1),
        ("00101010", "031Y", 0),
    ],
)
async def test_queries_match_as_the_standard_says(archive, tag, text, expected):
    await keep(archive, ct())
    await keep(
        archive,
        ct(study=f"{STUDY}.7", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", SpecificCharacterSet="ISO_IR 192"),
    )
    old = ct(
        study=f"{STUDY}.8",
        PatientName="MULLER^ANNE",
        PatientID="X",
        StudyDate="19991231",
        Modality="PT",
        AccessionNumber="A2",
    )
    await keep(archive, old)
    assert len(await found(archive, **{tag: text})) == expected


async def test_levels_below_carry_the_levels_above(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(2, 1))
    [series] = await found(archive, "series", **{"0020000E": f"{STUDY}.2", "00100020": "IPP101"})
    assert series["00201209"]["Value"] == [1]
    assert series["00081030"]["Value"] == ["TDM thorax"]
    [instance] = await found(archive, "instance", **{"00200011": "2"})
    assert instance["00080018"]["Value"] == [f"{STUDY}.2.1"]


async def test_pages_do_not_overlap_with_and_without_a_column(archive):
    for number in range(5):
        await keep(archive, ct(study=f"{STUDY}.{number}"))
    for criteria in ({}, {"00081030": criterion("00081030", "TDM*")}):
        pages = [await archive.search(Query("study", criteria, None, 2, offset)) for offset in (0, 2, 4, 6)]
        uids = [item["0020000D"]["Value"][0] for page in pages for item in page]
        assert [len(page) for page in pages] == [2, 2, 1, 0]
        assert len(set(uids)) == 5


async def test_only_what_is_included_is_answered(archive):
    await keep(archive, ct())
    [item] = await archive.search(Query("study", {}, frozenset({"0020000D", "00100010"}), 10, 0))
    assert sorted(item) == ["00100010", "0020000D"]


async def test_what_a_later_instance_tells_first_completes_the_study(archive):
    await keep(archive, ct(1, 1, StudyDescription=None))
    await keep(archive, ct(1, 2))
    await keep(archive, ct(1, 3, StudyDescription="another"))
    assert (await archive.study(STUDY))["00081030"]["Value"] == ["TDM thorax"]


async def test_a_flipped_byte_is_corrupt_never_served(archive):
    await keep(archive, ct())
    [held] = await archive.held(STUDY)
    [span] = await archive.spans(held)
    flip(archive.root, held, span.offset)
    with pytest.raises(Corrupt):
        await read_span(archive, held, span)
    os.truncate(archive.root / held.file, held.offset + span.offset)
    with pytest.raises(Corrupt):
        await read_span(archive, held, span)


async def test_a_pack_that_is_gone_is_corrupt(tmp_path):
    archive = Archive(tmp_path / "own")
    await keep(archive, ct())
    archive.close()
    archive = Archive(tmp_path / "own")
    [held] = await archive.held(STUDY)
    (archive.root / held.file).unlink()
    with pytest.raises(Corrupt):
        await archive.read(held, 0, 1)
    archive.close()


@pytest.mark.parametrize("size", [10_000, 3 << 20], ids=["in memory", "in a pack of its own"])
async def test_an_instance_that_comes_again_mends_the_damaged_one(archive, size):
    made = ct(PixelData=bytes(size))  # more than its rows and columns say, which is kept all the same
    await keep(archive, made)
    [held] = await archive.held(STUDY)
    flip(archive.root, held, -5)
    assert isinstance(await keep(archive, made), Kept)
    assert await served(archive) == told(made)
    assert isinstance(await keep(archive, made), AlreadyKept)
    assert len(await archive.held(STUDY)) == 1


async def test_large_and_small_instances_side_by_side(archive):
    """Large ones get packs of their own while they arrive; the next large one goes on in the same."""
    made = [ct(1, number, Rows=1024, Columns=512, PixelData=bytes([number]) * (1 << 20)) for number in range(1, 9)]
    made += [ct(2, number) for number in range(1, 30)]
    assert {type(outcome) for outcome in await asyncio.gather(*(keep(archive, one) for one in made))} == {Kept}
    assert await served(archive) == told(*made)
    assert len(list((archive.root / "packs").iterdir())) <= 9
    before = len(list((archive.root / "packs").iterdir()))
    await keep(archive, ct(3, 1, Rows=1024, Columns=512, PixelData=bytes(1 << 20)))
    assert len(list((archive.root / "packs").iterdir())) == before


@pytest.mark.parametrize("size", [1000, 3 << 20], ids=["in memory", "in a pack of its own"])
async def test_what_is_refused_leaves_nothing(archive, size):
    def refuse(spool, limits):
        raise Malformed("test", "no")

    for _ in range(3):
        spool = archive.open_spool("1.2", "1.3", "1.2.840.10008.1.2.1", 1 << 24)
        spool.write(bytes(size))
        with pytest.raises(Malformed):
            await archive.keep(spool, refuse)
        spool = archive.open_spool("1.2", "1.3", "1.2.840.10008.1.2.1", size + 500)
        spool.write(bytes(size))
        with pytest.raises(TooLarge):
            spool.write(bytes(size))
        spool.discard()
    assert list(kept_records(archive.root)) == []
    assert sum(path.stat().st_size for path in (archive.root / "packs").glob("*")) == 0


async def test_who_reads_after_the_answer_sees_it(archive, monkeypatch):
    """The index is held up; whoever asks waits for it, and for nobody else."""
    go = threading.Event()
    record = archive.record

    def slow(*arguments):
        go.wait(60)
        record(*arguments)

    monkeypatch.setattr(archive._follower, "_apply", slow)
    spool = archive.open_spool(ct().SOPClassUID, ct().SOPInstanceUID, ct().file_meta.TransferSyntaxUID, 1 << 20)
    spool.write(data_set_bytes(ct()))
    assert isinstance(await archive.keep(spool, scan), Kept)
    asking = asyncio.create_task(archive.held(STUDY))
    done, _ = await asyncio.wait([asking], timeout=0.05)
    assert not done
    go.set()
    assert [held.ref.sop_uid for held in await asking] == [ct().SOPInstanceUID]


async def test_the_same_uid_twice_before_the_index_knows_it_is_one_copy(tmp_path):
    with crashing(tmp_path / "own") as archive:
        assert isinstance(await keep(archive, ct()), Kept)
        assert isinstance(await keep(archive, ct()), AlreadyKept)
        assert isinstance(await keep(archive, ct(PixelData=bytes(512))), SetAside)
        assert isinstance(await keep(archive, ct(PixelData=bytes(512))), SetAside)
    assert len(list(kept_records(tmp_path / "own"))) == 2


async def test_an_archive_of_single_files_is_refused_and_told_what_to_do(tmp_path):
    (tmp_path / "own" / "files" / "ab").mkdir(parents=True)
    with pytest.raises(Unavailable, match="drimbox import"):
        Archive(tmp_path / "own")


async def test_a_failing_sync_leaves_nothing(tmp_path, monkeypatch):
    archive = Archive(tmp_path / "own")

    def fail(file):
        raise Unavailable("volume", "could not sync a pack")

    monkeypatch.setattr(GrowingFile, "sync", fail)
    with pytest.raises(Unavailable):
        await keep(archive, ct())
    assert await archive.held(STUDY) == []
    monkeypatch.undo()
    assert isinstance(await keep(archive, ct()), Kept)
    archive.close()
    assert len(list(kept_records(archive.root))) == 1


async def test_a_sender_that_goes_away_does_not_take_the_file_from_under_the_archive(archive, monkeypatch):
    """Its task is cancelled while the bytes are synced: what is kept then is whole, and the volume is not blamed."""
    syncing, go = threading.Event(), threading.Event()
    sync = GrowingFile.sync

    def slow(file):
        syncing.set()
        go.wait(60)
        sync(file)

    monkeypatch.setattr(GrowingFile, "sync", slow)
    task = asyncio.create_task(keep(archive, ct()))
    await asyncio.to_thread(syncing.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await archive.with_files(lambda: None)
    assert isinstance(await keep(archive, ct(number=2)), Kept)
    assert not archive.suspect
    held = await archive.held(STUDY)
    assert [await archive.read(it, it.data_set_offset, it.size_bytes - it.data_set_offset) for it in held] == [
        data_set_bytes(ct()), data_set_bytes(ct(number=2)),
    ]  # fmt: skip


async def test_a_forgotten_study_leaves_nothing(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    assert isinstance(await keep(archive, ct(1, 2, PixelData=bytes(512))), SetAside)
    assert await archive.forget(STUDY) == 2
    assert await archive.held(STUDY) == []
    assert list(kept_records(archive.root)) == []
    for pack in (archive.root / "packs").iterdir():
        assert data_set_bytes(ct(1, 1))[:200] not in pack.read_bytes()
    with pytest.raises(NotFound):
        await archive.study(STUDY)


async def test_an_emptied_pack_is_removed_once_nothing_grows_in_it(tmp_path):
    archive = Archive(tmp_path / "own")
    await keep(archive, ct(1, 1))
    await keep(archive, ct(study="1.2.3"))
    archive.close()
    archive, _ = opened(tmp_path / "own")
    archive.packs._free.clear()  # as if it were full
    await archive.forget(STUDY)
    assert len(list((archive.root / "packs").iterdir())) == 1
    assert await served(archive, "1.2.3") == told(ct(study="1.2.3"))
    await archive.forget("1.2.3")
    assert list((archive.root / "packs").iterdir()) == []
    archive.close()


async def test_packs_of_an_earlier_run_grow_on(tmp_path):
    for number in range(1, 4):
        archive, _ = opened(tmp_path / "own")
        await keep(archive, ct(1, number))
        archive.close()
    archive, _ = opened(tmp_path / "own")
    assert await served(archive) == told(*(ct(1, number) for number in range(1, 4)))
    assert len(list((archive.root / "packs").iterdir())) == 1
    archive.close()


async def test_a_search_that_would_take_seconds_is_refused(archive, monkeypatch):
    for number in range(1, 30):
        await keep(archive, ct(1, number, f"1.2.3.{number}"))
    monkeypatch.setattr(database, "_STEPS_A_LOOK", 10)
    monkeypatch.setattr(queries, "MOST_STEPS", 100)
    with pytest.raises(TooLarge, match="ask for a patient"):
        await found(archive, **{"00081030": "*nowhere*"})
    assert await found(archive, **{"00100020": "NOBODY"}) == []  # the indexes answer
