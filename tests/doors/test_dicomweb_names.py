"""Names in every character set a modality writes: found by each of their three groups, answered in UTF-8.

Stored as bytes, most of them those of the examples of PS3.5 annexes H to K; what is expected is written by hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from dicomweb_stage import Box
from making import ct, file_bytes

ROOT = "1.2.826.0.1.3680043.8.498.35"
PARTS_OF_XML = 'multipart/related; type="application/dicom+xml"'


@dataclass(frozen=True)
class Case:
    """character_set, name, description: as stored. groups, text: as answered. xml: the name in the Native DICOM Model.

    asked: what finds it, and nothing else. not_asked: what looks like it and does not.
    """

    character_set: str
    name: bytes
    groups: dict[str, str]
    xml: str
    asked: tuple[str, ...]
    not_asked: tuple[str, ...]
    description: bytes
    text: str


CASES = {
    # PS3.5 §H.3.1
    "ISO 2022 IR 87": Case(
        r"\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
        "<Alphabetic><FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic>"
        "<Phonetic><FamilyName>やまだ</FamilyName><GivenName>たろう</GivenName></Phonetic>",
        ("YAMADA^tarou", "山田^太郎", "山田*", "やまだ^たろう", "やま?^*", "=山田^太郎", "==やまだ*"),
        ("山^田太郎", "やまた^たろう", "田*"),  # ta is not da: the mark is no accent
        b"\x1b$B6;It\x1b(B CT",
        "胸部 CT",
    ),
    # PS3.5 §H.3.2, and a family name of its own: half-width katakana in the alphabetic group
    "ISO 2022 IR 13": Case(
        r"ISO 2022 IR 13\ISO 2022 IR 87",
        b"\xbd\xbd\xde\xb7^\xc0\xdb\xb3=\x1b$BNkLZ\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$9$:$-\x1b(J^\x1b$B$?$m$&\x1b(J",
        {"Alphabetic": "ｽｽﾞｷ^ﾀﾛｳ", "Ideographic": "鈴木^太郎", "Phonetic": "すずき^たろう"},
        "<Alphabetic><FamilyName>ｽｽﾞｷ</FamilyName><GivenName>ﾀﾛｳ</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>鈴木</FamilyName><GivenName>太郎</GivenName></Ideographic>"
        "<Phonetic><FamilyName>すずき</FamilyName><GivenName>たろう</GivenName></Phonetic>",
        ("ｽｽﾞｷ^ﾀﾛｳ", "スズキ^タロウ", "ス?キ*", "鈴木*", "すずき^た?う"),
        ("ススキ^タロウ", "すすき*"),
        b"\xbc\xca",
        "ｼﾊ",
    ),
    # PS3.5 §I.2
    "ISO 2022 IR 149": Case(
        r"\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        {"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"},
        "<Alphabetic><FamilyName>Hong</FamilyName><GivenName>Gildong</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>洪</FamilyName><GivenName>吉洞</GivenName></Ideographic>"
        "<Phonetic><FamilyName>홍</FamilyName><GivenName>길동</GivenName></Phonetic>",
        ("hong^gil*", "洪^吉洞", "洪^?洞", "홍^길동", "홍^길?", "?^길동", "==홍*"),  # a syllable is one character
        ("호*", "홍^기*", "홍^길??"),  # parts of syllables are no characters
        b"\x1b$)C\xb0\xa1",
        "가",
    ),
    # As PS3.5 §J.3; the second byte of the given name is a backslash
    "GB18030": Case(
        "GB18030",
        b"Wang^Jing=\xcd\xf5^\x82\x5c=\xa8\xe8\xa8\xe4^\xa8\xd0\xa8\xe7\xa8\xe5",
        {"Alphabetic": "Wang^Jing", "Ideographic": "王^俓", "Phonetic": "ㄨㄤ^ㄐㄧㄥ"},
        "<Alphabetic><FamilyName>Wang</FamilyName><GivenName>Jing</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>王</FamilyName><GivenName>俓</GivenName></Ideographic>"
        "<Phonetic><FamilyName>ㄨㄤ</FamilyName><GivenName>ㄐㄧㄥ</GivenName></Phonetic>",
        ("wang^JING", "王^俓", "王*", "*俓", "ㄨ?^ㄐ*"),
        ("俓", "王^"),
        b"\x82\x5c CT",
        "俓 CT",
    ),
    # PS3.5 §K.2
    "ISO 2022 IR 58": Case(
        r"\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        {"Alphabetic": "Zhang^XiaoDong", "Ideographic": "张^小东"},
        "<Alphabetic><FamilyName>Zhang</FamilyName><GivenName>XiaoDong</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>张</FamilyName><GivenName>小东</GivenName></Ideographic>",
        ("Zhang^*", "张^小东", "张^小?", "=张*"),
        ("小东*", "張*"),
        b"\x1b$)A\xd0\xd8",
        "胸",
    ),
    # In UTF-8 all at once, with every component, and what XML escapes
    "ISO_IR 192": Case(
        "ISO_IR 192",
        "Œuvrard^Zoé^Eve & Ann^Dr^PhD=吉田^𠮷=よしだ^よし".encode(),
        {"Alphabetic": "Œuvrard^Zoé^Eve & Ann^Dr^PhD", "Ideographic": "吉田^𠮷", "Phonetic": "よしだ^よし"},
        "<Alphabetic><FamilyName>Œuvrard</FamilyName><GivenName>Zoé</GivenName><MiddleName>Eve &amp; Ann</MiddleName>"
        "<NamePrefix>Dr</NamePrefix><NameSuffix>PhD</NameSuffix></Alphabetic>"
        "<Ideographic><FamilyName>吉田</FamilyName><GivenName>𠮷</GivenName></Ideographic>"
        "<Phonetic><FamilyName>よしだ</FamilyName><GivenName>よし</GivenName></Phonetic>",
        ("OEUVRARD^ZOE*", "œuvrard^zoé^eve & ann^dr^phd", "吉田^?", "吉田^𠮷", "よしだ^*"),
        ("ŒUVRARD", "吉田", "よした*"),
        "Tête & cou".encode(),
        "Tête & cou",
    ),
    # Without an alphabetic group (PS3.5 §6.2.1.1)
    "no alphabetic group": Case(
        "ISO_IR 192",
        "=佐藤^花子=さとう^はなこ".encode(),
        {"Ideographic": "佐藤^花子", "Phonetic": "さとう^はなこ"},
        "<Ideographic><FamilyName>佐藤</FamilyName><GivenName>花子</GivenName></Ideographic>"
        "<Phonetic><FamilyName>さとう</FamilyName><GivenName>はなこ</GivenName></Phonetic>",
        ("佐藤^花子", "=佐藤^花子", "==さとう^はなこ", "=佐藤^花子=さとう^はなこ", "さと?*"),
        ("佐藤", "花子*"),
        b"CT",
        "CT",
    ),
}
EACH = pytest.mark.parametrize("name", CASES)


def study_of(name: str) -> str:
    return f"{ROOT}.{list(CASES).index(name) + 1}"


def stored(name: str) -> bytes:
    """Both names and the description are written over letters that hold their place: pydicom would write others."""
    case = CASES[name]
    places = {"PatientName": "p", "ReferringPhysicianName": "r", "StudyDescription": "s"}
    values = {"PatientName": case.name, "ReferringPhysicianName": case.name, "StudyDescription": case.description}
    texts = {keyword: places[keyword] * len(value) for keyword, value in values.items()}
    made = ct(study=study_of(name), SpecificCharacterSet=case.character_set.split("\\"), **texts)
    content = file_bytes(made)
    for keyword, value in values.items():
        assert content.count(texts[keyword].encode()) == 1
        content = content.replace(texts[keyword].encode(), value)
    return content


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    served = Box(tmp_path_factory.mktemp("names"))
    try:
        for name in CASES:
            served.keep(stored(name))
        yield served
    finally:
        served.close()


def found(box: Box, query: str, resources: str = "studies") -> list[str]:
    reply = box.get(f"/{resources}?{query}")
    assert reply.status == 200, reply.body
    return [item["0020000D"]["Value"][0] for item in reply.json]


@EACH
@pytest.mark.parametrize("keyword", ["PatientName", "ReferringPhysicianName"])  # one has an index, one has none
def test_a_name_is_found_by_each_of_its_groups(names: Box, name: str, keyword: str) -> None:
    for asked in CASES[name].asked:
        assert found(names, f"{keyword}={quote(asked)}") == [study_of(name)], asked
    for asked in CASES[name].not_asked:
        assert found(names, f"{keyword}={quote(asked)}") == [], asked


@EACH
def test_a_series_is_found_by_the_name_of_its_patient_too(names: Box, name: str) -> None:
    for asked in CASES[name].asked:
        assert found(names, f"PatientName={quote(asked)}", "series") == [study_of(name)], asked
        assert found(names, f"PatientName={quote(asked)}", "instances") == [study_of(name)], asked


@EACH
def test_other_text_is_found_in_its_character_set_too(names: Box, name: str) -> None:
    text = CASES[name].text
    for asked in (text, f"{text[0]}*", f"?{text[1:]}*", f"*{text[-1]}"):
        within = f"StudyInstanceUID={study_of(name)}&"
        assert found(names, f"{within}StudyDescription={quote(asked)}") == [study_of(name)], asked


@EACH
def test_the_three_groups_are_answered_in_json(names: Box, name: str) -> None:
    case = CASES[name]
    for resources in ("studies", "series", "instances"):
        reply = names.get(f"/{resources}?StudyInstanceUID={study_of(name)}", "application/dicom+json")
        (item,) = reply.json
        person: dict[str, Any] = {"vr": "PN", "Value": [case.groups]}
        assert (item["00100010"], item["00080090"]) == (person, person)
        assert item["00081030"] == {"vr": "LO", "Value": [case.text]}
        assert item["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
        for group in case.groups.values():
            assert group.encode() in reply.body  # as itself, not escaped


@EACH
def test_the_three_groups_are_answered_in_xml(names: Box, name: str) -> None:
    case = CASES[name]
    for resources in ("studies", "series", "instances"):
        ((_, content),) = names.get(f"/{resources}?StudyInstanceUID={study_of(name)}", PARTS_OF_XML).parts
        text = content.decode()
        assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')
        for tag, keyword in (("00100010", "PatientName"), ("00080090", "ReferringPhysicianName")):
            told = f'<PersonName number="1">{case.xml}</PersonName>'
            assert f'<DicomAttribute tag="{tag}" vr="PN" keyword="{keyword}">{told}</DicomAttribute>' in text
        told = case.text.replace("&", "&amp;")
        assert f'keyword="StudyDescription"><Value number="1">{told}</Value>' in text
        assert 'keyword="SpecificCharacterSet"><Value number="1">ISO_IR 192</Value>' in text


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("yamda", "ISO 2022 IR 87"),
        ("太郎 山", "ISO 2022 IR 87"),
        ("すず", "ISO 2022 IR 13"),
        ("길동", "ISO 2022 IR 149"),
        ("zhang xiaodng", "ISO 2022 IR 58"),
        ("zoe oeuvrad", "ISO_IR 192"),
        ("花子", "no alphabetic group"),
    ],
)
def test_fuzzy_matching_looks_in_each_group(names: Box, asked: str, name: str) -> None:
    assert found(names, f"fuzzymatching=true&PatientName={quote(asked)}") == [study_of(name)]
