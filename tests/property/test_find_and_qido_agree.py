"""Whatever is stored and whatever is asked, C-FIND and QIDO-RS give the same objects with the same values.

Both doors are open on one archive. What must match is told by a third opinion too, written here for the keys that have
a plain one: dates, identifiers with wild cards, modalities.
"""

import json
import re
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import ct
from pydicom import Dataset, dcmread

sys.path.append(str(Path(__file__).parents[1] / "doors"))
from dicom_query_stage import House, open_house
from raw_scu import RawScu

from drimbox.dicom.command import C_FIND_RQ, Command, build_command, read_command
from drimbox.dicom.keywords import find_tag
from drimbox.dicom.levels import MATCHED
from drimbox.dicom.match import Level
from drimbox.dicom.pdu import PDV_HEADER, Pdu, build_data
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.dicomweb.door import DicomWeb

ROOT = "1.2.826.0.1.3680043.8.498.7"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
QUERY_LEVEL: dict[Level, str] = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
RESOURCE: dict[Level, str] = {"study": "studies", "series": "series", "instance": "instances"}
UNIQUE: dict[Level, str] = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}

# Said of the answer itself: its character set, its level, where what it speaks of can be retrieved.
OF_THE_ANSWER = frozenset({"00080005", "00080052", "00080054", "00080056", "00081190", "00080201"})

NAMES = [
    "",
    "DURAND^ANNE",
    "Durand^Ânne",
    "DURAND-MARTIN^ANNE^^Dr",
    "ŒUVRARD^Zoé",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
]
IDENTIFIERS = ["", "P1", "P10", "p1", "P 1", "[P]1", "P*"]
DATES = ["", "20251231", "20260101", "20260301"]
TIMES = ["", "08", "0815", "081530", "081530.25", "235959.999999"]
TEXTS = ["", "TDM thorax", "tdm THORAX", "IRM cérébrale", "a_b%c", "100%"]
MODALITIES = ["CT", "MR", "US", ""]

