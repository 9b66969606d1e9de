"""Identifiers, read and written; expected bytes and rules are those of PS3.4 annex C and PS3.5 §7."""

from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from drimbox.dicom.identifier import (
    build_answer,
    build_search,
    build_selection,
    group_patients,
    read_identifier,
)
from drimbox.dicom.match import Between, OneOf, Wildcard
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.errors import DrimboxError, Malformed, NotAcceptable

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = {IMPLICIT: (True, True), EXPLICIT: (False, True), BIG: (False, False)}


def encoded(syntax: str = EXPLICIT, **keys: object) -> bytes:
    made = Dataset()
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = SYNTAXES[syntax]
    write_dataset(file, made)
    return file.getvalue()


def decoded(data: bytes, syntax: str) -> Dataset:
    implicit, little = SYNTAXES[syntax]
    return read_dataset(BytesIO(data), implicit, little)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_keys_are_read_whatever_the_transfer_syntax(syntax: str) -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP*"
    data = encoded(
        syntax,
        SpecificCharacterSet="ISO_IR 100",
        QueryRetrieveLevel="SERIES",
        StudyInstanceUID=["1.2", "1.3"],
        PatientName="Zoé*",
        StudyDate="20260101-",
        SeriesNumber="4",
        RequestAttributesSequence=Sequence([request]),
        SeriesDescription="",
    )
    identifier = read_identifier(data, syntax, "study")
    search = build_search(identifier, 5)
    assert identifier.level == "SERIES"
    assert search.query.level == "series"
    assert search.query.limit == 5
    assert search.query.criteria == {
        "0020000D": OneOf(("1.2", "1.3")),
        "00100010": Wildcard("zoe*"),
        "00080020": Between("20260101", ""),
        "00200011": OneOf(("4",)),
        "00400275.00401001": Wildcard("RP*"),
    }
    assert not search.is_partial


def test_keys_that_are_not_supported_make_the_answer_partial() -> None:
    for keys in ({"Modality": "CT"}, {"PatientComments": ""}):
        data = encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID="", **keys)
        search = build_search(read_identifier(data, EXPLICIT, "study"), 5)
        assert search.is_partial
        assert search.query.criteria == {}


def test_a_key_inside_a_sequence_that_is_not_supported_makes_it_partial_too() -> None:
    request = Dataset()
    request.ScheduledProcedureStepDescription, request.RequestedProcedureID = "TDM", "RP1"
    data = encoded(QueryRetrieveLevel="SERIES", RequestAttributesSequence=Sequence([request]))
    search = build_search(read_identifier(data, EXPLICIT, "study"), 5)
    assert search.is_partial
    assert search.query.criteria == {"00400275.00401001": OneOf(("RP1",))}


@pytest.mark.parametrize(
    ("root", "level"), [("study", "PATIENT"), ("study", ""), ("patient", "WORKLIST"), ("study", "INSTANCE")]
)
def test_a_level_of_another_model_is_refused(root: str, level: str) -> None:
    with pytest.raises(NotAcceptable):
        read_identifier(encoded(QueryRetrieveLevel=level), EXPLICIT, root)


def test_a_sequence_of_two_items_is_refused() -> None:
    data = encoded(QueryRetrieveLevel="SERIES", RequestAttributesSequence=Sequence([Dataset(), Dataset()]))
    with pytest.raises(NotAcceptable):
        read_identifier(data, EXPLICIT, "study")


@pytest.mark.parametrize("keys", [{"StudyInstanceUID": "1.*"}, {"StudyDate": "soon"}])
def test_a_value_that_is_none_of_its_vr_is_malformed(keys: dict[str, str]) -> None:
    data = encoded(QueryRetrieveLevel="STUDY") + _raw(keys)
    with pytest.raises(Malformed):
        build_search(read_identifier(data, EXPLICIT, "study"), 5)


def _raw(keys: dict[str, str]) -> bytes:
    """After the level, without pydicom's opinion of the value."""
    tags = {"StudyInstanceUID": b"\x20\x00\x0d\x00UI", "StudyDate": b"\x10\x00\x30\x00DA"}
    return b"".join(tags[k] + len(v).to_bytes(2, "little") + v.encode() for k, v in keys.items())


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\x08\x00\x52\x00CS\x10\x00STUDY", b"\xff" * 64])
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(DrimboxError):
        read_identifier(data, EXPLICIT, "study")


def test_a_sequence_where_the_dictionary_has_none_is_no_bug() -> None:
    data = encoded(QueryRetrieveLevel="STUDY") + bytes.fromhex("10001000 5351 0000 08000000 feff00e0 00000000")
    identifier = read_identifier(data, EXPLICIT, "study")
    assert build_search(identifier, 5).query.criteria == {}


