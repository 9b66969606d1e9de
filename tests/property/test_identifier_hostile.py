"""Whatever the bytes of an Identifier, it is understood or refused, never a bug."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.identifier import build_answer, build_search, build_selection, read_identifier
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.errors import DrimboxError

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
KEYS = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080018": {"vr": "UI", "Value": ["1", "2"]},
    "00080052": {"vr": "CS", "Value": ["IMAGE"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Zo*", "Ideographic": "?"}]},
    "00100020": {"vr": "LO", "Value": ["A"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.3"]},
    "00280010": {"vr": "US", "Value": [512]},
    "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP*"]}}]},
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(data=st.data())
def test_a_damaged_identifier_is_understood_or_refused(syntax: str, data: st.DataObject) -> None:
    written = bytearray(build_data_set(KEYS, TRANSFER_SYNTAXES[syntax]))
    for _ in range(data.draw(st.integers(0, 6))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(written)) | st.just(len(written)))
    with contextlib.suppress(DrimboxError):
        identifier = read_identifier(bytes(written[:cut]), syntax, "patient")
        build_answer(identifier, {}, "BOX", TRANSFER_SYNTAXES[syntax])
        build_search(identifier, 5)
        build_selection(identifier, "patient", 5)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sound_one_is_understood(syntax: str) -> None:
    identifier = read_identifier(build_data_set(KEYS, TRANSFER_SYNTAXES[syntax]), syntax, "patient")
    assert identifier.level == "IMAGE"
    assert identifier.keys["00400275.00401001"] == "RP*"
    assert identifier.keys["00280010"] == "512"
    assert build_selection(identifier, "patient", 5).level == "instance"


def test_a_group_length_that_is_a_sequence_is_no_bug() -> None:  # found by scripts/fuzz
    level = b"\x08\0\x52\0CS\x06\0STUDY "
    item = b"\xfe\xff\0\xe0\x08\0\0\0" + b"\x10\0\x20\0LO\0\0"
    sequence = b"\x10\0\0\0SQ\0\0\x10\0\0\0" + item
    identifier = read_identifier(level + sequence, SYNTAXES[1], "study")
    assert identifier.level == "STUDY"
    assert build_search(identifier, 5).query.criteria == {}