studies = st.fixed_dictionaries(
    {
        "PatientName": st.sampled_from(NAMES),
        "PatientID": st.sampled_from(IDENTIFIERS),
        "PatientBirthDate": st.sampled_from(DATES),
        "PatientSex": st.sampled_from(["", "F", "M", "O"]),
        "StudyDate": st.sampled_from(DATES),
        "StudyTime": st.sampled_from(TIMES),
        "AccessionNumber": st.sampled_from(IDENTIFIERS),
        "StudyDescription": st.sampled_from(TEXTS),
        "ReferringPhysicianName": st.sampled_from(NAMES),
        "StudyID": st.sampled_from(IDENTIFIERS),
    }
)
series = st.fixed_dictionaries(
    {
        "Modality": st.sampled_from(MODALITIES),
        "SeriesDescription": st.sampled_from(TEXTS),
        "SeriesNumber": st.sampled_from([1, 2, 300]),
        "BodyPartExamined": st.sampled_from(["", "CHEST"]),
        "PerformedProcedureStepStartDate": st.sampled_from(DATES),
    }
)
instances = st.fixed_dictionaries(
    {
        "InstanceNumber": st.sampled_from([1, 2, 10]),
        "ContentDate": st.sampled_from(DATES),
        "ImageType": st.sampled_from([["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "AXIAL"]]),
        "request": st.sampled_from(["", "RP1", "RP2"]),
    }
)
stores = st.lists(
    st.tuples(
        studies, st.lists(st.tuples(series, st.lists(instances, min_size=1, max_size=2)), min_size=1, max_size=2)
    ),
    min_size=1,
    max_size=4,
)

RANGES = ["20260101", "20260101-", "-20260101", "20251231-20260101", "2026.01.01"]
MOMENTS = ["08", "0815-", "-0815", "0800-0815", "081530.25", "235959.999999-"]
WILD = ["P1", "P*", "P?", "?1", "*", "[P]*", "p*", "P1\\P10", "*0", "??"]
NAMED = [
    "DURAND*",
    "durand^anne",
    "*anne*",
    "œuvrard^zoé",
    "OEUVRARD^Z?E",
    "山田*",
    "?urand^*",
    "DURAND^ANNE\\ŒUVRARD^Zoé",
]
WORDS = ["TDM thorax", "TDM*", "*cérébrale", "a_b%c", "???%", "tdm thorax"]

ASKED: dict[str, tuple[str, list[str]]] = {  # keyword: level it belongs to, what may be asked
    "PatientName": ("study", NAMED),
    "PatientID": ("study", WILD),
    "PatientBirthDate": ("study", RANGES),
    "PatientSex": ("study", ["F", "M", "?", "F\\O"]),
    "StudyDate": ("study", RANGES),
    "StudyTime": ("study", MOMENTS),
    "AccessionNumber": ("study", WILD),
    "StudyDescription": ("study", WORDS),
    "ReferringPhysicianName": ("study", NAMED),
    "StudyID": ("study", WILD),
    "StudyInstanceUID": ("study", [f"{ROOT}.1", f"{ROOT}.1\\{ROOT}.3", "1.2.3"]),
    "ModalitiesInStudy": ("only study", ["CT", "MR", "CT\\US", "M*"]),
    "Modality": ("series", ["CT", "M?", "CT\\US"]),
    "SeriesDescription": ("series", WORDS),
    "SeriesNumber": ("series", ["1", "300", "4"]),
    "BodyPartExamined": ("series", ["CHEST", "C*"]),
    "SeriesInstanceUID": ("series", [f"{ROOT}.1.1", f"{ROOT}.1.1\\{ROOT}.2.2"]),
    "PerformedProcedureStepStartDate": ("series", RANGES),
    "RequestAttributesSequence.RequestedProcedureID": ("series", ["RP1", "RP*"]),
    "InstanceNumber": ("instance", ["1", "10"]),
    "ContentDate": ("instance", RANGES),
    "SOPInstanceUID": ("instance", [f"{ROOT}.1.1.1", f"{ROOT}.1.1.1\\{ROOT}.1.2.1"]),
    "ImageType": ("instance", ["ORIGINAL", "AXIAL", "*ARY"]),
}
ABOVE: dict[Level, frozenset[str]] = {
    "study": frozenset({"study", "only study"}),
    "series": frozenset({"study", "series"}),
    "instance": frozenset({"study", "series", "instance"}),
}


@st.composite
def questions(draw: st.DrawFn) -> tuple[Level, dict[str, str]]:
    """A level, and what is asked by keyword; two keywords joined by a dot are an attribute inside a sequence."""
    level: Level = draw(st.sampled_from(["study", "series", "instance"]))
    possible = sorted(keyword for keyword, (place, _) in ASKED.items() if place in ABOVE[level])
    keywords = draw(st.lists(st.sampled_from(possible), max_size=3, unique=True))
    asked = {keyword: draw(st.sampled_from(ASKED[keyword][1])) for keyword in keywords}
    if all("-" in asked.get(keyword, "") for keyword in ("StudyDate", "StudyTime")):
        del asked["StudyTime"]  # one range in QIDO-RS (PS3.18 §8.3.4.1), two in C-FIND unless negotiated
    return level, asked


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stores, st.lists(questions(), min_size=4, max_size=8), st.sampled_from(SYNTAXES))
def test_both_doors_give_the_same_answer(store: list[Any], asked: list[Any], syntax: str) -> None:
    with tempfile.TemporaryDirectory() as folder, open_house(Path(folder)) as house:
        kept = fill(house, store)
        web = DicomWeb(house.retrieve, "http://box/dicom-web")
        with RawScu(house.stage.place) as scu:
            scu.associate(((STUDY_ROOT, (syntax,)),))
            for level, criteria in asked:
                by_dimse, by_web = find(scu, level, criteria, syntax), search(house, web, level, criteria)
                assert by_dimse == by_web, (level, criteria)
                expected = sorted({made[UNIQUE[level]].value for made in kept if is_expected(made, kept, criteria)})
                if expected_is_known(criteria):
                    assert sorted(by_web) == expected, (level, criteria)
            scu.release()


def fill(house: House, store: list[Any]) -> list[Dataset]:
    kept = []
    for study_number, (study, all_series) in enumerate(store, start=1):
        for series_number, (one, items) in enumerate(all_series, start=1):
            for number, item in enumerate(items, start=1):
                more = {key: value for key, value in item.items() if key != "request"}
                made = ct(series_number, number, f"{ROOT}.{study_number}", SpecificCharacterSet="ISO_IR 192")
                for keyword, value in (study | one | more).items():
                    setattr(made, keyword, value)
                request = Dataset()
                request.RequestedProcedureID = items[0]["request"]  # of the series: the same in each of its instances
                made.RequestAttributesSequence = [request]
                house.keep(made)
                kept.append(made)
    return kept


# --- The two doors --------------------------------------------------------------------------------------------------


def find(scu: RawScu, level: Level, criteria: dict[str, str], syntax: str) -> dict[str, Any]:
    """By unique key, what C-FIND answers: every attribute of the level is asked for."""
    keys: dict[str, Any] = {tag: {"vr": vr_of(tag)} for tag in MATCHED[level]}
    keys["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    keys["00080052"] = {"vr": "CS", "Value": [QUERY_LEVEL[level]]}
    for keyword, text in criteria.items():
        outer, *inner = (find_tag(part) or "" for part in keyword.split("."))
        tag = inner[0] if inner else outer
        key = {"vr": vr_of(tag), "Value": [{"Alphabetic": text} if vr_of(tag) == "PN" else text]}
        keys[outer] = {"vr": "SQ", "Value": [{tag: key}]} if inner else key
    written = build_data_set(keys, TRANSFER_SYNTAXES[syntax])
    command = build_command(Command(C_FIND_RQ, 1, STUDY_ROOT, has_data_set=True, priority=0))
    scu.send(b"".join([*build_data(1, command, True, 16384), *build_data(1, written, False, 16384)]))
    found: dict[str, Any] = {}
    left = b""
    while True:
        data, left = message(scu, left)
        response = read_command(data)
        if not response.has_data_set:
            assert response.status == 0x0000, response
            return found
        assert response.status == 0xFF00, response
        data, left = message(scu, left)
        answer = dcmread(part10(data, syntax), force=True)
        values = plain(json.loads(answer.to_json()))
        assert values[UNIQUE[level]][0] not in found
        found[values[UNIQUE[level]][0]] = values


def part10(data: bytes, syntax: str) -> BytesIO:
    meta = b"\x02\0\x10\0UI" + (len(syntax) + len(syntax) % 2).to_bytes(2, "little") + syntax.encode()
    meta += b"\0" * (len(syntax) % 2)
    return BytesIO(bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + data)


def message(scu: RawScu, left: bytes) -> tuple[bytes, bytes]:
    data, control = b"", 0
    while not control & 2:
        if not left:
            answer = scu.receive()
            assert answer is not None and answer[0] is Pdu.DATA, answer
            left = answer[1]
        length, _, control = PDV_HEADER.unpack_from(left)
        data, left = data + left[PDV_HEADER.size : length + 4], left[length + 4 :]
    return data, left


def search(house: House, web: DicomWeb, level: Level, criteria: dict[str, str]) -> dict[str, Any]:
    """By unique key, what QIDO-RS answers."""
    pairs = [f"{keyword}={quote(text)}" for keyword, text in criteria.items()]
    items = json.loads(get(house, web, f"/{RESOURCE[level]}", "&".join(["limit=1000", "includefield=all", *pairs])))
    found = {item[UNIQUE[level]]["Value"][0]: plain(item) for item in items}
    assert len(found) == len(items)
    return found


def get(house: House, web: DicomWeb, path: str, query: str) -> bytes:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"accept", b"application/dicom+json")],
        "client": ("127.0.0.1", 1),
    }
    house.stage.call(web(scope, receive, send))
    assert sent[0]["status"] in (200, 204), sent
    return b"".join(event.get("body", b"") for event in sent[1:]) or b"[]"


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """Tag to values, of those that have some; what is said of the answer itself left out."""
    return {
        tag: [plain(value) if held.get("vr") == "SQ" else value for value in held["Value"]]
        for tag, held in sorted(item.items())
        if held.get("Value") not in (None, [], [None], [{}]) and tag not in OF_THE_ANSWER
    }


