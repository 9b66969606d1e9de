"""Each durable call of an ingest fails in turn: nothing acknowledged is lost, nothing half is seen (promise P10)."""

import asyncio
import errno

import pytest
from faulty import Seam, fail_at, first_of_each_kind, through
from ledger import SENT, arrive, check

from drimbox.errors import DrimboxError, NoSpace, Unavailable
from drimbox.storage import follower

WHOLE = len(SENT) + 3  # acknowledgements when all goes well: six instances, a report, two associations
SYNCS = {"fdatasync", "fsync", "sqlite sync"}


def run(base, before):
    """(ledger, refusals, calls) of one arrival of everything; refusals is None when not even the archive opened."""
    base.mkdir()
    ledger = []
    with through(Seam(before)) as seam:
        try:
            refused = asyncio.run(arrive(base, ledger.append))
        except (DrimboxError, OSError):
            assert ledger == []
            refused = None
    return ledger, refused, seam.calls


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The index tries again at once."""
    monkeypatch.setattr(follower, "_AGAIN_S", 0.001)


@pytest.fixture(scope="module")
def instants(tmp_path_factory):
    """The name of every call of a run without a fault: each is where one may come."""
    base = tmp_path_factory.mktemp("whole") / "base"
    ledger, refused, calls = run(base, lambda number, name: None)
    assert (len(ledger), refused) == (WHOLE, [])
    check(base, ledger)
    names = [name for name, _ in calls]
    assert set(names) >= {
        "open",
        "write",
        "allocate",
        "pwritev",
        "fdatasync",
        "fsync",
        "mkdir",
        "sqlite write",
        "sqlite sync",
    }
    return names


def test_an_io_error_is_never_acknowledged_and_no_sync_is_tried_again(tmp_path, instants):
    for at, name in enumerate(instants):
        base = tmp_path / str(at)
        ledger, refused, calls = run(base, fail_at(at, errno.EIO))
        check(base, ledger)
        if refused is None:
            continue
        assert refused == [] or isinstance(refused[0], Unavailable)
        assert calls[at][0] == name
        # The trail, the images and the index each stop for good at an error of their own.
        part = part_of(calls[at][1], base)
        after = {later for later, path in calls[at + 1 :] if part_of(path, base) == part}
        if name not in ("unlink", "sqlite delete", "sqlite truncate"):
            assert not after & SYNCS, (at, calls[at], after)


def part_of(path, base):
    return next(
        part for part in ("/trail", "/own/index.db", "/own/outbox.db", "/own", "") if path.startswith(f"{base}{part}")
    )


def test_a_full_disk_refuses_and_recovers_alone(tmp_path, instants):
    for at in first_of_each_kind(instants):
        base = tmp_path / str(at)
        ledger, refused, _ = run(base, fail_at(at, errno.ENOSPC))
        check(base, ledger)
        if refused is not None:
            assert all(isinstance(refusal, NoSpace) for refusal in refused)
            assert len(ledger) == WHOLE  # what was refused was taken the second time


def test_a_medium_that_turns_read_only_takes_nothing_more(tmp_path, instants):
    for at in first_of_each_kind(instants):
        base = tmp_path / str(at)
        ledger, refused, _ = run(base, fail_at(at, errno.EROFS, lasting=True))
        check(base, ledger)
        if refused is not None:
            assert len(ledger) + len(refused) == WHOLE


def test_too_many_open_files_are_not_blamed_on_the_medium(tmp_path, instants):
    for at in (at for at, name in enumerate(instants) if name in ("open", "mkdir")):
        base = tmp_path / str(at)
        ledger, refused, _ = run(base, fail_at(at, errno.EMFILE))
        check(base, ledger)
        if refused is not None:
            assert all(isinstance(refusal, Unavailable) for refusal in refused)
            assert len(ledger) == WHOLE
