"""QIDO-RS query parameters."""

import pytest

from drimbox.dicom.match import Between, OneOf, Query, Wildcard
from drimbox.dicomweb.qido import MOST_RESULTS, NO_FUZZY, read_search
from drimbox.errors import Malformed


def test_keywords_and_tags_mean_the_same() -> None:
    by_keyword = read_search("study", {}, [("PatientID", "12345"), ("StudyDate", "20260101-20260131")])
    by_tag = read_search("study", {}, [("00100020", "12345"), ("00080020", "20260101-20260131")])
    expected = {"00100020": OneOf(("12345",)), "00080020": Between("20260101", "20260131")}
    assert by_keyword.query == by_tag.query == Query("study", expected, None, 100, 0)


def test_tags_are_read_in_either_case_and_inside_sequences() -> None:
    found = read_search("series", {}, [("0020000e", "1.2.3"), ("RequestAttributesSequence.00400009", "SPS1")])
    assert found.query.criteria == {"0020000E": OneOf(("1.2.3",)), "00400275.00400009": OneOf(("SPS1",))}


def test_what_is_counted_can_be_asked_for() -> None:
    found = read_search("study", {}, [("ModalitiesInStudy", "CT")])
    assert found.query.criteria == {"00080061": OneOf(("CT",))}


def test_the_uids_of_the_path_are_criteria() -> None:
    found = read_search("instance", {"0020000D": "1.2", "0020000E": "1.2.3"}, [])
    assert found.query.criteria == {"0020000D": OneOf(("1.2",)), "0020000E": OneOf(("1.2.3",))}


def test_names_match_with_wildcards() -> None:
    found = read_search("study", {}, [("PatientName", "ŒUVRARD*")])
    assert found.query.criteria == {"00100010": Wildcard("oeuvrard*")}


def test_what_a_viewer_sends_is_understood() -> None:
    found = read_search(
        "study",
        {},
        [
            ("limit", "101"),
            ("offset", "0"),
            ("fuzzymatching", "false"),
            ("includefield", "00081030,00080060"),
            ("includefield", "all"),
            ("includefield", "PatientName"),
            ("accept", "application/dicom+json"),
        ],
    )
    assert found.query == Query("study", {}, None, 101, 0)
    assert found.warnings == ()


def test_fuzzy_matching_is_answered_with_the_warning_of_the_standard() -> None:
    assert read_search("study", {}, [("fuzzymatching", "true")]).warnings == (NO_FUZZY,)


@pytest.mark.parametrize(("asked", "given"), [("0", 0), ("1000", 1000), ("1001", 1000), ("999999999", MOST_RESULTS)])
def test_a_page_has_a_most(asked: str, given: int) -> None:
    assert read_search("study", {}, [("limit", asked)]).query.limit == given


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ([("limit", "1000000000000")], "limit"),
        ([("limit", "-1")], "limit"),
        ([("limit", "ten")], "limit"),
        ([("offset", "")], "offset"),
        ([("limit", "1"), ("limit", "2")], "limit"),
        ([("PatientID", "1"), ("00100020", "2")], "00100020"),
        ([("PatientFavouriteColour", "blue")], "PatientFavouriteColour"),
        ([("Modality", "CT")], "Modality cannot be asked for at the study level"),
        ([("PatientWeight", "70")], "PatientWeight cannot be asked for"),
        ([("includefield", "Nonsense")], "Nonsense"),
        ([("StudyInstanceUID", "1.2'; DROP TABLE study")], "uid"),
        ([("StudyDate", "yesterday")], "DA"),
        ([("00400275." * 5 + "00400009", "x")], "is no attribute"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused_by_name(parameters: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(Malformed, match=told):
        read_search("study", {}, parameters)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\r\nSet-Cookie: x", "é", "", "x" * 65, "%00"])
def test_a_name_that_could_do_harm_is_not_repeated(name: str) -> None:
    with pytest.raises(Malformed) as refusal:
        read_search("study", {}, [(name, "1")])
    assert str(refusal.value).startswith("query: a parameter is no attribute")