def vr_of(tag: str) -> str:
    from drimbox.dicom.dictionary import vr_of as of_number

    return of_number(int(tag, 16))


# --- The third opinion ----------------------------------------------------------------------------------------------

PLAIN = ("PatientID", "AccessionNumber", "StudyDate", "PatientBirthDate", "ContentDate", "Modality")


def expected_is_known(criteria: dict[str, str]) -> bool:
    return criteria.keys() <= {*PLAIN}


def is_expected(made: Dataset, kept: list[Dataset], criteria: dict[str, str]) -> bool:
    return all(
        keyword not in PLAIN or is_like(str(made.get(keyword) or ""), text, keyword)
        for keyword, text in criteria.items()
    )


def is_like(value: str, text: str, keyword: str) -> bool:
    if keyword.endswith("Date"):
        low, hyphen, high = text.replace(".", "").partition("-")
        return bool(value) and (low <= value <= (high or "9") if hyphen else value == low)
    patterns = (re.escape(part).replace(r"\*", ".*").replace(r"\?", ".") for part in text.split("\\"))
    return text == "*" or any(re.fullmatch(pattern, value) for pattern in patterns)


def test_the_third_opinion_knows_what_the_standard_says() -> None:
    assert is_like("20260101", "-20260101", "StudyDate")
    assert not is_like("", "-20260101", "StudyDate")
    assert is_like("P10", "P?0", "PatientID")
    assert not is_like("p1", "P*", "PatientID")
