"""C-FIND, asked by DCMTK, by pynetdicom and by hand, of a real archive; and held against QIDO-RS."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import ct
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from drimbox.dicom.command import C_CANCEL_RQ, C_FIND_RQ, Command, build_command
from drimbox.dicom.pdu import build_data
from drimbox.dicom_scp import query
from drimbox.dicomweb.qido import read_search
from drimbox.model import Credentials

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from raw_scu import RawScu

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
FINDSCU = Path("/usr/bin/findscu")  # not pynetdicom's program of the same name
ROOT = "1.2.826.0.1.3680043.8.498"

needs_dcmtk = pytest.mark.skipif(not FINDSCU.exists(), reason="DCMTK is not installed")

# study: attributes. The names are invented.
STUDIES: dict[str, dict[str, Any]] = {
    f"{ROOT}.1": {"PatientName": "ŒUVRARD^Zoé", "PatientID": "P1", "StudyDate": "20260110", "AccessionNumber": "A-1"},
    f"{ROOT}.2": {"PatientName": "OEUVRARD^ZOE", "PatientID": "P1", "StudyDate": "20260215", "AccessionNumber": "A-2"},
    f"{ROOT}.3": {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "PatientID": "P3",
        "StudyDate": "20260301",
        "AccessionNumber": "B-3",
        "StudyDescription": "TDM thorax*",
    },
    f"{ROOT}.4": {
        "PatientName": "MARTIN-DURAND^ANNE^LISE",
        "PatientID": "P4",
        "StudyDate": "20251231",
        "StudyTime": "235959.5",
        "AccessionNumber": "",
        "StudyDescription": "IRM cérébrale",
    },
    f"{ROOT}.5": {"PatientName": "MARTIN^ANNE", "PatientID": "P5", "StudyDate": None, "AccessionNumber": "[A]?"},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as house:
        for number, (study, attributes) in enumerate(STUDIES.items(), start=1):
            for series in range(1, number + 1):
                modality = "MR" if series == 2 else "CT"
                made = ct(series, 1, study, SpecificCharacterSet="ISO_IR 192", **attributes)
                made.Modality = modality
                house.keep(made)
        house.keep(ct(1, 2, f"{ROOT}.1", SpecificCharacterSet="ISO_IR 192", **STUDIES[f"{ROOT}.1"]))
        yield house


def asked(level: str, **keys: Any) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet, made.QueryRetrieveLevel = "ISO_IR 192", level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def find(
    house: House, identifier: Dataset, root: str = STUDY_ROOT, syntax: str = EXPLICIT, extended: bytes = b""
) -> list[Any]:
    """Every response: status, and the identifier of the pending ones. extended: what is asked for when it is opened."""
    ae = AE("PEER")
    ae.add_requested_context(root, syntax)
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = root, extended or b"\0"
    association = ae.associate(*house.stage.place, ext_neg=[item] if extended else [])
    assert association.is_established
    try:
        return list(association.send_c_find(identifier, root))
    finally:
        association.release()


def studies_found(responses: list[Any]) -> list[str]:
    assert responses[-1][0].Status == 0x0000
    return sorted(identifier.StudyInstanceUID for status, identifier in responses[:-1])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_a_study_is_answered_with_what_was_asked(house: House, syntax: str) -> None:
    keys = asked(
        "STUDY", StudyInstanceUID=f"{ROOT}.3", PatientName="", ModalitiesInStudy="", StudyTime="",
        NumberOfStudyRelatedSeries="", NumberOfStudyRelatedInstances="", StudyID="",
    )  # fmt: skip
    (status, answer), (last, nothing) = find(house, keys, syntax=syntax)
    assert (status.Status, last.Status, nothing) == (0xFF00, 0x0000, None)
    answer.decode()
    assert {element.keyword: element.value for element in answer} == {
        "SpecificCharacterSet": "ISO_IR 192",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "DRIMBOX",
        "StudyInstanceUID": f"{ROOT}.3",
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ModalitiesInStudy": ["CT", "MR"],
        "StudyTime": "101500",
        "NumberOfStudyRelatedSeries": 3,
        "NumberOfStudyRelatedInstances": 3,
        "StudyID": "",
    }


def test_series_and_images_of_a_study(house: House) -> None:
    keys = asked("SERIES", StudyInstanceUID=f"{ROOT}.2", SeriesInstanceUID="", Modality="")
    assert [(s.Status, i and (i.SeriesInstanceUID, i.Modality)) for s, i in find(house, keys)] == [
        (0xFF00, (f"{ROOT}.2.1", "CT")),
        (0xFF00, (f"{ROOT}.2.2", "MR")),
        (0x0000, None),
    ]
    keys = asked("IMAGE", StudyInstanceUID=f"{ROOT}.1", SeriesInstanceUID=f"{ROOT}.1.1", SOPInstanceUID="", Rows=None)
    assert [(s.Status, i and (i.SOPInstanceUID, i.Rows)) for s, i in find(house, keys)] == [
        (0xFF00, (f"{ROOT}.1.1.1", 16)),
        (0xFF00, (f"{ROOT}.1.1.2", 16)),
        (0x0000, None),
    ]


def test_a_patient_is_answered_once(house: House) -> None:
    keys = asked("PATIENT", PatientID="P1", PatientName="", NumberOfPatientRelatedStudies="")
    (status, answer), (last, _) = find(house, keys, PATIENT_ROOT)
    assert (status.Status, last.Status) == (0xFF00, 0)
    assert (answer.PatientID, answer.NumberOfPatientRelatedStudies) == ("P1", 2)
    everyone = find(house, asked("PATIENT", PatientID=""), PATIENT_ROOT)
    assert sorted(identifier.PatientID for _, identifier in everyone[:-1]) == ["P1", "P3", "P4", "P5"]


def test_studies_of_a_patient_in_the_patient_root(house: House) -> None:
    keys = asked("STUDY", PatientID="P1", StudyInstanceUID="")
    assert studies_found(find(house, keys, PATIENT_ROOT)) == [f"{ROOT}.1", f"{ROOT}.2"]


def test_a_relational_query_is_answered(house: House) -> None:
    keys = asked("SERIES", PatientName="martin*", Modality="MR", SeriesInstanceUID="")
    found = sorted(identifier.SeriesInstanceUID for _, identifier in find(house, keys)[:-1])
    assert found == [f"{ROOT}.4.2", f"{ROOT}.5.2"]


def test_a_date_and_its_time_are_one_moment_where_that_was_agreed(house: House) -> None:
    """From New Year's Eve 23:00 to 10 January 12:00: of two ranges the times of day exclude each other."""
    keys = asked("STUDY", StudyDate="20251231-20260110", StudyTime="230000-120000", StudyInstanceUID="")
    assert studies_found(find(house, keys)) == []
    assert studies_found(find(house, keys, extended=b"\1\0\1")) == []
    assert studies_found(find(house, keys, extended=b"\0\1")) == [f"{ROOT}.1", f"{ROOT}.4"]


