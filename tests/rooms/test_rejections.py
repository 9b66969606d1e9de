"""Rejection notes (IHE RAD IOCM): what they name is kept and not shown, in the transaction that keeps the note."""

import pytest
from archiving import crashing, keep, opened
from making import STUDY, ct, rejection_note

from drimbox.dicom.match import Query, criterion
from drimbox.errors import NotFound, Unavailable
from drimbox.kos.rejection import EXPIRED
from drimbox.model import InstanceRef
from drimbox.storage import changes
from drimbox.storage.archive import AlreadyKept, Archive, Kept, SetAside
from drimbox.storage.rebuild import rebuild_index
from drimbox.storage.scrub import scrub

QUALITY, SAFETY, WORKLIST = "113001", "113037", "113038"
TITLES = (QUALITY, SAFETY, WORKLIST, EXPIRED)
OTHER = "1.2.826.0.1.3680043.8.498.2"


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


async def found(archive, level="study", **asked):
    return await archive.search(Query(level, {tag: criterion(tag, text) for tag, text in asked.items()}, None, 100, 0))


async def shown(archive, study=STUDY):
    """SOP Instance UIDs, which all ways to ask must agree on."""
    held = [it.ref.sop_uid for it in await archive.held(study)]
    queried = [item["00080018"]["Value"][0] for item in await found(archive, "instance", **{"0020000D": study})]
    assert queried == held
    assert [it.ref.sop_uid for uid in held for it in await archive.held(study, sop_uid=uid)] == held
    counted = [item["00201208"]["Value"][0] for item in await found(archive, **{"0020000D": study})]
    assert counted == ([len(held)] if held else [])
    by_series = [item["00201209"]["Value"][0] for item in await found(archive, "series", **{"0020000D": study})]
    assert sum(by_series) == len(held)
    assert 0 not in by_series
    return held


def uids(*instances):
    return [it.SOPInstanceUID for it in instances]


@pytest.mark.parametrize("title", TITLES)
async def test_what_a_note_names_is_hidden_and_so_is_the_note(archive, title):
    one, two, three = ct(1, 1), ct(1, 2), ct(2, 1)
    for made in (one, two, three):
        await keep(archive, made)
    note = rejection_note(title, two, three)
    assert isinstance(await keep(archive, note), Kept)
    assert await shown(archive) == uids(one)
    assert [it.ref.sop_uid for it in await archive.rejected(STUDY)] == uids(two, three)
    assert {(it.note_uid, it.title) for it in await archive.rejected(STUDY)} == {(note.SOPInstanceUID, title)}
    [study] = await found(archive)
    assert study["00201206"]["Value"] == [1]  # series 2 has nothing left
    assert study["00080061"]["Value"] == ["CT"]  # no KO
    assert await found(archive, **{"00080061": "KO"}) == []
    assert await found(archive, **{"00080062": note.SOPClassUID}) == []
    assert await archive.held(STUDY, sop_uid=two.SOPInstanceUID) == []


async def test_nothing_is_removed(archive):
    """Scrub reads from the medium every byte that was ever kept."""
    for made in (ct(1, 1), rejection_note(SAFETY, ct(1, 1))):
        await keep(archive, made)
    assert await shown(archive) == []
    sizes = []
    assert list(scrub(archive.root, 0, sizes.append)) == []
    assert len(sizes) == 2


async def test_a_study_of_which_nothing_is_left_is_not_found(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note(QUALITY, ct(1, 1)))
    assert await shown(archive) == []
    with pytest.raises(NotFound):
        await archive.study(STUDY)


async def test_a_note_may_come_before_what_it_names(archive):
    await keep(archive, rejection_note(WORKLIST, ct(1, 1)))
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    assert await shown(archive) == uids(ct(1, 2))


@pytest.mark.parametrize("title", TITLES)
async def test_only_what_had_expired_is_shown_again_when_it_is_sent_again(archive, title):
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note(title, ct(1, 1)))
    assert isinstance(await keep(archive, ct(1, 1)), AlreadyKept)
    assert await shown(archive) == (uids(ct(1, 1)) if title == EXPIRED else [])
    await keep(archive, rejection_note(title, ct(1, 1), number=2))
    assert await shown(archive) == []


async def test_a_reference_counts_with_its_study_and_series_only(archive):
    """A note cannot hide what it does not name: here it has the right SOP Instance UID, in another study."""
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note(SAFETY, ct(1, 1, StudyInstanceUID=OTHER), study=OTHER))
    await keep(archive, rejection_note(SAFETY, ct(1, 1, SeriesInstanceUID=f"{STUDY}.7")))
    assert await shown(archive) == uids(ct(1, 1))


async def test_a_note_may_speak_of_several_studies(archive):
    other = ct(1, 1, study=OTHER)
    for made in (ct(1, 1), other, rejection_note(SAFETY, ct(1, 1), other)):
        await keep(archive, made)
    assert await shown(archive) == await shown(archive, OTHER) == []


