"""Errands to the PACS: one a study, what came counts, who needs it no more stops it, and it ends with the node."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from pacs_stage import Archive, needs_dcmqrscp
from test_pacs_fetch import centre, dcmqrscp

from drimbox.errors import Conflict, Unavailable
from drimbox.flows.bring import Bring
from drimbox.flows.fetch import Fetch
from drimbox.pacs.client import Listing
from drimbox.settings import Settings

IMAGES = [ct(1, 1), ct(1, 2)]
SERIES = str(IMAGES[0].SeriesInstanceUID)
ALL = frozenset(str(image.SOPInstanceUID) for image in IMAGES)
LISTING = Listing({}, {SERIES: ALL})


class Slow:
    """An archive that gives one image of two by C-GET, then waits; afterwards it fails the second one.

    A real one cannot be stopped between two images.
    """

    def __init__(self) -> None:
        self.gave = threading.Event()
        self.go_on = threading.Event()
        self.asked = 0
        self.aborted = threading.Event()

    def get(self, event: Any) -> Iterator[Any]:
        self.asked += 1
        yield 2
        yield 0xFF00, IMAGES[0]
        self.gave.set()
        while not self.go_on.wait(0.05):
            if event.is_cancelled or not event.assoc.is_established:
                return
        yield 0xA702, None


@contextmanager
def slow_archive(slow: Slow) -> Iterator[Archive]:
    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    ended = [(kind, lambda event: slow.aborted.set()) for kind in (evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, slow.get), *ended])
    try:
        yield Archive("PACS", server.socket.getsockname()[1])
    finally:
        slow.go_on.set()
        server.shutdown()


def settings(archive: Archive, **pacs: Any) -> Settings:
    place = {"ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port}
    return Settings(pacs={**place, "retrieve_by": "get", "fetch_reported": True, **pacs})


@asynccontextmanager
async def at_work(house: House, archive: Archive, **pacs: Any) -> AsyncIterator[Bring]:
    """Errands that run."""
    made = settings(archive, **pacs)
    bring = Bring(Fetch(house.ingest, made), made.pacs)
    work = asyncio.create_task(bring.work())
    try:
        yield bring
    finally:
        work.cancel()
        await asyncio.wait([work])


def on_the_loop(house: House, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    house.stage.call(story())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_one_errand_a_study_and_what_came_is_progress(tmp_path: Path) -> None:
    slow = Slow()
    with open_house(tmp_path / "house") as house, slow_archive(slow) as archive:

        async def story() -> None:
            async with at_work(house, archive) as bring:
                assert not bring.have(STUDY, LISTING, frozenset())
                await until(slow.gave.is_set)
                assert not bring.have(STUDY, LISTING, frozenset())  # it runs: no second one
                assert bring.place(STUDY) == 1
                slow.go_on.set()
                await until(lambda: not bring.place(STUDY))
                known = await house.archive.known(STUDY)
                assert known == {IMAGES[0].SOPInstanceUID}
                # The first came, so its failure is no reason to wait: the rest is asked for at once.
                assert not bring.have(STUDY, LISTING, known)
                await until(lambda: not bring.place(STUDY))
                with pytest.raises(Unavailable, match="status A702"):
                    bring.have(STUDY, LISTING, known)
                assert slow.asked == 2

        on_the_loop(house, story)


def test_after_so_many_attempts_a_human_is_asked_and_then_it_begins_anew(tmp_path: Path) -> None:
    slow = Slow()
    slow.go_on.set()
    with open_house(tmp_path / "house") as house, slow_archive(slow) as archive:

        async def story() -> None:
            async with at_work(house, archive, fetch_attempts=2) as bring:
                known = frozenset({str(IMAGES[0].SOPInstanceUID)})
                for expected in (Unavailable, Conflict, Unavailable):
                    assert not bring.have(STUDY, LISTING, known)
                    await until(lambda: not bring.place(STUDY))
                    with pytest.raises(expected):
                        bring.have(STUDY, LISTING, known)
                assert bring.have(STUDY, LISTING, ALL)

        on_the_loop(house, story)


def test_a_study_nobody_needs_any_more_stops_coming(tmp_path: Path) -> None:
    slow = Slow()
    with open_house(tmp_path / "house") as house, slow_archive(slow) as archive:

        async def story() -> None:
            async with at_work(house, archive, fetch_at_once=1) as bring:
                assert not bring.have(STUDY, LISTING, frozenset())
                assert not bring.have("1.2.9", LISTING, frozenset())  # waits behind it
                await until(slow.gave.is_set)
                bring.forget("1.2.9")
                bring.forget(STUDY)
                await until(slow.aborted.is_set)
                assert (bring.place(STUDY), bring.place("1.2.9"), slow.asked) == (0, 0, 1)

        on_the_loop(house, story)


def test_the_node_stops_in_the_middle_of_an_errand(tmp_path: Path) -> None:
    slow = Slow()
    with open_house(tmp_path / "house") as house, slow_archive(slow) as archive:

        async def story() -> None:
            async with at_work(house, archive) as bring:
                assert not bring.have(STUDY, LISTING, frozenset())
                await until(slow.gave.is_set)
            await until(slow.aborted.is_set)

        on_the_loop(house, story)


def test_after_an_outage_only_so_many_wait_for_their_turn(tmp_path: Path) -> None:
    with open_house(tmp_path / "house") as house:
        made = settings(Archive("PACS", 104))
        bring = Bring(Fetch(house.ingest, made), made.pacs)
        for number in range(100):
            assert not bring.place(f"1.2.{number}")
            assert not bring.have(f"1.2.{number}", LISTING, frozenset())
        assert bring.place("1.2.1000") > bring.place("1.2.99") > 1
        bring.forget("1.2.5")
        assert not bring.place("1.2.1000")


@needs_dcmqrscp
def test_a_study_is_listed_level_by_level(tmp_path: Path) -> None:
    with centre(tmp_path, dcmqrscp) as (house, archive):
        made = settings(archive)
        listing = house.stage.call(Bring(Fetch(house.ingest, made), made.pacs).listing(STUDY))
        assert listing.series == {
            SERIES: ALL,
            f"{STUDY}.2": frozenset({f"{STUDY}.2.1"}),
        }
        assert listing.study["00080050"]["Value"] == ["ACC1"]
        nothing = house.stage.call(Bring(Fetch(house.ingest, made), made.pacs).listing("1.2.9"))
        assert nothing == Listing({}, {})


def test_an_archive_that_answers_for_the_whole_study_is_understood(tmp_path: Path) -> None:
    """It answers at IMAGE level whatever series was asked for, and names the series; a real one cannot be made to."""

    def answers(event: Any) -> Iterator[Any]:
        level = event.identifier.QueryRetrieveLevel
        for image in [*IMAGES, ct(2, 1)] if level == "IMAGE" else [IMAGES[0], ct(2, 1)][: 1 if level == "STUDY" else 2]:
            found = Dataset()
            found.QueryRetrieveLevel, found.StudyInstanceUID = level, STUDY
            if level != "STUDY":
                found.SeriesInstanceUID = image.SeriesInstanceUID
            if level == "IMAGE":
                found.SOPInstanceUID = image.SOPInstanceUID
            yield 0xFF00, found

    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answers)])
    try:
        with open_house(tmp_path / "house") as house:
            made = settings(Archive("PACS", server.socket.getsockname()[1]))
            listing = house.stage.call(Bring(Fetch(house.ingest, made), made.pacs).listing(STUDY))
        assert listing.series == {SERIES: ALL, f"{STUDY}.2": frozenset({f"{STUDY}.2.1"})}
    finally:
        server.shutdown()