def test_names_are_matched_nearly_where_that_was_agreed(house: House) -> None:
    keys = asked("STUDY", PatientName="ane marttin", StudyInstanceUID="")
    assert studies_found(find(house, keys)) == []
    assert studies_found(find(house, keys, extended=b"\1\1\0")) == []
    assert studies_found(find(house, keys, extended=b"\1\1\1")) == []
    keys.PatientName = "anne marttin"
    assert studies_found(find(house, keys, extended=b"\0\0\1")) == [f"{ROOT}.4", f"{ROOT}.5"]
    patients = find(house, asked("PATIENT", PatientName="marttin", PatientID=""), PATIENT_ROOT, extended=b"\1\1\1")
    assert sorted(identifier.PatientID for _, identifier in patients[:-1]) == ["P4", "P5"]


def test_keys_that_are_not_supported_are_told(house: House) -> None:
    keys = asked("STUDY", StudyInstanceUID=f"{ROOT}.1", PatientComments="x")
    (status, answer), (last, _) = find(house, keys)
    assert (status.Status, answer.PatientComments, last.Status) == (0xFF01, "", 0x0000)


@pytest.mark.parametrize(
    ("identifier", "root", "status"),
    [
        (asked("PATIENT", PatientID="P1"), STUDY_ROOT, 0xA900),
        (asked("FRAME"), PATIENT_ROOT, 0xA900),
        (asked(""), STUDY_ROOT, 0xA900),
        (asked("STUDY", RequestAttributesSequence=Sequence([Dataset(), Dataset()])), STUDY_ROOT, 0xA900),
        (asked("STUDY", StudyInstanceUID="1.2\\" * 1001), STUDY_ROOT, 0xA700),
    ],
)
def test_a_question_that_is_none_is_refused(house: House, identifier: Dataset, root: str, status: int) -> None:
    ((answer, nothing),) = find(house, identifier, root)
    assert (answer.Status, nothing) == (status, None)
    assert answer.ErrorComment


