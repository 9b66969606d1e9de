"""Every kept byte read again."""

import pytest
from archiving import flip, keep, scribble
from making import STUDY, ct, data_set_bytes

from drimbox.storage.archive import Archive
from drimbox.storage.scrub import count_instances, scrub

FILLED = [ct(series, number) for series in (1, 2) for number in range(1, 6)] + [ct(study=f"{STUDY}.9")]
TWIN = ct(1, 1, PixelData=bytes(512))


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


def ignore(*_):
    """Progress nobody looks at."""


async def test_a_sound_archive_scrubs_clean_beside_a_node(archive):
    for made in (*FILLED, TWIN):
        await keep(archive, made)
    sizes = []
    assert list(scrub(archive.root, 0, sizes.append)) == []
    assert len(sizes) == count_instances(archive.root) == 12
    held = [*await archive.held(STUDY), *await archive.held(f"{STUDY}.9")]
    assert sum(sizes) > sum(len(data_set_bytes(made)) for made in (*FILLED, TWIN)) > sum(sizes) - 12 * 500
    assert len(held) == 11


async def test_each_damaged_and_missing_instance_is_named(archive):
    for made in (*FILLED, TWIN):
        await keep(archive, made)
    first, second, third, fourth, *_ = await archive.held(STUDY)
    flip(archive.root, first, -1)
    flip(archive.root, second, 140)  # the group length of its preface
    flip(archive.root, third, 20)  # its preamble
    with (archive.root / fourth.file).open("r+b") as pack:  # its header, in which a removal would be told
        pack.seek(fourth.offset - 16)
        pack.write(b"\x02")
    [(aside, offset)] = await archive.database.read("SELECT file, offset FROM set_aside")
    scribble(archive.root / aside, offset + 300, offset + 310)
    found = {(finding.kind, finding.file, finding.sop_uid) for finding in scrub(archive.root, 0, ignore)}
    assert found == {
        *(("damaged", f"{it.file}@{it.offset}", it.ref.sop_uid) for it in (first, second, third, fourth)),
        ("damaged", f"{aside}@{offset}", TWIN.SOPInstanceUID),
    }


async def test_a_pack_that_is_gone_is_missing(archive):
    await keep(archive, ct())
    [held] = await archive.held(STUDY)
    (archive.root / held.file).unlink()
    [finding] = scrub(archive.root, 0, ignore)
    assert (finding.kind, finding.file) == ("missing", f"{held.file}@{held.offset}")


async def test_a_damaged_index_is_a_finding(tmp_path):
    root = tmp_path / "own"
    archive = Archive(root)
    for number in range(1, 100):
        await keep(archive, ct(number=number))
    archive.close()
    scribble(root / "index.db", 4096 * 3, 4096 * 20)
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
