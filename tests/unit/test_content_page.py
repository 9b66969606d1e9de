"""A structured report for people: each value type, what it points at, and nothing of it becomes markup."""

from html.parser import HTMLParser
from typing import Any

import pytest

from drimbox.dicom import content_tree
from drimbox.dicom.content_page import build_page, build_text
from drimbox.dicom.content_tree import TOO_LONG, read_lines
from drimbox.errors import NotAcceptable
from drimbox.model import InstanceRef

Element = dict[str, Any]


def element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)}


def code(meaning: str, value: str = "1") -> Element:
    return element("SQ", {"00080100": element("SH", value), "00080104": element("LO", meaning)})


def item(kind: str, name: str, *children: Element, relation: str = "CONTAINS", **value: Element) -> Element:
    made = {"0040A040": element("CS", kind), "0040A010": element("CS", relation)}
    made |= {"0040A043": code(name)} if name else {}
    made |= {tag.removeprefix("t"): found for tag, found in value.items()}
    return made | ({"0040A730": element("SQ", *children)} if children else {})


def report(*children: Element, **header: Element) -> Element:
    names = {"00100010": element("PN", {"Alphabetic": "DUPONT^Zo\u00e9"}), "00080020": element("DA", "20260105")}
    evidence = {
        "0020000D": element("UI", "1.2"),
        "00081115": element(
            "SQ", {"0020000E": element("UI", "1.3"), "00081199": element("SQ", {"00081155": element("UI", "1.4")})}
        ),
    }
    return item("CONTAINER", "Scanner", *children, t0040A375=element("SQ", evidence)) | names | header


def pointed(uid: str, *frames: str) -> Element:
    told = {"00081155": element("UI", uid)} | ({"00081160": element("IS", *frames)} if frames else {})
    return element("SQ", told)


def url(ref: InstanceRef) -> str:
    return f"/dicom-web/{ref.study_uid}/{ref.series_uid}/{ref.sop_uid}"


MEASURE = element("SQ", {"0040A30A": element("DS", "12.50"), "004008EA": code("millimetre", "mm")})
COUNT = element("SQ", {"0040A30A": element("DS", "3"), "004008EA": code("no units", "1")})


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (item("TEXT", "Findings", t0040A160=element("UT", "RAS")), "Findings : RAS"),
        (item("TEXT", "", t0040A160=element("UT", "RAS")), "RAS"),
        (item("CODE", "Site", t0040A168=code("Liver")), "Site : Liver"),
        (item("NUM", "Size", t0040A300=MEASURE), "Size : 12.50 mm"),
        (item("NUM", "Lesions", t0040A300=COUNT), "Lesions : 3"),
        (item("NUM", "Size", t0040A300={"vr": "SQ"}, t0040A301=code("Not a number")), "Size : Not a number"),
        (item("PNAME", "Observer", t0040A123=element("PN", {"Alphabetic": "A^B^^Dr"})), "Observer : Dr B A"),
        (item("DATE", "On", t0040A121=element("DA", "20260203")), "On : 03/02/2026"),
        (item("TIME", "At", t0040A122=element("TM", "101500.5")), "At : 10:15"),
        (item("DATETIME", "At", t0040A120=element("DT", "20260203101500+0100")), "At : 03/02/2026 10:15"),
        (item("DATE", "On", t0040A121=element("DA", "soon")), "On : soon"),
        (item("UIDREF", "Track", t0040A124=element("UI", "1.2.3")), "Track : 1.2.3"),
        (item("SCOORD", "Region", **{"00700023": element("CS", "CIRCLE")}), "Region : CIRCLE"),
        (item("IMAGE", "Source", **{"00081199": pointed("1.4", "2", "3")}), "Source : 1.4 (images 2, 3)"),
        (item("IMAGE", "Source", **{"00081199": pointed("9.9")}), "Source : 9.9"),
        (item("CONTAINER", "Empty"), "Empty"),
        ({"0040A010": element("CS", "CONTAINS")}, ""),
        ({}, ""),
    ],
)
def test_each_value_is_told_in_words(made: Element, told: str) -> None:
    lines = build_text(report(made)).decode().split("\n\n", 2)[2].strip("\n")
    assert lines == told


def test_who_when_and_how_sure_stand_first() -> None:
    verifier = {
        "0040A075": element("PN", {"Alphabetic": "MARTIN^Anne"}),
        "0040A027": element("LO", "CHU"),
        "0040A030": element("DT", "20260106090000"),
    }
    flags = {"0040A491": element("CS", "COMPLETE"), "0040A493": element("CS", "VERIFIED")}
    made = report(item("TEXT", "A", t0040A160=element("UT", "b")), **flags, **{"0040A073": element("SQ", verifier)})
    text = build_text(made).decode()
    for told in (
        "Patient : Zo\u00e9 DUPONT",
        "Examen du : 05/01/2026",
        "\u00c9tat : complet, v\u00e9rifi\u00e9",
        "par : Anne MARTIN CHU",
    ):
        assert told in text
    assert "<dd>Anne MARTIN CHU 06/01/2026 09:00</dd>" in build_page(made, url).decode()


def test_modifiers_stand_beside_and_numbers_count_them() -> None:
    inner = item("TEXT", "Findings", t0040A160=element("UT", "RAS"))
    side = item("CODE", "Laterality", relation="HAS CONCEPT MOD", t0040A168=code("Left"))
    back = {"0040A010": element("CS", "INFERRED FROM"), "0040DB73": element("UL", 1, 1, 2)}
    made = report(item("CONTAINER", "Breast", side, inner, back))
    assert [line.number for line in read_lines(made)] == ["1", "1.1", "1.1.2", "1.1.3"]
    page = build_page(made, url).decode()
    assert "Breast <small>(Laterality: Left)</small>" in page
    assert '<a href="#c1.1.2">' in page
    assert 'id="c1.1.2"' in page


def test_images_are_links_to_their_pictures() -> None:
    page = build_page(report(item("IMAGE", "Source", **{"00081199": pointed("1.4", "2")})), url).decode()
    assert 'href="/dicom-web/1.2/1.3/1.4/frames/2/rendered"' in page


def test_nothing_of_a_report_becomes_markup() -> None:
    bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    side = item("CODE", bad, relation="HAS CONCEPT MOD", t0040A168=code(bad))
    kinds = [
        item("TEXT", bad, side, t0040A160=element("UT", bad)),
        item("CONTAINER", bad, side),
        item("IMAGE", bad, **{"00081199": pointed(bad)}),
        item(bad, bad),
        {"0040DB73": element("UL", bad)},
    ]
    page = build_page(report(*kinds, **{"00100020": element("LO", bad), "0040A491": element("CS", bad)}), url).decode()
    seen = Seen()
    seen.feed(page)
    known = "html head meta title style body h1 h2 h3 dl dt dd small p b a"
    assert seen.tags <= set(known.split())
    assert seen.attributes <= {"lang", "charset", "name", "content", "id", "style", "href", "title"}


class Seen(HTMLParser):
    """The names a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_text_that_is_not_there_says_so() -> None:
    made = report(item("TEXT", "Findings", t0040A160={"vr": "UT", "BulkDataURI": "x"}))
    assert TOO_LONG in build_text(made).decode()


def test_a_report_past_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_tree, "MOST_LINES", 3)
    with pytest.raises(NotAcceptable):
        build_text(report(*[item("TEXT", "A")] * 3))