# --- By hand --------------------------------------------------------------------------------------------------------


def question(identifier: bytes, message_id: int = 1, sop_class_uid: str = STUDY_ROOT) -> bytes:
    command = build_command(Command(C_FIND_RQ, message_id, sop_class_uid, has_data_set=True, priority=0))
    return b"".join([*build_data(1, command, True, 0), *build_data(1, identifier, False, 16384)])


def cancel(message_id: int) -> bytes:
    return b"".join(build_data(1, build_command(Command(C_CANCEL_RQ, message_id)), True, 0))


def statuses(scu: RawScu) -> list[int]:
    """Of the responses to one C-FIND. The data sets are read over: their first byte is no command set's."""
    found: list[int] = []
    while not found or found[-1] in (0xFF00, 0xFF01):
        response = scu.response()
        found.append(response.status or 0)
        if response.has_data_set:
            scu.receive()
    return found


ALL_STUDIES = b"\x08\x00\x52\x00CS\x06\x00STUDY \x20\x00\x0d\x00UI\x00\x00"


def test_what_is_no_data_set_is_refused_and_the_association_goes_on(house: House) -> None:
    with RawScu(house.stage.place) as scu:
        scu.associate(((STUDY_ROOT, (EXPLICIT,)),))
        for number, (noise, status) in enumerate(
            [(b"\xff" * 40, 0xC000), (b"", 0xA900), (b"\x08\x00\x52\x00CS\x10\x00STUDY", 0xC000)], start=1
        ):
            scu.send(question(noise, number))
            response = scu.response()
            assert (response.status, response.message_id) == (status, number)
            assert response.error_comment
        scu.send(question(bytes(2**18 + 2), 8))
        assert scu.response().status == 0xA700
        scu.send(question(ALL_STUDIES, 9, PATIENT_ROOT))
        assert scu.response().status == 0x0122
        scu.send(question(ALL_STUDIES, 10))
        assert statuses(scu) == [0xFF00] * 5 + [0x0000]
        scu.release()


def test_a_cancelled_question_is_not_answered_further(house: House) -> None:
    with RawScu(house.stage.place) as scu:
        scu.associate(((STUDY_ROOT, (EXPLICIT,)),))
        scu.send(question(ALL_STUDIES, 5) + cancel(5))
        found = statuses(scu)
        assert found[-1] == 0xFE00
        assert set(found[:-1]) <= {0xFF00}
        assert len(found) <= 5
        scu.send(question(ALL_STUDIES, 6) + cancel(7))  # of another message: nothing
        assert statuses(scu) == [0xFF00] * 5 + [0x0000]
        scu.release()


def test_more_than_can_be_given_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MOST_ANSWERS", 3)
    with RawScu(house.stage.place) as scu:
        scu.associate(((STUDY_ROOT, (EXPLICIT,)),))
        scu.send(question(ALL_STUDIES))
        assert statuses(scu) == [0xFF00] * 3 + [0xA700]
        scu.release()


