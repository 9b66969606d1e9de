"""No answer of an archive is lost, however slow the thread of the library is that could take it for a request."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider

from drimbox.pacs.client import STUDY_FIND, STUDY_MOVE, ArchiveScu, Retrieved
from drimbox.pacs.reader import Stillness
from drimbox.settings import Destination

STUDY, SERIES = "1.2.3", "1.2.3.1"
INSTANCES = [f"1.2.3.1.{number}" for number in range(40)]


@pytest.fixture
def archive() -> Iterator[ArchiveScu]:
    """Knows one study, and answers at once."""

    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        asked = event.identifier
        below = INSTANCES if asked.QueryRetrieveLevel == "IMAGE" else [""]
        for uid in below:
            found = Dataset()
            found.QueryRetrieveLevel = asked.QueryRetrieveLevel
            found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = STUDY, SERIES, uid
            yield 0xFF00, found

    def move(_event: Any) -> Iterator[Any]:
        yield "127.0.0.1", 1
        yield 0

    entity = AE("PACS")
    entity.add_supported_context(STUDY_FIND)
    entity.add_supported_context(STUDY_MOVE)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    port = server.socket.getsockname()[1]
    yield ArchiveScu(Destination(ae_title="PACS", host="127.0.0.1", port=port), "DRIMBOX", 60, 60)
    server.shutdown()


@pytest.fixture
def slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine: the reader goes on 50 ms after it was allowed to, who asked looks for the answer after 100.

    So the answer is there when the reader comes by, unless that was kept still.
    """
    send, receive = DIMSEServiceProvider.send_msg, DIMSEServiceProvider.get_msg

    def get(self: Any) -> bool:
        return bool(self.__dict__.get("paused"))

    def put(self: Any, value: bool) -> None:
        if not value and self.is_requestor and threading.current_thread() is self:
            time.sleep(0.05)
        self.__dict__["paused"] = value

    def ask(self: Any, *words: Any) -> None:
        send(self, *words)
        self.has_asked = self.assoc.is_requestor

    def look(self: Any, block: bool = False) -> Any:
        if block and getattr(self, "has_asked", False):
            self.has_asked = False
            time.sleep(0.1)
        return receive(self, block)

    monkeypatch.setattr(Association, "_is_paused", property(get, put), raising=False)
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", ask)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", look)


@pytest.mark.usefixtures("slow_reader")
async def test_every_answer_reaches_who_asked(archive: ArchiveScu) -> None:
    for _ in range(5):
        listing = await archive.list_instances(STUDY)
        assert listing.series == {SERIES: frozenset(INSTANCES)}
    assert await archive.move(STUDY, "ELSEWHERE") == Retrieved(0, 0, 0)


def test_a_closed_gate_holds_who_is_before_it_and_lets_go_once_open() -> None:
    passed: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            gate.wait()
            time.sleep(0.0005)  # on its way
            passed.append(1)

    reader = threading.Thread(target=read)
    gate = Stillness(reader)
    gate.clear()  # not begun yet: nothing to wait for
    gate.set()
    reader.start()
    for _ in range(50):
        gate.clear()
        before = len(passed)
        time.sleep(0.002)
        assert len(passed) == before
        gate.set()
        while len(passed) == before:
            time.sleep(0.0001)
    stop.set()
    reader.join(60)
    assert not reader.is_alive()
    gate.clear()  # it has ended: nothing to wait for
