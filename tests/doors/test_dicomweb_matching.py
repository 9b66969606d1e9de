"""Every matching key of PS3.18 table 10.6.1-5, on every route: two studies that differ in all of them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from dicomweb_stage import Box
from making import ct, file_bytes
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage

UID = "1.2.826.0.1.3680043.8.498.37"
FIRST, SECOND = f"{UID}.1", f"{UID}.2"

VALUES: dict[str, dict[str, Any]] = {
    FIRST: {
        "StudyDate": "20260302",
        "StudyTime": "081500",
        "AccessionNumber": "ACC-1",
        "ReferringPhysicianName": "LEFÈVRE^Luc",
        "PatientName": "DURAND^Zoé",
        "PatientID": "IPP-1",
        "StudyID": "E1",
        "PerformedProcedureStepStartDate": "20260302",
        "PerformedProcedureStepStartTime": "082000",
        "Modality": "CT",
    },
    SECOND: {
        "StudyDate": "20260415",
        "StudyTime": "163000.5",
        "AccessionNumber": "ACC-2",
        "ReferringPhysicianName": "MARTIN^Ève",
        "PatientName": "PETIT^Anne",
        "PatientID": "IPP-2",
        "StudyID": "E2",
        "PerformedProcedureStepStartDate": "20260416",
        "PerformedProcedureStepStartTime": "170000",
        "Modality": "MR",
        "SOPClassUID": MRImageStorage,
    },
}

STUDY, SERIES, INSTANCE = ("studies", "series", "instances"), ("series", "instances"), ("instances",)
# keyword, tag, where it can be asked for; what finds the first alone, the second alone, both, none
KEYS: list[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    ("StudyDate", "00080020", STUDY, ("20260302", "-20260401"), ("20260415", "20260303-"),
     ("20260302-20260415",), ("20260303", "20260303-20260414")),
    ("StudyTime", "00080030", STUDY, ("0815", "08-09", "-1200"), ("163000.5", "1630-"), ("08-17",), ("0816-1629",)),
    ("AccessionNumber", "00080050", STUDY, ("ACC-1", "*1"), ("ACC-2", "?CC-2"), ("ACC*", r"ACC-1\ACC-2"), ("acc-1",)),
    ("ModalitiesInStudy", "00080061", STUDY, ("CT", "C*"), ("MR", r"MR\US"), (r"CT\MR", "CT,MR"), ("US",)),
    ("ReferringPhysicianName", "00080090", STUDY, ("lefevre^luc", "LEF*"), ("MARTIN^*",), ("*",), ("LUC*",)),
    ("PatientName", "00100010", STUDY, ("Durand^Zoe", "dur*"), ("*anne",), ("*^*",), ("DURAND",)),
    ("PatientID", "00100020", STUDY, ("IPP-1",), ("IPP-2", "*-2"), ("IPP-?", ""), ("IPP",)),
    ("StudyInstanceUID", "0020000D", STUDY, (FIRST, f"{FIRST},{UID}.9"), (SECOND,),
     (f"{FIRST},{SECOND}", rf"{FIRST}\{SECOND}"), (f"{UID}.9",)),
    ("StudyID", "00200010", STUDY, ("E1",), ("?2",), ("E*",), ("E",)),
    ("Modality", "00080060", SERIES, ("CT",), ("M?",), (r"MR\CT",), ("US",)),
    ("SeriesInstanceUID", "0020000E", SERIES, (f"{FIRST}.1",), (f"{SECOND}.2",), (f"{FIRST}.1,{SECOND}.2",), (FIRST,)),
    ("SeriesNumber", "00200011", SERIES, ("1",), ("2",), (r"1\2",), ("3",)),
    ("PerformedProcedureStepStartDate", "00400244", SERIES, ("20260302",), ("20260416-",), ("2026.03.02-20260416",),
     ("20260415",)),
    ("PerformedProcedureStepStartTime", "00400245", SERIES, ("0820-0821",), ("17",), ("-17",), ("09-16",)),
    ("RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009", SERIES, ("SPS1",), ("*2",), ("SPS?",),
     ("SPS3",)),
    ("RequestAttributesSequence.RequestedProcedureID", "00400275.00401001", SERIES, ("RP1",), ("RP2",), ("RP*",),
     ("SPS1",)),
    ("SOPClassUID", "00080016", INSTANCE, ("1.2.840.10008.5.1.4.1.1.2",), (str(MRImageStorage),),
     (f"1.2.840.10008.5.1.4.1.1.2,{MRImageStorage}",), ("1.2.840.10008.5.1.4.1.1.1",)),
    ("SOPInstanceUID", "00080018", INSTANCE, (f"{FIRST}.1.3",), (f"{SECOND}.2.4",), (f"{FIRST}.1.3,{SECOND}.2.4",),
     (f"{FIRST}.1",)),
    ("InstanceNumber", "00200013", INSTANCE, ("3",), ("4",), (r"3\4",), ("34",)),
]  # fmt: skip
EACH = pytest.mark.parametrize(
    ("keyword", "tag", "resources", "first", "second", "both", "none"), KEYS, ids=[key[0] for key in KEYS]
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    served = Box(tmp_path_factory.mktemp("two"))
    try:
        for number, (study, values) in enumerate(VALUES.items(), start=1):
            request = Dataset()
            request.ScheduledProcedureStepID, request.RequestedProcedureID = f"SPS{number}", f"RP{number}"
            made = ct(number, number + 2, study, SpecificCharacterSet="ISO_IR 100", **values)
            made.RequestAttributesSequence = Sequence([request])
            made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
            served.keep(file_bytes(made))
        yield served
    finally:
        served.close()


def found(box: Box, path: str, name: str, value: str) -> list[str]:
    reply = box.get(f"{path}?{name}={quote(value)}")
    assert reply.status == 200, (path, name, value, reply.body)
    return sorted(item["0020000D"]["Value"][0] for item in reply.json)


@EACH
def test_each_key_is_matched_on_each_route(
    two: Box, keyword: str, tag: str, resources: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...],
    both: tuple[str, ...], none: tuple[str, ...],
) -> None:  # fmt: skip
    """Relational too: of all series and instances, of those of a study, of those of a series (table 10.6.1-2)."""
    answers = [(first, [FIRST]), (second, [SECOND]), (both, [FIRST, SECOND]), (none, [])]
    for value, expected in [(value, expected) for values, expected in answers for value in values]:
        for kind in resources:
            for name in (keyword, tag):
                assert found(two, f"/{kind}", name, value) == expected, (kind, name, value)
        if keyword == "StudyInstanceUID":
            continue  # the path says which
        of_first = [FIRST] if FIRST in expected else []
        for kind in {*resources} - {"studies"}:
            assert found(two, f"/studies/{FIRST}/{kind}", keyword, value) == of_first, (kind, value)
        if keyword != "SeriesInstanceUID":
            assert found(two, f"/studies/{FIRST}/series/{FIRST}.1/instances", keyword, value) == of_first, value


@EACH
def test_a_key_of_a_level_below_is_refused(
    two: Box, keyword: str, tag: str, resources: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...],
    both: tuple[str, ...], none: tuple[str, ...],
) -> None:  # fmt: skip
    for kind in {*STUDY} - {*resources}:
        assert two.get(f"/{kind}?{keyword}={quote(first[0])}").status == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # One range from moment to moment (§8.3.4.1): the second begins on 15 April at 16:30
        ("StudyDate=20260302-20260415&StudyTime=0800-1600", [FIRST]),
        ("StudyDate=20260302-20260415&StudyTime=0900-1700", [SECOND]),
        ("PatientName=*&StudyDate=20260301-20260331&ModalitiesInStudy=CT", [FIRST]),
        ("PatientID=IPP-1&PatientName=PETIT*", []),
        ("PatientBirthDate=19500101", []),
        ("NumberOfStudyRelatedSeries=1&StudyID=E2", [SECOND]),
        ("InstanceAvailability=ONLINE&limit=1&offset=1", [FIRST]),  # the newest comes first
        ("limit=0", []),
    ],
)
def test_keys_are_matched_together(two: Box, query: str, expected: list[str]) -> None:
    for kind in ("studies", "series", "instances"):
        reply = two.get(f"/{kind}?{query}")
        assert [item["0020000D"]["Value"][0] for item in reply.json] == expected, kind
