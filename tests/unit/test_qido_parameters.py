"""QIDO-RS query parameters."""

import pytest

from drimbox.dicom.match import Between, Empty, Fuzzy, OneOf, Query, Together, Wildcard
from drimbox.dicomweb.accept import parse_accept
from drimbox.dicomweb.qido import MOST_RESULTS, NO_SEVERAL, NOT_INCLUDED, choose_form, next_page, read_search
from drimbox.errors import Malformed, NotAcceptable


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


def test_a_series_can_be_asked_for_by_what_is_in_its_study() -> None:
    found = read_search("series", {}, [("ModalitiesInStudy", "PT"), ("Modality", "CT")])
    assert found.query.criteria == {"00080061": OneOf(("PT",)), "00080060": OneOf(("CT",))}


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
    assert found.warnings == (NOT_INCLUDED + "00080060",)  # of a series


def test_fuzzy_matching_is_of_names_alone_and_by_words() -> None:
    asked = [("fuzzymatching", "TRUE"), ("PatientName", "Zoé*  d'Œuvrard^"), ("PatientID", "A*")]
    found = read_search("study", {}, asked)
    assert found.query.criteria == {"00100010": Fuzzy(("zoe", "d", "oeuvrard")), "00100020": Wildcard("A*")}
    assert found.warnings == ()


def test_an_empty_value_can_be_asked_for() -> None:
    asked = [("emptyvaluematching", "true"), ("PatientID", '""'), ("StudyDate", '""'), ("AccessionNumber", "")]
    assert read_search("study", {}, asked).query.criteria == {
        "00100020": Empty(),
        "00080020": Empty(),
        "00080050": OneOf(()),
    }
    assert read_search("study", {}, [("PatientID", '""')]).query.criteria == {"00100020": OneOf(('""',))}


def test_ranges_of_date_and_time_are_one_range() -> None:
    asked = [("StudyDate", "20260105-20260107"), ("StudyTime", "1200-0800")]
    assert read_search("study", {}, asked).query.criteria == {
        "00080020": Between("20260105", "20260107"),
        "00080030": Together("00080020", "20260105120000.000000", "20260107080059.999999"),
    }
    alone = read_search("study", {}, [("StudyDate", "20260105"), ("StudyTime", "1200-1300")]).query.criteria
    assert alone == {"00080020": OneOf(("20260105",)), "00080030": Between("120000.000000", "130059.999999")}


def test_multiple_value_matching_is_answered_with_the_warning_of_the_standard() -> None:
    assert read_search("study", {}, [("multiplevaluematching", "true")]).warnings == (NO_SEVERAL,)
    assert read_search("study", {}, [("multiplevaluematching", "false")]).warnings == ()


def test_what_cannot_be_included_is_told() -> None:
    asked = [
        ("includefield", "PatientWeight,StudyDescription, 00081190"),
        ("includefield", "00091001.00100010,PatientWeight"),
        ("includefield", "all"),
    ]
    (warning,) = read_search("study", {}, asked).warnings
    assert warning.endswith("were left out: 00101030 00091001.00100010")
    assert read_search("series", {}, [("includefield", "RequestAttributesSequence.00400009")]).warnings == ()


def test_the_next_page_is_asked_for_with_the_same_question() -> None:
    asked = [("PatientName", "ŒUVRARD*"), ("offset", "7"), ("limit", "3"), ("includefield", "all")]
    query = read_search("study", {}, asked).query
    assert next_page(asked, query) == "PatientName=%C5%92UVRARD%2A&limit=3&includefield=all&offset=10"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, application/dicom+json", "application/dicom+json"),
        ('multipart/related; type="application/dicom+xml"', "application/dicom+xml"),
        ("multipart/related; type=application/dicom+xml, application/dicom+json;q=0.9", "application/dicom+xml"),
        ("application/dicom+xml", "application/dicom+xml"),
        ("multipart/related", "application/dicom+xml"),
        ("application/*", "application/dicom+json"),
    ],
)
def test_the_form_of_the_answer_is_the_one_accepted(accept: str, form: str) -> None:
    assert choose_form(parse_accept([accept])) == form


@pytest.mark.parametrize("accept", ["text/html", "application/dicom", 'multipart/related; type="application/dicom"'])
def test_no_other_form_is_possible(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"possible here: application/dicom\+json"):
        choose_form(parse_accept([accept]))


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
        ([("fuzzymatching", "yes")], "fuzzymatching is true or false"),
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


def test_the_form_of_the_answer_is_no_criterion() -> None:
    asked = [("accept", "application/dicom+json"), ("charset", "iso-8859-1,utf-8"), ("PatientID", "1")]
    search = read_search("study", {}, asked)
    assert (set(search.query.criteria), search.warnings) == ({"00100020"}, ())
