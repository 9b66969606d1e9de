"""Metadata of STOW-RS as a data set: what is no attribute is refused."""

import pytest

from drimbox.dicom.composing import compose
from drimbox.errors import Malformed

NAMES = {"00080016": {"vr": "UI", "Value": ["1.2"]}, "00080018": {"vr": "UI", "Value": ["1.3"]}}


@pytest.mark.parametrize("tag", ["00001000", "00000010", "FFFEE000", "fffee0dd"])
@pytest.mark.parametrize("deep", [False, True])
def test_commands_and_delimiters_are_no_attributes(tag: str, deep: bool) -> None:  # found by scripts/fuzz
    wrong = {tag: {"vr": "LO", "Value": ["x"]}}
    metadata = NAMES | ({"00400275": {"vr": "SQ", "Value": [wrong]}} if deep else wrong)
    with pytest.raises(Malformed):
        compose(metadata, {})


def test_group_lengths_and_the_preface_are_left_out() -> None:
    extra = {"00080000": {"vr": "UL", "Value": [4]}, "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}}
    assert compose(NAMES | extra, {}) == compose(NAMES, {})
