"""What a search found: the text that goes out is that of the attributes, put together or taken apart."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.found import Found
from drimbox.dicom.scan import INDEXED

ROOT = "https://box.example/dicom-web"
UID = {"vr": "UI", "Value": ["1.2.3"]}


def found(attributes: dict[str, Any], modalities: str = '["MR",null,"CT"]') -> Found:
    return Found("study", (orjson.dumps(attributes), "1.2.3", 2, 30, modalities))


def text(value: str) -> dict[str, Any]:
    return {"vr": "LO", "Value": [value]}


def test_a_study_says_what_is_counted_and_where_it_is() -> None:
    """Worked by hand: in the order of tags, modalities sorted."""
    said = found({"00080020": text("20260105"), "00081030": text("TDM"), "00100010": text("X"), "0020000D": UID})
    assert orjson.loads(said.json(ROOT)) == {
        "00080020": text("20260105"),
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
        "00081030": text("TDM"),
        "00081190": {"vr": "UR", "Value": [f"{ROOT}/studies/1.2.3"]},
        "00100010": text("X"),
        "0020000D": UID,
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [30]},
    }
    assert list(orjson.loads(said.json(ROOT))) == sorted(said.located(ROOT))


def test_a_study_without_a_modality_has_none() -> None:
    said = orjson.loads(found({"0020000D": UID}, "[null]").json(ROOT))
    assert said["00080061"] == {"vr": "CS"}


HOSTILE = ["}", "a{", '"', "\\", '\\"', '","00100020":{"vr":"LO"}', "é山", "\u2028", "[]", "{}", "\t\n", ""]
plain = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=5), st.integers(-(2**63), 2**63), st.floats(-1e9, 1e9), st.none()
)
names = st.dictionaries(
    st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), st.sampled_from(HOSTILE), max_size=2
)
items = st.just({"00100010": {"vr": "PN"}})
attributes = st.fixed_dictionaries(
    {"vr": st.sampled_from(["LO", "PN", "SQ"])},
    optional={"Value": st.lists(st.one_of(plain, names, items), max_size=2), "InlineBinary": st.just("AA==")},
)


@given(st.dictionaries(st.sampled_from(sorted(INDEXED["study"])), attributes, max_size=6), st.booleans())
def test_the_text_of_a_study_is_that_of_its_attributes(held: dict[str, Any], in_order: bool) -> None:
    held["0020000D"] = UID
    said = found(dict(sorted(held.items())) if in_order else held)
    assert said.json(ROOT) == orjson.dumps(dict(sorted(said.located(ROOT).items())))


def test_the_text_of_a_usual_study_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"vr": "PN", "Value": [{"Alphabetic": 'O"BRIEN^{Zoé}', "Ideographic": "山田^太郎"}]}
    held = {tag: name if tag == "00100010" else text("x") for tag in sorted(INDEXED["study"])} | {"0020000D": UID}
    expected = found(held).json(ROOT)
    with monkeypatch.context() as apart:
        apart.delattr(Found, "located")
        assert found(dict(sorted(held.items()))).json(ROOT) == expected


@pytest.mark.parametrize(
    ("level", "row", "place", "counted"),
    [
        ("series", ({"0020000D": UID}, {"0020000E": text("1.2.4")}, 7), "/series/1.2.4", ("00201209", "IS", 7)),
        (
            "instance",
            ({"0020000D": UID}, {"0020000E": text("1.2.4")}, {"00080018": text("1.2.5")}, "1.2.840.10008.1.2"),
            "/series/1.2.4/instances/1.2.5",
            ("00083002", "UI", "1.2.840.10008.1.2"),
        ),
    ],
)
def test_a_series_and_an_instance_say_where_they_are(level: Any, row: Any, place: str, counted: Any) -> None:
    one = Found(level, tuple(orjson.dumps(part) if isinstance(part, dict) else part for part in row))
    said = orjson.loads(one.json(ROOT))
    assert said["00081190"]["Value"] == [f"{ROOT}/studies/1.2.3{place}"]
    tag, vr, value = counted
    assert said[tag] == {"vr": vr, "Value": [value]}
    assert list(said) == sorted(said)
