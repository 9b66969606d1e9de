"""What a browser is given of a report: the PDF as it came, or a page that can do nothing."""

import base64
import re

import pytest
from lxml import html

from drimbox.errors import Conflict, Malformed, NotAcceptable, NotFound, TooLarge
from drimbox.xds.cda_body import read_body

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 4
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def document(body: str, encoding: str = "UTF-8") -> bytes:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><ClinicalDocument xmlns="urn:hl7-org:v3">{body}</ClinicalDocument>'
    )
    return text.encode(encoding)


def level_1(content: str, attributes: str = 'mediaType="application/pdf" representation="B64"') -> bytes:
    return document(f"<component><nonXMLBody><text {attributes}>{content}</text></nonXMLBody></component>")


def level_3(narrative: str, entries: str = "") -> bytes:
    section = f"<section><title>Résultats &amp; suite</title><text>{narrative}</text>{entries}</section>"
    return document(f"<component><structuredBody><component>{section}</component></structuredBody></component>")


def shown(narrative: str, entries: str = ""):
    """The body of the page of a level 3 document, parsed by another parser than ours."""
    body = read_body(level_3(narrative, entries), ("Titre", "Nom"))
    assert body.media_type == "text/html; charset=utf-8"
    return html.document_fromstring(body.content.decode()).body


# --- Level 1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["", "\n", "&#13;\n", "\r\n  "])
def test_a_pdf_leaves_as_it_came_however_its_base64_is_folded(line_end):
    text = base64.b64encode(PDF).decode()
    folded = line_end.join(text[start : start + 76] for start in range(0, len(text), 76))
    body = read_body(level_1(folded))
    assert (body.media_type, body.content) == ("application/pdf", PDF)


@pytest.mark.parametrize("line_end", ["", "&#13;\n"])
def test_a_pdf_larger_than_xml_parsers_take_as_one_text(line_end):
    pdf = b"%PDF-1.4\n" + bytes(range(256)) * 50_000
    text = base64.b64encode(pdf).decode()
    folded = line_end.join(text[start : start + 76] for start in range(0, len(text), 76)) if line_end else text
    assert read_body(level_1(folded)).content == pdf


def test_a_picture_and_a_plain_text():
    picture = level_1(base64.b64encode(PNG).decode(), 'mediaType="image/png" representation="B64"')
    assert read_body(picture).content == PNG
    body = read_body(level_1("a &lt;b&gt; c\n  d", 'mediaType="text/plain"'))
    assert "<pre>a &lt;b&gt; c\n  d</pre>" in body.content.decode()
    coded = level_1(base64.b64encode("é <i>".encode()).decode(), 'mediaType="text/plain" representation="B64"')
    assert "<pre>é &lt;i&gt;</pre>" in read_body(coded).content.decode()


@pytest.mark.parametrize(
    ("content", "attributes", "refusal"),
    [
        (b"<html><script>", 'mediaType="application/pdf" representation="B64"', Malformed),
        (PDF, 'mediaType="image/png" representation="B64"', Malformed),
        (b"<svg/>", 'mediaType="image/svg+xml" representation="B64"', NotAcceptable),
        (b"<script>", 'mediaType="text/html" representation="B64"', NotAcceptable),
        (PDF, 'mediaType="application/pdf" representation="B64" compression="DF"', NotAcceptable),
    ],
)
def test_what_is_not_what_it_is_called_is_not_shown(content, attributes, refusal):
    with pytest.raises(refusal):
        read_body(level_1(base64.b64encode(content).decode(), attributes))


@pytest.mark.parametrize(
    ("cda", "refusal"),
    [
        (b"", Malformed),
        (b"<ClinicalDocument/>", Malformed),
        (document(""), NotFound),
        (level_1("not base64!"), Malformed),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + document(""), Malformed),
        (
            document("").replace(b"UTF-8", b"UTF-7").replace(b"?>", b"?>+ADwAIQ-DOCTYPE ClinicalDocument+AD4-", 1),
            Malformed,
        ),
        (document("<a/>" * 400_001), TooLarge),
        (level_1("@drimbox-run-0@"), Malformed),
        (document("<a>" * 300 + "</a>" * 300), Malformed),
    ],
)
def test_what_is_no_report_is_refused(cda, refusal):
    with pytest.raises(refusal):
        read_body(cda)


