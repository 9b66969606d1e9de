"""A wrong rejection is taken back: what it hid is shown again, and nothing that comes later brings it back."""

import json
from contextlib import closing

import pytest
from archiving import keep
from making import STUDY, ct, rejection_note

from drimbox.audit.trail import Trail
from drimbox.errors import Malformed, NotFound
from drimbox.flows.admit import Admit
from drimbox.flows.readmit import Readmit, Readmitted
from drimbox.model import Credentials
from drimbox.settings import Settings
from drimbox.storage.archive import AlreadyKept, Archive
from drimbox.storage.feed import read_feed
from drimbox.storage.rebuild import rebuild_index

PERSON = Credentials("operator", "127.0.0.1", calling="marie")
OTHER = "1.2.826.0.1.3680043.8.498.2"
QUALITY, SAFETY, EXPIRED = "113001", "113037", "113039"


@pytest.fixture
def archive(tmp_path):
    with closing(Archive(tmp_path / "own")) as archive:
        yield archive


@pytest.fixture
def readmit(archive, tmp_path):
    with closing(Trail(tmp_path / "trail.jsonl")) as trail:
        yield Readmit(archive.database, Admit(Settings(), trail))


def traces(tmp_path):
    lines = map(json.loads, (tmp_path / "trail.jsonl").read_text().splitlines())
    return [(it["action"], it["outcome"], it["study_uid"], it["detail"]) for it in lines]


async def shown(archive, study=STUDY):
    return [held.ref.sop_uid for held in await archive.held(study)]


async def changed(archive):
    """The studies the outbox has yet to hear of; it hears of them."""
    found = await archive.changed_studies(10)
    await archive.looked_at(found)
    return {change.study_uid for change in found}


@pytest.mark.parametrize("title", [QUALITY, SAFETY, "113038", EXPIRED])
async def test_what_a_note_hid_is_shown_again_and_its_studies_are_due(archive, readmit, tmp_path, title):
    one, two, other = ct(1, 1), ct(1, 2), ct(1, 1, study=OTHER)
    for made in (one, two, other):
        await keep(archive, made)
    note = rejection_note(title, one, other)
    await keep(archive, note)
    await changed(archive)
    assert await shown(archive) == [two.SOPInstanceUID]
    assert await readmit.undo(PERSON, note.SOPInstanceUID) == Readmitted(2, 0)
    assert await shown(archive) == [one.SOPInstanceUID, two.SOPInstanceUID]  # and not the note
    assert await shown(archive, OTHER) == [other.SOPInstanceUID]
    assert await archive.rejected(STUDY) == []
    assert await changed(archive) == {STUDY, OTHER}
    happened = await archive.database.reading(lambda: read_feed(archive.database.read_here, "", 20))
    assert [it.kind for it in happened if it.kind != "arrived"] == ["rejected", "rejected", "restored", "restored"]
    said = [(study, detail) for action, outcome, study, detail in traces(tmp_path) if action == "operate"]
    undone = f"rejection {note.SOPInstanceUID} undone"
    assert said == [("", f"rejection {note.SOPInstanceUID} to be undone"), (STUDY, undone), (OTHER, undone)]


async def test_the_same_note_sent_again_changes_nothing_and_another_one_does(archive, readmit):
    note = rejection_note(SAFETY, ct(1, 1))
    for made in (ct(1, 1), note):
        await keep(archive, made)
    await readmit.undo(PERSON, note.SOPInstanceUID)
    assert isinstance(await keep(archive, note), AlreadyKept)
    assert isinstance(await keep(archive, ct(1, 1)), AlreadyKept)
    assert len(await shown(archive)) == 1
    await keep(archive, rejection_note(SAFETY, ct(1, 1), number=2))
    assert await shown(archive) == []


async def test_what_another_note_names_too_stays_out_of_use(archive, readmit):
    first, second = rejection_note(QUALITY, ct(1, 1), ct(1, 2)), rejection_note(SAFETY, ct(1, 1), number=2)
    for made in (ct(1, 1), ct(1, 2), first, second):
        await keep(archive, made)
    assert await readmit.undo(PERSON, first.SOPInstanceUID) == Readmitted(2, 1)
    assert await shown(archive) == [ct(1, 2).SOPInstanceUID]
    notes = await readmit.list(PERSON, STUDY)
    assert [(it.note_uid, it.title, it.instances, it.in_force) for it in notes] == [
        (second.SOPInstanceUID, SAFETY, 1, 1), (first.SOPInstanceUID, QUALITY, 2, 0),
    ]  # fmt: skip
    assert await readmit.list(PERSON, OTHER) == []


async def test_a_removal_is_taken_back_too(archive, readmit):
    await keep(archive, ct(1, 1))
    await archive.take_out(STUDY)
    (removal,) = await readmit.list(PERSON)
    assert await readmit.undo(PERSON, removal.note_uid) == Readmitted(1, 0)
    assert len(await shown(archive)) == 1


async def test_a_note_whose_instances_come_later_hides_them_no_more(archive, readmit):
    note = rejection_note(QUALITY, ct(1, 1))
    await keep(archive, note)
    await readmit.undo(PERSON, note.SOPInstanceUID)
    await keep(archive, ct(1, 1))
    assert len(await shown(archive)) == 1


@pytest.mark.parametrize(("note", "refusal"), [("1.2.3", NotFound), ("'; DROP", Malformed), ("", Malformed)])
async def test_what_is_no_note_in_force_is_refused(archive, readmit, note, refusal):
    await keep(archive, ct(1, 1))
    with pytest.raises(refusal):
        await readmit.undo(PERSON, note)


async def test_a_note_is_undone_once(archive, readmit):
    note = rejection_note(QUALITY, ct(1, 1))
    for made in (ct(1, 1), note):
        await keep(archive, made)
    await readmit.undo(PERSON, note.SOPInstanceUID)
    await changed(archive)
    with pytest.raises(NotFound):
        await readmit.undo(PERSON, note.SOPInstanceUID)
    assert await changed(archive) == set()


async def test_a_rebuilt_index_knows_that_it_was_undone(tmp_path):
    note = rejection_note(QUALITY, ct(1, 1))
    with closing(Archive(tmp_path / "own")) as archive, closing(Trail(tmp_path / "trail.jsonl")) as trail:
        for made in (ct(1, 1), note):
            await keep(archive, made)
        await archive.caught_up()
        await Readmit(archive.database, Admit(Settings(), trail)).undo(PERSON, note.SOPInstanceUID)
    rebuild_index(tmp_path / "own", lambda done, total: None)
    with closing(Archive(tmp_path / "own")) as archive:
        assert await shown(archive) == [ct(1, 1).SOPInstanceUID]
