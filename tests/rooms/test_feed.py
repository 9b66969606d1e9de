"""The feed of changes: everything once, in order, from any place, also after a restart; and not past a rebuild."""

import pytest
from archiving import keep
from making import STUDY, ct, rejection_note

from drimbox.dicom.match import Query
from drimbox.errors import Conflict, Malformed
from drimbox.kos.rejection import EXPIRED
from drimbox.storage.archive import Archive
from drimbox.storage.feed import read_feed
from drimbox.storage.rebuild import rebuild_index


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "own")
    yield archive
    archive.close()


def read(archive, since="", most=1000):
    return read_feed(archive.database.read_here, since, most)


def told(happened):
    return [(one.kind, one.ref.sop_uid.removeprefix(STUDY), one.shown) for one in happened]


async def a_history(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    await keep(archive, ct(1, 1, PatientID="OTHER"))  # set aside
    await keep(archive, ct(2, 1))
    await archive.take_out(STUDY, f"{STUDY}.1", f"{STUDY}.1.2")
    await keep(archive, ct(2, 2))
    await keep(archive, ct(1, 2))  # sent again


HISTORY = [
    ("arrived", ".1.1", True),
    ("arrived", ".1.2", True),
    ("set aside", ".1.1", True),
    ("arrived", ".2.1", True),
    ("removed", ".1.2", True),
    ("arrived", ".2.2", True),
    ("restored", ".1.2", True),
]


async def test_everything_is_told_once_in_order(archive):
    await a_history(archive)
    assert told(read(archive)) == HISTORY


@pytest.mark.parametrize("most", [1, 2, 3, 7])
async def test_it_is_read_on_from_any_place(archive, most):
    await a_history(archive)
    found, place = [], "0"
    while page := read(archive, place, most):
        assert len(page) <= most
        found += page
        place = page[-1].place
    assert told(found) == HISTORY
    for position, one in enumerate(found):
        assert told(read(archive, one.place)) == HISTORY[position + 1 :]


async def test_a_place_stays_good_after_a_restart(archive):
    await keep(archive, ct(1, 1))
    [first] = read(archive)
    archive.close()
    again = Archive(archive.root)
    await keep(again, ct(1, 2))
    assert told(read(again, first.place)) == [("arrived", ".1.2", True)]
    again.close()


async def test_what_is_hidden_now_says_so_where_it_arrived(archive):
    one, two = ct(1, 1), ct(1, 2)
    await keep(archive, one)
    await keep(archive, two)
    await keep(archive, rejection_note("113001", two, number=9))
    kinds = [(kind, uid, shown) for kind, uid, shown in told(read(archive)) if uid in (".1.1", ".1.2")]
    assert kinds == [("arrived", ".1.1", True), ("arrived", ".1.2", False), ("rejected", ".1.2", False)]


async def test_an_expired_instance_that_comes_again_is_restored(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, rejection_note(EXPIRED, ct(1, 1), number=9))
    place = read(archive)[-1].place
    await keep(archive, ct(1, 1))
    assert told(read(archive, place)) == [("restored", ".1.1", True)]


async def test_the_number_of_an_instance_that_is_gone_is_not_given_again(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(study="1.2.3"))
    place = read(archive)[-1].place
    await archive.forget("1.2.3")
    await keep(archive, ct(study="1.2.4"))
    await keep(archive, ct(study="1.2.5"))
    assert [one.ref.study_uid for one in read(archive, place)] == ["1.2.4", "1.2.5"]


async def test_a_place_of_an_index_that_was_replaced_is_refused(archive):
    await a_history(archive)
    place = read(archive)[-1].place
    archive.close()
    rebuild_index(archive.root, lambda done, total: None)
    again = Archive(archive.root)
    with pytest.raises(Conflict):
        read(again, place)
    arrived = [one.ref.sop_uid for one in read(again) if one.kind == "arrived"]
    assert sorted(arrived) == [f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.2.1", f"{STUDY}.2.2"]
    again.close()


@pytest.mark.parametrize("since", ["1", "x", "0" * 16, f"{'0' * 16}.1", f"{'0' * 16}.-1.1", f"{'g' * 16}.1.1", "\n0"])
async def test_what_is_no_place_is_refused(archive, since):
    with pytest.raises(Malformed):
        read(archive, since)


async def test_removal_hides_what_is_named_and_nothing_else(archive):
    for series, number in [(1, 1), (1, 2), (2, 1)]:
        await keep(archive, ct(series, number))
    await keep(archive, ct(study="1.2.3"))
    assert await archive.take_out("1.2.3", f"{STUDY}.1") == 0
    assert await archive.take_out(STUDY, f"{STUDY}.1") == 2
    assert await archive.take_out(STUDY, f"{STUDY}.1") == 0
    [study] = await archive.search(Query("study", {}, None, 10, 1))
    assert [held.ref.sop_uid for held in await archive.held(STUDY)] == [f"{STUDY}.2.1"]
    assert study["00201208"]["Value"] == [1]
    await keep(archive, ct(1, 1))
    assert await archive.take_out(STUDY) == 2  # also what had been removed before, and came again
    assert await archive.held(STUDY) == []
    assert len(await archive.held("1.2.3")) == 1


async def test_what_was_removed_stays_so_in_an_index_that_is_made_again(archive):
    await keep(archive, ct(1, 1))
    await keep(archive, ct(1, 2))
    await archive.take_out(STUDY, f"{STUDY}.1", f"{STUDY}.1.1")
    archive.close()
    rebuild_index(archive.root, lambda done, total: None)
    again = Archive(archive.root)
    assert [held.ref.sop_uid for held in await again.held(STUDY)] == [f"{STUDY}.1.2"]
    again.close()