def test_a_report_of_another_patient_than_the_one_in_context_is_not_shown():
    ids = '<id root="1.2.250.1.213.1.4.10" extension="279035121518989"/><id root="1.2.3" extension="155024612345645"/>'
    patient = f"<recordTarget><patientRole>{ids}</patientRole></recordTarget>"
    cda = document(f'{patient}<component><nonXMLBody><text mediaType="text/plain">x</text></nonXMLBody></component>')
    assert read_body(cda, ins="279035121518989").content
    for other in ("155024612345645", "1", "279035121518988"):
        with pytest.raises(Conflict):
            read_body(cda, ins=other)


# --- Level 3 --------------------------------------------------------------------------------------------------------


def test_the_narrative_is_written_with_its_structure():
    body = shown(
        '<paragraph>Foie <content styleCode="Bold">normal</content>.<br/>Rate : 11 cm</paragraph>'
        '<list listType="ordered"><caption>Lésions</caption><item>S5</item><item>S8</item></list>'
        "<table><caption>Mesures</caption><thead><tr><th>Lieu</th></tr></thead>"
        '<tbody><tr><td colspan="2" rowspan="x">12 mm</td></tr></tbody></table>'
    )
    assert body.findtext(".//h2") == "Résultats & suite"
    assert body.findtext(".//p/b") == "normal"
    assert [item.text for item in body.findall(".//ol/li")] == ["S5", "S8"]
    assert body.findtext(".//table/caption") == "Mesures"
    assert dict(body.find(".//td").attrib) == {"colspan": "2"}
    assert body.findtext(".//header/h1") == "Titre"


def test_sections_within_sections_keep_their_order():
    below = "<component><section><title>Dessous</title><text>b</text></section></component>"
    text = shown("a", below).text_content()
    assert text.index("Résultats") < text.index("a") < text.index("Dessous")


@pytest.mark.parametrize(
    "hostile",
    [
        "<script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>",
        "<paragraph onclick='alert(1)' style='position:fixed'>x</paragraph>",
        "<linkHtml href='javascript:alert(1)'>x</linkHtml>",
        "<iframe src='https://outside.example/'>x</iframe>",
        "<content styleCode='Bold&quot; onload=&quot;x'>x</content>",
        "<img src='https://outside.example/x.png'/>",
        "<td colspan='2&quot; onload=&quot;alert(1)'>x</td>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<paragraph>&lt;/p&gt;&lt;img src=x onerror=alert(1)&gt;</paragraph>",
    ],
)
def test_nothing_of_the_document_but_its_text_reaches_the_page(hostile):
    body = shown(hostile)
    for node in body.iter():
        assert node.tag in {"body", "header", "h1", "h2", "p", "b", "td"}
        assert not set(node.attrib) - {"colspan", "rowspan"}


def test_pictures_are_shown_only_if_they_are_some():
    def media(name, media_type, content):
        coded = base64.b64encode(content).decode()
        return (
            f'<entry><observationMedia classCode="OBS" moodCode="EVN" ID="{name}">'
            f'<value mediaType="{media_type}" representation="B64">{coded}</value></observationMedia></entry>'
        )

    entries = media("good", "image/png", PNG) + media("lie", "image/png", b"<svg>") + media("svg", "image/svg+xml", PNG)
    wanted = "".join(f'<renderMultiMedia referencedObject="{name}"/>' for name in ("good", "lie", "svg", "absent"))
    body = shown(wanted, entries)
    assert [image.get("src") for image in body.findall(".//img")] == [
        f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    ]
    assert body.text_content().count("[…]") == 3


def test_the_one_style_is_the_one_the_policy_names():
    from hashlib import sha256

    from drimbox.xds.cda_page import PAGE_POLICY

    style = re.search(r"<style>(.*?)</style>", read_body(level_3("x")).content.decode(), re.DOTALL)[1]
    assert f"'sha256-{base64.b64encode(sha256(style.encode()).digest()).decode()}'" in PAGE_POLICY
    assert "sandbox;" in PAGE_POLICY
    assert "script-src" not in PAGE_POLICY
