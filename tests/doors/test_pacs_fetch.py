"""A study is found in the PACS and brought in from it: DCMTK's archive and Orthanc, by C-MOVE and by C-GET."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct, data_set_bytes
from pacs_stage import Archive, dcmqrscp, needs_dcmqrscp, needs_orthanc, orthanc
from pynetdicom import AE, evt

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house

from drimbox.checks import run_checks
from drimbox.dicom.attributes import text
from drimbox.errors import DrimboxError, NotAcceptable, Unavailable
from drimbox.flows.fetch import Fetch
from drimbox.model import Credentials
from drimbox.pacs.client import Retrieved
from drimbox.pacs.store import send_files
from drimbox.sandbox.nodes import free_port
from drimbox.settings import Settings

WHO = Credentials("operator", "127.0.0.1")
MADE = [ct(1, 1), ct(1, 2), ct(2, 1)]


@contextmanager
def centre(tmp_path: Path, start: Callable[..., Any]) -> Iterator[tuple[House, Archive]]:
    """A node whose PACS holds a study of three instances."""
    files = tmp_path / "files"
    files.mkdir()
    for number, made in enumerate(MADE):
        made.save_as(files / f"{number}.dcm", enforce_file_format=True)
    port = free_port()
    with open_house(tmp_path / "house", port=port) as house, start(tmp_path / "pacs", {"DRIMBOX": port}) as archive:
        send_files([files], "127.0.0.1", archive.port, "MODALITY", archive.ae_title)
        yield house, archive


def fetch(house: House, archive: Archive, **pacs: Any) -> Fetch:
    place = {"ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port}
    return Fetch(house.ingest, Settings(pacs={**place, **pacs}))


@pytest.mark.parametrize("retrieve_by", ["move", "get"])
@pytest.mark.parametrize(
    "start", [pytest.param(dcmqrscp, marks=needs_dcmqrscp), pytest.param(orthanc, marks=needs_orthanc)]
)
def test_a_study_is_found_and_brought_in_byte_for_byte(tmp_path: Path, start: Any, retrieve_by: str) -> None:
    with centre(tmp_path, start) as (house, archive):
        pacs = fetch(house, archive, retrieve_by=retrieve_by)
        (found,) = house.stage.call(pacs.find_studies(WHO, accession_number="ACC1"))
        assert (text(found, "0020000D"), text(found, "00100020")) == (STUDY, "IPP101")
        assert house.stage.call(pacs.find_studies(WHO, study_uid=f"{STUDY}.9")) == []
        done = house.stage.call(pacs.retrieve(WHO, STUDY))
        assert done == Retrieved(completed=3, warning=0, failed=0)
        assert house.kept(STUDY) == {made.SOPInstanceUID: data_set_bytes(made) for made in MADE}
        again = house.stage.call(pacs.retrieve(WHO, STUDY))
        assert again.completed == 3  # nothing is kept twice, and nobody is told off
        assert len(house.kept(STUDY)) == 3
        assert "from the PACS" in house.trail.read_text()


@needs_dcmqrscp
def test_a_study_the_pacs_has_not_brings_nothing(tmp_path: Path) -> None:
    with centre(tmp_path, dcmqrscp) as (house, archive):
        assert house.stage.call(fetch(house, archive).retrieve(WHO, "1.2.3")) == Retrieved(0, 0, 0)


@needs_dcmqrscp
def test_a_pacs_that_does_not_know_us_says_so(tmp_path: Path) -> None:
    with centre(tmp_path, lambda folder, known: dcmqrscp(folder, {})) as (house, archive):
        error = refusal(house, fetch(house, archive).retrieve(WHO, STUDY))
        assert isinstance(error, NotAcceptable) and "declare it there" in str(error)


def test_no_pacs_and_a_pacs_that_is_down_are_told_apart(tmp_path: Path) -> None:
    with open_house(tmp_path / "house") as house:
        with pytest.raises(Unavailable, match="no PACS is configured"):
            house.stage.call(Fetch(house.ingest, Settings()).find_studies(WHO, study_uid=STUDY))
        with pytest.raises(Unavailable, match="no association"):
            house.stage.call(fetch(house, Archive("PACS", free_port())).find_studies(WHO, study_uid=STUDY))
        with pytest.raises(Unavailable, match="name is not known"):
            house.stage.call(fetch(house, Archive("PACS", 104), host="pacs.invalid").find_studies(WHO, study_uid=STUDY))


@contextmanager
def scp(handlers: list[Any], *sop_classes: str) -> Iterator[Archive]:
    """An archive of pynetdicom that does what the handlers say."""
    ae = AE("PACS")
    for sop_class in sop_classes:
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Archive("PACS", server.socket.getsockname()[1])
    finally:
        server.shutdown()


FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"


def refusal(house: House, coroutine: Any) -> DrimboxError:
    with pytest.raises(DrimboxError) as raised:
        house.stage.call(coroutine)
    return raised.value


def test_a_pacs_that_answers_nothing_costs_no_more_than_the_timeout(tmp_path: Path) -> None:
    held: list[Any] = []

    def silent(event: Any) -> Iterator[Any]:
        held.append(event)
        event.assoc.dul.join()  # until we cut
        yield 0x0000, None

    with scp([(evt.EVT_C_FIND, silent)], FIND) as archive, open_house(tmp_path / "house") as house:
        pacs = fetch(house, archive, timeout_s=2)
        error = refusal(house, pacs.find_studies(WHO, study_uid=STUDY))
        assert isinstance(error, Unavailable) and "no answer within 2 s" in str(error)
        assert held


def test_an_answer_of_failure_and_an_aborted_association_are_unavailable(tmp_path: Path) -> None:
    def failing(event: Any) -> Iterator[Any]:
        yield 0xA700, None

    def aborting(event: Any) -> Iterator[Any]:
        event.assoc.abort()
        yield 0x0000, None

    for handler, words in ((failing, "status A700"), (aborting, "the association ended before the answer")):
        with scp([(evt.EVT_C_FIND, handler)], FIND) as archive, open_house(tmp_path / handler.__name__) as house:
            error = refusal(house, fetch(house, archive).find_studies(WHO, study_uid=STUDY))
            assert isinstance(error, Unavailable) and words in str(error)


def test_a_service_that_is_not_offered_is_named_as_such(tmp_path: Path) -> None:
    with scp([], "1.2.840.10008.1.1") as archive, open_house(tmp_path / "house") as house:
        error = refusal(house, fetch(house, archive).find_studies(WHO, study_uid=STUDY))
        assert isinstance(error, NotAcceptable | Unavailable)


@needs_dcmqrscp
async def test_check_asks_the_pacs_for_an_echo(tmp_path: Path) -> None:
    async def said(**pacs: Any) -> tuple[bool, str]:
        results = await run_checks(Settings(node={"data_dir": tmp_path}, pacs=pacs))
        return next((result.ok, result.said) for result in results if result.name == "PACS")

    assert await said() == (True, "not configured")
    with dcmqrscp(tmp_path / "pacs", {}) as archive:
        assert await said(host="127.0.0.1", port=archive.port) == (True, "answers C-ECHO")
        ok, words = await said(host="127.0.0.1", port=archive.port, ae_title="ANOTHER")
        assert not ok and "no association" in words