@pytest.mark.parametrize("title", ["113000", "113030", ""])
async def test_another_key_object_selection_is_shown_and_rejects_nothing(archive, title):
    await keep(archive, ct(1, 1))
    other = rejection_note(title, ct(1, 1))
    await keep(archive, other)
    assert await shown(archive) == uids(ct(1, 1), other)
    assert await archive.rejected(STUDY) == []


async def test_a_note_of_which_other_bytes_are_kept_rejects_nothing(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note("113000", ct(1, 1)))
    assert isinstance(await keep(archive, rejection_note(SAFETY, ct(1, 1))), SetAside)
    assert len(await shown(archive)) == 2


async def test_the_same_note_again_changes_nothing(archive):
    await keep(archive, ct(1, 1))
    for outcome in (Kept, AlreadyKept):
        assert isinstance(await keep(archive, rejection_note(SAFETY, ct(1, 1))), outcome)
    assert [it.ref for it in await archive.rejected(STUDY)] == [InstanceRef(STUDY, f"{STUDY}.1", f"{STUDY}.1.1")]


async def test_two_notes_of_one_instance_count_it_once(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    await keep(archive, rejection_note(QUALITY, ct(1, 1)))
    await keep(archive, rejection_note(EXPIRED, ct(1, 1), number=2))
    assert await shown(archive) == uids(ct(1, 2))
    await keep(archive, ct(1, 1))
    assert await shown(archive) == uids(ct(1, 2))


async def changed(archive):
    """The studies the outbox has yet to hear of; it hears of them."""
    changes = await archive.changed_studies(10)
    await archive.looked_at(changes)
    return {change.study_uid for change in changes}


async def published(archive):
    """An instance whose manifest is where it must be."""
    await keep(archive, ct(1, 1))
    await changed(archive)


async def test_a_note_is_an_event_for_the_study_it_speaks_of(archive):
    await published(archive)
    await keep(archive, rejection_note(SAFETY, ct(1, 1), study=OTHER))
    assert await changed(archive) == {STUDY, OTHER}


async def test_an_instance_that_is_shown_again_is_one_too(archive):
    await published(archive)
    await keep(archive, rejection_note(EXPIRED, ct(1, 1)))
    assert await changed(archive) == {STUDY}
    await keep(archive, ct(1, 1))
    assert await changed(archive) == {STUDY}
    await keep(archive, ct(1, 1))
    assert await changed(archive) == set()


async def test_note_rejection_and_change_commit_together_or_not_at_all(tmp_path, monkeypatch):
    """Its bytes are durable, so it was acknowledged; what it does waits, whole, for an index that can be written."""
    archive = Archive(tmp_path / "own")
    await published(archive)

    def fail(*_):
        raise Unavailable("test", "the commit fails")

    monkeypatch.setattr(changes, "note", fail)
    await keep(archive, rejection_note(SAFETY, ct(1, 1)))
    assert await shown(archive) == uids(ct(1, 1))
    assert await archive.rejected(STUDY) == []
    assert await changed(archive) == set()
    with pytest.raises(Unavailable):
        await keep(archive, ct(1, 2))  # nothing more is taken meanwhile
    archive.close()
    monkeypatch.undo()
    archive, _ = opened(tmp_path / "own")
    assert await shown(archive) == []
    assert await changed(archive) == {STUDY}
    archive.close()


async def test_a_note_that_a_crash_left_without_rows_rejects_once_it_is_adopted(tmp_path):
    archive = Archive(tmp_path / "own")
    await keep(archive, ct(1, 1))
    archive.close()
    with crashing(tmp_path / "own") as archive:
        await keep(archive, rejection_note(SAFETY, ct(1, 1)))
    archive, done = opened(tmp_path / "own")
    assert done.adopted == 1
    assert await shown(archive) == []
    archive.close()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_rebuilt_index_hides_what_the_old_one_hid(tmp_path, lost):
    root = tmp_path / "own"
    archive = Archive(root)
    for made in (
        ct(1, 1),
        ct(1, 2),
        rejection_note(SAFETY, ct(1, 1)),
        ct(1, 3),
        rejection_note(EXPIRED, ct(1, 3), number=2),
    ):
        await keep(archive, made)
    await keep(archive, ct(1, 3))  # shown again; no file says so
    assert await shown(archive) == uids(ct(1, 2), ct(1, 3))
    archive.close()
    if lost:
        for path in root.glob("index.db*"):
            path.unlink()
    rebuild_index(root, lambda *_: None)
    archive = Archive(root)
    assert await shown(archive) == (uids(ct(1, 2)) if lost else uids(ct(1, 2), ct(1, 3)))
    archive.close()


async def test_a_forgotten_study_takes_its_rejections_along(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note(SAFETY, ct(1, 1)))
    assert await archive.forget(STUDY) == 2
    await keep(archive, ct(1, 1))
    assert await shown(archive) == uids(ct(1, 1))
