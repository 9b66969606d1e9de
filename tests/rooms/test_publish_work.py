"""The loop of the outbox goes on, whatever one round of it met."""

import asyncio

import pytest

from drimbox.errors import Unavailable
from drimbox.flows.publish import Publish
from drimbox.settings import Settings


class Outbox:
    """Each call does the next thing of a list; once it is empty, `asked` is set."""

    def __init__(self, *meets):
        self.meets = list(meets)
        self.released = 0
        self.asked = asyncio.Event()

    def _meet(self):
        if self.meets and (error := self.meets.pop(0)):
            raise error

    async def release_leases(self):
        self._meet()
        self.released += 1

    async def lease(self):
        if not self.meets:
            self.asked.set()
        self._meet()


class Archive:
    def __init__(self, outbox):
        self.outbox = outbox


@pytest.mark.parametrize(
    "meets",
    [
        [Unavailable("index"), None],  # while leases are released
        [ValueError("a bug"), None],
        [None, Unavailable("index")],  # while a job is leased
        [None, ValueError("a bug")],
    ],
)
async def test_no_failure_of_the_outbox_ends_the_work(meets):
    outbox = Outbox(*meets)
    publish = Publish(Archive(outbox), None, None, Settings(publish={"poll_s": 0.001}), "")
    work = asyncio.create_task(publish.work())
    try:
        async with asyncio.timeout(5):
            await outbox.asked.wait()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert outbox.released == 1
