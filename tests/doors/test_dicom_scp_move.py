"""C-MOVE, asked by DCMTK and by pynetdicom: what is named arrives, whole, at a destination of the configuration."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from making import ct
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from drimbox.dicom.command import C_CANCEL_RQ, C_MOVE_RQ, Command, build_command
from drimbox.dicom.pdu import build_data

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from raw_scu import CT, RawScu

PATIENT_MOVE, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"
EXPLICIT = "1.2.840.10008.1.2.1"
MOVESCU = Path("/usr/bin/movescu")  # not pynetdicom's program of the same name
STUDY = "1.2.826.0.1.3680043.8.498.1"

needs_dcmtk = pytest.mark.skipif(not MOVESCU.exists(), reason="DCMTK is not installed")


@dataclass
class Third:
    """The destination. arrived: data set bytes by SOP Instance UID. seen: who asked for it, in which message."""

    arrived: dict[str, bytes] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)
    status: int = 0
    before: Callable[[], None] = lambda: None
    port: int = 0

    def take(self, event: Any) -> int:
        self.before()
        request = event.request
        self.arrived[request.AffectedSOPInstanceUID] = request.DataSet.getvalue()
        self.seen.add((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return self.status


@pytest.fixture
def third() -> Iterator[Third]:
    there = Third()
    ae = AE("THIRD")
    ae.require_called_aet = True
    ae.add_supported_context(CT, EXPLICIT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, there.take)])
    there.port = server.socket.getsockname()[1]
    try:
        yield there
    finally:
        server.shutdown()


@pytest.fixture
def house(tmp_path: Path, third: Third) -> Iterator[House]:
    destinations = [
        {"ae_title": "THIRD", "host": "127.0.0.1", "port": third.port},
        {"ae_title": "STRICT", "host": "127.0.0.1", "port": third.port},  # an AE title that is not answered there
    ]
    with open_house(tmp_path / "house", destinations=destinations) as house:
        for series, number in ((1, 1), (1, 2), (2, 1)):
            house.keep(ct(series, number))
        yield house


def asked(level: str = "STUDY", **keys: Any) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def move(
    house: House, identifier: Dataset, to: str = "THIRD", root: str = STUDY_MOVE, *, relational: bool = False
) -> list[Any]:
    ae = AE("PEER")
    ae.add_requested_context(root)
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = root, b"\1"
    association = ae.associate(*house.stage.place, ext_neg=[item] if relational else [])
    assert association.is_established
    try:
        return list(association.send_c_move(identifier, to, root, msg_id=42))
    finally:
        association.release()


def counts(status: Dataset) -> tuple[int | None, int, int, int]:
    return (
        status.get("NumberOfRemainingSuboperations"),
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def test_a_study_arrives_as_it_was_kept(house: House, third: Third) -> None:
    responses = move(house, asked(StudyInstanceUID=STUDY))
    assert third.arrived == house.kept(STUDY)
    assert third.seen == {("PEER", 42)}
    assert [status.Status for status, _ in responses] == [0xFF00] * 3 + [0x0000]
    assert [counts(status) for status, _ in responses] == [(2, 1, 0, 0), (1, 2, 0, 0), (0, 3, 0, 0), (None, 3, 0, 0)]
    last = [line for line in house.trail.read_text().splitlines() if '"retrieve"' in line][-1]
    assert "C-MOVE to THIRD" in last and "PEER" in last


def test_one_series_and_all_of_a_patient(house: House, third: Third) -> None:
    move(house, asked("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.2"))
    assert set(third.arrived) == {f"{STUDY}.2.1"}
    move(house, asked("PATIENT", PatientID="IPP101"), root=PATIENT_MOVE)
    assert third.arrived == house.kept(STUDY)


def test_a_series_without_its_study_where_that_was_agreed(house: House, third: Third) -> None:
    ((status, _),) = move(house, asked("SERIES", SeriesInstanceUID=f"{STUDY}.2"))
    assert (status.Status, third.arrived) == (0xA900, {})
    move(house, asked("SERIES", SeriesInstanceUID=f"{STUDY}.2"), relational=True)
    assert set(third.arrived) == {f"{STUDY}.2.1"}


def test_nothing_that_matches_is_success_of_nothing(house: House, third: Third) -> None:
    ((status, _),) = move(house, asked(StudyInstanceUID="1.2.3"))
    assert (status.Status, counts(status)) == (0x0000, (None, 0, 0, 0))


@pytest.mark.parametrize(
    ("to", "keys", "status"),
    [
        ("NOBODY", {"StudyInstanceUID": STUDY}, 0xA801),
        ("STRICT", {"StudyInstanceUID": STUDY}, 0xA702),
        ("THIRD", {"StudyInstanceUID": ""}, 0xA900),
    ],
)
def test_what_cannot_be_moved_is_refused(
    house: House, third: Third, to: str, keys: dict[str, str], status: int
) -> None:
    ((answer, _),) = move(house, asked(**keys), to)
    assert (answer.Status, third.arrived) == (status, {})
    assert answer.ErrorComment


def test_a_destination_that_takes_no_association_fails_all_of_them(house: House, third: Third) -> None:
    ((answer, identifier),) = move(house, asked(StudyInstanceUID=STUDY), "STRICT")
    assert counts(answer) == (None, 0, 3, 0)
    assert sorted(identifier.FailedSOPInstanceUIDList) == sorted(house.kept(STUDY))


def test_what_the_destination_cannot_take_is_counted_and_named(house: House, third: Third) -> None:
    made = ct(3, 1, PixelData=encapsulate([b"no video"]))
    made.file_meta.TransferSyntaxUID = MPEG2MPML
    made["PixelData"].VR = "OB"
    house.keep(made)
    last, identifier = move(house, asked(StudyInstanceUID=STUDY))[-1]
    assert (last.Status, counts(last)) == (0xB000, (None, 3, 1, 0))
    assert identifier.FailedSOPInstanceUIDList == f"{STUDY}.3.1"


@pytest.mark.parametrize(
    ("status", "last", "counted"), [(0xB000, 0, (None, 0, 0, 3)), (0xA700, 0xA702, (None, 0, 3, 0))]
)
def test_what_the_destination_says_of_each_is_counted(
    house: House, third: Third, status: int, last: int, counted: tuple[None, int, int, int]
) -> None:
    third.status = status
    answer, _ = move(house, asked(StudyInstanceUID=STUDY))[-1]
    assert (answer.Status, counts(answer)) == (last, counted)


def test_a_cancelled_move_ends_after_the_instance_under_way(house: House, third: Third) -> None:
    uid = STUDY.encode() + b"\0" * (len(STUDY) % 2)
    identifier = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI" + bytes((len(uid), 0)) + uid
    request = Command(C_MOVE_RQ, 7, STUDY_MOVE, has_data_set=True, priority=0, move_destination="THIRD")
    data = [*build_data(1, build_command(request), True, 0), *build_data(1, identifier, False, 0)]
    with RawScu(house.stage.place) as scu:
        scu.associate(((STUDY_MOVE, (EXPLICIT,)),))
        third.before = lambda: scu.send(b"".join(build_data(1, build_command(Command(C_CANCEL_RQ, 7)), True, 0)))
        scu.send(b"".join(data))
        while (response := scu.response()).status == 0xFF00:
            third.before = lambda: None
        scu.release()
    done = response.sub_operations
    assert response.status == 0xFE00
    assert done is not None and done.remaining is not None
    assert done.remaining + done.completed == 3
    assert done.completed == len(third.arrived)


@needs_dcmtk
def test_dcmtk_moves(house: House, third: Third) -> None:
    host, port = house.stage.place
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    command: list[Any] = [MOVESCU, "-S", "-to", "60", "-aet", "PEER", "-aem", "THIRD", *keys, host, str(port)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert third.arrived == house.kept(STUDY)
