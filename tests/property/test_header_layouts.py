"""A header is summed up the same whether it is walked, or found to have the layout of one seen before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import ct, data_set_bytes

from drimbox.dicom import scan as module
from drimbox.dicom.layout import Layouts
from drimbox.dicom.part10 import InMemory, build_preface
from drimbox.dicom.scan import scan
from drimbox.errors import DrimboxError


def part10(made):
    preface = build_preface(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID)
    return preface + data_set_bytes(made)


def outcome(content):
    try:
        return scan(InMemory(content))
    except DrimboxError as error:
        return type(error), str(error)


@pytest.fixture
def walks(monkeypatch):
    """How many headers were walked; no layout is known at the beginning."""
    monkeypatch.setattr(module, "_LAYOUTS", Layouts())
    walk, count = module._walk, []

    def counted(*arguments):
        count.append(1)
        return walk(*arguments)

    monkeypatch.setattr(module, "_walk", counted)
    return count


def test_the_second_slice_is_not_walked_and_says_what_its_own_values_say(walks):
    scan(InMemory(part10(ct(1, 1))))
    second = scan(InMemory(part10(ct(1, 2))))
    assert len(walks) == 1
    assert second.ref.sop_uid == ct(1, 2).SOPInstanceUID
    assert second.instance["00200013"] == {"vr": "IS", "Value": [2]}
    module._LAYOUTS = Layouts()
    assert scan(InMemory(part10(ct(1, 2)))) == second


def test_a_second_header_without_pixels_is_not_walked_either(walks):
    made = [ct(1, number) for number in (1, 2)]
    for each in made:
        del each.PixelData
    first, second = (scan(InMemory(part10(each))) for each in made)
    assert len(walks) == 1
    assert (first.spans, second.spans, second.number_of_frames) == ((), (), 0)
    assert second.ref.sop_uid == made[1].SOPInstanceUID
    cut = part10(made[1])[:-3]
    with pytest.raises(DrimboxError):
        scan(InMemory(cut))


def test_another_place_of_an_element_is_another_layout(walks):
    one = part10(ct(1, 1, StudyDescription="TDM thorax", SeriesDescription="abcd"))
    other = part10(ct(1, 2, StudyDescription="TDM thor", SeriesDescription="abcdef"))
    assert len(one) == len(other)
    scan(InMemory(one))
    assert scan(InMemory(other)).study["00081030"]["Value"] == ["TDM thor"]
    assert len(walks) == 2


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 2000), byte=st.integers(0, 255), second=st.integers(0, 2000))
def test_any_byte_that_changes_is_judged_as_by_a_walk(at, byte, second):
    known = part10(ct(1, 1))
    changed = bytearray(known)
    for place in (at, second):
        if place < len(changed):
            changed[place] = byte
    module._LAYOUTS = Layouts()
    walked = outcome(bytes(changed))
    module._LAYOUTS = Layouts()
    scan(InMemory(known))
    assert outcome(bytes(changed)) == walked