@pytest.mark.parametrize(
    ("root", "keys", "wrong"),
    [
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ["1.2", "1.3"]}, False),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, True),
        ("study", {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2"}, True),
        ("study", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1", "2"], "SeriesInstanceUID": "3"}, True),
        ("study", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1", "SeriesInstanceUID": ["3", "4"]}, False),
        ("patient", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}, True),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "PatientID": "A*"}, True),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "PatientID": "A"}, False),
    ],
)
def test_only_unique_keys_select_what_is_retrieved(root: str, keys: dict[str, object], wrong: bool) -> None:
    identifier = read_identifier(encoded(**keys, PatientName="IGNORED"), EXPLICIT, root)
    if wrong:
        with pytest.raises(NotAcceptable):
            build_selection(identifier, root, 9)
    else:
        assert "00100010" not in build_selection(identifier, root, 9).criteria


@pytest.mark.parametrize(
    ("root", "keys", "wrong"),
    [
        ("study", {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ["1.2", "1.3"]}, False),
        ("study", {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.2"}, False),
        ("study", {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1", "SOPInstanceUID": "1.2"}, False),
        ("study", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1"}, True),
        ("study", {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": ["1", "2"], "SOPInstanceUID": "1.2"}, True),
        ("patient", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}, False),
        ("patient", {"QueryRetrieveLevel": "STUDY", "PatientID": "A*", "StudyInstanceUID": "1"}, True),
        ("patient", {"QueryRetrieveLevel": "PATIENT"}, True),
    ],
)
def test_a_relational_retrieval_needs_the_key_of_its_level(root: str, keys: dict[str, object], wrong: bool) -> None:
    identifier = read_identifier(encoded(**keys), EXPLICIT, root)
    if wrong:
        with pytest.raises(NotAcceptable):
            build_selection(identifier, root, 9, relational=True)
    else:
        assert len(build_selection(identifier, root, 9, relational=True).criteria) == len(keys) - 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_has_what_was_asked_and_nothing_else(syntax: str) -> None:
    asked = encoded(
        syntax,
        QueryRetrieveLevel="STUDY",
        PatientName="",
        StudyDescription="",
        NumberOfStudyRelatedSeries="",
        ModalitiesInStudy="",
        StudyInstanceUID="",
        StudyID="",
    )
    found = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Phonetic": "やまだ^たろう"}]},
        "00201206": {"vr": "IS", "Value": [12]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00081030": {"vr": "LO", "Value": ["IRM cérébrale"]},
        "00100020": {"vr": "LO", "Value": ["not asked"]},
    }
    answer = decoded(
        build_answer(read_identifier(asked, syntax, "study"), found, "BOX", TRANSFER_SYNTAXES[syntax]), syntax
    )
    answer.decode()
    assert {element.keyword: element.value for element in answer} == {
        "SpecificCharacterSet": "ISO_IR 192",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "BOX",
        "ModalitiesInStudy": ["CT", "SR"],
        "StudyDescription": "IRM cérébrale",
        "PatientName": "Yamada^Tarou==やまだ^たろう",
        "StudyInstanceUID": "1.2.3",
        "StudyID": "",
        "NumberOfStudyRelatedSeries": 12,
    }


def test_values_are_written_as_the_standard_says() -> None:
    attributes = {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["A"]}}]},
    }
    assert build_data_set(attributes, TRANSFER_SYNTAXES[EXPLICIT]) == (
        b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
        b"\x28\x00\x10\x00US\x02\x00\x00\x02"
        b"\x40\x00\x75\x02SQ\0\0\x12\0\0\0\xfe\xff\x00\xe0\x0a\0\0\0\x40\x00\x01\x10SH\x02\x00A "
    )


def test_patients_are_told_apart_by_identifier_and_their_studies_added_up() -> None:
    def study(patient_id: str, name: str, series: int, instances: int) -> dict[str, object]:
        return {
            "00100020": {"vr": "LO", "Value": [patient_id]} if patient_id else {"vr": "LO"},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
            "00201206": {"vr": "IS", "Value": [series]},
            "00201208": {"vr": "IS", "Value": [instances]},
        }

    studies = [study("A", "X", 1, 10), study("B", "X", 2, 20), study("A", "Y", 3, 30), study("", "A", 4, 40)]
    counts = [
        [patient[tag]["Value"][0] for tag in ("00201200", "00201202", "00201204")]
        for patient in group_patients(studies)
    ]
    assert counts == [[2, 4, 40], [1, 2, 20], [1, 4, 40]]
