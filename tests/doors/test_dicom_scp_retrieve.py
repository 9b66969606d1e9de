"""C-GET, asked by DCMTK, by pynetdicom and by hand, of a real archive: what arrives is what was kept."""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from archiving import flip
from making import ct
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, SOPClassExtendedNegotiation
from pynetdicom.presentation import build_role

from drimbox.dicom.command import C_CANCEL_RQ, C_GET_RQ, C_STORE_RQ, RESPONSE, Command, build_command
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.pdu import build_data
from drimbox.dicom.user_information import Role, UserInformation

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from raw_scu import CT, RawScu

PATIENT_GET, STUDY_GET = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
GETSCU = Path("/usr/bin/getscu")  # not pynetdicom's program of the same name
STUDY, OTHER = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"

needs_dcmtk = pytest.mark.skipif(not GETSCU.exists(), reason="DCMTK is not installed")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two studies of one patient: two series, three instances, of which one is large; and one instance."""
    with open_house(tmp_path / "house") as house:
        house.keep(ct(1, 1))
        house.keep(ct(1, 2, Rows=1200, Columns=1200, PixelData=bytes(range(250)) * 11520))
        house.keep(ct(2, 1))
        house.keep(ct(1, 1, OTHER))
        yield house


def asked(level: str, **keys: Any) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def get(
    house: House,
    identifier: Dataset,
    root: str = STUDY_GET,
    syntax: str = EXPLICIT,
    status: int = 0,
    *,
    relational: bool = False,
) -> tuple[dict[str, bytes], list[Any]]:
    """What arrived, by SOP Instance UID, and every response. status: what we answer to each C-STORE."""
    arrived: dict[str, bytes] = {}

    def take(event: Any) -> int:
        arrived[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return status

    ae = AE("PEER")
    ae.add_requested_context(root)
    ae.add_requested_context(CT, syntax)
    role: SCP_SCU_RoleSelectionNegotiation = build_role(CT, scp_role=True)
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = root, b"\1\1"
    negotiated = [role, item] if relational else [role]
    association = ae.associate(*house.stage.place, ext_neg=negotiated, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert association.is_established
    if relational:  # other views of a multi-frame are not made
        assert association.acceptor.sop_class_extended == {root: b"\1\0"}
    try:
        responses = list(association.send_c_get(identifier, root))
    finally:
        association.release()
    return arrived, responses


def counts(status: Dataset) -> tuple[int | None, int, int, int]:
    return (
        status.get("NumberOfRemainingSuboperations"),
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


@pytest.mark.parametrize(
    ("root", "keys", "uids"),
    [
        (STUDY_GET, {"level": "STUDY", "StudyInstanceUID": STUDY}, ["1.1", "1.2", "2.1"]),
        (STUDY_GET, {"level": "SERIES", "StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.2"}, ["2.1"]),
        (
            STUDY_GET,
            {
                "level": "IMAGE",
                "StudyInstanceUID": STUDY,
                "SeriesInstanceUID": f"{STUDY}.1",
                "SOPInstanceUID": [f"{STUDY}.1.2", "1.2.3"],
            },
            ["1.2"],
        ),
        (PATIENT_GET, {"level": "STUDY", "PatientID": "IPP101", "StudyInstanceUID": STUDY}, ["1.1", "1.2", "2.1"]),
        (PATIENT_GET, {"level": "STUDY", "PatientID": "ANOTHER", "StudyInstanceUID": STUDY}, []),
    ],
)
def test_what_is_named_arrives_as_it_was_kept(house: House, root: str, keys: dict[str, Any], uids: list[str]) -> None:
    arrived, responses = get(house, asked(**keys), root)
    kept = house.kept(STUDY)
    assert arrived == {f"{STUDY}.{uid}": kept[f"{STUDY}.{uid}"] for uid in uids}
    assert [status.Status for status, _ in responses] == [0xFF00] * len(uids) + [0x0000]
    assert counts(responses[-1][0]) == (None, len(uids), 0, 0)
    if uids:
        assert counts(responses[0][0]) == (len(uids) - 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("root", "keys", "uids"),
    [
        (STUDY_GET, {"level": "SERIES", "SeriesInstanceUID": f"{STUDY}.2"}, ["2.1"]),
        (STUDY_GET, {"level": "IMAGE", "SOPInstanceUID": [f"{STUDY}.1.2", f"{STUDY}.2.1", "1.2.3"]}, ["1.2", "2.1"]),
        (STUDY_GET, {"level": "IMAGE", "StudyInstanceUID": OTHER, "SOPInstanceUID": f"{STUDY}.1.2"}, []),
        (PATIENT_GET, {"level": "STUDY", "StudyInstanceUID": STUDY}, ["1.1", "1.2", "2.1"]),
    ],
)
def test_a_relational_retrieval_leaves_out_what_is_above(
    house: House, root: str, keys: dict[str, Any], uids: list[str]
) -> None:
    arrived, responses = get(house, asked(**keys), root, relational=True)
    kept = house.kept(STUDY)
    assert arrived == {f"{STUDY}.{uid}": kept[f"{STUDY}.{uid}"] for uid in uids}
    assert responses[-1][0].Status == 0x0000


def test_all_of_a_patient(house: House) -> None:
    arrived, _ = get(house, asked("PATIENT", PatientID="IPP101"), PATIENT_GET)
    assert arrived == house.kept(STUDY) | house.kept(OTHER)


def test_what_no_context_can_carry_is_counted_and_named(house: House) -> None:
    made = ct(3, 1, PixelData=encapsulate([b"no video"]))
    made.file_meta.TransferSyntaxUID = MPEG2MPML
    made["PixelData"].VR = "OB"
    house.keep(made)
    arrived, responses = get(house, asked("STUDY", StudyInstanceUID=STUDY))
    last, identifier = responses[-1]
    assert sorted(arrived) == [f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.2.1"]
    assert (last.Status, counts(last)) == (0xB000, (None, 3, 1, 0))
    assert identifier.FailedSOPInstanceUIDList == f"{STUDY}.3.1"


@pytest.mark.parametrize(
    ("status", "last", "counted"), [(0xB000, 0, (None, 0, 0, 3)), (0xA700, 0xA702, (None, 0, 3, 0))]
)
def test_what_the_other_side_says_of_each_is_counted(
    house: House, status: int, last: int, counted: tuple[None, int, int, int]
) -> None:
    _, responses = get(house, asked("STUDY", StudyInstanceUID=STUDY), status=status)
    assert (responses[-1][0].Status, counts(responses[-1][0])) == (last, counted)


def test_a_file_that_rotted_is_not_sent(house: House) -> None:
    held = house.stage.call(house.archive.held(STUDY, f"{STUDY}.1", f"{STUDY}.1.2"))[0]
    flip(house.archive.root, held, -1)
    arrived, responses = get(house, asked("STUDY", StudyInstanceUID=STUDY))
    assert sorted(arrived) == [f"{STUDY}.1.1", f"{STUDY}.2.1"]
    assert counts(responses[-1][0]) == (None, 2, 1, 0)


@pytest.mark.parametrize(
    "identifier",
    [
        asked("STUDY", StudyInstanceUID=""),
        asked("SERIES", SeriesInstanceUID=f"{STUDY}.1"),
        asked("PATIENT", PatientID="IPP101"),
        asked("STUDY", PatientID="IPP101"),
    ],
)
def test_what_names_nothing_is_refused(house: House, identifier: Dataset) -> None:
    arrived, ((status, _),) = get(house, identifier)
    assert (arrived, status.Status) == ({}, 0xA900)


def test_retrieval_is_in_the_trail_before_a_byte_leaves(house: House) -> None:
    get(house, asked("STUDY", StudyInstanceUID=OTHER))
    last = [line for line in house.trail.read_text().splitlines() if '"retrieve"' in line][-1]
    assert OTHER in last and "C-GET" in last and "PEER" in last


# --- By hand --------------------------------------------------------------------------------------------------------


def request(level: bytes = b"STUDY ", study: str = STUDY, message_id: int = 1) -> bytes:
    uid = study.encode() + b"\0" * (len(study) % 2)
    identifier = b"\x08\0\x52\0CS" + bytes((len(level), 0)) + level + b"\x20\0\x0d\0UI" + bytes((len(uid), 0)) + uid
    command = Command(C_GET_RQ, message_id, STUDY_GET, has_data_set=True, priority=0)
    return b"".join([*build_data(1, build_command(command), True, 0), *build_data(1, identifier, False, 0)])


def associate(scu: RawScu, roles: tuple[Role, ...] = (Role(CT, False, True),)) -> Any:
    contexts = ((STUDY_GET, (EXPLICIT,)), (CT, (EXPLICIT,)))
    return scu.associate(contexts, user=UserInformation(0, "1.2", roles=roles)).user.roles


def command_of(scu: RawScu) -> Command:
    """The next command; its data set, if any, is read over."""
    command = scu.response()
    if command.has_data_set:
        control = 0
        while not control & 2:
            answer = scu.receive()
            assert answer is not None
            control = answer[1][5]
    return command


def stored(message_id: int) -> bytes:
    response = Command(C_STORE_RQ | RESPONSE, message_id, CT, status=0)
    return b"".join(build_data(3, build_command(response), True, 0))


def test_only_who_asks_for_the_role_is_sent_anything(house: House) -> None:
    with RawScu(house.stage.place) as scu:
        assert associate(scu, ()) == ()
        scu.send(request())
        for _ in range(3):
            assert command_of(scu).status == 0xFF00
        last = command_of(scu)
        scu.release()
    assert last.status == 0xA702
    assert last.sub_operations is not None and last.sub_operations.failed == 3


def test_the_smallest_pdus_carry_an_instance_too(house: House) -> None:
    with RawScu(house.stage.place) as scu:
        scu.associate(
            ((STUDY_GET, (EXPLICIT,)), (CT, (EXPLICIT,))),
            user=UserInformation(7 + 1, "1.2", roles=(Role(CT, False, True),)),
        )
        scu.send(request(study=OTHER))
        store = scu.response()
        content = bytearray()
        control = 0
        while not control & 2:
            answer = scu.receive()
            assert answer is not None and len(answer[1]) <= 8
            control = answer[1][5]
            content += answer[1][6:]
        scu.send(stored(store.message_id))
        assert [scu.response().status, scu.response().status] == [0xFF00, 0x0000]
        scu.release()
    assert house.kept(OTHER) == {f"{OTHER}.1.1": bytes(content)}


def test_a_cancelled_retrieval_ends_after_the_instance_under_way(house: House) -> None:
    with RawScu(house.stage.place) as scu:
        assert associate(scu) == (Role(CT, False, True),)
        scu.send(request(message_id=7))
        first = command_of(scu)
        cancel = b"".join(build_data(1, build_command(Command(C_CANCEL_RQ, 7)), True, 0))
        scu.send(cancel + stored(first.message_id))
        assert command_of(scu).status == 0xFF00
        last = command_of(scu)
        scu.release()
    assert (first.field, last.status) == (C_STORE_RQ, 0xFE00)
    done = last.sub_operations
    assert done is not None and (done.remaining, done.completed, done.failed) == (2, 1, 0)


@pytest.mark.parametrize("wrong", [stored(77), request(message_id=2)])
def test_a_wrong_word_during_a_retrieval_ends_the_association(house: House, wrong: bytes) -> None:
    with RawScu(house.stage.place) as scu:
        associate(scu)
        scu.send(request())
        command_of(scu)
        scu.send(wrong)
        answer = scu.receive()
        assert answer is not None and answer[0] == 7  # A-ABORT
    with RawScu(house.stage.place) as scu:
        associate(scu)
        scu.release()


# --- DCMTK ----------------------------------------------------------------------------------------------------------


@needs_dcmtk
def test_dcmtk_gets(house: House, tmp_path: Path) -> None:
    host, port = house.stage.place
    folder = tmp_path / "out"
    folder.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    command = [GETSCU, "-S", "-to", "60", "+B", "-od", folder, *keys, host, str(port)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    arrived = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        arrived[dcmread(BytesIO(content)).SOPInstanceUID] = content[read_preface(InMemory(content)).data_set_offset :]
    assert arrived == house.kept(STUDY)