def test_the_question_is_in_the_trail_without_its_values(house: House) -> None:
    find(house, asked("STUDY", PatientName="ŒUVRARD*", StudyInstanceUID=""))
    last = [line for line in house.trail.read_text().splitlines() if '"search"' in line][-1]
    assert "study: 00100010" in last
    assert "PEER" in last
    assert "UVRARD" not in last


# --- DCMTK ----------------------------------------------------------------------------------------------------------


@needs_dcmtk
@pytest.mark.parametrize(
    ("model", "keys", "count"),
    [
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientName=MARTIN*", "StudyInstanceUID"], 2),
        ("-S", ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={ROOT}.5", "SeriesInstanceUID"], 5),
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=P*", "PatientName"], 4),
        ("-P", ["QueryRetrieveLevel=STUDY", "PatientID=P1", "StudyInstanceUID", "StudyDate=20260201-20260301"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "StudyDate=19000101", "StudyInstanceUID"], 0),
    ],
)
def test_dcmtk_finds(house: House, tmp_path: Path, model: str, keys: list[str], count: int) -> None:
    host, port = house.stage.place
    options = [argument for key in keys for argument in ("-k", key)]
    command = [FINDSCU, model, "-to", "60", "-X", "-od", tmp_path, *options, host, str(port)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    answers = [dcmread(path, force=True) for path in tmp_path.glob("rsp*.dcm")]
    assert len(answers) == count
    assert {answer.SpecificCharacterSet for answer in answers} <= {"ISO_IR 192"}


# --- Held against QIDO-RS -------------------------------------------------------------------------------------------

A, B, C, D, E = STUDIES
CRITERIA: list[tuple[dict[str, str], list[str]]] = [
    ({}, [A, B, C, D, E]),
    ({"PatientName": "oeuvrard*"}, [A, B]),
    ({"PatientName": "Œuvrard^Zoé"}, [A, B]),
    ({"PatientName": "MARTIN*"}, [D, E]),
    ({"PatientName": "MARTIN^*"}, [E]),
    ({"PatientName": "山田*"}, [C]),
    ({"PatientName": "やまだ^たろう"}, [C]),
    ({"PatientName": "yamada^tarou=山田^太郎=やまだ^たろう"}, [C]),
    ({"PatientName": "?????^*"}, []),
    ({"PatientName": "??????^*"}, [C, E]),
    ({"PatientID": "P1"}, [A, B]),
    ({"PatientID": "P?"}, [A, B, C, D, E]),
    ({"PatientID": "p1"}, []),
    ({"StudyDate": "20260110"}, [A]),
    ({"StudyDate": "20260101-"}, [A, B, C]),
    ({"StudyDate": "-20251231"}, [D]),
    ({"StudyDate": "20251231-20260215"}, [A, B, D]),
    ({"StudyTime": "10-11"}, [A, B, C, E]),
    ({"StudyTime": "235959-"}, [D]),
    ({"AccessionNumber": "A-?"}, [A, B]),
    ({"AccessionNumber": "[A]*"}, [E]),
    ({"StudyDescription": "IRM c?r?brale"}, [D]),
    ({"StudyDescription": "TDM thorax?"}, [C]),
    ({"ModalitiesInStudy": "MR"}, [B, C, D, E]),
    ({"StudyInstanceUID": f"{A}\\{C}\\1.2.3"}, [A, C]),
    ({"StudyInstanceUID": "1.2.3"}, []),
    ({"PatientName": "*", "StudyDate": "20260101-", "ModalitiesInStudy": "MR"}, [B, C]),
]


@pytest.mark.parametrize(("criteria", "expected"), CRITERIA, ids=[str(criteria) for criteria, _ in CRITERIA])
def test_both_doors_find_the_same_studies(house: House, criteria: dict[str, str], expected: list[str]) -> None:
    by_dimse = studies_found(find(house, asked("STUDY", **({"StudyInstanceUID": ""} | criteria))))
    search = read_search("study", {}, list(criteria.items()))
    found, _ = house.stage.call(house.retrieve.search(Credentials("http", "127.0.0.1"), search.query))
    by_web = sorted(study["0020000D"]["Value"][0] for study in found)
    assert by_dimse == by_web == expected
