"""The Native DICOM Model, against the examples and rules of PS3.19 §A.1.5."""

from lxml import etree

from drimbox.dicom.xml_model import NAMESPACE, build_xml


def parsed(attributes: dict) -> etree._Element:
    return etree.fromstring(build_xml(attributes))


def written(attributes: dict) -> str:
    text = build_xml(attributes).decode()
    return text[text.index('xml:space="preserve">') + 21 :].removesuffix("</NativeDicomModel>")


def test_the_root_is_that_of_the_standard() -> None:
    root = parsed({})
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"


def test_values_are_numbered_and_an_empty_one_among_them_stays() -> None:
    assert written({"00080061": {"vr": "CS", "Value": ["MPG", None, "XR3"]}}) == (
        '<DicomAttribute tag="00080061" vr="CS" keyword="ModalitiesInStudy"><Value number="1">MPG</Value>'
        '<Value number="2"></Value><Value number="3">XR3</Value></DicomAttribute>'
    )
    assert written({"00200060": {"vr": "CS"}}) == (
        '<DicomAttribute tag="00200060" vr="CS" keyword="Laterality"></DicomAttribute>'
    )


def test_a_name_is_told_by_group_and_component() -> None:
    names = [{"Alphabetic": "Yamada^Tarou^^Dr", "Ideographic": "山田^太郎"}, None]
    assert written({"00100010": {"vr": "PN", "Value": names}}) == (
        '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1">'
        "<Alphabetic><FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName><NamePrefix>Dr</NamePrefix></Alphabetic>"
        "<Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic></PersonName>"
        '<PersonName number="2"></PersonName></DicomAttribute>'
    )


def test_items_binary_and_bulk_data() -> None:
    sequence = {"vr": "SQ", "Value": [{}, {"00080100": {"vr": "SH", "Value": ["A&B"]}}]}
    assert written({"0040A043": sequence}) == (
        '<DicomAttribute tag="0040A043" vr="SQ" keyword="ConceptNameCodeSequence"><Item number="1"></Item>'
        '<Item number="2"><DicomAttribute tag="00080100" vr="SH" keyword="CodeValue"><Value number="1">A&amp;B</Value>'
        "</DicomAttribute></Item></DicomAttribute>"
    )
    assert "<InlineBinary>AAEC</InlineBinary>" in written({"00282000": {"vr": "OB", "InlineBinary": "AAEC"}})
    assert '<BulkData uri="https://x/7FE00010?a&amp;b"/>' in written(
        {"7FE00010": {"vr": "OW", "BulkDataURI": "https://x/7FE00010?a&b"}}
    )


def test_private_elements_name_their_creator_and_not_its_block() -> None:
    private = {
        "00090010": {"vr": "LO", "Value": ['ACME "1"']},
        "00091002": {"vr": "DS", "Value": ["1.250"]},
        "00111003": {"vr": "UN", "InlineBinary": "AA=="},
    }
    assert written(private) == (
        '<DicomAttribute tag="00090002" vr="DS" privateCreator=\'ACME "1"\'>'
        '<Value number="1">1.250</Value></DicomAttribute>'
        '<DicomAttribute tag="00111003" vr="UN"><InlineBinary>AA==</InlineBinary></DicomAttribute>'
    )


def test_what_xml_cannot_hold_is_replaced_and_line_ends_stay() -> None:
    root = parsed({"00104000": {"vr": "LT", "Value": ["a\x00b\x1b\ud800\ufffe<\r\n\tc"]}})
    (value,) = root.iter(f"{{{NAMESPACE}}}Value")
    assert value.text == "a\ufffdb\ufffd\ufffd\ufffd<\r\n\tc"
