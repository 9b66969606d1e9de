"""The work of the outbox: it goes on whatever one round of it met, and reads no more than a manifest needs."""

import asyncio
from types import SimpleNamespace

import pytest

from drimbox.errors import Unavailable
from drimbox.flows import publish as publish_module
from drimbox.flows.exams import Exams
from drimbox.flows.lifecycle import Lifecycle
from drimbox.flows.publish import Publish
from drimbox.kos.codes import KEY_OBJECT_SELECTION
from drimbox.settings import Settings

CT = "1.2.840.10008.5.1.4.1.1.2"


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

    async def lease(self, *, unanswered):
        if not self.meets:
            self.asked.set()
        self._meet()


class Archive:
    async def changed_studies(self, most):
        return []


def publish_from(outbox):
    settings = Settings(publish={"poll_s": 0.001, "senders": 1})
    return Publish(Lifecycle(Exams(Archive(), None, settings, ""), outbox, None), None, settings)


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
    publish = publish_from(outbox)
    work = asyncio.create_task(publish.work())
    try:
        async with asyncio.timeout(60):
            await outbox.asked.wait()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert outbox.released == 1


async def test_no_more_than_the_configured_rate_go_a_second(monkeypatch):
    now, slept = [100.0], []
    monkeypatch.setattr(publish_module.clock, "ticks", lambda: now[0])

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(publish_module.asyncio, "sleep", sleep)
    pace = publish_module._Pace()
    for _ in range(3):
        await pace.wait(20)
    now[0] += 10  # a quiet while does not save turns for a flood
    for _ in range(2):
        await pace.wait(20)
    assert slept == pytest.approx([0.05, 0.1, 0.05])


async def test_a_selection_too_large_to_be_one_is_left_out_and_not_read_whole():
    image, selection = (held(f"1.2.3.{n}", uid) for n, uid in ((1, CT), (2, KEY_OBJECT_SELECTION)))

    class Study:
        async def search(self, query):
            return [item(image), item(selection)]

        async def held(self, study_uid):
            return [image, selection]

        async def read(self, held, offset, length):
            assert (held, offset) == (selection, 0)
            assert length <= 2**27
            return bytes(length)

    exams = Exams(Study(), None, Settings(), "https://box.example.org/dicom-web")
    (series,), selections = await exams._series("1.2.3")
    assert selections == ()
    assert [instance.sop_uid for instance in series.instances] == ["1.2.3.1"]


def held(sop_uid, sop_class_uid):
    name = {"study_uid": "1.2.3", "series_uid": "1.2.3.0", "sop_uid": sop_uid}
    return SimpleNamespace(**name, sop_class_uid=sop_class_uid, size_bytes=16 * 2**30)


def item(held):
    values = {"0020000E": held.series_uid, "00080018": held.sop_uid, "00080016": held.sop_class_uid}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}
