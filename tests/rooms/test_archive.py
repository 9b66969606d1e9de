"""The archive on a real volume and a real SQLite: what is kept, once, and what can be found."""

import asyncio
import hashlib
import os
import threading

import pytest
from making import STUDY, ct, data_set_bytes

from drimbox.dicom.match import Query, criterion
from drimbox.dicom.scan import scan
from drimbox.durable import Spool
from drimbox.errors import Corrupt, NotFound, Unavailable
from drimbox.storage.archive import AlreadyKept, Archive, Kept, SetAside


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


async def keep(archive, made):
    spool = archive.open_spool(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, 1 << 20)
    spool.write(data_set_bytes(made))
    return await archive.keep(spool, scan)


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
    assert held.digest == hashlib.sha256(data).digest()
    [span] = await archive.spans(held)
    assert await archive.read_span(held, span) == made.PixelData


async def test_same_bytes_again_is_one_copy(archive):
    assert isinstance(await keep(archive, ct()), Kept)
    assert isinstance(await keep(archive, ct()), AlreadyKept)
    assert len(await archive.held(STUDY)) == 1
    assert len(list(archive.root.rglob("*.dcm"))) == 1


async def test_same_uid_other_pixels_is_set_aside_and_the_first_stays(archive):
    await keep(archive, ct())
    other = ct(PixelData=bytes(512))
    assert isinstance(await keep(archive, other), SetAside)
    assert isinstance(await keep(archive, other), SetAside)
    [held] = await archive.held(STUDY)
    assert await archive.read(held, held.data_set_offset, 16) == data_set_bytes(ct())[:16]
    [aside] = (archive.root / "aside").iterdir()
    assert aside.read_bytes().endswith(data_set_bytes(other))
    assert await archive.database.read("SELECT count(*) FROM set_aside") == [(1,)]


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
    path = archive.path(held)
    data = bytearray(path.read_bytes())
    data[span.offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        await archive.read_span(held, span)
    os.truncate(path, span.offset)
    with pytest.raises(Corrupt):
        await archive.read_span(held, span)
    path.unlink()
    with pytest.raises(Corrupt):
        await archive.read_span(held, span)


async def test_a_failing_sync_of_the_folder_leaves_no_row(archive, monkeypatch):
    def fail(folder):
        raise Unavailable("volume", "could not sync a folder")

    monkeypatch.setattr(archive.volume, "sync_folder", fail)
    with pytest.raises(Unavailable):
        await keep(archive, ct())
    assert await archive.held(STUDY) == []
    monkeypatch.undo()
    assert isinstance(await keep(archive, ct()), Kept)  # the orphan of the first try is adopted


async def test_a_sender_that_goes_away_does_not_take_the_file_from_under_the_archive(archive, monkeypatch):
    """Its task is cancelled while the bytes are synced: what is kept then is whole, and the volume is not blamed."""
    syncing, go = threading.Event(), threading.Event()
    sync = Spool.sync

    def slow(spool):
        syncing.set()
        go.wait(10)
        sync(spool)

    monkeypatch.setattr(Spool, "sync", slow)
    task = asyncio.create_task(keep(archive, ct()))
    await asyncio.to_thread(syncing.wait, 10)
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
    assert [path.name for path in (archive.root / "files").glob("*/*")] == []
    assert list(archive.root.rglob("*.dcm")) == []
    with pytest.raises(NotFound):
        await archive.study(STUDY)
