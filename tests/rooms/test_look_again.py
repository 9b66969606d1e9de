"""Which exams are looked at again, and when: with the real outbox and a clock that is moved by hand."""

from pathlib import Path

import pytest
from making import STUDY, report

from drimbox import clock
from drimbox.flows.look_again import LookAgain
from drimbox.storage.manifests import Manifests
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import Reports


@pytest.fixture
def outbox(tmp_path: Path):
    database = open_outbox(tmp_path)
    yield Outbox(database)
    database.close()


async def published(outbox: Outbox, at: float, kind: str = "publish") -> None:
    """A job that reached the DMP at that moment."""
    await Reports(outbox).arrived(report(), b"digest")
    sql = "UPDATE job SET state = 'done', unique_id = '1.2.3', manifest = x'00', kind = ?, settled_at = ?"
    await outbox.database.write(lambda transaction: transaction.execute(sql, (kind, at)))


async def due(outbox: Outbox) -> int:
    return (await outbox.counts()).get("due", 0)


async def test_once_for_each_time_and_not_before(outbox: Outbox) -> None:
    now = clock.now().timestamp()
    await published(outbox, now - 1000)
    again = LookAgain(Manifests(outbox.database), outbox, (600, 3600))
    assert await again.look(now - 300) > now - 1  # neither time fell in the last 300 s
    assert await due(outbox) == 0
    await again.look(now - 500)  # 600 s after it did
    assert await due(outbox) == 1
    [item] = [item for item in await outbox.list() if item["state"] == "due"]
    assert (item["study_uid"], item["cause"]) == (STUDY, "images")


async def test_what_was_withdrawn_is_not_looked_at(outbox: Outbox) -> None:
    now = clock.now().timestamp()
    await published(outbox, now - 1000, "withdraw")
    await LookAgain(Manifests(outbox.database), outbox, (600,)).look(now - 5000)
    assert await due(outbox) == 0


async def test_without_times_it_does_nothing(outbox: Outbox) -> None:
    await LookAgain(Manifests(outbox.database), outbox, ()).work()
