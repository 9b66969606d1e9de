"""Storage commitment, asked by pynetdicom and by Orthanc: what is safe, what is not, told until it was heard."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct
from modality_stage import WAIT_S, Modality
from pacs_stage import needs_orthanc, orthanc

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house

from drimbox.flows.commit import Commit
from drimbox.sandbox.nodes import free_port
from drimbox.settings import Dicom
from drimbox.storage.commitments import Commitments

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Place:
    """A node that keeps two instances, and its modality, which is in its destinations."""

    house: House
    modality: Modality
    commit: Commit

    @contextmanager
    def working(self) -> Iterator[None]:
        """The node tells what it owes."""

        async def start() -> asyncio.Task[None]:
            return asyncio.get_running_loop().create_task(self.commit.work())

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = self.house.stage.call(start())
        try:
            yield
        finally:
            self.house.stage.call(stop())

    def owed(self) -> list[tuple[Any, ...]]:
        sql = "SELECT ae_title, transaction_uid, failures IS NOT NULL, attempts FROM commitment"
        return self.house.stage.call(self.house.archive.database.read(sql))

    def an_hour_later(self) -> None:
        """Whatever is put off is due."""
        self.house.stage.call(Commitments(self.house.archive.database).release())

    def settled(self) -> None:
        """Wait until nothing is owed: the answer to a report is heard a moment before it is noted."""

        async def wait() -> None:
            async with asyncio.timeout(WAIT_S):
                while await self.house.archive.database.read("SELECT 1 FROM commitment"):
                    await asyncio.sleep(0.01)

        self.house.stage.call(wait())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    modality = Modality()
    destinations = [{"ae_title": "MODALITY", "host": "127.0.0.1", "port": modality.port}]
    with open_house(tmp_path / "house", destinations=destinations) as house:
        for number in (1, 2):
            house.keep(ct(1, number))
        yield Place(house, modality, Commit(house.archive, house.retrieve.admit, Dicom(destinations=destinations)))


ONE, TWO = f"{STUDY}.1.1", f"{STUDY}.1.2"


def damage(house: House, sop_uid: str, offset: int) -> None:
    """Flip one byte of a kept instance, counted from its end when negative."""
    (held,) = [one for one in house.stage.call(house.archive.held(STUDY)) if one.ref.sop_uid == sop_uid]
    where = house.archive.place(held)
    with where.path.open("r+b") as file:
        file.seek(where.offset + offset % where.size_bytes)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def test_what_is_safe_is_told_on_the_association_that_asked(place: Place) -> None:
    assert place.modality.ask(place.house.stage.place, (CT, ONE), (CT, TWO), stay=True) == 0x0000
    assert place.modality.told == [(1, "1.2.3", {ONE, TWO}, {})]
    place.settled()
    assert place.modality.calls == []
    trail = place.house.trail.read_text()
    assert "commitment of 2 instances: 1.2.3" in trail
    assert "commitment reported, status 0000: 2 safe, 0 failed: 1.2.3" in trail


def test_each_failure_has_its_reason(place: Place) -> None:
    place.modality.ask(place.house.stage.place, (CT, ONE), (MR, TWO), (CT, "1.2.3.4.5"), stay=True)
    assert place.modality.told == [(2, "1.2.3", {ONE}, {TWO: 0x0119, "1.2.3.4.5": 0x0112})]


@pytest.mark.parametrize("offset", [-1, -300, 600])
def test_one_flipped_byte_of_the_store_fails_the_instance(place: Place, offset: int) -> None:
    damage(place.house, TWO, offset)
    place.modality.ask(place.house.stage.place, (CT, ONE), (CT, TWO), stay=True)
    assert place.modality.told == [(2, "1.2.3", {ONE}, {TWO: 0x0110})]


def test_a_file_that_is_gone_or_cut_fails_the_instance(place: Place) -> None:
    held = {one.ref.sop_uid: place.house.archive.place(one).path for one in place.house.stage.call(
        place.house.archive.held(STUDY)
    )}  # fmt: skip
    held[ONE].unlink(missing_ok=True)
    if held[TWO].exists():
        held[TWO].write_bytes(held[TWO].read_bytes()[:-100])
    place.modality.ask(place.house.stage.place, (CT, ONE), (CT, TWO), stay=True)
    assert place.modality.told == [(2, "1.2.3", set(), {ONE: 0x0110, TWO: 0x0110})]


def test_an_instance_in_two_versions_is_nobodys_to_delete(place: Place) -> None:
    place.house.keep(ct(1, 1, PixelData=bytes(512)))
    place.modality.ask(place.house.stage.place, (CT, ONE), stay=True)
    assert place.modality.told == [(2, "1.2.3", set(), {ONE: 0x0110})]


@pytest.mark.parametrize("roles", [True, False])
def test_who_left_is_called_back(place: Place, roles: bool) -> None:
    with place.modality.listening(roles):
        assert place.modality.ask(place.house.stage.place, (CT, ONE), (CT, "1.2.3.4.5")) == 0x0000
        with place.working():
            assert place.modality.heard.acquire(timeout=WAIT_S)
            place.settled()
    assert place.modality.told == [(2, "1.2.3", {ONE}, {"1.2.3.4.5": 0x0112})]


def test_who_is_down_is_told_when_it_is_up(place: Place) -> None:
    with place.working():
        place.modality.ask(place.house.stage.place, (CT, ONE))
        place.house.stage.call(_until(place, lambda owed: owed and owed[0][3] >= 1))
        with place.modality.listening():
            place.an_hour_later()
            assert place.modality.heard.acquire(timeout=WAIT_S)
            place.settled()
    assert place.modality.told == [(1, "1.2.3", {ONE}, {})]
    assert place.modality.calls == ["DRIMBOX"]


async def _until(place: Place, condition: Any) -> None:
    sql = "SELECT ae_title, transaction_uid, failures IS NOT NULL, attempts FROM commitment"
    async with asyncio.timeout(WAIT_S):
        while not condition(await place.house.archive.database.read(sql)):
            await asyncio.sleep(0.01)


def test_who_answers_with_a_passing_failure_is_told_again(place: Place) -> None:
    place.modality.statuses = [0x0110]
    with place.modality.listening(), place.working():
        place.modality.ask(place.house.stage.place, (CT, ONE), stay=True)
        assert place.modality.heard.acquire(timeout=WAIT_S)
        place.settled()
    assert place.modality.told == [(1, "1.2.3", {ONE}, {})] * 2


def test_the_same_transaction_again_is_one_answer_owed(place: Place) -> None:
    place.modality.ask(place.house.stage.place, (CT, ONE))
    place.modality.ask(place.house.stage.place, (CT, ONE), (CT, TWO))
    place.modality.ask(place.house.stage.place, (CT, TWO), transaction="1.2.4")
    assert sorted(row[1] for row in place.owed()) == ["1.2.3", "1.2.4"]


def test_nobody_to_call_back_waits_for_the_configuration(tmp_path: Path) -> None:
    modality = Modality()
    with open_house(tmp_path / "house") as house:
        house.keep(ct(1, 1))
        place = Place(house, modality, Commit(house.archive, house.retrieve.admit, Dicom()))
        owed = house.stage.call(place.commit.pending.ask("MODALITY", "1.2.3", [(CT, ONE)], 0))
        with place.working():
            house.stage.call(_until(place, lambda owed: owed and owed[0][3] >= 1))
        rows = house.stage.call(house.archive.database.read("SELECT last_error FROM commitment"))
        assert "dicom.destinations" in rows[0][0]
        assert owed.ae_title == "MODALITY"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"sop": "1.2.840.10008.1.20.1.2"}, 0x0112),
        ({"transaction": ""}, 0x0115),
    ],
)
def test_what_is_no_request_is_refused(place: Place, words: dict[str, Any], status: int) -> None:
    assert place.modality.ask(place.house.stage.place, (CT, ONE), **words) == status
    assert place.owed() == []


@needs_orthanc
def test_orthanc_asks_and_is_told(tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = free_port()
        archive = stack.enter_context(orthanc(tmp_path / "orthanc", {"DRIMBOX": port}))
        destinations = [{"ae_title": "ORTHANC", "host": "127.0.0.1", "port": archive.port}]
        house = stack.enter_context(open_house(tmp_path / "house", port=port, destinations=destinations))
        house.keep(ct(1, 1))
        place = Place(house, Modality(), Commit(house.archive, house.retrieve.admit, Dicom(destinations=destinations)))
        stack.enter_context(place.working())
        asked = {"DicomInstances": [[CT, ONE], [CT, "1.2.3.4.5"]]}
        answer = archive.ask("/modalities/DRIMBOX/storage-commitment", asked)
        place.settled()
        said = archive.ask(answer["Path"])
    assert said["Status"] == "Failure"
    assert said["Success"] == [{"SOPClassUID": CT, "SOPInstanceUID": ONE}]
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in said["Failures"]] == [("1.2.3.4.5", 0x0112)]
